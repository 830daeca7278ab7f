"""Baselines are scored for the category as all other systems are."""

import json

import exports
import numpy as np
import pytest
import simplejpeg

import item_jax
from item_jax.comparison import baselines, score
from item_jax.data.records import Record
from item_jax.errors import UserError
from item_jax.synthetic.synthesize import synthesize

CLASSES = ("Mugs", "Vases", "Hats")


class Listings:
  """A store of three splits; one modality shows the category, the other does
  not."""

  def __init__(self, shown_by: str):
    self._shown_by = shown_by
    self._random = np.random.default_rng(0)

  def source(self, split: str) -> list[Record]:
    size = {"train": 60, "val": 15, "test": 24}[split]
    return [self._record(split, number) for number in range(size)]

  def _record(self, split, number):
    kind = number % 3
    words = [f"w{n}" for n in self._random.integers(0, 4, 3)]
    pixels_HWC = np.full((32, 32, 3), 128, np.uint8)
    if self._shown_by == "title":
      words[number % 2] = f"{CLASSES[kind].lower()}{number % 4}"
    else:
      pixels_HWC[:, :, kind] = 20
    return Record(
      f"{split}{number}",
      f"{split}p{number // 2}",
      " ".join(words),
      CLASSES[kind],
      simplejpeg.encode_jpeg(pixels_HWC, quality=90),
    )


def scores(tmp_path, kind, shown_by, splits=("train", "val", "test")) -> dict:
  baselines.score_baseline(tmp_path, kind, Listings(shown_by), splits)
  return json.loads((tmp_path / "scores.json").read_text())


@pytest.mark.parametrize(
  ("kind", "shown_by", "right"),
  [
    ("tfidf", "title", 1.0),
    ("thumbnail", "image", 1.0),
    # All images are equal: the same class is predicted for every listing.
    ("thumbnail", "title", 1 / 3),
  ],
)
def test_the_modality_that_shows_the_category_finds_it(
  tmp_path, kind, shown_by, right
):
  found = scores(tmp_path, kind, shown_by)
  assert found["cells"]["category/accuracy"] == pytest.approx(right)
  assert found["counts"]["category"]["rows"] == 24
  # All classes right, or one of them with a precision of 1/3.
  f1 = 1.0 if right == 1 else (2 * 1 / 3 / (1 + 1 / 3)) / 3
  assert found["cells"]["category/macro_f1"] == pytest.approx(f1)
  # Where all images are equal, ids alone would find products.
  assert ("both/recall@10" in found["cells"]) == (right == 1)


@pytest.mark.parametrize("kind", ["tfidf", "thumbnail"])
def test_the_category_is_what_probe_finds_for_the_same_baseline(tmp_path, kind):
  """So nothing of the scored split is in what the others are embedded by."""
  folder = tmp_path / "catalogue"
  synthesize(folder, products=120, seed=1, workers=1)
  data = item_jax.prepare(
    folder / "products.csv", images=folder, out=tmp_path / "data"
  )
  splits = ("train", "val", "test")
  baselines.score_baseline(tmp_path, kind, data, splits)
  found = json.loads((tmp_path / "scores.json").read_text())
  probed = item_jax.probe(
    kind, kind, kind, data=data, kinds="logistic", bootstrap=0
  ).summary["logistic"]
  assert found["cells"]["category/accuracy"] == probed["accuracy"]
  assert found["cells"]["category/macro_f1"] == probed["macro_f1"]
  assert found["counts"]["category"]["C"] == probed["C"]


@pytest.mark.parametrize("shown_by", ["title", "image"])
@pytest.mark.parametrize("kind", ["tfidf", "thumbnail"])
def test_listings_without_the_side_have_a_category_too(
  tmp_path, kind, shown_by
):
  class Gaps(Listings):
    def _record(self, split, number):
      record = super()._record(split, number)
      if number % 4 and shown_by == "title":
        return record
      return record._replace(title="", image=b"")

  baselines.score_baseline(
    tmp_path, kind, Gaps(shown_by), ("train", "val", "test")
  )
  found = json.loads((tmp_path / "scores.json").read_text())
  assert found["counts"]["category"]["rows"] == 24


def test_a_catalogue_without_categories_is_only_searched(tmp_path):
  found = scores(tmp_path, "tfidf", "title", ("test",))
  assert found["cells"].keys() == {
    "both/recall@10",
    "both/map@10",
    "title/recall@10",
    "title/map@10",
  }


def test_of_a_side_that_no_listing_has_no_search_is_scored(tmp_path):
  """Its rows are one vector; of both together that is an error by name."""
  rows = [{"product": f"p{number // 2}"} for number in range(6)]
  null_ND = np.full((6, 4), 0.5, np.float32)
  random_ND = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
  made = {
    name: exports.write_export(tmp_path / name, vectors_ND, rows)
    for name, vectors_ND in {"both": random_ND, "image": null_ND}.items()
  }
  score.write_request(tmp_path, made)
  score.score_request(tmp_path)
  cells = json.loads((tmp_path / "scores.json").read_text())["cells"]
  assert {name.partition("/")[0] for name in cells} == {"both"}
  score.write_request(tmp_path, {"both": made["image"]})
  with pytest.raises(UserError, match=r"image.*all 6 rows are one vector"):
    score.score_request(tmp_path)
