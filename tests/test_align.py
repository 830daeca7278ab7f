"""Laws of the alignment loss, which draws views of a listing together."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_run

from item_jax import tasks
from item_jax.config import Align, Config, flatten, from_flat
from item_jax.config_check import validate
from item_jax.data.records import open_dataset
from item_jax.data.tokenizer import load_tokenizer
from item_jax.errors import UserError
from item_jax.objectives import align, contrastive
from item_jax.training import sharding

D = 5
CALLS = []  # the modalities that were embedded


def embed(params, batch, *, modality, key):
  """A linear look at what is there; `modality` leaves the other out."""
  CALLS.append(modality)
  rows = batch.image_BHWC.reshape(len(batch.image_BHWC), -1)
  photo_BD = rows.astype(jnp.float32) / 255 @ params["pixels"]
  title_BD = params["words"][batch.tokens_BT].sum(1)
  seen_photo_B = batch.has_image_B & (modality != "title")
  seen_title_B = batch.has_title_B & (modality != "image")
  return jnp.where(seen_photo_B[:, None], photo_BD, 0) + jnp.where(
    seen_title_B[:, None], title_BD, 0
  )


def make(views="both", **changes):
  options = Align(views=views, **changes)
  return align.make_loss(embed, options, tiny.Vocabulary(), weight=0.5)


def make_params(projection=0):
  rng = np.random.default_rng(0)
  return {
    "pixels": jnp.asarray(
      rng.normal(size=(tiny.IMAGE**2 * 3, D)).astype(np.float32)
    ),
    "words": jnp.asarray(rng.normal(size=(tiny.WORDS, D)).astype(np.float32)),
  } | align.init_params(
    jax.random.key(0),
    Align(temperature=0.5, projection=projection),
    dims=D,
    std=0.5,
  )


@functools.cache
def program(**changes):
  """Compiled once for each choice of options."""
  objective = make(**changes)

  @jax.jit
  def run(params, batch):
    view = objective.corrupt(jax.random.key(0), 3, batch)
    counts = objective.counts(view)

    def loss(params):
      totals, batch_stats = objective.totals(params, view, jax.random.key(1))
      assert batch_stats == {}
      means = {n: totals[n] / jnp.maximum(counts[n], 1) for n in totals}
      return means["align"], means

    slopes, means = jax.grad(loss, has_aux=True)(params)
    return means, counts, slopes, view

  return run


def run(params, batch, **changes):
  """(means, counts, gradients, view) of one batch."""
  return jax.device_get(program(**changes)(params, batch))


def plain(a_BD, b_BD, scale, apart_BB):
  """Both directions' mean over rows, by loops."""
  a_BD = a_BD / np.linalg.norm(a_BD, axis=1, keepdims=True)
  b_BD = b_BD / np.linalg.norm(b_BD, axis=1, keepdims=True)
  logits = scale * a_BD @ b_BD.T
  total = 0.0
  for one in (logits, logits.T):
    for i in range(len(one)):
      rivals = [one[i, j] for j in range(len(one)) if i == j or apart_BB[i, j]]
      total += math.log(sum(map(math.exp, rivals))) - one[i, i]
  return total / 2 / len(logits)


def vectors_of(params, batch):
  return {
    modality: np.asarray(embed(params, batch, modality=modality, key=None))
    for modality in ("image", "title", "both")
  }


@pytest.fixture(scope="module")
def cross_modal():
  return run(make_params(), tiny.make_batch(), views="cross_modal")


@pytest.fixture(scope="module")
def both():
  return run(make_params(), tiny.make_batch())


def test_cross_modal_views_by_loops(cross_modal):
  means, counts, *_ = cross_modal
  params, batch = make_params(), tiny.make_batch()
  seen = vectors_of(params, batch)
  apart = ~np.eye(8, dtype=bool)
  expected = plain(seen["image"], seen["title"], 2.0, apart)
  assert float(means["align"]) == pytest.approx(expected, rel=1e-4)
  assert float(means["align_sides"]) == pytest.approx(expected, rel=1e-4)
  assert counts["align"] == counts["align_accuracy"] == 8
  assert set(means) == set(counts) == {"align", "align_accuracy", "align_sides"}


