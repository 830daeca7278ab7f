"""The counted work against the program's own matrix products."""

import math

import jax
import numpy as np
import pytest
import tiny

from item_jax.models import cost
from item_jax.objectives import masking


def dot_flops(jaxpr) -> int:
  """2 M N K of every matrix product in a program, those inside calls too."""
  total = 0
  for eqn in jaxpr.eqns:
    if eqn.primitive.name == "dot_general":
      contract, _ = eqn.params["dimension_numbers"]
      left = eqn.invars[0].aval.shape
      summed = math.prod(left[i] for i in contract[0])
      total += 2 * summed * math.prod(eqn.outvars[0].aval.shape)
    for value in eqn.params.values():
      for inner in value if isinstance(value, (tuple, list)) else [value]:
        inner = getattr(inner, "jaxpr", inner)
        if hasattr(inner, "eqns"):
          total += dot_flops(inner)
  return total


def test_counted_flops_are_those_of_the_program():
  model = tiny.make_model(layers=3)
  objective = tiny.make_objective(model, title_rate=0.15, patch_rate=0.5)
  params = tiny.init(model)
  rows = 4
  view = objective.corrupt(jax.random.key(0), 0, tiny.make_batch(rows))

  def loss(params):
    totals = objective.totals(params, view, jax.random.key(0))
    return sum(totals[name] for name in objective.weights)

  found = dot_flops(jax.make_jaxpr(jax.grad(loss))(params).jaxpr) / rows
  counted = cost.train_flops_per_sample(
    layers=3,
    width=tiny.WIDTH,
    mlp=40,
    num_patches=tiny.N,
    patch_pixels=27,
    title_places=tiny.PLACES,
    word_slots=masking.word_slots(tiny.PLACES, 0.15),
    patch_slots=masking.patch_slots(tiny.N, 0.5),
    words=tiny.WORDS,
  )
  # Counted by convention, though not computed: the gradient of the pixels.
  unneeded = 2 * tiny.N * 27 * tiny.WIDTH
  assert found == pytest.approx(counted - unneeded, rel=0.01)


def test_the_encoder_by_hand():
  """12 (24 S d^2 + 4 S^2 d) and the patches, for BERT-base and 256 places."""
  flops = cost.embed_flops_per_sample(
    layers=12,
    width=768,
    mlp=3072,
    num_patches=196,
    patch_pixels=768,
    title_places=59,
  )
  encoder = 12 * (24 * 256 * 768**2 + 4 * 256**2 * 768)
  assert flops == pytest.approx(encoder + 2 * 196 * 768**2, rel=1e-3)


def test_peaks():
  assert cost.peak_flops("NVIDIA H200") == 989e12
  assert cost.peak_flops("Tesla V100-SXM2-16GB") == 125e12
  assert cost.peak_flops("TPU v5 lite") == 197e12
  assert cost.peak_flops("TPU v5p") == 459e12
  assert cost.peak_flops("cpu") is None


def test_words_of_a_title_that_are_hidden():
  assert masking.word_slots(59, 0.15) == 9
  assert masking.word_slots(3, 0.15) == 1
  assert masking.patch_slots(196, 0.15) == 29
  assert np.isclose(masking.patch_slots(196, 0.75), 147)
