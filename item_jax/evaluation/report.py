"""Compares systems on one split: export folders in, one table out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from item_jax.data.records import open_store
from item_jax.errors import UserError
from item_jax.evaluation import baselines
from item_jax.evaluation.items import check_same_rows, open_export
from item_jax.evaluation.retrieval import Scored, score
from item_jax.files import check_folders


def report(
  data: Path,
  split: str,
  exports: Mapping[str, Path],
  out: Path | None,
  *,
  ks: Sequence[int] = (10,),
  bootstrap: int = 1000,
  seed: int = 0,
) -> dict[str, dict[str, float]]:
  """Scores exports and the trivial baselines on the same rows; prints a table.

  Args:
    data: a prepared catalogue.
    split: the split that was exported.
    exports: name -> export folder; the names head the table's lines.
    out: file the results are written to as JSON, if any.
    ks: depths of the measures.

  Returns:
    {name: {"recall@k": ..., "map@k": ...}}, with "tfidf" and "thumbnail"
    after the exports.

  Raises:
    UserError: an export's rows are not those of the split.
  """
  check_folders(out)
  taken = {"tfidf", "thumbnail"} & set(exports)
  if taken:
    raise UserError(f"{', '.join(sorted(taken))}: names of the baselines")
  opened = {name: open_export(folder) for name, folder in exports.items()}
  items, (titles, thumbnails) = baselines.read(
    open_store(data), split, baselines.title, baselines.small_photo
  )
  for name, (_, other) in opened.items():
    check_same_rows(
      f"export {name} ({exports[name]})", other, f"split {split!r}", items
    )
  how = {"ks": ks, "bootstrap": bootstrap, "seed": seed}
  scored = {
    name: score(vectors_ND, items, **how)
    for name, (vectors_ND, _) in opened.items()
  }
  scored["tfidf"] = baselines.score_titles(titles, items, **how)
  scored["thumbnail"] = baselines.score_photos(thumbnails, items, **how)
  print(_table(scored, ks))
  results = {
    name: {
      f"{what}@{k}": one.summary[f"{what}@{k}"]
      for k in sorted(set(ks))
      for what in ("recall", "map")
    }
    for name, one in scored.items()
  }
  if out:
    Path(out).write_text(json.dumps(results, indent=2) + "\n", "utf-8")
  return results


def _table(scored: Mapping[str, Scored], ks) -> str:
  """One line a system: each measure with its interval."""
  width = max(len(name) for name in scored) + 2
  names = [f"{what}@{k}" for k in sorted(set(ks)) for what in ("recall", "map")]
  first = next(iter(scored.values())).summary
  lines = [
    f"{first['queries']:,} queries, {first['left_out']:,} left out, index"
    f" {first['index']:,}, {first['share_over_k']:.1%} with more than {max(ks)}"
    " relevant items; in brackets the 95 % interval",
    " " * width + "".join(f"{name:<26}" for name in names).rstrip(),
  ]
  for system, one in scored.items():
    cells = []
    for name in names:
      low, high = one.summary["interval"][name]
      cells.append(f"{one.summary[name]:.4f} [{low:.4f}, {high:.4f}]".ljust(26))
    lines.append(f"{system:<{width}}" + "".join(cells).rstrip())
  return "\n".join(lines)
