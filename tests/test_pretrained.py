"""Laws of other projects' weights: every leaf and tensor has its place."""

import json
import pickle

import cv2
import jax
import jax.numpy as jnp
import listings
import ml_dtypes
import numpy as np
import pytest
import spellings
import tiny
from safetensors.numpy import save_file

from item_jax.config import Config
from item_jax.data.tokenizer import load_tokenizer
from item_jax.errors import UserError
from item_jax.models import efficientnet, patches
from item_jax.models.item import Item
from item_jax.models.resnet import ResNet
from item_jax.models.roberta import Roberta
from item_jax.pretrained import families, transforms
from item_jax.pretrained.convert import fill
from item_jax.pretrained.files import open_tensors

IMAGE, PATCH, PLACES = 12, 3, 8
# Tiny, and no two sizes alike.
SIZES = {"layers": 2, "width": 24, "mlp": 40}
BERT = SIZES | {"positions": 30}
TEXT = {"text_layers": 1, "text_width": 20, "text_mlp": 28, "projection": 14}
HEADS = 2


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
  folder = tmp_path_factory.mktemp("words")
  return load_tokenizer(
    spellings.write_bert(folder, ["red mug", "a red shirt"])
  )


@pytest.fixture(scope="module")
def clip_tokenizer(tmp_path_factory):
  folder = tmp_path_factory.mktemp("clip")
  return load_tokenizer(
    spellings.write_clip(folder, ["red mug", "a red shirt"])
  )


def common(tokenizer, **changed):
  fields = SIZES | {
    "vocab_size": tokenizer.size + 5,  # rows beyond the vocabulary
    "pad": tokenizer.pad,
    "max_title_tokens": PLACES,
    "heads": HEADS,
    "dropout": 0.0,
    "init_std": 0.2,
    "dtype": jnp.float32,
    "attention": "xla",
  }
  return fields | changed


def shapes_of(module, *arguments):
  return jax.eval_shape(
    lambda key: module.init(key, *arguments), jax.random.key(0)
  )


def item_tree(tokenizer, *, norm, **changed):
  fields = common(tokenizer) | {
    "image_size": IMAGE,
    "patch": PATCH,
    "norm": norm,
  }
  module = tiny.build(Item, **(fields | changed))
  place = jnp.zeros((1, 1), jnp.int32)
  batch = tiny.make_batch(1)._replace(
    image_BHWC=np.zeros((1, module.image_size, module.image_size, 3), np.uint8),
    tokens_BT=np.zeros((1, module.max_title_tokens), np.int32),
  )
  return shapes_of(module, batch, place, place)["params"]


def roberta_tree(tokenizer, **changed):
  module = tiny.build(
    Roberta, **(common(tokenizer) | {"cls": tokenizer.cls} | changed)
  )
  batch = tiny.make_batch(1)._replace(
    tokens_BT=np.zeros((1, module.max_title_tokens), np.int32)
  )
  return shapes_of(module, batch, jnp.zeros((1, 1), jnp.int32))["params"]


def clip_tree(tokenizer, **changed):
  fields = common(tokenizer) | TEXT | {"text_heads": 5}
  fields |= {"image_size": IMAGE, "patch": PATCH}
  module = tiny.build_clip(
    **(fields | {"cls": tokenizer.cls, "sep": tokenizer.sep} | changed)
  )
  batch = tiny.make_batch(1)._replace(
    image_BHWC=np.zeros((1, module.image_size, module.image_size, 3), np.uint8),
    tokens_BT=np.zeros((1, module.max_title_tokens), np.int32),
  )
  return shapes_of(module, batch)["params"]


def resnet_tree():
  module = ResNet()
  batch = tiny.make_batch(1)
  tree = jax.eval_shape(
    lambda key: module.init(key, batch, train=False), jax.random.key(0)
  )
  return {**tree["params"], "statistics": tree["batch_stats"]}


def start(tree, seed=0):
  """Arrays for shapes: the initial values of a run."""
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32), tree
  )


def make_config(model, **options) -> Config:
  config = Config()
  config.model.name = model
  for name, value in options.items():
    setattr(config.model, name, value)
  config.resnet.norm, config.resnet.pixels = "batch", "imagenet"
  return config


