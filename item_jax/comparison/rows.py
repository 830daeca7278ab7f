"""Makes the scores of one row at one seed: its runs, exports and result.

Each stage looks for its own finished result first, so that the same call
continues one that was interrupted anywhere.
"""

import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from item_jax.comparison import files, hybrids, score
from item_jax.comparison.child import BASELINE, HYBRID, SCORE
from item_jax.comparison.request import Job
from item_jax.comparison.runs import (
  full_run,
  run_folder,
  take_weights,
  train,
  train_full,
)
from item_jax.comparison.subprocesses import check_call, command
from item_jax.comparison.systems import BASELINES, System
from item_jax.evaluation.items import find_export_damage

logger = logging.getLogger(__name__)

# {(split, modality): folder}
Exports = dict[tuple[str, str], Path]


def score_row(job: Job, row: System, seed: int) -> None:
  """Makes the result of a row at a seed, unless it is there.

  Raises:
    FailedError: a run it needs failed or diverged.
  """
  if score.read(job.seed_folder(row.name, seed)) is None:
    _MAKERS[row.kind](job, row, seed)


def _trained(job: Job, row: System, seed: int) -> None:
  """Scores a system that is trained, or weights as they are."""
  trained = _run(job, row.name, seed)
  facts, folder = job.facts(row.name), job.seed_folder(row.name, seed)
  exports, commands = _exports(job, trained, trained, _needed(job, facts))
  predictions = None
  if facts["predicts"] and job.has_categories:
    predictions = folder / "own.json"
    folder.mkdir(parents=True, exist_ok=True)
    where = {"workdir": trained / "workdir", "data": job.request.data}
    where |= {"split": job.request.split, "out": folder / "predictions.csv"}
    commands.append(command("predict", **where, json=predictions))
  about = {"predictions": predictions, "modality": facts["side"]}
  _score(job, row, seed, commands, exports, **about)


def _untrained(job: Job, row: System, seed: int) -> None:
  (base,) = row.parts
  facts, run = job.facts(base), full_run(job, base, seed)
  train(job, run)
  trained, folder = run_folder(job, run), job.seed_folder(row.name, seed)
  needed = _needed(job, facts)
  exports, commands = _exports(job, trained, folder, needed, step=0)
  _score(job, row, seed, commands, exports, modality=facts["side"])


def _fused(job: Job, row: System, seed: int) -> None:
  """Fuses an image and a title system, or the two towers of one model."""
  train_split, val, split = _splits(job)
  fused = [split, val, *([train_split] if job.has_categories else [])]
  if len(row.parts) == 1:
    sources = [(row.parts[0], "image"), (row.parts[0], "title")]
  else:
    sources = [(part, "both") for part in row.parts]
  made, commands = {}, []
  for part in row.parts:
    trained = train_full(job, part, seed)
    wanted = [
      (s, modality)
      for s in sorted(fused)
      for source, modality in sources
      if source == part
    ]
    found, more = _exports(job, trained, trained, wanted)
    made |= {(part, *key): path for key, path in found.items()}
    commands += more

  def inputs(split: str) -> list[Path]:
    return [made[part, split, modality] for part, modality in sources]

  folder = job.seed_folder(row.name, seed)
  exports = {(s, "both"): folder / "exports" / f"{s}-both" for s in fused}

  def fuse(split: str, *options) -> list[list]:
    out = exports[split, "both"]
    out.parent.mkdir(parents=True, exist_ok=True)
    if _is_whole(out):
      return []
    # `fuse` replaces only folders that it recognises, so no damaged ones.
    shutil.rmtree(out, ignore_errors=True)
    return [["fuse", *inputs(split), f"--out={out}", *options]]

  commands += fuse(split, *(["--tune", *inputs(val)] if row.tuned else []))
  if commands:
    check_call(job.execute, *commands, log=folder / "log.txt")
  # The scored split has the weight; the others are fused by the same one.
  image_weight = files.read_json(exports[split, "both"] / "meta.json")["share"]
  commands = []
  for other in sorted(fused[1:]):
    commands += fuse(other, f"--share={image_weight}")
  exports[split, "image"], exports[split, "title"] = inputs(split)
  counts = {"share": image_weight}
  _score(job, row, seed, commands, exports, counts=counts)


