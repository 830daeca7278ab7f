"""Laws of the order that puts two listings of a product side by side."""

import logging
import shutil
from collections import Counter

import numpy as np
import pytest
from batches import assert_same, read, read_by_hosts
from lost_records import lose

from item_jax.config import Config
from item_jax.config_products import Products
from item_jax.data import order as order_lib
from item_jax.data.product_order import ProductOrder, read_products
from item_jax.data.records import open_dataset
from item_jax.errors import UserError

SIZES = [5, 4, 3, 2, 2, *[1] * 7]  # listings of each product
PRODUCT = np.random.default_rng(0).permutation(
  np.repeat(np.arange(len(SIZES)), SIZES)
)
LEAF = PRODUCT % 3
PAIRS = 3 + 2 + 2 + 1 + 1


def make(batch_size=6, seed=1, product=PRODUCT, leaf=LEAF, **options):
  return ProductOrder(
    product,
    leaf,
    options=Products(**options),
    batch_size=batch_size,
    seed=seed,
  )


def units(order, number):
  """The pairs of rows of pass `number`, of `order._units` units."""
  size = order._units
  first = 2 * number * size
  rows = [order[first + n] for n in range(2 * size)]
  return np.array(rows).reshape(size, 2)


@pytest.mark.parametrize("hard", [0.0, 0.5, 1.0])
def test_a_pass_pairs_every_listing_with_another_of_its_product(hard):
  order = make(hard=hard)
  several = np.flatnonzero(np.isin(PRODUCT, range(5)))
  for number in range(4):
    rows = units(order, number)
    assert (PRODUCT[rows[:, 0]] == PRODUCT[rows[:, 1]]).all()
    paired = rows[rows[:, 0] != rows[:, 1]]
    assert len(paired) == PAIRS
    uses = Counter(paired.ravel().tolist())
    assert sorted(uses) == several.tolist()
    # Five and three are odd: one listing of each comes twice.
    twice = sorted(PRODUCT[row] for row, n in uses.items() if n > 1)
    assert twice == [0, 2]
    assert max(uses.values()) == 2


def test_passes_differ_and_so_do_seeds():
  one, other = make(), make(seed=2)
  assert (units(one, 0) != units(one, 1)).any()
  assert (units(one, 0) != units(other, 0)).any()


def test_listings_without_a_partner_take_turns():
  order = make(singles=0.25)  # 3 of 12 units
  seen = []
  for number in range(7):
    rows = units(order, number)
    alone = rows[rows[:, 0] == rows[:, 1], 0].tolist()
    assert len(alone) == 3
    seen += alone
  # Three rounds of seven, in each of which every one of them comes once.
  assert set(Counter(seen).values()) == {3}
  everyone = units(make(singles=1.0), 0)
  assert set(everyone.ravel()) == set(range(len(PRODUCT)))
  paired = units(make(singles=0.0), 0)
  assert len(paired) == PAIRS
  assert (paired[:, 0] != paired[:, 1]).all()


def test_hard_rows_of_a_batch_are_of_one_leaf():
  product = np.repeat(np.arange(40), 2)
  leaf = np.repeat(np.arange(10), 8)  # as many units as half a batch
  order = make(batch_size=8, product=product, leaf=leaf, hard=1.0)
  batches = leaf[units(order, 0)[:, 0]].reshape(10, 4)
  assert (batches == batches[:, :1]).all()
  assert (np.diff(batches[:, 0]) < 0).any()  # the leaves in random order
  order = make(batch_size=16, product=product, leaf=leaf, hard=0.5)
  for number in range(3):
    batches = leaf[units(order, number)[:, 0]].reshape(5, 8)
    hard, easy = batches[:, :4], batches[:, 4:]
    changes = [(np.diff(part, axis=1) != 0).mean() for part in (hard, easy)]
    assert changes[0] < changes[1]
  order = make(batch_size=16, product=product, leaf=leaf, hard=0.0)
  batches = leaf[units(order, 0)[:, 0]].reshape(10, 4)
  assert (batches != batches[:, :1]).any(1).all()


