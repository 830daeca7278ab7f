"""Colours and outlines of an image: what gradients say, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from item_jax.models import appearance, sides

CELLS, BINS = 8, 8


def ramp(angle: float) -> np.ndarray:
  """Pixels [1, 64, 64, 3] that grow in a direction, degrees from the right."""
  down, across = np.mgrid[:64, :64]
  turn = np.deg2rad(angle)
  grown = np.cos(turn) * across + np.sin(turn) * down
  return np.repeat(grown[None, ..., None] * 0.01, 3, axis=-1)


def inner(pixels) -> np.ndarray:
  """Histograms of the cells that have no border, [36, BINS]."""
  pixels = jnp.asarray(pixels, jnp.float32)
  found = np.asarray(appearance.gradient_histograms(pixels))
  return found[0, 1:-1, 1:-1].reshape(-1, BINS)


@pytest.mark.parametrize("turn", [0, 1, 3, 7, 8, 11])
def test_a_ramp_is_all_in_the_bin_of_its_direction(turn):
  """And 180 degrees further it has the same outline."""
  found = inner(ramp(turn * 180 / BINS))
  # 64 pixels a cell, a central difference of two steps of .01 each.
  expected = np.zeros(BINS)
  expected[turn % BINS] = np.sqrt(64 * 0.02)
  np.testing.assert_allclose(
    found, np.broadcast_to(expected, found.shape), atol=2e-2
  )


def test_a_direction_between_two_bins_counts_in_both():
  found = inner(ramp(0.25 * 180 / BINS)) ** 2
  np.testing.assert_allclose(found[:, 0], 0.75 * 64 * 0.02, rtol=1e-3)
  np.testing.assert_allclose(found[:, 1], 0.25 * 64 * 0.02, rtol=1e-3)


def drawn(colour, ground=(255, 255, 255)) -> np.ndarray:
  """A triangle, uint8 [1, 96, 96, 3]."""
  down, across = np.mgrid[:96, :96]
  inside = (down > 20) & (down < 80) & (np.abs(across - 48) < (down - 20) / 2)
  image = np.where(inside[..., None], colour, ground)
  return image[None].astype(np.uint8)


def halves(image_BHWC) -> tuple[np.ndarray, np.ndarray]:
  found = np.asarray(
    appearance.flat(appearance.by_place(jnp.asarray(image_BHWC), CELLS))
  )[0]
  assert len(found) == CELLS**2 * (3 + BINS)
  return found[: 3 * CELLS**2], found[3 * CELLS**2 :]


def test_another_colour_changes_colours_and_leaves_outlines():
  red, blue = halves(drawn((255, 0, 0))), halves(drawn((0, 0, 255)))
  np.testing.assert_allclose(red[1] @ blue[1], 1, atol=1e-5)
  assert red[0] @ blue[0] < 0.99


def test_another_shape_changes_outlines():
  one = halves(drawn((255, 0, 0)))[1]
  other = halves(drawn((255, 0, 0)).swapaxes(1, 2))[1]
  assert one @ other < 0.9


def test_parts_are_of_unit_length_and_a_plain_image_has_no_outline():
  colours, outlines = halves(drawn((9, 9, 9)))
  np.testing.assert_allclose(np.linalg.norm(colours), 1, rtol=1e-5)
  np.testing.assert_allclose(np.linalg.norm(outlines), 1, rtol=1e-5)
  colours, outlines = halves(np.full((1, 32, 32, 3), 200, np.uint8))
  assert not outlines.any()
  assert np.isfinite(colours).all()


@pytest.mark.parametrize("places", [4, 14])
def test_what_is_hidden_is_not_known_and_the_rest_is_as_it_was(places):
  """Of a product in the left half, with the right half's places hidden."""
  image_BHWC = drawn((255, 0, 0))
  image_BHWC[:, :, 48:] = drawn((0, 0, 255))[:, :, 48:]
  batch = tiny.make_batch(1)._replace(image_BHWC=jnp.asarray(image_BHWC))
  masked_BN = np.zeros((1, places, places), bool)
  masked_BN[:, :, places // 2 :] = True
  masked_BN = masked_BN.reshape(1, -1)

  def cells(known) -> np.ndarray:
    colours, outlines = np.split(np.asarray(known["appearance"]), [192], 1)
    parts = colours.reshape(8, 8, 3), outlines.reshape(8, 8, 8)
    return np.concatenate(parts, axis=-1)

  whole = cells(sides.image_features(None, None, batch, None))
  masked_BN = jnp.asarray(masked_BN)
  hidden = cells(sides.image_features(None, None, batch, masked_BN))
  assert whole[:, 4:].any()
  assert not hidden[:, 4:].any()
  for part in (slice(3), slice(3, None)):  # but for their length
    one, other = whole[:, :4, part].ravel(), hidden[:, :4, part].ravel()
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert cosine == pytest.approx(1, abs=1e-6)
