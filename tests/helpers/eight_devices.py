"""Takes the same steps on several meshes of eight devices, in a process of its
own: names of tasks in, what was found as JSON out.

python eight_devices.py FOLDER item clip:1x1,2x4 ...
"""

import json
import sys
import zlib
from pathlib import Path

import jax
import numpy as np
import optax
import tiny_run

from item_jax import tasks
from item_jax.batch import Batch
from item_jax.diagnostics.plan import Vocabulary
from item_jax.training import sharding
from item_jax.training import step as step_lib
from item_jax.training.checkpoints import Checkpoints
from item_jax.training.optimizer import make_optimizer

MESHES = {
  "1x1": (1, 1),
  "8x1": (8, 1),
  "1x8": (1, 8),
  "2x4": (2, 4),
  "4x2": (4, 2),
}
ROWS, STEPS, WORDS = 16, 4, 320
HASHES = {f"c{i}": zlib.crc32(f"c{i}".encode()) for i in range(8)}
NAMES = sorted(HASHES, key=HASHES.get)  # the order of a head's columns
TASKS = {
  "item": {},
  "align": {"loss.align": 1.0, "align.views": "both"},
  "clip": {"task": "contrastive", "model.name": "clip"},
  "resnet50": {
    "task": "category",
    "model.name": "resnet50",
    "resnet.norm": "batch",
    # Its last statistics are of the batch's rows times (size / 32)^2 places.
    # Where that is 16 values, rows in another order on one device change the
    # fourth loss by 16 % at a rate of 1e-2; of 64, by 1e-7 at the rate below.
    "model.image_size": 64,
  },
}
RATES = {"resnet50": 1e-5}


def make_config(name: str):
  """Sizes of which 1, 2, 4 and 8 devices each get a part of some leaves."""
  config = tiny_run.get_config("plain")
  config.model.width, config.model.mlp = 64, 320
  config.clip.text_width, config.clip.text_mlp = 64, 320
  config.model.dropout = 0.1  # whose bits no mesh may change
  for option, value in TASKS[name].items():
    group, _, leaf = option.rpartition(".")
    setattr(getattr(config, group) if group else config, leaf, value)
  return config


def make_batch(config, seed: int) -> Batch:
  """Random photos and titles, one of each missing, eight categories."""
  rng = np.random.default_rng(seed)
  batch = tasks.example_batch(config, ROWS)
  tokens_BT = rng.integers(5, WORDS, batch.tokens_BT.shape, np.int32)
  has_image_B, has_title_B = batch.has_image_B.copy(), batch.has_title_B.copy()
  has_image_B[3] = has_title_B[9] = False
  return batch._replace(
    image_BHWC=rng.integers(0, 256, batch.image_BHWC.shape, np.uint8),
    tokens_BT=tokens_BT,
    has_image_B=has_image_B,
    has_title_B=has_title_B,
    category_B=np.array([*HASHES.values()] * 2, np.uint32),
  )


class Run:
  """One task on one mesh."""

  def __init__(self, config, mesh, rate: float):
    config.mesh.data, config.mesh.fsdp = mesh.devices.shape
    task = tasks.make_task(config, Vocabulary(WORDS), categories=NAMES)
    optimizer = make_optimizer(
      optax.constant_schedule(rate),
      b1=0.9,
      b2=0.999,
      eps=1e-4,  # or rounding alone would take steps of full size
      decay=0.01,
      clip=1.0,
    )
    view = jax.eval_shape(
      lambda batch: task.objective.corrupt(jax.random.key(0), 0, batch),
      make_batch(config, 0),
    )
    names = step_lib.metric_names(task.objective, view)

    def begin():
      params = tasks.initial_params(task, 0)
      return step_lib.init_state(params, optimizer, names)

    shapes = jax.eval_shape(begin)
    placed = sharding.for_state(mesh, shapes)
    self.config, self.mesh = config, mesh
    self.shapes = jax.tree.map(
      lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place),
      shapes,
      placed,
    )
    self.begin = lambda first: jax.device_put(first or jax.jit(begin)(), placed)
    over = sharding.over_batch(mesh)
    batch = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=over),
      make_batch(config, 0),
    )
    step = step_lib.make_train_step(
      task.objective,
      optimizer,
      seed=7,
      accumulate=1,
      log_every=10,
      gather=sharding.make_gather(mesh, placed.params),
    )
    step = jax.jit(step, out_shardings=(placed, sharding.replicated(mesh)))
    self.step = step.lower(self.shapes, batch).compile()

  def take(self, state, first: int, last: int):
    """(state, losses) of steps `first` to `last`."""
    losses = []
    for number in range(first, last):
      batch = sharding.to_devices(
        self.mesh, ROWS, make_batch(self.config, number)
      )
      state, report = self.step(state, batch)
      losses.append(float(report.loss))
    return state, losses


