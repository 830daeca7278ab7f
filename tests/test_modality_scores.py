"""Which modality dominates, of embeddings whose answer is known by hand."""

import dataclasses
import json
from collections import Counter

import numpy as np
import pytest

from item_jax.errors import UserError
from item_jax.evaluation.derange import derange
from item_jax.evaluation.items import Items
from item_jax.evaluation.modality import (
  Embedded,
  balance,
  score_views,
)
from item_jax.evaluation.modality_table import VIEWS

PRODUCTS, LISTINGS = 12, 3
N = PRODUCTS * LISTINGS


def planted(image_weight: float, *, rows=None, items=None) -> Embedded:
  """[sqrt(a) u; sqrt(1 - a) v] of each product's own directions u and v.

  A cosine is a [same image] + (1 - a) [same title].
  """
  product_N = np.arange(N) // LISTINGS
  named = [f"p{product}" for product in product_N]
  items = items or Items(
    [f"i{n:02}" for n in range(N)],
    named,
    [f"c{product % 2}" for product in product_N],
  )
  rows_M = np.arange(N) if rows is None else np.asarray(rows)
  donor_M = product_N[rows_M[derange([named[r] for r in rows_M], seed=3)]]
  nothing = np.zeros(PRODUCTS)
  eye = np.eye(PRODUCTS)

  def join(image_MD, title_MD):
    scaled = (
      image_weight**0.5 * image_MD,
      (1 - image_weight) ** 0.5 * title_MD,
    )
    joined_MD = np.concatenate(scaled, axis=1)
    # As the null embedding: what has nothing to show is far from all others.
    null = -np.ones_like(joined_MD)
    empty_M1 = ~joined_MD.any(axis=1, keepdims=True)
    return np.where(empty_M1, null, joined_MD).astype(np.float32)

  own_MD, other_MD = eye[product_N[rows_M]], eye[donor_M]
  none_MD = np.broadcast_to(nothing, own_MD.shape)
  return Embedded(
    items=items,
    both_ND=join(eye[product_N], eye[product_N]),
    rows_M=rows_M,
    views={
      "image": join(own_MD, none_MD),
      "title": join(none_MD, own_MD),
      "other_title": join(own_MD, other_MD),
      "other_image": join(other_MD, own_MD),
      "blank_image": join(none_MD, own_MD),
      "empty_title": join(own_MD, none_MD),
    },
    words_M=rows_M % 4 + 1,
  )


@pytest.mark.parametrize(
  ("image_weight", "expected"),
  # moved = 1 - a by another title, a by another image: (1 - 2 a).
  [(0.0, 1.0), (1.0, -1.0), (0.5, 0.0), (0.25, 0.5), (0.8, -0.6)],
)
def test_the_balance_of_a_planted_embedding(image_weight, expected):
  found = score_views(planted(image_weight), bootstrap=50)
  assert found.balance["value"] == pytest.approx(expected, abs=1e-6)
  assert found.balance["title_moves"] == pytest.approx(1 - image_weight)
  assert found.balance["image_moves"] == pytest.approx(image_weight, abs=1e-6)
  low, high = found.balance["interval"]
  assert low - 1e-9 <= expected <= high + 1e-6
  assert high - low < 1e-5  # all listings are alike


def test_what_copies_the_title_finds_the_others_title():
  views = score_views(planted(0.0), bootstrap=0).views
  shown = {name: views[name]["recall@10"]["value"] for name in VIEWS}
  # The donor's product fills the first 3 of 10; of the rest, which are as far
  # as its own product, the smaller ids come first.
  assert shown["both"] == shown["title"] == shown["other_image"] == 1
  assert shown["blank_image"] == 1
  assert shown["other_title"] < 0.3
  assert views["other_title"]["cosine"]["value"] == pytest.approx(0)
  assert views["other_image"]["cosine"]["value"] == pytest.approx(1)
  drop = views["other_title"]["map@10 drop"]
  assert drop["value"] == pytest.approx(
    1 - views["other_title"]["map@10"]["value"]
  )
  assert views["other_image"]["map@10 drop"]["value"] == 0


def test_what_copies_the_image_is_its_mirror():
  title = score_views(planted(0.0), bootstrap=0).views
  image = score_views(planted(1.0), bootstrap=0).views
  for one, other in (("other_title", "other_image"), ("image", "title")):
    for this, that in ((one, other), (other, one)):
      for figure, found in title[this].items():
        mirrored = image[that][figure]["value"]
        assert found["value"] == pytest.approx(mirrored, abs=1e-6)


