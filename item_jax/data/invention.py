"""Invents products: a seed and an index in, attributes and titles out.

A product is thirteen attributes. Photo and title share five of them, four
are visible in the photo alone and four are said in the title alone; each
listing hides or leaves out some of those. Products come in families, grown by
changing one attribute of an earlier member, so that near misses are common.
"""

from typing import NamedTuple

import numpy as np


class Product(NamedTuple):
  """What is true of a product, whichever of its listings one looks at."""

  kind: str  # a key of KINDS
  brand: str  # a key of BRANDS; the word in titles, the mark in photos
  colour: str  # a key of COLOURS
  second: str  # a key of COLOURS, never `colour`
  pattern: str  # a key of PATTERNS
  scale: int  # 0 fine, 1 middle, 2 coarse; 0 where the pattern is plain
  place: int  # 0..2, where on the object the brand's mark sits
  form: int  # 0 slim, 1 regular, 2 wide
  trim: int  # 0 none, 1 a band at the top, 2 a band at the bottom
  material: str  # one of KINDS[kind].materials
  size: str  # one of KINDS[kind].sizes
  line: str  # one of LINES
  code: str  # one of CODES


SHARED = ("kind", "brand", "colour", "second", "pattern")
PHOTO_ONLY = ("scale", "place", "form", "trim")
TITLE_ONLY = ("material", "size", "line", "code")

FAMILY = 16  # products grown from one design


class Kind(NamedTuple):
  """A leaf category, and what sellers call its products."""

  category: str  # path, levels joined by " > "
  nouns: tuple[str, ...]
  materials: tuple[str, ...]
  sizes: tuple[str, ...]


def _sizes(unit: str, *numbers: int) -> tuple[str, ...]:
  return tuple(f"{number} {unit}" for number in numbers)


_POTTERY = ("ceramic", "stoneware", "porcelain", "glass")
_CLOTH = ("cotton", "linen", "wool", "polyester")
_SOLID = ("wood", "steel", "plastic", "bamboo")
_WORN = ("small", "medium", "large", "extra large")

KINDS = {
  "mug": Kind(
    "Home > Kitchen > Mugs",
    ("mug", "coffee cup", "tea mug"),
    _POTTERY,
    _sizes("ml", 250, 330, 400, 500),
  ),
  "bottle": Kind(
    "Home > Kitchen > Bottles",
    ("bottle", "water flask", "drinking bottle"),
    _SOLID,
    _sizes("ml", 350, 500, 750, 1000),
  ),
  "plate": Kind(
    "Home > Kitchen > Plates",
    ("plate", "dinner plate", "serving dish"),
    _POTTERY,
    _sizes("cm", 18, 22, 26, 30),
  ),
  "teapot": Kind(
    "Home > Kitchen > Teapots",
    ("teapot", "tea pot", "tea maker"),
    _POTTERY,
    _sizes("ml", 600, 800, 1000, 1200),
  ),
  "vase": Kind(
    "Home > Living > Vases",
    ("vase", "flower vase", "flower holder"),
    _POTTERY,
    _sizes("cm", 15, 20, 25, 32),
  ),
  "lamp": Kind(
    "Home > Living > Lamps",
    ("lamp", "table lamp", "bedside light"),
    _SOLID,
    _sizes("cm", 28, 35, 42, 55),
  ),
  "clock": Kind(
    "Home > Living > Clocks",
    ("clock", "wall clock", "kitchen clock"),
    _SOLID,
    _sizes("cm", 20, 25, 30, 40),
  ),
  "cushion": Kind(
    "Home > Living > Cushions",
    ("cushion", "throw pillow", "sofa cushion"),
    _CLOTH,
    _sizes("cm", 30, 40, 45, 60),
  ),
  "chair": Kind(
    "Home > Furniture > Chairs",
    ("chair", "dining chair", "kitchen seat"),
    _SOLID,
    _sizes("cm", 42, 45, 48, 52),
  ),
  "shirt": Kind(
    "Fashion > Clothing > T-shirts",
    ("t-shirt", "tee", "short sleeve shirt"),
    _CLOTH,
    _WORN,
  ),
  "dress": Kind(
    "Fashion > Clothing > Dresses",
    ("dress", "summer dress", "gown"),
    _CLOTH,
    _WORN,
  ),
  "shorts": Kind(
    "Fashion > Clothing > Shorts",
    ("shorts", "short pants", "bermudas"),
    _CLOTH,
    _WORN,
  ),
  "sock": Kind(
    "Fashion > Clothing > Socks",
    ("socks", "pair of socks", "ankle socks"),
    _CLOTH,
    _WORN,
  ),
  "hat": Kind(
    "Fashion > Accessories > Hats",
    ("hat", "sun hat", "brimmed hat"),
    _CLOTH,
    _WORN,
  ),
  "tote": Kind(
    "Fashion > Accessories > Bags",
    ("bag", "tote", "shopper bag"),
    _CLOTH,
    _sizes("l", 8, 12, 16, 20),
  ),
  "backpack": Kind(
    "Fashion > Accessories > Backpacks",
    ("backpack", "rucksack", "daypack"),
    _CLOTH,
    _sizes("l", 14, 18, 24, 30),
  ),
  "umbrella": Kind(
    "Fashion > Accessories > Umbrellas",
    ("umbrella", "rain umbrella", "brolly"),
    _CLOTH,
    _sizes("cm", 90, 100, 110, 125),
  ),
  "kite": Kind(
    "Toys > Kites",
    ("kite", "flying kite", "single line kite"),
    _CLOTH,
    _sizes("cm", 60, 80, 110, 140),
  ),
}

