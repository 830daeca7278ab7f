"""Embeddings: the same however they are asked for, whole or not at all."""

import contextlib
import csv
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_run
from PIL import Image

import item_jax
from item_jax import files
from item_jax.config import Config
from item_jax.data.records import open_dataset
from item_jax.errors import UserError
from item_jax.inference import export as export_lib
from item_jax.inference import export_shards
from item_jax.inference.embedder import Embedder, embed_unit
from item_jax.training import loop
from item_jax.training.restore import restore


@pytest.fixture(scope="module")
def workdir(tiny_data, tmp_path_factory) -> Path:
  folder = tmp_path_factory.mktemp("embed") / "run"
  config = tiny_run.get_config("short")
  config.data.path = str(tiny_data)
  loop.train(config, folder)
  return folder


def export(workdir, tiny_data, out, **options) -> np.ndarray:
  given = {"data": tiny_data, "split": "test", "out": out}
  export_lib.export(workdir, **(given | options))
  return np.load(out / "embeddings.npy", allow_pickle=False)


@pytest.fixture(scope="module")
def exported(workdir, tiny_data, tmp_path_factory):
  out = tmp_path_factory.mktemp("exported") / "both"
  return out, export(workdir, tiny_data, out)


def test_layout(exported, tiny_data):
  out, rows_ND = exported
  assert sorted(p.name for p in out.iterdir()) == [
    "embeddings.npy",
    "items.csv",
    "meta.json",
  ]
  records = list(open_dataset(tiny_data).source("test"))
  assert rows_ND.dtype == np.float32
  assert rows_ND.shape == (len(records), 32)
  np.testing.assert_allclose(np.linalg.norm(rows_ND, axis=1), 1, atol=1e-6)
  with (out / "items.csv").open(newline="") as file:
    items = list(csv.DictReader(file))
  assert [
    (i["id"], i["product"], i["category"], i["title"]) for i in items
  ] == [(r.listing_id, r.product_id, r.category, r.title) for r in records]
  assert {(i["has_image"], i["has_title"]) for i in items} == {("1", "1")}
  meta = json.loads((out / "meta.json").read_text())
  assert meta["rows"] == len(records)
  assert meta["step"] == 8
  assert meta["modality"] == "both"


@pytest.mark.parametrize("size", [1, 7, 64])
def test_batch_size_does_not_matter(
  workdir, tiny_data, tmp_path, exported, size
):
  rows_ND = export(workdir, tiny_data, tmp_path / "e", batch_size=size)
  np.testing.assert_allclose(rows_ND, exported[1], atol=1e-5)


def test_each_side_by_itself(workdir, tiny_data, tmp_path, exported):
  records = list(open_dataset(tiny_data).source("test"))
  embedder = item_jax.load(workdir)
  image = export(workdir, tiny_data, tmp_path / "i", modality="image")
  title = export(workdir, tiny_data, tmp_path / "t", modality="title")
  got = embedder.embed(titles=[r.title for r in records])
  np.testing.assert_allclose(title, got, atol=1e-5)
  assert np.abs(image - exported[1]).max() > 1e-3
  assert np.abs(title - exported[1]).max() > 1e-3
  assert np.abs(title - image).max() > 1e-3


def test_the_python_door_equals_the_export(workdir, tiny_data, exported):
  catalogue = tiny_data.parent / "catalogue"
  records = list(open_dataset(tiny_data).source("test"))
  with (catalogue / "products.csv").open(newline="") as file:
    photo = {
      row["listing_id"]: catalogue / row["image"]
      for row in csv.DictReader(file)
    }
  got = item_jax.load(workdir).embed(
    images=[photo[r.listing_id] for r in records],
    titles=[r.title for r in records],
    batch_size=5,
  )
  assert got.dtype == np.float32
  np.testing.assert_allclose(got, exported[1], atol=1e-5)


def test_a_title_is_what_a_catalogue_makes_of_it():
  """As some tokenizers tell one blank from two."""
  seen = []

  class Tokenizer:
    pad = 0

    @staticmethod
    def encode(title, places):
      seen.append(title)
      return np.full(places, len(title), np.int32)

  embedder = Embedder.__new__(Embedder)
  embedder.tokenizer, embedder.config = Tokenizer, Config()
  rows = [embedder._row(None, title) for title in (" red  mug\n", " ", None)]
  assert seen == ["red mug", "", ""]
  assert [bool(row.has_title_B) for row in rows] == [True, False, False]


