"""Writes export folders as `item-jax export` does, of vectors made up."""

import csv
from pathlib import Path

import numpy as np

from item_jax.files import sha256, write_checksummed

COLUMNS = ("id", "product", "category", "title", "has_image", "has_title")


def write_export(folder: Path, vectors_ND, rows, **meta) -> Path:
  """`rows` are dicts with some of COLUMNS; what they lack is made up."""
  folder.mkdir(parents=True)
  np.save(folder / "embeddings.npy", np.asarray(vectors_ND, np.float32))
  with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    for number, row in enumerate(rows):
      usual = {
        "id": f"i{number}",
        "product": f"p{number}",
        "category": "",
        "title": "a title",
        "has_image": 1,
        "has_title": 1,
      }
      writer.writerow(usual | row)
  usual = {"checkpoint": "c", "modality": "both", "split": folder.name}
  usual |= {"dims": np.shape(vectors_ND)[1], "data": "d"}
  return finish_export(folder, **(usual | meta))


def finish_export(folder: Path, **meta) -> Path:
  """Writes meta.json of the embeddings.npy and items.csv that are there."""
  names = ("embeddings.npy", "items.csv")
  hashes = {name: sha256(folder / name) for name in names}
  write_checksummed(folder / "meta.json", {**meta, "files": hashes})
  return folder
