"""Laws of the loss that draws listings of one product together."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_run

from item_jax import tasks
from item_jax.config import Config, Products
from item_jax.config_check import validate
from item_jax.errors import UserError
from item_jax.inference.validation import RetrievalEvaluator
from item_jax.ingest.prepare import prepare
from item_jax.objectives import products
from item_jax.synthetic.synthesize import synthesize
from item_jax.training import sharding
from item_jax.training.loop import train
from item_jax.training.setup import set_up

D = 5
ROWS = 8
# Whose: three of product 0, two of 1 and of 3; row 4 has nobody.
PRODUCT = np.array([0, 0, 1, 1, 2, 0, 3, 3], np.uint32)


def make_batch():
  batch = tiny.make_batch(ROWS)._replace(product_B=PRODUCT)
  batch.tokens_BT[6] = batch.tokens_BT[2]  # one title of two products
  batch.title_B[6] = batch.title_B[2]
  batch.has_image_B[3] = False
  return batch


def embed(params, batch, masked_BN, key):
  """A linear look at what is there."""
  rows = batch.image_BHWC.reshape(len(batch.image_BHWC), -1)
  image_BD = rows.astype(jnp.float32) / 255 @ params["pixels"]
  title_BD = params["words"][batch.tokens_BT].sum(1)
  return jnp.where(batch.has_image_B[:, None], image_BD, 0) + jnp.where(
    batch.has_title_B[:, None], title_BD, 0
  )


def make_params():
  rng = np.random.default_rng(0)
  pixels = rng.normal(size=(tiny.IMAGE**2 * 3, D)).astype(np.float32)
  words = rng.normal(size=(tiny.WORDS, D)).astype(np.float32)
  return {"pixels": jnp.asarray(pixels), "words": jnp.asarray(words)}


AS_IT_IS = {
  "crop": 1.0,
  "light": 0.0,
  "patch_drop": 0.0,
  "token_drop": 0.0,
  "modality_drop": 0.0,
}


def run(batch, **changes):
  """(totals, counts, gradients, view) of one batch."""
  objective = products.make_loss(
    embed,
    Products(**{"temperature": 0.5} | changes),
    tiny.Vocabulary(),
    num_patches=tiny.N,
  )

  @jax.jit
  def of(params, batch):
    view = objective.corrupt(jax.random.key(0), 3, batch)
    counts = objective.counts(view)

    def loss(params):
      totals, batch_stats = objective.totals(params, view, jax.random.key(1))
      assert batch_stats == {}
      return totals["products"] / counts["products"], totals

    slopes, totals = jax.grad(loss, has_aux=True)(params)
    return totals, counts, slopes, view

  return jax.device_get(of(make_params(), batch))


def plain(g_BD, product_B, compared, temperature):
  """Khosla et al. 2020, equation 2, by loops; and hits of the nearest."""
  g_BD = g_BD / np.linalg.norm(g_BD, axis=1, keepdims=True)
  total, hits = 0.0, 0
  for i in range(len(g_BD)):
    others = [a for a in range(len(g_BD)) if a != i and compared(i, a)]
    partners = [p for p in others if product_B[p] == product_B[i]]
    if not partners:
      continue
    s = {a: g_BD[i] @ g_BD[a] / temperature for a in others}
    whole = math.log(sum(math.exp(x) for x in s.values()))
    total += sum(whole - s[p] for p in partners) / len(partners)
    hits += max(s, key=lambda a: s[a]) in partners
  return total, hits


def test_the_loss_by_loops():
  batch = make_batch()
  totals, counts, slopes, _ = run(batch, **AS_IT_IS)
  g_BD = np.asarray(embed(make_params(), batch, None, None))
  # Rows 2 and 6 have one title and are of two products.
  nll, hits = plain(g_BD, PRODUCT, lambda i, a: {i, a} != {2, 6}, 0.5)
  assert float(totals["products"]) == pytest.approx(nll, rel=1e-4)
  assert totals["products_accuracy"] == hits
  assert counts == {"products": 7, "products_accuracy": 7}
  for name in slopes:
    assert np.isfinite(slopes[name]).all()
    assert (slopes[name] != 0).any(), name


def test_the_loss_by_hand():
  together = np.zeros((4, 4), bool)
  together[0, 1] = together[1, 0] = True
  compared = ~np.eye(4, dtype=bool)
  compared[0, 3] = compared[3, 0] = False
  g_BD = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
  nll, hits = products.together_nll(g_BD, together, compared, temperature=1.0)
  # Row 0: 1 against 0; row 1: 1 against 0 and 0.
  by_hand = math.log(1 + math.exp(-1)) + math.log(1 + 2 * math.exp(-1))
  assert float(nll) == pytest.approx(by_hand, rel=1e-6)
  assert hits == 2


def test_a_row_with_nothing_in_it_takes_no_part():
  batch = make_batch()
  batch.has_image_B[1] = batch.has_title_B[1] = False
  totals, counts, *_ = run(batch, **AS_IT_IS)
  g_BD = np.asarray(embed(make_params(), batch, None, None))
  nll, _ = plain(
    np.delete(g_BD, 1, axis=0),
    np.delete(PRODUCT, 1),
    lambda i, a: {i, a} != {1, 5},
    0.5,
  )
  assert float(totals["products"]) == pytest.approx(nll, rel=1e-4)
  assert counts["products"] == 6


def test_finite_where_nobody_has_a_partner():
  batch = make_batch()._replace(
    product_B=np.arange(ROWS, dtype=np.uint32),
    has_image_B=np.zeros(ROWS, bool),
    has_title_B=np.arange(ROWS) < 1,
  )
  objective = products.make_loss(
    lambda params, *_, key: params * jnp.nan,
    Products(),
    tiny.Vocabulary(),
    num_patches=tiny.N,
  )
  view = objective.corrupt(jax.random.key(0), 0, batch)

  def loss(params):
    return objective.totals(params, view, jax.random.key(0))[0]["products"]

  assert float(loss(jnp.ones((ROWS, D)))) == 0
  assert objective.counts(view)["products"] == 0


def test_what_a_view_loses():
  batch = make_batch()
  *_, view = run(batch, modality_drop=0.5, token_drop=0.4, patch_drop=0.25)
  seen = view.augmented
  whole = batch.has_image_B & batch.has_title_B
  lost = whole & ~(seen.has_image_B & seen.has_title_B)
  assert lost.sum() == round(whole.sum() * 0.5)
  assert (seen.has_image_B | seen.has_title_B).all()
  assert (view.masked_BN.sum(1)[batch.has_image_B] == tiny.N // 4).all()
  assert not view.masked_BN[3].any()
  words = (batch.tokens_BT != tiny.PAD).sum(-1) - 1
  left = (seen.tokens_BT != tiny.PAD).sum(-1) - 1
  np.testing.assert_array_equal(words - left, np.round(words * 0.4))
  assert (seen.image_BHWC != batch.image_BHWC).any((1, 2, 3)).all()
  *_, same = run(batch, **AS_IT_IS)
  jax.tree.map(np.testing.assert_array_equal, same.augmented, batch)
  assert same.masked_BN is None


def test_a_listing_beside_itself_is_seen_twice():
  batch = jax.tree.map(lambda x: np.repeat(x, 2, axis=0), tiny.make_batch(4))
  *_, view = run(batch)
  image = view.augmented.image_BHWC
  assert (image[::2] != image[1::2]).any((1, 2, 3)).all()
  assert (view.masked_BN[::2] != view.masked_BN[1::2]).any()


def test_four_devices_compare_with_the_whole_batch():
  batch = make_batch()
  mesh = sharding.make_mesh(4, 1)
  several = run(sharding.to_devices(mesh, ROWS, batch))
  alone = run(batch)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5),
    several[:3],
    alone[:3],
  )
  jax.tree.map(np.testing.assert_array_equal, several[3], alone[3])


def test_the_chance_level_is_the_loss_of_equal_vectors():
  batch = make_batch()
  together, compared = products.compared(batch)
  nll, _ = products.together_nll(
    jnp.ones((ROWS, D)) / math.sqrt(D), together, compared, temperature=0.1
  )
  found, rows = products.chance_level(batch)
  assert float(found) == pytest.approx(float(nll), rel=1e-5)
  # Seven others, but for rows 2 and 6, whose title is one.
  assert float(found) == pytest.approx(5 * math.log(7) + 2 * math.log(6))
  assert rows == 7


def make_config(**weights):
  config = Config(task="products")
  config.data.path = "DATA"
  for name in ("itm", "mlm", "mim", "gmlm", "gmim"):
    setattr(config.loss, name, weights.get(name, 0.0))
  config.loss.align = weights.get("align", 0.0)
  return config


def test_the_five_run_beside_it_only_where_they_weigh():
  alone = tasks.make_task(make_config(), tiny.Vocabulary())
  assert alone.objective.weights == {"products": 1.0}
  assert alone.train_flops == 3 * alone.embed_flops
  params = jax.eval_shape(lambda: tasks.initial_params(alone, 0))
  core = jax.eval_shape(alone.core, jax.random.key(0))
  assert params.keys() == core.keys()
  task = tasks.make_task(make_config(mlm=0.5, align=1.0), tiny.Vocabulary())
  weights = {name: x for name, x in task.objective.weights.items() if x}
  assert weights == {"products": 1.0, "mlm": 0.5, "align": 1.0}


def test_what_cannot_work_is_refused():
  config = make_config()
  config.optim.accumulate = 2
  with pytest.raises(UserError, match=r"accumulate=2: task='products'"):
    tasks.make_task(config, tiny.Vocabulary())
  config = make_config()
  config.model.name = "clip"
  with pytest.raises(UserError, match=r"'products' trains .*'item'"):
    validate(config, devices=1)
  config = make_config(align=1.0)
  config.task, config.model.name = "contrastive", "clip"
  with pytest.raises(UserError, match="'item' or 'products', not"):
    validate(config, devices=1)


@pytest.mark.parametrize(
  "fields",
  [
    {"temperature": 0.001},
    {"hard": 1.5},
    {"singles": -0.1},
    {"crop": 0.0},
    {"token_drop": 1.0},
    {"patch_drop": 1.0},
  ],
)
def test_impossible_options_are_named(fields):
  config = make_config()
  ((name, value),) = fields.items()
  setattr(config.products, name, value)
  with pytest.raises(UserError, match=rf"products\.{name}={value}"):
    validate(config, devices=1)


@pytest.mark.slow
def test_products_never_trained_on_are_found(tmp_path):
  """Half a minute: 400 invented products, a hundred steps."""
  synthesize(tmp_path / "c", products=400, seed=2, image_size=48, workers=1)
  prepare(
    tmp_path / "c" / "products.csv",
    images=tmp_path / "c",
    out=tmp_path / "data",
    tokenizer=None,
    vocab_size=400,
    max_rejected=0.0,
    overwrite=False,
    workers=1,
  )
  config = tiny_run.get_config("products")
  config.data.path = str(tmp_path / "data")
  config.steps, config.eval_every, config.batch_size = 100, 100, 32
  config.optim.lr, config.optim.warmup = 3e-3, 5
  config.model.norm, config.model.init_std = "pre", 0.05
  config.model.dropout = 0.0
  setup = set_up(config, None)
  evaluate = RetrievalEvaluator(setup)
  params = tasks.initial_params(setup.task, config.seed)
  before = evaluate(params, setup, lambda: False)
  after = train(config, tmp_path / "run").metrics
  for name in ("both/map@10", "title/map@10"):
    assert after[name] > 1.5 * before[name], name
