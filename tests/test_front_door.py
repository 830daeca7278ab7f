"""Every command as a user types it, from the shell, one after the other."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shell
import tensorflow_datasets as tfds
import warm

from item_jax.__main__ import main

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
  """A folder in which the whole way has been gone once."""
  folder = tmp_path_factory.mktemp("door")
  shell.run(
    "synthesize", folder / "c", "--products=50", "--image_size=48", "--seed=3"
  )
  shell.run(
    "prepare",
    folder / "c" / "products.csv",
    f"--images={folder / 'c'}",
    f"--out={folder / 'data'}",
  )
  output = shell.run(
    *shell.train_words(folder / "data", folder / "run", variant="short"),
  )
  (folder / "training.txt").write_text(output)
  for side in ("both", "image", "title"):
    shell.run(
      "export",
      f"--workdir={folder / 'run'}",
      f"--data={folder / 'data'}",
      f"--out={folder / side}",
      f"--modality={side}",
    )
  return folder


def test_prepared_data_opens_with_tfds(place):
  source = tfds.builder_from_directory(place / "data").as_data_source("test")
  with (place / "both" / "items.csv").open(newline="") as file:
    ids = [row["id"] for row in csv.DictReader(file)]
  assert [row["listing_id"].decode() for row in source] == ids


def test_training_says_what_it_does(place):
  output = (place / "training.txt").read_text()
  for words in (
    "parameters on",
    "word_head ",
    "GFLOPs",
    "cut at 12 positions",
    "compiling the step",
    "memory a device",
    "step 8/8",
    "gmim ",
    "eval 8",
    "both/map@10",
  ):
    assert words in output
    output = output.partition(words)[2]  # in this order


def test_evaluate_an_export(place):
  output = shell.run(
    "evaluate",
    place / "both",
    "--k=1,10",
    f"--json={place / 'scores.json'}",
    f"--per_query={place / 'queries.csv'}",
  )
  assert "recall@10" in output
  scores = json.loads((place / "scores.json").read_text())
  assert {"queries", "left_out", "index", "share_over_k"} <= set(scores)
  for name in ("recall", "map", "capped_recall", "capped_map", "hit"):
    assert 0 <= scores[f"{name}@10"] <= 1
  assert set(scores["by_category"]) >= {"recall@10", "map@10"}
  assert set(scores["by_product"]) >= {"recall@10", "map@10"}
  low, high = scores["interval"]["recall@10"]
  assert low <= scores["recall@10"] <= high
  with (place / "queries.csv").open(newline="") as file:
    assert len(list(csv.DictReader(file))) == scores["queries"]


def test_evaluate_any_embeddings(tmp_path):
  rows = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]], np.float32)
  np.save(tmp_path / "x.npy", rows)
  (tmp_path / "items.csv").write_text("id,product\na,p\nb,p\nc,q\nd,q\n")
  shell.run(
    "evaluate",
    f"--embeddings={tmp_path / 'x.npy'}",
    f"--items={tmp_path / 'items.csv'}",
    f"--json={tmp_path / 's.json'}",
  )
  scores = json.loads((tmp_path / "s.json").read_text())
  assert scores["recall@10"] == scores["map@1"] == 1.0


def test_report(place):
  output = shell.run(
    "report",
    f"both={place / 'both'}",
    f"image={place / 'image'}",
    f"--data={place / 'data'}",
    f"--out={place / 'results.json'}",
  )
  results = json.loads((place / "results.json").read_text())
  assert list(results) == ["both", "image", "tfidf", "thumbnail"]
  for name, row in results.items():
    assert {"recall@10", "map@10"} <= set(row)
    assert f"{row['recall@10']:.4f}" in output, name


@pytest.mark.parametrize("what", ["step", "input"])
def test_bench(place, what, tmp_path):
  output = shell.run(
    "bench",
    what,
    f"--config={shell.CONFIG}",
    f"--config.data.path={place / 'data'}",
    "--seconds=1",
    f"--json={tmp_path / 'b.json'}",
  )
  result = json.loads((tmp_path / "b.json").read_text())
  if what == "step":
    assert result["samples_per_second"] == pytest.approx(
      result["batch_size"] / result["seconds_per_step"]
    )
    assert result["flops_per_second"] == pytest.approx(
      result["samples_per_second"] * result["flops_per_sample"]
    )
    assert result["mfu"] is None  # nobody publishes the peak of this CPU
    assert result["peak_memory_bytes"] > 0
  else:
    slowest = min(result["stages"], key=result["stages"].get)
    assert result["limit"] == slowest
    assert f"{slowest}" in output
    assert result["images_per_second"] > 0


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_no_time_measures_no_input(seconds, capsys):
  words = ["bench", "input", f"--config={shell.CONFIG}:plain"]
  assert main([*words, f"--seconds={seconds}"]) == 2
  assert "must be above 0, and finite" in capsys.readouterr().err


def test_bench_search(tmp_path):
  path = tmp_path / "b.json"
  shell.run(
    "bench",
    "search",
    "--items=5000",
    "--dim=64",
    "--queries=500",
    f"--json={path}",
  )
  assert json.loads(path.read_text())["queries_per_second"] > 0


@pytest.mark.parametrize(
  ("words", "named"),
  [
    (["prepare", "no.csv", "--images=.", "--out=x"], "no.csv"),
    (["export", "--workdir=no", "--data=no", "--out=x"], "no holds no run"),
    (["evaluate", "no_folder"], "no_folder"),
    (
      ["evaluate"],
      "either an export (or FILE.npy:ITEMS.csv, tfidf, thumbnail)",
    ),
    (["report", "both", "--data=no"], "NAME=SOURCE"),
    (["train", "--config=no.py", "--workdir=x"], "no.py"),
    (["train", "--config=configs/item_tiny.py", "--workdir=x"], "data.path"),
    (["prepare", "a", "--images=.", "--out=x", "--column=b"], "OURS=THEIRS"),
    (["evaluate", "x", "--k=ten"], "ten"),
    (["synthesize", "x", "--colour=red"], "--colour"),
    (["paint"], "paint"),
  ],
)
def test_what_cannot_work_is_said_in_a_line(words, named, tmp_path):
  process = warm.run(
    [sys.executable, "-m", "item_jax", *words],
    capture_output=True,
    text=True,
    cwd=ROOT if "configs" in " ".join(words) else tmp_path,
  )
  assert process.returncode == 2
  assert named in process.stderr
  assert "Traceback" not in process.stderr
  assert not list(tmp_path.iterdir())


def test_a_catalogue_of_titles_alone(tmp_path, place):
  """Losses of photos have nothing to count: null in the log, never NaN."""
  rows = ["listing_id,product_id,title,split"]
  rows += [
    f"l{i},p{i // 2},red mug number {i},{'val' if i % 10 > 7 else 'train'}"
    for i in range(60)
  ]
  (tmp_path / "c.csv").write_text("\n".join(rows) + "\n")
  shell.run(
    "prepare",
    tmp_path / "c.csv",
    f"--out={tmp_path / 'data'}",
  )
  shell.run(
    *shell.train_words(tmp_path / "data", tmp_path / "run", variant="short"),
  )
  text = (tmp_path / "run" / "metrics.jsonl").read_text()
  assert "NaN" not in text
  last = json.loads(text.splitlines()[-2])
  assert last["mim"] is last["itm"] is None
  assert last["mlm"] > 0


def test_a_catalogue_of_photos_alone(tmp_path, place):
  """Likewise; the vocabulary is the special words."""
  photos = sorted((place / "c" / "images").iterdir())
  rows = ["listing_id,product_id,image,split"] + [
    f"l{i},p{i // 2},{photo.name},{'val' if i % 10 > 7 else 'train'}"
    for i, photo in enumerate(photos[:60])
  ]
  (tmp_path / "c.csv").write_text("\n".join(rows) + "\n")
  shell.run(
    *("prepare", tmp_path / "c.csv", f"--images={place / 'c' / 'images'}"),
    f"--out={tmp_path / 'data'}",
  )
  shell.run(
    *shell.train_words(tmp_path / "data", tmp_path / "run", variant="short"),
  )
  text = (tmp_path / "run" / "metrics.jsonl").read_text()
  assert "NaN" not in text
  last = json.loads(text.splitlines()[-2])
  assert last["mlm"] is last["itm"] is None
  assert last["mim"] > 0


@pytest.mark.parametrize("split", ["val", "train"])
def test_data_without_a_split_is_refused(place, tmp_path, split):
  field = {"val": "val_split", "train": "train_split"}[split]
  output = shell.run(
    *shell.train_words(
      place / "data", tmp_path / "run", f"--config.data.{field}=holdout"
    ),
    code=2,
  )
  assert "no rows in split 'holdout'" in output
  assert not (tmp_path / "run").exists()


def quickstart(place, *more):
  """The script with a catalogue of one's own."""
  words = [
    "bash",
    ROOT / "launch" / "quickstart.sh",
    *("--python", sys.executable),
    *("--catalogue", place / "c" / "products.csv"),
    *("--images", place / "c"),
    *("--out", place / "q"),
    *("--config", f"{shell.CONFIG}:short"),
    *("--column", "title=title", "--quoting=none"),  # of the catalogue
    *more,
  ]
  return subprocess.run(
    list(map(str, words)),
    env=shell.environment(),
    capture_output=True,
    text=True,
  )


