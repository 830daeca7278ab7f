"""Laws of the synthetic catalogue: what its images and titles may depend on."""

import csv
import hashlib
import itertools
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import simplejpeg

from item_jax.errors import UserError
from item_jax.synthetic import drawing, shapes, synthesize, titles
from item_jax.synthetic import products as products_lib

# What image and title may both depend on.
SHARED = ("kind", "brand", "colour", "second", "pattern")
SMALL = {"products": 30, "seed": 3, "image_size": 48}


def _digests(folder):
  return {
    str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).digest()
    for path in folder.rglob("*")
    if path.is_file()
  }


def _rows(folder, name="products.csv"):
  with open(folder / name, encoding="utf-8", newline="") as file:
    return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
  out = tmp_path_factory.mktemp("synthetic") / "shop"
  synthesize.synthesize(out, workers=1, **SMALL)
  return out


@pytest.fixture(scope="module")
def products():
  return [products_lib.sample_product(0, index) for index in range(480)]


def _draw(product, number, **changes):
  rng = products_lib.stream(1, 2, number)
  shot = drawing.take_shot(rng)._replace(**changes)
  return drawing.draw(product, shot, rng, side=64)


def _title(product, number):
  return titles.compose_title(product, products_lib.stream(5, 6, number))


def _change(product, name):
  """The product with `name` set to another possible value."""
  values = {
    "kind": products_lib.KINDS,
    "brand": products_lib.BRANDS,
    "colour": products_lib.COLOURS,
    "second": products_lib.COLOURS,
    "pattern": products_lib.PATTERNS,
    "material": products_lib.KINDS[product.kind].materials,
    "size": products_lib.KINDS[product.kind].sizes,
    "line": products_lib.LINES,
    "code": products_lib.CODES,
  }.get(name, (0, 1, 2))
  taken = {getattr(product, name), product.colour, product.second}
  return product._replace(**{name: next(v for v in values if v not in taken)})


def test_the_number_of_workers_changes_no_byte(catalogue, tmp_path):
  synthesize.synthesize(tmp_path / "two", workers=2, **SMALL)
  assert _digests(tmp_path / "two") == _digests(catalogue)


def test_another_seed_changes_every_image(catalogue, tmp_path):
  synthesize.synthesize(tmp_path / "other", workers=1, **{**SMALL, "seed": 4})
  one, other = _digests(catalogue), _digests(tmp_path / "other")
  assert not set(one.values()) & set(other.values())


def test_a_larger_catalogue_begins_with_the_smaller(catalogue, tmp_path):
  synthesize.synthesize(tmp_path / "few", workers=1, **{**SMALL, "products": 5})
  few = _rows(tmp_path / "few")
  assert few == _rows(catalogue)[: len(few)]
  digests = _digests(catalogue)
  for name, digest in _digests(tmp_path / "few").items():
    assert name.endswith(".csv") or digests[name] == digest


def test_the_folder_is_laid_out_as_a_users_catalogue(catalogue):
  rows = _rows(catalogue)
  assert list(rows[0]) == [
    "listing_id", "product_id", "image", "title", "category",
  ]  # fmt: skip
  named = {row["image"] for row in rows}
  there = {f"images/{path.name}" for path in (catalogue / "images").iterdir()}
  assert named == there
  assert len({row["listing_id"] for row in rows}) == len(rows)
  for row in rows:
    assert re.fullmatch(r"[^>]+( > [^>]+){1,2}", row["category"])
    jpeg = (catalogue / row["image"]).read_bytes()
    assert simplejpeg.decode_jpeg(jpeg).shape == (48, 48, 3)
  assert os.stat(catalogue).st_mode & 0o777 == 0o777 & ~_umask()


def _umask():
  mask = os.umask(0)
  os.umask(mask)
  return mask