COLOURS = {  # what sellers call them; the first is the commonest
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
}
_COLOUR_WEIGHTS = np.array([5, 4, 3, 3, 4, 3, 2, 2, 2, 2]) / 30

PATTERNS = {
  "plain": ("plain", "solid"),
  "stripes": ("striped", "stripes", "stripe"),
  "pinstripes": ("vertical stripe", "pinstripe", "lined"),
  "dots": ("dotted", "polka dot", "spots"),
  "check": ("checked", "chequered", "plaid"),
  "zigzag": ("zigzag", "chevron", "wave"),
}
_PATTERN_WEIGHTS = np.array([5, 2, 2, 2, 2, 2]) / 15

BRANDS = {  # word in the title -> mark on the object
  "Orvel": "disc",
  "Tamsin": "ring",
  "Quibo": "triangle",
  "Nardel": "square",
  "Fexo": "diamond",
  "Lumora": "cross",
  "Pavik": "star",
  "Zendry": "bars",
  "Mirl": "heart",
  "Kostrel": "moon",
}

LINES = ("Nova", "Classic", "Alto", "Breeze", "Prime", "Urban", "Duo", "Pure")
CODES = tuple(f"{letter}{n}" for letter in "ABKTX" for n in (10, 20, 30, 50))

_SYNONYMS = {
  **{noun.nouns[0]: noun.nouns for noun in KINDS.values()},
  "small": ("small", "S", "size S"),
  "medium": ("medium", "M", "size M"),
  "large": ("large", "L", "size L"),
  "extra large": ("extra large", "XL", "size XL"),
  "cotton": ("cotton", "100% cotton", "pure cotton"),
  "polyester": ("polyester", "poly", "microfibre"),
  "wool": ("wool", "woolen", "merino"),
  "steel": ("steel", "stainless steel", "metal"),
  "wood": ("wood", "wooden", "oak"),
  "porcelain": ("porcelain", "fine china", "bone china"),
  "stoneware": ("stoneware", "earthenware"),
  "ceramic": ("ceramic", "ceramics"),
}

_FILLERS = (
  "new", "free shipping", "genuine", "top quality", "gift idea", "sale",
  "best price", "boxed", "unused", "hot", "for home", "fast delivery", "rare",
  "must have", "original", "nice", "unisex", "great value", "limited", "style",
)  # fmt: skip

# How often a listing's title says an attribute.
SAID = {
  "brand": 0.65,
  "line": 0.45,
  "colour": 0.6,
  "second": 0.25,
  "pattern": 0.6,
  "material": 0.6,
  "kind": 0.92,
  "size": 0.6,
  "code": 0.3,
}

# Which attribute a new member of a family changes.
_CHANGES = {
  "size": 4,
  "material": 3,
  "line": 2,
  "code": 1,
  "colour": 4,
  "pattern": 1,
  "second": 2,
  "scale": 2,
  "place": 2,
  "form": 2,
  "trim": 2,
}


