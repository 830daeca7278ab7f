"""Laws of ResNet: what it computes, and whom a row may hear of."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from item_jax.config import Config
from item_jax.errors import UserError
from item_jax.models.resnet import ResNet, make_network
from item_jax.training import sharding

STAGES, WIDTH = (1, 2), 8
REAL = np.array([True, False, True, True, False, True, True, True])


def make_batch(real=REAL, seed=0):
  return tiny.make_batch(seed=seed)._replace(has_image_B=real)


def shaken(variables, seed=0):
  """Every array apart from its tidy start, variances above zero."""
  rng = np.random.default_rng(seed)

  def shake(path, x):
    noise = rng.uniform(0.5, 1.5, x.shape).astype(np.float32)
    return noise if path[-1].key in ("scale", "var") else x + 0.1 * (noise - 1)

  return jax.tree_util.tree_map_with_path(shake, variables)


def start(norm):
  model = ResNet(STAGES, WIDTH, norm=norm)
  run = jax.jit(functools.partial(model.init, train=False))
  return model, shaken(run(jax.random.key(0), make_batch()))


@pytest.fixture(scope="module")
def batch_net():
  return start("batch")


@pytest.fixture(scope="module")
def group_net():
  return start("group")


@pytest.fixture(scope="module", params=["batch", "group"])
def net(request):
  return request.getfixturevalue(f"{request.param}_net")


@functools.partial(jax.jit, static_argnums=0)
def pool(model, variables, batch):
  return model.apply(variables, batch, train=False)


@functools.partial(jax.jit, static_argnums=0)
def train(model, variables, batch):
  """(pool, running statistics, slope of a loss of the real rows)."""

  def loss(params):
    out_BD, changed = model.apply(
      {**variables, "params": params},
      batch,
      train=True,
      mutable=["batch_stats"],
    )
    return jnp.sin(3 * out_BD).sum(), (out_BD, changed)

  slope, (out_BD, changed) = jax.grad(loss, has_aux=True)(variables["params"])
  return out_BD, changed, slope


def close(a, b, share=1e-4):
  """Every array within that share of its largest value."""
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(x, y, atol=share * np.abs(y).max(), rtol=0)


def windows(x, size, stride, fill):
  """[B,H',W',C,size,size] of x [B,H,W,C], half a window of fill around."""
  half = size // 2
  x = np.pad(
    x, ((0, 0), (half,) * 2, (half,) * 2, (0, 0)), constant_values=fill
  )
  cut = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
  return cut[:, ::stride, ::stride]


def convolve(x, weights, stride=1):
  cut = windows(x, weights.shape[0], stride, 0.0)
  return np.einsum("bhwcij,ijco->bhwo", cut, np.asarray(weights, np.float64))


def by_hand(variables, image, *, train=False):
  """The definition of ResNet v1.5 in float64 numpy, and each norm's input.

  With batch norm: by the running statistics, or by those of these photos.
  """
  params, stats = variables["params"], variables["batch_stats"]
  inputs = {}

  def norm(x, *place):
    p, s = params, stats
    for name in place:
      p, s = p[name], s[name]
    inputs["/".join(place)] = x
    mean, var = s["mean"], s["var"]
    if train:
      mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    scale = np.asarray(p["scale"], np.float64)
    return (x - mean) / np.sqrt(var + 1e-5) * scale + p["bias"]

  x = image.astype(np.float64) / 127.5 - 1
  x = convolve(x, params["stem"]["kernel"], stride=2)
  x = np.maximum(norm(x, "stem_norm"), 0)
  x = windows(x, 3, 2, -np.inf).max((-1, -2))
  for i, blocks in enumerate(STAGES):
    for j in range(blocks):
      at = f"stage_{i}_block_{j}"
      p = params[at]
      stride = 2 if i and not j else 1
      h = np.maximum(norm(convolve(x, p["conv1"]["kernel"]), at, "norm1"), 0)
      h = convolve(h, p["conv2"]["kernel"], stride)
      h = np.maximum(norm(h, at, "norm2"), 0)
      h = norm(convolve(h, p["conv3"]["kernel"]), at, "norm3")
      if not j:
        x = convolve(x, p["shortcut"]["kernel"], stride)
        x = norm(x, at, "shortcut_norm")
      x = np.maximum(x + h, 0)
  return x.mean((1, 2)), inputs


def test_it_computes_what_the_definition_says(batch_net):
  model, variables = batch_net
  batch = make_batch()
  got = pool(model, variables, batch)
  assert got.shape == (8, WIDTH * 4 * 2)
  assert got.dtype == jnp.float32
  want, _ = by_hand(variables, batch.image_BHWC)
  close(np.asarray(got), want * REAL[:, None])


def test_training_normalises_by_the_rows_with_an_image(batch_net):
  """And moves the running statistics as PyTorch does.

  By a tenth, to this batch's mean and its unbiased variance.
  """
  model, variables = batch_net
  batch = make_batch()
  out, changed, _ = train(model, variables, batch)
  want, inputs = by_hand(variables, batch.image_BHWC[REAL], train=True)
  close(np.asarray(out)[REAL], want, share=1e-3)
  assert len(inputs) == 1 + 3 * 3 + 2
  for place, x in inputs.items():
    old, new = variables["batch_stats"], changed["batch_stats"]
    for name in place.split("/"):
      old, new = old[name], new[name]
    x = x.reshape(-1, x.shape[-1])
    np.testing.assert_allclose(
      new["mean"], 0.9 * old["mean"] + 0.1 * x.mean(0), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(
      new["var"], 0.9 * old["var"] + 0.1 * x.var(0, ddof=1), rtol=1e-3
    )


def test_rows_without_an_image_are_zero_and_not_read(net):
  model, variables = net
  batch = make_batch()
  first = out, _, _ = train(model, variables, batch)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(first))
  assert (np.asarray(out)[~REAL] == 0).all()
  assert (np.abs(np.asarray(out)[REAL]).max(-1) > 0).all()
  image = batch.image_BHWC.copy()
  image[~REAL] = make_batch(seed=1).image_BHWC[~REAL]
  again = train(model, variables, batch._replace(image_BHWC=image))
  close(again, first, share=0)


def test_no_image_at_all_changes_nothing(net):
  model, variables = net
  out, changed, slope = train(model, variables, make_batch(np.zeros(8, bool)))
  assert (np.asarray(out) == 0).all()
  assert all((np.asarray(x) == 0).all() for x in jax.tree.leaves(slope))
  if model.norm == "batch":
    close(changed["batch_stats"], variables["batch_stats"], share=0)


def test_four_devices_are_as_one(batch_net):
  """The statistics are the global batch's, not each device's."""
  model, variables = batch_net
  batch = make_batch()
  alone = train(model, variables, batch)
  mesh = sharding.make_mesh(4, 1)
  spread = jax.device_put(batch, sharding.over_batch(mesh))
  copied = jax.device_put(variables, sharding.replicated(mesh))
  close(train(model, copied, spread), alone)


def test_with_group_norm_a_row_hears_of_no_other(net):
  """With batch norm it does, which is what makes the law worth stating."""
  model, variables = net
  batch, other = make_batch(), make_batch(seed=1)
  image = np.concatenate([batch.image_BHWC[:1], other.image_BHWC[1:]])
  a = np.asarray(train(model, variables, batch)[0][0])
  b = np.asarray(
    train(model, variables, batch._replace(image_BHWC=image))[0][0]
  )
  if model.norm == "group":
    np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(a, pool(model, variables, batch)[0], atol=1e-5)
  else:
    assert np.abs(a - b).max() > 1e-2


def test_group_norm_by_hand():
  """Eight channels are eight groups: the mean and variance of a plane."""
  model = ResNet((), WIDTH, norm="group")
  batch = make_batch(np.ones(8, bool))
  variables = shaken(model.init(jax.random.key(0), batch, train=False))
  params = variables["params"]
  x = convolve(batch.image_BHWC / 127.5 - 1, params["stem"]["kernel"], 2)
  x = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(
    x.var((1, 2), keepdims=True) + 1e-5
  )
  x = np.maximum(
    x * params["stem_norm"]["scale"] + params["stem_norm"]["bias"], 0
  )
  want = windows(x, 3, 2, -np.inf).max((-1, -2)).mean((1, 2))
  got = model.apply(variables, batch, train=True)
  np.testing.assert_allclose(got, want, atol=1e-4)


def test_parameters_of_resnet50():
  """torchvision's 25,557,032 are these and the head's 2,049 x 1,000."""
  image = np.zeros((1, 224, 224, 3), np.uint8)
  batch = tiny.make_batch(1)._replace(image_BHWC=image)
  shapes = jax.eval_shape(
    lambda key: ResNet().init(key, batch, train=False), jax.random.key(0)
  )
  count = sum(x.size for x in jax.tree.leaves(shapes["params"]))
  assert count == 23_508_032 == 25_557_032 - 2_049 * 1_000
  assert ResNet().features == 2_048


def test_an_unknown_norm_is_refused():
  with pytest.raises(UserError, match="norm='layer': known are batch, group"):
    jax.eval_shape(
      lambda: ResNet((), 8, norm="layer").init(
        jax.random.key(0), make_batch(), train=False
      )
    )


def test_bfloat16_keeps_parameters_statistics_and_pool_in_float32(batch_net):
  model, variables = batch_net
  exact = np.asarray(pool(model, variables, make_batch()))
  model = model.clone(dtype=jnp.bfloat16)
  kinds = jax.eval_shape(
    functools.partial(train, model), variables, make_batch()
  )
  assert {x.dtype.name for x in jax.tree.leaves(kinds)} == {"float32"}
  near = np.asarray(pool(model, variables, make_batch()))
  assert 0 < np.abs(exact - near).max() < 0.1 * np.abs(exact).max()


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_weights_that_stay_keep_their_statistics(rate):
  config = Config()
  config.model.name, config.model.image_size = "resnet50", 16
  config.resnet.width, config.resnet.norm = 8, "batch"
  config.optim.start_rate = rate
  network = make_network(config, tiny.Vocabulary(), attention="xla")
  assert bool(network.whole_batch) == bool(rate)
  image_BHWC = np.zeros((4, 16, 16, 3), np.uint8)
  batch = tiny.make_batch(4)._replace(image_BHWC=image_BHWC)

  def changed(key):
    return network.features(network.init(key), batch, train=True)[1]

  assert bool(jax.eval_shape(changed, jax.random.key(0))) == bool(rate)
