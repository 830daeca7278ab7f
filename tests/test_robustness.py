"""What is found without a side, with few tokens and of changed queries."""

import json

import numpy as np
import pytest
import shell
import simplejpeg
import tiny
import untrained
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import item_jax
from item_jax.data.images import encode
from item_jax.data.records import Record, open_dataset
from item_jax.data.tokenizer import load_tokenizer
from item_jax.errors import UserError
from item_jax.evaluation.changed import figures
from item_jax.evaluation.items import Items
from item_jax.evaluation.robustness import Robustness, mix, score_roles
from item_jax.evaluation.variants import compare_variants
from item_jax.inference.boxes import Box, crop_record, read_boxes
from item_jax.inference.disturb import Reader, open_rows
from item_jax.inference.image_changes import IMAGE_CHANGES
from item_jax.inference.regions import attention_boxes, smallest, to_box
from item_jax.inference.robustness import PARTS, measure, shorten
from item_jax.inference.title_changes import TITLE_CHANGES

PRODUCTS = 16
ROWS = range(3 * PRODUCTS)
SEES = {"image": IMAGE_CHANGES, "title": TITLE_CHANGES}


def planted(*sides: str):
  """Embeds by a thumbnail and the counts of tokens; by one side, or both."""

  def embed(batch, *, modality="both"):
    small_BP = batch.image_BHWC[:, ::4, ::4].reshape(len(batch.bad_B), -1) / 255
    small_BP -= small_BP.mean(1, keepdims=True)
    counts_BV = np.zeros((len(batch.bad_B), 300))
    for row, tokens_T in enumerate(batch.tokens_BT):
      np.add.at(counts_BV[row], tokens_T, 1)
    counts_BV[:, 0] = 0
    shown = {"image": batch.has_image_B, "title": batch.has_title_B}
    parts = []
    for side, part in (("image", small_BP), ("title", counts_BV)):
      seen = side in sides and modality in ("both", side)
      length = np.linalg.norm(part, axis=1, keepdims=True)
      part = part / np.where(length == 0, 1, length)
      parts.append(part * shown[side][:, None] * seen)
    joined_BD = np.concatenate(parts, 1)
    empty_B1 = ~joined_BD.any(1, keepdims=True)
    return np.where(empty_B1, -1.0, joined_BD).astype(np.float32)

  return embed


def plant(data, *, beside: int = 0) -> Reader:
  """Prepares 16 products of three listings, each of which either side finds.

  Images of a product have 16 squares of its colours; its titles have its six
  words of 30 in any order. `beside` columns of an image are its own, right.
  """
  random = np.random.default_rng(0)
  vocabulary = [f"{a}{b}lo" for a in "bdfgkm" for b in "aeiou"]
  rows = []
  for product in range(PRODUCTS):
    colours = random.integers(0, 256, (4, 4, 3), np.uint8)
    words = random.choice(vocabulary, 6, replace=False)
    for listing in range(3):
      noise = random.integers(0, 256, (4, beside, 3), np.uint8)
      image = np.concatenate([colours, noise], axis=1)
      image = np.kron(image, np.ones((16, 16, 1), np.uint8))
      rows.append(
        {
          "listing_id": f"{random.integers(1000)}-{product}-{listing}",
          "product_id": f"p{product}",
          "image": encode(image),
          "title": " ".join(random.permutation(words)),
          "split": "train",
        }
      )
  item_jax.prepare(rows, out=data, vocab_size=300, workers=1)
  tokenizer = load_tokenizer(data)
  assert set(tokenizer.counts([row["title"] for row in rows])) == {6}
  return Reader(open_dataset(data), "train", tokenizer, 16, 24, 48)


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Reader:
  return plant(tmp_path_factory.mktemp("robustness") / "data")


@pytest.fixture(scope="module")
def of_one_side(reader):
  return {
    side: measure(planted(side), reader, ROWS, bootstrap=20)
    for side in ("image", "title")
  }


def recall(line) -> float:
  return line["recall@10"]["value"]


@pytest.mark.parametrize("side", ["image", "title"])
def test_what_is_not_seen_does_not_matter(of_one_side, side):
  found = of_one_side[side]
  assert list(found.changes) == [*IMAGE_CHANGES, *TITLE_CHANGES]
  for name, lines in found.changes.items():
    assert [line["strength"] for line in lines] == [0, 1, 2, 3, 4, 5]
    first = lines[0]
    assert first["recall@10 drop"] == {"value": 0, "interval": [0, 0]}
    if name not in SEES[side]:
      assert [line | {"strength": 0} for line in lines] == [first] * 6
    for line in lines:
      dropped = recall(first) - recall(line)
      assert line["recall@10 drop"]["value"] == pytest.approx(dropped)
      low, high = line["recall@10"]["interval"]
      assert low <= recall(line) <= high
  assert recall(found.changes["crop"][0]) == 1
  for name in {"image": ("crop", "rotation"), "title": ("dropped",)}[side]:
    values = [recall(line) for line in found.changes[name]]
    assert values[5] < values[2] - 0.1
    assert values[2] > 0.7


