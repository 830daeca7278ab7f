"""A packaged model embeds without item_jax what item_jax embeds."""

import io
import json
import subprocess
import sys
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_run
import yaml
from PIL import Image

import item_jax
from item_jax.__main__ import main
from item_jax.cli.package import LAYOUT
from item_jax.config import Config, flatten
from item_jax.data.images import store_jpeg
from item_jax.errors import UserError
from item_jax.inference import model_card
from item_jax.inference.package import FILES, package
from item_jax.inference.served import Model
from item_jax.remote import StoreError

# Run where item_jax cannot be imported.
OUTSIDE = """
import pathlib, sys
import numpy as np

class Blocked:
  def find_spec(self, name, *_):
    if name.partition(".")[0] == "item_jax":
      raise ImportError(name)

sys.meta_path.insert(0, Blocked())
folder = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(folder))
from embed import Model

given = np.load(sys.argv[2], allow_pickle=True)
model = Model(folder)
whole = model.embed(list(given["images"]), list(given["titles"]))
one = model.embed(list(given["images"][:1]), list(given["titles"][:1]))
assert "item_jax" not in sys.modules
np.savez(sys.argv[3], whole=whole, one=one)
"""


def pictures() -> list[bytes]:
  """Image files of all kinds that shops have, none of the stored size."""
  rng = np.random.default_rng(0)
  noise = rng.uniform(0, 255, (7, 5, 3)).astype(np.uint8)
  pixels = cv2.resize(noise, (330, 610), interpolation=cv2.INTER_CUBIC)
  picture = Image.fromarray(pixels)
  turned = Image.Exif()
  turned[0x0112] = 6
  made = []
  for image, options in (
    (picture, {"format": "JPEG", "quality": 80}),
    (picture, {"format": "JPEG", "exif": turned}),
    (picture, {"format": "JPEG", "progressive": True}),
    (picture.convert("L"), {"format": "JPEG"}),
    (picture.convert("CMYK"), {"format": "JPEG"}),
    (picture.resize((1500, 900)), {"format": "JPEG"}),
    (picture.resize((20, 9)), {"format": "PNG"}),
    (picture.convert("P"), {"format": "PNG"}),
    (picture.convert("RGBA").rotate(20), {"format": "PNG"}),
    (picture, {"format": "WEBP"}),
  ):
    file = io.BytesIO()
    image.save(file, **options)
    made.append(file.getvalue())
  return made


@pytest.fixture(scope="module")
def given():
  images = [*pictures(), None, None, pictures()[0]]
  titles = ["Red  mug [SEP] of\tclay", *[f"vase {n}" for n in range(9)]]
  titles += ["a title alone " * 9, None, ""]
  return images, titles


def train(variant, data, folder, *, sides=0):
  config = tiny_run.get_config(variant)
  config.data.path, config.model.sides = str(data), sides
  if sides:
    config.steps = 0  # they are made before the first
  item_jax.train(config, folder)
  return folder


@pytest.fixture(scope="module")
def workdir(tiny_data, tmp_path_factory):
  return train("short", tiny_data, tmp_path_factory.mktemp("run") / "R")


@pytest.fixture(scope="module")
def packaged(workdir, tmp_path_factory):
  out = tmp_path_factory.mktemp("packaged") / "mugs"
  assert main(["package", str(workdir), f"--out={out}"]) == 0
  return out


def outside(folder, given, tmp_path):
  images, titles = (np.array(column, object) for column in given)
  np.savez(tmp_path / "given.npz", images=images, titles=titles)
  code = [sys.executable, "-c", OUTSIDE, str(folder)]
  paths = [str(tmp_path / "given.npz"), str(tmp_path / "found.npz")]
  subprocess.run([*code, *paths], check=True)
  return np.load(tmp_path / "found.npz")


def test_it_embeds_as_item_jax_does(workdir, packaged, given, tmp_path):
  expected = item_jax.load(workdir).embed(*given)
  found = outside(packaged, given, tmp_path)
  np.testing.assert_allclose(found["whole"], expected, atol=1e-5)
  np.testing.assert_allclose(found["one"], expected[:1], atol=1e-5)
  # Of image and title, of each alone and of neither they are no equal rows.
  assert len(np.unique(found["whole"][[0, 10, 11, 12]].round(3), axis=0)) == 4


