"""A small catalogue with its photos, all good; and everything bad beside it."""

import csv
import io
import os
import struct
from pathlib import Path

import numpy as np
from PIL import Image

FIELDS = ("listing_id", "product_id", "image", "title", "category", "split")


def photo(seed=0, kind="JPEG", size=(300, 300), mode="RGB"):
  pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
  image = Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)
  file = io.BytesIO()
  image.convert(mode).save(file, kind)
  return file.getvalue()


def write_catalogue(path, rows):
  with open(path, "w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(FIELDS)
    writer.writerows(rows)
  return path


def rejected(path):
  with open(path, newline="", encoding="utf-8") as file:
    return list(csv.DictReader(file))


def contents(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def make_shop(tmp_path: Path) -> Path:
  """A folder with images/ and c.csv: 40 listings, 20 products, three splits."""
  folder = tmp_path / "images"
  folder.mkdir(parents=True)
  rows = []
  for n in range(40):
    (folder / f"{n}.jpg").write_bytes(photo(n))
    split = ("train", "val", "test")[n // 2 % 3]
    title = f"red shirt size {n // 2}"
    rows.append((f"l{n}", f"p{n // 2}", f"{n}.jpg", title, "A > B", split))
  write_catalogue(tmp_path / "c.csv", rows)
  return tmp_path


# ---- Bad photos and rows, each a real file. ----


def jpeg_claiming(width, height):
  data = bytearray(photo())
  start = data.index(b"\xff\xc0")
  data[start + 5 : start + 9] = struct.pack(">HH", height, width)
  return bytes(data)


BAD_FILES = {
  "empty.jpg": (b"", "the image file is empty"),
  "short.jpg": (photo()[:-1500], "the image file is broken or cut short"),
  "short.png": (
    photo(kind="PNG")[:-200],
    "the image file is broken or cut short",
  ),
  "text.jpg": (b"404 not found", "the file is no JPEG, PNG or WebP image"),
  "gif.jpg": (photo(kind="GIF"), "the file is no JPEG, PNG or WebP image"),
  "bomb.jpg": (
    jpeg_claiming(60_000, 60_000),
    "the image has more than 50 megapixels",
  ),
}
GOOD_FILES = {
  "cmyk.jpg": photo(mode="CMYK"),
  "grey.jpg": photo(mode="L"),
  "rgba.png": photo(kind="PNG", mode="RGBA"),
  "webp.webp": photo(kind="WEBP"),
  "palette.png": photo(kind="PNG", mode="P"),
}


def make_corpus(shop: Path) -> dict[str, str | None]:
  """Rows beside the good ones, and what must become of each: {id: kind}."""
  folder = shop / "images"
  expected = {}
  lines = []

  def add(name, image, title=b"a title", kind=None):
    lines.append(b",".join([name, b"", image, title, b"", b"train"]) + b"\n")
    expected[name.decode()] = kind

  for name, (data, kind) in BAD_FILES.items():
    (folder / name).write_bytes(data)
    add(name.encode(), name.encode(), kind=kind)
  for name, data in GOOD_FILES.items():
    (folder / name).write_bytes(data)
    add(name.encode(), name.encode())
  with open(folder / "large.jpg", "wb") as file:
    file.truncate(50_000_001)
  add(b"large", b"large.jpg", kind="the image file is larger than 50 MB")
  add(b"gone", b"gone.jpg", kind="the image file is not there")
  add(b"long", b"x" * 5000, kind="the image file is not there")
  (folder / "folder.jpg").mkdir()
  add(b"folder", b"folder.jpg", kind="the image is no regular file")
  os.mkfifo(folder / "pipe.jpg")
  add(b"pipe", b"pipe.jpg", kind="the image is no regular file")
  (shop / "secret.jpg").write_bytes(photo())
  (folder / "link.jpg").symlink_to(shop / "secret.jpg")
  (folder / "up").symlink_to(shop)
  (shop / "images2").mkdir()
  (shop / "images2" / "a.jpg").write_bytes(photo())
  leaves = "the image path leaves the image folder"
  for place, path in enumerate(
    ("../secret.jpg", "link.jpg", "up/secret.jpg", "../images2/a.jpg")
  ):
    add(f"leaves{place}".encode(), path.encode(), kind=leaves)
  add(b"absolute", bytes(shop / "secret.jpg"), kind=leaves)
  (folder / "sub").mkdir()
  (folder / "sub" / "inner.jpg").write_bytes(photo())
  add(b"inner", b"sub/../sub/inner.jpg")
  add(b"no-title", b"0.jpg", b"")
  add(b"no-image", b"")
  add(b"neither", b"", b"", "neither title nor image")
  add(b"latin1", b"0.jpg", b"caf\xe9", "title is not valid UTF-8")
  add(b"nul", b"0.jpg", b"a\0b", "title holds a NUL byte")
  add(
    b"novel", b"0.jpg", b"x" * 10_001, "title is longer than 10,000 characters"
  )
  add(b"comma", b"0.jpg", b"one, two", "wrong number of fields")
  lines.append(b'quote,,0.jpg,"open,train\n')
  lines.append(b"l3,,0.jpg,known id,,train\n")
  # A duplicate of a rejected row is the first of its id that can be stored.
  lines.append(b"gone,,0.jpg,found again,,train\n")
  with open(shop / "c.csv", "ab") as file:
    file.writelines(lines)
  return expected
