"""Writes an invented catalogue: a count and a seed in, CSV and photos out."""

import csv
import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import simplejpeg
from tqdm import tqdm

from item_jax.data import drawing, invention
from item_jax.errors import UserError
from item_jax.processes import die_with_parent

COLUMNS = ("listing_id", "product_id", "image", "title", "category")
_CHUNK = 16  # products a worker takes at a time


def synthesize(
  out: str | os.PathLike,
  *,
  products: int,
  seed: int,
  image_size: int = 160,
  overwrite: bool = False,
  workers: int | None = None,
) -> None:
  """Writes OUT/products.csv and OUT/images/*.jpg, 2 to 6 listings a product.

  The bytes are a function of (products, seed, image_size), and a product and
  its listings of (seed, its number, image_size). Built beside OUT and renamed
  at the end. `workers` defaults to the number of cores.

  Raises UserError for impossible numbers and FileExistsError if OUT exists.
  """
  out = Path(out)
  workers = workers or os.cpu_count() or 1
  _check(products=products, seed=seed, image_size=image_size, workers=workers)
  _check_free(out, overwrite=overwrite)
  out.parent.mkdir(parents=True, exist_ok=True)
  unfinished = out.with_name(f".{out.name}.unfinished-{os.getpid()}")
  try:
    (unfinished / "images").mkdir(parents=True)
    listings = _write(unfinished, products, seed, image_size, workers)
    if overwrite and out.exists():
      shutil.rmtree(out)
    unfinished.rename(out)
  finally:
    shutil.rmtree(unfinished, ignore_errors=True)
  print(f"{out}: {products:,} products, {listings:,} listings (seed {seed})")


def _check(**numbers):
  least = {"products": 1, "seed": 0, "image_size": 32, "workers": 1}
  for name, number in numbers.items():
    if number < least[name]:
      raise UserError(f"{name} is {number}, must be at least {least[name]}")
  if numbers["image_size"] > 1024:
    raise UserError(
      f"image_size is {numbers['image_size']}, must be at most 1024"
    )


def _check_free(out, *, overwrite):
  if not os.path.lexists(out):
    return
  if not overwrite:
    raise FileExistsError(f"{out} exists; give --overwrite to replace it")
  strange = (
    sorted(set(os.listdir(out)) - {"products.csv", "images"})
    if out.is_dir()
    else ["a file"]
  )
  if strange:
    raise UserError(
      f"{out} is not a catalogue and will not be replaced: it holds"
      f" {', '.join(strange[:3])}, expected products.csv and images only"
    )


def _write(folder, products, seed, image_size, workers):
  """Writes all listings in order of product; returns their number."""
  draw_chunk = partial(
    _write_chunk, images=folder / "images", seed=seed, image_size=image_size
  )
  chunks = [
    range(start, min(start + _CHUNK, products))
    for start in range(0, products, _CHUNK)
  ]
  listings = 0
  with (
    open(folder / "products.csv", "w", encoding="utf-8", newline="") as file,
    tqdm(total=products, unit=" products", desc="draw") as bar,
  ):
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)

    def take(rows_of_chunks):
      nonlocal listings
      for chunk, rows in zip(chunks, rows_of_chunks, strict=True):
        writer.writerows(rows)
        listings += len(rows)
        bar.update(len(chunk))

    if workers == 1:
      take(map(draw_chunk, chunks))
    else:
      with ProcessPoolExecutor(
        min(workers, len(chunks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
      ) as pool:
        take(pool.map(draw_chunk, chunks))
  return listings


def _start_worker():
  die_with_parent()
  cv2.setNumThreads(1)  # one core a worker


def _write_chunk(chunk, *, images, seed, image_size):
  """Writes the photos of these products; returns their rows."""
  rows = []
  for index in chunk:
    product = invention.invent_product(seed, index)
    for number in range(invention.count_listings(seed, index)):
      name = f"{index:06d}-{number}"
      title, _ = invention.say_title(
        product, invention.stream(seed, 2, index, number)
      )
      photo = draw_photo(product, seed, index, number, side=image_size)
      (images / f"{name}.jpg").write_bytes(photo)
      category = invention.KINDS[product.kind].category
      rows.append(
        (name, f"P{index:06d}", f"images/{name}.jpg", title, category)
      )
  return rows


def draw_photo(product, seed, index, number, *, side):
  """The JPEG of one listing."""
  rng = invention.stream(seed, 3, index, number)
  shot = drawing.take_shot(rng)
  pixels = drawing.draw(product, shot, rng, side=side)
  return simplejpeg.encode_jpeg(
    pixels, quality=shot.quality, colorspace="RGB", colorsubsampling="420"
  )
