"""Draws docs/images/search.png: queries and their ten nearest listings.

    bash launch/quickstart.sh
    python docs/images/search.py quickstart

Queries are three listings of the test split, drawn by a seed and not chosen by
what they find; each has several listings of its product to find.
"""

import argparse
import csv
import io
import random
import textwrap
from collections import Counter
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from item_jax.evaluation.search import search

NEAREST, QUERIES = 10, 3
FOUND, OTHER, QUERY = "#1a9850", "#cccccc", "#222222"


def read(path: Path) -> list[dict[str, str]]:
  with path.open(encoding="utf-8", newline="") as file:
    return list(csv.DictReader(file))


def draw(quickstart: Path, out: Path, *, seed: int) -> None:
  """Searches the quickstart's test export and draws what is found.

  Args:
    quickstart: the folder that launch/quickstart.sh leaves.
    out: the PNG to be.
    seed: of the choice of queries.
  """
  export = quickstart / "embeddings" / "both"
  catalogue = quickstart / "catalogue"
  items = read(export / "items.csv")
  image_of = {
    line["listing_id"]: line["image"]
    for line in read(catalogue / "products.csv")
  }
  vectors = np.load(export / "embeddings.npy")
  ids = [item["id"] for item in items]
  listings = Counter(item["product"] for item in items)
  complete = [
    row
    for row, item in enumerate(items)
    if item["has_image"] == item["has_title"] == "1"
    and listings[item["product"]] > 3
  ]
  rows = random.Random(seed).sample(complete, QUERIES)
  found = search(vectors, ids, k=NEAREST).rows_QK

  figure, axes = plt.subplots(
    QUERIES, 1 + NEAREST, figsize=(11, 1.6 * QUERIES), dpi=110
  )
  for line, row in zip(axes, rows, strict=True):
    for axis, shown in zip(line, [row, *found[row]], strict=True):
      same = items[shown]["product"] == items[row]["product"]
      colour = QUERY if shown == row else FOUND if same else OTHER
      path = image_of[ids[shown]]
      if items[shown]["has_image"] == "1":
        axis.imshow(plt.imread(catalogue / path))
      else:
        axis.set_facecolor("#f4f4f4")
        axis.text(0.5, 0.5, "no image", ha="center", va="center", fontsize=6)
        axis.set_box_aspect(1)
        axis.set(xlim=(0, 1), ylim=(0, 1))
      title = items[shown]["title"] or "(no title)"
      axis.set_xlabel(
        "\n".join(textwrap.wrap(title, 17)[:4]), fontsize=6.5, labelpad=3
      )
      axis.set(xticks=[], yticks=[])
      for spine in axis.spines.values():
        spine.set(color=colour, linewidth=1 if colour == OTHER else 3)
  axes[0, 0].set_title("query", fontsize=8)
  for rank in range(1, NEAREST + 1):
    axes[0, rank].set_title(str(rank), fontsize=8)
  figure.subplots_adjust(
    left=0.01, right=0.99, top=0.94, bottom=0.09, wspace=0.12, hspace=0.42
  )
  drawn = io.BytesIO()
  figure.savefig(drawn)
  # 256 colours: a third of the bytes.
  Image.open(drawn).convert("RGB").quantize(256).save(out, optimize=True)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("quickstart", type=Path)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument(
    "--out", type=Path, default=Path(__file__).with_suffix(".png")
  )
  args = parser.parse_args()
  draw(args.quickstart, args.out, seed=args.seed)


if __name__ == "__main__":
  main()
