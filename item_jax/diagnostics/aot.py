"""Compiles a run's step for accelerators that are not there.

The compilers of TPUs and GPUs need no device. They run in a child process:
they take gigabytes, print as they like and do not hear Ctrl-C.
"""

import contextlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import jax

from item_jax.config import Config, flatten, from_flat, on_devices
from item_jax.diagnostics import hlo, targets
from item_jax.diagnostics.hlo import Collective
from item_jax.diagnostics.plan import CLASSES, make_task
from item_jax.distributed.private_apis import assumed_cudnn
from item_jax.distributed.processes import die_with_parent
from item_jax.errors import UserError

# What item_base took of the processor (jax 0.10.2), for who waits.
COST = (
  "compiling for accelerators takes up to 5 GB of memory and minutes of the"
  " processor: item_base for one H100 one, for 256 v5e three to eight"
)
_LINES = 12  # of the compiler's output that an error shows
_PACKAGES = ("jax", "libtpu", "jax-cuda13-plugin", "jax-cuda12-plugin")


class Compiled(NamedTuple):
  """What a compiler says of a step, on one chip."""

  arguments: int  # bytes of state and batch
  temporary: int  # bytes beside them, at the worst moment
  # None where it does not say, as for GPUs; a loop's body counts once.
  flops: float | None
  traffic: float | None  # bytes read and written by all operations
  attention: str  # the kernel
  fused: int  # calls of it, where it is fused
  collectives: list[Collective]
  seconds: float
  cpu_seconds: float
  versions: dict[str, str]

  @property
  def memory(self) -> int:
    return self.arguments + self.temporary


def compile_for(
  config: Config,
  target: targets.Target,
  *,
  vocab_size: int,
  classes: int = CLASSES,
  folder: Path | None = None,
) -> Compiled:
  """Compiles the step of a config in a child process.

  Args:
    classes: of the task "category".
    folder: keeps the program's text, before and after XLA.

  Raises:
    UserError: the compiler is not installed, or refuses the program.
  """
  request = {
    "config": flatten(config),
    "target": target.name,
    "vocab_size": vocab_size,
    "classes": classes,
    "folder": None if folder is None else str(folder.absolute()),
  }
  with _alone(), tempfile.TemporaryFile("w+") as log:
    answer = _run_child(json.dumps(request), log)
    if answer is None:
      log.seek(0)
      last = "\n  ".join(log.read().splitlines()[-_LINES:])
      raise UserError(f"the compiler of {target.name} ended:\n  {last}")
  if "error" in answer:
    raise UserError(answer["error"])
  sent = [Collective(*one) for one in answer.pop("collectives")]
  return Compiled(collectives=sent, **answer)


def _alone() -> filelock.BaseFileLock:
  """Held while no other process of this user compiles for accelerators.

  libtpu ends a second process that loads it; and two would need the memory of
  two.
  """
  name = f"item-jax-aot-{os.getuid() if hasattr(os, 'getuid') else 0}.lock"
  return filelock.FileLock(Path(tempfile.gettempdir()) / name)


def _run_child(request: str, log) -> dict[str, Any] | None:
  """Returns what the child answered; None where it ended without."""
  child = subprocess.Popen(
    [sys.executable, "-m", __name__, str(os.getpid())],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=log,
    text=True,
    env=os.environ | _ENVIRONMENT,
  )
  try:
    out, _ = child.communicate(request)
  finally:
    child.kill()  # Ctrl-C: the compiler itself would go on
    child.wait()
  answers = [line for line in out.splitlines() if line.startswith(_MARK)]
  return json.loads(answers[-1].removeprefix(_MARK)) if answers else None


_MARK = "item-jax compiled: "
_ENVIRONMENT = {
  "JAX_PLATFORMS": "cpu",  # no device is taken from anybody
  "CUDA_VISIBLE_DEVICES": "",
  # It would ask the cloud's servers which TPU this host has.
  "TPU_SKIP_MDS_QUERY": "1",
  # Its lock is for the chips, of which none is touched; ours is `_alone`.
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
  # A program read from the cache has no compiler's figures.
  "JAX_ENABLE_COMPILATION_CACHE": "false",
}


def main() -> None:
  """Answers one request on stdin with a line of JSON on stdout."""
  die_with_parent(int(sys.argv[1]))
  request = json.load(sys.stdin)
  try:
    answer: dict[str, Any] = _compile(request)._asdict()
  except UserError as error:
    answer = {"error": str(error)}
  except jax.errors.JaxRuntimeError as error:
    # Its further lines are where the operation was written.
    why = str(error).partition("\n")[0]
    answer = {"error": f"the compiler of {request['target']} refuses it: {why}"}
  sys.stdout.write(f"\n{_MARK}{json.dumps(answer)}\n")


def _compile(request: dict) -> Compiled:
  from item_jax.config_check import validate

  config = from_flat(request["config"])
  config.data.path = config.data.path or "any"
  target = targets.find_target(request["target"])
  devices = target.devices()
  validate(config, devices=len(devices))
  config = on_devices(config, len(devices))
  sizes = request["vocab_size"], request["classes"]
  with assumed_cudnn():
    kernel, lowered = _lower(config, devices, sizes)
  wall, processor = time.perf_counter(), time.process_time()
  compiled = lowered.compile()
  text = compiled.as_text()
  if request["folder"]:
    folder = Path(request["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "before.mlir").write_text(lowered.as_text())
    (folder / "after.hlo").write_text(text)
  program = hlo.read_program(text)
  memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
  return Compiled(
    arguments=memory.argument_size_in_bytes,
    temporary=memory.temp_size_in_bytes,
    flops=cost.get("flops"),
    traffic=cost.get("bytes accessed"),
    attention=kernel,
    fused=program.attention,
    collectives=program.collectives,
    seconds=time.perf_counter() - wall,
    cpu_seconds=time.process_time() - processor,
    versions=_versions(),
  )


def _lower(config: Config, devices: list, sizes: tuple[int, int]):
  """Returns (attention's kernel, the step as it is handed to XLA)."""
  from item_jax.training import attention_backend, sharding
  from item_jax.training.compiled import make_program

  m = config.model
  shapes = make_task(config, *sizes).attention_shapes
  kernel, _ = attention_backend.choose(
    m.attention, shapes=shapes, dtype=m.dtype, device=devices[0]
  )
  mesh = sharding.make_mesh(config.mesh.data, config.mesh.fsdp, devices=devices)
  task = make_task(config, *sizes, attention=kernel)
  made = make_program(config, task, mesh, taken=_taken(config, task))
  return kernel, made.lower()


def _taken(config: Config, task) -> list[str]:
  """All that an embedding needs, where a run starts from parameters."""
  if not config.start_from:
    return []
  shapes = jax.eval_shape(task.core, jax.random.key(0))
  paths, _ = zip(*jax.tree_util.tree_leaves_with_path(shapes), strict=True)
  return ["/".join(key.key for key in path) for path in paths]


def _versions() -> dict[str, str]:
  found = {}
  for name in _PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      found[name] = importlib.metadata.version(name)
  return found


if __name__ == "__main__":
  main()