def test_pairs_of_what_one_side_sees(of_one_side):
  """The side that is not seen can be taken away from both."""
  for side, other in (("image", "title"), ("title", "image")):
    pairs = {(x["query"], x["index"]): x for x in of_one_side[side].roles}
    # All is as near to what is not seen.
    assert {(x, other) for x in ("full", "image", "title")} & {*pairs} == set()
    assert len(pairs) == 9
    full = recall(pairs["full", "full"])
    assert recall(pairs[side, "full"]) == recall(pairs["full", side]) == full
    assert recall(pairs[side, side]) == full
    assert full == 1
    assert recall(pairs["full", "mixed"]) < full


def test_pairs_that_ids_alone_would_rank_are_left_out():
  """Image and title lie side by side, and each alone has zeros there."""
  image_ND, title_ND = np.random.default_rng(0).normal(size=(2, 6, 3))
  views = {
    "full": np.hstack([image_ND, title_ND]),
    "image": np.hstack([image_ND, 0 * title_ND]),
    "title": np.hstack([0 * image_ND, title_ND]),
  }
  items = Items([*"abcdef"], [*"112233"])
  found = score_roles(views, np.array([0, 1, 2, 0, 1, 2]), items, figures)
  absent = {("image", "title"), ("title", "image")}
  scored = {(one["query"], one["index"]) for one in found}
  assert scored & absent == set()
  assert len(scored) == 3 * 4 - 2
  text = str(Robustness({"mixed_rate": 0.5}, found).tables()[0][0])
  assert text.endswith("only ids would rank: image in title, title in image")


def test_lengths_of_titles(of_one_side):
  image, title = (of_one_side[side].lengths for side in ("image", "title"))
  for lines in (image, title):
    assert [(x["query"], x["tokens"]) for x in lines] == [
      *(("full", n) for n in (0, 1, 2, 4, 8, "all")),
      *(("title", n) for n in (1, 2, 4, 8, "all")),
    ]
  assert len({recall(x) for x in image if x["query"] == "full"}) == 1
  whole = [recall(x) for x in title if x["query"] == "full"]
  assert whole[1:] == [recall(x) for x in title if x["query"] == "title"]
  assert whole[1] < whole[5] == 1
  assert whole[1:] == sorted(whole[1:])
  assert title[5]["recall@10 drop"]["value"] == 0
  pairs = {(x["query"], x["index"]): x for x in of_one_side["title"].roles}
  # Without a token there is the image alone.
  assert recall(title[0]) == recall(pairs["image", "full"])


def test_a_mixed_index_of_rate_0_is_the_full_one(reader):
  def pairs(rate: float) -> dict:
    found = measure(
      planted("image", "title"),
      reader,
      ROWS,
      parts=["roles"],
      mixed_rate=rate,
      bootstrap=20,
    )
    return {
      (x.pop("query"), x.pop("index")): x for x in found.to_dict()["roles"]
    }

  none, all_ = pairs(0), pairs(1)
  for query in ("full", "image", "title"):
    assert none[query, "mixed"] == none[query, "full"]
    # Both sides find either, but one side does not find the other.
    finds_all = recall(all_[query, "mixed"]) == 1
    assert finds_all == (query == "full")
    assert all_[query, "full"] == none[query, "full"]


def test_what_a_mixed_index_holds_is_drawn_by_id():
  items = Items([f"i{n}" for n in range(4000)], [""] * 4000)
  complete = np.arange(4000) % 4 > 0
  left = mix(items.ids, complete, rate=0.4, seed=1)
  assert (left[~complete] == 0).all()
  counts = np.bincount(left[complete]) / complete.sum()
  assert counts == pytest.approx([0.6, 0.2, 0.2], abs=0.03)
  assert (mix(items.ids, complete, rate=1)[complete] > 0).all()
  assert not mix(items.ids, complete, rate=0).any()
  more = mix(items.ids, complete, rate=0.7, seed=1)
  assert (more[left > 0] == left[left > 0]).all()
  assert (mix(items.ids, complete, rate=0.4, seed=2) != left).any()
  # Whatever stands beside it.
  part = Items(items.ids[::-3], items.products[::-3])
  again = mix(part.ids, complete[::-3], rate=0.4, seed=1)
  np.testing.assert_array_equal(again, left[::-3])
  with pytest.raises(UserError, match=r"mixed_rate=1\.5: expected a fraction"):
    mix(items.ids, complete, rate=1.5)