@pytest.mark.parametrize("sides", [0, 8])
def test_a_transformed_space_is_packaged_with_it(
  workdir, tiny_data, given, tmp_path, sides
):
  if sides:  # of which this space has nothing
    workdir = train("short", tiny_data, tmp_path / "R", sides=sides)
  like = tmp_path / "E"
  item_jax.export(
    workdir,
    data=tiny_data,
    split="test",
    out=like,
    pool="mean",
    whiten="centre",
  )
  out = package(workdir, out=tmp_path / "P", like=like)
  expected = item_jax.load(workdir, like=like).embed(*given)
  found = outside(out, given, tmp_path)
  np.testing.assert_allclose(found["whole"], expected, atol=1e-5)
  card = (out / "README.md").read_text()
  assert "pool mean, centred." in card
  assert "@10 |" not in card  # what the run measured is of other vectors


def test_another_model_is_packaged_as_well(tiny_data, given, tmp_path):
  run = train("clip", tiny_data, tmp_path / "R")
  out = package(run, out=tmp_path / "P")
  found = outside(out, given, tmp_path)
  expected = item_jax.load(run).embed(*given)
  np.testing.assert_allclose(found["whole"], expected, atol=1e-5)


def test_the_card_says_what_parts_weigh_and_does_not_call_it_measured():
  card = model_card._describe_metrics(
    {"weight/cls": 0.0, "weight/title": 0.999, "both/map@10": 0.25}
  )
  assert "each part weighs in a cosine: cls 0, title 0.999." in card
  assert "| both/map@10 | 0.2500 |" in card
  assert "weight/" not in card


def test_what_is_missing_and_what_is_no_title_are_told_apart(packaged):
  model = Model(packaged)
  plain = model.embed(images=[None] * 3, titles=["red mug", None, None])
  spelt = model.embed(
    images=[float("nan"), None, ""], titles=["red mug", np.nan, ""]
  )
  np.testing.assert_array_equal(spelt, plain)
  drawn = model.embed(titles=(title for title in ["red mug", None]))
  np.testing.assert_allclose(drawn, plain[:2], atol=1e-6)
  for one in (float("nan"), np.float32("nan")):
    alone = model.embed(titles=[one])
    np.testing.assert_allclose(alone, plain[1:2], atol=1e-6)
  np.testing.assert_array_equal(model.embed(titles=np.nan).shape, alone.shape)
  # Blanks, a zero-width space, a Braille cell without a dot: nothing to read.
  for unseen in (" \t", "\u200b", "\u2800 \u3164"):
    alone = model.embed(titles=[unseen])
    np.testing.assert_allclose(alone, plain[1:2], atol=1e-6)
  with pytest.raises(ValueError, match="title of row 1: "):
    model.embed(titles=["red mug", "\ud800"])
  with pytest.raises(ValueError, match="expected images, titles or both"):
    model.embed()
  with pytest.raises(ValueError, match="title of row 1: float, no text"):
    model.embed(titles=["red mug", 3.5])
  with pytest.raises(ValueError, match=r"image of row 0: .*float"):
    model.embed(images=[3.5])


def test_only_weights_that_are_read_are_packaged(workdir, packaged):
  with np.load(packaged / "weights.npz") as weights:
    names = set(weights)
    sizes = sum(weights[name].size for name in names)
  params = item_jax.load(workdir).params
  assert {name.split("/")[1] for name in names} < set(params)
  assert f"{sizes:,} weights" in (packaged / "README.md").read_text()


def test_the_card_tells_data_numbers_and_files(workdir, packaged, tiny_data):
  _, head, card = (packaged / "README.md").read_text().split("---\n", 2)
  assert yaml.safe_load(head)["library_name"] == "jax"
  dataset = item_jax.open_dataset(tiny_data)
  assert card.startswith("# mugs\n")
  assert str(dataset) in card
  assert all(one in card for one in dataset.fingerprints.values())
  manifest = json.loads(
    (workdir / "checkpoints" / "8" / "manifest.json").read_text()
  )
  for name, value in manifest["metrics"].items():
    assert f"| {name} | {value:.4f} |" in card
  assert str(tiny_data) not in card
  made = {path.name for path in packaged.iterdir() if path.is_file()}
  assert made == {*FILES} == {LAYOUT.marker, *LAYOUT.names}
  assert LAYOUT.sign in (packaged / LAYOUT.marker).read_bytes()
  assert all(f"`{name}`" in card for name in FILES)


