"""Gathers what a page shows of a model: attention, what it recovers."""

import html
from typing import Any

from item_jax.evaluation.explanation import Explained, Explanation, MaskedToken
from item_jax.evaluation.page.pictures import lit, to_address
from item_jax.evaluation.page.section import Table
from item_jax.evaluation.results import to_html as table_html

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
    "summary": f"Checkpoint of step {explained.step:,}{_untaught(explained)};"
    f" {len(explained.listings)} listings of the split {explained.split!r} with"
    " image and title, drawn by chance.",
    "notes": explained.notes,
    "listings": [_listing(one) for one in explained.listings],
  }


def _untaught(explained: Explanation) -> str:
  return "" if explained.step else ", before any step of the run"


def to_html(explained: Explanation) -> str:
  """What a notebook shows of an explanation, as the page does."""
  held = gather(explained)
  assert held is not None
  said = [held["summary"], *held["notes"]]
  parts = [f"<p>{html.escape(text)}</p>" for text in said]
  for one in held["listings"]:
    parts.append(f"<h4>{html.escape(one['title'])}</h4>")
    cells = [
      f'<td><img src="{address}" alt="" width="96"><br>{html.escape(name)}</td>'
      for name, address in one["pictures"]
    ]
    parts.append(f"<table><tr>{''.join(cells)}</tr></table>")
    for layer in one["attention"]:
      tokens = ", ".join(f"{token} {w:.1%}" for token, w, _ in layer["tokens"])
      text = f"{layer['layers']}: {layer['shares']}; {tokens}"
      parts.append(f"<p>{html.escape(text)}</p>")
    if masked := one["masked"]:
      names = masked.columns
      lines = [dict(zip(names, x, strict=True)) for x in masked.lines]
      parts.append(table_html(lines))
  return "".join(parts)


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


def _table(masked: list[MaskedToken]) -> Table:
  names = list(masked[0].predictions)
  return Table(
    "Masked tokens, and the likeliest ones in their place",
    ["stood there", "shown", *(name.upper() for name in names)],
    [
      [f"{one.position + 1}. {one.token}", one.shown]
      + [_likeliest(one, name) for name in names]
      for one in masked
    ],
  )


def _likeliest(one: MaskedToken, name: str) -> str:
  parts = []
  for token, p in one.predictions[name]:
    said = f"{p:.2f}" if p >= 0.005 else "<0.01"
    parts.append(f"{token} {said}" + " \u2713" * (token == one.token))
  return ", ".join(parts)