def test_photos_in_every_form(workdir, tmp_path):
  pixels = np.zeros((40, 60, 3), np.uint8)
  pixels[:, :30] = (200, 30, 30)
  Image.fromarray(pixels).save(tmp_path / "photo.png")
  embedder = item_jax.load(workdir)
  with Image.open(tmp_path / "photo.png") as image:
    rows_ND = embedder.embed(
      images=[
        tmp_path / "photo.png",
        str(tmp_path / "photo.png"),
        image,
        pixels,
        np.dstack([pixels, np.full((40, 60), 255, np.uint8)]),
        None,
      ],
      titles=["red box"] * 5 + [None],
    )
  for row in rows_ND[1:5]:
    np.testing.assert_allclose(row, rows_ND[0], atol=1e-6)
  assert np.isfinite(rows_ND).all()
  assert embedder.embed(titles=[]).shape == (0, 32)


@pytest.mark.parametrize(
  ("given", "named"),
  [
    ({}, "neither was given"),
    ({"images": [None], "titles": ["a", "b"]}, "1 images but 2 titles"),
    ({"images": [np.zeros((4, 4, 3))]}, "float64"),
    ({"images": [7]}, "int"),
  ],
)
def test_what_is_no_photo_is_refused(workdir, given, named):
  with pytest.raises(UserError, match=named):
    item_jax.load(workdir).embed(**given)


def test_an_interrupted_export_goes_on(
  workdir, tiny_data, tmp_path, exported, monkeypatch
):
  monkeypatch.setattr(export_lib, "SHARD_ROWS", 2)
  out = tmp_path / "e"
  saved = []

  def save_three(out, plan, number, *shard):
    if len(saved) == 3:
      raise KeyboardInterrupt
    saved.append(number)
    keep(out, plan, number, *shard)

  keep = export_shards.save
  with monkeypatch.context() as patch:
    patch.setattr(export_shards, "save", save_three)
    with pytest.raises(KeyboardInterrupt):
      export(workdir, tiny_data, out, batch_size=3)
  assert not (out / "meta.json").exists()
  kept = []
  monkeypatch.setattr(
    export_shards,
    "save",
    lambda o, p, n, *s: (kept.append(n), keep(o, p, n, *s)),
  )
  rows_ND = export(workdir, tiny_data, out, batch_size=3)
  np.testing.assert_allclose(rows_ND, exported[1], atol=1e-5)
  assert kept
  assert not set(kept) & set(saved)  # the first three were not made again


def test_a_finished_export_is_left_alone(workdir, tiny_data, exported, caplog):
  caplog.set_level(logging.INFO)
  out, _ = exported
  before = (out / "embeddings.npy").stat().st_mtime_ns
  export(workdir, tiny_data, out)
  assert "nothing to do" in caplog.text
  assert (out / "embeddings.npy").stat().st_mtime_ns == before
  with pytest.raises(UserError, match="modality"):
    export(workdir, tiny_data, out, modality="image")


@pytest.mark.parametrize(
  "cut", [(shutil, "rmtree"), (Path, "replace"), (Path, "unlink")]
)
@pytest.mark.parametrize("before", ["nothing", "finished", "half"])
def test_a_kill_at_the_door_leaves_nothing_stuck(
  exported, tmp_path, monkeypatch, cut, before
):
  """Whatever was there, and whichever write or removal is the last one."""
  meta = json.loads((exported[0] / "meta.json").read_text())
  fields = [k for k in export_shards.Plan._fields if k in meta]
  plan = export_shards.Plan(**{k: meta[k] for k in fields})
  out = tmp_path / "e"
  if before != "nothing":
    (out / "parts").mkdir(parents=True)
    (out / "parts" / "00000.npy").write_bytes(b"of another plan")
    (out / "embeddings.npy").write_bytes(b"of another plan")
    name = "meta.json" if before == "finished" else "plan.json"
    files.write_checksummed(out / name, plan._replace(step=99)._asdict())

  def killed(*given, **options):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(*cut, killed)
    with contextlib.suppress(KeyboardInterrupt):
      export_shards.acquire(out, plan, overwrite=True)
  assert export_shards.acquire(out, plan, overwrite=True)
  assert not (out / "parts").exists()
  assert not (out / "meta.json").exists()
  assert files.read_checksummed(out / "plan.json") == plan.to_dict()


def test_what_a_killed_one_left_beside_a_finished_export_goes(
  workdir, tiny_data, exported, tmp_path
):
  out = tmp_path / "e"
  shutil.copytree(exported[0], out)
  (out / "parts").mkdir()
  (out / "plan.json").write_text("{}")
  export(workdir, tiny_data, out)
  assert {p.name for p in out.iterdir()} == {
    p.name for p in exported[0].iterdir()
  }


