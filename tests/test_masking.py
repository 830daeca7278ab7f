"""Laws of masking tokens and patches and of drawing negative pairs."""

import jax
import numpy as np
import pytest
import tiny

from item_jax.config import Mask
from item_jax.objectives import masking
from item_jax.objectives.keys import key_for


def mask(tokens_BT, seed=0, *, vocabulary=None, **options):
  out = masking.mask_tokens(
    jax.random.key(seed),
    tokens_BT,
    Mask(**options),
    vocabulary or tiny.Vocabulary(),
  )
  return jax.tree.map(np.asarray, out)


@pytest.mark.parametrize("rate", [0.15, 0.5, 1.0])
def test_masks_the_exact_number_and_at_least_one(rate):
  lengths = [1, 2, 3, 4, 5, 6, 7, 7]
  batch = tiny.make_batch(8, lengths=lengths)
  out = mask(batch.tokens_BT, title_rate=rate)
  for row, length in enumerate(lengths):
    positions = out.positions_BK[row][out.valid_BK[row]]
    assert len(positions) == max(1, round(length * rate))
    assert len(set(positions)) == len(positions)
    assert (positions < length).all()  # neither [SEP] nor padding


def test_special_tokens_are_never_masked():
  tokens_BT = np.array([[7, tiny.UNK, tiny.MASK, tiny.CLS, 8, tiny.SEP, 0, 0]])
  for seed in range(20):
    out = mask(tokens_BT, seed, title_rate=1.0)
    assert sorted(out.positions_BK[0][out.valid_BK[0]]) == [0, 4]
    assert out.seen_BT[0, [1, 2, 3, 5, 6, 7]].tolist() == [1, 4, 2, 3, 0, 0]


def test_a_title_of_special_tokens_has_none_masked():
  tokens_BT = np.array([[tiny.UNK, tiny.SEP, 0, 0, 0, 0, 0, 0]])
  out = mask(tokens_BT)
  assert not out.valid_BK.any()
  np.testing.assert_array_equal(out.seen_BT, tokens_BT)


def test_targets_are_what_stood_there_and_all_else_is_untouched():
  batch = tiny.make_batch(8)
  out = mask(batch.tokens_BT, title_rate=0.5)
  rebuilt = out.seen_BT.copy()
  for row in range(8):
    positions = out.positions_BK[row][out.valid_BK[row]]
    rebuilt[row, positions] = out.targets_BK[row][out.valid_BK[row]]
  np.testing.assert_array_equal(rebuilt, batch.tokens_BT)


def test_eighty_ten_ten():
  rng = np.random.default_rng(0)
  tokens_BT = rng.integers(5, tiny.WORDS, (4_000, 8), np.int32)
  tokens_BT[:, -1] = tiny.SEP
  out = mask(tokens_BT, title_rate=0.5)
  shown = np.take_along_axis(out.seen_BT, out.positions_BK, 1)[out.valid_BK]
  target = out.targets_BK[out.valid_BK]
  n = len(target)  # 16,000: three standard errors are about 0.01
  assert abs((shown == tiny.MASK).mean() - 0.8) < 0.01
  # A token drawn at random is the same by chance in 1 of 35 cases.
  assert abs((shown == target).mean() - (0.1 + 0.1 / 35)) < 0.01
  other = shown[(shown != tiny.MASK) & (shown != target)]
  assert n * 0.08 < len(other) < n * 0.12
  assert set(other) == set(range(5, tiny.WORDS))  # no special token is drawn


def test_random_tokens_pass_over_scattered_special_ids():
  special = (0, 10, 11, 39)
  tokens_BT = np.full((2_000, 8), 20, np.int32)
  out = mask(
    tokens_BT,
    title_rate=0.5,
    vocabulary=tiny.Vocabulary(mask=10, special=special),
    mask_fraction=0.0,
    random_fraction=1.0,
  )
  shown = np.take_along_axis(out.seen_BT, out.positions_BK, 1)[out.valid_BK]
  assert set(shown) == set(range(40)) - set(special)


@pytest.mark.parametrize("rate", [0.15, 0.3, 0.5, 0.6, 0.75])
def test_patches_are_masked_in_the_exact_number(rate):
  has_image_B = np.array([True, False, True])
  out = masking.mask_patches(
    jax.random.key(0), has_image_B, num_patches=196, rate=rate
  )
  masked_BN = np.asarray(out.masked_BN)
  assert masked_BN.sum(-1).tolist() == [round(196 * rate), 0, round(196 * rate)]
  assert np.asarray(out.valid_BK).all(-1).tolist() == [True, False, True]
  for row in (0, 2):
    marked = np.flatnonzero(masked_BN[row])
    assert sorted(np.asarray(out.positions_BK)[row]) == marked.tolist()