def test_titles_are_cut_by_hand():
  batch = tiny.make_batch(3, lengths=[3, 1, 5])._replace(
    has_title_B=np.array([True, False, True])
  )
  tokens_BT = batch.tokens_BT.copy()
  tokens_BT[1] = tiny.PAD
  batch = batch._replace(tokens_BT=tokens_BT)
  names = tiny.Vocabulary()
  two = shorten(batch, 2, names)
  for row in (0, 2):
    first = list(tokens_BT[row, :2])
    assert list(two.tokens_BT[row]) == [*first, tiny.SEP] + [tiny.PAD] * 5
  assert (two.tokens_BT[1] == tiny.PAD).all()
  np.testing.assert_array_equal(two.has_title_B, batch.has_title_B)
  np.testing.assert_array_equal(shorten(batch, 9, names).tokens_BT, tokens_BT)
  none = shorten(batch, 0, names)
  assert not none.has_title_B.any()
  assert (none.tokens_BT[0] == [tiny.SEP] + [tiny.PAD] * 7).all()


@pytest.fixture(scope="module")
def run(tiny_data):
  return untrained.write(tiny_data.parent / "robust_run", tiny_data)


@pytest.fixture(scope="module")
def measured(run, tiny_data):
  return item_jax.robustness(
    run, data=tiny_data, parts=["roles", "crop"], bootstrap=20, seed=1
  )


def test_a_pair_of_one_role_is_what_evaluate_says(run, tiny_data, measured):
  pairs = {(x["query"], x["index"]): x for x in measured.roles}
  for role, modality in (("full", "both"), ("image",) * 2, ("title",) * 2):
    export = item_jax.export(
      run,
      data=tiny_data,
      split="test",
      modality=modality,
      out=run.parent / f"robust_{modality}",
    )
    scores = item_jax.score(export, bootstrap=20, seed=1)
    for name in ("recall@10", "map@10"):
      found = pairs[role, role][name]
      assert found["value"] == scores[name]
      assert found["interval"] == scores["interval"][name]
    assert measured.counts["queries"] == scores["queries"]
  assert (
    measured.changes["crop"][0]["map@10"] == pairs["full", "full"]["map@10"]
  )


def test_the_command_says_draws_and_writes_it(
  run, tiny_data, tmp_path, measured
):
  text = shell.run(
    "robustness",
    f"--workdir={run}",
    f"--data={tiny_data}",
    "--parts=roles,crop",
    "--bootstrap=20",
    "--seed=1",
    f"--json={tmp_path / 'r.json'}",
    f"--figures={tmp_path / 'figures'}",
  )
  written = json.loads((tmp_path / "r.json").read_text())
  assert written == json.loads(json.dumps(measured.to_dict()))
  assert str(measured) in text
  for name in ("robustness.png", "robustness.svg"):
    assert str(tmp_path / "figures" / name) in text
  svg = (tmp_path / "figures" / "robustness.svg").read_text()
  assert ">crop<" in svg
  assert ">strength<" in svg
  lines = measured.rows()
  assert len(lines) == 12 * 2 + 6 * 4
  assert measured._repr_html_().count("<table>") == 4
  one = next(x for x in lines if x["figure"] == "recall@10 drop")
  assert (one["part"], one["strength"]) == ("crop", 0)


def test_what_cannot_be_measured_is_told(run, tiny_data, reader, tmp_path):
  for words, said in (
    (("--parts=roles,fog",), "parts fog: expected some of roles, lengths"),
    (("--mixed_rate=2",), "mixed_rate=2.0: expected a fraction from 0 to 1"),
    (("--split=other",), "no split 'other'"),
    (("--limit=1",), "limit=1: expected 2 listings or more"),
  ):
    text = shell.run(
      "robustness", f"--workdir={run}", f"--data={tiny_data}", *words, code=2
    )
    assert said in text
  with pytest.raises(UserError, match="nothing to score"):
    measure(planted("title"), reader, [0], parts=["roles"])
  assert item_jax.Robustness({}).write_figures(tmp_path) == []
  assert PARTS[:2] == ("roles", "lengths")


