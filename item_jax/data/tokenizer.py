"""Trains WordPiece vocabularies on titles, and cuts titles into token ids."""

import functools
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import (
  decoders,
  models,
  normalizers,
  pre_tokenizers,
  trainers,
)

from item_jax.data import scripts, vocabularies
from item_jax.data.vocabularies import read_tokenizer
from item_jax.errors import UserError, check_path, check_whole
from item_jax.files import whole_file

SPECIAL = vocabularies.BERT  # ids 0 to 4
# The names of the same five tokens in other families of tokenizers.
_ROLES = {
  "pad": ("[PAD]", "<pad>", "<|pad|>"),
  "unk": ("[UNK]", "<unk>", "<|unk|>"),
  "cls": ("[CLS]", "<s>", "<|startoftext|>"),
  "sep": ("[SEP]", "</s>", "<|endoftext|>"),
  "mask": ("[MASK]", "<mask>", "<|mask|>"),
}
MAX_VOCAB_SIZE = 2_000_000
MIN_FREQUENCY = 2  # nothing is learned from a piece seen once


def check_size(vocab_size: int) -> None:
  """Refuses a vocabulary that `train_wordpiece` cannot train.

  Raises:
    UserError: so many tokens are too few or too many.
  """
  least = 2 * len(SPECIAL)
  check_whole("vocab_size", vocab_size, at_least=0)
  if not least <= vocab_size <= MAX_VOCAB_SIZE:
    raise UserError(
      f"a vocabulary of {vocab_size} tokens, {len(SPECIAL)} of them special:"
      f" expected {least} to {MAX_VOCAB_SIZE:,}"
    )


