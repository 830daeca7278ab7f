"""Laws of the five objectives together."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from item_jax import tasks
from item_jax.config import Align, Config
from item_jax.objectives import align, item
from item_jax.objectives.base import Context, combine
from item_jax.training.step import init_state, make_train_step, metric_names


@pytest.fixture(scope="module")
def net():
  model = tiny.make_model(layers=1)
  return model, tiny.init(model)


def look(objective, params, batch, step=0, seed=0):
  """({name: mean}, view) of one batch."""
  view = objective.corrupt(jax.random.key(seed), step, batch)
  counts = objective.counts(view)
  totals, batch_stats = jax.jit(objective.totals)(
    params, view, jax.random.key(1)
  )
  assert batch_stats == {}
  means = {n: float(totals[n] / jnp.maximum(counts[n], 1)) for n in totals}
  return means, view


def test_the_image_of_a_negative_pair_counts_for_matching_only(net):
  model, params = net
  objective = tiny.make_objective(model)
  batch = tiny.make_batch()
  before, view = look(objective, params, batch)
  foreign = np.flatnonzero(~np.asarray(view.is_match_B))
  assert len(foreign) == 4
  image = batch.image_BHWC.copy()
  image[foreign] = 255 - image[foreign]
  after, _ = look(objective, params, batch._replace(image_BHWC=image))
  assert after["itm"] != before["itm"]
  for name in ("mlm", "mim", "gmlm", "gmim"):
    assert after[name] == before[name], name


def test_negative_pairs_count_where_the_config_keeps_them(net):
  model, params = net
  objective = tiny.make_objective(model, keep_negatives=True)
  _, view = look(objective, params, tiny.make_batch())
  counts = objective.counts(view)
  assert int(counts["mim"]) == 8 * round(tiny.N * 0.3)
  dropped = tiny.make_objective(model).counts(
    view._replace(recover_B=view.is_match_B)
  )
  assert int(dropped["mim"]) == 4 * round(tiny.N * 0.3)


def test_a_masked_token_cannot_change_its_own_prediction(net):
  model, params = net
  objective = tiny.make_objective(model, mask_fraction=1.0, random_fraction=0.0)
  batch = tiny.make_batch()
  _, view = look(objective, params, batch)
  words = batch.tokens_BT.copy()
  row = np.flatnonzero(np.asarray(view.is_match_B))[0]
  place = int(view.masked_tokens.positions_BK[row, 0])
  assert view.masked_tokens.valid_BK[row, 0]
  words[row, place] = 5 if words[row, place] != 5 else 6
  _, other = look(objective, params, batch._replace(tokens_BT=words))
  assert (
    other.masked_tokens.targets_BK[row, 0]
    != view.masked_tokens.targets_BK[row, 0]
  )
  np.testing.assert_array_equal(other.batch.tokens_BT, view.batch.tokens_BT)


def test_all_losses_are_finite_when_no_pair_matches(net):
  model, params = net
  objective = tiny.make_objective(model, negative_rate=1.0)
  means, view = look(objective, params, tiny.make_batch())
  assert not np.asarray(view.is_match_B).any()
  assert np.isfinite(list(means.values())).all()
  for name in ("mlm", "mim", "gmlm", "gmim"):
    assert means[name] == 0
    assert float(objective.counts(view)[name]) == 0

  def total(params):
    totals, _ = objective.totals(params, view, jax.random.key(0))
    return sum(totals[name] for name in objective.weights)

  slopes = jax.jit(jax.grad(total))(params)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(slopes))


def test_a_missing_modality_is_neither_predicted_nor_matched(net):
  model, params = net
  objective = tiny.make_objective(model, negative_rate=0.0)
  batch = tiny.make_batch()._replace(
    has_image_B=np.array([False] * 3 + [True] * 5),
    has_title_B=np.array([True] * 6 + [False] * 2),
  )
  means, view = look(objective, params, batch)
  counts = objective.counts(view)
  assert int(counts["itm"]) == 3
  assert int(counts["mim"]) == 5 * round(tiny.N * 0.3)
  words = np.asarray(view.masked_tokens.valid_BK).sum(-1)
  assert (words[:6] > 0).all()
  assert (words[6:] == 0).all()
  assert np.isfinite(list(means.values())).all()


def make_align(model):
  def embed(params, batch, *, modality, key):
    return model.apply(
      {"params": params},
      batch,
      modality=modality,
      deterministic=False,
      rngs={"dropout": key},
      method="encode",
    )[:, 0]

  return align.make_loss(
    embed, Align(views="both"), tiny.Vocabulary(), weight=0.5
  )


def test_the_alignment_loss_changes_nothing_of_the_five():
  """Not what is masked or drawn, nor dropout: the five are the same."""
  model = tiny.make_model(layers=1, dropout=0.3)
  params = tiny.init(model) | {"align_scale": jnp.float32(2.0)}
  batch = tiny.make_batch()
  batch.has_image_B[6] = False
  alone, before = look(tiny.make_objective(model), params, batch, step=2)
  objective = combine([tiny.make_objective(model), make_align(model)])
  beside, (after, aligned) = look(objective, params, batch, step=2)
  assert objective.weights == dict.fromkeys(item.TERMS, 1.0) | {"align": 0.5}
  jax.tree.map(np.testing.assert_array_equal, before, after)
  assert {"align", "align_accuracy"} <= beside.keys() - alone.keys()
  for name, mean in alone.items():
    assert beside[name] == pytest.approx(mean, rel=1e-5), name
  # It sees the batch before anything was masked or drawn.
  np.testing.assert_array_equal(aligned.batch.tokens_BT, batch.tokens_BT)
  assert (np.asarray(after.batch.tokens_BT) != batch.tokens_BT).any()
  assert np.isfinite(beside["align"])
  assert beside["align"] > 0


def test_the_alignment_loss_without_weight_costs_nothing():
  """None of its work is done, and none of its parameters are there."""
  config = Config()
  assert config.loss.align == 0
  assert align.make_objective(Context(config, None, None)) is None
  task = tasks.make_task(config, tiny.Vocabulary())
  assert task.objective.weights.keys() == set(item.TERMS)
  shapes = jax.eval_shape(task.init, jax.random.key(0))
  assert not {name for name in shapes if name.startswith("align")}


def test_objectives_with_a_name_in_common_are_refused(net):
  model, _ = net
  twice = [tiny.make_objective(model)] * 2
  with pytest.raises(ValueError, match="two objectives have gmim, gmlm"):
    combine(twice)


def test_eight_pairs_are_learnt_by_heart():
  """Through the training step: ITM to 0, the global tasks below their floors.

  Title and photo are random, so what [CLS] recovers it has from the rest of
  the same pair.
  """
  model = tiny.make_model(norm="pre", init_std=0.1, width=48, mlp=96)
  objective = tiny.make_objective(model, title_rate=0.15)
  optimizer = optax.adam(optax.linear_schedule(3e-3, 0, 800))
  batch = tiny.make_batch()
  view = objective.corrupt(jax.random.key(0), 0, batch)
  state = init_state(tiny.init(model), optimizer, metric_names(objective, view))
  step = jax.jit(
    make_train_step(objective, optimizer, seed=0, accumulate=1, log_every=50)
  )
  for _ in range(800):
    state, report = step(state, batch)
  means = {name: float(v.compute()) for name, v in report.sums.items()}
  assert means["itm"] < 0.1
  assert means["itm_accuracy"] > 0.97
  # Floors by definition: words spread over 35, pixels by their variance.
  assert means["gmlm"] < 0.5 * np.log(35)
  pixels = batch.image_BHWC / 127.5 - 1
  assert means["gmim"] < 0.8 * pixels.var(axis=0).mean()
  assert set(item.TERMS) <= set(means)
