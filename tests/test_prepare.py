"""Laws of preparing: nothing bad stops it, nothing half done looks finished."""

import csv
import html
import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import shell
from shop import (
  contents,
  make_corpus,
  make_shop,
  rejected,
  write_catalogue,
)

from item_jax.__main__ import main
from item_jax.data.images import store_jpeg
from item_jax.data.records import Record, open_dataset
from item_jax.data.summary import summarize
from item_jax.data.tokenizer import load_tokenizer
from item_jax.errors import UserError
from item_jax.files import check_manifest
from item_jax.ingest.images import load
from item_jax.ingest.prepare import TooManyRejected, prepare
from item_jax.ingest.row import Reading
from item_jax.ingest.statistics import open_statistics

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"


@pytest.fixture
def shop(tmp_path):
  return make_shop(tmp_path)


def run(shop, **options):
  options = {"workers": 1, "out": shop / "data"} | options
  images = shop / options.pop("images", "images")
  return prepare(shop / "c.csv", images=images, **options)


def test_every_bad_row_is_named_and_every_good_one_stored(shop):
  expected = make_corpus(shop)
  store = run(shop, max_rejected=0.9)
  by_id = {r.listing_id: r for s in store.sizes for r in store.source(s)}
  listed = rejected(shop / "data" / "rejected.csv")
  reasons = {
    row["id"]: row["reason"].partition(": ")[0]
    for row in listed
    if row["id"] != "l3"
  }
  for name, kind in expected.items():
    if kind is None:
      assert name in by_id
    elif name == "comma":  # its fields cannot be told apart
      assert kind in {row["reason"].partition(": ")[0] for row in listed}
    else:
      assert reasons[name] == kind
      assert (name in by_id) == (name == "gone")
  assert by_id["gone"].title == "found again"
  assert by_id["no-title"].title == ""
  assert by_id["no-image"].image == b""
  assert by_id["l3"].title == "red shirt size 1"
  known = str(40 + len(expected) + 2)
  assert {"row": known, "id": "l3", "reason": "duplicate listing_id"} in listed
  # Nothing is lost: all rows are in one place or the other.
  counts = dict(store.catalogue["rejected"])
  bad = sum(kind is not None for kind in expected.values()) + 2
  assert counts.pop("all") == bad == len(listed) == sum(counts.values())
  assert store.catalogue["read"] == 40 + len(expected) + 3
  assert (
    store.catalogue["rows"]["all"] == len(by_id) == 43 + len(expected) - bad
  )
  assert counts[leaves := "the image path leaves the image folder"] == 5
  assert f"5  {leaves}" in str(store)


@pytest.mark.parametrize("name", ["shop [1]", "what?", "a*b"])
def test_images_lie_in_the_catalogues_folder_whatever_its_name(shop, name):
  folder = shop / name
  (shop / "images").rename(folder)
  (shop / "c.csv").rename(folder / "c.csv")
  store = prepare(folder / "c.csv", out=shop / "data", workers=1)
  assert sum(store.sizes.values()) == 40


def test_too_many_bad_rows_leave_no_data(shop):
  with open(shop / "c.csv", "a") as file:
    file.write("bad1,,gone.jpg,title,,train\n")
  before = set(os.listdir(shop))
  with pytest.raises(TooManyRejected) as raised:
    run(shop)  # 1 of 41 is more than 1 %
  aside = shop / "data.rejected.csv"
  assert set(os.listdir(shop)) - before == {aside.name}
  (row,) = rejected(aside)
  assert (row["row"], row["id"]) == ("41", "bad1")
  assert "1 of 41 rows (2.44%)" in str(raised.value)
  assert raised.value.file == aside
  assert str(aside) in str(raised.value)
  sought = f"looked for: {shop / 'images' / 'gone.jpg'}\n"
  assert sought in str(raised.value)
  run(shop, max_rejected=1 / 41)
  assert not aside.exists()


