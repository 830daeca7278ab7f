"""Loses records of a prepared split: their bytes on the disk are replaced."""

from pathlib import Path

from item_jax.data.records import Record
from item_jax.files import write_manifest


def lose(folder: Path, split: str, *records: Record) -> None:
  """Zeros over the end of each photo, and a manifest that agrees."""
  (shard,) = folder.glob(f"*-{split}.array_record-*")
  content = bytearray(shard.read_bytes())
  for record in records:
    end = record.image[-64:]
    assert content.count(end) == 1
    at = content.index(end)
    content[at : at + 64] = bytes(64)
  shard.write_bytes(bytes(content))
  write_manifest(folder)
