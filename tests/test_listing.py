"""Where several may be given, one is enough, and no string is its letters."""

from pathlib import Path

import numpy as np
import pytest

from item_jax import (
  UserError,
  cross_domain,
  export,
  modality,
  probe,
  robustness,
)
from item_jax.evaluation.items import open_items
from item_jax.ingest.row import Reading
from item_jax.listing import as_list


@pytest.mark.parametrize(
  ("given", "expected"),
  [
    ("crop", ["crop"]),
    (Path("a/b"), [Path("a/b")]),
    (10, [10]),
    (np.float32(0.5), [0.5]),
    (("crop", "blur"), ["crop", "blur"]),
    ((), []),
    ((n for n in "ab"), ["a", "b"]),
  ],
)
def test_one_is_a_list_of_one(given, expected):
  assert as_list(given) == expected


def test_a_word_for_a_missing_value_is_no_set_of_letters():
  table = {"id": ["1", "2", "3"], "product": ["n", "nil", "i"]}
  assert open_items(table, "nil").products == ["n", "", "i"]
  assert Reading(missing="nil") == Reading(missing=("nil",))


def test_a_word_for_a_missing_value_has_any_case():
  """As on the command line: rows of "OTHER" are no product of three."""
  table = {"id": ["1", "2", "3"], "product": ["OTHER", "Other", "other"]}
  assert open_items(table, [" OTHER "]).products == ["", "", ""]
  with pytest.raises(UserError, match="missing has 5: expected text"):
    open_items(table, [5])


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"columns": ["title"]}, "columns=<list>: expected a mapping"),
    ({"columns": {"title": 5}}, "columns has 5: expected text"),
    ({"missing": ["nil", 0]}, "missing has 0: expected text"),
    ({"quoting": None}, "quoting has None: expected text"),
    ({"category_separator": " "}, "category_separator=' ': expected >"),
    ({"trust_ids": "no"}, "trust_ids='no': expected True or False"),
  ],
)
def test_a_reading_of_another_kind_is_refused(options, message):
  with pytest.raises(UserError, match=f"^{message}"):
    Reading(**options)


@pytest.mark.parametrize(
  ("call", "named"),
  [
    (lambda: modality("run", labels="no-column"), "'no-column'"),
    (lambda: robustness("run", parts="corp"), "parts corp"),
    (lambda: cross_domain("no-run", "no-data"), "no-data"),
  ],
)
def test_a_lone_string_is_named_whole(call, named):
  with pytest.raises(UserError, match=named):
    call()


def test_nothing_is_no_list():
  with pytest.raises(UserError, match="split=None: expected one, or a list"):
    export("run", data="data", split=None, out="out")


def test_a_lone_kind_of_classifier_is_that_kind():
  rows = np.random.default_rng(0).normal(size=(40, 4)), list("ab" * 20)
  one = probe(rows, None, rows, kinds="knn", neighbours=3, bootstrap=0)
  several = probe(
    rows, None, rows, kinds=("knn",), neighbours=(3,), bootstrap=0
  )
  assert one.summary == several.summary
  with pytest.raises(UserError, match=r"\['nkn'\]"):
    probe(rows, None, rows, kinds="nkn")