def test_the_fused_view_joins_and_duplicates_stay_apart():
  params, batch = make_params(), tiny.make_batch()
  batch.product_B[2] = batch.product_B[6]
  apart = ~np.eye(8, dtype=bool)
  apart[2, 6] = apart[6, 2] = False
  means, *_ = run(params, batch, views="cross_modal", fused=True)
  seen = vectors_of(params, batch)
  expected = np.mean(
    [
      plain(seen[a], seen[b], 2.0, apart)
      for a, b in itertools.combinations(seen, 2)
    ]
  )
  assert float(means["align"]) == pytest.approx(expected, rel=1e-4)


def test_the_kinds_count_the_same_whatever_their_rows():
  batch = tiny.make_batch()
  batch.has_image_B[:3] = False
  batch.has_title_B[3] = False
  batch.has_image_B[7] = batch.has_title_B[7] = False
  means, counts, *_ = run(make_params(), batch)
  assert counts["align_sides"] == 3
  assert counts["align_twins"] == counts["align"] == 7
  mean = (means["align_sides"] + means["align_twins"]) / 2
  assert float(means["align"]) == pytest.approx(float(mean), rel=1e-5)


def test_both_modalities_and_the_temperature_learn(cross_modal, both):
  for _, _, slopes, _ in (cross_modal, both):
    for name in ("pixels", "words", "align_scale"):
      assert np.isfinite(slopes[name]).all()
      assert (slopes[name] != 0).any(), name


def test_augmented_views_differ_from_the_listing_and_from_each_other(both):
  *_, view = both
  batch = tiny.make_batch()
  one, other = view.augmented
  for look in (one, other):
    assert look.image_BHWC.dtype == np.uint8
    differ = (look.image_BHWC != batch.image_BHWC).mean((1, 2, 3))
    assert (differ > 0.5).all()
    lost = (look.tokens_BT != tiny.PAD).sum(-1) - (
      batch.tokens_BT != tiny.PAD
    ).sum(-1)
    words = (batch.tokens_BT != tiny.PAD).sum(-1) - 1
    np.testing.assert_array_equal(-lost, np.round(words * 0.4))
    whole = look.has_image_B & look.has_title_B
    assert whole.sum() == 6  # a quarter of eight lost a side
    np.testing.assert_array_equal(look.product_B, batch.product_B)
  assert (one.image_BHWC != other.image_BHWC).any((1, 2, 3)).all()
  np.testing.assert_array_equal(view.batch.image_BHWC, batch.image_BHWC)
  np.testing.assert_array_equal(view.batch.tokens_BT, batch.tokens_BT)


def test_one_augmented_view_may_stay_as_it_is(both):
  objective = make(views="augmented", changed=1)
  batch = tiny.make_batch()
  view = jax.jit(objective.corrupt)(jax.random.key(0), 3, batch)
  jax.tree.map(np.testing.assert_array_equal, view.augmented[1], batch)
  jax.tree.map(
    np.testing.assert_array_equal, view.augmented[0], both[-1].augmented[0]
  )


def test_unchanged_augmented_views_are_one_vector():
  means, *_ = run(
    make_params(),
    tiny.make_batch(),
    views="augmented",
    crop=1.0,
    light=0.0,
    token_drop=0.0,
    modality_drop=0.0,
  )
  assert float(means["align_accuracy"]) == 1
  params, batch = make_params(), tiny.make_batch()
  g_BD = vectors_of(params, batch)["both"]
  expected = plain(g_BD, g_BD, 2.0, ~np.eye(8, dtype=bool))
  assert float(means["align"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
  ("options", "looks"),
  [
    ({"views": "cross_modal"}, ["image", "title"]),
    ({"views": "cross_modal", "fused": True}, ["image", "title", "both"]),
    ({"views": "augmented"}, ["both", "both"]),
    ({"views": "both"}, ["image", "title", "both", "both"]),
  ],
)
def test_no_view_is_embedded_that_the_loss_does_not_need(options, looks):
  objective = make(**options)
  CALLS.clear()
  jax.eval_shape(
    lambda params, batch: objective.totals(
      params,
      objective.corrupt(jax.random.key(0), 0, batch),
      jax.random.key(0),
    ),
    make_params(),
    tiny.make_batch(),
  )
  assert looks == CALLS


def test_finite_when_no_pair_is_complete():
  batch = tiny.make_batch()
  batch.has_image_B[:4] = False
  batch.has_title_B[4:] = False
  means, counts, slopes, _ = run(make_params(), batch)
  assert (counts["align_sides"], counts["align_twins"]) == (0, 8)
  assert means["align_sides"] == 0
  for x in jax.tree.leaves((means, slopes)):
    assert np.isfinite(x).all()


def test_four_devices_compare_with_the_whole_batch(both):
  mesh = sharding.make_mesh(4, 1)
  placed = sharding.to_devices(mesh, 8, tiny.make_batch())
  several = run(make_params(), placed)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5),
    several[:3],
    both[:3],
  )
  jax.tree.map(np.testing.assert_array_equal, several[3], both[3])


