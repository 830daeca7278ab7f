"""Laws of cutting photos into patches."""

import numpy as np
import pytest

from item_jax.models import patches


@pytest.mark.parametrize(("size", "patch"), [(12, 3), (8, 8), (224, 16)])
def test_there_and_back(size, patch):
  image = np.random.default_rng(0).normal(size=(2, size, size, 3))
  cut = patches.to_patches(image, patch)
  assert cut.shape == (2, (size // patch) ** 2, patch * patch * 3)
  np.testing.assert_array_equal(patches.from_patches(cut, patch), image)


def test_patches_go_row_by_row():
  # A 4 x 4 photo of its own coordinates, 10 * row + column.
  image = (10 * np.arange(4)[:, None] + np.arange(4))[None, :, :, None]
  cut = patches.to_patches(np.repeat(image, 3, axis=-1), 2)
  assert cut[0, :, 0].tolist() == [0, 2, 20, 22]
  assert cut[0, 1, ::3].tolist() == [2, 3, 12, 13]


def test_grey_levels_become_minus_one_to_one():
  image = np.array([[[[0, 127, 255]]]], np.uint8)
  out = np.asarray(patches.normalise(image)).ravel()
  np.testing.assert_allclose(out, [-1, 127 / 127.5 - 1, 1], rtol=1e-6)
