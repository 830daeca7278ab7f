"""A row and a seed in; its runs, exports and scores on disk out.

Each stage looks for its own finished result first, so that a call that was
interrupted anywhere is continued by the same call.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from item_jax.comparison import files, runs, score
from item_jax.comparison.child import SCORE, UNTAUGHT
from item_jax.comparison.request import Job
from item_jax.comparison.runs import finished, full_run, say, train
from item_jax.comparison.subprocesses import must
from item_jax.comparison.systems import System
from item_jax.evaluation.items import find_export_damage


def score_row(job: Job, row: System, seed: int, call: Callable) -> None:
  """Makes the result of a row at a seed, unless it is there.

  Args:
    call: runs a command, as `item_jax.comparison.subprocesses.Commands`.

  Raises:
    FailedError: a run it needs failed or diverged.
  """
  folder = job.out / "runs" / row.name / f"seed-{seed}"
  if score.read(folder) is None:
    _MAKERS[row.kind](job, row, seed, folder, call)


def _trained(job: Job, row: System, seed: int, folder: Path, call) -> None:
  trained = finished(job, row.name, seed, call)
  facts = job.facts(row.name)
  exports, commands = _exports(job, trained, trained, _wanted(job, facts))
  own = None
  if facts["predicts"] and job.categorised:
    own = folder / "own.json"
    folder.mkdir(parents=True, exist_ok=True)
    commands.append(
      [
        "predict",
        f"--workdir={trained / 'workdir'}",
        f"--data={job.request.data}",
        f"--split={job.request.split}",
        f"--out={folder / 'predictions.csv'}",
        f"--json={own}",
      ]
    )
  how = {"own": own, "side": facts["side"]}
  _score(job, row.name, seed, call, commands, exports, **how)


def _untrained(job: Job, row: System, seed: int, folder: Path, call) -> None:
  (base,) = row.parts
  facts, run = job.facts(base), full_run(job, base, seed)
  train(job, run, call)
  exports, commands = _exports(
    job, runs.run_folder(job.out, run), folder, _wanted(job, facts), "--step=0"
  )
  _score(job, row.name, seed, call, commands, exports, side=facts["side"])


def _fused(job: Job, row: System, seed: int, folder: Path, call) -> None:
  """Either side alone is what its model, or its tower, gives by itself."""
  train_split, val, split = _splits(job)
  needed = {split} | ({val} if row.tuned else set())
  needed |= {train_split, val} if job.categorised else set()
  names = ("image", "title") if len(row.parts) == 1 else ("both", "both")
  both = tuple(zip((row.parts * 2)[:2], names, strict=True))
  made, commands = {}, []
  for part in row.parts:
    trained = finished(job, part, seed, call)
    wanted = [
      (s, side) for s in sorted(needed) for p, side in both if p == part
    ]
    found, more = _exports(job, trained, trained, wanted)
    made |= {(part, *key): path for key, path in found.items()}
    commands += more

  def sides(split: str) -> list[Path]:
    return [made[part, split, side] for part, side in both]

  def fuse(split: str, *how) -> list[list]:
    out = exports[split, "both"]
    out.parent.mkdir(parents=True, exist_ok=True)
    if _done(out):
      return []
    # What is damaged: `fuse` replaces only what it can tell is its own.
    shutil.rmtree(out, ignore_errors=True)
    return [["fuse", *sides(split), f"--out={out}", *how]]

  exports = {
    (s, "both"): folder / "exports" / f"{s}-both"
    for s in ({split, train_split, val} if job.categorised else {split})
  }
  commands += fuse(split, *(["--tune", *sides(val)] if row.tuned else []))
  if commands:
    must(call, *commands, log=folder / "log.txt")
  share = files.read_json(exports[split, "both"] / "meta.json")["share"]
  commands = []
  for other, _ in sorted(exports.keys() - {(split, "both")}):
    commands += fuse(other, f"--share={share}")
  exports |= zip(
    ((split, "image"), (split, "title")), sides(split), strict=True
  )
  counts = {"share": share}
  _score(job, row.name, seed, call, commands, exports, counts=counts)


def _untaught(job: Job, row: System, seed: int, folder: Path, call) -> None:
  del seed
  *learnt, split = _splits(job)
  learnt = learnt if job.categorised else []
  say(f"{row.name}: scores")
  words = [UNTAUGHT, folder, row.kind, job.request.data, *learnt, split]
  must(call, words, log=folder / "log.txt")


_MAKERS = {
  "trained": _trained,
  "untrained": _untrained,
  "fused": _fused,
  "tfidf": _untaught,
  "thumbnail": _untaught,
}


def _splits(job: Job) -> tuple[str, str, str]:
  """Of training, of validation, and the one that is scored."""
  return *job.learnt, job.request.split


def _wanted(job: Job, facts: dict) -> list[tuple[str, str]]:
  """The (split, side) that scoring a system needs."""
  *others, split = _splits(job)
  wanted = [
    (split, side)
    for side in ("both", "image", "title")
    if side in facts["modalities"]
  ]
  return wanted + [(s, "both") for s in others if job.categorised]


def _exports(
  job: Job, trained: Path, folder: Path, wanted, *more: str
) -> tuple[dict, list[list]]:
  """Folders of exports, {(split, side): ...}, and commands that make those
  which are not there."""
  found = {
    (split, side): folder / "exports" / f"{split}-{side}"
    for split, side in wanted
  }
  commands = [
    [
      "export",
      f"--workdir={trained / 'workdir'}",
      f"--data={job.request.data}",
      f"--split={split}",
      f"--out={out}",
      f"--modality={side}",
      "--overwrite",  # what is damaged
      *more,
    ]
    for (split, side), out in found.items()
    if not _done(out)
  ]
  return found, commands


def _done(export: Path) -> bool:
  """Whether it is finished, and what was written."""
  finished = (export / "meta.json").is_file()
  return finished and not any(find_export_damage(export))


def _score(job: Job, name, seed, call, commands, exports, **how) -> None:
  """Runs commands that make exports, then scores these, all in one process:
  on its share of the machine, and its memory is given back."""
  say(f"{name} seed {seed}: exports and scores")
  folder = job.out / "runs" / name / f"seed-{seed}"
  splits = _splits(job)
  scored = {
    s: path for (split, s), path in exports.items() if split == splits[2]
  }
  learnt = [exports[split, "both"] for split in splits if job.categorised]
  score.ask(folder, scored, splits=learnt, **how)
  must(call, *commands, [SCORE, folder], log=folder / "log.txt")
