"""Laws of preparing by Apache Beam: it makes what one machine makes."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import shell
from shop import contents, make_corpus, make_shop, photo, write_catalogue
from store import open_bucket
from tensorflow_datasets.core.utils import shard_utils

from item_jax.__main__ import main
from item_jax.data.images import store_jpeg
from item_jax.data.records import Fingerprint, Record, in_order, open_dataset
from item_jax.errors import UserError
from item_jax.ingest import beam, beam_workers
from item_jax.ingest.prepare import TooManyRejected, prepare
from item_jax.ingest.row import Row
from item_jax.ingest.statistics import open_statistics

DIRECT = {"runner": "DirectRunner", "workers": None}
TWO_WORKERS = (
  "--direct_num_workers=2",
  "--direct_running_mode=multi_processing",
)


def run(shop, **options):
  options = {"workers": 1, "out": shop / "data", "max_rejected": 0.9} | options
  return prepare(shop / "c.csv", images=shop / "images", **options)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
  """Every bad row there is, many duplicates, other splits; prepared here."""
  shop = make_shop(tmp_path_factory.mktemp("shop"))
  make_corpus(shop)
  with open(shop / "c.csv", "a", newline="") as file:
    lines = csv.writer(file)
    for n in range(60):  # the third of l40, l41, ... is the first that is good
      image = "gone.jpg" if n < 20 else f"{n % 20}.jpg"
      title = f"blue vase number {n}"
      lines.writerow((f"l{40 + n % 10}", "", image, title, "B", ""))
    lines.writerow(("o1", "", "1.jpg", "other", "", "other"))
    lines.writerow(("o0", "", "2.jpg", "", "", "other"))
    lines.writerow(("e1", "", "gone.jpg", "of a split of its own", "", "empty"))
  run(shop, out=shop / "here")
  return shop


@pytest.fixture
def few(tmp_path):
  """Of one split, which takes Beam the least time: good, twice, bad."""
  shop = make_shop(tmp_path / "bucket" / "shop")
  good = [
    (f"l{n}", "", f"{n}.jpg", f"red shirt size {n}", "", "train")
    for n in range(8)
  ]
  bad = ("bad", "", "gone.jpg", "red shirt", "", "train")
  write_catalogue(shop / "c.csv", [*good, good[3], bad])
  return shop


def every_record(folder):
  store = open_dataset(folder)
  return {split: list(store.source(split)) for split in in_order(store.sizes)}


@pytest.mark.parametrize(
  "name", ["few", pytest.param("shop", marks=pytest.mark.slow)]
)
def test_two_worker_processes_make_the_same_bytes(name, request, tmp_path):
  shop = request.getfixturevalue(name)
  here, out = tmp_path / "h" / "here", tmp_path / "b" / "data"
  run(shop, out=here)
  shell.run(
    "prepare",
    shop / "c.csv",
    f"--images={shop / 'images'}",
    f"--out={out}",
    "--max_rejected=0.9",
    "--runner=DirectRunner",
    *TWO_WORKERS,
  )
  made, expected = contents(out), contents(here)
  assert made.keys() == expected.keys()
  for name in expected:
    assert made[name] == expected[name], name
  assert [p.name for p in out.parent.iterdir()] == ["data"]


def test_many_blocks_and_shards_are_the_same_rows(shop, tmp_path, monkeypatch):
  monkeypatch.setattr(beam_workers, "BLOCK", 7)
  monkeypatch.setattr(shard_utils.ShardConfig, "min_shard_size", 30_000)
  out = tmp_path / "data"
  run(shop, out=out, **DIRECT)
  made, expected = contents(out), contents(shop / "here")
  for name in ("catalogue.json", "tokenizer.json", "rejected.csv"):
    assert made[name] == expected[name], name
  splits = every_record(out)
  assert splits == every_record(shop / "here")
  assert [r.listing_id for r in splits["other"]] == ["o1", "o0"]
  assert "empty" not in splits
  assert len(list(out.glob("*-train.array_record-*"))) > 3

  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(str(out))
  titles = [row["title"] for row in builder.as_data_source("train")]
  expected = [r.title.encode() for r in every_record(out)["train"]]
  assert titles == expected


def test_too_many_bad_rows_leave_no_data(few, tmp_path):
  outs = [tmp_path / name / "data" for name in ("here", "beam")]
  for out, options in zip(outs, ({}, DIRECT), strict=True):
    with pytest.raises(TooManyRejected):
      run(few, out=out, max_rejected=0.01, **options)
  here, beam = ([*out.parent.iterdir()] for out in outs)
  assert [path.name for path in beam] == ["data.rejected.csv"]
  assert beam[0].read_bytes() == here[0].read_bytes()


def test_images_and_exchanged_files_may_be_in_an_object_store(few, tmp_path):
  (tmp_path / "bucket" / "work").mkdir()
  (tmp_path / "secret.jpg").write_bytes(photo())
  (few / "images" / "sub dir").mkdir()
  (few / "images" / "sub dir" / "a.jpg").write_bytes(photo())
  with open(few / "c.csv", "a") as file:
    file.write("up,,../../secret.jpg,t,,train\n")
    file.write(f"root,,{tmp_path / 'secret.jpg'},t,,train\n")
    file.write("other,,s3://other/shop/images/0.jpg,t,,train\n")
    file.write("spelt,,sub%20dir\\a.jpg,t,,train\n")
    file.write("gone,,gone.jpg,t,,train\n")
    file.write("inner,,x/../3.jpg,t,,train\n")
  run(few, out=tmp_path / "here")
  open_bucket(tmp_path)
  prepare(
    few / "c.csv",
    images="gs://bucket/shop/images",
    out=tmp_path / "data",
    max_rejected=0.9,
    runner="DirectRunner",
    runner_options=["--temp_location=gs://bucket/work"],
  )
  made, expected = contents(tmp_path / "data"), contents(tmp_path / "here")
  listed = made["rejected.csv"].decode()
  assert listed.count("the image path leaves the image folder") == 2
  assert listed.count("the image file is not there: gone.jpg") == 2
  assert listed.count("is an address and those are not fetched") == 1
  assert made == expected
  assert b"backslashes turned and percent-decoded" in made["catalogue.json"]
  assert list((tmp_path / "bucket" / "work").iterdir()) == []


def test_images_in_the_table_reach_the_workers(tmp_path):
  files = [*(photo(n) for n in range(3)), photo(kind="GIF")]
  rows = [
    Row(n, f"l{n}", f"p{n}", data, f"mug {n}", "", "train")
    for n, data in enumerate(files, start=1)
  ]
  with open_statistics(tmp_path / "statistics.sqlite") as statistics:
    options = beam.read_options("DirectRunner", [])
    outcome = beam.write(
      tmp_path,
      rows,
      tmp_path,
      statistics,
      runner="DirectRunner",
      options=options,
    )
    names = statistics.image_names()
  expected = Fingerprint()
  for row, data in zip(rows[:3], files, strict=False):
    expected.add(
      Record(row.listing_id, row.product_id, row.title, "", store_jpeg(data))
    )
  assert outcome["fingerprint"] == {"train": expected.hexdigest()}
  assert outcome["reasons"] == {"the file is no JPEG, PNG or WebP image": 1}
  assert names == {"in the table": 3}


# ---- What may go wrong. ----


def test_a_worker_that_fails_leaves_nothing(few, tmp_path, monkeypatch):
  def fail(root, name):
    raise RuntimeError(f"nobody expects {name}")

  monkeypatch.setattr(beam_workers, "load_image", fail)
  with pytest.raises(RuntimeError, match="nobody expects"):
    run(few, out=tmp_path / "data", **DIRECT)
  assert [path.name for path in tmp_path.iterdir()] == ["bucket"]


def test_rows_that_beam_loses_are_an_error(few, tmp_path, monkeypatch):
  first = beam_workers._first

  def lossy(listing):
    return () if listing[0] == "l7" else first(listing)

  monkeypatch.setattr(beam_workers, "_first", lossy)
  with pytest.raises(RuntimeError, match="workers lost the others"):
    run(few, out=tmp_path / "data", **DIRECT)
  assert [path.name for path in tmp_path.iterdir()] == ["bucket"]


def start_slow(folder):
  """A run that takes long, and one of its two workers, seen at work."""
  (folder / "images").mkdir()
  (folder / "images" / "slow.png").write_bytes(
    photo(kind="PNG", size=(1500, 1500))
  )
  rows = [(n, n, "slow.png", "red shirt", "", "train") for n in range(600)]
  write_catalogue(folder / "c.csv", rows)
  process = shell.start(
    "prepare",
    folder / "c.csv",
    f"--images={folder / 'images'}",
    f"--out={folder / 'data'}",
    "--runner=DirectRunner",
    *TWO_WORKERS,
  )
  deadline = time.monotonic() + 120
  while not (working := readers(folder, process)):
    if process.poll() is not None or time.monotonic() > deadline:
      process.kill()
      pytest.fail(process.communicate()[0])
    time.sleep(0.05)
  return process, working[0]


def readers(folder, process):
  """Ids of the processes but this that read the rows for Beam's workers."""
  found = []
  for entry in Path("/proc").iterdir():
    if entry.name.isdecimal() and int(entry.name) != process.pid:
      try:
        opened = [Path(os.readlink(fd)) for fd in (entry / "fd").iterdir()]
      except OSError:  # it ended meanwhile
        continue
      if any(
        folder in p.parents and p.name == beam_workers.ROWS for p in opened
      ):
        found.append(int(entry.name))
  return found


