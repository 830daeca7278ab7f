"""Gathers what a page shows of queries, and knows of other listings."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from item_jax.evaluation.page.examples import GROUPS, Example
from item_jax.evaluation.page.pictures import read_thumbnails
from item_jax.evaluation.retrieval import LISTED

if TYPE_CHECKING:
  from item_jax.evaluation.report import Report

LOOKED_UP = 50_000  # listings of a split whose ids can be searched: 10 MB


def describe(report: "Report", found: Sequence[Example], measure: str) -> str:
  """Says which examples were chosen, and what they show."""
  counts = [
    f"{sum(group in one.groups for one in found)} {group}" for group in GROUPS
  ]
  lead, listings = next(iter(report.scores)), len(report.compared.items.ids)
  more = ""
  if listings > LOOKED_UP:
    more = (
      f" Only listings on this page can be searched by id: {listings:,} are"
      f" more than {LOOKED_UP:,}."
    )
  if len(found) < sum(len(one.groups) for one in found):
    more = f" {len(found)} queries: some are in two groups.{more}"
  return (
    f"{', '.join(counts)}, by {measure} of {lead}; best and worst are of"
    " different products as far as there are any, the random ones are drawn"
    " from all queries. A system fails where none of the ten nearest listings"
    " is of the query's product. What is found has a thick frame and a tick."
    + more
  )


def card(report: "Report", one: Example) -> dict[str, Any]:
  """What the template shows of an example."""
  ids, titles = report.compared.items.ids, report.compared.titles
  near = [
    (
      system,
      [
        {"row": row, "score": score, "hit": hit, "title": titles[row]}
        for row, score, hit in zip(*found, strict=True)
      ],
    )
    for system, found in one.near.items()
  ]
  rows = {row for found in one.near.values() for row in found.rows_K}
  return {
    "row": one.row,
    "id": ids[one.row],
    "title": titles[one.row],
    "category": report.compared.items.category(one.row),
    "relevant": one.relevant,
    "value": one.value,
    "groups": one.groups,
    "failed": one.failed,
    "failed_json": json.dumps(one.failed),
    "ids_json": json.dumps(
      [ids[one.row], *(ids[row] for row in sorted(rows - {one.row}))]
    ),
    "near": near,
  }


def thumbnails_of(report: "Report", found: Sequence[Example]) -> dict[int, str]:
  """Thumbnails of all rows that the examples show, each once."""
  rows = {one.row for one in found}
  for one in found:
    rows.update(row for near in one.near.values() for row in near.rows_K)
  compared = report.compared
  return read_thumbnails(compared.dataset, compared.split, sorted(rows))


def look_up(
  report: "Report", lead: str, thumbnails: Mapping[int, str]
) -> dict[str, Any]:
  """What the search by id knows of listings that are no example.

  Nothing where there are too many to put in a file.
  """
  items, titles = report.compared.items, report.compared.titles
  if len(items.ids) > LOOKED_UP:
    return {"system": lead, "pictures": [], "ids": []}
  # A row without a product is of no other row's.
  number = {"": -1}
  products = [number.setdefault(one, len(number)) for one in items.products]
  scores = report.scores[lead]
  near_QK = scores.nearest_QK[:, :LISTED].tolist()
  near = {
    row: [other for other in near_K if other >= 0]
    for row, near_K in zip(scores.rows_Q.tolist(), near_QK, strict=True)
  }
  return {
    "system": lead,
    "pictures": list(thumbnails),
    "ids": items.ids,
    "titles": list(titles),
    "products": products,
    "near": near,
  }
