"""Reads a data set with two worker processes until it is killed.

python read_on.py DATA
"""

import sys
from pathlib import Path

from item_jax.data import pipeline
from item_jax.data.records import open_dataset
from item_jax.data.tokenizer import load_tokenizer


def main() -> None:
  store = open_dataset(sys.argv[1])
  batches = pipeline.training_batches(
    store,
    "train",
    load_tokenizer(Path(store.path) / "tokenizer.json"),
    image_size=16,
    max_title_tokens=12,
    batch_size=4,
    seed=0,
    start=0,
    stop=10**6,
    workers=2,
  )
  for number, _ in enumerate(batches):
    if number == 5:
      print("running", flush=True)


if __name__ == "__main__":  # grain's workers import this file again
  main()
