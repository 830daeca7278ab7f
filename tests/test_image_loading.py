"""Laws of finding a listing's image, and of the one under many products."""

import csv
import io
import unicodedata

import numpy as np
import pytest
from PIL import Image, ImageDraw
from shop import photo
from store import open_bucket

from item_jax.data.file_kinds import name_kind
from item_jax.data.images import BadImage, store_jpeg
from item_jax.ingest.images.files import find_root, read_image
from item_jax.ingest.images.load import NO_IMAGE, load_images
from item_jax.ingest.images.placeholders import group_alike, thumbnail
from item_jax.ingest.prepare import prepare

COMPOSED, DECOMPOSED = "caf\u00e9.jpg", "cafe\u0301.jpg"

# File, name in the table, what was done to it.
SPELLINGS = [
  ("blue lamp.jpg", "blue%20lamp.jpg", "percent-decoded"),
  ("gr\u00fcn.jpg", "gr%C3%BCn.jpg", "percent-decoded"),
  ("gr\u00fcn.jpg", "gr%FCn.jpg", "percent-decoded"),  # Latin-1
  ("50% off.jpg", "50%25%20off.jpg", "percent-decoded"),
  (
    "blue lamp.jpg",
    "blue%2520lamp.jpg",
    "percent-decoded and percent-decoded twice",
  ),
  ("blue lamp.jpg", "blue+lamp.jpg", "+ for blanks"),
  ("sub/a.jpg", "sub\\a.jpg", "backslashes turned"),
  ("sub/a.jpg", ".\\sub\\a.jpg", "backslashes turned"),
  ("sub/a.jpg", "/sub/a.jpg", "below the image folder"),
  (
    "sub/a.jpg",
    "\\sub\\a.jpg",
    "backslashes turned and below the image folder",
  ),
  ("a.jpg", "a.jpg?v=1", "without ?..."),
  ("a.jpg", "a.jpg?w=100&h=2/3", "without ?..."),
  ("a.jpg", "a.jpg#main", "without #..."),
  ("a#2.jpg", "a#2.jpg?v=1", "without ?..."),
  ("a.jpg", "a.jpg?v=1#main", "without ?..."),
  ("a.jpg", "file:a.jpg", "without file:"),
  ("a.jpg", "file:///a.jpg", "without file: and below the image folder"),
  (
    "a.jpg",
    "file://localhost/a.jpg",
    "without file: and below the image folder",
  ),
  ("a.jpg", '"a.jpg"', "without quotes"),
  ("p&q.jpg", "p&amp;q.jpg", "entities decoded"),
  (DECOMPOSED, COMPOSED, "letters decomposed"),
  (COMPOSED, DECOMPOSED, "letters composed"),
  (
    f"sub dir/{DECOMPOSED}",
    "sub%20dir\\caf%C3%A9.jpg?v=2",
    "without ?... and backslashes turned and percent-decoded and letters"
    " decomposed",
  ),
  ("a.jpg", "./a.jpg", "as written"),
  ("sub/a.jpg", "sub//a.jpg", "as written"),
  ("a+b.jpg", "a+b.jpg", "as written"),
  ("x?y.jpg", "x?y.jpg", "as written"),
  ("50% off.jpg", "50% off.jpg", "as written"),
  ('quote".jpg', 'quote".jpg', "as written"),
]


@pytest.fixture(params=["folder", "store"])
def root(request, tmp_path):
  """How to call an image folder; and where it is."""
  folder = tmp_path / "photos"
  folder.mkdir()
  (tmp_path / "secret.jpg").write_bytes(b"secret")
  if request.param == "folder":
    return find_root(folder), folder
  open_bucket(tmp_path)
  return find_root("gs://photos"), folder


@pytest.mark.parametrize(("file", "name", "spelling"), SPELLINGS)
def test_a_file_is_found_by_other_spellings(root, file, name, spelling):
  called, folder = root
  (folder / file).parent.mkdir(exist_ok=True)
  (folder / file).write_bytes(b"wanted")
  assert read_image(called, name) == (b"wanted", spelling)


def test_the_name_as_it_is_written_comes_first(root):
  called, folder = root
  for name in ("a%20b.jpg", "a b.jpg", "c.jpg", "c.jpg?v=1"):
    (folder / name).write_bytes(name.encode())
    assert read_image(called, name)[0] == name.encode()
  assert read_image(called, "c.jpg#2")[0] == b"c.jpg"
  # Of two that would do the one with less done to it.
  (folder / "a+b%20c.jpg").write_bytes(b"0")
  (folder / "a+b c.jpg").write_bytes(b"1")
  (folder / "a b c.jpg").write_bytes(b"2")
  found = []
  for name in ("a+b%20c.jpg", "a+b c.jpg", "a b c.jpg"):
    found.append(read_image(called, "a+b%20c.jpg")[0])
    (folder / name).unlink()
  assert found == [b"0", b"1", b"2"]


