"""Runs `item-jax` so that it ends when the process that asked for it ends.

python -m item_jax.comparison.child PARENT_ID COMMAND ... [-- COMMAND ...]

Several commands run one after the other, up to the first that fails: what
takes seconds to import is imported once. Two are not `item-jax`'s: score
FOLDER, as `item_jax.comparison.score.make`, and untaught FOLDER KIND DATA
SPLIT ..., as `item_jax.comparison.baselines.make`.
"""

import os
import runpy
import sys
from pathlib import Path

from item_jax.distributed.processes import die_with_parent
from item_jax.errors import UserError

NEXT = "--"
SCORE = "score"
UNTAUGHT = "untaught"
CORES = "ITEM_JAX_CORES"  # "0,2": those that it may use; all if not set


def main() -> int:
  _, parent, *words = sys.argv
  die_with_parent(int(parent))
  if CORES in os.environ:
    os.sched_setaffinity(0, map(int, os.environ[CORES].split(",")))
  while words:
    end = words.index(NEXT) if NEXT in words else len(words)
    command, words = words[:end], words[end + 1 :]
    code = run(command)
    if code:
      return code
  return 0


def run(command: list[str]) -> int:
  if command[0] in (SCORE, UNTAUGHT):
    return _ours(*command)
  print(f"$ item-jax {' '.join(command)}", flush=True)
  sys.argv = ["item-jax", *command]
  try:
    runpy.run_module("item_jax", run_name="__main__", alter_sys=True)
  except SystemExit as end:
    return end.code if isinstance(end.code, int) else int(bool(end.code))
  return 0


def _ours(what: str, folder: str, *more: str) -> int:
  from item_jax.comparison import baselines, score
  from item_jax.data.records import open_store

  print(f"{what} {folder}", flush=True)
  try:
    if what == SCORE:
      score.make(Path(folder))
    else:
      kind, data, *splits = more
      baselines.make(Path(folder), kind, open_store(data), splits)
  except (UserError, FileNotFoundError) as error:
    print(f"error: {error}", flush=True)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main())
