"""Writes export folders as `item-jax export` does, of vectors made up."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np

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
  data = (folder / "embeddings.npy").read_bytes()
  digest = hashlib.sha256(data).hexdigest()
  usual = {"checkpoint": "c", "modality": "both", "split": folder.name}
  usual |= {"dims": np.shape(vectors_ND)[1], "data": "d", "sha256": digest}
  (folder / "meta.json").write_text(json.dumps(usual | meta))
  return folder
