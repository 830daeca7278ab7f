"""A catalogue and its photos in, the store that training reads out."""

import csv
import hashlib
import json
from pathlib import Path

from item_jax.data import images as photos
from item_jax.data.records import FORMAT, Record, StoreWriter
from item_jax.data.tokenizer import Words, load_words, train_wordpiece


def prepare(
  catalogue,
  *,
  images,
  out,
  columns=None,
  tokenizer=None,
  vocab_size=30_522,
  max_rejected=0.01,
  overwrite=False,
  workers=None,
) -> int:
  out = Path(out)
  if out.exists():
    raise FileExistsError(f"{out} exists")
  out.mkdir(parents=True)
  writer = StoreWriter(out)
  titles = []
  with open(catalogue, newline="", encoding="utf-8") as file:
    for row in csv.DictReader(file):
      image = b""
      if row["image"]:
        image = photos.store_jpeg((Path(images) / row["image"]).read_bytes())
      writer.add(
        row["split"],
        Record(
          row["listing_id"],
          row["product_id"],
          row["title"],
          row["category"],
          image,
        ),
      )
      if row["split"] == "train":
        titles.append(row["title"])
  fingerprint = writer.close()
  words = (
    load_words(tokenizer)
    if tokenizer
    else Words(train_wordpiece(titles, vocab_size=vocab_size).to_str(True))
  )
  words.save(out / "tokenizer.json")
  (out / "rejected.csv").write_text("row,id,reason\n")
  (out / "catalogue.json").write_text(
    json.dumps(
      {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "preprocessing": photos.PREPROCESSING,
        "tokenizer": words.fingerprint,
      }
    )
  )
  return 0
