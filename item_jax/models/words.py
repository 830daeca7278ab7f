"""Whole words of a title's tokens, inside a network.

A vocabulary cuts words that it lacks into pieces, which other words have too:
two products whose names share a syllable look alike, and the name that tells
a product apart counts little. A word of several pieces has a place of its own
here, found by a hash of them; the table of words needs no row for it, and words
that no training title had are told apart as well.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_WITH_LAST, _WITH_NEXT = 1, 2  # bits of `joins`


class Words(NamedTuple):
  """Of each token, int32 or bool [B,T], uint32 `code_BT`.

  first_BT: a word begins. many_BT: its word has more tokens than one.
  code_BT: a hash of its word's tokens and their order.
  """

  first_BT: jax.Array
  many_BT: jax.Array
  code_BT: jax.Array


def joins(joins_V2: np.ndarray, size: int) -> np.ndarray:
  """What `find_words` reads of each of `size` tokens, float32.

  Args:
    joins_V2: whether a token may be one word with the token before it, and with
      the one after it; both neighbours must agree.
  """
  bits_V = joins_V2 @ np.array([_WITH_LAST, _WITH_NEXT], np.float32)
  return np.pad(bits_V, (0, size - len(bits_V)))


def find_words(tokens_BT, real_BT, joins_V) -> Words:
  """Finds which tokens are one word.

  Args:
    real_BT: whether a token is there; a word ends where one is not.
    joins_V: as `joins` makes it.
  """
  joins_BT = joins_V[tokens_BT].astype(jnp.int32)
  ends_BT = real_BT & (joins_BT & _WITH_NEXT > 0)
  before_BT = jnp.pad(ends_BT[:, :-1], ((0, 0), (1, 0)))
  joined_BT = before_BT & real_BT & (joins_BT & _WITH_LAST > 0)
  word_BT = jnp.cumsum(~joined_BT, axis=1)
  same_BTT = word_BT[:, :, None] == word_BT[:, None, :]
  place_T = jnp.arange(tokens_BT.shape[1])
  begin_BT = jax.lax.cummax(jnp.where(joined_BT, 0, place_T), axis=1)
  # A sum of hashes is one of the word, as each knows its place in it.
  piece_BT = _mixed(_mixed(tokens_BT) + (place_T - begin_BT).astype(jnp.uint32))
  code_BT = jnp.where(same_BTT, piece_BT[:, None], 0).sum(-1, dtype=jnp.uint32)
  return Words(real_BT & ~joined_BT, same_BTT.sum(-1) > 1, code_BT)


def directions(code_BT, width: int):
  """Of each code a direction of unit length, float32 [B,T,width].

  Those of two codes are as good as independent: their cosine has a deviation of
  1 / sqrt(width).
  """
  draws_W = _mixed(jnp.arange(1, width + 1))
  bits_BTW = _mixed(code_BT[..., None] ^ draws_W) >> 31
  return jnp.where(bits_BTW > 0, 1.0, -1.0) * width**-0.5


def _mixed(x):
  """Bits that each depend on all bits of x, uint32: MurmurHash3's last step."""
  x = x.astype(jnp.uint32)
  x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
  return x ^ (x >> 16)
