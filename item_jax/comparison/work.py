"""A row and a seed in; its runs, exports and scores on disk out.

Each stage looks for its own finished result first, so that a call that was
interrupted anywhere is continued by the same call.
"""

import functools
import statistics
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

from item_jax.comparison import files, runs, score, untaught
from item_jax.comparison import plan as plan_lib
from item_jax.comparison.calls import FailedError, must
from item_jax.comparison.job import Job
from item_jax.comparison.plan import Run
from item_jax.comparison.score import Result
from item_jax.comparison.systems import System
from item_jax.errors import UserError
from item_jax.evaluation import fusion


def say(text: str) -> None:
  print(text, flush=True)


def prepare(job: Job, name: str, call: Callable) -> None:
  """Settles a system's learning rate and its steps."""
  facts, config = job.facts(name), job.configs[name]
  if "factor" in facts:
    return
  timed = job.budget.unit == "seconds"
  if timed and "seconds_per_step" not in facts:
    say(f"{name}: measuring a step")
    data = f"--config.data.path={job.request.data}"
    words = [*job.request.overrides, data]
    found = runs.measure(job.out, name, job.flag(name), words, call)
    job.note(name, seconds_per_step=found["seconds_per_step"])
  speed = facts.get("seconds_per_step")
  steps = plan_lib.settle_steps(job.budget, config, speed)
  share = job.request.tune_share
  tuning = plan_lib.tuning_runs(name, steps, job.rates, share)
  if not tuning:
    job.note(name, factor=job.rates[0], steps=steps)
    return
  results = {run.factor: train(job, run, call) for run in tuning}
  chosen = {
    "factor": runs.choose_rate(results),
    "tuning_steps": tuning[0].steps,
  }
  if timed:
    # Training as it is, input and neighbours included, is slower than a step
    # measured by itself.
    speed = statistics.median(
      result["seconds"] / result["steps"]
      for result in results.values()
      if not result["diverged"]
    )
    chosen["seconds_per_step"] = speed
    again = plan_lib.settle_steps(job.budget, config, speed)
    # Tuning runs of the whole budget are not trained again for a few steps.
    if share < 1 or abs(again - steps) > plan_lib.NEAR * steps:
      steps = again
  chosen["steps"] = steps
  chosen["tuned"] = {
    f"{factor:g}": [
      row.get(runs.CHOICE_METRIC) for row in result["evaluations"]
    ]
    for factor, result in results.items()
  }
  kept = plan_lib.full_run(name, chosen, 0)
  for run in tuning:
    if run != kept:
      runs.drop_checkpoints(job.out, run)
  job.note(name, **chosen)


def full_run(job: Job, name: str, seed: int) -> Run:
  """The run of a system at a seed that is scored.

  Raises:
    FailedError: its learning rate could not be chosen.
  """
  facts = job.facts(name)
  if "factor" not in facts:
    raise FailedError(f"{name} has no learning rate yet: its own row says why")
  return plan_lib.full_run(name, facts, seed)


def train(job: Job, run: Run, call: Callable) -> dict:
  folder = runs.run_folder(job.out, run)
  if not (folder / runs.RESULT_FILE).is_file():
    speed = job.facts(run.system).get("seconds_per_step")
    about = f", about {run.steps * speed:,.0f} s" if speed else ""
    say(f"{run.system} {run.label}: {run.steps:,} steps{about}")
  return runs.finish(
    job.out,
    run,
    config=job.configs[run.system],
    config_flag=job.flag(run.system),
    overrides=job.request.overrides,
    data=str(job.request.data),
    call=call,
  )


def score_row(job: Job, row: System, seed: int, call, classify) -> Result:
  """The result of a row at a seed, made unless it is there.

  Args:
    call: runs a command, as `item_jax.comparison.calls.Commands`.
    classify: as the module `item_jax.comparison.category`.

  Raises:
    FailedError: a run it needs failed or diverged.
  """
  folder = job.out / "runs" / row.name / f"seed-{seed}"
  result = score.read(folder)
  if result is None:
    result = _MAKERS[row.kind](job, row, seed, folder, call, classify)
    score.write(folder, result)
  return result


def _trained(job, row, seed, folder, call, classify) -> Result:
  trained = finished(job, row.name, seed, call)
  say(f"{row.name} seed {seed}: exports and scores")
  facts = job.facts(row.name)
  exports = exports_of(job, row.name, seed, call, _wanted(job, facts))
  own = None
  if facts["predicts"] and job.categorised:
    said = folder / "own.json"
    words = [
      "predict",
      f"--workdir={trained / 'workdir'}",
      f"--data={job.request.data}",
      f"--split={job.request.split}",
      f"--out={folder / 'predictions.csv'}",
      f"--json={said}",
    ]
    said.unlink(missing_ok=True)  # a killed one's may be a half
    must(call, words, log=folder / "log.txt")
    own = functools.partial(classify.own, said)
  return _score(job, exports, classify, own)