def stream(seed: int, *path: int) -> np.random.Generator:
  """Random numbers that depend on the seed and the path alone."""
  return np.random.Generator(
    np.random.Philox(np.random.SeedSequence(seed, spawn_key=path))
  )


def invent_product(seed: int, index: int) -> Product:
  """Product `index` of the catalogue `seed`, however many it has."""
  family, member = divmod(index, FAMILY)
  rng = stream(seed, 0, family)
  members = [_invent_design(rng)]
  while len(members) <= member:
    child = _change_one(members[rng.integers(len(members))], rng)
    if child not in members:
      members.append(child)
  return members[member]


def count_listings(seed: int, index: int) -> int:
  """How many listings a product has, 2 to 6."""
  return int(stream(seed, 1, index).integers(2, 7))


def say_title(
  product: Product, rng: np.random.Generator
) -> tuple[str, dict[str, str]]:
  """One listing's title and what it says: attribute -> the words for it.

  Reads no attribute of PHOTO_ONLY. 4 to 14 words.
  """
  said = {}
  for name, rate in SAID.items():
    chance, which = rng.random(2)
    if name == "second" and product.pattern == "plain":
      continue
    if name == "pattern" and product.pattern == "plain":
      rate /= 4  # sellers seldom write what is not there
    if chance < rate:
      said[name] = _word_for(product, name, which)
  phrases = list(said.values())
  if rng.random() < 0.5:
    rng.shuffle(phrases)
  fillers = [_FILLERS[i] for i in rng.permutation(len(_FILLERS))]
  wanted = rng.integers(0, 4)
  while wanted > 0 or _count(phrases) < 4:
    phrases.insert(rng.integers(len(phrases) + 1), fillers.pop())
    wanted -= 1
  while _count(phrases) > 14:
    phrases = [phrase for phrase in phrases if phrase not in _FILLERS]
  title = " ".join(phrases)
  case = rng.random()
  if case < 0.4:
    title = title.title()
  elif case < 0.5:
    title = title.upper()
  return title, said


def _invent_design(rng):
  kind = list(KINDS)[rng.integers(len(KINDS))]
  colour, second = rng.choice(
    list(COLOURS), 2, replace=False, p=_COLOUR_WEIGHTS
  )
  pattern = str(rng.choice(list(PATTERNS), p=_PATTERN_WEIGHTS))
  scale, place, form, trim = (int(value) for value in rng.integers(0, 3, 4))
  return Product(
    kind=kind,
    brand=str(rng.choice(list(BRANDS))),
    colour=str(colour),
    second=str(second),
    pattern=pattern,
    scale=0 if pattern == "plain" else scale,
    place=place,
    form=form,
    trim=trim,
    material=str(rng.choice(KINDS[kind].materials)),
    size=str(rng.choice(KINDS[kind].sizes)),
    line=str(rng.choice(LINES)),
    code=str(rng.choice(CODES)),
  )


def _change_one(product, rng):
  weights = np.array(list(_CHANGES.values()), float)
  name = str(rng.choice(list(_CHANGES), p=weights / weights.sum()))
  values = {
    "size": KINDS[product.kind].sizes,
    "material": KINDS[product.kind].materials,
    "line": LINES,
    "code": CODES,
    "colour": [value for value in COLOURS if value != product.second],
    "second": [value for value in COLOURS if value != product.colour],
    # A plain product has no scale, so plain and patterned differ in two.
    "pattern": [
      value
      for value in PATTERNS
      if (value == "plain") == (product.pattern == "plain")
    ],
    "scale": (0,) if product.pattern == "plain" else (0, 1, 2),
  }.get(name, (0, 1, 2))
  return product._replace(**{name: values[rng.integers(len(values))]})


def _word_for(product, name, which):
  """The words for an attribute; `which` in [0, 1) picks a synonym."""
  value = getattr(product, name)
  if name == "kind":
    words = KINDS[value].nouns
  elif name in ("colour", "second"):
    words = COLOURS[value]
  elif name == "pattern":
    words = PATTERNS[value]
  elif name == "size" and value not in _WORN:
    words = (value, value.replace(" ", ""))
  else:
    words = _SYNONYMS.get(value, (value,))
  # Half of the time the common word, else one of them all.
  return words[0] if which < 0.5 else words[int((which - 0.5) * 2 * len(words))]


def _count(phrases):
  return sum(len(phrase.split()) for phrase in phrases)
