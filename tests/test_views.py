"""Laws of the augmented views of images and titles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from item_jax.objectives import views

H, W = 12, 8


def photos(rows=4):
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (rows, H, W, 3), np.uint8)


cut = jax.jit(views.cut)
crop = jax.jit(views.crop, static_argnames="min_area")
light = jax.jit(views.light, static_argnames="most")
drop_tokens = jax.jit(
  functools.partial(views.drop_tokens, special_ids=tiny.SPECIAL, pad=tiny.PAD),
  static_argnames="rate",
)
drop_modalities = jax.jit(views.drop_modalities, static_argnames="rate")


def box(top, left, tall, wide, rows=4):
  return [np.full(rows, x, np.float32) for x in (top, left, tall, wide)]


def test_the_whole_part_is_the_image():
  out = cut(photos(), *box(0, 0, 1, 1))
  assert out.dtype == np.uint8
  np.testing.assert_array_equal(out, photos())


def test_a_quarter_is_enlarged_bilinearly():
  """A ramp of 10 grey levels a line keeps its slope, halved."""
  ramp = np.broadcast_to(
    10 * np.arange(H, dtype=np.uint8)[None, :, None, None], (4, H, W, 3)
  )
  out = np.asarray(cut(ramp, *box(0.5, 0.25, 0.5, 0.5)))
  # New line i lies at old line 6 + (i + 0.5) / 2 - 0.5; the last is held.
  lines = np.minimum(6 + (np.arange(H) + 0.5) / 2 - 0.5, H - 1)
  np.testing.assert_allclose(out[0, :, 0, 0], 10 * lines, atol=0.51)
  assert (out == out[:, :, :1]).all()


def test_rows_and_columns_are_not_mixed_up():
  image = photos()
  out = np.asarray(cut(image, *box(1 / 3, 0.5, 1 / 3, 0.5)))
  # Corners of the part, held at no edge of the photo but the right one.
  left = 0.75 * image[:, 4, 4] + 0.25 * image[:, 4, 3]
  above = 0.75 * image[:, 3, 4] + 0.25 * image[:, 3, 3]
  # Line 0 lies at 4 + 0.5 / 3 - 0.5 = 3 2/3; column 0 at 4 + 0.25 - 0.5.
  np.testing.assert_allclose(out[:, 0, 0], left * 2 / 3 + above / 3, atol=0.51)
  np.testing.assert_allclose(
    out[:, -1, -1],
    (2 * image[:, 7, 7].astype(float) + image[:, 8, 7]) / 3,
    atol=0.51,
  )


def test_outside_the_image_is_white():
  black = np.zeros((4, H, W, 3), np.uint8)
  out = np.asarray(cut(black, *box(-0.5, 0, 2, 1)))
  assert (out[:, : H // 4] == 255).all()
  assert (out[:, H // 4 : -H // 4] == 0).all()
  assert (out[:, -H // 4 :] == 255).all()


def test_crops_differ_by_row_and_keep_their_share():
  """Ramps both ways: a crop's spread tells how much of them it holds."""
  size = 64
  line = np.linspace(0, 252, size).astype(np.uint8)
  image = np.zeros((64, size, size, 3), np.uint8)
  image[..., 0] = line[:, None]
  image[..., 1] = line[None, :]
  image[..., 2] = 100  # white is where this is 255
  out = np.asarray(crop(jax.random.key(0), image, min_area=0.4)).astype(float)
  assert out.shape == image.shape
  inside = out[..., 2] == 100
  low = np.where(inside[..., None], out[..., :2], 300).min((1, 2))
  high = np.where(inside[..., None], out[..., :2], -1).max((1, 2))
  share = ((high - low + 4) / 256).prod(-1)  # of the photo that is seen
  assert share.min() > 0.4 - 0.05
  assert share.max() <= 1.01
  assert 0.5 < share.mean() < 0.8
  assert len(np.unique(low, axis=0)) > 50
  sides = (high - low + 4)[share < 0.7]  # those that lie within
  ratio = sides[:, 0] / sides[:, 1]
  assert 0.7 < ratio.min() < 0.85 < 1.2 < ratio.max() < 1.42


def test_no_augmentation_changes_nothing():
  key = jax.random.key(0)
  np.testing.assert_array_equal(crop(key, photos(), min_area=1.0), photos())
  np.testing.assert_array_equal(light(key, photos(), most=0.0), photos())


def test_features_of_a_stem_are_neither_cropped_nor_lit():
  grid_BHWC = np.random.default_rng(0).normal(size=(2, 7, 7, 5))
  grid_BHWC = jnp.asarray(grid_BHWC, jnp.float16)
  key = jax.random.key(0)
  assert views.crop(key, grid_BHWC, min_area=0.3) is grid_BHWC
  assert views.light(key, grid_BHWC, most=0.3) is grid_BHWC


