"""Builds the stem that `config.model.stem` names."""

import functools

from item_jax.config import Config
from item_jax.errors import UserError
from item_jax.models import efficientnet, resnet
from item_jax.models.stem import Stem, averaged, with_appearance

_MAKERS = {
  "efficientnet_lite0": efficientnet.make_stem,
  "efficientnet_lite0_blocks": functools.partial(
    efficientnet.make_stem, head=False
  ),
  "resnet50": resnet.make_stem,
}


def make_stem(config: Config) -> Stem | None:
  """The stem of a run's network; None where it cuts images into patches.

  Raises:
    UserError: its grid has fewer places than are wanted, or they do not divide
      pixels that are to be hidden or recovered.
  """
  m = config.model
  if m.stem == "patch":
    return None
  stem = _MAKERS[m.stem](config)
  if m.stem_grid > stem.side:
    raise UserError(
      f"model.stem_grid={m.stem_grid}: {m.stem} has {stem.side} places a side"
      f" at model.image_size={m.image_size}"
    )
  if m.stem_grid not in (0, stem.side):
    stem = averaged(stem, m.stem_grid)
  trained = config.optim.stem_rate > 0
  of_pixels = trained or config.loss.mim_target == "pixels"
  if of_pixels and m.image_size % stem.side:
    raise UserError(
      f"model.image_size={m.image_size} is not divisible by the {stem.side}"
      f" places a side of model.stem={m.stem}, whose pixels are hidden or"
      " recovered"
    )
  if m.sides:
    stem = with_appearance(stem)
  return stem._replace(trained=trained, kept=bool(config.data.features))