@pytest.mark.slow
def test_a_worker_process_that_is_killed_leaves_nothing(tmp_path):
  process, worker = start_slow(tmp_path)
  os.kill(worker, signal.SIGKILL)
  output, _ = process.communicate(timeout=400)  # the other ends its share first
  assert process.returncode not in (0, 2, 3), output
  assert sorted(p.name for p in tmp_path.iterdir()) == ["c.csv", "images"]


@pytest.mark.slow
def test_no_worker_outlives_who_started_it(tmp_path):
  process, worker = start_slow(tmp_path)
  process.kill()
  killed = time.monotonic()
  while shell.children(worker):
    assert time.monotonic() - killed < 5
    time.sleep(0.05)
  process.communicate()
  assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"runner": "Nobody"}, "Nobody"),
    ({"runner_options": ["--direct_num_wrokers=2"]}, "--direct_num_wrokers=2"),
    (
      {"runner_options": ["--direct_num_workers=two"]},
      "direct_num_workers.*two",
    ),
    ({"runner_options": ["stray"]}, "stray"),
    (
      {"runner_options": ["--direct_running_mode=multi_threading"]},
      "loses rows.*multi_processing",
    ),
    ({"workers": 2}, "--workers=2.*--direct_num_workers"),
  ],
)
def test_what_beam_does_not_know_is_named(shop, tmp_path, options, message):
  with pytest.raises(UserError, match=message):
    run(shop, out=tmp_path / "data", **(DIRECT | options))
  assert list(tmp_path.iterdir()) == []