@pytest.mark.parametrize(
  "name",
  [
    "../secret.jpg",
    "%2e%2e%2fsecret.jpg",
    "%252e%252e%252fsecret.jpg",
    "..\\secret.jpg",
    "..%5csecret.jpg",
    "file:../secret.jpg",
    "file:///../secret.jpg",
    "/../secret.jpg",
    '"../secret.jpg"',
    "../secret.jpg?v=1",
    "..&#47;secret.jpg",
    "a.jpg%00",
    "sub\\..\\..\\secret.jpg",
  ],
)
def test_no_spelling_leaves_the_folder(root, name):
  called, folder = root
  (folder / "sub").mkdir()
  (folder / "a.jpg").write_bytes(b"not asked for")
  with pytest.raises(BadImage, match=r"^the image (path leaves|file is not)"):
    read_image(called, name)


def test_a_link_that_leads_out_is_not_followed_by_another_spelling(tmp_path):
  (tmp_path / "secret.jpg").write_bytes(b"secret")
  folder = tmp_path / "photos"
  folder.mkdir()
  (folder / "a b.jpg").symlink_to(tmp_path / "secret.jpg")
  for name in ("a%20b.jpg", "a b.jpg?v=1", f"file://{tmp_path}/secret.jpg"):
    with pytest.raises(BadImage, match="is not there"):
      read_image(find_root(folder), name)


def test_an_absolute_name_inside_the_folder_is_read(root):
  called, folder = root
  (folder / "a b.jpg").write_bytes(b"wanted")
  start = called if "://" in called else f"file://{called}"
  name = f"{start}/a b.jpg"
  assert read_image(called, name)[0] == b"wanted"


MISSING = "the image file is not there"
IN_BASE64 = f"{MISSING}, its name is the image itself in base64, not its bytes"
FETCHED = f"{MISSING}, its name is an address and those are not fetched"


@pytest.mark.parametrize(
  ("name", "kind"),
  [
    ("gone.jpg", MISSING),
    ("blue%20lamp.jpg", f"{MISSING}, its name looks percent-encoded"),
    ("C:\\photos\\a.jpg", f"{MISSING}, its name has backslashes"),
    (
      "sub\\blue%20lamp.jpg",
      f"{MISSING}, its name has backslashes and looks percent-encoded",
    ),
    ("file:///elsewhere/a.jpg", f"{MISSING}, its name is a file:// address"),
    ("https://example.com/blue%20lamp.jpg", FETCHED),
    ("//cdn.example.com/a.jpg?v=1", FETCHED),
    ("www.example.com/a.jpg", FETCHED),
    ("s3://elsewhere/a.jpg", FETCHED),
    ("data:image/png;base64," + "iVBORw0KGgo/" * 800, IN_BASE64),
    ("iVBORw0KGgo" + "Ab+/" * 800 + "==", IN_BASE64),
    ("/9j/" + "Ab+/" * 800, IN_BASE64),
    ("data:image/svg+xml,<svg/>", FETCHED),
    ("a.jpg, b.jpg", f"{MISSING}, its name is a list"),
    ("a.jpg|b.jpg", f"{MISSING}, its name is a list"),
    ('["a.jpg","b.jpg"]', f"{MISSING}, its name is a list"),
    ("x" * 5000, MISSING),
  ],
)
def test_the_reason_names_what_was_seen(root, name, kind):
  called, _ = root
  with pytest.raises(BadImage) as caught:
    read_image(called, name)
  reason, _, detail = str(caught.value).partition(": ")
  assert (reason, detail[:3]) == (kind, name[:3])
  assert len(detail) <= 203


# ---- Photos in the table itself. ----


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_in_the_table_is_stored_as_its_file_is(tmp_path, workers):
  files = [photo(n, kind) for n, kind in enumerate(("JPEG", "PNG", "WEBP"))]
  bad = [photo(0, "GIF"), photo()[:-1500]]
  wanted = [*enumerate(files + bad), (5, b""), (6, "")]
  done = dict(load_images(tmp_path, wanted, workers=workers))
  assert list(done) == list(range(7))
  for n, data in enumerate(files):
    assert done[n].jpeg == store_jpeg(data)
    assert (done[n].name, done[n].spelling) == ("", "in the table")
  assert str(done[3]) == "the file is no JPEG, PNG or WebP image: it is GIF"
  assert str(done[4]).startswith("the image file is broken or cut short: ")
  assert len(str(done[4])) < 200
  assert done[5] == done[6] == NO_IMAGE


