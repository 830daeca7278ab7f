"""Refuses vectors that are put beside each other and do not belong together."""

from collections.abc import Iterable

from item_jax.errors import UserError
from item_jax.evaluation.items import Items
from item_jax.evaluation.sources import Source


def check_one_system(*sources: Source) -> None:
  """Refuses vectors of several weights, modalities or widths."""
  for what in ("checkpoint", "modality", "dims"):
    values = [str(source.system.get(what)) for source in sources]
    if len(set(values)) > 1:
      names = ", ".join(source.name for source in sources)
      raise UserError(
        f"{names} are exports of different systems: {what} is"
        f" {', '.join(values)}"
      )


def check_one_space(source: Source, other: Source) -> None:
  """Refuses two sources whose cosines with each other say nothing.

  Of exports that is known: weights and transform must be the same. Of other
  vectors no more than their widths is.
  """
  dims = [one.vectors.shape[1] for one in (source, other)]
  if dims[0] != dims[1]:
    raise UserError(
      f"{source.name} has {dims[0]} values a row, {other.name} has {dims[1]}:"
      " expected vectors of one space"
    )
  if source.export is None or other.export is None:
    return
  spaces = [
    (one.meta.get("checkpoint"), one.meta["files"].get("transform.npz"))
    for one in (source.export, other.export)
  ]
  if spaces[0] != spaces[1]:
    raise UserError(
      f"{source.name} and {other.name} are exports of different weights or"
      " transforms, so a cosine between them says nothing: `item-jax export"
      " --like` embeds in the space of another export"
    )


def shared_roles(opened: Iterable[tuple[str, Items]]) -> list[str] | None:
  """The roles of the same rows (name, items), by those that say any.

  Raises:
    UserError: two say different ones.
  """
  first, roles = "", None
  for name, items in opened:
    if items.roles is None:
      continue
    if roles is not None and items.roles != roles:
      raise UserError(
        f"{first} and {name} do not say the same of which rows are queries and"
        " which are searched (role)"
      )
    first, roles = name, items.roles
  return roles


def check_same_rows(name: str, items: Items, other: str, theirs: Items) -> None:
  """Refuses items that are not row for row those of `other`."""
  if len(items.ids) != len(theirs.ids):
    raise UserError(
      f"{name} has {len(items.ids)} rows, {other} has {len(theirs.ids)}:"
      " expected the same listings"
    )
  for what, left_N, right_N in (
    ("listing", items.ids, theirs.ids),
    ("of product", items.products, theirs.products),
  ):
    for row, (left, right) in enumerate(zip(left_N, right_N, strict=True)):
      if left != right:
        raise UserError(
          f"row {row} is {what} {left!r} in {name} and {right!r} in {other}:"
          " expected the same listings"
        )


def check_apart(*sources: Source) -> None:
  """Refuses vectors that have a listing in common."""
  home: dict[str, str] = {}
  for source in sources:
    for name in source.items.ids:
      if name in home:
        raise UserError(
          f"listing {name!r} is in {home[name]} and in {source.name}: what is"
          " scored must not be learnt from, nor anything be chosen by it"
        )
    home |= dict.fromkeys(source.items.ids, source.name)