def test_options_of_beam_need_a_runner(shop, tmp_path, capsys):
  words = ["prepare", str(shop / "c.csv"), f"--images={shop / 'images'}"]
  words += [f"--out={tmp_path / 'data'}", "--num_workers=3"]
  assert main(words) == 2
  assert "--num_workers=3" in capsys.readouterr().err
  assert list(tmp_path.iterdir()) == []


WITHOUT_BEAM = """
import sys
sys.modules["apache_beam"] = None  # as if it were not installed
from item_jax.__main__ import main
if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
"""


def test_without_the_extra_only_the_runner_is_missing(shop, tmp_path):
  def prepare_with(*words):
    return subprocess.run(
      [
        *(sys.executable, "-c", WITHOUT_BEAM, "prepare", shop / "c.csv"),
        f"--images={shop / 'images'}",
        f"--out={tmp_path / 'data'}",
        "--max_rejected=0.9",
        *words,
      ],
      capture_output=True,
      text=True,
    )

  done = prepare_with("--runner=DirectRunner")
  assert done.returncode == 2
  assert "pip install -e '.[beam]'" in done.stderr
  assert list(tmp_path.iterdir()) == []
  done = prepare_with("--workers=1")
  assert done.returncode == 0, done.stderr
  assert contents(tmp_path / "data") == contents(shop / "here")