def test_a_head_between_the_embedding_and_the_loss():
  made = make_params(projection=7)
  assert made["align_head"]["first"]["kernel"].shape == (D, 7)
  assert made["align_head"]["second"]["kernel"].shape == (7, 7)
  means, _, slopes, _ = run(made, tiny.make_batch(), views="cross_modal")
  assert np.isfinite(float(means["align"]))
  for x in jax.tree.leaves(slopes["align_head"]):
    assert (x != 0).any()
  assert "align_head" not in make_params(projection=0)
  scale = contrastive.bounded_scale(made["align_scale"])
  assert float(scale) == pytest.approx(1 / 0.5)


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    ({"views": "pairs"}, ["'pairs'", "cross_modal, augmented, both"]),
    ({"views": "augmented", "fused": True}, ["align.fused", "augmented"]),
    ({"changed": 3}, ["align.changed=3"]),
    ({"crop": 0.0}, ["align.crop=0.0"]),
    ({"token_drop": 1.0}, ["align.token_drop=1.0"]),
    ({"modality_drop": 1.5}, ["align.modality_drop=1.5"]),
    ({"temperature": 0.001}, ["align.temperature=0.001", "0.01"]),
    ({"projection": -1}, ["align.projection=-1"]),
  ],
)
def test_impossible_options_are_named(fields, words):
  config = Config()
  config.data.path = "DATA"
  for name, value in fields.items():
    assert hasattr(config.align, name)
    setattr(config.align, name, value)
  with pytest.raises(UserError) as error:
    validate(config, devices=1)
  for word in words:
    assert word in str(error.value)


def test_microbatches_are_refused():
  config = Config()
  config.optim.accumulate = 2
  tasks.make_task(config, tiny.Vocabulary())
  config.loss.align = 0.5
  with pytest.raises(UserError, match=r"accumulate=2: loss\.align=0\.5"):
    tasks.make_task(config, tiny.Vocabulary())


@pytest.mark.parametrize(
  ("former", "present"), [("sides", "cross_modal"), ("twins", "augmented")]
)
def test_former_names_of_views_are_taken_with_a_warning(former, present):
  """In a config; of what a run has saved, without one."""
  config = Config()
  with pytest.warns(FutureWarning, match=f"{former} is now called {present}"):
    config.align.views = former
  assert config.align.views == present
  saved = flatten(config) | {"align.views": former}
  assert from_flat(saved) == config


def test_a_projection_is_of_cls_and_not_of_the_sides(tiny_data):
  config = tiny_run.get_config()
  config.loss.align = 1.0
  config.data.path, config.align.projection = str(tiny_data), 7
  config.model.sides = 8
  store = open_dataset(tiny_data)
  tokenizer = load_tokenizer(store.path / "tokenizer.json")
  task = tasks.make_task(config, tokenizer)
  params = jax.eval_shape(lambda: tasks.initial_params(task, 0))
  head = params["align_head"]
  widths = {leaf.shape[0] for leaf in jax.tree.leaves(head) if leaf.ndim == 2}
  assert config.model.width in widths
  batch = tasks.step_batch(config, config.batch_size)

  def loss(params, batch):
    view = task.objective.corrupt(jax.random.key(0), 0, batch)
    return task.objective.totals(params, view, jax.random.key(1))[0]["align"]

  assert jax.eval_shape(loss, params, batch).shape == ()