def test_light_scales_contrast_about_the_mean_and_all_of_it():
  image = np.full((200, 2, 2, 3), 90, np.uint8)
  image[:, 0] = 110
  out = np.asarray(light(jax.random.key(0), image, most=0.2)).astype(float)
  mean = out.mean((1, 2, 3))
  brightness = mean / 100
  contrast = (out[:, 0, 0, 0] - out[:, 1, 0, 0]) / 20 / brightness
  for factor in (brightness, contrast):
    assert 0.76 < factor.min() < 0.85
    assert 1.15 < factor.max() < 1.24
  assert abs(np.corrcoef(brightness, contrast)[0, 1]) < 0.3
  assert (out == out[..., :1]).all()  # colours change alike
  bright = light(
    jax.random.key(0), np.full((9, 2, 2, 3), 250, np.uint8), most=0.2
  )
  assert np.asarray(bright).max() == 255  # cut off, not wrapped around


@pytest.mark.parametrize("rate", [0.0, 0.4, 0.9])
def test_tokens_are_dropped_in_the_exact_number_and_the_gap_is_closed(rate):
  lengths = [1, 2, 3, 4, 5, 6, 7, 7]
  rng = np.random.default_rng(0)
  tokens_BT = np.zeros((8, tiny.PLACES), np.int32)
  for row, length in enumerate(lengths):
    tokens_BT[row, :length] = rng.permutation(np.arange(5, 40))[:length]
    tokens_BT[row, length] = tiny.SEP
  dropped = set()
  for seed in range(10):
    out = np.asarray(drop_tokens(jax.random.key(seed), tokens_BT, rate=rate))
    assert out.dtype == np.int32
    for row, length in enumerate(lengths):
      left = length - min(round(length * rate), length - 1)
      before, after = tokens_BT[row].tolist(), out[row].tolist()
      assert after[left:] == [tiny.SEP] + [tiny.PAD] * (7 - left)
      at = [before.index(word) for word in after[:left]]
      assert at == sorted(at)  # distinct words, so the order is theirs
      assert max(at) < length
      dropped |= {(row, p) for p in range(length)} - {(row, p) for p in at}
  # Every place of a title that loses any is dropped now and then.
  losing = [n for n in lengths if min(round(n * rate), n - 1)]
  assert len(dropped) == sum(losing)


def test_special_tokens_stay_and_empty_titles_are_unchanged():
  tokens_BT = np.array(
    [
      [7, tiny.UNK, 8, tiny.SEP, 0],
      [tiny.UNK, tiny.SEP, 0, 0, 0],
      [tiny.SEP, 0, 0, 0, 0],
      [0, 0, 0, 0, 0],
    ],
    np.int32,
  )
  out = np.asarray(drop_tokens(jax.random.key(0), tokens_BT, rate=0.5))
  one, *rest = out.tolist()
  assert one in ([7, tiny.UNK, tiny.SEP, 0, 0], [tiny.UNK, 8, tiny.SEP, 0, 0])
  assert rest == tokens_BT[1:].tolist()


def test_modalities_are_dropped_from_complete_rows_never_both():
  rows = 40
  batch = tiny.make_batch(rows)
  batch.has_image_B[:4] = False
  batch.has_title_B[4:8] = False
  photo, title = np.zeros(rows), np.zeros(rows)
  for seed in range(50):
    out = drop_modalities(jax.random.key(seed), batch, rate=0.25)
    lost_photo = batch.has_image_B & ~np.asarray(out.has_image_B)
    lost_title = batch.has_title_B & ~np.asarray(out.has_title_B)
    assert not (lost_photo & lost_title).any()
    assert (lost_photo | lost_title).sum() == 8  # a quarter of 32
    assert not (lost_photo | lost_title)[:8].any()
    assert (np.asarray(out.has_image_B) | np.asarray(out.has_title_B)).all()
    photo += lost_photo
    title += lost_title
  # 400 in all: 200 each, standard deviation 10.
  assert abs(photo.sum() - title.sum()) < 80
  assert ((photo + title)[8:] > 0).all()
  none = drop_modalities(jax.random.key(0), batch, rate=0.0)
  np.testing.assert_array_equal(none.has_image_B, batch.has_image_B)
  np.testing.assert_array_equal(none.has_title_B, batch.has_title_B)


def test_looks_are_a_function_of_the_key():
  image = photos()
  first = crop(jax.random.key(1), image, min_area=0.5)
  np.testing.assert_array_equal(
    first, crop(jax.random.key(1), image, min_area=0.5)
  )
  other = crop(jax.random.key(2), image, min_area=0.5)
  assert (jnp.asarray(first) != other).any()