def test_an_image_that_kills_its_process_costs_its_row(shop, monkeypatch):
  monkeypatch.setattr(load, "load_image", _deadly)
  monkeypatch.setattr(load, "_load_chunk", _deadly_chunk)
  wanted = [(n, f"{n}.jpg") for n in range(40)]
  done = dict(load.load_images(shop / "images", wanted, workers=2))
  assert list(done) == list(range(40))
  for n, stored in done.items():
    if n == 21:
      assert "reading the image kills the process: 21.jpg" in str(stored)
    else:
      assert stored == store_jpeg((shop / "images" / f"{n}.jpg").read_bytes())


def _deadly(root, name):
  if name == "21.jpg":
    os.kill(os.getpid(), signal.SIGKILL)
  return store_jpeg(load.read_image(root, name)[0])


def _deadly_chunk(root, names):
  return [_deadly(root, name) for name in names]


# ---- What is written. ----


def test_workers_that_all_die_are_an_error(shop, monkeypatch):
  monkeypatch.setattr(load, "load_image", _dead)
  monkeypatch.setattr(load, "_load_chunk", _dead)
  wanted = [(n, f"{n}.jpg") for n in range(3)]
  with pytest.raises(RuntimeError, match="die whatever they read"):
    list(load.load_images(shop / "images", wanted, workers=2))


