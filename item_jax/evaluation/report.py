"""Compares exports of one split with each other and with the baselines."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from item_jax.data.records import Dataset, open_dataset
from item_jax.errors import UserError
from item_jax.evaluation import baselines, metrics
from item_jax.evaluation.agreement import check_same_rows, shared_roles
from item_jax.evaluation.explanation import Explanation
from item_jax.evaluation.items import Items
from item_jax.evaluation.page.section import Section
from item_jax.evaluation.results import Result, with_interval
from item_jax.evaluation.retrieval import Scores, score
from item_jax.evaluation.sources import open_source
from item_jax.evaluation.vectors import Mixed, all_same, check_differ, lengths
from item_jax.files import whole_file
from item_jax.listing import as_list

_SHOWN = ("recall", "map")


@dataclass(frozen=True, eq=False)
class Rows:
  """What was compared: N rows of a split, and where each system has put them.

  vectors: {system: float [N, D], or `Mixed`}. titles: N of them.
  """

  dataset: Dataset
  split: str
  items: Items
  titles: Sequence[str]
  vectors: Mapping[str, Any]


@dataclass(frozen=True, eq=False, repr=False)
class Report(Result):
  """The scores of several systems on the same rows.

  scores: {name: Scores}, last "tfidf" and "thumbnail", where listings' titles
      or images differ. k: the depths.
  compared: the rows and their vectors. made: {name: run and checkpoint} of
      exports.
  bootstrap, seed: of the intervals.
  """

  scores: dict[str, Scores]
  k: Sequence[int]
  compared: Rows
  made: Mapping[str, str] = field(default_factory=dict)
  bootstrap: int = 1000
  seed: int = 0

  @property
  def measures(self) -> list[str]:
    """The columns of the table."""
    return [f"{name}@{k}" for k in sorted(set(self.k)) for name in _SHOWN]

  def to_dict(self) -> dict[str, dict[str, float]]:
    """Returns {name: {"recall@k": ..., "map@k": ...}}."""
    return {
      name: {measure: one.summary[measure] for measure in self.measures}
      for name, one in self.scores.items()
    }

  def rows(self) -> list[dict[str, Any]]:
    """Returns a line for each system."""
    return [
      {"system": name, **measures} for name, measures in self.to_dict().items()
    ]

  def counted(self) -> str:
    """Says how many queries there are, and how many were left out."""
    first = next(iter(self.scores.values())).summary
    return (
      f"{first['queries']:,} queries, {first['left_out']:,} left out, index"
      f" {first['index']:,}, {first['share_over_k']:.1%} with more than"
      f" {max(self.k)} relevant items"
    )

  def to_page(
    self,
    *,
    run: str | os.PathLike | Sequence[str | os.PathLike] | None = None,
    examples: int = 60,
    seed: int = 0,
    explained: Explanation | None = None,
    beside: Sequence[Section] = (),
  ) -> str:
    """Returns all of it as one HTML page without any address to fetch.

    It holds the table, the run's curves, what its model looks at, categories
    that are confused, and queries with the listings near them as pictures.
    Takes jinja2.

    Args:
      run: a run's workdir, for its curves; or several, drawn together.
      examples: how many queries: a third each the best and the worst of the
        first system, and any.
      seed: of the random ones.
      explained: of `item_jax.explain`: what a model looks at and recovers.
      beside: of `comparison.beside.read_beside`: results of other commands.

    Raises:
      UserError: there is no such run, or jinja2 is not installed.
    """
    from item_jax.evaluation.page import render

    return render.render_page(
      self,
      run=run,
      examples=examples,
      seed=seed,
      explained=explained,
      beside=beside,
    )

  def write_page(self, path: str | os.PathLike, **options: Any) -> None:
    """Writes `to_page`, whose options these are, to a file."""
    page = self.to_page(**options)
    with whole_file(path, text=True) as file:
      file.write(page)

  def write_figures(
    self,
    folder: str | os.PathLike,
    *,
    run: str | os.PathLike | Sequence[str | os.PathLike] | None = None,
    beside: Sequence[Section] = (),
  ) -> list[Path]:
    """Writes the page's pictures as PNG and SVG, for papers.

    Args:
      folder: made where it is not there.
      run, beside: as of `to_page`.

    Returns:
      The files: losses and modalities of runs, confusion of categories, and
      what `beside` has.
    """
    from item_jax.evaluation.page import render

    return render.write_figures(self, folder, run=run, beside=beside)

  def __str__(self) -> str:
    width = max(len(name) for name in self.scores) + 2
    lines = [
      f"{self.counted()}; in brackets the 95 % interval",
      _line("", self.measures, width),
    ]
    lines += [_line(name, cells, width) for name, *cells in self.cells()]
    less, differences = self.differences()
    if differences:
      lines.append(less)
      lines += [_line(name, cells, width) for name, *cells in differences]
    return "\n".join(lines + self.notes())

  def cells(self) -> list[list[str]]:
    """Lines of a system's name and a cell, with its interval, a measure."""
    return [
      [name]
      + [
        with_interval(one.summary[x], one.summary["interval"].get(x))
        for x in self.measures
      ]
      for name, one in self.scores.items()
    ]

  def differences(self) -> tuple[str, list[list[str]]]:
    """What the first system finds more than each other one.

    Returns:
      A heading, and lines of a name and a cell for each measure; none without
      resamples.
    """
    (first, one), *others = self.scores.items()
    lines = []
    for name, other in others if one.summary["interval"] else ():
      draws = {"bootstrap": self.bootstrap, "seed": self.seed}
      found = one.compare(other, **draws).measured
      lines.append(
        [name]
        + [
          with_interval(found[x]["difference"], found[x]["interval"])
          for x in self.measures
        ]
      )
    return f"{first} less the others, by the paired bootstrap", lines

  def notes(self) -> list[str]:
    """What is known of each export: its run, its checkpoint, its space."""
    known = {name: [self.made[name]] for name in self.made}
    for name, one in self.scores.items():
      if one.space:
        known.setdefault(name, []).append(one.space)
    return [f"{name}: {', '.join(said)}" for name, said in known.items()]


