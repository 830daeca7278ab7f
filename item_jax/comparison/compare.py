"""Compares systems by one command: a catalogue and their names in; every one
of them trained, scored alike and laid in one table out.

Fair means: one data set, one preprocessing, the same budget, the same grid of
learning rates with the same rule to choose by, one scorer.
"""

import datetime
import platform
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

from item_jax.comparison import describe as describe_lib
from item_jax.comparison import files, notes, page, render, runs, score, table
from item_jax.comparison import plan as plan_lib
from item_jax.comparison.request import Job, Request, settle
from item_jax.comparison.rows import score_row
from item_jax.comparison.runs import say
from item_jax.comparison.subprocesses import Commands
from item_jax.comparison.tune import MORE_RATES, prepare
from item_jax.distributed.processes import EXIT_FAILED, EXIT_START_AGAIN
from item_jax.errors import UserError
from item_jax.files import exclusive_lock, write_json


def compare(
  request: Request,
  *,
  dry_run: bool = False,
  report_only: bool = False,
  commands: Callable = Commands,
  describe: Callable = describe_lib.describe,
) -> int:
  """Trains, exports and scores what is not there yet; writes the tables.

  comparison.{json,csv,md,html} are written at the end of each round over the
  systems (a round is a seed), and when it is interrupted.

  Args:
    dry_run: print what would be done and what it costs; write nothing.
    report_only: make the tables of what is finished, and nothing else.
    commands: given a folder for compiled programs and how many may run side
      by side, a context that gives what runs `item-jax` commands.
    describe: gives parameters and work of configs.

  Returns:
    0; EXIT_START_AGAIN when interrupted: the same call goes on; EXIT_FAILED
    when a system failed, which the tables say.
  """
  job = settle(request, describe)
  if dry_run:
    say(_dry_run(job))
    return 0
  if report_only:
    if not (job.out / plan_lib.PLAN_FILE).is_file():
      raise UserError(f"{job.out} holds no {plan_lib.PLAN_FILE}: nothing begun")
    with exclusive_lock(job.out, what="comparison"):
      _report(job, {})
    return 0
  failures: dict[str, str] = {}
  calls = commands(job.out / "cache", jobs=request.jobs)
  with exclusive_lock(job.out, what="comparison"), calls as call:
    write_json(job.out / plan_lib.PLAN_FILE, job.plan)
    try:
      for seed in range(request.seeds):
        _round(job, seed, call, failures)
        last = seed == request.seeds - 1
        _report(job, failures, quiet=not last)
    except KeyboardInterrupt:
      _report(job, failures, quiet=True)
      say("stopped; the same command goes on from here")
      return EXIT_START_AGAIN
  for what, why in failures.items():
    say(f"failed: {what}: {why}")
  return EXIT_FAILED if failures else 0


def _round(job: Job, seed: int, call, failures: dict) -> None:
  """Every row at one seed; a system that fails does not stop the others.

  What is trained comes first, side by side; the others are made of it.
  """

  def work(row) -> None:
    try:
      if row.kind == "trained":
        prepare(job, row.name, call)
      score_row(job, row, seed, call)
    except UserError as error:
      failures[f"{row.name}, seed {seed}"] = str(error)
      say(f"failed: {row.name}, seed {seed}: {error}")

  trained = [row for row in job.rows if row.kind == "trained"]
  pool = ThreadPoolExecutor(job.request.jobs)
  try:
    for done in as_completed([pool.submit(work, row) for row in trained]):
      done.result()
  finally:  # when interrupted, what has not begun does not begin
    pool.shutdown(cancel_futures=True)
  for row in job.rows:
    if row.kind not in ("trained", "same") and (not seed or row.seeded):
      work(row)