@pytest.mark.parametrize("by", ["file", "stdin", "module"])
def test_a_script_needs_no_guard(by, shop, tmp_path):
  """Workers do not run it once more: its only line is printed once."""
  script = tmp_path / "script.py"
  script.write_text(
    "import item_jax\n"
    f"item_jax.prepare({str(shop / 'c.csv')!r}, out='out', workers=2,"
    f" images={str(shop / 'images')!r})\n"
    "print('once', __spec__ and __spec__.name, globals().get('__file__'))\n"
  )
  words = {"file": [script], "stdin": ["-"], "module": ["-m", "script"]}[by]
  done = subprocess.run(
    [sys.executable, *words],
    stdin=script.open(),
    env=shell.environment() | {"PYTHONPATH": os.pathsep.join(sys.path)},
    cwd=tmp_path,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  name, file = done.stdout.split()[1:]
  assert done.stdout.count("once") == 1
  assert name == ("script" if by == "module" else "None")
  assert file == {"stdin": "<stdin>"}.get(by, str(script))
  check_manifest(tmp_path / "out")


def test_a_killed_worker_blames_no_image_that_is_missing(shop, monkeypatch):
  """Those that cannot be read are not those that kill."""
  monkeypatch.setattr(load, "_load_chunk", _dead)
  wanted = [(n, f"gone{n}.jpg") for n in range(3)]
  done = dict(load.load_images(shop / "images", wanted, workers=2))
  for n, stored in done.items():
    assert str(stored) == f"the image file is not there: gone{n}.jpg"


def _dead(root, names):
  os.kill(os.getpid(), signal.SIGKILL)


def test_records_are_the_rows_in_order(shop):
  store = run(shop)
  seen = 0
  for place, split in enumerate(("train", "val", "test")):
    ids = [n for n in range(40) if n // 2 % 3 == place]
    expected = [
      Record(
        f"l{n}",
        f"p{n // 2}",
        f"red shirt size {n // 2}",
        "A > B",
        store_jpeg((shop / "images" / f"{n}.jpg").read_bytes()),
      )
      for n in ids
    ]
    assert list(store.source(split)) == expected
    seen += len(ids)
  assert seen == 40
  tokenizer = load_tokenizer(shop / "data" / "tokenizer.json")
  assert tokenizer.fingerprint == store.catalogue["tokenizer"]
  assert tokenizer.count("red shirt size") == 3
  assert tokenizer.size == store.catalogue["vocabulary"]["size"]


def test_the_same_bytes_for_any_number_of_workers(shop):
  make_corpus(shop)
  for workers in (0, 1, 2):
    run(shop, workers=workers, out=shop / f"d{workers}", max_rejected=0.9)
  first = contents(shop / "d0")
  assert len(first) == 9
  assert first == contents(shop / "d1") == contents(shop / "d2")


def test_a_ready_tokenizer_is_taken_as_it_is(shop):
  run(shop)
  file = shop / "data" / "tokenizer.json"
  run(shop, out=shop / "again", tokenizer=file)
  assert (shop / "again" / "tokenizer.json").read_bytes() == file.read_bytes()


ROWS = [
  # id, product, image, title, category, split
  ("a", "P1", "0.jpg", "red shirt", "X > Y", "train"),
  ("b", "P1", "1.jpg", "Red Shirt", "X > Y", "val"),  # P1 leaks
  ("c", "P2", "2.jpg", "red shirt", "X > Z", "train"),  # title of P1
  ("d", "P3", "0.jpg", "", "V", "test"),  # image of P1, leaks
  ("e", "P4", "", "blue shirt", "", "test"),
  ("f", "P4", "3.jpg", "blue shirt", "V", "test"),  # same product: fine
  ("g", "P4", "3.jpg", "x " * 58, "V", "test"),
  ("h", "P4", "3.jpg", "x " * 59, "V", "test"),
]


def test_statistics_by_hand(shop):
  write_catalogue(shop / "c.csv", ROWS)
  dataset = run(shop)
  assert dataset.counts == {
    "read": 8,
    "stored": 8,
    "rejected": 0,
    "products": 4,
  }
  found = dataset.catalogue
  assert found["rows"] == {"all": 8, "train": 2, "val": 1, "test": 5}
  assert found["products"] == {"all": 4, "train": 2, "val": 1, "test": 2}
  assert found["listings_per_product"] == {
    "mean": 2.0,
    "p50": 1,
    "p90": 4,
    "p95": 4,
    "p99": 4,
    "max": 4,
    "products_with_several": 2,
  }
  assert found["categories"] == {
    "leaves": 3,
    "top_level": 2,
    "rows_without": 1,
    "largest": {"V": 4, "X > Y": 2, "X > Z": 1},
    "rows": {
      "train": {"X > Y": 1, "X > Z": 1},
      "val": {"X > Y": 1},
      "test": {"V": 4},
    },
  }
  assert found["missing_image"] == {"all": 1, "train": 0, "val": 0, "test": 1}
  assert found["missing_title"] == {"all": 1, "train": 0, "val": 0, "test": 1}
  assert found["under_several_products"] == {
    "photos": {"distinct": 1, "rows": 2},
    "titles": {"distinct": 1, "rows": 3},
  }
  assert found["in_several_splits"] == {
    "products": {"distinct": 1, "rows": 2},
    "photos": {"distinct": 1, "rows": 2},
    "titles": {"distinct": 1, "rows": 3},
  }
  tokens = found["title_tokens"]
  # "blue" has letters that no training title has: "blu" unknown, "e".
  assert (tokens["max"], tokens["p50"]) == (59, 3)
  # 59 positions hold 58 tokens and [SEP].
  assert (tokens["cut"], tokens["cut_share"]) == (1, round(1 / 7, 6))


def test_a_data_set_describes_itself(shop):
  write_catalogue(shop / "c.csv", ROWS)
  dataset = run(shop)
  summary = str(dataset)
  for line in (
    "8 read, 8 stored, 0 rejected",
    "test      5 rows of 2 products; missing: 1 images, 1 titles",
    "4, 2 with several listings (mean 2.00, median 1, at most 4)",
    "1 images and 1 titles under several products",
    "1 products, 1 images, 1 titles in several splits",
    "14.29% cut at 59 positions",
  ):
    assert line in summary
  assert dataset._repr_html_() == f"<pre>{html.escape(summary)}</pre>"
  found = json.loads(json.dumps(dataset.to_dict()))
  assert found["sizes"] == {"train": 2, "val": 1, "test": 5}
  again = open_dataset(dataset.path)
  assert str(again) == summary
  assert again.to_dict() == dataset.to_dict()


def test_the_command_prints_the_summary_and_where_it_is(shop, capsys):
  words = ["prepare", shop / "c.csv", f"--images={shop / 'images'}"]
  words = [*map(str, words), f"--out={shop / 'data'}", "--workers=1"]
  assert main(words) == 0
  dataset = open_dataset(shop / "data")
  written = f"{dataset}\nwritten to {shop / 'data'}\n"
  assert capsys.readouterr().out == written
  with open(shop / "c.csv", "a") as file:
    file.write("bad1,,gone.jpg,title,,train\n")
  assert main([*words, "--overwrite"]) == 3
  assert capsys.readouterr().out.endswith(
    f"1 of 41 rows (2.44%) are bad, --max_rejected allows 1.00%:"
    f" {shop / 'data'} was not written.\nEach of them is named in"
    f" {shop / 'data.rejected.csv'}\n"
  )


def test_the_library_prints_nothing_on_stdout(shop, capsys):
  run(shop)
  assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["hm", "ikea", "grocery", "flipkart"])
def test_real_catalogues_lose_no_row(tmp_path, name):
  folder = SHARED / name
  if not folder.is_dir():
    pytest.skip(f"needs the catalogue {name} in ../shared/data")
  out = tmp_path / "data"
  store = prepare(folder / "products.csv", out=out)
  with open(folder / "products.csv", newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
  assert store.catalogue["rejected"] == {"all": 0}
  assert sum(store.sizes.values()) == len(rows)
  expected = [r["listing_id"] for r in rows if r["split"] == "test"]
  assert [r.listing_id for r in store.source("test")] == expected


# ---- What may go wrong. ----


def test_existing_output_stays_unless_it_may_go(shop):
  run(shop)
  before = contents(shop / "data")
  with pytest.raises(FileExistsError, match="--overwrite"):
    run(shop)
  assert contents(shop / "data") == before
  write_catalogue(shop / "c.csv", ROWS)
  assert run(shop, overwrite=True).catalogue["read"] == 8
  assert sorted(os.listdir(shop)) == ["c.csv", "data", "images"]


def test_overwrite_spares_what_is_no_store(shop):
  with pytest.raises(FileExistsError, match="does not replace it"):
    run(shop, out=shop / "images", overwrite=True)
  assert len(os.listdir(shop / "images")) == 40
  with pytest.raises(FileExistsError, match="does not replace it"):
    run(shop, out=shop / "c.csv", overwrite=True)
  run(shop)
  (shop / "data" / "notes.txt").write_text("mine")
  with pytest.raises(FileExistsError, match="does not replace it"):
    run(shop, overwrite=True)
  assert (shop / "data" / "notes.txt").read_text() == "mine"


def test_a_failing_overwrite_keeps_the_old_data(shop):
  run(shop)
  before = contents(shop / "data")
  write_catalogue(shop / "c.csv", [("x", "", "gone.jpg", "t", "", "train")])
  with pytest.raises(TooManyRejected):
    run(shop, overwrite=True)
  assert contents(shop / "data") == before


@pytest.mark.parametrize(
  ("rows", "options", "message"),
  [
    (
      [("a", "", "0.jpg", "t", "", "val")],
      {},
      "no row is in the split train.*the splits are val",
    ),
    ([], {}, "no row"),
    ([(n, "", "", "t", "", f"s{n}") for n in range(20)], {}, "16 splits"),
    (ROWS, {"max_rejected": 1.5}, "max_rejected"),
    (ROWS, {"reading": Reading(columns={"titel": "title"})}, "maps titel"),
    (ROWS, {"reading": {"columns": {}}}, "reading=<dict>: expected a Reading"),
    (ROWS, {"vocab_size": "many"}, "vocab_size='many': expected a whole"),
    (ROWS, {"images": "c.csv"}, "c.csv is a file, expected a folder of images"),
    (ROWS, {"vocab_size": 3}, "vocabulary of 3"),
    (ROWS, {"vocab_size": 10**20}, "expected 10 to 2,000,000"),
    (ROWS, {"workers": -1}, "workers=-1"),
  ],
)
def test_errors_leave_nothing_behind(shop, rows, options, message):
  write_catalogue(shop / "c.csv", rows)
  with pytest.raises(UserError, match=message):
    run(shop, **options)
  assert sorted(os.listdir(shop)) == ["c.csv", "images"]


def test_when_all_are_bad_each_is_named_whatever_may_be(shop):
  rows = [(n, "", "gone.jpg", "a mug", "", "train") for n in range(3)]
  write_catalogue(shop / "c.csv", rows)
  with pytest.raises(
    TooManyRejected, match=r"3 of 3 rows \(100.00%\) are bad, all that"
  ):
    run(shop, max_rejected=1.0)
  listed = rejected(shop / "data.rejected.csv")
  assert [row["id"] for row in listed] == ["0", "1", "2"]


def test_a_catalogue_in_latin_1_is_to_be_converted(tmp_path):
  (tmp_path / "c.csv").write_text("title\ncafé\ncafés\n", "latin-1")
  with pytest.raises(TooManyRejected, match=r"2  title is .*\n.*iconv -f"):
    prepare(tmp_path / "c.csv", out=tmp_path / "data")


def test_a_disk_that_takes_no_more_leaves_nothing(shop):
  _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, most))  # of a file
  try:
    with pytest.raises(OSError, match=r"File too large.*\.part"):
      run(shop)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
  assert sorted(os.listdir(shop)) == ["c.csv", "images"]


