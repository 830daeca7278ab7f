"""Runs `item-jax` as a user does: words in, exit code and output out."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

CONFIG = Path(__file__).parent / "tiny_run.py"
# Programs compiled by one run serve the next: the tests' time is compilation.
CACHE = {
  "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


def environment(*, devices: int = 1, cache: Path | None = None) -> dict:
  env = dict(os.environ)
  env["XLA_FLAGS"] = (
    f"--xla_force_host_platform_device_count={devices}"
    " --xla_backend_optimization_level=0"
  )
  env["JAX_PLATFORMS"] = "cpu"
  if cache is not None:
    env |= CACHE | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
  return env


def start(*words, devices: int = 1, cache: Path | None = None):
  return subprocess.Popen(
    [sys.executable, "-m", "item_jax", *map(str, words)],
    env=environment(devices=devices, cache=cache),
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def run(*words, code: int = 0, **options) -> str:
  """Output of a command that ends with `code`."""
  process = start(*words, **options)
  output, _ = process.communicate(timeout=300)
  assert process.returncode == code, output
  return output


def train_words(data, workdir, *options, variant: str = "plain"):
  return [
    "train",
    f"--config={CONFIG}:{variant}",
    f"--config.data.path={data}",
    f"--workdir={workdir}",
    *options,
  ]


def interrupt_at(process, workdir: Path, step: int, number: signal.Signals):
  """Sends a signal once metrics.jsonl holds a row of `step` or later."""
  path = Path(workdir) / "metrics.jsonl"
  deadline = time.monotonic() + 120
  while process.poll() is None and time.monotonic() < deadline:
    text = path.read_text() if path.exists() else ""
    steps = [int(x.split(",")[0]) for x in text.split('"step": ')[1:]]
    if steps and max(steps) >= step:
      process.send_signal(number)
      break
    time.sleep(0.005)
  output, _ = process.communicate(timeout=120)
  return output