def test_a_region_is_found_where_the_rest_is_noise(tmp_path):
  reader = plant(tmp_path / "data", beside=12)
  ids = [record.listing_id for record in reader.dataset.source("train")]
  table = tmp_path / "boxes.csv"
  lines = [f"{name},0,0,0.25,1" for name in ids]
  table.write_text("\n".join(["id,x0,y0,x1,y1", *lines]))
  found = measure(
    planted("image"),
    reader,
    ROWS,
    parts=[],
    boxes=read_boxes(table),
    bootstrap=20,
  )
  pairs = {(x["side"], x["query"], x["index"]): x for x in found.regions}
  assert len(pairs) == 8
  for side in ("full", "image"):  # titles are not seen
    assert recall(pairs[side, "region", "region"]) == 1
    assert recall(pairs[side, "whole", "whole"]) < 0.8
    assert pairs[side, "whole", "whole"]["map@10 drop"]["value"] == 0
    assert pairs[side, "region", "region"]["recall@10 drop"]["value"] < -0.2
  assert found.counts["boxes"] == 48
  assert "regions of 48 listings" in str(found)
  with pytest.raises(
    UserError, match=r"none of 1 boxes, of 'x' .* 48 listings"
  ):
    measure(planted("image"), reader, ROWS, boxes={"x": Box(0, 0, 1, 1)})


def test_a_box_is_cut_by_hand(tmp_path):
  columns = np.repeat(np.arange(8) * 32, 8).astype(np.uint8)  # 64 columns
  image = encode(np.repeat(np.tile(columns, (32, 1))[..., None], 3, 2))
  record = Record("a", "", "", "", image)
  (tmp_path / "none.csv").write_text("id,x0,y0,x1,y1\n")
  with pytest.raises(UserError, match="has no row; expected a box"):
    read_boxes(tmp_path / "none.csv")
  cut = crop_record(record, boxes={"a": Box(0.5, 0.25, 0.75, 1)})
  pixels = simplejpeg.decode_jpeg(cut.image)
  assert pixels.shape == (24, 16, 3)
  np.testing.assert_allclose(pixels[:, 2:6], 128, atol=6)
  np.testing.assert_allclose(pixels[:, 10:14], 160, atol=6)
  assert crop_record(record, boxes={"b": Box(0, 0, 1, 1)}) is record
  tiny_box = Box(0.999, 0.999, 1, 1)
  tiny_part = crop_record(record, boxes={"a": tiny_box}).image
  assert simplejpeg.decode_jpeg(tiny_part).shape == (1, 1, 3)


def test_the_smallest_rectangle_by_hand():
  weights_YX = np.zeros((4, 5))
  weights_YX[1, 2:4] = 0.3, 0.3
  weights_YX[3, 0] = 0.4
  assert smallest(weights_YX, 0.3) == (3, 0, 4, 1)  # of one patch the most
  assert smallest(weights_YX, 0.6) == (1, 2, 2, 4)
  assert smallest(weights_YX, 0.61) == (1, 0, 4, 3)
  assert smallest(weights_YX, 1) == (1, 0, 4, 4)
  assert smallest(np.ones((2, 2)), 0.5) == (0, 0, 1, 2)  # the first of four


@given(
  npst.arrays(np.float32, (4, 4), elements=st.integers(0, 9)),
  st.floats(0.05, 1),
)
def test_no_smaller_rectangle_holds_as_much(weights_YX, held):
  assume(weights_YX.any())
  total, most = weights_YX.sum(), []
  for y0, x0 in np.ndindex(4, 4):
    for y1, x1 in np.ndindex(4 - y0, 4 - x0):
      inside = weights_YX[y0 : y0 + y1 + 1, x0 : x0 + x1 + 1].sum()
      if inside >= held * total:
        most.append(((y1 + 1) * (x1 + 1), -inside))
  y0, x0, y1, x1 = smallest(weights_YX, held)
  assert ((y1 - y0) * (x1 - x0), -weights_YX[y0:y1, x0:x1].sum()) == min(most)


def test_a_region_is_of_the_image_and_not_of_its_square():
  """16 pixels, patches of 4; an image twice as wide as high fills rows 1, 2."""
  weights_YX = np.zeros((4, 4))
  weights_YX[1, 3] = 1
  assert to_box(weights_YX.ravel(), 50, 100, 16) == (0.75, 0, 1, 0.5)
  weights_YX[0] = 9  # white above it
  assert to_box(weights_YX.ravel(), 50, 100, 16) == (0.75, 0, 1, 0.5)
  assert to_box(weights_YX.ravel(), 100, 100, 16) == (0, 0, 0.75, 0.25)
  weights_YX = np.zeros((4, 4))
  weights_YX[2, 2] = 1
  # 10 of 16 pixels wide, from 3 on.
  box = to_box(weights_YX.ravel(), 160, 100, 16)
  assert box == pytest.approx((0.5, 0.5, 0.9, 0.75))


