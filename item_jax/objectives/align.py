"""A sixth objective, beyond the paper: two views of a listing in, how much
nearer they are to each other than to the other listings' views out.

paper: not stated; ours, because the paper's five reward [CLS] for what it
knows of both sides together, and nothing makes it the same vector when one of
them is missing.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from item_jax.batch import Batch
from item_jax.models import layers
from item_jax.objectives import contrastive, views
from item_jax.objectives.base import Objective
from item_jax.objectives.keys import key_for

KINDS = {
  "sides": ("sides",),
  "twins": ("twins",),
  "both": ("sides", "twins"),
}


class View(NamedTuple):
  batch: Batch  # as it came: nothing hidden, nothing swapped
  twins: tuple[Batch, ...]  # two, where that kind is asked for


def make_align(
  embed: Callable,
  *,
  weight: float,
  kinds: str,
  fused: bool,
  changed: int,
  crop: float,
  light: float,
  token_drop: float,
  modality_drop: float,
  special: tuple[int, ...],
  pad: int,
) -> Objective:
  """An `Objective` of its own, or a part of `pretrain`'s.

  "sides" are the listing without its title and without its photo, from the
  short sequences; "twins" two views of it that differ in crop, light, words
  and sides, from whole ones. "align" is the mean of the kinds asked for.
  Needs the whole global batch in one piece: no accumulation.

  Args:
    embed: (params, batch, *, side, key) -> [B,D], side "both", "image" or
      "title"; `key` is dropout's.
    kinds: `align.views` of the config, where the other options are told, too.
    special: ids of the reserved words; pad: of padding.
  """
  kinds = KINDS[kinds]

  def twin(root, step, batch: Batch, number: int) -> Batch:
    keys = jax.random.split(key_for(root, step, f"align/twin/{number}"), 4)
    image_BHWC = views.crop(keys[0], batch.image_BHWC, min_share=crop)
    tokens_BT = views.drop_tokens(
      keys[2], batch.tokens_BT, rate=token_drop, special=special, pad=pad
    )
    return views.drop_modalities(keys[3], batch, rate=modality_drop)._replace(
      image_BHWC=views.light(keys[1], image_BHWC, most=light),
      tokens_BT=tokens_BT,
    )

  def corrupt(root, step, batch: Batch) -> View:
    if "twins" not in kinds:
      return View(batch, ())
    other = twin(root, step, batch, 1) if changed == 2 else batch
    return View(batch, (twin(root, step, batch, 0), other))

  def counts(view: View) -> dict:
    rows = _rows(view.batch)
    said = {f"align_{kind}": rows[kind].sum() for kind in kinds}
    largest = said[f"align_{kinds[-1]}"]
    return said | {"align": largest, "align_accuracy": largest}

  def totals(params, view: View, key) -> tuple[dict, dict]:
    rows = _rows(view.batch)

    def look(batch, side, purpose):
      g_BD = embed(
        params, batch, side=side, key=key_for(key, 0, f"align/{purpose}")
      )
      return layers.unit(_project(params, g_BD))

    looks = {}
    if "sides" in kinds:
      sides = ("image", "title", "both") if fused else ("image", "title")
      looks["sides"] = [look(view.batch, side, side) for side in sides]
    if "twins" in kinds:
      looks["twins"] = [
        look(batch, "both", f"twin/{number}")
        for number, batch in enumerate(view.twins)
      ]
    said = {
      kind: _pull(looks[kind], params["align_scale"], view.batch, rows[kind])
      for kind in kinds
    }
    # The kinds count for the same, however many rows each of them has.
    largest = rows[kinds[-1]].sum()
    share = {
      kind: largest / jnp.maximum(rows[kind].sum(), 1.0) / len(kinds)
      for kind in kinds
    }
    return {f"align_{kind}": said[kind][0] for kind in kinds} | {
      "align": sum(share[kind] * said[kind][0] for kind in kinds),
      "align_accuracy": sum(share[kind] * said[kind][1] for kind in kinds),
    }, {}

  return Objective(corrupt, counts, totals, {"align": weight})


def init_params(
  key, *, dims: int, temperature: float, projection: int, std: float
) -> dict[str, Any]:
  """What `make_align` reads of params beside the network's own.

  Args:
    dims: width of the embedding.
    projection: width of the head; 0 for none.
    std: of the truncated normal that kernels start from.
  """
  made = {"align_scale": jnp.float32(-math.log(temperature))}
  if projection:
    normal = nn.initializers.truncated_normal(std)
    first_key, second_key = jax.random.split(key)
    made["align_head"] = {
      "first": {
        "kernel": normal(first_key, (dims, projection)),
        "bias": jnp.zeros(projection),
      },
      "second": {
        "kernel": normal(second_key, (projection, projection)),
        "bias": jnp.zeros(projection),
      },
    }
  return made


def _pull(looks, log_scale, batch: Batch, rows_B):
  """(nll, hits) summed over the rows, a mean over the pairs of looks."""
  pairs = [
    contrastive.similar_nll(
      looks[i],
      looks[j],
      log_scale,
      same_item_mask_BB=contrastive.alike(batch),
      valid_B=rows_B > 0,
    )
    for j in range(len(looks))
    for i in range(j)
  ]
  return (
    sum(pair.nll for pair in pairs) / len(pairs),
    sum(pair.forward + pair.backward for pair in pairs) / (2 * len(pairs)),
  )


def _project(params, g_BD):
  """The head of `init_params`, where there is one; float32."""
  g_BD = g_BD.astype(jnp.float32)
  if "align_head" not in params:
    return g_BD
  first, second = (params["align_head"][name] for name in ("first", "second"))
  h_BD = nn.gelu(g_BD @ first["kernel"] + first["bias"], approximate=False)
  return h_BD @ second["kernel"] + second["bias"]


def _rows(batch: Batch) -> dict:
  """{kind: float32 [B], 1 where the row takes part}."""
  image_B, title_B = batch.has_image_B, batch.has_title_B
  return {
    "sides": (image_B & title_B).astype(jnp.float32),
    "twins": (image_B | title_B).astype(jnp.float32),
  }