BERT_CONFIG = make_config("item", epsilon=1e-12)
VIT_CONFIG = make_config("item", epsilon=1e-12, norm="pre")


def tensors_of(shapes, seed=1):
  rng = np.random.default_rng(seed)
  return {
    name: rng.normal(size=shape).astype(np.float32)
    for name, shape in shapes.items()
  }


def write(folder, tensors, name="model.safetensors", **config):
  save_file(tensors, folder / name)
  said = {"num_attention_heads": HEADS} | config
  (folder / "config.json").write_text(json.dumps(said))
  return folder


@pytest.fixture
def bert(tokenizer):
  return tensors_of(listings.bert(words=tokenizer.size, **BERT))


# Full size, by shapes alone.


BASE = {"layers": 12, "width": 768, "heads": 12, "mlp": 3072}
FULL_ITEM = BASE | {"image_size": 224, "patch": 16, "max_title_tokens": 59}
FULL_CLIP = FULL_ITEM | {
  "text_layers": 12,
  "text_width": 512,
  "text_heads": 8,
  "text_mlp": 2048,
  "projection": 512,
}
CLIP_CONFIG = make_config("clip", epsilon=1e-5, activation="quick_gelu")
ROBERTA_CONFIG = make_config("roberta", epsilon=1e-5)
RESNET_CONFIG = make_config("resnet50")
LITE_CONFIG = make_config("efficientnet_lite0")


def full_words(folder, family):
  """As many words as the weights have rows; a photo's weights have none."""
  write, size = {
    "bert": (spellings.write_bert, 30_522),
    "roberta": (spellings.write_roberta, 50_265),
    "clip": (spellings.write_clip, 49_408),
  }.get(family, (spellings.write_bert, None))
  folder.mkdir()
  return load_tokenizer(write(folder, ["red mug", "a red shirt"], size))


# Listing of the file, our tree for the words, the run's config.
FULL = {
  "bert": (
    listings.bert(),
    lambda words: item_tree(words, norm="post", **FULL_ITEM),
    BERT_CONFIG,
  ),
  "vit": (
    listings.vit(),
    lambda words: item_tree(words, norm="pre", **FULL_ITEM),
    VIT_CONFIG,
  ),
  "roberta": (
    listings.roberta(),
    lambda words: roberta_tree(words, **BASE, max_title_tokens=63),
    ROBERTA_CONFIG,
  ),
  "clip/16": (
    listings.clip(patch=16),
    lambda words: clip_tree(words, **FULL_CLIP),
    CLIP_CONFIG,
  ),
  "clip/32": (
    listings.clip(patch=32),
    lambda words: clip_tree(words, **(FULL_CLIP | {"patch": 32})),
    CLIP_CONFIG,
  ),
  "resnet": (listings.resnet50(), lambda words: resnet_tree(), RESNET_CONFIG),
  "torchvision": (
    listings.resnet50(torchvision=True),
    lambda words: resnet_tree(),
    RESNET_CONFIG,
  ),
  "efficientnet_lite0": (
    listings.efficientnet_lite0(),
    lambda words: jax.eval_shape(
      efficientnet.make_stem(LITE_CONFIG).init, jax.random.key(0)
    ),
    LITE_CONFIG,
  ),
}


@pytest.mark.parametrize("name", FULL)
def test_tables_fill_every_leaf_at_full_size(name, tmp_path):
  listed, make_tree, config = FULL[name]
  words = full_words(tmp_path / "words", name.split("/")[0])
  path = listings.write_empty(tmp_path / "model.safetensors", listed)
  done = fill(make_tree(words), path, config, words)
  assert done.family == name.split("/")[0]
  leaves = jax.tree_util.tree_leaves_with_path(done.params)
  paths = {"/".join(k.key for k in p): x for p, x in leaves}
  assert set(done.filled) | set(done.new) == paths.keys()
  assert not set(done.filled) & set(done.new)
  assert all(isinstance(paths[leaf], np.ndarray) for leaf in done.filled)
  expected = {
    "bert": {"patch_position", "hidden_patch", "project"},
    "vit": {"word", "title_position", "hidden_patch"}
    | {"word_head", "word_decoder"},
  }.get(name, set())
  heads = {"match_head", "global_word_head", "global_word_decoder"}
  heads |= {"patch_head", "patch_decoder"}
  heads |= {"global_patch_head", "global_patch_decoder"}
  made_new = {leaf.split("/")[0] for leaf in done.new}
  assert made_new == (expected | heads if expected else set())
  # Every tensor is read into a leaf or named as passed over.
  assert set(done.ignored) == {
    n
    for n in listed
    if n.startswith(("pooler.", "classifier.", "fc.", "_fc."))
    or n.endswith("num_batches_tracked")
  }