def _wanted(job: Job, facts: dict) -> list[tuple[str, str]]:
  """The (split, side) that scoring a system needs."""
  split = job.request.split
  wanted = [
    (split, side)
    for side in ("both", "image", "title")
    if side in facts["modalities"]
  ]
  if job.categorised:
    wanted += [(other, "both") for other in _splits(job) if other != split]
  return wanted


def _splits(job: Job) -> tuple[str, str, str]:
  data = next(iter(job.configs.values())).data
  return data.train_split, data.val_split, job.request.split


def _score(job: Job, exports: dict, classify, own=None) -> Result:
  """Scores exports, {(split, side): folder}."""
  probe = None
  if job.categorised:
    parts = [exports[split, "both"] for split in _splits(job)]
    probe = functools.partial(classify.probe, *parts)
  scored = {
    side: folder
    for (split, side), folder in exports.items()
    if split == job.request.split
  }
  return score.score_exports(scored, probe=probe, own=own)


def finished(job: Job, name: str, seed: int, call: Callable) -> Path:
  """The folder of a system's full run, trained unless it is finished.

  Raises:
    FailedError: the run failed or diverged.
  """
  run = full_run(job, name, seed)
  folder = runs.run_folder(job.out, run)
  if train(job, run, call)["diverged"]:
    raise FailedError(f"{name} seed {seed} diverged; see {folder}/log.txt")
  return folder


def exports_of(job: Job, name: str, seed: int, call, wanted) -> dict:
  """Exports of a trained system, {(split, side): folder}, made if missing."""
  folder = finished(job, name, seed, call)
  return _export(job, folder / "workdir", folder, wanted, call)


def _export(job: Job, workdir: Path, folder: Path, wanted, call, *more) -> dict:
  found = {
    (split, side): folder / "exports" / f"{split}-{side}"
    for split, side in wanted
  }
  commands = [
    [
      "export",
      f"--workdir={workdir}",
      f"--data={job.request.data}",
      f"--split={split}",
      f"--out={out}",
      f"--modality={side}",
      *more,
    ]
    for (split, side), out in found.items()
    if not (out / "meta.json").is_file()
  ]
  if commands:
    must(call, *commands, log=folder / "log.txt")
  return found


def _untrained(job, row, seed, folder, call, classify) -> Result:
  (base,) = row.parts
  run = full_run(job, base, seed)
  train(job, run, call)
  workdir = runs.run_folder(job.out, run) / "workdir"
  say(f"{row.name} seed {seed}: exports and scores")
  wanted = _wanted(job, job.facts(base))
  exports = _export(job, workdir, folder, wanted, call, "--step=0")
  return _score(job, exports, classify)


def _fused(job, row, seed, folder, call, classify) -> Result:
  """Either side alone is what its model, or its tower, gives by itself."""
  say(f"{row.name} seed {seed}: fusing and scoring")
  split = job.request.split
  train, val, _ = _splits(job)
  names = ("image", "title") if len(row.parts) == 1 else ("both", "both")
  both = tuple(zip((row.parts * 2)[:2], names, strict=True))
  needed = {split} | ({val} if row.tuned else set())
  needed |= {train, val} if job.categorised else set()
  made = {
    part: exports_of(
      job,
      part,
      seed,
      call,
      [(s, side) for s in sorted(needed) for p, side in both if p == part],
    )
    for part in row.parts
  }

  def sides(split: str) -> tuple[Path, Path]:
    return tuple(made[part][split, side] for part, side in both)

  def fused(split: str, **how) -> Path:
    out = folder / "exports" / f"{split}-both"
    if (out / "meta.json").is_file():
      return out
    out.parent.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a") as log, redirect_stdout(log):
      try:
        fusion.fuse_exports(*sides(split), out=out, **how)
      except UserError as error:  # nothing on validation to choose by
        raise FailedError(str(error)) from error
    return out

  tuning = {"tune_on": sides(val)} if row.tuned else {}
  exports = {(split, "both"): fused(split, **tuning)}
  exports |= zip(
    ((split, "image"), (split, "title")), sides(split), strict=True
  )
  share = files.read_json(exports[split, "both"] / "meta.json")["share"]
  if job.categorised:
    for other in {train, val} - {split}:
      exports[other, "both"] = fused(other, share=share)
  result = _score(job, exports, classify)
  result.counts["share"] = share
  return result


_MAKERS = {
  "trained": _trained,
  "untrained": _untrained,
  "fused": _fused,
  "tfidf": lambda job, *_: untaught.tfidf(job.store, job.request.split),
  "thumbnail": lambda job, *_: untaught.thumbnail(job.store, job.request.split),
}
