"""Saves to a disk that fails and is mended; asserts what must then be so.

python failing_disk.py FOLDER full|read_only, started by test_saver.py in a
namespace where it may mount a small disk of its own below FOLDER.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from item_jax.cli.output import printed_logs
from item_jax.config import Checkpoint
from item_jax.training import saver
from item_jax.training.checkpoints import Checkpoints, SaveError
from item_jax.training.metric_log import Log

# Noise does not compress: a checkpoint takes 1 MB of the disk's 4.
STATE = {
  "params": jax.numpy.asarray(
    np.random.default_rng(0).normal(size=2**18).astype(np.float32)
  )
}
SIZE = 4 * 2**20


def mount(folder: Path, *options: str) -> None:
  words = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={SIZE}", *options])]
  subprocess.run([*words, "tmpfs", str(folder)], check=True)


def fill(folder: Path) -> None:
  """Leaves less than a checkpoint takes, but enough for it to begin."""
  disk = os.statvfs(folder)
  with (folder / "filler").open("wb") as file:
    file.write(bytes(disk.f_bavail * disk.f_frsize - 2**19))


def until(done) -> None:
  deadline = time.monotonic() + 60
  while not done():
    assert time.monotonic() < deadline
    time.sleep(0.01)


def main(outside: Path, kind: str) -> None:
  folder = outside / "disk"
  folder.mkdir()
  mount(folder)
  # An open file of a log would keep the disk from being made read-only.
  logs = folder if kind == "full" else outside
  saver.LAST_TRIES = (0, 0.05)
  log = Log(logs, start=0)
  checkpoints = Checkpoints(folder)
  saves = saver.Saver(
    checkpoints, log, Checkpoint(every=10), log_every=5, saved=None
  )
  log.write(10, "train", {"loss": 1.0})
  saves.save(10, STATE)
  until(checkpoints.ended)
  assert not saves.due(11)

  if kind == "full":
    fill(folder)
  else:
    mount(folder, "remount", "ro")
  log.write(20, "train", {"loss": 2.0})
  saves.save(20, STATE)
  until(lambda: saves.due(21))  # it failed, and is tried again: soon, not at 30
  assert checkpoints.steps() == [10]
  saves.save(21, STATE)
  with pytest.raises(SaveError, match=r"step 22, is not on disk; .* step 10"):
    saves.finish(22, STATE)

  if kind == "full":
    (folder / "filler").unlink()
  else:
    mount(folder, "remount", "rw")
  until(lambda: saves.due(23))
  saves.save(23, STATE)
  until(checkpoints.ended)
  assert not saves.due(24)
  saves.finish(23, STATE)
  # Nothing of what failed is left, and no row is lost.
  names = {path.name for path in checkpoints.folder.iterdir()}
  assert names == {"10", "23"}, names
  assert Checkpoints(folder).newest_good() == 23
  text = (logs / "metrics.jsonl").read_text()
  rows = [json.loads(line) for line in text.splitlines()]
  kinds = [(row["kind"], row["step"]) for row in rows]
  assert kinds[:3] == [("train", 10), ("train", 20), ("save_failed", 21)] or (
    kinds[:3] == [("train", 10), ("train", 20), ("save_failed", 20)]
  ), kinds
  assert [step for _, step in kinds] == sorted(step for _, step in kinds)
  print(f"survived a disk that is {kind}: {len(rows)} rows")


if __name__ == "__main__":
  with printed_logs():
    main(Path(sys.argv[1]), sys.argv[2])