def test_products_have_two_to_six_listings_in_one_category(catalogue):
  listings = {}
  for row in _rows(catalogue):
    listings.setdefault(row["product_id"], []).append(row["category"])
  assert len(listings) == SMALL["products"]
  assert {len(rows) for rows in listings.values()} <= {2, 3, 4, 5, 6}
  assert all(len(set(rows)) == 1 for rows in listings.values())
  counts = [products_lib.count_listings(0, index) for index in range(400)]
  assert set(counts) == {2, 3, 4, 5, 6}


def test_leaves_form_a_tree():
  paths = [kind.category.split(" > ") for kind in products_lib.KINDS.values()]
  leaves = [tuple(path) for path in paths]
  assert len(set(leaves)) == len(leaves) == 18
  inner = {leaf[:n] for leaf in leaves for n in range(1, len(leaf))}
  assert not inner & set(leaves)
  assert {len(leaf) for leaf in leaves} == {2, 3}


def test_families_grow_by_one_attribute_at_a_time():
  changed = set()
  for family in range(40):
    members, parents = products_lib.grow_family(0, family)
    assert len(set(members)) == products_lib.FAMILY
    assert parents[0] == -1
    for member, parent in zip(members[1:], parents[1:], strict=True):
      differ = [
        name
        for name in products_lib.Product._fields
        if getattr(member, name) != getattr(members[parent], name)
      ]
      assert len(differ) == 1
      changed |= set(differ)
  assert changed == set(products_lib.Product._fields) - {"kind", "brand"}


def test_attributes_are_those_of_each_product(catalogue):
  rows = _rows(catalogue, "attributes.csv")
  listed = {row["product_id"] for row in _rows(catalogue)}
  assert {row["product"] for row in rows} == listed
  assert len(rows) == len(listed)
  for line, row in enumerate(rows):
    product = products_lib.sample_product(SMALL["seed"], line)
    assert row.pop("product") == f"P{line:06d}"
    assert row == {k: str(v) for k, v in product._asdict().items()}


def test_variants_are_all_pairs_that_differ_in_one_attribute(catalogue):
  made = {
    f"P{index:06d}": products_lib.sample_product(SMALL["seed"], index)
    for index in range(SMALL["products"])
  }
  sides = dict.fromkeys(SHARED, "both")
  sides |= dict.fromkeys(products_lib.IMAGE_ONLY, "photo")
  sides |= dict.fromkeys(products_lib.TITLE_ONLY, "title")
  expected = set()
  for one, other in itertools.combinations(made, 2):
    differ = [
      name
      for name in products_lib.Product._fields
      if getattr(made[one], name) != getattr(made[other], name)
    ]
    if len(differ) == 1:
      expected.add((one, other, f"{sides[differ[0]]} > {differ[0]}"))
  rows = [tuple(row.values()) for row in _rows(catalogue, "variants.csv")]
  assert len(rows) == len(expected)
  assert set(rows) == expected


def test_products_are_possible(products):
  for product in products:
    assert product.colour != product.second
    assert product.pattern != "plain" or product.scale == 0
    assert product.size in products_lib.KINDS[product.kind].sizes
    assert product.material in products_lib.KINDS[product.kind].materials


def test_every_attribute_is_on_one_side_or_on_both():
  sides = SHARED + products_lib.IMAGE_ONLY + products_lib.TITLE_ONLY
  assert sorted(sides) == sorted(products_lib.Product._fields)


@pytest.mark.parametrize("name", products_lib.TITLE_ONLY)
def test_what_only_titles_say_changes_no_pixel(products, name):
  for number, product in enumerate(products[::40]):
    other = _change(product, name)
    assert np.array_equal(_draw(product, number), _draw(other, number))


@pytest.mark.parametrize("name", products_lib.IMAGE_ONLY)
def test_what_only_images_show_changes_no_title(products, name):
  for number, product in enumerate(products[::10]):
    assert _title(product, number) == _title(_change(product, name), number)


