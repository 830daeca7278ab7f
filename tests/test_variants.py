"""How finely products are told apart: worked figures, laws, refusals."""

import json

import numpy as np
import pytest
from exports import write_export

from item_jax.__main__ import main
from item_jax.errors import UserError
from item_jax.evaluation.variants import compare_variants

# Unit vectors at these degrees.
DEGREES = np.array([0, 12, 50, 20, 29, 90, 61, 70.5])
PRODUCTS = ["P1", "P1", "P1", "P2", "P2", "P3", "P3", "P4"]
ROWS = [{"product": product} for product in PRODUCTS]


def at(degrees):
  angles = np.deg2rad(degrees)
  return np.stack([np.cos(angles), np.sin(angles)], 1)


def write_pairs(path, *lines, header="product,variant,differs"):
  path.write_text("\n".join([header, *lines]) + "\n")
  return path


@pytest.fixture
def golden(tmp_path):
  return write_export(tmp_path / "golden", at(DEGREES), ROWS)


def ask(tmp_path, exports, *lines, **options):
  pairs = write_pairs(tmp_path / "pairs.csv", *lines)
  return compare_variants(exports, pairs, **options).to_dict()


def test_shares_by_hand(golden, tmp_path):
  """P1 at 0, 12 and 50 degrees, P2 at 20 and 29: how many of the pairs of one
  listing of the own and one of the other product have the own one nearer?

  0: 2 of 4; 12: 1 of 4; 50: none of 4; 20: 2 of 3; 29: 3 of 3.
  """
  result = ask(tmp_path, {"e": golden}, "P1,P2,photo > form")
  expected = (2 / 4 + 1 / 4 + 0 + 2 / 3 + 1) / 5
  for differs in ("all", "photo", "photo > form"):
    assert result[differs]["share"]["e"] == pytest.approx(expected)
    assert result[differs]["questions"] == 5
    assert result[differs]["pairs"] == 1
  assert list(result) == ["all", "photo", "photo > form"]


def test_who_has_no_other_listing_is_not_asked(golden, tmp_path):
  """P4 has one listing: P3's two are asked about it, it is not. 90 has 61 at
  29 degrees and P4 at 19.5, 61 has 90 at 29 and P4 at 9.5: none."""
  pairs = write_pairs(
    tmp_path / "pairs.csv", "P4,P3,title", "P1,P9,title", "P8,P9,photo"
  )
  result = compare_variants({"e": golden}, pairs)
  assert result["all"]["questions"] == 2
  assert result["all"]["pairs"] == 1
  assert result["all"]["share"]["e"] == 0
  assert list(result.groups) == ["all", "title"]
  assert "2 pairs of the file left out" in str(result)


def test_levels_are_the_means_of_what_is_below(golden, tmp_path):
  # Spaces are as free as in a catalogue.
  pairs = ["P1,P2,photo>form", " P3,P2 , photo > trim", "P3,P4,title > size"]
  result = ask(tmp_path, {"e": golden}, *pairs)
  assert list(result) == [
    "all", "photo", "photo > form", "photo > trim", "title", "title > size",
  ]  # fmt: skip

  def total(*names):
    parts = [result[name] for name in names]
    asked = sum(part["questions"] for part in parts)
    return sum(p["questions"] * p["share"]["e"] for p in parts) / asked

  assert result["photo"]["share"]["e"] == pytest.approx(
    total("photo > form", "photo > trim")
  )
  assert result["all"]["share"]["e"] == pytest.approx(total("photo", "title"))


def test_who_cannot_tell_gets_a_half(tmp_path):
  """Vectors that say nothing of the difference, though they are of no round
  numbers and their listings lie anywhere in the file."""
  random = np.random.default_rng(0)
  rows = [{"product": "PQ"[n % 2]} for n in range(40)]
  vectors = np.repeat(random.standard_normal((20, 37)), 2, axis=0)
  order = random.permutation(40)
  # Each vector is once a P's and once a Q's: but for the listing's own twin,
  # which only the other product has.
  export = write_export(
    tmp_path / "e", vectors[order], [rows[n] for n in order]
  )
  result = ask(tmp_path, {"e": export}, "P,Q,")
  # Against 19 others: each of 19 of the own beats, on average, half of the
  # 19 equal ones, and never the twin.
  assert result["all"]["share"]["e"] == pytest.approx(0.5 * 19 / 20)
  same = write_export(
    tmp_path / "same", np.tile(random.standard_normal(37), (40, 1)), rows
  )
  result = ask(tmp_path, {"e": same}, "P,Q,")
  assert result["all"]["share"]["e"] == 0.5
  assert result["all"]["interval"]["e"] is None  # of a single pair


