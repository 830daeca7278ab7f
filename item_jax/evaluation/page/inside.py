"""Gathers what a page shows of a model: attention, what it recovers."""

from typing import Any

from item_jax.evaluation.explanation import Explained, Explanation, MaskedToken
from item_jax.evaluation.page.pictures import lit, to_address

_CAPTIONS = {
  "masked": "masked",
  "mim": "recovered by MIM",
  "gmim": "recovered by GMIM, from [CLS]",
}


def gather(explained: Explanation | None) -> dict[str, Any] | None:
  """What the template shows of an explanation."""
  if explained is None:
    return None
  return {
    "summary": f"Checkpoint of step {explained.step:,};"
    f" {len(explained.listings)} listings of the split {explained.split!r} with"
    " image and title, drawn by chance.",
    "notes": explained.notes,
    "listings": [_listing(one) for one in explained.listings],
  }


def _listing(one: Explained) -> dict[str, Any]:
  pictures = [("as the model sees it", one.image_HWC)]
  pictures += [
    (f"attention, {layers}", lit(one.image_HWC, found.patches_N))
    for layers, found in one.attention.items()
  ]
  pictures += [(_CAPTIONS[name], x) for name, x in one.pictures.items()]
  return {
    "row": one.row,
    "id": one.id,
    "title": one.title,
    "pictures": [(name, to_address(x)) for name, x in pictures],
    "attention": [
      {
        "layers": layers,
        "shares": f"[CLS] {found.cls:.0%}, image {found.patches_N.sum():.0%},"
        f" title {found.tokens_T.sum():.0%}",
        "tokens": [
          (token, weight, weight / max(found.tokens_T.max(), 1e-9))
          for token, weight in zip(
            one.tokens, found.tokens_T.tolist(), strict=True
          )
        ],
      }
      for layers, found in one.attention.items()
    ],
    "masked": _table(one.masked_tokens) if one.masked_tokens else None,
  }


def _table(masked: list[MaskedToken]) -> dict[str, Any]:
  names = list(masked[0].predictions)
  return {
    "caption": "Masked tokens, and the likeliest ones in their place",
    "columns": ["stood there", "shown", *(name.upper() for name in names)],
    "lines": [
      [f"{one.position + 1}. {one.token}", one.shown]
      + [_likeliest(one, name) for name in names]
      for one in masked
    ],
  }


def _likeliest(one: MaskedToken, name: str) -> str:
  return ", ".join(
    f"{token} {p:.2f}" + " \u2713" * (token == one.token)
    for token, p in one.predictions[name]
  )