@pytest.mark.parametrize("name", SHARED + products_lib.IMAGE_ONLY)
def test_images_show_their_attributes(products, name):
  for number, product in enumerate(products[::20]):
    if name == "scale" and product.pattern == "plain":
      continue
    one = _draw(product, number, from_behind=False)
    other = _draw(_change(product, name), number, from_behind=False)
    # Seen at the size that small models see, past the noise of an image.
    moved = np.abs(one.astype(int) - other).max(-1) > 25
    assert moved.mean() > 0.002, (name, product)


@pytest.mark.parametrize("name", SHARED + products_lib.TITLE_ONLY)
def test_titles_say_their_attributes(products, name):
  said = differ = 0
  for number, product in enumerate(products):
    one, other = _title(product, number), _title(_change(product, name), number)
    said += name in one[1]
    differ += name in one[1] and one[0] != other[0]
  # "plain" is seldom written, and a second colour seldom at all.
  assert len(products) * 0.1 < said < len(products)
  assert differ == said


def test_from_behind_neither_pattern_nor_mark_is_seen(products):
  for product in products[:20]:
    hidden = product._replace(brand="Mirlu", pattern="dots", scale=1, place=2)
    images = [
      _draw(one, 0, from_behind=True)
      for one in (hidden, hidden._replace(brand="Kosgrel", pattern="check"))
    ]
    assert np.array_equal(*images)


def test_every_kind_stays_in_its_frame_and_is_well_seen(products):
  """Otherwise a listing shows a part of the object, or hardly any of it."""
  shot = drawing.take_shot(np.random.default_rng(0))._replace(
    size=0.4, x=0.0, y=0.0, angle=0.0
  )
  for kind, form in itertools.product(products_lib.KINDS, (0, 1, 2)):
    product = products[0]._replace(kind=kind, form=form)
    _, cover, _, _ = drawing._object(product, shot, 320)
    assert 0.1 < (cover > 0).sum() / 320**2 < 0.7, kind
    parts, spots = shapes.shape(kind)
    points = np.concatenate([part.points for part in parts])
    assert np.abs(points).max() <= 1.25, kind
    assert len({tuple(spot) for spot in spots.tolist()}) == 3


def test_titles_are_4_to_14_words_and_rarely_alike(products):
  texts = [
    _title(product, 7 * i + n)[0]
    for i, product in enumerate(products)
    for n in range(6)
  ]
  words = [len(text.split()) for text in texts]
  assert min(words) == 4
  assert max(words) == 14
  assert len({text.lower() for text in texts}) > 0.9 * len(texts)


def test_words_name_one_value_each():
  """A word for two values would make titles lie."""
  every = list(titles.SYNONYMS.values())
  words = [word.lower() for group in every for word in group]
  assert len(set(words)) == len(words)
  assert not set(words) & set(titles.FILLERS)


def test_most_titles_fit_several_products():
  """Neither side is a key: other products fit what a listing shows or says."""
  count = 2400
  table = np.array([products_lib.sample_product(0, i) for i in range(count)])
  columns = {name: i for i, name in enumerate(products_lib.Product._fields)}

  def share(seen_in):
    fits = []
    for index in range(0, count, 8):
      names = [columns[name] for name in seen_in(index)]
      same = (table[:, names] == table[index, names]).all(1)
      fits.append(same.sum() > 1)
    return np.mean(fits)

  def said(index):
    product = products_lib.sample_product(0, index)
    return titles.compose_title(product, products_lib.stream(0, 2, index, 0))[1]

  assert share(said) > 0.7
  assert share(lambda _: SHARED + products_lib.IMAGE_ONLY) > 0.5
  assert share(lambda _: SHARED + products_lib.TITLE_ONLY) > 0.4
  assert share(lambda _: products_lib.Product._fields) < 0.02


