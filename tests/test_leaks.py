"""What a run was trained on is known again: its products by their ids, its
images in copies too."""

import shutil

import cv2
import numpy as np
import pytest
import tiny_run
import untrained

import item_jax
from item_jax.__main__ import main
from item_jax.data.copies import find_copies, sign
from item_jax.data.images import encode


def picture(number: int, side: int = 160) -> np.ndarray:
  """Coloured shapes of several sizes, as a photograph has them."""
  rng = np.random.default_rng(number)
  pixels = np.zeros((side + 40, side, 3))
  for cells, most in ((5, 160), (12, 60), (25, 35)):
    noise = rng.uniform(0, most, (cells, cells, 3))
    pixels += cv2.resize(noise, (side, side + 40))
  return pixels.astype(np.uint8)


def jpeg(pixels: np.ndarray, *, quality: int = 90, scale: float = 1.0) -> bytes:
  small = cv2.resize(pixels, None, fx=scale, fy=scale)
  bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
  return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[
    1
  ].tobytes()


@pytest.mark.parametrize("quality", [95, 50, 25])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.3, 1.7])
def test_a_copy_is_found_whatever_its_size_and_quality(quality, scale):
  others = sign(encode(picture(number)) for number in range(20))
  copies = sign(
    jpeg(picture(number), quality=quality, scale=scale) for number in (3, 17)
  )
  assert list(find_copies(copies, others)) == [3, 17]


def test_of_equal_images_the_first_is_named():
  one, two = sign([encode(picture(1)), encode(picture(2))])
  found = find_copies(np.stack([two, one]), np.stack([one, two, one, two]))
  assert list(found) == [1, 0]


@pytest.mark.parametrize(
  "change",
  [
    lambda p: p[:, ::-1],
    lambda p: p[20:-20, 20:-20],
    lambda p: p[..., ::-1],  # as a variant in another colour
    lambda p: p[::-1],
  ],
)
def test_another_image_is_no_copy(change):
  others = sign([encode(picture(1))])
  changed = sign([encode(np.ascontiguousarray(change(picture(1))))])
  assert list(find_copies(changed, others)) == [-1]


def test_of_no_image_there_is_no_copy():
  none, one = sign([]), sign([encode(picture(1))])
  assert list(find_copies(none, one)) == []
  assert list(find_copies(one, none)) == [-1]


def rows(*listings):
  names = ("listing_id", "product_id", "image", "title", "split")
  return [dict(zip(names, row, strict=True)) for row in listings]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """A run's record, and the data that it names."""
  folder = tmp_path_factory.mktemp("trained")
  item_jax.prepare(
    rows(
      ("a1", "A", jpeg(picture(1)), "red mug", "train"),
      ("a2", "A", jpeg(picture(2)), "mug in red", "train"),
      ("b1", "B", "", "blue vase", "train"),
      ("", "", jpeg(picture(3)), "row 4 of nobody's", "train"),
      ("v1", "V", jpeg(picture(4)), "green bowl", "val"),
    ),
    out=folder / "DATA",
  )
  config = tiny_run.get_config()
  config.data.path = str(folder / "DATA")
  untrained.write_record(folder / "R", config, folder / "DATA")
  return folder


@pytest.fixture
def other(tmp_path):
  """Another catalogue, of four listings that were seen and three that not."""
  item_jax.prepare(
    rows(
      ("x", "A", jpeg(picture(9)), "another photo of A", "test"),
      ("y", "Y", jpeg(picture(2), quality=60, scale=0.5), "a copy", "test"),
      ("b1", "B", "", "blue vase", "val"),
      ("", "", jpeg(picture(8)), "row 4, too", "test"),
      ("v", "V", jpeg(picture(4)), "of the run's validation", "test"),
      ("z", "Z", jpeg(picture(7)), "new", "test"),
      ("both", "A", jpeg(picture(1), quality=40), "both", "test"),
      ("t", "A", jpeg(picture(1)), "not compared: to be trained on", "train"),
    ),
    out=tmp_path / "OTHER",
  )
  return tmp_path / "OTHER"


def test_verify_names_each_listing_that_was_seen(trained, other, capsys):
  for place in (f"run={trained / 'R'}", str(trained / "DATA")):
    assert main(["verify", str(other), f"--unseen_by={place}"]) == 1
    found = capsys.readouterr().out.splitlines()
    assert found == [
      f"whole: {other}",
      f"seen: {other}: val listing b1: its product B, as b1",
      f"whole: {other}: 0 of 1 val listings are new",
      f"seen: {other}: test listing x: its product A, as a1",
      f"seen: {other}: test listing y: its image, as a2",
      f"seen: {other}: test listing both: its product A, as a1; its image, as"
      " a1",
      f"whole: {other}: 3 of 6 test listings are new",
      f"{other}: data set, 3 whole, 4 seen",
    ]


def test_where_nothing_was_seen_all_is_whole(trained, capsys):
  data = str(trained / "DATA")
  assert main(["verify", data, f"--unseen_by=run={trained / 'R'}"]) == 0
  assert "1 of 1 val listings are new" in capsys.readouterr().out


def test_products_of_a_run_keep_their_split(trained, other, tmp_path, capsys):
  found = item_jax.open_dataset(other)
  table = [
    {**record._asdict(), "split": split}
    for split in found.sizes
    for record in found.source(split)
  ]
  made = item_jax.prepare(
    table, out=tmp_path / "KEPT", split_of=trained / "DATA"
  )
  splits = {
    record.listing_id: split
    for split in made.sizes
    for record in made.source(split)
  }
  assert splits == {
    **dict.fromkeys(["x", "b1", "both", "t"], "train"),
    "v": "val",
    **dict.fromkeys(["y", "z", "row-4"], "test"),
  }
  assert made.catalogue["reading"]["kept_split"] == 4
  assert "4 rows got the split that their product has" in str(made)


def test_the_command_takes_the_run_itself(trained, tmp_path, capsys):
  table = tmp_path / "products.csv"
  table.write_text(
    "product_id,title,split\nA,mug,test\nC,bowl,train\nB,vase,test\n"
  )
  args = ["prepare", str(table), f"--out={tmp_path}/D"]
  assert main([*args, f"--split_of=run={trained / 'R'}"]) == 0
  assert "splits      2 rows got the split" in capsys.readouterr().out
  assert item_jax.open_dataset(tmp_path / "D").sizes == {"train": 3}


def test_data_that_were_moved_or_changed_are_not_taken_for_the_runs(
  trained, other, tmp_path, capsys
):
  shutil.copytree(trained, tmp_path / "moved")
  record = tmp_path / "moved" / "R"
  (trained / "DATA").rename(trained / "AWAY")
  try:
    verify = ["verify", str(other), f"--unseen_by=run={record}"]
    assert main(verify) == 2
    assert "give the folder of that data set" in capsys.readouterr().err
    shutil.copytree(other, trained / "DATA")
    assert main(verify) == 2
    assert "holds other records of train" in capsys.readouterr().err
  finally:
    shutil.rmtree(trained / "DATA", ignore_errors=True)
    (trained / "AWAY").rename(trained / "DATA")


def test_only_a_data_set_has_listings_to_compare(trained, capsys):
  run = str(trained / "R")
  assert main(["verify", run, f"--unseen_by=run={run}"]) == 2
  assert "only a data set has records" in capsys.readouterr().err
  assert main(["verify", f"{trained}/DATA", "--unseen_by=run=nowhere"]) == 2
  assert "holds no run" in capsys.readouterr().err