# Values: what a leaf holds of which tensor.


def test_bert_values(bert, tokenizer, tmp_path):
  initial = start(item_tree(tokenizer, norm="post"))
  done = fill(initial, write(tmp_path, bert), BERT_CONFIG, tokenizer)
  p = done.params
  name = "bert.embeddings.{}_embeddings.weight"
  word, place, kind = (
    bert[name.format(n)] for n in ("word", "position", "token_type")
  )
  np.testing.assert_array_equal(p["word"][: tokenizer.size], word)
  np.testing.assert_array_equal(
    p["word"][tokenizer.size :], initial["word"][tokenizer.size :]
  )
  np.testing.assert_array_equal(
    p["cls"], word[tokenizer.cls] + place[0] + kind[0]
  )
  np.testing.assert_array_equal(p["title_position"], place[1 : 1 + PLACES])
  np.testing.assert_array_equal(p["segment"], kind[[1, 0]])
  np.testing.assert_array_equal(
    p["word_decoder"]["bias"][: tokenizer.size], bert["cls.predictions.bias"]
  )
  qkv = p["encoder"]["layer_1"]["attention"]["qkv"]["kernel"]
  for i, part in enumerate(("query", "key", "value")):
    theirs = bert[f"bert.encoder.layer.1.attention.self.{part}.weight"]
    np.testing.assert_array_equal(qkv[:, i].reshape(24, 24), theirs.T)
  for leaf in ("project", "match_head", "patch_head", "hidden_patch"):
    for ours, before in zip(
      jax.tree.leaves(p[leaf]), jax.tree.leaves(initial[leaf]), strict=True
    ):
      np.testing.assert_array_equal(ours, before)
  text = done.describe()
  assert str(tmp_path) in text
  assert "made new: " in text


def test_vit_leaves_the_title_as_it_was(tokenizer, tmp_path):
  tensors = tensors_of(listings.vit(IMAGE, PATCH, **SIZES))
  initial = start(item_tree(tokenizer, norm="pre"))
  done = fill(initial, write(tmp_path, tensors), VIT_CONFIG, tokenizer).params
  np.testing.assert_array_equal(done["segment"][0], np.zeros(24))
  np.testing.assert_array_equal(done["segment"][1], initial["segment"][1])
  np.testing.assert_array_equal(done["word"], initial["word"])


@pytest.mark.parametrize("pixels", ["half", "imagenet"])
def test_the_pixels_of_the_weights_are_folded_in(tokenizer, tmp_path, pixels):
  """A convolution of normalised pixels is our projection of pixels."""
  tensors = tensors_of(listings.vit(IMAGE, PATCH, **SIZES))
  write(tmp_path, tensors)
  if pixels != "half":
    mean, std = patches.PIXEL_STATISTICS[pixels]
    said = {"image_mean": mean, "image_std": std, "do_normalize": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
  tree = item_tree(tokenizer, norm="pre")
  project = fill(tree, tmp_path, VIT_CONFIG, tokenizer).params["project"]
  image = tiny.make_batch(2).image_BHWC
  ours = patches.to_patches(patches.normalise(image), PATCH)
  ours = ours @ project["kernel"] + project["bias"]
  at = "embeddings.patch_embeddings.projection"
  theirs = jax.lax.conv_general_dilated(
    patches.normalise(image, pixels).transpose(0, 3, 1, 2),
    tensors[f"{at}.weight"],
    (PATCH, PATCH),
    "VALID",
  ) + tensors[f"{at}.bias"].reshape(1, -1, 1, 1)
  theirs = theirs.reshape(2, 24, -1).transpose(0, 2, 1)
  np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
  ("said", "mean", "std"),
  [
    ({"do_rescale": False, "image_mean": [127.5] * 3}, 0.5, 0.5),
    ({"rescale_factor": 1 / 127.5, "image_mean": [1] * 3}, 0.5, 0.5),
    ({"rescale_factor": 0.00392157, "image_mean": [0.5] * 3}, 0.5, 0.5),
    ({"do_rescale": False, "do_normalize": False}, 0, 1 / 255),
  ],
)
def test_pixels_may_have_another_range_before_they_are_normalised(
  tmp_path, said, mean, std
):
  path = write(tmp_path, tensors_of(listings.vit(IMAGE, PATCH, **SIZES)))
  if "image_mean" in said:
    said["image_std"] = said["image_mean"]
  (path / "preprocessor_config.json").write_text(json.dumps(said))
  found = families.pixels_of("vit", open_tensors(path))
  np.testing.assert_allclose(found.mean, [mean] * 3, rtol=1e-5)
  np.testing.assert_allclose(found.std, [std] * 3, rtol=1e-5)


