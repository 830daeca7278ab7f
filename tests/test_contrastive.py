"""Laws of the contrastive loss: who repels whom, and over which batch."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spellings
import tiny

from item_jax.batch import Batch
from item_jax.data import pipeline
from item_jax.data.records import Record
from item_jax.data.tokenizer import load_tokenizer
from item_jax.objectives import chance, contrastive, masking
from item_jax.training import sharding

# Similarities of four rows: a_i is the i-th axis, so a_i . b_j = S[i, j].
S = np.array(
  [[2.0, 0, 1, 0], [1, 1, 0, 0], [1, 0, 3, 0], [0, 0, 0, 0]], np.float32
)
A, B = np.eye(4, dtype=np.float32), S.T.copy()
ALONE = np.eye(4, dtype=bool)


_similar = jax.jit(contrastive.similar_nll)


def similar(a=A, b=B, log_scale=0.0, alike=ALONE, valid=(True,) * 4):
  return _similar(
    a, b, log_scale, same_item_mask_BB=alike, valid_B=np.array(valid)
  )


def plain(logits, allowed):
  """Both directions summed, halved, by loops over exponentials."""
  total = 0.0
  for i in range(len(logits)):
    row = [logits[i, j] for j in range(len(logits)) if allowed[i, j]]
    column = [logits[j, i] for j in range(len(logits)) if allowed[j, i]]
    for rivals in (row, column):
      total += math.log(sum(map(math.exp, rivals))) - logits[i, i]
  return total / 2


def test_listings_of_one_product_are_no_negatives_by_hand():
  alike = ALONE.copy()
  alike[0, 2] = alike[2, 0] = True
  said = similar(alike=alike)
  # Rows, then columns: ln(e^2 + 2) - 2, ln(2e + 2) - 1, ln(e^3 + 2) - 3, ln 4;
  # ln(e^2 + e + 1) - 2, ln(e + 3) - 1, ln(e^3 + 2) - 3, ln 4.
  rows = 0.2395448 + 1.0064089 + 0.0949230 + 1.3862944
  columns = 0.4076060 + 0.7436684 + 0.0949230 + 1.3862944
  assert float(said.nll) == pytest.approx((rows + columns) / 2, abs=1e-6)
  # Rows 1 and 3 and column 3 have ties, which the first place wins.
  assert (float(said.forward), float(said.backward)) == (2, 3)
  assert float(similar().nll) == pytest.approx(plain(S, np.ones((4, 4))))


def test_temperature_multiplies_and_stops_at_a_hundred():
  assert float(similar(log_scale=math.log(3)).nll) == pytest.approx(
    plain(3 * S, np.ones((4, 4))), rel=1e-5
  )
  assert float(contrastive.bounded_scale(9.0)) == 100
  assert similar(log_scale=9.0).nll == similar(log_scale=50.0).nll
  slope = jax.grad(contrastive.bounded_scale)
  assert float(slope(1.0)) == pytest.approx(math.e)
  # Past the bound: no further, but the way back is open.
  assert float(slope(9.0)) == 100
  assert float(jax.grad(lambda x: -contrastive.bounded_scale(x))(9.0)) == 0


def test_a_row_that_lacks_a_modality_takes_no_part():
  a, b = A.copy(), B.copy()
  a[1], b[3] = np.nan, np.inf
  valid = (True, False, True, False)

  def loss(a, b, log_scale):
    return similar(a, b, log_scale, valid=valid).nll

  expected = plain(S[::2, ::2], np.ones((2, 2)))
  assert float(loss(a, b, 0.0)) == pytest.approx(expected)
  slopes = jax.grad(loss, argnums=(0, 1, 2))(a, b, 0.0)
  assert all(np.isfinite(x).all() for x in slopes)
  for x in slopes[:2]:
    assert (x[1::2] == 0).all()
    assert (x[::2] != 0).any()


@pytest.mark.parametrize("rows", [0, 1])
def test_finite_when_there_is_nobody_to_compare_with(rows):
  valid = np.arange(4) < rows

  def loss(a, b, log_scale):
    return similar(a, b, log_scale, valid=valid).nll

  assert float(loss(A, B, 0.0)) == 0
  for x in jax.grad(loss, argnums=(0, 1, 2))(A, B, 0.0):
    np.testing.assert_array_equal(x, 0)


def test_duplicates_do_not_push_each_other():
  alike = ALONE.copy()
  alike[0, 2] = alike[2, 0] = True

  def of_row_0(b, alike):
    out = similar(b=b, alike=alike)
    away = similar(b=b, alike=alike, valid=(False, True, True, True))
    return out.nll - away.nll  # all that row 0 takes part in

  assert jax.grad(of_row_0)(B, alike)[2, 0] == 0
  assert jax.grad(of_row_0)(B, ALONE)[2, 0] > 0  # pushed from a_0


def test_which_rows_are_of_the_same_item():
  batch = tiny.make_batch(5)._replace(
    product_B=np.array([1, 2, 1, 3, 4], np.uint32),
    title_B=np.array([5, 6, 7, 6, 6], np.uint32),
    has_title_B=np.array([True, True, True, True, False]),
  )
  expected = np.eye(5, dtype=bool)
  expected[0, 2] = expected[2, 0] = True  # one product
  expected[1, 3] = expected[3, 1] = True  # one title; row 4 has none
  np.testing.assert_array_equal(contrastive.same_item_mask(batch), expected)


def test_the_pipelines_hashes_give_rows_of_the_same_item(tmp_path):
  """By product id, and by the words that are left of a title."""
  tokenizer = load_tokenizer(
    spellings.write_bert(tmp_path, ["red mug", "blue vase"])
  )
  listings = [
    ("a", "p1", "Red Mug"),
    ("b", "p2", "red  mug"),  # the same words
    ("c", "p1", "blue vase"),  # the same product
    ("d", "p3", "mug red"),
    ("e", "p4", ""),
    ("f", "p5", ""),
  ]
  rows = [
    pipeline.make_row(
      Record(listing, product, title, "", b""),
      tokenizer=tokenizer,
      image_size=4,
      max_title_tokens=tiny.PLACES,
    )
    for listing, product, title in listings
  ]
  batch = Batch(*map(np.stack, zip(*rows, strict=True)))
  pairs = np.argwhere(np.triu(contrastive.same_item_mask(batch), 1)).tolist()
  assert pairs == [[0, 1], [0, 2]]


@pytest.fixture(scope="module")
def towers():
  """Linear towers of 5 dimensions and what they start from."""
  rng = np.random.default_rng(0)
  params = {
    "pixels": rng.normal(size=(tiny.IMAGE**2 * 3, 5)).astype(np.float32),
    "words": rng.normal(size=(tiny.WORDS, 5)).astype(np.float32),
    "log_scale": np.float32(1.0),
  }

  def image(params, batch, key):
    rows = batch.image_BHWC.reshape(len(batch.image_BHWC), -1)
    return rows.astype(jnp.float32) / 255 @ params["pixels"]

  def title(params, batch, key):
    return params["words"][batch.tokens_BT].sum(1)

  return contrastive.make_loss(image, title), params


def planted():
  """16 rows: 3 is a listing of 12's product, 5 has the title of 8."""
  batch = tiny.make_batch(16)
  batch.product_B[3] = batch.product_B[12]
  batch.tokens_BT[5] = batch.tokens_BT[8]
  batch.title_B[5] = batch.title_B[8]
  batch.has_image_B[7] = False
  batch.has_title_B[10] = False
  return batch


