"""Laws of the encoder of titles: what its mean is of, what it never sees."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from item_jax.models.roberta import Roberta

WIDTH = 24


def make_model(**changes) -> Roberta:
  fields = {
    "vocab_size": tiny.WORDS,
    "pad": tiny.PAD,
    "cls": tiny.CLS,
    "max_title_tokens": tiny.PLACES,
    "width": WIDTH,
  }
  return tiny.build(Roberta, **(fields | changes))


@pytest.fixture(scope="module")
def params():
  places = jnp.zeros((1, 1), jnp.int32)
  run = jax.jit(make_model().init)
  return run(jax.random.key(0), tiny.make_batch(1), places)["params"]


@functools.partial(jax.jit, static_argnums=0)
def read(model, params, batch):
  """(states, embedding)."""
  return tuple(
    model.apply({"params": params}, batch, method=method)
    for method in ("encode", "embed")
  )


def test_pooling_is_the_mean_over_real_positions(params):
  lengths = [1, 2, 3, 4, 5, 6, 7, 7]
  batch = tiny.make_batch(lengths=lengths)
  states, pooled = read(make_model(), params, batch)
  assert pooled.dtype == jnp.float32
  for row, length in enumerate(lengths):
    real = 2 + length  # [CLS], the words, [SEP]
    np.testing.assert_allclose(
      pooled[row], np.asarray(states)[row, :real].mean(0), atol=1e-5
    )


def test_longer_padding_changes_nothing(params):
  batch = tiny.make_batch()
  more = jax.random.normal(jax.random.key(9), (5, WIDTH))
  longer = params | {"position": jnp.concatenate([params["position"], more])}
  padded = batch._replace(tokens_BT=np.pad(batch.tokens_BT, [(0, 0), (0, 5)]))
  np.testing.assert_allclose(
    read(make_model(), params, batch)[1],
    read(make_model(max_title_tokens=tiny.PLACES + 5), longer, padded)[1],
    atol=1e-5,
  )


def test_a_missing_title_is_not_looked_at(params):
  model, gone = make_model(), np.array([True, False] * 4)
  batch = tiny.make_batch()._replace(has_title_B=gone)
  words = np.where(
    gone[:, None], batch.tokens_BT, tiny.make_batch(seed=1).tokens_BT
  )
  states, pooled = read(model, params, batch)
  again = read(model, params, batch._replace(tokens_BT=words))[1]
  np.testing.assert_allclose(pooled, again, atol=1e-6)
  np.testing.assert_allclose(pooled[1::2], states[1::2, 0], atol=1e-6)

  def total(params):
    out = model.apply({"params": params}, batch, method="embed")
    return (out[1::2] * jnp.arange(WIDTH)).sum()

  slope = jax.jit(jax.grad(total))(params)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(slope))
  heard = np.flatnonzero(np.abs(slope["word"]).max(-1))
  assert heard.tolist() == [tiny.CLS]
  assert np.flatnonzero(np.abs(slope["position"]).max(-1)).tolist() == [0]


def test_logits_are_those_of_positions_within_the_title(params):
  model = make_model()
  states = read(model, params, tiny.make_batch())[0]
  places = jnp.array([[0, 3]] * 8)

  @jax.jit
  def run(params, states):
    def total(states):
      logits = model.apply({"params": params}, states, places, method="predict")
      return (jnp.sin(logits) ** 2).sum(), logits

    slope, logits = jax.grad(total, has_aux=True)(states)
    return slope, logits

  slope, logits = run(params, states)
  assert logits.shape == (8, 2, tiny.WORDS)
  assert logits.dtype == jnp.float32
  used = np.flatnonzero(np.abs(slope).max(-1)[0])
  assert used.tolist() == [1, 4]  # [CLS] is place 0 of the sequence
  # The decoder is the word table: raising one of its rows raises one logit.
  table = params["word"].at[7].multiply(2.0)
  _, moved = run(params | {"word": table}, states)
  bias = params["word_decoder"]["bias"]
  np.testing.assert_allclose(
    moved[..., 7] - bias[7], 2 * (logits[..., 7] - bias[7]), rtol=1e-4
  )


def test_dropout_is_there_in_training_alone(params):
  model = make_model(dropout=0.5)

  @jax.jit
  def run(seed):
    return model.apply(
      {"params": params},
      tiny.make_batch(),
      deterministic=False,
      rngs={"dropout": jax.random.key(seed)},
      method="embed",
    )

  assert (run(1) != run(2)).any()
  np.testing.assert_array_equal(
    read(model, params, tiny.make_batch())[1],
    read(make_model(), params, tiny.make_batch())[1],
  )


def test_parameters_of_roberta_base():
  """124,697,433 are those of RoBERTa-base with its masked-word head.

  Ours has two position rows fewer, whose places no title reaches, and no
  segment: three rows of 768.
  """
  model = make_model(
    vocab_size=50_265,
    max_title_tokens=511,
    layers=12,
    width=768,
    heads=12,
    mlp=3072,
  )
  batch = tiny.make_batch(1)._replace(tokens_BT=np.zeros((1, 511), np.int32))
  shapes = jax.eval_shape(
    model.init, jax.random.key(0), batch, np.zeros((1, 1), np.int32)
  )
  count = sum(x.size for x in jax.tree.leaves(shapes))
  assert count == 124_697_433 - 3 * 768