def test_a_folder_of_others_is_left_alone(workdir, tiny_data, tmp_path):
  (tmp_path / "letter.txt").write_text("mine")
  with pytest.raises(UserError, match="holds no export"):
    export(workdir, tiny_data, tmp_path, overwrite=True)
  assert (tmp_path / "letter.txt").read_text() == "mine"


@pytest.mark.parametrize("field", ["tokenizer", "preprocessing", "format"])
def test_data_prepared_otherwise_is_refused(
  workdir, tiny_data, tmp_path, field
):
  other = tmp_path / "data"
  shutil.copytree(tiny_data, other)
  catalogue = json.loads((other / "catalogue.json").read_text())
  catalogue[field] = 99 if field == "format" else "another"
  (other / "catalogue.json").write_text(json.dumps(catalogue))
  files.write_manifest(other)
  with pytest.raises(UserError, match=field):
    export(workdir, other, tmp_path / "e")
  assert not (tmp_path / "e").exists()


def test_step_zero_is_the_untrained_network(workdir, tiny_data, tmp_path):
  """The very parameters that training began with."""
  from item_jax import tasks
  from item_jax.training.run import read_run

  run = read_run(workdir)
  task = tasks.make_task(run.config, run.tokenizer)
  import jax

  params = jax.jit(lambda: tasks.initial_params(task, run.config.seed))()
  ours = item_jax.load(workdir, step=0).params
  for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(ours), strict=True):
    np.testing.assert_array_equal(a, b)
  untrained = export(workdir, tiny_data, tmp_path / "e", step=0)
  trained = item_jax.load(workdir).params
  assert any(
    (np.asarray(a) != np.asarray(b)).any()
    for a, b in zip(
      jax.tree.leaves(ours), jax.tree.leaves(trained), strict=True
    )
  )
  assert np.isfinite(untrained).all()


def test_a_missing_checkpoint_is_named(workdir, tmp_path):
  with pytest.raises(UserError, match=r"no checkpoint 5; it has \[8\]"):
    item_jax.load(workdir, step=5)
  with pytest.raises(UserError, match="holds no run"):
    item_jax.load(tmp_path)


def test_what_is_missing_is_counted(workdir, tiny_data, tmp_path, caplog):
  from item_jax.ingest.prepare import prepare

  rows = [
    "listing_id,product_id,image,title,category,split",
    "a,p,,red mug,Mugs,train",
    "b,p,,mug red,Mugs,test",
  ]
  (tmp_path / "c.csv").write_text("\n".join(rows) + "\n")
  prepare(
    tmp_path / "c.csv",
    images=tmp_path,
    out=tmp_path / "data",
    tokenizer=workdir / "tokenizer.json",
    vocab_size=300,
    max_rejected=0.0,
    overwrite=False,
    workers=1,
  )
  caplog.set_level(logging.INFO)
  rows_ND = export(workdir, tmp_path / "data", tmp_path / "e", modality="image")
  assert "1 of 1 rows have no image" in caplog.text
  assert np.isfinite(rows_ND).all()
  meta = json.loads((tmp_path / "e" / "meta.json").read_text())
  assert meta["rows_without_this_side"] == 1
  with (tmp_path / "e" / "items.csv").open(newline="") as file:
    (item,) = csv.DictReader(file)
  assert (item["has_image"], item["has_title"]) == ("0", "1")


def test_a_run_that_was_trained_with_cudnn_is_read_here_too(workdir, caplog):
  caplog.set_level(logging.INFO)
  found = restore(workdir)
  run = found.run._replace(attention="cudnn")
  moved = Embedder(run, found.params, step=found.step, dtype="bfloat16")
  assert "attention: xla (it was cudnn; cpu" in caplog.text
  caplog.clear()
  here = item_jax.load(workdir, dtype="bfloat16")
  assert here.dtype == "bfloat16"
  assert "attention" not in caplog.text
  titles = ["red mug", None]
  np.testing.assert_array_equal(
    moved.embed(titles=titles), here.embed(titles=titles)
  )


def test_what_is_no_number_is_not_made_the_embedding_of_nothing():
  """It is refused where it is scored; nothing itself has a place."""

  class Task:
    @staticmethod
    def embed(params, batch):
      del params, batch
      return np.array([[np.nan, 1], [0, 0], [3, 4]], np.float32)

  batch = tiny.make_batch(3)
  found = np.asarray(embed_unit(Task, None, batch, modality="both"))
  assert np.isnan(found[0]).any()
  np.testing.assert_allclose(
    found[1:], [[-(0.5**0.5)] * 2, [0.6, 0.8]], rtol=1e-6
  )