def test_colour_thumbnails_do_not_settle_it(products):
  """The nearest image by 8x8 colours is mostly of another product."""
  images, owners = [], []
  for index, product in enumerate(products[::2]):
    for number in range(2):
      small = _draw(product, 2 * index + number).reshape(8, 8, 8, 8, 3)
      images.append(small.mean((1, 3)).ravel())
      owners.append(index)
  unit = np.array(images) / np.linalg.norm(images, axis=1, keepdims=True)
  scores = unit @ unit.T
  np.fill_diagonal(scores, -1)
  owners = np.array(owners)
  assert (owners[scores.argmax(1)] == owners).mean() < 0.3


def test_what_is_there_is_not_replaced_by_default(catalogue, tmp_path):
  before = _digests(catalogue)
  with pytest.raises(FileExistsError, match="--overwrite"):
    synthesize.synthesize(catalogue, products=1, seed=0, workers=1)
  assert _digests(catalogue) == before
  out = tmp_path / "shop"
  synthesize.synthesize(out, workers=1, **{**SMALL, "products": 2})
  synthesize.synthesize(
    out, workers=1, overwrite=True, **{**SMALL, "products": 1}
  )
  assert {row["product_id"] for row in _rows(out)} == {"P000000"}
  assert os.listdir(tmp_path) == ["shop"]


@pytest.mark.parametrize("strange", ["notes.txt", "products.csv"])
def test_a_folder_of_somebody_else_is_never_replaced(tmp_path, strange):
  out = tmp_path / "mine"
  (out / "images").mkdir(parents=True)
  (out / "products.csv").write_text("listing_id\nmine\n")
  (out / strange).write_text("listing_id\nprecious\n")
  before = _digests(out)
  with pytest.raises(FileExistsError, match="not written by this command"):
    synthesize.synthesize(out, products=1, seed=0, workers=1, overwrite=True)
  assert _digests(out) == before


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("products", 0),
    ("seed", -1),
    ("image_size", 16),
    ("image_size", 5000),
    ("workers", 0),
  ],
)
def test_impossible_numbers_are_named(tmp_path, name, value):
  numbers = {"products": 1, "seed": 0, "workers": 1, name: value}
  with pytest.raises(UserError, match=rf"{name} .*{value:,}"):
    synthesize.synthesize(tmp_path / "out", **numbers)
  assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_leaves_nothing_that_looks_finished(tmp_path, number):
  out = tmp_path / "shop"
  script = tmp_path / "run.py"
  script.write_text(
    "import sys\n"
    "from item_jax.synthetic.synthesize import synthesize\n"
    "if __name__ == '__main__':\n"
    "  synthesize(sys.argv[1], products=10**5, seed=0, workers=2)\n"
  )
  run = subprocess.Popen(
    [sys.executable, script, out],
    stderr=subprocess.DEVNULL,
    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
  )
  try:
    _wait(lambda: any(tmp_path.glob("*/images/*.jpg")))
    workers = _children(run.pid)
  finally:
    run.send_signal(number)
    try:
      assert run.wait(30) != 0
    finally:
      run.kill()  # a test that fails leaves nothing running either
  assert workers
  _wait(lambda: not any(map(_runs, workers)))
  assert not out.exists()
  if number == signal.SIGINT:
    assert [path.name for path in tmp_path.iterdir()] == ["run.py"]
  synthesize.synthesize(out, products=1, seed=0, workers=1)
  assert sorted(os.listdir(tmp_path)) == ["run.py", "shop"]


def _children(pid):
  with open(f"/proc/{pid}/task/{pid}/children") as file:
    return file.read().split()


def _runs(pid):
  try:
    with open(f"/proc/{pid}/stat") as file:
      return file.read().rpartition(")")[2].split()[0] not in "ZX"
  except (FileNotFoundError, ProcessLookupError):
    return False


def _wait(happened):
  end = time.monotonic() + 30
  while not happened():
    assert time.monotonic() < end, "waited for 30 s"
    time.sleep(0.05)
