"""Laws of masked tokens as the only objective."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from item_jax.config import Mask
from item_jax.objectives import mlm

V, D = tiny.WORDS, 6


@pytest.fixture(scope="module")
def look():
  def encode(params, batch, key):
    return params["table"][batch.tokens_BT]

  def predict(params, states_BTD, positions_BK):
    at_BKD = jnp.take_along_axis(states_BTD, positions_BK[..., None], axis=1)
    return at_BKD @ params["table"].T + params["bias"]

  mask = Mask(title_rate=0.5, mask_fraction=1.0, random_fraction=0.0)
  objective = mlm.make_loss(encode, predict, mask, tiny.Vocabulary())

  @jax.jit
  def look(params, batch, step=0):
    """(view, counts, totals) of one batch."""
    view = objective.corrupt(jax.random.key(0), step, batch)
    totals, batch_stats = objective.totals(params, view, jax.random.key(1))
    assert batch_stats == {}
    return view, objective.counts(view), totals

  return look


def flat():
  table = np.zeros((V, D), np.float32)
  return {"table": table, "bias": np.zeros(V, np.float32)}


def test_ignorance_costs_the_log_of_the_vocabulary(look):
  view, counts, totals = look(flat(), tiny.make_batch(8))
  assert set(counts) == set(totals) == {"mlm", "mlm_accuracy"}
  assert counts["mlm"] == np.asarray(view.masked_tokens.valid_BK).sum() > 8
  assert float(totals["mlm"]) / float(counts["mlm"]) == pytest.approx(
    np.log(V), rel=1e-5
  )


def test_what_is_known_is_found_out(look):
  batch = tiny.make_batch(8)
  batch = batch._replace(
    tokens_BT=np.where(batch.tokens_BT > tiny.MASK, 9, batch.tokens_BT)
  )
  params = flat()
  params["bias"][9] = 50
  _, counts, totals = look(params, batch)
  assert float(totals["mlm"]) == pytest.approx(0, abs=1e-5)
  assert totals["mlm_accuracy"] == counts["mlm"]


def test_of_a_missing_title_nothing_is_predicted(look):
  batch = tiny.make_batch(8)
  batch.has_title_B[:3] = False
  view, counts, totals = look(flat(), batch)
  valid_BK = np.asarray(view.masked_tokens.valid_BK)
  assert not valid_BK[:3].any()
  assert valid_BK[3:].any(-1).all()
  assert counts["mlm"] == valid_BK.sum()
  batch.has_title_B[:] = False
  _, counts, totals = look(flat(), batch)
  assert counts["mlm"] == totals["mlm"] == 0


def test_the_encoder_sees_the_masked_title(look):
  batch = tiny.make_batch(8)
  view, _, _ = look(flat(), batch)
  seen = np.asarray(view.batch.tokens_BT)
  for row in range(8):
    places = view.masked_tokens.positions_BK[row][
      view.masked_tokens.valid_BK[row]
    ]
    assert (seen[row, places] == tiny.MASK).all()
    assert (
      view.masked_tokens.targets_BK[row][view.masked_tokens.valid_BK[row]] > 4
    ).all()
  other, _, _ = look(flat(), batch, step=1)
  assert (np.asarray(other.batch.tokens_BT) != seen).any()