def test_the_card_names_no_file_of_this_machine():
  config = Config()
  for name, value in flatten(config).items():
    group, _, leaf = name.rpartition(".")
    if value == "":
      setattr(attrgetter(group)(config) if group else config, leaf, "/my/file")
  config.steps = 7
  card = model_card._describe_config(config)
  assert "steps = 7" in card
  assert "/my/file" not in card


@pytest.mark.parametrize("error", [UserError("moved"), StoreError("is away")])
def test_data_that_are_not_at_hand_keep_no_model_from_being_packaged(
  monkeypatch, error
):
  def fail(_):
    raise error

  monkeypatch.setattr(model_card, "open_data", fail)
  embedder: Any = SimpleNamespace(run=SimpleNamespace(data={"train": "abc"}))
  card = model_card._describe_data(embedder)
  assert "not at hand" in card
  assert "- train: `abc`" in card


def test_what_a_run_began_with_is_packaged_too(workdir, tmp_path):
  """Step 0 is no checkpoint: the seed gives its parameters."""
  out = package(workdir, out=tmp_path / "P", step=0)
  assert "This step was not measured." in (out / "README.md").read_text()


def test_only_a_package_is_replaced(workdir, packaged, tmp_path, capsys):
  (tmp_path / "mine.txt").write_text("kept")
  command = ["package", str(workdir), f"--out={tmp_path}", "--overwrite"]
  assert main(command) == 2
  assert (tmp_path / "mine.txt").read_text() == "kept"
  assert main(["package", str(workdir), f"--out={packaged}"]) == 2
  used = packaged / "__pycache__"
  used.mkdir(exist_ok=True)
  again = ["package", str(workdir), f"--out={packaged}", "--overwrite"]
  assert main(again) == 0
  assert not used.exists()


def test_what_it_needs_is_named_before_the_work(workdir, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "flatbuffers", None)
  with pytest.raises(UserError, match=r"pip install -e '\.\[serve\]'"):
    package(workdir, out=tmp_path / "P")


def test_a_side_that_all_lack_may_be_left_out(packaged):
  model, picture = Model(packaged), pictures()[0]
  both = model.embed(images=[None, picture], titles=["red mug", None])
  for row, alone in enumerate(
    (model.embed(titles="red mug"), model.embed(images=picture))
  ):
    assert alone.shape == (1, both.shape[1])
    np.testing.assert_allclose(alone[0], both[row], atol=1e-5)
  assert model.embed([], []).shape == (0, both.shape[1])
  with pytest.raises(ValueError, match="1 images and 2 titles"):
    model.embed([None], ["red mug", "vase"])


def test_images_of_all_sizes_are_stored_as_in_a_data_set(packaged):
  """At a reduced size a JPEG's shape is a little another, and counts."""
  model, picture = Model(packaged), Image.open(io.BytesIO(pictures()[0]))
  for size in ((1501, 1207), (1207, 1501), (521, 519), (4200, 301), (2049, 9)):
    file = io.BytesIO()
    picture.resize(size).save(file, "JPEG")
    stored = store_jpeg(file.getvalue())
    assert model.store(file.getvalue()) == stored, size


def test_notes_that_are_broken_spoil_no_image(packaged):
  """Of Pillow's errors a SyntaxError is no ValueError."""
  for kind in ("PNG", "JPEG", "WEBP"):
    file = io.BytesIO()
    Image.open(io.BytesIO(pictures()[6])).save(file, kind, exif=b"no EXIF")
    data = file.getvalue()
    assert Model(packaged).store(data) == store_jpeg(data)


def test_an_image_that_cannot_be_read_is_named_by_its_row(packaged, tmp_path):
  model = Model(packaged)
  torn = pictures()[6]
  at = torn.index(b"IDAT")
  for image, says in (
    (tmp_path / "none.jpg", "image of row 1: .*none.jpg"),
    (b"", "image of row 1: the file is empty"),
    (b"<html>", "image of row 1: cannot identify"),
    (pictures()[6][:80], "image of row 1: "),
    # Pillow raises a SyntaxError of it.
    (torn[:at] + b"\0DAT" + torn[at + 4 :], "image of row 1: "),
  ):
    with pytest.raises(ValueError, match=says):
      model.embed(images=[None, image], titles=["mug", "mug"])
