"""Laws of the difference between two systems on the same queries."""

import numpy as np
import pytest

import item_jax
from item_jax.errors import UserError

N = 60
TABLE = {
  "id": [f"{row:02d}" for row in range(N)],
  "product": [f"P{row // 3}" for row in range(N)],
}


def scores(noise: float, table=TABLE, **options):
  draw = np.random.default_rng(0)
  centres = draw.normal(size=(N // 3, 8))[np.arange(N) // 3]
  return item_jax.score(
    centres + noise * draw.normal(size=(N, 8)), table, **options
  )


def test_it_is_the_difference_of_the_means_with_an_interval_around_it():
  better, worse = scores(0.5), scores(1.5)
  found = better.compare(worse)
  for name, one in found.to_dict().items():
    apart = better[name] - worse[name]
    assert one["difference"] == pytest.approx(apart, abs=1e-12)
    low, high = one["interval"]
    assert low <= apart <= high
  assert found["map@10"]["interval"][0] > 0
  assert found["map@10"]["p"] < 0.05
  back = worse.compare(better)["map@10"]
  assert back["difference"] == -found["map@10"]["difference"]


def test_a_system_does_not_differ_from_itself():
  found = scores(1.0).compare(scores(1.0))["recall@10"]
  assert found["difference"] == 0
  assert found["interval"] == [0, 0]
  assert found["p"] == 1


def test_other_queries_and_other_measures_are_refused():
  one = scores(1.0)
  renamed = TABLE | {"id": TABLE["id"][::-1]}
  with pytest.raises(UserError, match="60 queries against 60: expected scores"):
    one.compare(scores(1.0, renamed))
  with pytest.raises(
    UserError, match=r"recall@1, .* expected scores of the sa"
  ):
    one.compare(scores(1.0, k=(3,)))


def test_queries_of_other_products_are_refused():
  """Also those that are not searched, of which no index holds the product."""
  roles = {"role": ["query", "index", "both"] * (N // 3)}
  moved = TABLE["product"].copy()
  moved[0] = "P7"
  one, other = scores(1.0, TABLE | roles), TABLE | roles | {"product": moved}
  with pytest.raises(UserError, match="are of other products: expected"):
    one.compare(scores(1.0, other))


def test_a_difference_takes_resamples():
  with pytest.raises(UserError, match="bootstrap=0: expected a whole number"):
    scores(0.5).compare(scores(1.5), bootstrap=0)


def test_its_table_has_a_line_for_each_measure():
  found = scores(0.5, k=(10,)).compare(scores(1.5, k=(10,)))
  assert [row["measure"] for row in found.rows()] == list(found.to_dict())
  lines = str(found).splitlines()
  assert len(lines) == 1 + len(found.rows())
  assert lines[1].split()[:2] == [
    "recall@10",
    f"{found['recall@10']['difference']:+.4f}",
  ]
  assert found._repr_html_().count("<tr>") == len(lines)


def test_an_index_of_other_listings_or_products_is_refused():
  one = scores(1.0)
  roles = ["both"] * (N - 1)
  fewer = TABLE | {"role": [*roles, "query"]}
  with pytest.raises(
    UserError, match="of 60 and 59 listings, differ in 1: listing '59' is of"
  ):
    one.compare(scores(1.0, fewer))
  moved = TABLE | {"product": ["P1", *TABLE["product"][1:]]}
  with pytest.raises(UserError, match="of the product 'P0' in one and 'P1' in"):
    one.compare(scores(1.0, moved))


def test_what_an_index_holds_of_its_listings_may_differ():
  """Such as images in an index of images, and in one of whole listings."""
  queries, index = np.random.default_rng(0).normal(size=(2, N, 8))
  apart = item_jax.score_across((queries, TABLE), (index, TABLE))
  alone = item_jax.score(queries, TABLE)
  found = alone.compare(apart)["map@10"]["difference"]
  assert found == pytest.approx(alone["map@10"] - apart["map@10"], abs=1e-12)
