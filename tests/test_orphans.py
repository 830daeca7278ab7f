"""Whatever is killed, nothing that it started lives on, nor its memory."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import shell
import warm

from item_jax.distributed.processes import shared_memory_prefix

HERE = Path(__file__).parent
HELPERS = HERE / "helpers"
LAUNCH = HERE.parent / "launch"
SECONDS = 5  # that a child may live longer than its parent


def start(*words) -> subprocess.Popen:
  return warm.Popen(
    [sys.executable, *map(str, words)],
    env=shell.environment(),
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
  )


def wait_for(happened, seconds: float = 120):
  deadline = time.monotonic() + seconds
  while not (found := happened()):
    assert time.monotonic() < deadline
    time.sleep(0.02)
  return found


def kill_and_watch(parent: int, *, at_least: int, like: str = "") -> None:
  """SIGKILL for `parent` once it has so many descendants `like` that."""

  def family() -> dict[int, str] | None:
    found = shell.children(parent)
    found.pop(parent, None)
    wanted = [command for command in found.values() if like in command]
    return found if len(wanted) >= at_least else None

  begun = {pid: began(pid) for pid in wait_for(family)}
  os.kill(parent, signal.SIGKILL)
  deadline = time.monotonic() + SECONDS
  while left := [p for p, at in begun.items() if at and began(p) == at]:
    assert time.monotonic() < deadline, left
    time.sleep(0.05)


def began(pid: int) -> str:
  """What tells a process from a later one of its number; "" for none."""
  try:
    stat = Path(f"/proc/{pid}/stat").read_text()
  except (FileNotFoundError, ProcessLookupError):
    return ""
  fields = stat.rpartition(")")[2].split()
  return "" if fields[0] == "Z" else fields[19]  # starttime


def segments(owner: int) -> list[str]:
  return [
    path.name
    for path in Path("/dev/shm").glob(f"{shared_memory_prefix(owner)}*")
  ]


def test_a_reader_leaves_neither_workers_nor_memory(tiny_data):
  reader = start(HELPERS / "read_on.py", tiny_data)
  assert reader.stdout.readline() == "running\n"
  assert segments(reader.pid)
  # As if a worker had been killed between making and telling of it.
  untold = Path(f"/dev/shm/{shared_memory_prefix(reader.pid)}test")
  untold.write_bytes(b"0")
  kill_and_watch(reader.pid, at_least=3)  # two, who tracks and who sweeps
  reader.communicate()
  deadline = time.monotonic() + SECONDS
  while segments(reader.pid):
    assert time.monotonic() < deadline, segments(reader.pid)
    time.sleep(0.05)


def test_many_processes_end_with_what_started_them():
  loop = (sys.executable, HELPERS / "progress_loop.py", "--stall_seconds=60")
  parent = subprocess.Popen(
    ["bash", LAUNCH / "processes.sh", "2", *loop],
    env=shell.environment(),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  kill_and_watch(parent.pid, at_least=2, like="--process_id=")
  parent.communicate()


@pytest.mark.slow
def test_train_leaves_no_workers(tiny_data, tmp_path):
  workdir = tmp_path / "run"
  parent = shell.start(
    *shell.train_words(tiny_data, workdir, "--config.data.workers=2")
  )
  log = workdir / "metrics.jsonl"
  wait_for(lambda: log.exists() and '"step": 5' in log.read_text())
  kill_and_watch(parent.pid, at_least=2)
  parent.communicate()


@pytest.mark.slow
def test_export_leaves_no_workers(tiny_data, tmp_path):
  workdir = tmp_path / "run"
  shell.run(*shell.train_words(tiny_data, workdir, variant="short"))
  parent = start(
    *("-m", "item_jax", "export", f"--workdir={workdir}", "--workers=2"),
    *(f"--data={tiny_data}", "--split=train", f"--out={tmp_path / 'e'}"),
  )
  kill_and_watch(parent.pid, at_least=3)  # two, and who counts the memory
  parent.communicate()


@pytest.mark.slow
def test_compare_leaves_no_runs(tiny_data, tmp_path):
  parent = start(
    *("-m", "item_jax", "compare", f"--data={tiny_data}", "--seeds=1"),
    *("--systems=clip,tfidf", "--rates=1", "--budget=40steps"),
    f"--config={HELPERS / 'tiny_compare.py'}",
    f"--out={tmp_path / 'out'}",
  )
  kill_and_watch(parent.pid, at_least=1, like="comparison.child")
  parent.communicate()
