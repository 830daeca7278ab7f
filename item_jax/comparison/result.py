"""Holds the result of a comparison, in every form that it is shown in."""

import datetime
import html
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from item_jax.comparison import files, headline, runs, score
from item_jax.comparison.notes import footnotes
from item_jax.comparison.page import render_page
from item_jax.comparison.render import number_table, score_tables
from item_jax.comparison.request import Job
from item_jax.comparison.score import Result
from item_jax.comparison.summary import make_rows
from item_jax.comparison.systems import System
from item_jax.comparison.table import Table
from item_jax.components import find_task
from item_jax.config import Config
from item_jax.files import write_bytes, write_json


class Comparison(NamedTuple):
  """What a comparison found; str() of it is a page of Markdown.

  about: {"base", "data", "split", "budget", "command", "date", "device",
    "versions", "take": as `headline.choose` returns it, "headline": the same
    in a sentence, "notes", "failures"}: what was compared, and what a reader
    of the tables must know.
  rows: one per system, as `item_jax.comparison.summary.make_rows` says.
  """

  about: dict[str, Any]
  rows: list[dict[str, Any]]

  @property
  def failures(self) -> dict[str, str]:
    """{"SYSTEM, seed N": reason} of what failed when it was last tried."""
    return self.about["failures"]

  def tables(self) -> list[Table]:
    """Returns the table of scores and that of differences to the base."""
    return score_tables(self.rows, self.about["base"])

  def to_dict(self) -> dict[str, Any]:
    """Returns what comparison.json holds."""
    return self._asdict()

  def to_frame(self):
    """Returns every number in full as a pandas.DataFrame, a line per system."""
    import pandas

    table = number_table(self.rows)
    frame = pandas.DataFrame(list(table.lines), columns=list(table.columns))
    return frame.set_index("system")

  def write(self, folder: Path) -> None:
    """Writes comparison.json, .csv, .html and .md."""
    write_json(folder / files.COMPARISON_FILE, self.to_dict())
    for ending, text in (
      ("csv", number_table(self.rows).to_csv()),
      ("html", render_page(self.rows, self.about)),
      ("md", str(self)),
    ):
      write_bytes(folder / f"comparison.{ending}", text.encode())

  def __str__(self) -> str:
    about = self.about
    parts = [f"# Comparison on {about['data']['path']}, split {about['split']}"]
    parts += filter(None, [about["headline"]])
    for table in self.tables():
      parts += [table.caption, table.to_markdown()]
    parts.append("\n".join(f"- {note}" for note in about["notes"]))
    return "\n\n".join(parts) + "\n"

  def _repr_html_(self) -> str:
    parts = [f"<p>{html.escape(self.about['headline'])}</p>"]
    parts += [
      f"<p>{table.caption}</p>\n{table.to_html()}" for table in self.tables()
    ]
    return "\n".join(parts)


def collect(job: Job, failures: Mapping[str, str]) -> Comparison:
  """Reads the scores of what is finished and compares them.

  Args:
    failures: {"SYSTEM, seed N": reason}; of what is not finished they are
      shown.
  """
  results, facts, unfinished = {}, {}, set()
  for row in job.rows:
    source = row.parts[0] if row.kind == "same" else row.name
    seeds = range(job.request.seeds if row.seeded else 1)
    found = {seed: score.read(job.seed_folder(source, seed)) for seed in seeds}
    results[row.name] = {s: r for s, r in found.items() if r is not None}
    unfinished |= {
      f"{row.name}, seed {s}" for s in found if s not in results[row.name]
    }
    facts[row.name] = _row_facts(job, row, results[row.name])
  failures = {name: failures[name] for name in failures if name in unfinished}
  base = job.available.base
  rows = make_rows(results, facts, base=base)
  take = headline.choose(rows, results)
  about = {
    "base": base,
    "data": job.plan["fixed"]["data"],
    "split": job.request.split,
    "budget": job.budget.text,
    "command": job.request.command,
    "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    "device": _find_device(job.out),
    "versions": _find_versions(job.out),
    "take": take,
    "headline": headline.sentence(take, job.request.split),
    "notes": footnotes(job, rows, failures),
    "failures": failures,
  }
  return Comparison(about, rows)


def _row_facts(
  job: Job, row: System, results: Mapping[int, Result]
) -> dict[str, Any]:
  """Sums the costs of a row over the trained systems that it is made of."""
  made_of = row.parts or (row.name,)
  known = [job.facts(one)["parameters"] for one in made_of if _has(job, one)]
  names = [one for one in made_of if one in job.configs]
  started = any(
    job.configs[one].start_from or job.configs[one].stem_from for one in names
  )
  if row.kind == "untrained":
    names = []
  needs = [
    *(["weights"] if row.weights or started else []),
    *dict.fromkeys(x for name in names for x in _labels(job.configs[name])),
  ]
  facts: dict[str, Any] = {
    "kind": row.kind,
    "needs": sorted(needs, key=headline.NEEDS.index),
    "group": headline.kind_of(needs, trained=bool(names)),
    "seeds": job.request.seeds if row.seeded else 1,
  }
  if known:
    facts["parameters"] = sum(known)
  if known and not names:
    facts["train_flops"] = 0.0
  systems = [job.facts(name) for name in names]
  if systems and all("steps" in one for one in systems):
    facts["train_flops"] = sum(
      one["steps"] * job.configs[name].batch_size * one["flops_per_sample"]
      for name, one in zip(names, systems, strict=True)
    )
    facts["seconds"] = {
      seed: sum(_seconds(job, name, seed) for name in names) for seed in results
    }
  return facts


def _has(job: Job, name: str) -> bool:
  """Whether a part is a network; TF-IDF and thumbnails are none."""
  return name in job.configs or name in job.available.frozen


def _labels(config: Config) -> list[str]:
  """What training by a config needs beside images and titles."""
  task = find_task(config.task)
  held = zip(headline.LABELS, (task.paired, task.labelled), strict=True)
  return [name for name, needed in held if needed]


def _seconds(job: Job, name: str, seed: int) -> float:
  folder = runs.run_folder(job, runs.full_run(job, name, seed))
  return files.read_json(folder / files.RESULT_FILE)["seconds"]


def _find_versions(out: Path) -> dict[str, str]:
  """Versions of what trained and scored, which may have been several."""
  found: dict[str, set[str]] = {}
  for name in (files.RESULT_FILE, files.SCORES_FILE):
    for path in out.glob(f"runs/*/*/{name}"):
      for package, version in files.read_json(path)["versions"].items():
        found.setdefault(package, set()).add(version)
  return {name: " and ".join(sorted(held)) for name, held in found.items()}


def _find_device(out: Path) -> str:
  """Names the device that trained, as its run says, and the machine."""
  machine = f"{platform.machine()}, {platform.system()}"
  for path in sorted(out.glob("runs/*/*/workdir/run.json")):
    device = files.read_json(path).get("device")
    if device:
      return f"{device}, {machine}"
  # Runs of earlier versions name it in their log alone.
  for path in sorted(out.glob("runs/*/*/log.txt")):
    found = re.search(r"parameters on \{.*?\} (.+) devices", path.read_text())
    if found:
      return f"{found[1]}, {machine}"
  return machine