def run(towers, batch):
  objective, params = towers

  @jax.jit
  def grads(params, batch):
    view = objective.corrupt(jax.random.key(0), 0, batch)
    counts = objective.counts(view)

    def loss(params):
      totals, batch_stats = objective.totals(params, view, jax.random.key(1))
      assert batch_stats == {}
      return totals["contrastive"] / counts["contrastive"], totals

    return *jax.value_and_grad(loss, has_aux=True)(params), counts

  return jax.device_get(grads(params, batch))


def test_four_devices_compare_with_the_whole_batch(towers):
  batch = planted()
  alone = run(towers, batch)
  mesh = sharding.make_mesh(4, 1)
  placed = sharding.to_devices(mesh, 16, batch)
  assert len(placed.image_BHWC.sharding.device_set) == 4
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6),
    run(towers, placed),
    alone,
  )


def test_both_towers_and_the_temperature_learn(towers):
  (_, totals), slopes, counts = run(towers, planted())
  assert set(totals) == set(counts)
  assert all(count == 14 for count in counts.values())
  for name in ("pixels", "words", "log_scale"):
    assert np.isfinite(slopes[name]).all()
    assert (slopes[name] != 0).any(), name


def test_planted_duplicates_lower_the_loss_of_the_batch(towers):
  batch = planted()
  (loss, _), *_ = run(towers, batch)
  apart = batch._replace(
    product_B=np.arange(16, dtype=np.uint32),
    title_B=np.arange(16, dtype=np.uint32),
  )
  (repelled, _), *_ = run(towers, apart)
  assert loss < repelled - 1e-3