def test_an_own_listing_is_never_found():
  """Two listings a product, of which each is the other's only one."""
  items = Items(list("abcd"), ["p", "p", "q", "q"])
  both = np.array([[1, 0], [0.6, 0.8], [-1, 0], [-0.6, -0.8]], np.float32)
  views = {name: both for name in VIEWS if name != "both"}
  found = score_views(
    Embedded(items, both, np.arange(4), views, np.ones(4, int)), bootstrap=0
  )
  # A view that is as the listing was would have itself at rank 1: MAP of .5.
  assert {v["map@10"]["value"] for v in found.views.values()} == {1.0}
  assert found.balance["value"] is None
  assert "balance undefined" in str(found)


def test_ten_others_are_found_after_the_own_one_is_out():
  """Of 11 listings of one product all 10 others are within the first 10."""
  items = Items([f"i{n:02}" for n in range(22)], ["p"] * 11 + ["q"] * 11)
  both = np.repeat(np.eye(2, dtype=np.float32), 11, axis=0)
  views = {name: both for name in VIEWS if name != "both"}
  found = score_views(
    Embedded(items, both, np.arange(22), views, np.ones(22, int)), bootstrap=0
  )
  assert found.views["image"]["recall@10"]["value"] == 1


def test_listings_of_one_side_are_searched_but_not_asked():
  rows = np.arange(0, N, 2)
  found = score_views(planted(0.5, rows=rows), bootstrap=0)
  assert found.counts["rows"] == N
  assert found.counts["listings"] == found.counts["queries"] == len(rows)
  # The other listings of each product, not asked themselves, are found.
  assert found.views["both"]["recall@10"]["value"] == 1


def test_without_a_second_listing_there_are_cosines_and_no_scores():
  items = Items([f"i{n}" for n in range(N)], [""] * N)
  found = score_views(planted(0.25, items=items), bootstrap=20)
  assert found.counts["queries"] == 0
  assert found.views["other_title"].keys() == {"cosine"}
  assert found.balance["value"] == pytest.approx(0.5)
  assert "recall" not in str(found).split("\n\n")[1]
  json.dumps(found.to_dict())