def look_at(state) -> dict:
  """How the moments lie beside their parameters, and bytes a device."""
  params = jax.tree.leaves(state.params)
  alike = [
    all(
      m.sharding.is_equivalent_to(p.sharding, p.ndim)
      for m, p in zip(jax.tree.leaves(moments), params, strict=True)
    )
    for moments in (
      optax.tree.get(state.opt_state, "mu"),
      optax.tree.get(state.opt_state, "nu"),
    )
  ]
  large = [
    (x.nbytes, x.addressable_shards[0].data.nbytes)
    for x in jax.tree.leaves((state.params, state.opt_state))
    if x.size >= 2**14
  ]
  return {
    "moments_lie_as_parameters": alike,
    "large": [sum(whole) for whole in zip(*large, strict=True)],
    "count": len(large),
  }


def same(a, b) -> bool:
  pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  return all(np.array_equal(x, y) for x, y in pairs)


def main(folder: Path, name: str, meshes: dict) -> dict:
  config = make_config(name)
  runs, found, kept, first = {}, {}, {}, None
  for mesh_name, (data, fsdp) in meshes.items():
    used = jax.devices()[: data * fsdp]
    mesh = sharding.make_mesh(data, fsdp, devices=used)
    run = Run(config, mesh, RATES.get(name, 1e-2))
    state = run.begin(first)
    first = first or jax.device_get(state)
    state, losses = run.take(state, 0, STEPS // 2)
    checkpoints = Checkpoints(folder / name / mesh_name)
    checkpoints.save(STEPS // 2, state)
    checkpoints.wait()
    runs[mesh_name], kept[mesh_name] = (run, checkpoints), jax.device_get(state)
    state, last = run.take(state, STEPS // 2, STEPS)
    # What the last step would have found with the parameters of the first.
    begun = run.begin(first.replace(step=np.int32(STEPS - 1)))
    _, (untrained,) = run.take(begun, STEPS - 1, STEPS)
    found[mesh_name] = {
      "losses": losses + last,
      "untrained": untrained,
      "moved_batch": run.step.as_text().count(" all-to-all("),
      **look_at(state),
    }
  # Each mesh's checkpoint goes on on the next mesh, and on one device.
  order = list(runs)
  for place, saved in enumerate(order):
    for other in {order[(place + 1) % len(order)], "1x1"}:
      run, checkpoints = runs[other][0], runs[saved][1]
      state = checkpoints.restore(STEPS // 2, run.shapes)
      equal = same(jax.device_get(state), kept[saved])
      _, losses = run.take(state, STEPS // 2, STEPS)
      found[saved].setdefault("moved", {})[other] = [equal, losses]
  for _, checkpoints in runs.values():
    checkpoints.close()
  return found


if __name__ == "__main__":
  made = {}
  for words in sys.argv[2:]:
    task, _, few = words.partition(":")
    chosen = {m: MESHES[m] for m in few.split(",")} if few else MESHES
    made[task] = main(Path(sys.argv[1]), task, chosen)
  print(json.dumps(made))
