"""Exports that are killed, or find the disk full, and called again; exits 0
if each ends with what the undisturbed one wrote.

python disturbed_export.py HOW OUT EXPECTED WORDS..., started by
test_export.py; HOW is "named", "full" or a number of random moments.
"""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import small_shards


def killed_at_names(words, out: Path) -> None:
  """At the door, at a shard, while joining, before the last file."""
  moments = ("plan.json", "00003.json", "embeddings.npy", "meta.json")
  for name in moments:
    assert small_shards.end(small_shards.start(words, killed_at=name)) == -9
    assert not (out / "meta.json").exists()


def killed_at_random(words, out: Path, moments: int) -> None:
  source = random.Random(0)
  for _ in range(moments):
    small_shards.kill_at_random(words, out, source)
    if (out / "meta.json").exists():  # it was quicker
      shutil.rmtree(out)


def full(words, out: Path) -> None:
  """The disk is full at the first shard, and later while joining."""
  out.mkdir()
  mount(out, "size=8k")
  assert small_shards.end(small_shards.start(words)) == 4
  mount(out, "remount,size=9m")
  killed = small_shards.start(words, killed_at="embeddings.npy")
  assert small_shards.end(killed) == -9
  for part in out.glob("*.part"):
    part.unlink()
  disk = os.statvfs(out)
  used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
  mount(out, f"remount,size={used + 4096}")
  assert small_shards.end(small_shards.start(words)) == 4
  assert not (out / "meta.json").exists()
  mount(out, "remount,size=9m")


def mount(out: Path, options: str) -> None:
  words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(out)]
  subprocess.run(words, check=True)


def main(how: str, out: Path, expected: Path, words: list[str]) -> None:
  words = [*words, f"--out={out}"]
  if how == "named":
    killed_at_names(words, out)
  elif how == "full":
    full(words, out)
  else:
    killed_at_random(words, out, int(how))
  assert small_shards.end(small_shards.start(words)) == 0
  wanted = {path.name: path.read_bytes() for path in expected.iterdir()}
  found = {path.name: path.read_bytes() for path in out.iterdir()}
  assert found == wanted, sorted(found)


if __name__ == "__main__":
  how, out, expected, *words = sys.argv[1:]
  main(how, Path(out), Path(expected), words)
