"""A notebook's images and titles: each form is the listing that files make."""

import io
import itertools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tiny_run
import untrained
from pictures import COLOURED, GREY, jpegs, png
from PIL import Image

from item_jax import tasks
from item_jax.data.images import store_jpeg
from item_jax.data.records import open_dataset
from item_jax.errors import UserError
from item_jax.inference import inputs
from item_jax.inference.embedder import Embedder
from item_jax.inference.inputs import listings
from item_jax.training.restore import restore

TITLES = ["red mug", "blue vase", "oak chair"]
STACK = np.stack([COLOURED, COLOURED[::-1], COLOURED // 2])


def titles(given) -> list[str]:
  return [title for _, title in listings(None, given)]


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
  path = tmp_path_factory.mktemp("inputs") / "photo.png"
  path.write_bytes(png(COLOURED))
  return path


@pytest.fixture(scope="module")
def embedder(tiny_data, tmp_path_factory):
  """Untrained, as only what it is given is looked at."""
  folder = tmp_path_factory.mktemp("inputs") / "run"
  config = tiny_run.get_config("category")
  config.data.path = str(tiny_data)
  store = open_dataset(tiny_data)
  categories = tasks.find_categories(config, store, "train")
  untrained.write_record(folder, config, tiny_data, categories)
  found = restore(folder, step=0)
  # The head begins with zeros, and would tell nothing apart.
  draw = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: x + draw.normal(0, 0.1, x.shape).astype(x.dtype), found.params
  )
  return Embedder(found.run, params, step=0, dtype="float32")


@pytest.mark.parametrize(
  "form",
  [
    lambda path: path,
    str,
    lambda path: path.read_bytes(),
    lambda path: bytearray(path.read_bytes()),
    lambda path: io.BytesIO(path.read_bytes()),
    Image.open,
    lambda path: COLOURED,
    lambda path: jnp.asarray(COLOURED),
    lambda path: COLOURED[None],
    lambda path: [COLOURED],
    lambda path: memoryview(COLOURED),
    lambda path: [memoryview(COLOURED)],
    lambda path: np.array(str(path)),
  ],
)
def test_one_image_is_one_row(photo, form):
  """Not a row for each letter, byte or line of pixels."""
  jpeg = store_jpeg(png(COLOURED))
  assert list(listings(form(photo), "red mug")) == [(jpeg, "red mug")]


@pytest.mark.parametrize("title", ["red mug", np.str_("red mug")])
def test_one_title_is_one_row(title):
  assert titles(title) == ["red mug"]


@pytest.mark.parametrize(
  "form",
  [
    tuple,
    iter,
    np.array,
    lambda x: np.array(x, object),
    lambda x: np.array(x, np.dtypes.StringDType()),
    lambda x: (title for title in x),
    lambda x: map(str, x),
    lambda x: dict(enumerate(x)).values(),
    lambda x: dict.fromkeys(x).keys(),
    lambda x: pd.Series(x, index=[7, 7, -1]),
    lambda x: pd.Series(x, index=list("cab"), dtype="string"),
    lambda x: pd.Series(x, dtype="category"),
    lambda x: pd.Series(x, dtype=pd.ArrowDtype(pa.string())),
    pd.Index,
    pa.array,
    lambda x: pa.chunked_array([x[:1], x[1:]]),
  ],
)
def test_many_titles_in_every_form(form):
  assert titles(form(TITLES)) == TITLES


@pytest.mark.parametrize(
  "form",
  [
    list,
    tuple,
    iter,
    jnp.asarray,
    lambda x: x,
    lambda x: [Image.fromarray(pixels) for pixels in x],
    lambda x: map(png, x),
    lambda x: pd.Series(list(x), index=[5, 5, 5]),
    lambda x: pa.array([png(pixels) for pixels in x]),
    lambda x: x.astype(np.int64),
  ],
)
def test_many_images_in_every_form(form):
  assert jpegs(form(STACK)) == [store_jpeg(png(pixels)) for pixels in STACK]


@pytest.mark.parametrize(
  "frame",
  [
    lambda columns: pd.DataFrame(columns, index=[9, 9, 9]),
    lambda columns: pd.DataFrame(columns).convert_dtypes(),
    pa.table,
    pa.RecordBatch.from_pydict,
  ],
)
def test_a_data_frame_has_both_sides(photo, frame):
  """Whatever else it has; a gap is its own kind of nothing."""
  columns = {
    "price": [1.5, 2.5, 3.5],
    "title": [*TITLES[:2], None],
    "image": [str(photo), None, str(photo)],
  }
  jpeg = store_jpeg(photo.read_bytes())
  expected = [(jpeg, TITLES[0]), (b"", TITLES[1]), (jpeg, "")]
  table = frame(columns)
  assert list(listings(table, None)) == expected
  assert list(listings(table["image"], table["title"])) == expected


@pytest.mark.parametrize(
  "nothing",
  [
    None,
    float("nan"),
    np.float32("nan"),
    np.datetime64("NaT"),
    np.ma.masked,
    pd.NA,
    pd.NaT,
    "",
    "  \t",
    pa.scalar(None, pa.string()),
  ],
)
def test_what_is_missing(photo, nothing):
  assert titles([nothing, "red mug"]) == ["", "red mug"]
  assert jpegs([nothing, photo]) == [b"", store_jpeg(photo.read_bytes())]


def test_columns_of_nothing():
  """Their dtype is no longer that of text."""
  gaps = pd.Series([None, np.nan], dtype=float)
  assert list(listings(gaps, gaps)) == [(b"", "")] * 2


def test_words_for_missing_are_titles():
  """A caller's own strings are not guessed at."""
  assert titles(["nan", "NULL", "-"]) == ["nan", "NULL", "-"]


@pytest.mark.parametrize(
  ("images", "says"),
  [
    (STACK[..., 0], r"\[3, 48, 128\].*\[N,H,W,C\] or a list"),
    (np.array([["a.jpg"]] * 3, object), r"object \[3, 1\]: expected uint8"),
  ],
)
def test_an_array_of_no_images_is_named_before_it_is_counted(images, says):
  """Else "1 images but 3 titles" would be said, and mislead."""
  with pytest.raises(UserError, match=f"images is an array .*{says}"):
    list(listings(images, TITLES))


NOISE = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
CUT = png(NOISE)[:-300]


class Foreign:
  """What numpy cannot read, as torch's tensors that have a gradient."""

  shape, ndim, dtype = (4, 4, 3), 3, "foreign"

  def __array__(self, *args, **options):
    raise RuntimeError("Can't call numpy() on it. Use tensor.detach().numpy()")


@pytest.mark.parametrize(
  ("image", "says"),
  [
    (Foreign(), r"an array foreign \[4, 4, 3\]: numpy cannot .*detach"),
    (7, r"7 \(int\): expected a path"),
    (np.int64(7), r"\(int64\): expected a path"),
    (True, r"True \(bool\): expected a path"),
    (["a.jpg"], r"\['a.jpg'\] \(list\): expected a path"),
    ({"bytes": b""}, r"\(dict\): expected a path"),
    (
      pd.Series([1, 2]),
      r"\(Series\): expected a path|an array int64 \[2\]: exp",
    ),
    ("/nope.jpg", "'/nope.jpg': No such file"),
    ("https://example.com/a.jpg", "example.com/a.jpg': No such file"),
    ("a\0.jpg", "null"),
    ("x" * 99_999, "'xxx.*too long"),
    (os.getcwd(), "Is a directory"),
    (os.devnull, "no regular file"),
    (b"", "0 bytes: the image file is empty"),
    (b"<html>", "6 bytes: the file is no JPEG"),
    (memoryview(b"<html>"), "6 bytes: the file is no JPEG"),
    (CUT, "broken or cut short"),
    (io.StringIO("text"), "StringIO.*: the file is open as text"),
    (Image.new("RGB", (0, 5)), "mode RGB .*no pixels"),
    (Image.open(io.BytesIO(CUT)), "broken or cut short"),
  ],
)
def test_what_is_no_image_is_named_by_its_row(photo, image, says):
  with pytest.raises(UserError, match=f"row 1: images holds .*{says}") as told:
    jpegs([photo, image])
  assert len(str(told.value)) < 500


@pytest.mark.parametrize(
  ("title", "says"),
  [
    (501, r"501 \(int\): expected text"),
    (1.5, r"1.5 \(float\): expected text"),
    (False, r"False \(bool\): expected text"),
    (b"red mug", "7 bytes: expected text"),
    (["red mug"], r"\(list\): expected text"),
    (np.array(["a", "b"]), r"an array <U1 \[2\]: expected text"),
    ("\ud800", "not valid UTF-8"),
  ],
)
def test_what_is_no_title_is_named_by_its_row(title, says):
  with pytest.raises(UserError, match=f"row 1: titles holds .*{says}"):
    titles(["red mug", title])


FRAME = pd.DataFrame({"image": [None], "title": ["a"]})


class Lazy:
  """A frame whose columns are not there yet, as Polars has it."""

  columns = ("image", "title")

  def __getitem__(self, name):
    raise TypeError("not subscriptable")


@pytest.mark.parametrize(
  ("images", "texts", "says"),
  [
    (None, None, "neither was given"),
    ([None], ["a", "b"], "1 images but 2 titles"),
    (GREY, ["a", "b"], "1 images but 2 titles"),
    ([None, None], "a mug", "2 images but 1 titles"),
    (None, {1: "a"}, "titles is a dict"),
    ({"a.jpg"}, None, "images is a set"),
    (FRAME, ["a"], "images is a data frame"),
    (None, FRAME[["title"]], r"titles is a data frame.*frame\['title'\]"),
    (FRAME.rename(columns={"title": "name"}), None, "columns are: image, name"),
    (pd.DataFrame(), None, "columns are: none"),
    (Lazy(), None, "columns of a Lazy cannot be read"),
    (FRAME.iloc[:, [0, 0, 1]], None, "columns are: image, image, title"),
    (7, None, r"row 0: images holds 7 \(int\)"),
    (iter([None]), ["a", "b"], "images ended after 1 rows"),
    ([None] * 3, iter(["a", "b"]), "titles ended after 2 rows"),
  ],
)
def test_columns_that_do_not_fit(images, texts, says):
  with pytest.raises(UserError, match=says):
    list(listings(images, texts))


def test_rows_are_read_when_they_are_asked_for():
  without_end = (f"mug {n}" for n in itertools.count())
  rows = listings(itertools.repeat(None), without_end)
  assert list(itertools.islice(rows, 2)) == [(b"", "mug 0"), (b"", "mug 1")]
  assert next(without_end) == "mug 2"


def test_embed_and_predict(embedder, photo):
  """Every form has the bits of a list of paths and strings."""
  classes = len(embedder.categories)
  for run, width in ((embedder.embed, 32), (embedder.predict, classes)):
    rows_ND = run(images=[str(photo)] * 5, titles=["red mug"] * 5)
    assert rows_ND.shape == (5, width)
    frame = pd.DataFrame({"image": [photo] * 5, "title": "red mug"})
    rows = ((photo, "red mug") for _ in range(5))
    images, texts = zip(*rows, strict=True)
    for given in [(frame,), (iter(images), iter(texts))]:
      np.testing.assert_array_equal(run(*given, batch_size=64), rows_ND)
    np.testing.assert_array_equal(run(COLOURED, "red mug"), rows_ND[:1])
    assert np.abs(rows_ND[0] - run(titles="red mug")).max() > 1e-3
    assert run(titles="red mug").shape == (1, width)
    for nothing in [{"titles": []}, {"images": iter(())}]:
      assert run(**nothing).shape == (0, width)
    assert run(frame[:0]).shape == (0, width)
    with pytest.raises(UserError, match="row 70: titles holds 7"):
      run(titles=["mug"] * 70 + [7])


def test_a_process_that_ended_says_how_scripts_ask_for_workers():
  def batches():
    yield 1
    raise RuntimeError("Worker process was terminated unexpectedly")

  read = inputs.explained(batches())
  assert next(read) == 1
  with pytest.raises(UserError, match=r"terminated .*if __name__ == "):
    next(read)


def test_a_batch_is_hardly_larger_than_what_there_is(embedder, monkeypatch):
  seen, run = [], Embedder.embed_batch

  def counted(self, batch, **options):
    seen.append(len(batch.tokens_BT))
    return run(self, batch, **options)

  monkeypatch.setattr(Embedder, "embed_batch", counted)
  once = embedder.embed(titles=TITLES)
  np.testing.assert_array_equal(
    once, embedder.embed(titles=TITLES, batch_size=100_000)
  )
  assert seen == [64, 64]
  embedder.embed(titles=["mug"] * 70, batch_size=100_000)
  assert seen[2:] == [128]
  dataset = open_dataset(embedder.config.data.path)
  rows = len(dataset.source("test"))
  found = embedder.embed_split(dataset, "test", batch_size=100_000)
  assert len(found) == rows <= seen[-1] < rows + 64
