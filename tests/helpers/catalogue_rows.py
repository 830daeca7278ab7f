"""Reads the rows of a catalogue by options of `Reading`."""

from collections.abc import Iterator

from item_jax.ingest.catalogue import Catalogue
from item_jax.ingest.row import Reading, Rejected, Row


def read_rows(files, **reading) -> Iterator[Row | Rejected]:
  return Catalogue(files, Reading(**reading)).rows()
