"""Laws of the words that a title's side reads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import Tokenizer as Library
from tokenizers import models

from item_jax.data.tokenizer import Tokenizer, wordpiece
from item_jax.models.sides import Sides
from item_jax.models.words import directions, find_words, joins
from item_jax.training import fit_sides

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOKENS = [*SPECIAL, "red", "shoe", "za", "##ra", "##ri", "-"]
PAD, RED, SHOE, ZA, RA, RI, DASH = 0, 5, 6, 7, 8, 9, 10
V = 16  # rows of the table, some for no token
TITLES = np.array(
  [
    [RED, ZA, RA, SHOE, 0],  # red zara shoe
    [ZA, RA, DASH, RED, 0],  # zara-red
    [ZA, RI, RA, 0, 0],  # zarira
    [ZA, RA, RI, 0, 0],  # zarari
    [RED, SHOE, ZA, 0, 0],  # red shoe za
  ]
)


@pytest.fixture(scope="module")
def tokenizer():
  return Tokenizer(wordpiece(TOKENS).to_str())


@pytest.fixture
def found(tokenizer):
  joins_V = joins(tokenizer.joins(), V)
  words = find_words(TITLES, TITLES != PAD, joins_V)
  return jax.tree.map(np.asarray, words)


def test_a_word_begins_where_no_piece_goes_on(found):
  no, yes = False, True
  np.testing.assert_array_equal(
    found.first_BT,
    [
      [yes, yes, no, yes, no],
      [yes, no, yes, yes, no],
      [yes, no, no, no, no],
      [yes, no, no, no, no],
      [yes, yes, yes, no, no],
    ],
  )
  assert found.many_BT[0].tolist() == [no, yes, yes, no, no]
  assert not found.many_BT[4].any()


def test_the_same_pieces_in_the_same_order_are_the_same_word(found):
  zara, zara_red, zarira, zarari, za = (
    found.code_BT[title, at]
    for title, at in ((0, 1), (1, 0), (2, 0), (3, 0), (4, 2))
  )
  assert zara == zara_red == found.code_BT[0, 2]  # at another place as well
  assert len({zara, zarira, zarari, za}) == 4


def test_a_token_that_is_dropped_ends_a_word(tokenizer):
  real_BT = TITLES != PAD
  real_BT[2, 1] = False
  joins_V = joins(tokenizer.joins(), V)
  words = find_words(TITLES, real_BT, joins_V)
  assert words.first_BT[2].tolist() == [True, False, True, False, False]


def test_directions_are_of_unit_length_and_independent():
  width, codes = 64, jnp.arange(2_000, dtype=jnp.uint32)[None]
  rows_NW = np.asarray(directions(codes, width))[0]
  np.testing.assert_allclose(np.linalg.norm(rows_NW, axis=1), 1, rtol=1e-5)
  cosines = (rows_NW @ rows_NW.T)[np.triu_indices(len(rows_NW), 1)]
  # Of independent signs: mean 0, deviation 1 / sqrt(width).
  assert abs(cosines.mean()) < 0.002
  assert cosines.std() == pytest.approx(width**-0.5, rel=0.02)
  assert abs(rows_NW.mean()) < 0.002


@pytest.mark.parametrize(
  ("model", "settings", "expected"),
  [
    (
      models.BPE({"shoe</w>": 0, "za": 1, "ra</w>": 2, "-</w>": 3}, []),
      {"end_of_word_suffix": "</w>"},
      [(True, False), (True, True), (True, False), (False, False)],
    ),
    (
      models.BPE({"Ġshoe": 0, "ra": 1, ",": 2, "é": 3, "Ġ": 4}, []),
      {},
      [(False, True), (True, True), *[(False, False)] * 3],
    ),
    (
      models.Unigram([("▁za", 0.0), ("ra", 0.0), ("、", 0.0)], 0),
      {},
      [(False, True), (True, True), (False, False)],
    ),
    (
      models.BPE({"za": 0, "##ra": 1}, []),
      {"continuing_subword_prefix": "##"},
      [(False, True), (True, True)],
    ),
    # Of titles that were cut at blanks a token does not tell.
    (models.BPE({"za": 0, "ra": 1, "Ġ": 2}, []), {}, [(False, False)] * 3),
    (models.Unigram([("za", 0.0), ("ra", 0.0)], 0), {}, [(False, False)] * 2),
    (models.WordLevel({"za": 0, "▁ra": 1}, "za"), {}, [(False, False)] * 2),
  ],
)
def test_other_families_of_vocabularies_say_it_in_their_way(
  model, settings, expected
):
  for name, value in settings.items():
    setattr(model, name, value)
  library = Library(model)
  library.add_special_tokens(SPECIAL)
  found = Tokenizer(library.to_str()).joins()
  assert [tuple(row) for row in found[: len(expected)]] == expected
  assert not found[len(expected) :].any()  # special tokens are alone


def sided(tokenizer, whole_words):
  """Unit vectors of `TITLES`, whose side is learnt from them."""
  module = Sides(512, {}, V, 0.1, whole_words=whole_words)
  rest = jnp.zeros((len(TITLES), 2)), {}, TITLES, TITLES != PAD
  params = module.init(jax.random.key(0), *rest)["params"]
  ids_NT = TITLES
  special = tuple(range(len(SPECIAL)))
  if whole_words:
    params["joins"] = joins(tokenizer.joins(), V)
    ids_NT = fit_sides.word_ids(TITLES, TITLES != PAD, params["joins"])
    params["long_rarity"] = fit_sides.rarity(ids_NT - V, V)
  params["rarity"] = fit_sides.rarity(ids_NT, V, special=special)
  params["word"] = fit_sides.spread(params["word"], ids_NT, special=special)
  out = np.asarray(module.apply({"params": params}, *rest))[:, 2:]
  return out / np.linalg.norm(out, axis=1, keepdims=True)


def test_a_cosine_of_titles_is_that_of_their_words_by_tfidf(tokenizer):
  from sklearn.feature_extraction.text import TfidfVectorizer

  texts = ["red zara shoe", "zara - red", "zarira", "zarari", "red shoe za"]
  rows = TfidfVectorizer(token_pattern=r"\S+").fit_transform(texts).toarray()
  words = sided(tokenizer, whole_words=True)
  np.testing.assert_allclose(words @ words.T, rows @ rows.T, atol=0.08)
  pieces = sided(tokenizer, whole_words=False)
  assert (rows @ rows.T)[2, 3] == 0  # zarira and zarari
  assert (pieces @ pieces.T)[2, 3] > 0.9


def test_words_that_say_most_have_a_direction_to_themselves():
  """Of four axes two; counts 3, 2, 2 and 1 of three titles."""
  ids_NT = np.array([[3, 4, 5], [3, 4, 5], [3, 3, 6]])
  signs_VW = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
  made_VW = fit_sides.spread(signs_VW, ids_NT, special=(0,))
  # count x idf^2: 3 of word 3, 2 x 1.288^2 = 3.3 of 4 and 5, 2.9 of word 6.
  np.testing.assert_array_equal(made_VW[[4, 5]], np.eye(4)[:2])
  assert not made_VW[[3, 6, 7], :2].any()
  np.testing.assert_allclose(np.linalg.norm(made_VW, axis=1), 1, rtol=1e-6)
