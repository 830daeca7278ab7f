"""Tells of a trained model which modality dominates: the image or the title."""

import logging
import os
from collections.abc import Iterator, Sequence

import jax

from item_jax.batch import Batch
from item_jax.data.records import Dataset
from item_jax.errors import UserError, check_whole
from item_jax.evaluation.metrics import check_draws
from item_jax.evaluation.modality import Embedded, score_views
from item_jax.evaluation.modality_table import Modality
from item_jax.inference import information, readable
from item_jax.inference.disturb import Reader, embed_views, open_rows
from item_jax.inference.embedder import Embedder, load
from item_jax.inference.validation import product_hash
from item_jax.listing import as_list
from item_jax.training import sharding

logger = logging.getLogger(__name__)

# Listings that attention and gradients are the means of, and how many at a
# time: a training pass with float32 activations has to fit.
_FOLLOWED, _AT_ONCE = 256, 32


def modality(
  workdir: str | os.PathLike,
  *,
  data: str | os.PathLike | Dataset | None = None,
  split: str = "test",
  step: int | None = None,
  like: str | os.PathLike | None = None,
  limit: int | None = None,
  labels: str | Sequence[str] = (),
  largest: int = 5,
  batch_size: int = 256,
  bootstrap: int = 1000,
  seed: int = 0,
) -> Modality:
  """Measures which modality dominates a trained model's embeddings.

  Listings of a split that have an image and a title are embedded as they are
  and disturbed, and searched as queries in the undisturbed split; see
  docs/modality.md for each figure.

  Args:
    workdir, step, like: of the model; as of `embedder.load`.
    data: a prepared catalogue, or its folder; None for the run's own.
    split: of the data.
    limit: listings of the split at most, whole products; None for all.
    labels: "FILE:COLUMN" each, attributes to read from embeddings; FILE is a
      table with a column of ids or products.
    largest: leaf categories with a line of their own.
    batch_size: rows at a time; it does not change the result.
    bootstrap: resamples for the intervals; 0: none.
    seed: of the resamples, and of who gets whose title and image.

  Raises:
    UserError: no such run or data; a model of one modality; a split in which
      no listing can be given the title of another product; a file of labels
      that is not as it must be.
  """
  check_whole("batch_size", batch_size, at_least=1)
  check_draws(seed=seed, bootstrap=bootstrap)
  if largest < 0:
    raise UserError(f"largest={largest}: expected 0 or more")
  asked = readable.read_labels(as_list(labels, "labels"))
  embedder = load(workdir, step=step, like=like)
  _check_modalities(embedder)
  reader, rows = open_rows(
    embedder, workdir, data, split, limit=limit, batch_size=batch_size
  )
  learning = readable.check(asked, embedder, reader, rows) if asked else []
  embedded, same = embed_views(embedder.embed_batch, reader, rows, seed=seed)
  found = score_views(embedded, largest=largest, bootstrap=bootstrap, seed=seed)
  found.counts.update(split=split, step=embedder.step)
  if same:
    found.notes.append(
      f"{same:,} of {len(embedded.rows_M):,} listings were given another"
      " product's title that has the same tokens as theirs"
    )
  _follow(found, embedder, reader, [rows[n] for n in _first_products(embedded)])
  if asked:
    found.readable.extend(
      readable.read(
        *(embedder, reader, embedded, asked, learning),
        bootstrap=bootstrap,
        seed=seed,
      )
    )
  return found


def _check_modalities(embedder: Embedder) -> None:
  seen = embedder.task.modality
  if seen is not None:
    raise UserError(
      f"model.name={embedder.config.model.name!r} sees the {seen} only, so"
      " nothing can dominate: expected a model of image and title"
    )


def _follow(
  found: Modality, embedder: Embedder, reader: Reader, rows: Sequence[int]
) -> None:
  """Adds attention and gradients of rows, of a network that has them."""
  task, params = embedder.task, embedder.params
  if not information.is_followed(task):
    name = embedder.config.model.name
    found.notes.append(
      "attention and gradients do not apply: in the network"
      f" model.name={name!r} no [CLS] reads image and title together"
    )
    return
  devices = jax.local_device_count()
  reader = reader._replace(batch_size=-(-_AT_ONCE // devices) * devices)

  def batches() -> Iterator[tuple[Batch, int]]:
    size, left = reader.batch_size, len(rows)
    for batch in reader.batches(rows):
      yield sharding.to_devices(embedder.mesh, size, batch), min(size, left)
      left -= size

  with jax.default_matmul_precision("highest"):
    found.attention.extend(information.attention_lines(task, params, batches()))
    found.gradients.extend(
      information.gradient_lines(
        task, params, batches(), seed=found.counts["seed"]
      )
    )
  found.cosine_shares.update(cosine_shares(embedder))
  if task.network.module.sides_width:
    found.notes.append(
      "attention and gradients are of the transformer: what the sides add to"
      " an embedding passes it by"
    )


def cosine_shares(embedder: Embedder) -> dict[str, float]:
  """`information.cosine_shares` of the vectors that a model gives.

  {} where they are no longer its parts side by side: of another pool, centred
  or whitened.
  """
  task, space = embedder.task, embedder.space
  chosen = None
  if space is not None:
    chosen = space.transform.shares
    parted = space.transform.kind in ("none", "weighted")
    if space.made["pool"] != task.pools[0] or not parted:
      return {}
  return information.cosine_shares(task.network.module, embedder.params, chosen)


def _first_products(embedded: Embedded) -> list[int]:
  """Rows of `_FOLLOWED` listings, whole products, in the order of hashes.

  So that a loss that compares listings of one product finds some.
  """
  items = embedded.items

  def lot(row: int) -> bytes:
    return product_hash(items.products[row], items.ids[row])

  return sorted(embedded.rows_M.tolist(), key=lot)[:_FOLLOWED]
