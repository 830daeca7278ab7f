"""Runs `item-jax` as a user does: words in, exit code and output out."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import warm

CONFIG = Path(__file__).parent / "tiny_run.py"
# What differs from run to run in metrics.jsonl; all else repeats.
TIMINGS = frozenset({"samples_per_second", "input_wait", "mfu", "seconds"})


def xla_flags(*, devices: int) -> str:
  """Compiling is what tests spend their time on, so it optimises nothing."""
  flags = f"--xla_force_host_platform_device_count={devices}"
  flags += " --xla_backend_optimization_level=0"
  if metadata.version("jaxlib").startswith("0.10."):  # a flag may go
    # A training step compiles in 3.9 s of the processor instead of 7.2 s.
    flags += " --xla_cpu_use_fusion_emitters=false"
  return flags


def environment(*, devices: int = 1, cache: bool = True) -> dict:
  """Of a command that sees so many devices."""
  env = dict(os.environ)
  env["XLA_FLAGS"] = xla_flags(devices=devices)
  env["JAX_PLATFORMS"] = "cpu"
  if not cache:
    env["JAX_ENABLE_COMPILATION_CACHE"] = "false"
  return env


def start(
  *words,
  program: Sequence = ("-m", "item_jax"),
  devices: int = 1,
  cache: bool = True,
  cold: bool = False,
):
  """A running command; `cold` is a process that imports all by itself."""
  return (subprocess.Popen if cold else warm.Popen)(
    [sys.executable, *map(str, (*program, *words))],
    env=environment(devices=devices, cache=cache),
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def free_port() -> int:
  """One that the system gives nobody else, nor do other workers of pytest."""
  worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
  while True:
    port = random.randrange(10_000, 15_000) + 5_000 * (worker % 2)
    with socket.socket() as probe, contextlib.suppress(OSError):
      probe.bind(("localhost", port))
      return port


def start_together(*words, count: int = 2, **options) -> list:
  """One command as `count` processes that find each other."""
  port = free_port()
  return [
    start(
      *words,
      f"--coordinator=localhost:{port}",
      f"--num_processes={count}",
      f"--process_id={number}",
      **options,
    )
    for number in range(count)
  ]


def outputs(processes, *, seconds: float = 300) -> list[str]:
  """What each wrote until its end; read at once, as a full pipe stops it."""
  with ThreadPoolExecutor(len(processes)) as pool:
    return list(
      pool.map(lambda p: p.communicate(timeout=seconds)[0], processes)
    )


def run(*words, code: int = 0, **options) -> str:
  """Output of a command that ends with `code`."""
  process = start(*words, **options)
  output, _ = process.communicate(timeout=300)
  assert process.returncode == code, output
  return output


def unread(*words) -> subprocess.CompletedProcess:
  """A command whose output goes into a pipe that nobody reads."""
  read, write = os.pipe()
  os.close(read)
  try:
    return warm.run(
      [sys.executable, "-m", "item_jax", *map(str, words)],
      env=environment(),
      stdout=write,
      stderr=subprocess.PIPE,
      text=True,
      timeout=300,
    )
  finally:
    os.close(write)


def children(pid: int) -> dict[int, str]:
  """{process id: command line} of all that descend from `pid`, itself too."""
  found, commands = {}, {}
  for path in Path("/proc").glob("[0-9]*"):
    try:
      status = (path / "stat").read_text()
      command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
      continue  # it ended meanwhile
    state, parent = status.rpartition(")")[2].split()[:2]
    if state != "Z":
      found[int(path.name)], commands[int(path.name)] = int(parent), command
  family, size = {pid}, 0
  while len(family) > size:
    size = len(family)
    family |= {child for child, parent in found.items() if parent in family}
  return {member: commands[member] for member in family if member in commands}


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