def _line(name: str, cells: Sequence[str], width: int) -> str:
  return f"{name:<{width}}" + "".join(f"{one:<28}" for one in cells).rstrip()


def report(
  data: str | os.PathLike | Dataset,
  split: str,
  exports: Mapping[str, Any],
  *,
  k: int | Sequence[int] = (10,),
  bootstrap: int = 1000,
  seed: int = 0,
) -> Report:
  """Scores exports and the baselines on the same rows.

  Args:
    data: a prepared catalogue, or its folder.
    split: the split that was exported.
    exports: name -> export, FILE.npy:ITEMS.csv or what else `open_source`
      takes; the names head the table's lines.
    k: depths of the measures.
    bootstrap: resamples for the intervals.
    seed: of the resamples.

  Raises:
    UserError: an export's rows are not those of the split.
  """
  metrics.check_draws(seed=seed, bootstrap=bootstrap)
  k = as_list(k, "k")
  if not hasattr(exports, "items"):
    raise UserError(f"exports={exports!r}: expected {{name: export}}")
  for name in exports:
    if not isinstance(name, str) or not name.strip():
      raise UserError(f"exports has the name {name!r}: expected a text")
  taken = {"tfidf", "thumbnail"} & set(exports)
  if taken:
    raise UserError(
      f"{', '.join(sorted(taken))}: every report has these, made of the data;"
      " leave it out, or give what you compare another name"
    )
  dataset = open_dataset(data)
  opened = {
    name: open_source(what, data=dataset, split=split)
    for name, what in exports.items()
  }
  items, (titles, thumbnails) = baselines.read(
    dataset, split, baselines.title, baselines.small_image
  )
  for name, source in opened.items():
    check_same_rows(
      f"export {name} ({source.name})",
      source.items,
      f"split {split!r}",
      items,
    )
    if not isinstance(source.vectors, Mixed):  # its search refuses its own
      lengths(source.vectors, items.ids, source=f"export {name}")
    check_differ(source.vectors, f"export {name}")
  roles = shared_roles((name, one.items) for name, one in opened.items())
  items = items._replace(roles=roles)
  vectors = {name: source.vectors for name, source in opened.items()}
  if any(titles):
    vectors["tfidf"] = baselines.tfidf_vectors(titles)
  if any(small is not None for small in thumbnails):
    vectors["thumbnail"] = baselines.colours(thumbnails)
  # Of exports `check_differ` has seen to it.
  vectors = {name: one for name, one in vectors.items() if not all_same(one)}
  scores = {
    name: score(one, items, k=k, bootstrap=bootstrap, seed=seed)
    for name, one in vectors.items()
  }
  for name, source in opened.items():
    scores[name] = replace(scores[name], space=source.space)
  made = {
    name: f"{meta['workdir']} at step {meta['step']:,}"
    for name, source in opened.items()
    if source.export and "workdir" in (meta := source.export.meta)
  }
  compared = Rows(dataset, split, items, titles, vectors)
  return Report(scores, k, compared, made, bootstrap, seed)