def _dry_run(job: Job) -> str:
  """Runs and costs of what would be trained."""
  lines = [
    ("system", "runs", "done", "steps", "seconds", "FLOPs", "parameters")
  ]
  total = {"runs": 0, "done": 0, "seconds": 0.0, "flops": 0.0}
  for name, config in job.configs.items():
    facts = job.facts(name)
    finished = job.out.glob(f"runs/{name}/*/{runs.RESULT_FILE}")
    cost = plan_lib.cost(
      facts,
      job.budget,
      config,
      rates=job.rates,
      share=job.request.tune_share,
      seeds=job.request.seeds,
      done={path.parent.name for path in finished},
    )
    for key in total:
      known = total[key] is not None and cost[key] is not None
      total[key] = total[key] + cost[key] if known else None
    lines.append(
      (
        name,
        str(cost["runs"]),
        str(cost["done"]),
        "by its speed" if cost["steps"] is None else f"{cost['steps']:,}",
        "-" if cost["seconds"] is None else f"{cost['seconds']:,.0f}",
        render.amount(cost["flops"]),
        render.amount(facts["parameters"]),
      )
    )
  lines.append(
    (
      "in all",
      str(total["runs"]),
      str(total["done"]),
      "",
      "-" if total["seconds"] is None else f"{total['seconds']:,.0f}",
      render.amount(total["flops"]),
      "",
    )
  )
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  text = "\n".join(
    "  ".join(
      x.ljust(w) if i == 0 else x.rjust(w)
      for i, (x, w) in enumerate(zip(line, widths, strict=True))
    ).rstrip()
    for line in lines
  )
  others = [row.name for row in job.rows if row.kind != "trained"]
  text += (
    f"\nbudget of a full run: {job.budget.text}; {job.request.seeds} seeds"
  )
  if len(job.rates) > 1 and job.configs:
    text += (
      f"; {len(job.rates)} tuning runs of {job.request.tune_share:g} of it a"
      f" system\nnot counted: up to {MORE_RATES} more of these, where the best"
      " rate is an end of the grid"
    )
  text += (
    "\nseconds and FLOPs are of what is left; compilation, evaluations, exports"
    " and scores come on top"
  )
  if job.request.jobs > 1 and total["seconds"] is not None:
    elapsed = total["seconds"] / job.request.jobs
    text += f"\nabout {elapsed:,.0f} s elapsed, {job.request.jobs} side by side"
  if others:
    text += f"\nnothing to train for: {', '.join(others)}"
  return text


def _report(job: Job, failures: dict, *, quiet: bool = False) -> None:
  """Writes the four tables of what is finished; prints one."""
  results, facts = {}, {}
  for row in job.rows:
    source = row.parts[0] if row.kind == "same" else row.name
    seeds = range(job.request.seeds if row.seeded else 1)
    folder = job.out / "runs" / source
    found = {seed: score.read(folder / f"seed-{seed}") for seed in seeds}
    results[row.name] = {s: r for s, r in found.items() if r is not None}
    facts[row.name] = notes.row_facts(job, row, results[row.name])
  base = job.known.base
  rows = table.make_rows(results, facts, base=base)
  about = {
    "base": base,
    "data": job.plan["fixed"]["data"],
    "split": job.request.split,
    "budget": job.budget.text,
    "command": job.request.command,
    "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    "device": _device(job),
    "versions": _versions(job),
    "notes": notes.footnotes(job, rows, failures),
    "failures": failures,
  }
  text = render.markdown(rows, about)
  out = job.out
  write_json(out / "comparison.json", {"about": about, "rows": rows})
  files.write_text(out / "comparison.csv", render.comma_separated(rows))
  files.write_text(out / "comparison.html", page.page(rows, about))
  files.write_text(out / "comparison.md", text)
  if not quiet:
    say(text)


def _versions(job: Job) -> dict[str, str]:
  """Of what trained and scored, whoever makes the table."""
  found: dict[str, set] = {}
  for name in (runs.RESULT_FILE, score.SCORES_FILE):
    for path in job.out.glob(f"runs/*/*/{name}"):
      for package, version in files.read_json(path)["versions"].items():
        found.setdefault(package, set()).add(version)
  return {name: " and ".join(sorted(held)) for name, held in found.items()}


def _device(job: Job) -> str:
  """What trained, as a log says it, and the machine."""
  kind = ""
  for log in sorted(job.out.glob("runs/*/*/log.txt")):
    found = re.search(r"parameters on \{.*?\} (.+) devices", log.read_text())
    if found:
      kind = f"{found[1]}, "
      break
  return f"{kind}{platform.machine()}, {platform.system()}"
