"""Writes synthetic catalogues: CSV tables and images."""

import contextlib
import csv
import functools
import logging
import os
from pathlib import Path

import simplejpeg

from item_jax.bars import show_bar
from item_jax.errors import UserError
from item_jax.new_folder import new_folder
from item_jax.synthetic import drawing, titles
from item_jax.synthetic import products as products_lib
from item_jax.workers import WorkerPool, count_cores

logger = logging.getLogger(__name__)

COLUMNS = ("listing_id", "product_id", "image", "title", "category")
VARIANTS = ("product", "variant", "differs")
ATTRIBUTES = ("product", *products_lib.Product._fields)
_FILES = {"products.csv", "variants.csv", "attributes.csv", "images"}


def synthesize(
  out: str | os.PathLike,
  *,
  products: int = 2_000,
  seed: int = 0,
  image_size: int = 160,
  overwrite: bool = False,
  workers: int | None = None,
) -> None:
  """Writes OUT/products.csv and OUT/images/*.jpg, 2 to 6 listings a product.

  OUT/variants.csv lists the pairs of products that differ in one attribute
  only, and what shows it: "photo > form" images only, "title > size" titles
  only, "both > colour" both.

  A product and its listings are a function of (seed, its number, image_size):
  a larger catalogue begins with the smaller one, and the number of workers
  changes no byte (other versions of numpy or OpenCV may). The folder is built
  beside OUT and renamed at the end.

  Args:
    out: the folder to write.
    products: how many products.
    seed: 0 or more.
    image_size: the images' side, in pixels.
    overwrite: whether to replace an earlier synthetic catalogue.
    workers: processes; None takes one a core.

  Raises:
    UserError: a number is out of its range.
    AlreadyThereError: `out` is there and must stay.
  """
  workers = count_cores() if workers is None else workers
  _check("products", products, 1, 10**9)
  _check("seed", seed, 0, 2**63 - 1)
  _check("image_size", image_size, 32, 1024)
  _check("workers", workers, 1, 1024)
  with new_folder(out, overwrite=overwrite, replaceable=_is_ours) as folder:
    (folder / "images").mkdir()
    listings = _write(folder, products, seed, image_size, workers)
  logger.info(
    f"{out}: {products:,} products, {listings:,} listings (seed {seed})"
  )


def draw_image(
  product: products_lib.Product,
  seed: int,
  index: int,
  number: int,
  *,
  side: int,
) -> bytes:
  """Draws the JPEG of listing `number` of product `index`."""
  rng = products_lib.stream(seed, 3, index, number)
  shot = drawing.take_shot(rng)
  pixels = drawing.draw(product, shot, rng, side=side)
  return simplejpeg.encode_jpeg(
    pixels, quality=shot.quality, colorspace="RGB", colorsubsampling="420"
  )


def write_title(
  product: products_lib.Product, seed: int, index: int, number: int
) -> str:
  """Writes the title of listing `number` of product `index`."""
  return titles.compose_title(
    product, products_lib.stream(seed, 2, index, number)
  )[0]


def _check(name, number, least, most):
  if not least <= number <= most:
    raise UserError(f"{name} must be {least:,} to {most:,}, not {number:,}")


def _is_ours(folder):
  """Whether a folder is a synthetic catalogue and holds nothing else."""
  # Earlier versions wrote fewer tables.
  needed = {"products.csv", "images"}
  if not needed <= set(os.listdir(folder)) <= _FILES:
    return False
  with open(folder / "products.csv", "rb") as file:
    file.readline()
    return file.readline().startswith(b"000000-0,P000000,images/000000-0.jpg,")


def _write(folder: Path, products, seed, image_size, workers):
  """Writes all listings in order of product; returns their number."""
  draw = functools.partial(
    _write_products, images=folder / "images", seed=seed, image_size=image_size
  )
  step = products_lib.FAMILY  # a family is grown once
  tasks = [
    range(start, min(start + step, products))
    for start in range(0, products, step)
  ]
  listings = 0
  with (
    _table(folder / "products.csv", COLUMNS) as write_rows,
    _table(folder / "variants.csv", VARIANTS) as write_pairs,
    _table(folder / "attributes.csv", ATTRIBUTES) as write_attributes,
    show_bar(total=products, unit=" products", desc="drawing") as bar,
    _mapper(min(workers, len(tasks))) as each,
  ):
    for indices, (rows, pairs) in zip(tasks, each(draw, tasks), strict=True):
      write_rows(rows)
      write_pairs(pairs)
      write_attributes(
        (_product_id(index), *products_lib.sample_product(seed, index))
        for index in indices
      )
      listings += len(rows)
      bar.update(len(indices))
  return listings


@contextlib.contextmanager
def _table(path: Path, columns):
  """Opens a CSV file; gives the function that writes rows to it."""
  with open(path, "w", encoding="utf-8", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    yield writer.writerows


def _product_id(index):
  return f"P{index:06d}"


@contextlib.contextmanager
def _mapper(workers):
  """Gives an ordered `map` over worker processes; one worker is this one."""
  if workers == 1:
    yield map
    return
  pool = WorkerPool(workers)
  try:
    yield pool.map
  finally:
    pool.shutdown(cancel_futures=True)


def _write_products(indices, *, images, seed, image_size):
  """Writes the images of some products of a family.

  Returns:
    The products' rows, and the pairs of them that differ in one attribute.
  """
  first = indices[0]
  pairs = [
    (_product_id(first + one), _product_id(first + other), differs)
    for one, other, differs in products_lib.variants(
      seed, first // products_lib.FAMILY
    )
    if max(one, other) < len(indices)
  ]
  rows = []
  for index in indices:
    product = products_lib.sample_product(seed, index)
    category = products_lib.KINDS[product.kind].category
    for number in range(products_lib.count_listings(seed, index)):
      name = f"{index:06d}-{number}"
      image = draw_image(product, seed, index, number, side=image_size)
      (images / f"{name}.jpg").write_bytes(image)
      title = write_title(product, seed, index, number)
      rows.append(
        (name, _product_id(index), f"images/{name}.jpg", title, category)
      )
  return rows, pairs
