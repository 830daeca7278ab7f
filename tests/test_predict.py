"""A trained model's own categories: the same however they are asked for."""

import csv
import json
import shutil

import numpy as np
import pytest
import shell
import tiny_run
import untrained
from lost_records import lose

import item_jax
from item_jax.__main__ import main
from item_jax.data.records import open_dataset
from item_jax.errors import UserError
from item_jax.evaluation.labels import compare_labels, summary
from item_jax.inference import predict
from item_jax.training import loop
from item_jax.training.setup import set_up


@pytest.fixture(scope="module")
def workdir(tiny_data, tmp_path_factory):
  folder = tmp_path_factory.mktemp("predict") / "run"
  config = tiny_run.get_config("category")
  config.data.path = str(tiny_data)
  config.steps = config.eval_every = 30
  config.optim.lr = 1e-2
  # Compiling is what tests wait for: nothing is scored on the way.
  config.evaluators = ()
  loop.train(config, folder)
  return folder


@pytest.fixture(scope="module")
def embedder(workdir):
  return item_jax.load(workdir)


@pytest.fixture(scope="module")
def records(tiny_data):
  return list(open_dataset(tiny_data).source("test"))


def photos(tiny_data, records):
  catalogue = tiny_data.parent / "catalogue"
  with (catalogue / "products.csv").open(newline="") as file:
    path = {
      row["listing_id"]: catalogue / row["image"]
      for row in csv.DictReader(file)
    }
  return [path[record.listing_id] for record in records]


def test_the_command(workdir, tiny_data, tmp_path, embedder, records):
  output = shell.run(
    "predict",
    f"--workdir={workdir}",
    f"--data={tiny_data}",
    f"--out={tmp_path / 'said.csv'}",
    f"--json={tmp_path / 's.json'}",
    "--top=3",
    "--batch_size=5",
  )
  with (tmp_path / "said.csv").open(newline="") as file:
    lines = list(csv.DictReader(file))
  assert [line["id"] for line in lines] == [r.listing_id for r in records]
  assert [line["true"] for line in lines] == [r.category for r in records]
  log_p_NC = embedder.predict(
    images=photos(tiny_data, records), titles=[r.title for r in records]
  )
  best_N = log_p_NC.argmax(axis=1)
  said = [embedder.categories[c] for c in best_N]
  assert [line["predicted"] for line in lines] == said
  assert [line["leaf"] for line in lines] == [s.split(" > ")[-1] for s in said]
  np.testing.assert_allclose(
    [float(line["probability"]) for line in lines],
    np.exp(log_p_NC.max(axis=1)),
    atol=1e-4,
  )
  for line in lines:
    shares = [float(line[f"probability{end}"]) for end in ("", "_2", "_3")]
    assert shares == sorted(shares, reverse=True)
    assert len({line["predicted"], line["top_2"], line["top_3"]}) == 3
  assert "top_4" not in lines[0]
  expected = summary(
    compare_labels(
      [r.category for r in records], said, classes=embedder.categories
    )
  )
  scores = json.loads((tmp_path / "s.json").read_text())
  for name in ("accuracy", "macro_f1", "rows", "unknown_category"):
    assert scores[name] == expected[name]
  assert f"{expected['accuracy']:.4f}" in output
  assert not list(tmp_path.glob("*.part"))


def test_a_record_that_is_lost_costs_its_line(
  workdir, tiny_data, tmp_path, records
):
  data = shutil.copytree(tiny_data, tmp_path / "data")
  lose(data, "test", records[2])
  found = predict.predict_split(workdir, data=data, split="test", bootstrap=2)
  assert "1 that cannot be read are left out: test[2]" in str(found)
  found.write_csv(tmp_path / "x.csv")
  rest = [r for r in records if r != records[2]]
  assert found.ids == [r.listing_id for r in rest]
  assert found.true == [r.category for r in rest]
  lines = (tmp_path / "x.csv").read_text().splitlines()[1:]
  assert (
    len(lines) == len(found.predicted) == len(found.probability_NK) == len(rest)
  )


def test_what_predicts_is_ranked_by_that_unless_told_otherwise(
  tiny_data, tmp_path
):
  def best(variant, folder=None, **options):
    config = tiny_run.get_config(variant)
    config.data.path, config.steps = str(tiny_data), 0
    for name, value in options.items():
      setattr(config.checkpoint, name, value)
    return set_up(config, folder).config.checkpoint.best

  assert best("category") == "category/accuracy"
  assert best("category", best="both/map@10") == "both/map@10"
  assert best("short") == "both/map@10"
  # A run that goes on keeps what it began with.
  assert best("category", tmp_path, best="both/map@10") == "both/map@10"
  assert best("category", tmp_path) == "both/map@10"