def test_a_catalogue_whose_name_is_no_text(shop):
  name = os.fsdecode(b"caf\xe9.csv")
  (shop / "c.csv").rename(shop / name)
  out = shop / "data"
  store = prepare(shop / name, images=shop / "images", out=out, workers=1)
  assert store.catalogue["catalogue"] == "caf\ufffd.csv"


@pytest.mark.parametrize("out", ["/", "c.csv/data", "c.csv/a/data"])
def test_an_impossible_folder_is_named(shop, out):
  with pytest.raises(
    (UserError, FileExistsError), match=r"has no name|in its way"
  ):
    run(shop, out=shop / out)


def test_a_link_stays_and_what_it_leads_to_is_made(shop):
  (shop / "large_disk").mkdir()
  (shop / "data").symlink_to(shop / "large_disk")
  run(shop)
  assert (shop / "data").readlink() == shop / "large_disk"
  assert open_dataset(shop / "large_disk").catalogue["read"] == 40
  with pytest.raises(FileExistsError, match="--overwrite"):
    run(shop)
  run(shop, overwrite=True)
  assert (shop / "data").is_symlink()


def test_a_mount_point_is_refused_before_the_work(shop):
  with pytest.raises(FileExistsError, match="/proc is a mount point"):
    run(shop, out=Path("/proc"))