def test_a_grid_of_another_size_is_bicubic():
  rows = np.random.default_rng(0).normal(size=(14 * 14, 5)).astype(np.float32)
  for side in (4, 7, 14, 20):
    ours = transforms.fit_grid(rows, side * side)
    theirs = cv2.resize(
      rows.reshape(14, 14, 5), (side, side), interpolation=cv2.INTER_CUBIC
    )
    # cv2 keeps its weights as float32.
    np.testing.assert_allclose(ours, theirs.reshape(-1, 5), atol=1e-4)
  np.testing.assert_array_equal(transforms.fit_grid(rows, 14 * 14), rows)
  with pytest.raises(ValueError, match="12 positions are no square"):
    transforms.fit_grid(rows, 12)


def test_a_title_of_another_length():
  rows = np.array([[0.0, 8.0], [2.0, 4.0], [6.0, 0.0]], np.float32)
  np.testing.assert_array_equal(transforms.fit_rows(rows, 2), rows[:2])
  np.testing.assert_array_equal(
    transforms.fit_rows(rows, 5), [[0, 8], [1, 6], [2, 4], [4, 2], [6, 0]]
  )
  # The first place of a sequence stays its own.
  longer = transforms.sequence_from(0)([rows], np.zeros((4, 2)))
  np.testing.assert_array_equal(longer, [[0, 8], [2, 4], [4, 2], [6, 0]])


@pytest.mark.parametrize(("said", "first"), [({}, 2), ({"pad_token_id": 0}, 1)])
def test_roberta_counts_its_positions_from_its_padding(
  tmp_path, tokenizer, said, first
):
  listed = listings.roberta(words=tokenizer.size, **BERT)
  tensors = tensors_of(listed)
  tree = roberta_tree(tokenizer)
  path = write(tmp_path, tensors, **said)
  done = fill(tree, path, ROBERTA_CONFIG, tokenizer).params
  place = tensors["roberta.embeddings.position_embeddings.weight"]
  kind = tensors["roberta.embeddings.token_type_embeddings.weight"]
  np.testing.assert_array_equal(
    done["position"], place[first : first + 1 + PLACES] + kind[0]
  )


def test_halves_become_float32(bert, tokenizer, tmp_path):
  tree = item_tree(tokenizer, norm="post")
  whole = fill(tree, write(tmp_path, bert), BERT_CONFIG, tokenizer).params
  for kind, atol in ((np.float16, 2e-3), (ml_dtypes.bfloat16, 2e-2)):
    short = {name: x.astype(kind) for name, x in bert.items()}
    done = fill(tree, write(tmp_path, short), BERT_CONFIG, tokenizer).params
    for ours, before in zip(
      jax.tree.leaves(done), jax.tree.leaves(whole), strict=True
    ):
      if isinstance(ours, np.ndarray):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, before, atol=atol, rtol=1e-2)


def same(one, other):
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    if isinstance(a, np.ndarray):
      np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
  "rename",
  [
    lambda n: n.removeprefix("bert."),
    lambda n: f"model.{n}",
    # Old files.
    lambda n: n.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
      "LayerNorm.bias", "LayerNorm.beta"
    ),
  ],
)
def test_other_spellings_of_the_names(bert, tokenizer, tmp_path, rename):
  tree = item_tree(tokenizer, norm="post")
  plain = fill(tree, write(tmp_path, bert), BERT_CONFIG, tokenizer)
  renamed = {rename(name): x for name, x in bert.items()}
  done = fill(tree, write(tmp_path, renamed), BERT_CONFIG, tokenizer)
  assert done.family == "bert"
  same(done.params, plain.params)