def test_masks_are_a_function_of_seed_step_and_purpose():
  batch = tiny.make_batch(8)
  root = jax.random.key(3)

  def at(root, step, purpose):
    key = key_for(root, step, purpose)
    out = masking.mask_tokens(
      key,
      batch.tokens_BT,
      Mask(title_rate=0.5),
      tiny.Vocabulary(),
    )
    return np.asarray(out.seen_BT)

  first = at(root, 5, "mask/words")
  np.testing.assert_array_equal(first, at(root, 5, "mask/words"))
  assert (first != at(root, 6, "mask/words")).any()
  assert (first != at(root, 5, "mask/other")).any()
  assert (first != at(jax.random.key(4), 5, "mask/words")).any()


def test_a_single_patch_is_masked_in_its_share_of_the_images():
  out = masking.mask_patches(
    jax.random.key(0), np.arange(4_000) % 2 == 0, num_patches=1, rate=0.15
  )
  masked_BN = np.asarray(out.masked_BN)
  assert not masked_BN[1::2].any()
  assert masked_BN[::2].mean() == pytest.approx(0.15, abs=0.03)
  np.testing.assert_array_equal(out.valid_BK, masked_BN)


def test_half_of_the_pairs_get_a_title_of_another_product():
  batch = tiny.make_batch(8)
  for seed in range(10):
    swapped, is_match_B = masking.draw_negatives(
      jax.random.key(seed), batch, rate=0.5
    )
    is_match_B = np.asarray(is_match_B)
    assert is_match_B.sum() == 4
    same_B = (np.asarray(swapped.tokens_BT) == batch.tokens_BT).all(-1)
    np.testing.assert_array_equal(same_B, is_match_B)
    np.testing.assert_array_equal(swapped.image_BHWC, batch.image_BHWC)
    np.testing.assert_array_equal(swapped.product_B, batch.product_B)


def test_no_donor_of_the_same_product_or_with_the_same_title():
  batch = tiny.make_batch(6)
  batch = batch._replace(
    product_B=np.array([1, 1, 2, 3, 4, 5], np.uint32),
    title_B=np.array([1, 2, 3, 3, 3, 6], np.uint32),
  )
  for seed in range(50):
    swapped, is_match_B = masking.draw_negatives(
      jax.random.key(seed), batch, rate=1.0
    )
    words = np.asarray(swapped.tokens_BT)
    for row in np.flatnonzero(~np.asarray(is_match_B)):
      donor = np.flatnonzero((batch.tokens_BT == words[row]).all(-1))[0]
      assert batch.product_B[donor] != batch.product_B[row]
      assert batch.title_B[donor] != batch.title_B[row]


def test_donors_are_drawn_uniformly():
  batch = tiny.make_batch(4)
  times = np.zeros((4, 4))
  for seed in range(600):
    swapped, _ = masking.draw_negatives(jax.random.key(seed), batch, rate=1.0)
    for row in range(4):
      same = (batch.tokens_BT == np.asarray(swapped.tokens_BT)[row]).all(-1)
      times[row, np.flatnonzero(same)[0]] += 1
  assert (np.diag(times) == 0).all()
  off = times[~np.eye(4, dtype=bool)]  # 200 each, standard deviation 11.5
  assert off.min() > 150
  assert off.max() < 250


def test_where_there_is_no_donor_the_pair_stays_matched():
  batch = tiny.make_batch(4)._replace(product_B=np.ones(4, np.uint32))
  swapped, is_match_B = masking.draw_negatives(
    jax.random.key(0), batch, rate=0.5
  )
  assert np.asarray(is_match_B).all()
  np.testing.assert_array_equal(swapped.tokens_BT, batch.tokens_BT)


def test_pairs_that_lack_a_modality_neither_get_nor_give_titles():
  batch = tiny.make_batch(8)._replace(
    has_title_B=np.array([True] * 6 + [False] * 2),
    has_image_B=np.array([False, False] + [True] * 6),
  )
  for seed in range(20):
    swapped, is_match_B = masking.draw_negatives(
      jax.random.key(seed), batch, rate=0.5
    )
    is_match_B = np.asarray(is_match_B)
    assert is_match_B[[0, 1, 6, 7]].all()
    assert is_match_B.sum() == 6  # two of the four complete ones
    for row in np.flatnonzero(~is_match_B):
      donor = (batch.tokens_BT == np.asarray(swapped.tokens_BT)[row]).all(-1)
      assert batch.has_title_B[np.flatnonzero(donor)[0]]
