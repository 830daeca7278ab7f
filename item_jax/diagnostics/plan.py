"""Computes the memory and the time that a run will need on a machine.

By arithmetic: it reads no data and uses no device.
"""

import copy
import math
import zlib
from typing import NamedTuple

import jax
import jax.numpy as jnp

from item_jax import tasks
from item_jax.config import Config, resolve_mesh
from item_jax.config_check import validate
from item_jax.errors import UserError
from item_jax.models.memory import Chip
from item_jax.tasks import memory as task_memory
from item_jax.training import sharding
from item_jax.training import step as step_lib
from item_jax.training.optimizer import run_optimizer

# Of a chip's memory; the rest is for the libraries' own buffers.
USABLE = 0.9
# Arrays of many sizes leave gaps between them: by the compilers' own reports up
# to 3 % of what a step takes beside its state.
GAPS = 0.04
CLASSES = 1_000  # of the task "category", where the number is not given
VOCAB_SIZE = 30_522  # BERT's, and the most that `prepare` learns by default


class Machine(NamedTuple):
  """The chips of a run."""

  chips: int
  memory: float  # bytes of a chip
  peak: float  # FLOP/s of a chip, of the config's dtype
  mfu: float = 0.4  # fraction of the peak that the step's products reach
  # Bytes a second of a chip's memory, and that it sends to others; those that
  # are not known cost no time.
  bandwidth: float = math.inf
  link: float = math.inf
  tpu: bool = False  # whose compiler keeps less than that of GPUs


class Memory(NamedTuple):
  """Bytes on a chip."""

  parameters: int
  opt_state: int
  batch: int
  accumulated: int  # gradients: of the passes so far, on TPUs of this one too
  activations: int  # at the worst moment of a pass
  gathered: int  # split parameters made whole, once for both passes
  cast: int  # parameters in the dtype of the computation
  # All of them, as the update after the passes reads them; it writes in place.
  # The token table's in parts, which are added up last.
  gradients: int

  @property
  def total(self) -> int:
    """The most at one time: in the pass, or in the update after it."""
    passing = self.accumulated + self.activations + self.gathered + self.cast
    beside = (1 + GAPS) * max(passing, self.gradients)
    return self.parameters + self.opt_state + self.batch + round(beside)


class Plan(NamedTuple):
  """What a run needs on a machine."""

  config: Config
  machine: Machine
  flops_per_sample: float  # forward and backward, without recomputation
  recompute: float  # 1.0, or how many times the products with remat
  samples: int
  parameters: int  # how many
  checkpoint: int  # bytes of one on disk
  memory: Memory
  samples_per_second: float

  @property
  def fits(self) -> bool:
    return self.memory.total <= USABLE * self.machine.memory

  @property
  def seconds(self) -> float:
    return self.samples / self.samples_per_second


class Vocabulary(NamedTuple):
  """The part of a tokenizer that the sizes of a model depend on."""

  size: int
  pad: int = 0
  unk: int = 1
  cls: int = 2
  sep: int = 3
  mask: int = 4
  special: tuple[int, ...] = (0, 1, 2, 3, 4)


def plan(
  config: Config, machine: Machine, *, vocab_size: int, classes: int = CLASSES
) -> Plan:
  """Computes what `config` needs on `machine`.

  Args:
    vocab_size: tokens of the vocabulary.
    classes: of the task "category".

  Raises:
    UserError: the config could not run on so many chips, or a number of the
      machine is out of range.
  """
  for name, value in machine._asdict().items():
    if name == "tpu":
      continue
    unknown = name in ("bandwidth", "link") and value == math.inf
    if not (0 < value < math.inf or unknown):
      raise UserError(f"{name}={value}: must be above 0, and finite")
  if machine.mfu > 1:
    raise UserError(f"mfu={machine.mfu}: a fraction, at most 1")
  least = len(Vocabulary(vocab_size).special) + 1
  # An int32 numbers the rows of the token table, which are padded.
  most = 2**31 - 1
  most -= most % config.model.vocab_pad_multiple
  if not least <= vocab_size <= most:
    raise UserError(f"vocab_size={vocab_size}: must be {least} to {most}")
  config = copy.deepcopy(config)
  config.data.path = config.data.path or "any"
  validate(config, devices=machine.chips)
  task = make_task(config, vocab_size, classes)
  recompute = _recompute(config, task)
  state = _state_shapes(config, task)
  memory = _memory(config, state, machine, task)
  work = task.train_flops * recompute * config.batch_size / machine.chips
  # One after the other: the update needs all gradients, and XLA's all-reduces
  # on TPUs overlap next to nothing (docs/accelerators.md).
  seconds = work / (machine.peak * machine.mfu) + _moving(
    config, state, machine
  )
  return Plan(
    config=config,
    machine=machine,
    flops_per_sample=task.train_flops,
    recompute=recompute,
    samples=config.steps * config.batch_size,
    parameters=tasks.count_parameters(state.params),
    checkpoint=_bytes(state, 1),
    memory=memory,
    samples_per_second=config.batch_size / seconds,
  )


