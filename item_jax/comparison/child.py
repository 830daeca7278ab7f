"""Runs `item-jax` so that it ends when the process that started it ends.

python -m item_jax.comparison.child PARENT_ID COMMAND ... [-- COMMAND ...]

Several commands run one after the other, up to the first that fails: what
takes seconds to import is imported once. Three are not `item-jax`'s: score
FOLDER and hybrid FOLDER, as `score_request` of `item_jax.comparison.score` and
of `.hybrids`; and baseline FOLDER KIND DATA SPLIT ..., as
`item_jax.comparison.baselines.score_baseline`.
"""

import logging
import os
import runpy
import sys
from pathlib import Path

from item_jax.distributed.processes import die_with_parent
from item_jax.errors import UserError

NEXT = "--"
SCORE = "score"
HYBRID = "hybrid"
BASELINE = "baseline"
CORES = "ITEM_JAX_CORES"  # "0,2": those that it may use; all if not set


def main() -> int:
  """Runs the commands of sys.argv and returns an exit code."""
  _, parent, *argv = sys.argv
  die_with_parent(int(parent))
  if CORES in os.environ:
    os.sched_setaffinity(0, map(int, os.environ[CORES].split(",")))
  while argv:
    end = argv.index(NEXT) if NEXT in argv else len(argv)
    command, argv = argv[:end], argv[end + 1 :]
    code = run(command)
    if code:
      return code
  return 0


def run(command: list[str]) -> int:
  """Runs one command and returns its exit code."""
  if command[0] in (SCORE, HYBRID, BASELINE):
    return _score(*command)
  _log(f"$ item-jax {' '.join(command)}")
  sys.argv = ["item-jax", *command]
  try:
    runpy.run_module("item_jax", run_name="__main__", alter_sys=True)
  except SystemExit as end:
    return end.code if isinstance(end.code, int) else int(bool(end.code))
  return 0


def _score(what: str, folder: str, *more: str) -> int:
  from item_jax.comparison import baselines, hybrids, score
  from item_jax.data.records import open_dataset

  _log(f"{what} {folder}")
  # `item-jax` shows what the package logs by itself.
  package = logging.getLogger("item_jax")
  handler = logging.StreamHandler(sys.stdout)
  package.addHandler(handler)
  package.setLevel(logging.INFO)
  try:
    if what == SCORE:
      score.score_request(Path(folder))
    elif what == HYBRID:
      hybrids.score_request(Path(folder))
    else:
      kind, data, *splits = more
      baselines.score_baseline(Path(folder), kind, open_dataset(data), splits)
  except (UserError, FileNotFoundError) as error:
    _log(f"error: {error}")
    return 2
  finally:
    package.removeHandler(handler)
  return 0


def _log(line: str) -> None:
  """Writes to stdout, which is the log of the commands."""
  sys.stdout.write(f"{line}\n")
  sys.stdout.flush()


if __name__ == "__main__":
  sys.exit(main())