def test_a_sharded_index(bert, tokenizer, tmp_path):
  tree = item_tree(tokenizer, norm="post")
  whole = fill(tree, write(tmp_path, bert), BERT_CONFIG, tokenizer).params
  folder = tmp_path / "sharded"
  folder.mkdir()
  index = shard(folder, bert)
  same(fill(tree, folder, BERT_CONFIG, tokenizer).params, whole)
  same(fill(tree, index, BERT_CONFIG, tokenizer).params, whole)


def shard(folder, tensors):
  """Two files and an index of them."""
  names = sorted(tensors)
  half = len(names) // 2
  listed = {}
  for number, some in enumerate((names[:half], names[half:]), 1):
    file = f"model-{number:05d}-of-00002.safetensors"
    write(folder, {n: tensors[n] for n in some}, file)
    listed |= dict.fromkeys(some, file)
  index = folder / "model.safetensors.index.json"
  index.write_text(json.dumps({"metadata": {}, "weight_map": listed}))
  return index


# What does not fit.


def refused(match, tree, path, config, tokenizer):
  with pytest.raises(UserError, match=match):
    fill(tree, path, config, tokenizer)


def test_an_index_that_disagrees(bert, tokenizer, tmp_path):
  index = shard(tmp_path, bert)
  said = json.loads(index.read_text())
  first = min(bert)

  def changed(**files):
    listed = said["weight_map"] | files
    index.write_text(json.dumps({"weight_map": listed}))
    return index

  for wrong in ("../elsewhere.safetensors", "/etc/passwd", "a.bin"):
    with pytest.raises(UserError, match="in its own folder"):
      open_tensors(changed(**{first: wrong}))
  with pytest.raises(
    UserError, match=r"nowhere\.safetensors, which is not there"
  ):
    open_tensors(changed(**{first: "nowhere.safetensors"}))
  with pytest.raises(UserError, match=rf"only in the index \['{first}x'\]"):
    open_tensors(changed(**{f"{first}x": said["weight_map"][first]}))
  index.write_text("{}")
  with pytest.raises(UserError, match="no weight_map"):
    open_tensors(index)


def test_broken_files(bert, tmp_path):
  path = write(tmp_path, bert) / "model.safetensors"
  whole = path.read_bytes()
  for broken in (whole[:-4], whole[:100], b"", b"\xff" * 200):
    path.write_bytes(broken)
    with pytest.raises(UserError, match=r"model\.safetensors is broken"):
      open_tensors(tmp_path)