@pytest.mark.parametrize(
  ("data", "kind"),
  [
    (b"GIF89a...", "GIF"),
    (b"II*\0....", "TIFF"),
    (b"BM\x46\0\0\0\0\0\0\0\x36\0", "BMP"),
    (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
    (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
    (b"%PDF-1.7", "PDF"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'>", "SVG"),
    (b'<?xml version="1.0"?>\n<!-- made by -->\n<svg>', "SVG"),
    (b"\xef\xbb\xbf\n<!DOCTYPE html>\n<svg>", "HTML"),
    (b'<?xml version="1.0"?><Error><Code>AccessDenied', "XML"),
    (b'{"error": "not found"}', "text"),
    (b"\xff\xd8\xff\xe0 and no more", "broken, though it begins as one"),
    (bytes(100), "nothing but zeros"),
    (b"", ""),
    (b"\x01\x02\xfe\xff", ""),
  ],
)
def test_a_file_that_is_no_image_is_called_what_it_is(data, kind):
  assert name_kind(data) == kind


# ---- One image under many products. ----


def nothing_to_see(size=(600, 450), text="no photo yet", ground=238):
  image = Image.new("RGB", size, (ground,) * 3)
  draw = ImageDraw.Draw(image)
  draw.rectangle((size[0] // 4, 60, size[0] * 3 // 4, 200), outline=(90,) * 3)
  draw.text((size[0] // 6, size[1] // 2), text, fill=(120,) * 3, font_size=60)
  return image


def saved(image, kind="JPEG", **options):
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()


def copies(image):
  """One image as shops save it again and again."""
  half = image.resize((image.width // 2, image.height // 2))
  return [
    *(saved(image, quality=q) for q in (50, 60, 70, 80, 90, 95)),
    saved(half, quality=90),
    saved(half, quality=50),
    saved(image, "PNG"),
    saved(image, "WEBP", quality=80),
  ]


def listings_with(tmp_path, files):
  """A catalogue with a product for each file; its data."""
  folder = tmp_path / "images"
  folder.mkdir()
  with open(tmp_path / "c.csv", "w", newline="") as file:
    lines = csv.writer(file)
    lines.writerow(("listing_id", "product_id", "image", "title", "split"))
    for n, (name, data) in enumerate(files.items()):
      (folder / name).write_bytes(data)
      spelling = name.replace(" ", "%20")
      lines.writerow((f"l{n:02}", f"p{n}", spelling, f"mug {n}", "train"))
  out = tmp_path / "data"
  return prepare(tmp_path / "c.csv", images=folder, out=out, workers=0)


def test_copies_of_a_placeholder_are_named_with_their_rows(tmp_path):
  files = {f"{n}.jpg": photo(n) for n in range(10)}
  again = copies(nothing_to_see())
  files |= {f"no photo {n}.jpg": data for n, data in enumerate(again)}
  dataset = listings_with(tmp_path, files)
  found, report = dataset.catalogue, str(dataset)
  assert found["placeholders"] == [
    {
      "listings": 10,
      "products": 10,
      "image": "no%20photo%200.jpg",
      "listing_ids": [f"l{n}" for n in range(10, 20)],
    }
  ]
  assert found["image_names"] == {"as written": 10, "percent-decoded": 10}
  assert "image names 10 percent-decoded\n" in report
  assert (
    "placeholder 10 products have one image, no%20photo%200.jpg:"
    " 10 listings, among them l10, l11, l12\n"
  ) in report


def test_few_products_or_none_with_an_image_are_no_placeholder(tmp_path):
  files = {f"{n}.jpg": photo(n) for n in range(10)}
  files |= {f"same{n}.jpg": photo(99) for n in range(4)}
  dataset = listings_with(tmp_path, files)
  found, report = dataset.catalogue, str(dataset)
  assert found["placeholders"] == []
  assert found["image_names"] == {"as written": 14}
  assert "placeholder" not in report
  assert "image names" not in report


def pixels_of(data):
  return np.asarray(Image.open(io.BytesIO(store_jpeg(data))))


def test_two_placeholders_and_blank_ones_are_two_groups():
  white, grey = (Image.new("RGB", (500, 500), c) for c in ("white", "#ddd"))
  pictures = [
    nothing_to_see(),
    nothing_to_see(text="coming soon", ground=255),
    white,
    grey,
  ]
  thumbnails, wanted = [], []
  for picture in pictures:
    seen = {thumbnail(pixels_of(data)) for data in copies(picture)}
    wanted.append({*range(len(thumbnails), len(thumbnails) + len(seen))})
    thumbnails += sorted(seen)
  thumbnails += [thumbnail(pixels_of(photo(n))) for n in range(50)]
  # Flat ones come out the same, so that they stand for several rows.
  groups = group_alike(thumbnails, [5] * len(thumbnails), least=5)
  groups = [set(group) for group in groups]
  assert all(group in groups for group in wanted)
  assert len(groups) == len(wanted) + 50
  found = group_alike(thumbnails, [5] * len(thumbnails), least=6)
  assert all(len(group) > 1 for group in found)


def test_many_rows_of_a_thumbnail_come_first():
  one, other = bytes(192), bytes([255]) * 192
  assert group_alike([one, other], [5, 7], least=5) == [[1], [0]]
  assert group_alike([one, other], [4, 4], least=5) == []
  assert group_alike([], [], least=5) == []


def test_names_in_this_file_differ_as_they_should():
  assert unicodedata.normalize("NFD", COMPOSED) == DECOMPOSED != COMPOSED