def train_wordpiece(
  titles: Iterable[str], *, vocab_size: int = 30_522
) -> tokenizers.Tokenizer:
  """Trains an uncased WordPiece vocabulary on titles.

  The result depends only on the titles, not on their order, on threads or on
  the process.

  Args:
    titles: any number of them; empty ones are skipped.
    vocab_size: at most so many tokens, the five special ones included.

  Raises:
    UserError: there is no title, or `check_size` refuses.
  """
  check_size(vocab_size)
  counts = _count_words(titles)
  if not counts:
    raise UserError("no training title to train a vocabulary on")
  single, inner = _alphabet(counts, (vocab_size - len(SPECIAL)) // 4)
  trainer = trainers.WordPieceTrainer(
    vocab_size=vocab_size,
    min_frequency=MIN_FREQUENCY,
    # The trainer numbers pieces like ##a in the order of a randomly seeded
    # hash table, and breaks ties by number. Given as special words they have
    # a fixed number, and the result is the same in every process.
    special_tokens=[*SPECIAL, *single, *inner],
    initial_alphabet=single,
    limit_alphabet=len(single),
    show_progress=False,
  )
  learner = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
  learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
  learner.train_from_iterator(_repeated(counts), trainer=trainer)
  return wordpiece(learner.get_vocab(with_added_tokens=True))


def wordpiece(
  vocabulary: Mapping[str, int] | Sequence[str],
) -> tokenizers.Tokenizer:
  """Builds an uncased WordPiece tokenizer.

  Args:
    vocabulary: {token: id}, or the tokens in the order of their ids; with the
      special tokens.
  """
  if not isinstance(vocabulary, Mapping):
    vocabulary = {token: number for number, token in enumerate(vocabulary)}
  tokenizer = tokenizers.Tokenizer(
    models.WordPiece(dict(vocabulary), unk_token="[UNK]")
  )
  tokenizer.normalizer = scripts.folding()
  tokenizer.pre_tokenizer = scripts.cutting(vocabulary)
  tokenizer.decoder = decoders.WordPiece()
  tokenizer.add_special_tokens(list(SPECIAL))
  return tokenizer


def _count_words(titles):
  folding, cutting = scripts.folding(), scripts.cutting()
  plain = normalizers.BertNormalizer()  # the same for ASCII, twice as fast
  counts = Counter()
  for title in titles:
    rule = plain if title.isascii() else folding
    pieces = cutting.pre_tokenize_str(rule.normalize_str(title))
    counts.update(word for word, _ in pieces)
  return counts


def _alphabet(counts, room):
  """Finds the most frequent characters, alone and as they continue a word."""
  seen = Counter()
  for word, count in counts.items():
    for character in word:
      seen[character] += count
  ranked = sorted(seen, key=lambda c: (-seen[c], c))[:room]
  single = sorted(ranked)
  inside = {character for word in counts for character in word[1:]}
  return single, [f"##{c}" for c in single if c in inside]


def _repeated(counts):
  """Yields lines in which each word occurs as often as it was counted."""
  for word, count in sorted(counts.items()):
    while count > 0:
      now = min(count, 256)
      yield " ".join([word] * now)
      count -= now


def load_tokenizer(path: str | os.PathLike) -> "Tokenizer":
  """Opens a tokenizer's file, or the folder that holds it.

  Args:
    path: a `tokenizer.json`, a `vocab.txt` of a BERT, a `vocab.json` with
      `merges.txt` beside it, or a folder that holds one of them.

  Raises:
    NotFoundError: there is no such file.
    UserError: it is none of these, or lacks one of the five special tokens.
  """
  check_path(path, "tokenizer")
  path = Path(path)
  return Tokenizer(read_tokenizer(path), origin=str(path))


class Tokenizer:
  """Cuts titles into the tokens of a vocabulary; can be pickled.

  size: ids go from 0 to size - 1. pad, unk, cls, sep, mask: ids. special:
  ids of all special tokens, ascending. added: ids of the tokens that CLIP's
  own vocabulary lacks: weights trained with it have no rows for them.
  fingerprint: SHA-256 (hexadecimal) of the bytes that `save` writes.
  """

  def __init__(self, text: str, *, origin: str = "tokenizer"):
    self._text = text
    self._origin = origin
    self._tokenizer = vocabularies.parse(text, origin)
    self._tokenizer.no_truncation()
    self._tokenizer.no_padding()
    # "[MASK]" in a title must not become the special token.
    self._tokenizer.encode_special_tokens = True
    vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
    found = {
      role: vocabulary[name]
      for role, names in _ROLES.items()
      for name in reversed(names)  # the first one wins
      if name in vocabulary
    }
    missing = [
      " or ".join(names[:2]) for r, names in _ROLES.items() if r not in found
    ]
    if missing:
      raise UserError(f"{origin} lacks the tokens {', '.join(missing)}")
    self.pad, self.unk, self.cls, self.sep, self.mask = found.values()
    added = self._tokenizer.get_added_tokens_decoder()
    reserved = {i for i, token in added.items() if token.special}
    self.special = tuple(sorted(reserved | set(found.values())))
    self.added = tuple(
      vocabulary[t] for t in vocabularies.CLIP_ADDED if t in vocabulary
    )
    self.size = max(vocabulary.values()) + 1
    if self.size > MAX_VOCAB_SIZE:
      raise UserError(
        f"{origin} has a token with the id {self.size - 1:,}; expected"
        f" less than {MAX_VOCAB_SIZE:,}, because a model keeps a row for each"
      )
    self.fingerprint = hashlib.sha256(text.encode()).hexdigest()

  def __reduce__(self):
    return functools.partial(Tokenizer, origin=self._origin), (self._text,)

  def encode(self, title: str, length: int) -> np.ndarray:
    """Encodes a title as int32 [length]: tokens (cut to fit), [SEP], padding.

    A title without a token is all padding.
    """
    row = np.full(length, self.pad, np.int32)
    ids = self._ids(title)[: length - 1]
    if ids:
      row[: len(ids)] = ids
      row[len(ids)] = self.sep
    return row

  def ids(self) -> dict[str, int]:
    """Returns the id of every token."""
    return self._tokenizer.get_vocab(with_added_tokens=True)

  def joins(self) -> np.ndarray:
    """Which tokens may be one word with a neighbour, bool [size, 2].

    With the token before it, with the one after it: both of two neighbours
    must, for them to be one word. Special tokens are with none.
    """
    joins_V2 = np.zeros((self.size, 2), bool)
    join = vocabularies.joining(self._text)
    for token, number in self.ids().items():
      joins_V2[number] = join(token)
    joins_V2[list(self.special)] = False
    return joins_V2

  def count(self, title: str) -> int:
    """Counts a title's tokens before it is cut, without [SEP]."""
    return len(self._ids(title))

  def counts(self, titles: list[str]) -> list[int]:
    """Counts the tokens of many titles at once, on all cores."""
    return list(map(len, self.tokens(titles)))

  def tokens(self, titles: list[str]) -> list[list[int]]:
    """Encodes many titles at once, uncut and without [SEP], on all cores."""
    encoded = self._tokenizer.encode_batch_fast(
      titles, add_special_tokens=False
    )
    return [encoding.ids for encoding in encoded]

  def _ids(self, title):
    return self._tokenizer.encode(title, add_special_tokens=False).ids

  def save(self, path: str | os.PathLike) -> None:
    """Writes a tokenizer.json that `load_tokenizer` opens."""
    with whole_file(path) as file:
      file.write(self._text.encode())
