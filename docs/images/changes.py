"""Draws docs/images/changes.png: an image of the synthetic catalogue, changed.

    python docs/images/changes.py DATA

DATA is a prepared synthetic catalogue; the image is the test split's sixth.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from item_jax.data.images import load_square
from item_jax.data.records import open_dataset
from item_jax.inference.image_changes import IMAGE_CHANGES, change_image

ROW, SIDE = 5, 64


def draw(data: Path, out: Path) -> None:
  """Draws a line for each change, a column for each strength."""
  record = open_dataset(data).source("test")[ROW]
  figure, axes = plt.subplots(
    len(IMAGE_CHANGES), 6, figsize=(5, 5.4), layout="constrained"
  )
  for line, name in zip(axes, IMAGE_CHANGES, strict=True):
    for strength, one in enumerate(line):
      changed = change_image(
        record.image, name, strength, listing=record.listing_id
      )
      one.imshow(load_square(changed, SIDE))
      one.set_xticks([])
      one.set_yticks([])
      if line is axes[0]:
        one.set_title(str(strength), fontsize=8)
    line[0].set_ylabel(name, fontsize=8)
  figure.savefig(out, dpi=90)


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("data", type=Path)
  draw(parser.parse_args().data, Path(__file__).with_suffix(".png"))