def checkpoint_bytes(config: Config, vocab_size: int) -> int:
  """Returns the size of one checkpoint on disk."""
  return _bytes(_state_shapes(config, make_task(config, vocab_size)), 1)


def changed(config: Config, options: dict) -> Config:
  """Returns a copy with options such as {"optim.accumulate": 2}.

  Its mesh fills all devices.
  """
  config = copy.deepcopy(config)
  for name, value in options.items():
    group, leaf = name.split(".")
    setattr(getattr(config, group), leaf, value)
  config.mesh.data = -1
  return config


def make_task(
  config: Config, vocab_size: int, classes: int = CLASSES, **options
) -> tasks.Task:
  """Makes a task without data; `options` as of `tasks.make_task`."""
  names = ()
  if config.task == "category":
    names = [f"category {i}" for i in range(classes)]
    names = sorted(names, key=lambda name: zlib.crc32(name.encode()))
  return tasks.make_task(
    config, Vocabulary(vocab_size), categories=names, **options
  )


def _recompute(config: Config, task) -> float:
  """Returns the factor on the products that remat repeats; 1.0 without it."""
  if not config.model.remat:
    return 1.0
  blocks = [one for one in task.objective.passes if one.attention_shape]
  passes = sum(one.flops for one in blocks)
  return 1 + (passes + task.network.other_flops) / task.train_flops


def _moving(config: Config, state, machine: Machine) -> float:
  """Seconds of a step that its update and its gradients take beside products.

  AdamW reads and writes parameters and both averages; gradients are written
  and read. Around a ring each chip sends all of them nearly twice.
  """
  _, fsdp = resolve_mesh(config.mesh, machine.chips)
  part, whole = _bytes(state.params, fsdp), _bytes(state.params, 1)
  itemsize = jnp.dtype(config.model.dtype).itemsize
  if config.mesh.reduce_dtype == "float32":
    itemsize = 4
  others = 1 - 1 / machine.chips
  sent = 2 * others * whole * itemsize // 4
  return 8 * part / machine.bandwidth + sent / machine.link


def _memory(config: Config, state, machine: Machine, task) -> Memory:
  chips = machine.chips
  _, fsdp = resolve_mesh(config.mesh, chips)
  m, o = config.model, config.optim
  rows = config.batch_size // chips
  example = tasks.step_batch(config)
  chip = Chip(
    machine.tpu,
    attention="xla" if m.attention == "auto" else m.attention,
    several=chips > 1,
  )
  kept = task_memory.count(config, task, chip)
  passing = rows // o.accumulate
  part, whole = _bytes(state.params, fsdp), _bytes(state.params, 1)
  itemsize = jnp.dtype(m.dtype).itemsize
  # TPUs cast each parameter where it is used, but before a loop.
  cast = itemsize < 4 and (not machine.tpu or o.accumulate > 1)
  summed = chips > 1 and config.mesh.reduce_dtype == "float32"
  wide = summed or o.accumulate > 1
  accumulated = part if o.accumulate > 1 else 0
  # Sums over microbatches or devices are float32, else in model.dtype.
  gradients = kept.table + (part if wide else part * itemsize // 4)
  if machine.tpu:
    table = kept.table // max(1, task.objective.token_decoders)
    if accumulated:  # what a pass adds, until all of it is there
      accumulated += (part - table) * itemsize // 4 + table
    if chips > 1:  # the sum over chips beside what is added up
      gradients += table
  return Memory(
    parameters=part,
    opt_state=_bytes(state, fsdp) - part,
    batch=rows * sum(x.nbytes for x in example),
    accumulated=accumulated,
    activations=kept.table
    + kept.titles
    + passing * (kept.pair + kept.other * config.batch_size),
    # Each is cast as soon as it is whole.
    gathered=whole if part < whole and (machine.tpu or not cast) else 0,
    cast=whole * itemsize // 4 if cast else 0,
    gradients=gradients,
  )


def _state_shapes(config: Config, task):
  """Returns the State of a run as `jax.ShapeDtypeStruct`."""
  o = config.optim
  optimizer = run_optimizer(
    jax.eval_shape(lambda: tasks.initial_params(task, config.seed)),
    lambda step: o.lr,
    o,
  )
  example = tasks.step_batch(config, config.optim.accumulate)

  def make():
    root = jax.random.key(config.seed)
    view = task.objective.corrupt(root, 0, example)
    names = step_lib.metric_names(task.objective, view)
    params = tasks.initial_params(task, config.seed)
    return step_lib.init_state(params, optimizer, names)

  return jax.eval_shape(make)


def _bytes(shapes, fsdp: int) -> int:
  """Returns a tree's bytes on one device, as `sharding.for_state` splits it."""
  total = 0
  for leaf in jax.tree.leaves(shapes):
    split = sharding.split_axis(leaf.shape, fsdp) is not None
    total += leaf.size * leaf.dtype.itemsize // (fsdp if split else 1)
  return total
