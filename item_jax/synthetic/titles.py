"""Writes titles of synthetic products in the way that sellers do.

Sellers leave out attributes, change their order, use synonyms and add words
that sell, so a title fits several products and each product has many titles.
"""

import numpy as np

from item_jax.synthetic.products import Product

# How often a title names an attribute, in the order of a careful seller.
MENTION_RATES = {
  "brand": 0.75,
  "line": 0.55,
  "colour": 0.75,
  "second": 0.3,
  "pattern": 0.7,
  "material": 0.7,
  "kind": 0.95,
  "size": 0.75,
  "code": 0.35,
}

# value -> the words for it, the commonest first; other values have one.
SYNONYMS = {
  "mug": ("mug", "coffee cup", "tea mug"),
  "bottle": ("bottle", "water flask", "drinking bottle"),
  "plate": ("plate", "dinner plate", "serving dish"),
  "teapot": ("teapot", "tea pot", "tea maker"),
  "vase": ("vase", "flower vase", "flower holder"),
  "lamp": ("lamp", "table lamp", "bedside light"),
  "clock": ("clock", "wall clock", "kitchen clock"),
  "cushion": ("cushion", "throw pillow", "sofa cushion"),
  "chair": ("chair", "dining chair", "kitchen seat"),
  "shirt": ("t-shirt", "tee", "short sleeve shirt"),
  "dress": ("dress", "summer dress", "gown"),
  "shorts": ("shorts", "short pants", "bermudas"),
  "sock": ("socks", "pair of socks", "ankle socks"),
  "hat": ("hat", "sun hat", "brimmed hat"),
  "tote": ("bag", "tote", "shopper bag"),
  "backpack": ("backpack", "rucksack", "daypack"),
  "umbrella": ("umbrella", "rain umbrella", "brolly"),
  "kite": ("kite", "flying kite", "single line kite"),
  "black": ("black", "jet black", "ebony"),
  "white": ("white", "ivory", "snow"),
  "grey": ("grey", "gray", "silver"),
  "red": ("red", "scarlet", "crimson"),
  "blue": ("blue", "navy", "cobalt"),
  "green": ("green", "forest", "emerald"),
  "yellow": ("yellow", "lemon", "mustard"),
  "pink": ("pink", "rose", "blush"),
  "purple": ("purple", "violet", "plum"),
  "brown": ("brown", "chocolate", "tan"),
  "plain": ("plain", "solid"),
  "stripes": ("striped", "stripes", "stripe"),
  "pinstripes": ("pinstripe", "vertical stripe", "lined"),
  "dots": ("dotted", "polka dot", "spots"),
  "check": ("checked", "chequered", "plaid"),
  "zigzag": ("zigzag", "chevron", "wave"),
  "small": ("small", "S", "size S"),
  "medium": ("medium", "M", "size M"),
  "large": ("large", "L", "size L"),
  "extra large": ("extra large", "XL", "size XL"),
  "cotton": ("cotton", "100% cotton", "pure cotton"),
  "wool": ("wool", "woolen", "merino"),
  "polyester": ("polyester", "poly", "microfibre"),
  "wood": ("wood", "wooden", "oak"),
  "steel": ("steel", "stainless steel", "metal"),
  "ceramic": ("ceramic", "ceramics"),
  "stoneware": ("stoneware", "earthenware"),
  "porcelain": ("porcelain", "fine china", "bone china"),
}

FILLERS = (
  "new", "free shipping", "genuine", "top quality", "gift idea", "sale",
  "best price", "boxed", "unused", "hot", "for home", "fast delivery", "rare",
  "must have", "original", "nice", "unisex", "great value", "limited", "style",
)  # fmt: skip

_LEAST, _MOST = 4, 14  # words


def compose_title(
  product: Product, rng: np.random.Generator
) -> tuple[str, dict[str, str]]:
  """Writes a listing's title of 4 to 14 words; ignores IMAGE_ONLY attributes.

  Returns:
    The title, and {attribute: the words for it} of those that it names.
  """
  named = _choose(product, rng)
  phrases = list(named.values())
  if rng.random() < 0.5:
    rng.shuffle(phrases)
  fillers = [FILLERS[i] for i in rng.permutation(len(FILLERS))]
  wanted = rng.integers(0, 4)
  while wanted > 0 or _count(phrases) < _LEAST:
    phrases.insert(rng.integers(len(phrases) + 1), fillers.pop())
    wanted -= 1
  while _count(phrases) > _MOST:
    phrases.remove(next(phrase for phrase in phrases if phrase in FILLERS))
  return _in_case(" ".join(phrases), rng.random()), named


def _choose(product, rng):
  """Chooses attributes to name, by equally many random numbers each time."""
  named = {}
  for (name, rate), (chance, which) in zip(
    MENTION_RATES.items(), rng.random((len(MENTION_RATES), 2)), strict=True
  ):
    if product.pattern == "plain" and name in ("second", "pattern"):
      rate /= 4  # sellers seldom mention a plain pattern
    if chance < rate:
      named[name] = _word_for(getattr(product, name), which)
  return named


def _word_for(value, which):
  """Picks the words for a value: the commonest ones where `which` < 0.5."""
  words = SYNONYMS.get(value, (value,))
  if value[0].isdecimal():
    words = (value, value.replace(" ", ""))  # 330 ml, 330ml
  return words[0 if which < 0.5 else int((2 * which - 1) * len(words))]


def _in_case(title, which):
  if which < 0.1:
    return title.upper()
  if which < 0.5:
    return " ".join(word[0].upper() + word[1:] for word in title.split())
  return title


def _count(phrases):
  return sum(len(phrase.split()) for phrase in phrases)