def test_intervals_draw_families_of_products(tmp_path):
  """Four pairs, of which three are one family, told apart in the others: the
  family is drawn twice, once or not at all."""
  rows = [{"product": p} for p in "AABBCCDDXXYY"]
  # A to D lie on one spot, X and Y far apart.
  degrees = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 90, 91]
  found = write_export(tmp_path / "e", at(np.array(degrees)), rows)
  result = ask(tmp_path, {"e": found}, "A,B,", "B,C,", "C,D,", "X,Y,")
  assert result["all"]["share"]["e"] == pytest.approx((12 * 0.5 + 4) / 16)
  assert result["all"]["interval"]["e"] == [0.5, 1.0]


def test_neither_order_nor_length_of_vectors_matters(golden, tmp_path):
  random = np.random.default_rng(0)
  order = random.permutation(len(ROWS))
  lengths = random.uniform(0.5, 9, (len(ROWS), 1))
  other = write_export(
    tmp_path / "other",
    (at(DEGREES) * lengths)[order],
    [ROWS[n] for n in order],
  )
  pairs = ("P1,P2,photo", "P2,P3,title")
  one = ask(tmp_path, {"e": golden}, *pairs)
  turned = ask(tmp_path, {"e": other}, "P3,P2,title", "P2,P1,photo")
  for differs, found in one.items():
    assert turned[differs]["share"] == pytest.approx(found["share"])


def test_several_exports_as_a_user_types_it(golden, tmp_path, capsys):
  noise = np.random.default_rng(0).standard_normal((len(ROWS), 5))
  write_export(tmp_path / "noise", noise, ROWS)
  pairs = write_pairs(tmp_path / "pairs.csv", "P1,P2,photo", "P3,P4,title")
  words = ["variants", f"good={golden}", f"noise={tmp_path / 'noise'}"]
  words += [f"--variants={pairs}", f"--json={tmp_path / 'said.json'}"]
  assert main([*words, "--bootstrap=50"]) == 0
  said = json.loads((tmp_path / "said.json").read_text())
  lines = capsys.readouterr().out.splitlines()
  assert lines[1].split() == ["differs", "pairs", "asked", "good", "noise"]
  for differs, line in zip(said, lines[2:], strict=True):
    found = said[differs]
    assert line.startswith(differs)
    for name in ("good", "noise"):
      assert f"{found['share'][name]:.4f}" in line
      assert (found["interval"][name] is None) == (differs != "all")
  for name in ("good", "noise"):
    low, high = said["all"]["interval"][name]
    share = said["all"]["share"][name]
    assert f"{share:.4f} [{low:.4f}, {high:.4f}]" in lines[2]
    assert low <= share <= high


@pytest.mark.parametrize(
  ("lines", "says"),
  [
    (["P1,P1,photo"], "row 0 pairs 'P1' with 'P1'"),
    (["P1,,photo"], "row 0 pairs 'P1' with ''"),
    (["P1,P2,a", "P2,P1,b"], "row 1 pairs 'P2' and 'P1' a second time"),
    (["P1,P2"], "row 0: wrong number of fields: 2"),
    (["P1,P2,all > of it"], "row 0 differs in 'all'"),
    (["P7,P8,photo"], "of none of its 1 pairs"),
  ],
)
def test_pairs_that_are_none_are_refused(golden, tmp_path, lines, says):
  with pytest.raises(UserError) as error:
    ask(tmp_path, {"e": golden}, *lines)
  assert says in str(error.value)


def test_other_rows_and_columns_are_refused(golden, tmp_path):
  fewer = write_export(tmp_path / "fewer", at(DEGREES[:7]), ROWS[:7])
  with pytest.raises(UserError, match="expected the same listings"):
    ask(tmp_path, {"e": golden, "fewer": fewer}, "P1,P2,photo")
  pairs = write_pairs(tmp_path / "p.csv", "P1,P2", header="product,other")
  with pytest.raises(UserError, match="expected one column variant"):
    compare_variants({"e": golden}, pairs)
  pairs = write_pairs(tmp_path / "p.csv", "P1,P2", header="product,variant")
  found = compare_variants({"e": golden}, pairs)
  assert list(found.groups) == ["all"]
  assert found.to_frame()["export"].tolist() == ["e"]
