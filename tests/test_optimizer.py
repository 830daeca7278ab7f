"""Laws of the optimizer: rates by parameter, and what stays as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from item_jax.config import Config, Optim
from item_jax.config_check import validate
from item_jax.errors import UserError
from item_jax.training.optimizer import (
  make_optimizer,
  rate_factors,
  run_optimizer,
)

LR = 0.1


def optim(**changes) -> Optim:
  made = Optim()
  for name, value in changes.items():
    setattr(made, name, value)
  return made


def names_of(params) -> dict:
  """{"encoder/layer_0/norm1/scale": leaf}."""
  return {
    "/".join(key.key for key in path): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
  }


@pytest.fixture(scope="module")
def params():
  return tiny.init(tiny.make_model())


def stem_and_kernel():
  return {
    "image_stem": {"conv": {"kernel": jnp.ones((2, 2))}},
    "project": {"kernel": jnp.ones((2, 2))},
    "word": jnp.ones((3, 2)),
  }


def plain():
  o = Optim()
  return make_optimizer(
    lambda _: LR, b1=o.b1, b2=o.b2, eps=o.eps, decay=o.decay, clip=o.clip
  )


def test_at_the_defaults_it_is_the_plain_one(params):
  """Also where parameters were taken: the tree of a saved state stays."""
  ours = run_optimizer(
    params, lambda _: LR, Optim(), taken=names_of(params), core=["word"]
  )
  states = [jax.jit(x.init)(params) for x in (ours, plain())]
  assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
  grads = jax.tree.map(jnp.cos, params)
  moved = [
    jax.jit(x.update)(grads, state, params)
    for x, state in zip((ours, plain()), states, strict=True)
  ]
  jax.tree.map(np.testing.assert_array_equal, *moved)


def test_rates_fall_from_the_last_layer_to_the_embeddings(params):
  """Two layers, halved from one to the next, all at a tenth."""
  taken = [n for n in names_of(params) if not n.startswith("project/")]
  core = ["word", "cls", "title_position", "segment", "encoder", "project"]
  rates = rate_factors(
    params,
    optim(start_rate=0.1, layer_decay=0.5),
    taken=taken,
    core=[*core, "patch_position", "embed_norm"],
  )
  found = names_of(rates)
  assert found["encoder/layer_1/mlp/up/kernel"] == pytest.approx(0.1)
  assert found["encoder/layer_0/attention/qkv/kernel"] == pytest.approx(0.05)
  for name in ("word", "cls", "title_position", "embed_norm/scale"):
    assert found[name] == pytest.approx(0.025)
  assert found["word_head/dense/kernel"] == pytest.approx(0.1)  # at the top
  assert found["project/kernel"] == 1.0  # made new
  assert len(set(found.values())) == 4


def test_each_tower_counts_its_own_layers():
  def tower(layers):
    encoder = {f"layer_{i}": {"bias": 0} for i in range(layers)}
    return {"word": 0, "encoder": encoder | {"norm": {"scale": 0}}}

  params = {"image": tower(1), "title": tower(12), "projection": {"kernel": 0}}
  found = names_of(
    rate_factors(
      params, optim(layer_decay=0.5), taken=names_of(params), core=params
    )
  )
  assert found["image/word"] == 0.5
  assert found["title/word"] == 0.5**12
  assert found["title/encoder/layer_10/bias"] == 0.5
  assert found["title/encoder/layer_11/bias"] == 1.0
  assert found["title/encoder/norm/scale"] == found["projection/kernel"] == 1.0


def steps(optimizer, params, count):
  """Parameters after each step, of gradients that are all one."""
  state, found = optimizer.init(params), []
  for _ in range(count):
    grads = jax.tree.map(jnp.ones_like, params)
    updates, state = optimizer.update(grads, state, params)
    params = optax.apply_updates(params, updates)
    found.append(params)
  return found, state


def test_what_was_taken_waits_and_then_moves_at_its_rate():
  """Adam's first steps are of length one: lr in all, whatever the gradient."""
  params = {"project": {"kernel": jnp.zeros(3)}, "word": jnp.zeros(3)}
  optimizer = run_optimizer(
    params,
    lambda _: LR,
    optim(start_rate=0.5, freeze_steps=2, decay=0.0),
    taken=["word"],
    core=["word", "project"],
  )
  found, _ = steps(optimizer, params, 4)
  for step, (new, taken) in enumerate([(1, 0), (2, 0), (3, 0.5), (4, 1)]):
    np.testing.assert_allclose(
      found[step]["project"]["kernel"], -LR * new, rtol=1e-5
    )
    np.testing.assert_allclose(found[step]["word"], -LR * taken, rtol=1e-5)


def test_a_frozen_stem_stays_and_keeps_no_moments():
  params = stem_and_kernel()
  for rate, arrays in ((0.0, 2), (0.5, 3)):
    optimizer = run_optimizer(params, lambda _: LR, optim(stem_rate=rate))
    (after,), state = steps(optimizer, params, 1)
    moments = [x for x in jax.tree.leaves(state) if x.ndim]
    assert len(moments) == 2 * arrays
    change = (
      after["image_stem"]["conv"]["kernel"]
      - params["image_stem"]["conv"]["kernel"]
    )
    np.testing.assert_allclose(
      # Kernels decay as well: by lr times 0.01.
      change,
      -rate * LR * 1.01,
      rtol=1e-5,
    )
    np.testing.assert_allclose(after["word"], 1 - LR, rtol=1e-5)


def test_what_stays_has_no_part_in_the_norm():
  """A frozen stem's gradient would shorten all others'."""
  params = stem_and_kernel()
  optimizer = run_optimizer(params, lambda _: LR, optim(eps=1.0, clip=1.0))
  grads = jax.tree.map(jnp.zeros_like, params)
  grads["image_stem"]["conv"]["kernel"] = jnp.full((2, 2), 1e6)
  grads["word"] = jnp.full((3, 2), 0.1)
  updates, _ = optimizer.update(grads, optimizer.init(params), params)
  np.testing.assert_allclose(updates["word"], -LR * 0.1 / 1.1, rtol=1e-5)


@pytest.mark.parametrize(
  ("options", "says"),
  [
    ({"start_rate": 0.1}, r"start_rate=0\.1 .*--config\.start_from=WEIGHTS"),
    ({"layer_decay": 0.8}, r"layer_decay=0\.8 .*layer_decay=1\.0"),
    ({"freeze_steps": 5}, "freeze_steps=5 .*freeze_steps=0"),
    ({"layer_decay": 0.0}, "layer_decay=0.0: expected at most 1 and above 0"),
  ],
)
def test_rates_of_what_is_taken_need_something_to_take(options, says):
  config = Config()
  config.data.path = "DATA"
  config.optim = optim(**options)
  with pytest.raises(UserError, match=says):
    validate(config, devices=1)


def test_a_freeze_that_never_ends_is_refused():
  config = Config()
  config.data.path, config.start_from = "DATA", "W"
  config.steps, config.optim = 10, optim(freeze_steps=10, warmup=2)
  with pytest.raises(UserError, match="freeze_steps=10 takes all of steps=10"):
    validate(config, devices=1)