def test_the_chance_level_is_the_loss_of_equal_vectors():
  rng = np.random.default_rng(0)
  size, rows = 12, 40
  product, title = rng.integers(0, 12, rows), rng.integers(0, 8, rows)
  image_B, title_B = rng.random(rows) < 0.8, rng.random(rows) < 0.7
  said = count = 0.0
  for _ in range(100):
    some = rng.permutation(rows)[:size]
    batch = tiny.make_batch(size)._replace(
      product_B=product[some],
      title_B=title[some],
      has_image_B=image_B[some],
      has_title_B=title_B[some],
    )
    valid_B = image_B[some] & title_B[some]
    zero_BD = np.zeros((size, 4), np.float32)
    same_item_mask_BB = contrastive.same_item_mask(batch)
    found = _similar(
      zero_BD,
      zero_BD,
      0.0,
      same_item_mask_BB=same_item_mask_BB,
      valid_B=valid_B,
    )
    said += float(found.nll)
    count += valid_B.sum()
  part = np.flatnonzero(image_B & title_B)
  floor = chance.rival_chance(
    [(product[n], title[n]) for n in part],
    fraction=len(part) / rows,
    batch_size=size,
  )
  assert floor == pytest.approx(said / count, rel=0.05)
  assert floor < 0.8 * math.log(size)


def test_the_chance_level_of_rivals_by_hand():
  rows = [("p", "a"), ("p", "a"), ("p", None), ("q", "a"), ("q", None)]
  # Alike: three of p, the two of q, and three titled "a", two of them p's.
  alike = 6 + 2 + 6 - 2
  found = chance.rival_chance(rows, fraction=0.5, batch_size=9)
  assert found == pytest.approx(math.log(1 + 8 * 0.5 * (1 - alike / 20)))
  assert chance.rival_chance([], fraction=0.0, batch_size=9) == 0


def _match_chance(rows, rate, batch_size=512):
  return chance.match_chance(rows, negative_rate=rate, batch_size=batch_size)


def test_the_chance_level_of_matching_is_an_entropy():
  rows = [(n, n, True) for n in range(1_000)]
  assert _match_chance(rows, 0.25) == pytest.approx(0.5623, abs=1e-4)
  assert _match_chance(rows, 0.5) == pytest.approx(math.log(2))
  for rate in (0.0, 1.0):  # a curve that says -0.000 looks like a fault
    assert str(_match_chance(rows, rate)) == "0.0"


def test_without_negatives_matching_is_no_question():
  rows = [(n, n, True) for n in range(100)]
  assert _match_chance(rows, 0.5, batch_size=1) == 0
  assert _match_chance(rows, 0.1, batch_size=4) == 0  # .4 pairs are none
  assert _match_chance([(0, n, True) for n in range(100)], 0.5) == 0
  assert _match_chance([(n, 0, True) for n in range(100)], 0.5) == 0
  assert _match_chance([(n, n, False) for n in range(100)], 0.5) == 0
  assert _match_chance(rows[:1], 0.5) == 0


@pytest.mark.parametrize(("size", "rate"), [(3, 0.5), (6, 0.5), (8, 0.3)])
def test_the_chance_level_of_matching_is_that_of_what_batches_hold(size, rate):
  rng = np.random.default_rng(0)
  product, title = rng.integers(0, 3, 200), rng.integers(0, 4, 200)
  image_N, title_N = rng.random(200) < 0.8, rng.random(200) < 0.7
  negatives = pairs = 0
  for seed in range(300):
    some = rng.permutation(200)[:size]
    batch = tiny.make_batch(size)._replace(
      product_B=product[some],
      title_B=title[some],
      has_image_B=image_N[some],
      has_title_B=title_N[some],
    )
    _, is_match_B = masking.draw_negatives(
      jax.random.key(seed), batch, rate=rate
    )
    negatives += int((~is_match_B).sum())
    pairs += int(batch.complete_rows.sum())
  rows = [
    (p, t if has else None, bool(image))
    for p, t, has, image in zip(product, title, title_N, image_N, strict=True)
  ]
  share = negatives / pairs
  expected = chance.category_chance([share, 1 - share])
  found = _match_chance(rows, rate, batch_size=size)
  assert found == pytest.approx(expected, abs=0.02)