def test_groups_are_of_their_own_listings():
  """In one category the title decides, in the other the image."""
  title, image = planted(0.0), planted(1.0)
  second_N = np.array(title.items.categories) == "c1"

  def mix(one, other):
    return np.where(second_N[:, None], other, one)

  found = score_views(
    title._replace(
      both_ND=mix(title.both_ND, image.both_ND),
      views={n: mix(title.views[n], image.views[n]) for n in title.views},
      words_M=np.where(second_N, 9, 2),
    ),
    bootstrap=20,
  )
  for groups in (found.by_category, found.by_title_length):
    assert [x["balance"]["value"] for x in groups] == pytest.approx([1, -1])
    assert [x["listings"] for x in groups] == [N // 2, N // 2]
    assert groups[0]["recall@10"]["other_image"] == 1
    assert groups[1]["recall@10"]["other_title"] == 1
  assert [x["group"] for x in found.by_category] == ["c0", "c1"]
  assert [x["group"] for x in found.by_title_length] == ["2 words", "9 words"]
  # Half of the listings are at each end: the mean of both moves.
  assert found.balance["value"] == pytest.approx(0)
  low, high = found.balance["interval"]
  assert low < -0.2 < 0.2 < high


def test_the_largest_categories_have_lines():
  found = score_views(planted(0.5), largest=1, bootstrap=0)
  assert [x["group"] for x in found.by_category] == ["c0"]
  assert score_views(planted(0.5), largest=0, bootstrap=0).by_category == []


def test_lengths_are_cut_at_quartiles():
  lengths = np.array([1, 2, 3, 4] * (N // 4))
  found = score_views(
    planted(0.5)._replace(words_M=lengths), bootstrap=0
  ).by_title_length
  assert [x["group"] for x in found] == [f"{n} words" for n in (1, 2, 3, 4)]
  lengths = np.arange(N)
  found = score_views(
    planted(0.5)._replace(words_M=lengths), bootstrap=0
  ).by_title_length
  assert [x["listings"] for x in found] == [9, 9, 9, 9]
  assert found[0]["group"] == "0 to 8 words"


def test_the_balance_by_hand():
  assert balance(0.3, 0.1) == pytest.approx(0.5)
  assert balance(0.0, 0.0) is None
  assert balance(0.2, 0.4) == pytest.approx(-1 / 3)
  assert balance(2.0, 0.0) == 1


def test_the_balance_of_what_hardly_moves():
  """By a millionth: far below what one minus a float32 cosine resolves."""
  items = Items(list("abcd"), list("ppqq"))
  both = np.array([[1, 0, 0]] * 4, np.float32)
  views = {name: both for name in VIEWS if name != "both"}
  views["other_title"] = np.array([[1, 3e-4, 0]] * 4, np.float32)
  views["other_image"] = np.array([[1, 0, 1e-4]] * 4, np.float32)
  found = score_views(
    Embedded(items, both, np.arange(4), views, np.ones(4, int)), bootstrap=0
  )
  # Squares of 3 and 1.
  assert found.balance["value"] == pytest.approx((9 - 1) / (9 + 1), rel=1e-4)
  assert found.balance["title_moves"] == pytest.approx(4.5e-8, rel=1e-4)


def test_vectors_of_any_length_are_compared_by_direction():
  embedded = planted(0.25)
  longer = {name: 7 * view for name, view in embedded.views.items()}
  found = score_views(embedded._replace(views=longer), bootstrap=0)
  assert found.balance["title_moves"] == pytest.approx(0.75)
  empty = embedded.views | {"image": 0 * embedded.views["image"]}
  with pytest.raises(UserError, match="listing 0 has no direction"):
    score_views(embedded._replace(views=empty), bootstrap=0)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
  "products",
  [
    ["a", "b"],
    ["a", "a", "b", "c"],  # half of them
    ["a", "b", "a", "b", "a", "b"],
    ["", "", ""],  # each a product of its own
    ["x"] * 3 + ["y"] * 2 + ["", "z"],
  ],
)
def test_nobody_is_given_what_is_of_the_own_product(products, seed):
  donors = derange(products, seed=seed).tolist()
  assert sorted(donors) == list(range(len(products)))  # each once
  for row, donor in enumerate(donors):
    assert row != donor
    assert products[row] != products[donor] or not products[row]


def test_who_is_given_what_is_drawn():
  products = [f"p{n // 3}" for n in range(60)]
  draws = {tuple(derange(products, seed=seed)) for seed in range(20)}
  assert len(draws) == 20
  assert tuple(derange(products, seed=0)) in draws
  # One listing's donors come from all over.
  assert len(Counter(draw[0] // 3 for draw in draws)) > 8


@pytest.mark.parametrize(
  ("products", "said"),
  [
    ([], "an image and a title: 0, of 0 products;"),
    (["a"], "an image and a title: 1, of 1 products;"),
    (["a", "a"], "title: 2, of 1 products;"),
    (["a", "a", "b"], "3, of 2 products, of which 'a' alone has 2"),
  ],
)
def test_what_cannot_be_deranged_is_said(products, said):
  with pytest.raises(UserError, match=said):
    derange(products)


def test_other_views_than_these_are_refused():
  embedded = planted(0.5)
  views = dict(embedded.views)
  image = views.pop("image")
  with pytest.raises(ValueError, match=r"views \['blank.*; expected"):
    score_views(embedded._replace(views=views))
  with pytest.raises(ValueError, match=r"expected views of \(36, 24\)"):
    score_views(embedded._replace(views=views | {"image": image[:, :3]}))


def test_an_interval_stands_behind_its_accuracy():
  found = score_views(planted(0.25), bootstrap=20)
  line = {"column": "form", "rows": 9, "classes": 2, "largest": 0.5}
  line |= {"both": 2 / 3, "both interval": [1 / 3, 0.987654321], "title": 0.25}
  shown = dataclasses.replace(found, readable=[line]).tables()[-1][1]
  assert shown == [
    {"column": "form", "rows": "9", "classes": "2", "largest": "0.5000"}
    | {"both": "0.6667 [0.3333, 0.9877]", "title": "0.2500"}
  ]


def test_it_shows_itself():
  found = score_views(planted(0.25), bootstrap=20)
  text = str(found)
  assert "36 listings with an image and a title, of 12 products" in text
  assert "balance +0.500 [+0.500, +0.500]" in text
  assert found._repr_html_().count("<table>") == 3
  assert found["balance"] == found.balance
  rows = found.rows()
  assert {row["query"] for row in rows} == set(VIEWS)
  assert {"figure": "cosine", "query": "both"}.items() <= rows[0].items()
