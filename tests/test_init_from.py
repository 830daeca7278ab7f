"""Laws of starting from another run, or from weights of another project."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import listings
import numpy as np
import pytest
import tiny_run
from safetensors.numpy import save_file

from item_jax.config import Config
from item_jax.data.tokenizer import load_tokenizer
from item_jax.errors import UserError
from item_jax.training import init_from
from item_jax.training.loop import train
from item_jax.training.restore import Restored, restore

P = Path("P")


def source(params, categories=()):
  run = SimpleNamespace(categories=categories)
  return Restored(run=run, task=None, params=params, step=3, metrics=None)


def ones(*shape):
  return np.ones(shape, np.float32)


def zeros(*shape):
  return np.zeros(shape, np.float32)


def take(theirs, ours, core=("body",), *, categories=((), ())):
  there, here = categories
  return init_from._take(P, source(theirs, there), core, here, ours)


def test_what_fits_is_taken_and_the_rest_is_named():
  theirs = {"body": {"a": ones(3)}, "old_head": ones(2)}
  ours = {"body": {"a": zeros(3)}, "new_head": zeros(4)}
  params, _, said = take(theirs, ours)
  np.testing.assert_array_equal(params["body"]["a"], 1)
  np.testing.assert_array_equal(params["new_head"], 0)
  assert "made new: new_head; not used: old_head" in said


@pytest.mark.parametrize(
  ("there", "taken"), [(("mugs", "hats"), 1), (("mugs", "caps"), 0)]
)
def test_a_head_of_other_categories_is_made_new(there, taken):
  theirs = {"body": ones(3), "category_head": {"kernel": ones(3, 2)}}
  ours = {"body": zeros(3), "category_head": {"kernel": zeros(3, 2)}}
  params, *_ = take(theirs, ours, categories=(there, ("mugs", "hats")))
  np.testing.assert_array_equal(params["category_head"]["kernel"], taken)


def test_sides_are_taken_whatever_categories_are_predicted():
  theirs = {"body": ones(3), "sides": {"shares": ones(3)}}
  ours = {"body": zeros(3), "sides": {"shares": zeros(3)}, "head": zeros(2)}
  params, taken, _ = take(theirs, ours, categories=((), ("mugs", "hats")))
  np.testing.assert_array_equal(params["sides"]["shares"], 1)
  assert taken == ("body", "sides/shares")


def test_a_head_is_taken_whole_or_not_at_all():
  theirs = {"body": ones(3), "head": {"first": ones(2), "second": ones(2)}}
  ours = {"body": zeros(3), "head": {"other": zeros(2), "second": zeros(2)}}
  params, _, said = take(theirs, ours)
  np.testing.assert_array_equal(params["head"]["second"], 0)
  assert "made new: head; not used: head" in said


def test_positions_are_stretched():
  rows = np.arange(10, dtype=np.float32).reshape(5, 2)
  ours = {"position": zeros(3, 2), "image_tower": {"position": zeros(10, 2)}}
  theirs = {"position": rows, "image_tower": {"position": rows}}
  params, *_ = take(theirs, ours, core=tuple(ours))
  np.testing.assert_array_equal(params["position"], rows[:3])
  tower = params["image_tower"]["position"]
  np.testing.assert_array_equal(tower[0], rows[0])  # the class token's
  # A grid of 2 x 2 becomes one of 3 x 3: its middle is the mean.
  np.testing.assert_allclose(tower[5], rows[1:].mean(0), rtol=1e-6)


def test_another_network_is_refused_with_both_shapes():
  theirs = {"body": ones(3), "title_position": ones(8, 4)}
  ours = {"body": zeros(5), "title_position": zeros(6, 7), "more": zeros(2)}
  with pytest.raises(UserError) as error:
    take(theirs, ours, core=tuple(ours))
  for words in (
    "body: [5] here, [3] there",
    "title_position: [6, 7] here, [8, 4] there",
    "more: [2] here, not there",
  ):
    assert words in str(error.value)


def test_options_and_words_that_mean_another_thing_are_refused():
  config, other = Config(), Config()
  other.model.epsilon = 1e-5
  words = SimpleNamespace(fingerprint="a" * 64)
  run = SimpleNamespace(config=other, tokenizer=words)
  theirs = Restored(run=run, task=None, params=None, step=0, metrics=None)
  with pytest.raises(UserError, match=r"epsilon: 1e-06 here, 1e-05 there"):
    init_from._check_meaning(P, theirs, config, words)
  own = SimpleNamespace(fingerprint="b" * 64)
  with pytest.raises(UserError, match=r"a{12}, .* b{12}:"):
    init_from._check_meaning(P, theirs, config, own)


def write_bert(folder, words) -> dict:
  """Random weights of one layer of 32, with their config.json."""
  sizes = {"width": 32, "mlp": 64, "layers": 1, "positions": 40}
  rng = np.random.default_rng(0)
  tensors = {
    name: 0.1 * rng.normal(size=shape).astype(np.float32)
    for name, shape in listings.bert(words=words, **sizes).items()
  }
  folder.mkdir()
  save_file(tensors, folder / "model.safetensors")
  said = {"model_type": "bert", "num_attention_heads": 2}
  (folder / "config.json").write_text(json.dumps(said))
  return tensors


def bert_run(tiny_data, folder) -> tuple[Config, dict]:
  """A run's config that starts from a random BERT on a split mesh."""
  tokenizer = load_tokenizer(Path(tiny_data) / "tokenizer.json")
  tensors = write_bert(folder, tokenizer.size)
  config = tiny_run.get_config("plain")
  config.data.path = str(tiny_data)
  config.start_from = str(folder)
  config.evaluators = ()
  config.mesh.fsdp = 2
  return config, tensors


