"""Gives products the split that they have in another data set."""

import os
from collections.abc import Iterable, Iterator

from item_jax.data.records import Dataset, open_dataset
from item_jax.ingest.row import Rejected, Row, is_numbered


class KeptSplits:
  """Replaces the splits of rows; rows: those that got another one by it."""

  def __init__(self, dataset: str | os.PathLike | Dataset | None):
    """Reads all records of the data set; None keeps no split.

    Raises:
      UserError: it is no data set, or a record cannot be read.
    """
    self.rows = 0
    self._splits: dict[str, str] = {}
    if dataset is None:
      return
    dataset = open_dataset(dataset)
    for split in dataset.sizes:
      for record in dataset.source(split):
        if not is_numbered(record.product_id):
          self._splits.setdefault(record.product_id, split)

  def replace(self, rows: Iterable[Row | Rejected]) -> Iterator[Row | Rejected]:
    """Yields the rows, those of a known product with its split."""
    for row in rows:
      if isinstance(row, Row):
        split = self._splits.get(row.product_id, row.split)
        self.rows += split != row.split
        row = row._replace(split=split)
      yield row
