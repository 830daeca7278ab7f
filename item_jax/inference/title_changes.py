"""Changes titles as sellers write them, at five strengths."""

import numpy as np

from item_jax.inference.image_changes import Change, draw

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
# What is put into titles to be found by anybody, and says nothing of a product.
_STUFFING = (
  *("new", "hot", "sale", "best", "quality", "free", "shipping", "original"),
  *("genuine", "gift", "fashion", "luxury", "premium", "cheap", "discount"),
  *("top", "brand", "fast", "delivery", "special", "offer", "trendy", "style"),
  *("popular", "must", "have", "limited"),
)


def change_title(
  title: str, name: str, strength: int, *, listing: str, seed: int = 0
) -> str:
  """Changes a title; arguments as of `image_changes.change_image`.

  Words are what stands between spaces. At least one of them stays.
  """
  words = title.split()
  if not strength or not words:
    return title
  change = TITLE_CHANGES[name]
  random = draw(name, listing, seed)
  return " ".join(change.apply(words, change.strengths[strength - 1], random))


def _dropped(words: list[str], rate: float, random) -> list[str]:
  lot = random.random(len(words))
  lot[lot.argmax()] = 1  # a title without a word would be none
  return [word for word, own in zip(words, lot, strict=True) if own >= rate]


def _shuffled(words: list[str], rate: float, random) -> list[str]:
  """Words of this part of the places in another order."""
  moved = np.flatnonzero(random.random(len(words)) < rate)
  found = list(words)
  for place, other in zip(moved, random.permutation(moved), strict=True):
    found[place] = words[other]
  return found


def _misspelt(words: list[str], rate: float, random) -> list[str]:
  """One wrong letter in this part of the words."""
  wrong = [_misspell(word, random) for word in words]
  lot = random.random(len(words))
  return [
    bad if own < rate else word
    for word, bad, own in zip(words, wrong, lot, strict=True)
  ]


def _misspell(word: str, random) -> str:
  """Swaps two letters, or leaves out, doubles or replaces one."""
  at = int(random.integers(len(word)))
  before, letter, after = word[:at], word[at], word[at + 1 :]
  kind = random.integers(4)
  if kind == 0 and after:
    return before + after[0] + letter + after[1:]
  if kind == 1 and len(word) > 1:
    return before + after
  if kind == 2:
    return before + letter * 2 + after
  return before + _LETTERS[random.integers(len(_LETTERS))] + after


def _stuffed(words: list[str], count: float, random) -> list[str]:
  """So many more words, anywhere."""
  found = list(words)
  for word in random.choice(_STUFFING, int(count)).tolist():
    found.insert(int(random.integers(len(found) + 1)), word)
  return found


TITLE_CHANGES = {
  "dropped": Change(_dropped, (0.1, 0.2, 0.4, 0.6, 0.8)),
  "shuffled": Change(_shuffled, (0.2, 0.4, 0.6, 0.8, 1.0)),
  "misspelt": Change(_misspelt, (0.1, 0.2, 0.4, 0.6, 0.8)),
  "stuffed": Change(_stuffed, (1, 2, 4, 8, 16)),
}