def test_it_learnt_something(workdir, embedder, tiny_data):
  """Of what it was trained on, it knows more than the largest category."""
  found = predict.predict_split(workdir, data=tiny_data, split="train", top=99)
  largest = max(map(found.true.count, set(found.true)))
  assert found.scored.correct_Q.sum() > largest
  np.testing.assert_allclose(found.probability_NK.sum(axis=1), 1, atol=1e-5)
  assert {len(line) for line in found.predicted} == {len(embedder.categories)}


def test_one_listing(workdir, tiny_data, embedder, records):
  photo, title = photos(tiny_data, records)[0], records[0].title
  found = predict.predict_listings(
    workdir, images=[str(photo), ""], titles=["", title], top=2
  )
  assert found.to_frame().shape == (4, 3)
  first, *two, second, _, _ = str(found).splitlines()
  assert first == str(photo)
  assert second == title
  log_p_NC = embedder.predict(images=[photo])
  for line, c in zip(two, np.argsort(-log_p_NC[0]), strict=False):
    path = embedder.categories[c]
    share, name = line.split("%", 1)
    assert float(share) == pytest.approx(100 * np.exp(log_p_NC[0, c]), abs=0.02)
    assert name.split("  ") == ["", path.split(" > ")[-1], f"({path})"]


def test_files_are_of_a_split(workdir, tmp_path, capsys):
  words = ["predict", f"--workdir={workdir}", "--title=mug"]
  for name in ("out", "json"):
    assert main([*words, f"--{name}={tmp_path / 'x'}"]) == 2
    assert "they need --data" in capsys.readouterr().err


def test_what_cannot_be_predicted_is_refused(
  workdir, tiny_data, tmp_path, capsys
):
  out = tmp_path / "x.csv"
  with pytest.raises(UserError, match="top=0: expected a whole number from 1"):
    predict.predict_listings(workdir, titles=["a"], top=0)
  with pytest.raises(UserError, match="2 images but 1 titles"):
    predict.predict_listings(workdir, images=["", ""], titles=["a"])
  words = ["predict", f"--workdir={workdir}", f"--data={tiny_data}"]
  assert main([*words, f"--out={tmp_path / 'no' / 'x.csv'}"]) == 2
  assert "there is no folder" in capsys.readouterr().err
  assert main([*words, "--split=other", f"--out={out}"]) == 2
  assert "no split 'other'" in capsys.readouterr().err
  assert not out.exists()
  # It would be told the most frequent categories, as if they were its own.
  with pytest.raises(UserError, match="listing 2 has no image and no title"):
    predict.predict_listings(workdir, images=["", ""], titles=["mug", "\u200b"])
  with pytest.raises(UserError, match="Is a directory"):
    predict.predict_listings(workdir, images=[str(tmp_path)])


@pytest.mark.parametrize(
  ("side", "images", "titles"),
  [("image", None, ["a mug"]), ("title", ["a.jpg"], None)],
)
def test_a_side_that_the_model_does_not_look_at(side, images, titles):
  with pytest.raises(UserError, match=f"listing 1 has no {side}, and the mo"):
    predict._check_seen(side, images, titles, rows=1)


def test_of_many_photos_the_bad_one_is_named(
  workdir, tiny_data, records, tmp_path
):
  good = str(photos(tiny_data, records)[0])
  (tmp_path / "bad.jpg").write_bytes(b"no photo")
  with pytest.raises(UserError, match=r"bad\.jpg': .* no JPEG") as caught:
    predict.predict_listings(workdir, images=[good, str(tmp_path / "bad.jpg")])
  assert good not in str(caught.value)


def test_a_model_without_categories_is_refused(tiny_data, tmp_path):
  config = tiny_run.get_config("plain")
  config.data.path = str(tiny_data)
  untrained.write_record(tmp_path, config, tiny_data)
  with pytest.raises(UserError, match="task='item', which predicts no categ"):
    predict.predict_listings(tmp_path, titles=["a"], step=0)


def test_a_catalogue_without_categories_is_predicted_and_not_scored(
  embedder, workdir, tmp_path
):
  from item_jax.ingest.prepare import prepare

  rows = ["listing_id,image,title,split", "a,,red mug,test", "b,,mug,test"]
  (tmp_path / "c.csv").write_text("\n".join([*rows, "c,,mug,train"]) + "\n")
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
  found = predict.predict_split(workdir, data=tmp_path / "data", split="test")
  found.write_csv(tmp_path / "said.csv")
  assert found.scored is None
  assert "nothing to score" in str(found)
  with (tmp_path / "said.csv").open(newline="") as file:
    said = [line["predicted"] for line in csv.DictReader(file)]
  best_N = embedder.predict(titles=["red mug", "mug"]).argmax(axis=1)
  assert said == [embedder.categories[c] for c in best_N]
