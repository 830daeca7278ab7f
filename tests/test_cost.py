"""The counted work against the program's own matrix products."""

import math

import jax
import jaxprs
import numpy as np
import pytest
import tiny

from item_jax import tasks
from item_jax.config import Config, Loss
from item_jax.models import cost
from item_jax.models.resnet import ResNet
from item_jax.models.roberta import Roberta
from item_jax.objectives import item, masking


def program_flops(jaxpr) -> int:
  """Of every matrix product and convolution, those inside calls too.

  2 M N K of a product; of a convolution 2 x places out x weights.
  """
  total = 0
  for eqn in jaxpr.eqns:
    out = math.prod(eqn.outvars[0].aval.shape)
    if eqn.primitive.name == "dot_general":
      contract, _ = eqn.params["dimension_numbers"]
      left = eqn.invars[0].aval.shape
      total += 2 * out * math.prod(left[i] for i in contract[0])
    if eqn.primitive.name == "conv_general_dilated":
      weights = eqn.invars[1].aval.shape
      channel = eqn.params["dimension_numbers"].rhs_spec[0]
      total += 2 * out * math.prod(weights) // weights[channel]
    total += sum(map(program_flops, jaxprs.called(eqn)))
  return total


@pytest.mark.parametrize(
  "trained",
  [("itm", "mlm", "mim", "gmlm", "gmim"), ("gmlm",), ("itm", "mim"), ()],
)
def test_counted_flops_are_those_of_the_program(trained):
  """What has no weight is measured, and has no backward pass."""
  model = tiny.make_model(layers=3)
  weights = {name: float(name in trained) for name in item.TERMS}
  objective = tiny.make_objective(
    model, title_rate=0.15, patch_rate=0.5, **weights
  )
  params = tiny.init(model)
  rows = 4
  view = objective.corrupt(jax.random.key(0), 0, tiny.make_batch(rows))

  def loss(params):
    totals, _ = objective.totals(params, view, jax.random.key(0))
    return sum(totals[name] for name in trained) + 0.0, totals

  gradient = jax.grad(loss, has_aux=True)
  found = program_flops(jax.make_jaxpr(gradient)(params).jaxpr) / rows
  heads = cost.item_head_flops(
    width=tiny.WIDTH,
    patch_pixels=27,
    masked_tokens=masking.max_masked_tokens(tiny.PLACES, 0.15),
    masked_patches=masking.num_masked_patches(tiny.N, 0.5),
    vocab_size=tiny.WORDS,
  )
  counted = item.train_flops(model.encoder_pass().flops, heads, Loss(**weights))
  # Counted by convention, though not computed: the gradient of the pixels.
  unneeded = 2 * tiny.N * 27 * tiny.WIDTH * bool(trained)
  assert found == pytest.approx(counted - unneeded, rel=0.01)


def test_the_encoder_by_hand():
  """12 (24 S d^2 + 4 S^2 d) and the patches: BERT-base, 256 positions."""
  task = tasks.make_task(Config(), tiny.Vocabulary())
  encoder = 12 * (24 * 256 * 768**2 + 4 * 256**2 * 768)
  patches_in = 2 * 196 * 768**2
  assert task.embed_flops == pytest.approx(encoder + patches_in, rel=1e-3)


def test_resnet_flops_are_those_of_the_program():
  """By the program's convolutions, odd sides and shortcuts among them."""
  model = ResNet(stages=(2, 1, 2), width=8)
  batch = tiny.make_batch(2)
  batch = batch._replace(image_BHWC=np.zeros((2, 37, 37, 3), np.uint8))

  def run(key):
    return model.init_with_output(key, batch, train=False)[0]

  found = program_flops(jax.make_jaxpr(run)(jax.random.key(0)).jaxpr) / 2
  assert found == cost.resnet_flops(stages=(2, 1, 2), width=8, image_size=37)


def test_resnet50_by_its_known_work_and_by_xla():
  flops = cost.resnet_flops(stages=(3, 4, 6, 3), width=64, image_size=224)
  # torchvision counts 4.089 G multiply-adds, 2048 x 1000 of them the head's.
  assert flops / 2 + 2048 * 1000 == pytest.approx(4.089e9, rel=1e-3)
  model = ResNet()
  image = np.zeros((1, 224, 224, 3), np.uint8)
  batch = tiny.make_batch(1)._replace(image_BHWC=image)
  key = jax.random.key(0)
  shapes = jax.eval_shape(lambda k: model.init(k, batch, train=False), key)
  run = jax.jit(lambda variables: model.apply(variables, batch, train=False))
  # XLA leaves the padding's products out and counts every addition.
  measured = run.lower(shapes).cost_analysis()["flops"]
  assert flops == pytest.approx(measured, rel=0.05)


def test_roberta_flops_are_those_of_the_program():
  fields = {
    "vocab_size": tiny.WORDS,
    "pad": tiny.PAD,
    "cls": tiny.CLS,
    "max_title_tokens": tiny.PLACES,
    "layers": 3,
  }
  model = tiny.build(Roberta, **fields)
  positions_BK = np.zeros((2, 3), np.int32)

  def run(key):
    return model.init_with_output(key, tiny.make_batch(2), positions_BK)[0]

  found = program_flops(jax.make_jaxpr(run)(jax.random.key(0)).jaxpr) / 2
  head = 3 * (2 * 24 * 24 + 2 * 24 * tiny.WORDS)
  assert cost.token_head_flops(3, width=24, vocab_size=tiny.WORDS) == head
  assert found == model.encoder_pass().flops + head


def test_clip_flops_are_those_of_the_program():
  model = tiny.build_clip(
    vocab_size=tiny.WORDS,
    pad=tiny.PAD,
    cls=tiny.CLS,
    sep=tiny.SEP,
    image_size=tiny.IMAGE,
    patch=tiny.PATCH,
    max_title_tokens=tiny.PLACES,
    projection=10,
    layers=3,
    text_layers=2,
    text_width=16,
    text_mlp=36,
  )

  def run(key):
    return model.init_with_output(key, tiny.make_batch(2))[0]

  found = program_flops(jax.make_jaxpr(run)(jax.random.key(0)).jaxpr) / 2
  towers = sum(one.flops for one in model.encoder_passes())
  assert found == towers + model.projection_flops


@pytest.mark.parametrize(
  ("kind", "bfloat16", "float32"),
  [
    ("NVIDIA H200", 989e12, None),
    ("Tesla V100-SXM2-16GB", 15.7e12, 15.7e12),
    ("NVIDIA H100 PCIe", 756e12, None),
    ("NVIDIA H100 NVL", 835e12, None),
    ("NVIDIA L40", 181e12, None),
    ("NVIDIA RTX A1000", None, None),  # no A100
    ("TPU v4", 275e12, None),
    # As jax calls them: v5e and, twice, v5p.
    ("TPU v5 lite", 197e12, None),
    ("TPU v5", 459e12, None),
    ("TPU v5p", 459e12, None),
    ("TPU v6 lite", 918e12, None),
    ("TPU7x", 1153e12, None),
    ("cpu", None, None),
  ],
)
def test_peaks(kind, bfloat16, float32):
  assert cost.peak_flops(kind, "bfloat16") == bfloat16
  assert cost.peak_flops(kind, "float32") == float32


def test_how_many_tokens_of_a_title_are_masked():
  assert masking.max_masked_tokens(59, 0.15) == 9
  assert masking.max_masked_tokens(3, 0.15) == 1
  assert masking.num_masked_patches(196, 0.15) == 29
  assert np.isclose(masking.num_masked_patches(196, 0.75), 147)
