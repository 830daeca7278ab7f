"""Batches of a training split, read by any number of workers and hosts; and
whether two lists of them are the same."""

import numpy as np

from item_jax.batch import Batch
from item_jax.data import pipeline
from item_jax.data.records import Dataset
from item_jax.data.tokenizer import load_tokenizer

FORM = {"image_size": 16, "max_title_tokens": 10}


def read(store: Dataset, *, size: int, **options) -> list[Batch]:
  """What one host reads of batches of `size` rows."""
  return list(
    pipeline.training_batches(
      store,
      "train",
      load_tokenizer(store.path / "tokenizer.json"),
      batch_size=size,
      **FORM,
      **options,
    )
  )


def read_by_hosts(hosts: int, store: Dataset, *, size: int, **options):
  """Global batches, put together from what each of `hosts` reads."""
  share = size // hosts
  of_each = [
    read(
      store, size=size, host_rows=slice(n * share, (n + 1) * share), **options
    )
    for n in range(hosts)
  ]
  return [join(rows, np.concatenate) for rows in zip(*of_each, strict=True)]


def join(rows: list[Batch], how) -> Batch:
  return Batch(*(how(field) for field in zip(*rows, strict=True)))


def assert_same(found: list[Batch], expected: list[Batch]) -> None:
  assert len(found) == len(expected)
  for batch, other in zip(found, expected, strict=True):
    for field, wanted in zip(batch, other, strict=True):
      np.testing.assert_array_equal(field, wanted)