def test_weights_of_another_project_on_a_split_mesh(
  tiny_data, tmp_path, caplog
):
  config, tensors = bert_run(tiny_data, tmp_path / "bert")
  config.steps = 0
  workdir = tmp_path / "run"
  caplog.set_level("INFO")
  train(config, workdir)
  assert "made new: " in caplog.text
  first = restore(workdir)
  assert first.run.config.model.epsilon == 1e-12  # BERT's
  table = tensors["bert.embeddings.word_embeddings.weight"]
  np.testing.assert_array_equal(first.params["word"][: len(table)], table)
  # Killed after run.json, before the checkpoint: it starts from there again.
  shutil.rmtree(workdir / "checkpoints")
  train(config, workdir)
  jax.tree.map(
    np.testing.assert_array_equal, first.params, restore(workdir).params
  )


def test_what_was_taken_is_known_after_a_resume(tiny_data, tmp_path):
  """Though the weights are gone; with microbatches and spikes watched for."""
  config, tensors = bert_run(tiny_data, tmp_path / "bert")
  config.steps, config.log_every, config.checkpoint.every = 8, 2, 2
  o = config.optim
  o.warmup, o.accumulate, o.spike = 1, 2, 6.0
  o.freeze_steps, o.start_rate, o.layer_decay = 5, 0.5, 0.5
  workdir = tmp_path / "run"
  train(config, workdir)
  frozen, whole = restore(workdir, step=4), restore(workdir, step=8)
  word = tensors["bert.embeddings.word_embeddings.weight"]
  scale = tensors["bert.encoder.layer.0.output.LayerNorm.weight"]

  def taken(found):
    layer = found.params["encoder"]["layer_0"]
    return found.params["word"][: len(word)], layer["norm2"]["scale"]

  np.testing.assert_array_equal(taken(frozen)[0], word)
  np.testing.assert_array_equal(taken(frozen)[1], scale)
  assert np.abs(frozen.params["project"]["bias"]).max() > 0
  # Of three steps at most: embeddings at a quarter of the rate, layers at half.
  for after, before, rate in zip(
    taken(whole), (word, scale), (0.25, 0.5), strict=True
  ):
    moved = np.abs(after - before).max()
    assert 0.25 * rate * o.lr < moved < 3 * 1.2 * rate * o.lr
  shutil.rmtree(tmp_path / "bert")
  for step in (6, 8):
    shutil.rmtree(workdir / "checkpoints" / str(step))
  train(config, workdir)
  jax.tree.map(
    np.testing.assert_array_equal, whole.params, restore(workdir).params
  )
