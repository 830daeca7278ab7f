"""Laws of options that the weights of `start_from` decide."""

import copy
import json
import pickle

import listings
import pytest

from item_jax import config_flags
from item_jax.config import Config, Model, flatten
from item_jax.errors import UserError
from item_jax.pretrained.settings import NAMES, follow
from item_jax.training.init_from import follow_start

SIZES = {"layers": 2, "width": 24, "mlp": 40}


def weights(folder, listed, pooling=None, **config):
  folder.mkdir(exist_ok=True)
  listings.write_empty(folder / "model.safetensors", listed)
  (folder / "config.json").write_text(json.dumps(config))
  if pooling is not None:
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modes = {f"pooling_mode_{name}": on for name, on in pooling.items()}
    text = json.dumps({"word_embedding_dimension": 24} | modes)
    (folder / "1_Pooling" / "config.json").write_text(text)
  return folder


def bert(folder, **more):
  said = {"num_attention_heads": 3, "layer_norm_eps": 1e-7}
  return weights(folder, listings.bert(words=50, **SIZES), **(said | more))


def followed(path, name="item", **given) -> dict:
  config = Config()
  config.model.name = name
  for option, value in given.items():
    setattr(config.model, option, value)
  before = flatten(config)
  found = flatten(follow(config, path))
  assert flatten(config) == before, "the caller's config was changed"
  return {n: x for n, x in found.items() if x != before[n]}


def test_a_bert_decides_sizes_norm_and_epsilon(tmp_path):
  expected = {
    "model.layers": 2,
    "model.width": 24,
    "model.mlp": 40,
    "model.heads": 3,
    "model.epsilon": 1e-7,
  }
  assert followed(bert(tmp_path)) == expected
  assert followed(bert(tmp_path), "roberta") == expected
  said = {"hidden_act": "quick_gelu"}
  found = followed(bert(tmp_path, **said))
  assert found == expected | {"model.activation": "quick_gelu"}


def test_a_vit_decides_the_patch_too(tmp_path):
  listed = listings.vit(image=12, patch=3, **SIZES)
  found = followed(weights(tmp_path, listed, num_attention_heads=4))
  assert (found["model.patch"], found["model.norm"]) == (3, "pre")
  assert (found["model.layers"], found["model.heads"]) == (2, 4)


def test_a_clip_decides_both_towers(tmp_path):
  text = {"text_layers": 1, "text_width": 20, "text_mlp": 28, "projection": 14}
  listed = listings.clip(12, 3, **SIZES, words=50, positions=11, **text)
  path = weights(
    tmp_path,
    listed,
    vision_config={"num_attention_heads": 2},
    text_config={"num_attention_heads": 5},
  )
  found = followed(path, "clip")
  assert found == {
    "model.layers": 2,
    "model.width": 24,
    "model.mlp": 40,
    "model.heads": 2,
    "model.patch": 3,
    "model.epsilon": 1e-5,
    "model.activation": "quick_gelu",
    **{f"clip.{name}": size for name, size in text.items()},
    "clip.text_heads": 5,
  }
  assert set(found) <= set(NAMES) <= set(flatten(Config()))


def test_what_is_given_stays_and_a_mismatch_names_flags(tmp_path):
  path = bert(tmp_path)
  assert "model.layers" not in followed(path, layers=2)
  with pytest.raises(UserError) as error:
    followed(path, layers=12, heads=4, norm="pre", patch=8)
  lines = str(error.value).splitlines()
  assert lines[0].endswith("these weights of bert want")
  assert [line.strip() for line in lines[1:]] == [
    "--config.model.layers=2 (the run: 12)",
    "--config.model.heads=3 (the run: 4)",
    "--config.model.norm=post (the run: pre)",
  ]