def test_no_such_image_folder(shop):
  with pytest.raises(FileNotFoundError, match="nowhere"):
    prepare(shop / "c.csv", images=shop / "nowhere", out=shop / "data")


def test_killed_between_two_renames_the_old_data_comes_back(shop):
  run(shop)
  before = contents(shop / "data")
  dead = subprocess.Popen([sys.executable, "-c", ""])
  dead.wait()
  name = f"data.replaced-{socket.gethostname()}-{dead.pid}"
  (shop / "data").rename(shop / name)
  with pytest.raises(FileExistsError, match="--overwrite"):
    run(shop)
  assert contents(shop / "data") == before
  assert summarize(open_dataset(shop / "data").catalogue)


def test_statistics_sort_in_files_beside_them(tmp_path):
  """/var/tmp may be small; after it SQLite's own place is as it was."""
  folder = tmp_path / "it's here"
  folder.mkdir()
  with open_statistics(folder / "statistics.sqlite") as statistics:
    (place,) = statistics._database.execute("PRAGMA temp_store_directory")
    assert place == (str(folder),)
  other = sqlite3.connect(tmp_path / "other.sqlite")
  assert other.execute("PRAGMA temp_store_directory").fetchall() == []
  other.close()


def test_statistics_that_the_disk_does_not_take_are_named(tmp_path):
  record = Record("1", "1", "mug " * 1000, "", b"")

  def fill():
    with open_statistics(tmp_path / "statistics.sqlite") as statistics:
      statistics._database.execute("PRAGMA max_page_count = 8")
      for n in range(100):
        statistics.add("train", record._replace(listing_id=str(n)))

  with pytest.raises(
    OSError, match=r"statistics\.sqlite: database or disk is full"
  ):
    fill()