def test_a_position_does_not_depend_on_what_was_read_before():
  before = make()
  rows = [before[n] for n in range(200)]
  assert [make()[n] for n in range(199, 0, -17)] == rows[199:0:-17]


def test_what_it_cannot_pair_is_refused():
  with pytest.raises(UserError, match="batch_size=5"):
    make(batch_size=5)
  with pytest.raises(UserError, match="none of 4 listings"):
    make(product=np.arange(4), leaf=np.zeros(4, int))
  with pytest.raises(UserError, match="all 4 listings are of one product"):
    make(product=np.zeros(4, int), leaf=np.zeros(4, int))


@pytest.fixture(scope="module")
def store(tiny_data):
  return open_dataset(tiny_data)


CONFIG = Config(task="products", batch_size=8, seed=3)
CONFIG.model.image_size = 16


def run_order(store):
  return order_lib.training_order(CONFIG, store)


@pytest.fixture(scope="module")
def alone(store):
  return read(store, start=0, stop=6, size=8, seed=3, order=run_order(store))


def test_batches_of_the_pipeline_hold_pairs(alone):
  for batch in alone:
    np.testing.assert_array_equal(batch.product_B[::2], batch.product_B[1::2])
  assert any((b.title_B[::2] != b.title_B[1::2]).any() for b in alone)


def test_the_same_for_workers_hosts_and_restarts(store, alone):
  run = {"size": 8, "seed": 3, "order": run_order(store)}
  assert_same(read(store, start=0, stop=4, workers=2, **run), alone[:4])
  assert_same(read(store, start=3, stop=6, **run), alone[3:])
  assert_same(read_by_hosts(4, store, start=1, stop=4, **run), alone[1:4])


def test_ids_for_the_log_are_those_of_the_batch(store, alone):
  product = {r.listing_id: r.product_id for r in store.source("train")}
  ids = order_lib.listing_ids(CONFIG, store, 5)
  hashes = alone[5].product_B
  assert len({product[i] for i in ids}) == len(set(hashes.tolist()))
  assert [product[i] for i in ids[::2]] == [product[i] for i in ids[1::2]]


def test_a_lost_record_is_of_no_known_product(store, tmp_path):
  products, _ = read_products(store, "train")
  number = int(np.flatnonzero(np.bincount(products)[products] > 1)[0])
  folder = tmp_path / "data"
  shutil.copytree(store.path, folder)
  lose(folder, "train", store.source("train")[number])
  lost = open_dataset(folder)
  found, _ = read_products(lost, "train")
  assert (found == found[number]).sum() == 1
  others = np.arange(len(found)) != number
  same = products[others][:, None] == products[others]
  np.testing.assert_array_equal(found[others][:, None] == found[others], same)
  # Its place in a batch is the next one's, and is marked.
  order = run_order(lost)
  assert isinstance(order, ProductOrder)
  size = 2 * (order._units // 4 + 1)
  batches = read(lost, start=0, stop=2 * size, size=8, seed=3, order=order)
  places = [n for n in range(16 * size) if order[n] == number]
  bad = np.flatnonzero(np.concatenate([b.bad_B for b in batches]))
  assert set(places) <= set(bad.tolist())


def test_products_in_several_splits_are_named(store, caplog):
  read_products.cache_clear()
  with caplog.at_level(logging.WARNING):
    run_order(store)
  assert not caplog.records
  read_products.cache_clear()
  leaks = store.catalogue["in_several_splits"]["products"]
  store.catalogue["in_several_splits"]["products"] = {"distinct": 3, "rows": 7}
  try:
    with caplog.at_level(logging.WARNING):
      run_order(store)
  finally:
    store.catalogue["in_several_splits"]["products"] = leaks
  assert "3 products are in several splits" in caplog.text