@pytest.mark.parametrize(
  ("pooling", "pool"),
  [
    (None, "mean"),
    ({"mean_tokens": True, "cls_token": False}, "mean"),
    ({"mean_tokens": False, "cls_token": True}, "cls"),
  ],
)
def test_the_pooling_of_a_text_encoder(tmp_path, pooling, pool):
  path = bert(tmp_path, pooling=pooling)
  config = Config()
  config.model.name = "roberta"
  assert follow(config, path).model.pool == pool
  other = {"mean": "cls", "cls": "mean"}[pool]
  config.model.pool = other  # a free choice: no error
  assert follow(config, path).model.pool == other


@pytest.mark.parametrize(
  ("on", "says"),
  [
    ({"max_tokens": True}, "has pooling_mode_max_tokens; known are"),
    ({"mean_tokens": True, "cls_token": True}, "one of them alone"),
    ({}, "has no pooling_mode"),
  ],
)
def test_a_pooling_that_is_not_known_is_refused(tmp_path, on, says):
  path = bert(tmp_path, pooling=on)
  with pytest.raises(UserError, match=f"{says}.*model.pool=mean or cls"):
    followed(path, "roberta")
  assert followed(path, "roberta", pool="cls")["model.layers"] == 2
  assert followed(path, "item")["model.layers"] == 2  # has no such pool


@pytest.mark.parametrize(
  ("text", "says"), [("[]", "is no JSON object"), ("{", "is no JSON: ")]
)
def test_a_pooling_file_that_is_no_object_is_refused(tmp_path, text, says):
  path = bert(tmp_path, pooling={})
  (path / "1_Pooling" / "config.json").write_text(text)
  with pytest.raises(UserError, match=says):
    followed(path, "roberta")


FILE = """
from item_jax.config import Config
def get_config():
  config = Config()
  config.model.prefer(layers=4, epsilon=1e-5)
  config.model.heads = 4
  return config
"""


def test_what_a_file_prefers_gives_way_but_a_flag_does_not(tmp_path):
  file = tmp_path / "run.py"
  file.write_text(FILE)
  path = bert(tmp_path / "weights")
  start = f"--config.start_from={path}"
  config = config_flags.parse(str(file), [])
  assert (config.model.layers, config.model.epsilon) == (4, 1e-5)
  assert follow_start(config) is config  # it starts from nothing
  heads = "--config.model.heads=3"
  found = follow_start(config_flags.parse(str(file), [start, heads])).model
  assert (found.layers, found.epsilon, found.width) == (2, 1e-7, 24)
  for flags, says in (
    ([], "heads=3 .the run: 4"),
    ([heads, "--config.model.epsilon=1e-5"], "epsilon=1e-07 .the run: 1e-05"),
    # Given, though it is what the file prefers, or the default.
    ([heads, "--config.model.layers=4"], "layers=2 .the run: 4"),
    ([heads, "--config.model.width=768"], "width=24 .the run: 768"),
  ):
    with pytest.raises(UserError, match=f"--config.model.{says}"):
      follow_start(config_flags.parse(str(file), [start, *flags]))


def test_any_bert_fits_the_config_of_minilm(tmp_path):
  start = f"--config.start_from={bert(tmp_path)}"
  config = config_flags.parse(
    str(config_flags.CONFIGS / "item_minilm.py"), [start]
  )
  assert (config.model.layers, config.model.width) == (6, 384)
  found = follow_start(config).model
  assert (found.layers, found.width, found.heads) == (2, 24, 3)


def test_what_is_given_outlives_a_copy():
  model = Model(layers=3)
  model.width = 768
  model.prefer(width=5, heads=9)
  for one in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
    given = [n for n in ("layers", "width", "heads", "mlp") if one.is_given(n)]
    assert given == ["layers", "width"]
  assert Model() == Model(layers=12)
  assert model == Model(layers=3, width=5, heads=9)


def test_weights_of_another_model_are_left_to_who_reads_them(tmp_path):
  assert followed(bert(tmp_path), "clip") == {}