class Harmful:
  """Opened as a pickle it would write a file."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "a.pt", "b.ckpt"])
def test_pickles_are_refused_unopened(tmp_path, name):
  file, trace = tmp_path / name, tmp_path / "trace"
  file.write_bytes(pickle.dumps(Harmful(trace)))
  for path in (file, tmp_path):
    with pytest.raises(UserError, match=f"{name}: weights are read from"):
      open_tensors(path)
  assert not trace.exists()
  # Nor under another name.
  file.rename(tmp_path / "model.safetensors")
  with pytest.raises(UserError, match="is broken"):
    open_tensors(tmp_path)
  assert not trace.exists()


def test_nothing_there(tmp_path):
  with pytest.raises(FileNotFoundError, match="nowhere"):
    open_tensors(tmp_path / "nowhere")
  with pytest.raises(UserError, match=r"no \.safetensors file"):
    open_tensors(tmp_path)


def test_a_value_that_is_no_number(bert, tokenizer, tmp_path):
  bert["bert.embeddings.LayerNorm.bias"][3] = np.nan
  tree = item_tree(tokenizer, norm="post")
  refused(
    r"LayerNorm\.bias holds a NaN",
    tree,
    write(tmp_path, bert),
    BERT_CONFIG,
    tokenizer,
  )


def test_an_unknown_and_a_missing_tensor(bert, tokenizer, tmp_path):
  tree = item_tree(tokenizer, norm="post")
  lost = "bert.encoder.layer.1.output.dense.bias"
  bert["bert.encoder.layer.1.adapter.bias"] = bert.pop(lost)
  refused(
    r"are not there: encoder\.layer\.1\.output\.dense\.bias;"
    r" tensors without a leaf: encoder\.layer\.1\.adapter\.bias$",
    tree,
    write(tmp_path, bert),
    BERT_CONFIG,
    tokenizer,
  )


def test_a_leaf_without_a_source(bert, tokenizer, tmp_path):
  tree = item_tree(tokenizer, norm="post") | {"extra": {"kernel": np.ones(3)}}
  path = write(tmp_path, bert)
  refused(
    "leaves without a source: extra/kernel", tree, path, BERT_CONFIG, tokenizer
  )
  done = fill(tree, path, BERT_CONFIG, tokenizer, new=["extra"])
  np.testing.assert_array_equal(done.params["extra"]["kernel"], np.ones(3))


@pytest.mark.parametrize(
  ("layers", "side"), [(1, "without a leaf"), (3, "are not there")]
)
def test_another_number_of_layers(bert, tokenizer, tmp_path, layers, side):
  tree = item_tree(tokenizer, norm="post", layers=layers)
  refused(side, tree, write(tmp_path, bert), BERT_CONFIG, tokenizer)


def test_another_width_of_the_mlp(bert, tokenizer, tmp_path):
  tree = item_tree(tokenizer, norm="post", mlp=44)
  refused(
    r"mlp/down/kernel \(44, 24\) can't be made of"
    r" bert\.encoder\.layer\.0\.output\.dense\.weight \(24, 40\)",
    tree,
    write(tmp_path, bert),
    BERT_CONFIG,
    tokenizer,
  )


def test_heads_may_be_missing_on_either_side(bert, tokenizer, tmp_path):
  tree = item_tree(tokenizer, norm="post")
  alone = {n: x for n, x in bert.items() if not n.startswith("cls.")}
  done = fill(tree, write(tmp_path, alone), BERT_CONFIG, tokenizer)
  assert "word_head/dense/kernel" in done.new
  del tree["word_head"], tree["word_decoder"]
  done = fill(tree, write(tmp_path, bert), BERT_CONFIG, tokenizer)
  assert done.ignored["cls.predictions.bias"] == "the run has no word_decoder"
  # A part of a head is no head.
  del bert["cls.predictions.transform.dense.bias"]
  refused(
    r"transform\.dense\.bias",
    item_tree(tokenizer, norm="post"),
    write(tmp_path, bert),
    BERT_CONFIG,
    tokenizer,
  )


def test_what_is_passed_over_on_purpose(bert, tokenizer, tmp_path):
  bert |= {
    "bert.pooler.dense.weight": np.ones((24, 24), np.float32),
    "bert.embeddings.position_ids": np.arange(30)[None],
    "cls.seq_relationship.bias": np.ones(2, np.float32),
    "cls.predictions.decoder.weight": bert[
      "bert.embeddings.word_embeddings.weight"
    ],
  }
  tree = item_tree(tokenizer, norm="post")
  done = fill(tree, write(tmp_path, bert), BERT_CONFIG, tokenizer)
  assert set(done.ignored) == set(list(bert)[-4:])
  bert["cls.predictions.decoder.weight"] = (
    bert["cls.predictions.decoder.weight"] + 1
  )
  refused(
    "is not the same as bert.embeddings.word",
    tree,
    write(tmp_path, bert),
    BERT_CONFIG,
    tokenizer,
  )


def test_options_that_the_weights_want(bert, tokenizer, tmp_path):
  tree = item_tree(tokenizer, norm="post")
  path = write(tmp_path, bert)
  refused(
    r"model\.epsilon=1e-12 \(the run: 1e-06\)",
    tree,
    path,
    make_config("item"),
    tokenizer,
  )
  wrong = make_config(
    "item", epsilon=1e-12, norm="pre", activation="quick_gelu"
  )
  refused(
    r"model\.activation=gelu .*model\.norm=post \(the run: pre\)",
    tree,
    path,
    wrong,
    tokenizer,
  )
  # config.json says more than the family.
  path = write(tmp_path, bert, layer_norm_eps=1e-6)
  fill(tree, path, make_config("item"), tokenizer)
  refused(
    r"heads of encoder=2 \(the run: 4\)",
    item_tree(tokenizer, norm="post", heads=4),
    path,
    make_config("item"),
    tokenizer,
  )
  # Without one, heads are as wide as in all published models.
  (path / "config.json").unlink()
  refused("heads of encoder=0", tree, path, BERT_CONFIG, tokenizer)


@pytest.mark.parametrize(
  "said",
  [
    {"downsample_in_bottleneck": True},
    {"downsample_in_first_stage": True},
    {"hidden_act": "gelu"},
  ],
)
def test_a_resnet_of_another_kind_is_refused(tokenizer, tmp_path, said):
  """No tensor's name or shape tells these apart."""
  shapes = {"embedder.embedder.convolution.weight": (4, 3, 7, 7)}
  path = write(tmp_path, tensors_of(shapes), model_type="resnet", **said)
  (name,) = said
  refused(f"has {name}=", resnet_tree(), path, RESNET_CONFIG, tokenizer)


