"""Laws of the leaf-category objective and of its table of classes."""

import math
import shutil
import zlib
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from item_jax.config import Config
from item_jax.data.records import open_dataset
from item_jax.errors import UserError
from item_jax.models.base import Network
from item_jax.objectives import category, chance
from item_jax.objectives.base import Context
from item_jax.objectives.category import find_categories

NAMES = ("Home > Lamps", "Garden > Pots > Small", "Home > Chairs")
# Found with a table of crc32: two words that share theirs, one whose is 0.
TWINS = ("plumless", "buckeroo")
ZERO = "ppqpqqppppqqqpppppqqqpqpqqpqpqpqpppppppppppp"


def with_logits(logits_BC, category_B, classes_C):
  """(means, counts, gradient of the bias) where features are the logits."""
  C = len(classes_C)
  params = {"category_head": {"kernel": jnp.eye(C), "bias": jnp.zeros(C)}}

  def features(params, batch, *, train, key):
    assert train
    return jnp.asarray(logits_BC), {"statistics": batch.product_B.sum()}

  objective = category.make_loss(features, classes_C=classes_C)
  batch = tiny.make_batch(len(logits_BC))._replace(
    category_B=np.asarray(category_B, np.uint32)
  )

  @jax.jit
  def run(params, batch):
    view = objective.corrupt(jax.random.key(0), 0, batch)
    counts = objective.counts(view)

    def loss(params):
      totals, batch_stats = objective.totals(params, view, jax.random.key(0))
      return totals["category"], (totals, batch_stats)

    slopes, (totals, batch_stats) = jax.grad(loss, has_aux=True)(params)
    return slopes, totals, batch_stats, counts

  slopes, totals, batch_stats, counts = jax.device_get(run(params, batch))
  assert batch_stats == {"statistics": sum(range(len(logits_BC)))}
  means = {n: float(totals[n] / max(counts[n], 1)) for n in totals}
  return means, counts, slopes


def test_cross_entropy_by_hand_and_rows_that_do_not_count():
  classes_C = np.array([7, 9, 4_000_000_000], np.uint32)
  logits = [[2.0, 0, 0], [0, 0, 1], [5, 0, 0], [0, 5, 0], [0, 0, 5]]
  # The last three: none, unknown in between, unknown past the end.
  means, counts, slopes = with_logits(
    logits, [9, 4_000_000_000, 0, 8, 4_000_000_001], classes_C
  )
  first = math.log(math.e**2 + 2)  # the right class has logit 0
  second = math.log(2 + math.e) - 1
  assert means["category"] == pytest.approx((first + second) / 2)
  assert means["category_accuracy"] == 0.5
  assert counts["category"] == counts["category_accuracy"] == 2
  p = np.exp(logits[0]) / np.exp(logits[0]).sum()
  q = np.exp(logits[1]) / np.exp(logits[1]).sum()
  np.testing.assert_allclose(
    slopes["category_head"]["bias"], p + q - [0, 1, 1], rtol=1e-5
  )


def test_no_row_counts_and_all_is_finite():
  classes_C = np.array([7, 9], np.uint32)
  means, counts, slopes = with_logits([[1.0, 2], [3, 4]], [0, 8], classes_C)
  assert means == {"category": 0, "category_accuracy": 0}
  assert counts["category"] == 0
  assert all((leaf == 0).all() for leaf in jax.tree.leaves(slopes))


@pytest.mark.parametrize("classes", [[0, 1], [1]])
def test_zero_is_no_category_whatever_the_classes(classes):
  _, known_B = category.find_classes(
    np.array([0, 1, 2], np.uint32), np.array(classes, np.uint32)
  )
  assert known_B.tolist() == [False, True, False]


def test_probabilities_sum_to_one_and_follow_the_head():
  rng = np.random.default_rng(0)
  head = {"kernel": rng.normal(size=(5, 3)), "bias": rng.normal(size=3)}
  f_BD = rng.normal(size=(4, 5)).astype(np.float32)
  out = np.exp(category.log_probabilities({"category_head": head}, f_BD))
  expected = np.exp(f_BD @ head["kernel"] + head["bias"])
  expected /= expected.sum(-1, keepdims=True)
  np.testing.assert_allclose(out, expected, rtol=1e-5)


def test_the_table_says_which_name_each_class_is():
  classes_C, order_C = category.class_table(NAMES)
  assert classes_C.dtype == np.uint32
  assert (np.diff(classes_C.astype(np.int64)) > 0).all()
  assert [zlib.crc32(NAMES[i].encode()) for i in order_C] == classes_C.tolist()
  # As the input pipeline hashes a row's category.
  hashes = np.array([zlib.crc32(n.encode()) for n in NAMES], np.uint32)
  class_B, known_B = category.find_classes(hashes, classes_C)
  assert np.asarray(known_B).all()
  assert [NAMES[order_C[c]] for c in class_B] == list(NAMES)


@pytest.mark.parametrize(
  ("names", "said"),
  [
    ((*NAMES, *TWINS), TWINS),
    ((*NAMES, ZERO), (ZERO, "0")),
    ((), ("no category",)),
  ],
)
def test_a_table_that_cannot_tell_is_refused(names, said):
  with pytest.raises(UserError) as error:
    category.class_table(names)
  for word in said:
    assert word in str(error.value)


@pytest.mark.parametrize(
  "classes", [np.array([9, 7], np.uint32), np.array([7, 7], np.uint32)]
)
def test_classes_must_ascend(classes):
  with pytest.raises(ValueError, match="ascend"):
    category.make_loss(None, classes_C=classes)


def test_the_chance_level_is_the_entropy_of_the_classes():
  assert chance.category_chance([2, 2]) == pytest.approx(math.log(2))
  expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
  assert chance.category_chance([3, 0, 1]) == pytest.approx(expected)
  assert chance.category_chance([]) == 0


def class_chance(store, names):
  network = Network(None, None, None, dims=0, sequence="")
  objective = category.make_objective(Context(Config(), network, None, names))
  return objective.chance_levels(store, "train", None)["category"]


def test_what_prepare_counted_is_taken_and_no_record_is_read(
  tiny_data, tmp_path
):
  data = shutil.copytree(tiny_data, tmp_path / "data")
  store = open_dataset(data)
  times = Counter(record.category for record in store.source("train"))
  for shard in data.glob("*train*"):
    shard.write_bytes(bytes(shard.stat().st_size))
  names = find_categories(store, "train")
  assert sorted(names) == sorted(times)
  floor = chance.category_chance(list(times.values()))
  assert class_chance(store, names) == pytest.approx(floor)


def test_data_prepared_before_there_were_counts_are_counted(tiny_data):
  store = open_dataset(tiny_data)
  names = find_categories(store, "train")
  floor = class_chance(store, names)
  del store.catalogue["categories"]["rows"]
  assert find_categories(store, "train") == names
  assert class_chance(store, names) == pytest.approx(floor)
