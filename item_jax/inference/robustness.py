"""Measures what a trained model finds without a side, and after changes."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from item_jax.bars import show_bar
from item_jax.batch import Batch
from item_jax.data.records import Dataset, Record
from item_jax.errors import UserError, check_whole
from item_jax.evaluation.changed import figures, score_changed
from item_jax.evaluation.items import Items
from item_jax.evaluation.metrics import check_draws
from item_jax.evaluation.retrieval import Scores
from item_jax.evaluation.robustness import (
  LENGTHS,
  ROLES,
  STRENGTHS,
  Robustness,
  mix,
  score_roles,
  score_variants,
)
from item_jax.evaluation.variants import open_questions
from item_jax.inference import export_shards
from item_jax.inference.boxes import Box, crop_record, read_boxes
from item_jax.inference.disturb import Reader, open_rows
from item_jax.inference.embedder import load
from item_jax.inference.image_changes import IMAGE_CHANGES, change_image
from item_jax.inference.regions import attention_boxes
from item_jax.inference.title_changes import TITLE_CHANGES, change_title
from item_jax.listing import as_list

PARTS = ("roles", "lengths", *IMAGE_CHANGES, *TITLE_CHANGES)
# Of a batch of numpy and a modality (`embed_batch`), float [B, D].
Embed = Callable[..., np.ndarray]


def robustness(
  workdir: str | os.PathLike,
  *,
  data: str | os.PathLike | Dataset | None = None,
  split: str = "test",
  step: int | None = None,
  like: str | os.PathLike | None = None,
  limit: int | None = None,
  parts: str | Sequence[str] = PARTS,
  mixed_rate: float = 0.5,
  boxes: str | os.PathLike | None = None,
  regions: str | None = None,
  variants: str | os.PathLike | None = None,
  batch_size: int = 256,
  bootstrap: int = 1000,
  seed: int = 0,
) -> Robustness:
  """Measures same-product search with queries that lack or change something.

  See docs/robustness.md for each figure.

  Args:
    workdir, step, like: of the model; as of `embedder.load`.
    data: a prepared catalogue, or its folder, of any tokenizer: the run's own
      is used; None for the run's own data.
    split: of the data.
    limit: listings of the split at most, whole products; None for all.
    parts: of `PARTS`: "roles", "lengths", and the changes by their names.
    mixed_rate: of complete listings of a mixed index, that lack a side.
    boxes: a table of regions of interest, as `boxes.read_boxes` takes it, which
      are compared with whole images.
    regions: "attention" instead: `regions.attention_boxes`.
    variants: a table of pairs of products that differ in one thing, as
      `evaluation.variants.read_pairs` takes it, which are told apart or not.
    batch_size: rows at a time; it does not change the result.
    bootstrap: resamples for the intervals; 0: none.
    seed: of the resamples and of all changes.

  Raises:
    UserError: no such run, data or part; no two listings of one product.
  """
  check_whole("batch_size", batch_size, at_least=1)
  check_draws(seed=seed, bootstrap=bootstrap)
  parts = as_list(parts, "parts")
  if unknown := [name for name in parts if name not in PARTS]:
    raise UserError(
      f"parts {', '.join(unknown)}: expected some of {', '.join(PARTS)}"
    )
  given = _read_regions(boxes, regions)
  embedder = load(workdir, step=step, like=like)
  reader, rows = open_rows(
    *(embedder, workdir, data, split),
    limit=limit,
    batch_size=batch_size,
    tokenizer=False,
  )
  if regions:
    given = attention_boxes(embedder, reader, rows)
  found = measure(
    embedder.embed_batch,
    reader,
    rows,
    parts=parts,
    mixed_rate=mixed_rate,
    boxes=given,
    variants=variants,
    bootstrap=bootstrap,
    seed=seed,
  )
  found.counts.update(split=split, step=embedder.step)
  if regions:
    found.counts["regions"] = regions
  return found


def _read_regions(boxes, regions: str | None) -> dict[str, Box]:
  if regions not in (None, "attention") or (regions and boxes is not None):
    raise UserError(
      f"regions={regions!r}, boxes={boxes}: expected regions='attention', boxes"
      " of a table, or neither"
    )
  return read_boxes(boxes) if boxes is not None else {}


def measure(
  embed: Embed,
  reader: Reader,
  rows: Sequence[int],
  *,
  parts: Sequence[str] = PARTS,
  mixed_rate: float = 0.5,
  boxes: Mapping[str, Box] | None = None,
  variants: str | os.PathLike | None = None,
  bootstrap: int = 1000,
  seed: int = 0,
) -> Robustness:
  """Measures an embedder as `robustness` does a run.

  Args:
    embed: of a batch and `modality=`.
    rows: row numbers of the split: N listings.
    boxes: {listing: its region}; None or {}: no regions are compared.
    variants: as of `robustness`.
  """
  source = reader.dataset.source(reader.split)
  read = [export_shards.read_item(source, reader.split, row) for row in rows]
  items = Items(
    [one.id for one in read],
    [one.product for one in read],
    [one.category for one in read],
  )
  image_N = np.array([one.has_image for one in read], bool)
  title_N = np.array([one.has_title for one in read], bool)
  left_N = mix(items.ids, image_N & title_N, rate=mixed_rate, seed=seed)
  changes = [name for name in PARTS[2:] if name in parts]
  describe = functools.partial(figures, bootstrap=bootstrap, seed=seed)
  boxed = _count_boxes(boxes or {}, items.ids)
  if variants is not None:
    open_questions(Path(variants), items)  # before any work
  passes = 1 + len(changes) * len(STRENGTHS) + bool(boxes)
  with show_bar(total=passes * len(rows), desc="robustness") as bar:
    show = _Show(embed, reader, rows, bar)
    views = show(_ALL_VIEWS if "lengths" in parts else _ROLE_VIEWS)
    score = functools.partial(score_changed, items=items)
    full = score(views["full"], views["full"])
    counts = {
      "rows": len(rows),
      "queries": len(full.rows_Q),
      "left_out": full.summary["left_out"],
      "image": int(image_N.sum()),
      "title": int(title_N.sum()),
      "boxes": boxed,
      "mixed_rate": mixed_rate,
      "seed": seed,
    }
    found = Robustness(counts)
    if "roles" in parts:
      found.roles.extend(score_roles(views, left_N, items, describe))
    if "lengths" in parts:
      found.lengths.extend(_length_lines(views, score, describe))
    if boxes:
      crop = functools.partial(crop_record, boxes=boxes)
      regions = show(_REGION_VIEWS, crop)
      found.regions.extend(_region_lines(views, regions, score, describe))
    if variants is not None:
      found.variants.extend(
        score_variants(views, items, variants, bootstrap=bootstrap, seed=seed)
      )
    for name in changes:
      lines = [{"strength": 0, **describe(full, full)}]
      for strength in STRENGTHS:
        change = functools.partial(
          change_record, name=name, strength=strength, seed=seed
        )
        changed_ND = show(_FULL_VIEW, change)["full"]
        scores = score(changed_ND, views["full"])
        lines.append({"strength": strength, **describe(scores, full)})
      found.changes[name] = lines
  return found


def _count_boxes(boxes: Mapping[str, Box], ids: Sequence[str]) -> int:
  boxed = sum(name in boxes for name in ids)
  if boxes and not boxed:
    raise UserError(
      f"none of {len(boxes)} boxes, of {next(iter(boxes))!r} for example, is of"
      f" the {len(ids)} listings, of which one is {ids[0]!r}"
    )
  return boxed


# {name of a view: what the model is shown, and how many tokens at most}.
_FULL_VIEW = {"full": ("both", None)}
_ROLE_VIEWS = _FULL_VIEW | {role: (role, None) for role in ROLES[1:]}
_REGION_VIEWS = _FULL_VIEW | {"image": ("image", None)}
_ALL_VIEWS = _ROLE_VIEWS | {
  (role, length): (shown, length)
  for role, shown in (("full", "both"), ("title", "title"))
  for length in LENGTHS[1:]
}


class _Show(NamedTuple):
  """Embeds all N rows; the arguments are those of `measure`."""

  embed: Embed
  reader: Reader
  rows: Sequence[int]
  bar: Any  # of `show_bar`

  def __call__(
    self,
    wanted: Mapping[Any, tuple[str, int | None]],
    change: Callable[[Record], Record] | None = None,
  ) -> dict[Any, np.ndarray]:
    """Returns {name of a view: float [N, D]}, each batch read once."""
    parts: dict[Any, list] = {name: [] for name in wanted}
    left = len(self.rows)
    reader = self.reader._replace(change=change)
    for batch in reader.batches(self.rows):
      for name, (modality, length) in wanted.items():
        shown = batch
        if length is not None:
          shown = shorten(batch, length, reader.tokenizer)
        parts[name].append(self.embed(shown, modality=modality))
      self.bar.update(min(left, reader.batch_size))
      left -= reader.batch_size
    return {
      name: np.concatenate(part)[: len(self.rows)]
      for name, part in parts.items()
    }


def _length_lines(
  views: Mapping[Any, np.ndarray],
  score: Callable[..., Scores],
  describe: Callable[..., dict],
) -> list[dict[str, Any]]:
  """Scores titles cut short, as `Robustness.lengths`."""
  lines = []
  for query in ("full", "title"):
    # Without a token a title alone is nothing, and with an image that image.
    none = {0: views["image"]} if query == "full" else {}
    cut = none | {length: views[query, length] for length in LENGTHS[1:]}
    every = score(views[query], views["full"])
    for tokens, view_ND in (cut | {"all": views[query]}).items():
      found = describe(score(view_ND, views["full"]), every)
      lines.append({"query": query, "tokens": tokens, **found})
  return lines


def _region_lines(
  whole: Mapping[Any, np.ndarray],
  regions: Mapping[Any, np.ndarray],
  score: Callable[..., Scores],
  describe: Callable[..., dict],
) -> list[dict[str, Any]]:
  """Scores regions as queries and as index, as `Robustness.regions`."""
  lines = []
  for side in _REGION_VIEWS:
    views = {"whole": whole[side], "region": regions[side]}
    unchanged = score(views["whole"], views["whole"])
    for query, query_ND in views.items():
      for index, index_ND in views.items():
        found = describe(score(query_ND, index_ND), unchanged)
        lines.append({"side": side, "query": query, "index": index, **found})
  return lines


def change_record(
  record: Record, *, name: str, strength: int, seed: int
) -> Record:
  """Changes a record's image, or its title, by the name of the change."""
  how = {"listing": record.listing_id, "seed": seed}
  if name in IMAGE_CHANGES:
    return record._replace(
      image=change_image(record.image, name, strength, **how)
    )
  return record._replace(
    title=change_title(record.title, name, strength, **how)
  )


def shorten(batch: Batch, length: int, tokenizer: Any) -> Batch:
  """Keeps the first tokens of titles; at 0 there is no title.

  Args:
    tokenizer: of which `sep` and `pad` are read.
  """
  tokens_BT = np.asarray(batch.tokens_BT)
  place_T = np.arange(tokens_BT.shape[1])
  # A title is its tokens, [SEP], then padding.
  kept_B1 = (tokens_BT != tokenizer.pad).sum(1, keepdims=True) - 1
  kept_B1 = np.minimum(kept_B1, length)
  cut_BT = np.where(place_T < kept_B1, tokens_BT, tokenizer.pad)
  cut_BT = np.where(place_T == kept_B1, tokenizer.sep, cut_BT)
  has_title_B = batch.has_title_B & (length > 0)
  return batch._replace(tokens_BT=cut_BT, has_title_B=has_title_B)