def test_a_model_and_a_family_that_do_not_meet(bert, tokenizer, tmp_path):
  path = write(tmp_path, bert)
  refused(
    r"weights of bert don't fill model\.name=clip",
    item_tree(tokenizer, norm="post"),
    path,
    make_config("clip"),
    tokenizer,
  )
  path = write(tmp_path, bert, model_type="t5")
  refused(
    "model_type 't5'",
    item_tree(tokenizer, norm="post"),
    path,
    BERT_CONFIG,
    tokenizer,
  )
  path = write(tmp_path, {"a": np.ones(2, np.float32)})
  refused(
    "the tensors are of none of",
    item_tree(tokenizer, norm="post"),
    path,
    BERT_CONFIG,
    tokenizer,
  )


def test_another_vocabulary(tokenizer, tmp_path):
  tree = item_tree(tokenizer, norm="post")
  larger = tensors_of(listings.bert(words=tokenizer.size + 1, **BERT))
  refused(
    f"has {tokenizer.size + 1} tokens, the run's tokenizer {tokenizer.size}",
    tree,
    write(tmp_path, larger),
    BERT_CONFIG,
    tokenizer,
  )
  # As many words, but others.
  path = write(
    tmp_path, tensors_of(listings.bert(words=tokenizer.size, **BERT))
  )
  listed = sorted(tokenizer.ids(), key=tokenizer.ids().get)
  (path / "vocab.txt").write_text("\n".join(listed))
  fill(tree, path, BERT_CONFIG, tokenizer)
  listed[-2:] = listed[:-3:-1]
  (path / "vocab.txt").write_text("\n".join(listed))
  refused("gives 2 tokens another id", tree, path, BERT_CONFIG, tokenizer)


def test_the_same_tokens_cut_in_another_way(tokenizer, tmp_path):
  tree = item_tree(tokenizer, norm="post")
  path = write(
    tmp_path, tensors_of(listings.bert(words=tokenizer.size, **BERT))
  )
  tokenizer.save(path / "tokenizer.json")
  fill(tree, path, BERT_CONFIG, tokenizer)
  content = json.loads((path / "tokenizer.json").read_text())
  content["normalizer"]["lowercase"] = False
  (path / "tokenizer.json").write_text(json.dumps(content))
  refused("cuts '.*' into", tree, path, BERT_CONFIG, tokenizer)


def test_clip_tokens_of_our_own_keep_their_rows(clip_tokenizer, tmp_path):
  own = clip_tokenizer.size - 3
  listed = listings.clip(
    IMAGE,
    PATCH,
    **SIZES,
    words=own,
    positions=11,
    **TEXT,
  )
  initial = start(clip_tree(clip_tokenizer))
  path = write(
    tmp_path,
    tensors_of(listed),
    vision_config={"num_attention_heads": HEADS},
    text_config={"num_attention_heads": 5},
  )
  done = fill(initial, path, CLIP_CONFIG, clip_tokenizer).params["title_tower"]
  theirs = tensors_of(listed)["text_model.embeddings.token_embedding.weight"]
  np.testing.assert_array_equal(done["word"][:own], theirs)
  np.testing.assert_array_equal(
    done["word"][own:], initial["title_tower"]["word"][own:]
  )