def _hybrid(job: Job, row: System, seed: int) -> None:
  """Joins systems as validation says; their exports are made already."""
  splits, sides, commands = _splits(job), set(), []
  parts: dict[str, list[str]] = {split: [] for split in splits}
  for part in row.parts:
    exports = {}
    if part not in BASELINES:
      run = _run(job, part, seed)
      needed = [(split, "both") for split in splits]
      exports, more = _exports(job, run, run, needed)
      commands += more
    for split in splits:
      parts[split].append(str(exports.get((split, "both"), part)))
    sides.add(BASELINES.get(part) or job.facts(part)["side"])
  logger.info(f"{row.name} seed {seed}: scores")
  folder = job.seed_folder(row.name, seed)
  hybrids.write_request(
    folder,
    parts,
    data=job.request.data,
    classified=job.has_categories,
    modality=sides.pop() if len(sides) == 1 else None,
  )
  check_call(job.execute, *commands, [HYBRID, folder], log=folder / "log.txt")


def _baseline(job: Job, row: System, seed: int) -> None:
  logger.info(f"{row.name}: scores")
  folder = job.seed_folder(row.name, seed)
  train_split, *splits = _splits(job)
  splits = [train_split, *splits] if job.has_categories else splits
  words = [BASELINE, folder, row.kind, job.request.data, *splits]
  check_call(job.execute, words, log=folder / "log.txt")


_MAKERS = {
  "trained": _trained,
  "frozen": _trained,
  "untrained": _untrained,
  "fused": _fused,
  "hybrid": _hybrid,
  "tfidf": _baseline,
  "thumbnail": _baseline,
}


def _splits(job: Job) -> tuple[str, str, str]:
  """The splits of training, of validation, and the one that is scored."""
  return *job.learning_splits, job.request.split


def _run(job: Job, name: str, seed: int) -> Path:
  """The folder of a system's run, which is made unless it is there."""
  if name in job.available.frozen:
    return take_weights(job, name)
  return train_full(job, name, seed)


def _needed(job: Job, facts: Mapping) -> list[tuple[str, str]]:
  """The (split, modality) of each export that scoring a system needs."""
  train_split, val, split = _splits(job)
  needed = [
    (split, modality)
    for modality in ("both", "image", "title")
    if modality in facts["modalities"]
  ]
  if job.has_categories:
    needed.append((train_split, "both"))
  return [*needed, (val, "both")]


def _exports(
  job: Job,
  trained: Path,
  folder: Path,
  needed: Iterable[tuple[str, str]],
  **options,
) -> tuple[Exports, list[list]]:
  """Names the exports of a run.

  Args:
    trained: the run's folder.
    folder: exports are made in it.

  Returns:
    The folders, and the commands that make those which are not whole.
  """
  exports = {
    (split, modality): folder / "exports" / f"{split}-{modality}"
    for split, modality in needed
  }
  commands = []
  for (split, modality), out in exports.items():
    if not _is_whole(out):
      where = {"workdir": trained / "workdir", "data": job.request.data}
      where |= {"split": split, "out": out, "modality": modality}
      # What is damaged is overwritten.
      commands.append(command("export", "--overwrite", **where, **options))
  return exports, commands


def _is_whole(export: Path) -> bool:
  """Whether an export is finished and undamaged."""
  finished = (export / "meta.json").is_file()
  return finished and not any(find_export_damage(export))


def _score(
  job: Job,
  row: System,
  seed: int,
  commands: list[list],
  exports: Exports,
  **about,
) -> None:
  """Runs commands that make exports, then scores them, all in one process.

  So it uses the job's own cores, and gives its memory back.
  """
  logger.info(f"{row.name} seed {seed}: exports and scores")
  folder = job.seed_folder(row.name, seed)
  _, val, scored = splits = _splits(job)
  score.write_request(
    folder,
    {m: path for (split, m), path in exports.items() if split == scored},
    splits=[exports[s, "both"] for s in splits if job.has_categories],
    validation=exports[val, "both"],
    **about,
  )
  check_call(job.execute, *commands, [SCORE, folder], log=folder / "log.txt")
