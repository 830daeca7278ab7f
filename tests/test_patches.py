"""Laws of cutting photos into patches."""

import numpy as np
import pytest

from item_jax.errors import UserError
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


def test_grey_levels_by_mean_and_deviation():
  image = np.array([[[[255, 51, 0]]]], np.uint8)  # shares 1, 0.2, 0
  for pixels, mean, std in (
    ("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    (
      "clip",
      (0.48145466, 0.4578275, 0.40821073),
      (0.26862954, 0.26130258, 0.27577711),
    ),
  ):
    want = [(1 - mean[0]) / std[0], (0.2 - mean[1]) / std[1], -mean[2] / std[2]]
    out = np.asarray(patches.normalise(image, pixels)).ravel()
    np.testing.assert_allclose(out, want, rtol=1e-6)


def test_unknown_pixels_are_refused():
  with pytest.raises(UserError, match="pixels='inception': known are half"):
    patches.normalise(np.zeros((1, 1, 1, 3), np.uint8), "inception")
