"""Trains: a Config and a workdir in, checkpoints and a log of metrics out.

One loop for every task. Evaluation is handed in, so that nothing here knows
what is measured.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from clu import parameter_overview
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from item_jax import tasks
from item_jax.config import Config, resolve_mesh, validate
from item_jax.data import images, pipeline
from item_jax.data.records import Store, open_store
from item_jax.data.tokenizer import Words, load_words
from item_jax.errors import UserError
from item_jax.models import cost
from item_jax.tasks import Task
from item_jax.training import attention as attention_lib
from item_jax.training import sharding, workdir
from item_jax.training import step as step_lib
from item_jax.training.checkpoints import Checkpoints, SaveError
from item_jax.training.metrics import Log, Stopwatch, progress_line
from item_jax.training.optimizer import make_optimizer, make_schedule
from item_jax.training.stopping import EXIT_START_AGAIN, StopRequest


class DivergedError(RuntimeError):
  """Too many non-finite steps in a row."""


class Setup(NamedTuple):
  """What is there before the first step."""

  config: Config
  store: Store
  words: Words
  task: Task
  mesh: Mesh
  schedule: Callable
  shapes: Any  # the State as jax.ShapeDtypeStruct with shardings
  initialise: Callable  # () -> State on the devices
  step: Callable  # compiled (state, batch) -> (state, report)
  floors: dict[str, float]


def open_data(config: Config) -> tuple[Store, Words]:
  """The store with both splits and pixels as this version makes them."""
  store = open_store(config.data.path)
  for split in (config.data.train_split, config.data.val_split):
    if not store.sizes.get(split):
      raise UserError(
        f"{store.path} has no rows in split {split!r}; it has {store.sizes}"
      )
  if store.catalogue["preprocessing"] != images.PREPROCESSING:
    raise UserError(
      f"{store.path} was prepared with {store.catalogue['preprocessing']!r},"
      f" this version reads {images.PREPROCESSING!r}: prepare it again"
    )
  return store, load_words(Path(store.path) / "tokenizer.json")


def set_up(config: Config, folder: Path | None) -> Setup:
  """Checks, builds, compiles and describes; refuses a foreign workdir.

  Args:
    folder: the workdir; None to build without one (benchmarks).
  """
  validate(config, devices=jax.device_count())
  store, words = open_data(config)
  data, fsdp = resolve_mesh(config.mesh, jax.device_count())
  mesh = sharding.make_mesh(data, fsdp)
  run = None
  if folder is not None and (folder / workdir.RUN_FILE).exists():
    run = workdir.read_run(folder)
    workdir.check_same(run, config, store, words)
  m = config.model
  if run is not None:
    chosen, why = run.attention, "as before"
  else:
    chosen, why = attention_lib.choose(
      m.attention,
      rows=config.batch_size // jax.device_count() // config.optim.accumulate,
      places=1 + (m.image_size // m.patch) ** 2 + m.title_places,
      heads=m.heads,
      depth=m.width // m.heads,
      dtype=m.dtype,
    )
  task = tasks.make_task(config, words, attention=chosen)
  schedule = make_schedule(
    peak=config.optim.lr, warmup=config.optim.warmup, steps=config.steps
  )
  optimizer = make_optimizer(
    schedule,
    b1=config.optim.b1,
    b2=config.optim.b2,
    eps=config.optim.eps,
    decay=config.optim.decay,
    clip=config.optim.clip,
  )
  example = tasks.example_batch(config, config.batch_size)
  root = jax.random.key(config.seed)
  view = jax.eval_shape(lambda b: task.objective.corrupt(root, 0, b), example)
  names = step_lib.metric_names(task.objective, view)

  def initial_state():
    params = tasks.initial_params(task, config.seed)
    return step_lib.init_state(params, optimizer, names)

  shapes = jax.eval_shape(initial_state)
  placed = sharding.for_state(mesh, shapes)
  shapes = jax.tree.map(
    lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
    shapes,
    placed,
  )
  initialise = jax.jit(initial_state, out_shardings=placed)
  over = sharding.over_batch(mesh)
  batch_shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=over), example
  )
  train_step = step_lib.make_train_step(
    task.objective,
    optimizer,
    seed=config.seed,
    accumulate=config.optim.accumulate,
    log_every=config.log_every,
    dropout_bits=config.model.dropout_bits,
  )
  begin = time.perf_counter()
  compiled = (
    jax.jit(
      train_step,
      donate_argnums=0,
      out_shardings=(placed, sharding.replicated(mesh)),
    )
    .lower(shapes, batch_shapes)
    .compile()
  )
  seconds = time.perf_counter() - begin
  floors = (
    run.floors if run else task.floors(store, config.data.train_split, words)
  )
  if folder is not None and run is None and jax.process_index() == 0:
    folder.mkdir(parents=True, exist_ok=True)
    workdir.write_run(
      folder, config, store, words, attention=chosen, floors=floors
    )
  if jax.process_index() == 0:
    _describe(config, task, mesh, shapes, compiled, seconds, chosen, why)
  return Setup(
    config,
    store,
    words,
    task,
    mesh,
    schedule,
    shapes,
    initialise,
    compiled,
    floors,
  )


def train(
  config: Config, folder: Path, *, make_evaluate: Callable | None = None
) -> int:
  """Runs to `config.steps`, from the newest good checkpoint if there is one.

  Args:
    make_evaluate: Setup -> (params -> {name: number}), called every
      `eval_every` steps; checkpoints are ranked by what it returns.

  Returns:
    0 when done, EXIT_START_AGAIN when asked to stop before.

  Raises:
    UserError: the configuration, data or workdir cannot work.
    DivergedError: `max_bad_steps` non-finite steps in a row.
    SaveError: the last state is not on disk.
  """
  folder = Path(folder)
  setup = set_up(config, folder)
  checkpoints = Checkpoints(folder, keep=config.checkpoint.keep)
  start = checkpoints.newest_good()
  if start is None:
    state, start = setup.initialise(), 0
  else:
    state = checkpoints.restore(start, setup.shapes)
    print(f"resumed at step {start}", flush=True)
  log = Log(folder, start=start, active=jax.process_index() == 0)
  evaluate = make_evaluate(setup) if make_evaluate else None
  try:
    with StopRequest() as stop:
      return _run(setup, state, start, checkpoints, log, evaluate, stop)
  finally:
    log.close()
    checkpoints.close()


def _run(setup, state, start, checkpoints, log, evaluate, stop) -> int:
  config = setup.config
  size = config.batch_size
  batches = pipeline.training_batches(
    setup.store,
    config.data.train_split,
    setup.words,
    image_size=config.model.image_size,
    title_places=config.model.title_places,
    batch_size=size,
    seed=config.seed,
    start=start,
    stop=config.steps,
    host_rows=sharding.host_rows(setup.mesh, size),
    workers=config.data.workers,
    threads=config.data.threads,
    ahead=config.data.ahead,
  )
  watch = _Watch(setup, log)
  saved_at = time.monotonic()
  done = start
  while done < config.steps:
    begin = time.perf_counter()
    batch = sharding.to_devices(setup.mesh, size, next(batches))
    waited = time.perf_counter() - begin
    state, report = setup.step(state, batch)
    done += 1
    watch.see(done, report, waited)
    checkpoints.seal()

    last = done == config.steps
    stopping = stop.agreed(done)
    evaluating = evaluate and (last or done % config.eval_every == 0)
    minutes = (time.monotonic() - saved_at) / 60
    saving = (
      last
      or stopping
      or evaluating
      or done % config.checkpoint.every == 0
      or _all_agree(minutes >= config.checkpoint.minutes, done, config)
    )
    if not saving:
      continue
    # What is logged up to this step is on disk before its checkpoint is, so
    # that a resume from here misses no row.
    watch.flush()
    metrics = None
    if evaluating:
      metrics = {k: float(v) for k, v in evaluate(state.params).items()}
      log.write(done, "eval", metrics)
      watch.say(done, metrics)
      watch.restart()
    checkpoints.save(done, state, metrics=metrics)
    saved_at = time.monotonic()
    if stopping and not last:
      break
  checkpoints.wait()
  if checkpoints.steps()[-1:] != [done]:
    raise SaveError(
      f"step {done} is not among the checkpoints {checkpoints.steps()}"
    )
  if done < config.steps:
    print(f"stopped at step {done}, saved; start again to go on", flush=True)
    return EXIT_START_AGAIN
  return 0


class _Watch:
  """Looks at reports one step late, so that looking never stalls a device."""

  def __init__(self, setup: Setup, log: Log):
    self._setup = setup
    self._log = log
    self._pending = None
    self._stopwatch = Stopwatch()
    self._peak = cost.peak_flops(jax.devices()[0].device_kind)

  def see(self, step: int, report, waited: float) -> None:
    self.flush()
    self._stopwatch.add(samples=self._setup.config.batch_size, waited=waited)
    self._pending = (step, report)

  def flush(self) -> None:
    if self._pending is None:
      return
    (step, report), self._pending = self._pending, None
    config = self._setup.config
    if bool(report.bad):
      self._say_bad(step, report)
    if step % config.log_every == 0 or step == config.steps:
      self._write(step, report)

  def restart(self) -> None:
    """Leaves out of the rates what took time between two steps."""
    self._stopwatch = Stopwatch()

  def say(self, step: int, metrics: dict[str, float]) -> None:
    if jax.process_index() == 0:
      text = "  ".join(f"{k} {v:.3f}" for k, v in metrics.items())
      print(f"eval {step}  {text}", flush=True)

  def _write(self, step: int, report) -> None:
    config = self._setup.config
    means = {k: float(v.compute()) for k, v in report.sums.items()}
    taken = step - int(report.bad_total)
    rates = self._stopwatch.read()
    if self._peak:
      used = rates["samples_per_second"] * self._setup.task.train_flops
      rates["mfu"] = used / (self._peak * jax.device_count())
    values = {
      **means,
      **{f"{k}_floor": v for k, v in self._setup.floors.items()},
      "lr": float(self._setup.schedule(max(taken - 1, 0))),
      "bad_steps": int(report.bad_total),
    }
    self._log.write(step, "train", {**values, **rates})
    if jax.process_index() == 0:
      left = (config.steps - step) * config.batch_size
      print(
        progress_line(
          step,
          config.steps,
          means,
          self._setup.floors,
          rates,
          left / rates["samples_per_second"],
        ),
        flush=True,
      )

  def _say_bad(self, step: int, report) -> None:
    config = self._setup.config
    ids = pipeline.listing_ids(
      self._setup.store,
      config.data.train_split,
      batch_size=config.batch_size,
      seed=config.seed,
      step=step - 1,
    )
    run = int(report.bad_run)
    self._log.write(step, "bad", {"in_a_row": run, "listing_ids": ids})
    print(
      f"step {step}: loss or gradient is not finite; the update is skipped"
      f" ({run} in a row)",
      flush=True,
    )
    if run >= config.max_bad_steps:
      raise DivergedError(
        f"{run} non-finite steps in a row, the last at step {step}; the"
        " checkpoints before them are intact, metrics.jsonl names the listings"
      )


def _all_agree(due: bool, step: int, config: Config) -> bool:
  """Whether process 0's clock says so; asked at log steps where many run."""
  if jax.process_count() == 1:
    return due
  if step % config.log_every:
    return False
  return bool(multihost_utils.broadcast_one_to_all(np.int32(due)))


def _describe(config, task, mesh, shapes, compiled, seconds, chosen, why):
  """Prints what is about to run."""
  print(
    parameter_overview.get_parameter_overview(
      shapes.params, include_stats=False
    )
  )
  m = config.model
  memory = compiled.memory_analysis()
  places = 1 + (m.image_size // m.patch) ** 2 + m.title_places
  print(
    f"{tasks.count_parameters(shapes.params):,} parameters on"
    f" {dict(mesh.shape)} {jax.devices()[0].device_kind} devices;"
    f" {task.train_flops / 1e9:.3f} GFLOPs and {places} places a pair;"
    f" {config.batch_size:,} pairs a step\n"
    f"memory a device: {_gib(memory.argument_size_in_bytes)} state and batch,"
    f" {_gib(memory.temp_size_in_bytes)} temporary; attention {chosen} ({why});"
    f" compiled in {seconds:.1f} s",
    flush=True,
  )


def _gib(size: int) -> str:
  return f"{size / 2**30:.3f} GiB"