def test_the_command_finds_regions_by_attention(run, tiny_data, tmp_path):
  pairs = tiny_data.parent / "catalogue" / "variants.csv"
  text = shell.run(
    "robustness",
    f"--workdir={run}",
    f"--data={tiny_data}",
    "--split=train",
    "--parts=roles",
    "--regions=attention",
    f"--variants={pairs}",
    "--bootstrap=20",
    f"--json={tmp_path / 'r.json'}",
  )
  held = json.loads((tmp_path / "r.json").read_text())
  assert held["counts"]["regions"] == "attention"
  assert held["counts"]["boxes"] == held["counts"]["image"]
  assert f"of {held['counts']['boxes']} listings, by attention:" in text
  assert len(held["regions"]) == 8
  # As `variants` says of exports that show the same.
  exports = {
    role: item_jax.export(
      run,
      data=tiny_data,
      split="train",
      modality=modality,
      out=tmp_path / role,
    )
    for role, modality in (("full", "both"), ("image",) * 2, ("title",) * 2)
  }
  told = compare_variants(exports, pairs, bootstrap=20)
  assert len(held["variants"]) == 3 * len(told.groups)
  for line in held["variants"]:
    group = told.groups[line["differs"]]
    assert line["pairs"] == group["pairs"]
    assert line["own_nearer"]["value"] == group["share"][line["query"]]
    assert line["own_nearer"]["interval"] == group["interval"][line["query"]]
  found = item_jax.Robustness(**held)
  lines = [x for x in found.rows() if x["part"] == "variants"]
  assert lines[0]["figure"] == "own_nearer"
  assert "pairs" in text


def test_attention_marks_where_a_model_looks(run, tiny_data):
  embedder = item_jax.load(run)
  reader, rows = open_rows(embedder, run, tiny_data, "test", batch_size=16)
  found = attention_boxes(embedder, reader, rows)
  source = reader.dataset.source("test")
  assert list(found) == [source[row].listing_id for row in rows]
  told = item_jax.explain(run, data=tiny_data, count=3)
  for one in told.listings:
    weights_N = one.attention["mean of layers"].patches_N
    height, width = simplejpeg.decode_jpeg_header(source[one.row].image)[:2]
    expected = to_box(weights_N, height, width, reader.image_size)
    assert found[one.id] == expected


def test_pairs_that_are_not_there_are_refused_before_the_work(
  run, tiny_data, tmp_path
):
  (tmp_path / "v.csv").write_text("product,variant\nX,Y\n")
  embedder = item_jax.load(run)
  reader, rows = open_rows(embedder, run, tiny_data, "test", batch_size=16)

  def embed(*_, **__):
    pytest.fail("listings were embedded")

  with pytest.raises(UserError, match="of none of its 1 pairs"):
    measure(embed, reader, rows, variants=tmp_path / "v.csv")


def test_regions_take_boxes_or_attention(run, tiny_data, tmp_path):
  for regions, boxes in (("gradient", None), ("attention", tmp_path / "b")):
    with pytest.raises(UserError, match="expected regions='attention', boxes"):
      item_jax.robustness(run, data=tiny_data, regions=regions, boxes=boxes)
  with pytest.raises(FileNotFoundError):
    item_jax.robustness(run, data=tiny_data, variants=tmp_path / "none.csv")


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("id,x0,y0,x1\na,0,0,1", "expected one column y1"),
    ("id,x0,y0,x1,y1\na,0,0,10,20", "row 0 has the box 0.0, 0.0, 10.0, 20.0;"),
    ("id,x0,y0,x1,y1\na,.5,0,.5,1", "row 0 has the box .* expected fractions"),
    ("id,x0,y0,x1,y1\na,0,nan,1,1", "row 0 has the box"),
    ("id,x0,y0,x1,y1\na,0,left,1,1", "row 0: a cell could not convert"),
    ("id,x0,y0,x1,y1\na,0,0,1,1\na,0,0,1,1", "row 1: id 'a' has a box already"),
  ],
)
def test_boxes_that_are_none_are_told(text, said, tmp_path):
  (tmp_path / "boxes.csv").write_text(text + "\n")
  with pytest.raises(UserError, match=said):
    read_boxes(tmp_path / "boxes.csv")