@pytest.fixture(scope="module")
def begun(place):
  """The script's first call."""
  first = quickstart(place)
  assert first.returncode == 0, first.stdout + first.stderr
  return first


def test_the_quickstart_with_a_catalogue_of_ones_own(place, begun):
  results = json.loads((place / "q" / "results.json").read_text())
  assert list(results) == [
    "both",
    "image",
    "title",
    "untrained",
    "tfidf",
    "thumbnail",
  ]
  for name in results:
    assert name in begun.stdout
  # A second call takes the data as they are, and gets as far as an option
  # that is none.
  kept = place / "q" / "data" / "catalogue.json"
  # How the catalogue is read was passed on: "auto" would find no quotes.
  assert json.loads(kept.read_text())["reading"]["quoting"] == ["none"]
  time = kept.stat().st_mtime_ns
  second = quickstart(place, "--config.colour=red")
  assert second.returncode == 2
  assert "colour" in second.stderr
  assert kept.stat().st_mtime_ns == time


@pytest.mark.slow
def test_the_quickstarts_second_call_uses_what_the_first_left(place, begun):
  kept = [
    place / "q" / "data" / "catalogue.json",
    place / "q" / "embeddings" / "both" / "meta.json",
  ]
  times = [p.stat().st_mtime_ns for p in kept]
  results = (place / "q" / "results.json").read_text()
  second = quickstart(place)
  assert second.returncode == 0, second.stdout + second.stderr
  assert [p.stat().st_mtime_ns for p in kept] == times
  assert (place / "q" / "results.json").read_text() == results


def test_scripts_parse_and_hold_no_options_of_a_run():
  """But for the one that measures at sizes of its own."""
  for path in sorted((ROOT / "launch").glob("*.sh")):
    subprocess.run(["bash", "-n", path], check=True)
    if path.name == "gpu_check.sh":
      continue
    lines = [
      line for line in path.read_text().splitlines() if not line.startswith("#")
    ]
    assert "--config." not in "\n".join(lines).replace(
      "--config.*", ""
    ).replace("--config.data.path", ""), path
