"""A Config in; the bytes that one training pass keeps beside the state out."""

from typing import NamedTuple

import jax.numpy as jnp

from item_jax.config import Config
from item_jax.models import memory
from item_jax.objectives import masking
from item_jax.tasks.networks import STAGES


class Activations(NamedTuple):
  """Bytes on one device."""

  pair: int  # for each pair of a pass
  table: int  # once: gradients of the word table, one of each of its decoders
  other: int  # for each pair and each pair that it is compared with


def count(
  config: Config, vocab_size: int, *, attention: str, chips: int
) -> Activations:
  """What is kept at the worst moment of a pass.

  That is when the last block's gradients are taken, or before that the
  heads'.

  Args:
    words: rows of the word table.
    attention: "xla" or "cudnn".
  """
  c = jnp.dtype(config.model.dtype).itemsize
  kept = working = 0
  for part in _parts(config, attention, chips):
    kept, working = kept + part[0], max(working, part[1])
  heads = _heads(config, vocab_size, c)
  decoders = {"item": 2, "mlm": 1}.get(config.task, 0)
  compared = config.task == "contrastive" or config.loss.align > 0
  return Activations(
    pair=kept + heads + max(working, heads),
    table=decoders * 4 * vocab_size * config.model.width,
    # Cosines, a softmax and a gradient each way.
    other=4 * 5 if compared else 0,
  )


def _heads(config: Config, vocab_size: int, c: int) -> int:
  m = config.model
  word = masking.max_masked_tokens(m.max_title_tokens, config.mask.title_rate)
  if config.task == "mlm":
    return memory.head_bytes(
      word, width=m.width, out=vocab_size, transforms=1, itemsize=c
    )
  if config.task != "item":
    return 0
  pixels = 3 * m.patch**2
  patch = masking.num_masked_patches(
    (m.image_size // m.patch) ** 2, config.mask.patch_rate
  )
  # A local and a global head each, of one and two transforms.
  return sum(
    memory.head_bytes(
      slots, width=m.width, out=2 * out, transforms=3, itemsize=c
    )
    for slots, out in ((word, vocab_size), (patch, pixels))
  )


def _parts(config: Config, attention: str, chips: int) -> list[tuple[int, int]]:
  """(kept, working) of each pass through an encoder."""
  m, k = config.model, config.clip
  c = jnp.dtype(m.dtype).itemsize
  patches = (m.image_size // m.patch) ** 2
  bits = 4 * (chips if m.dropout_bits == "rbg" else 1)
  dropped = bits + c if m.dropout else 0

  def encoder(places, patches=0, **sizes):
    sizes = {
      "layers": m.layers,
      "width": m.width,
      "mlp": m.mlp,
      "heads": m.heads,
    } | sizes
    kept, working = memory.encoder_bytes(
      sizes.pop("layers"),
      places=places,
      itemsize=c,
      attention=attention,
      dropped=dropped,
      remat=m.remat,
      **sizes,
    )
    # The patches, as the first product reads them.
    return kept + patches * 3 * m.patch**2 * c, working

  if m.name == "resnet50":
    return [
      memory.resnet_bytes(
        stages=STAGES,
        width=config.resnet.width,
        image_size=m.image_size,
        itemsize=c,
        norm=config.resnet.norm,
      )
    ]
  if m.name == "roberta":
    return [encoder(1 + m.max_title_tokens)]
  image = encoder(1 + patches, patches)
  if m.name == "clip":
    title = encoder(
      1 + m.max_title_tokens,
      layers=k.text_layers,
      width=k.text_width,
      mlp=k.text_mlp,
      heads=k.text_heads,
    )
    return [image, title]
  both = encoder(1 + patches + m.max_title_tokens, patches)
  passes = [both]
  if config.task == "item" and config.loss.align:
    if config.align.views in ("sides", "both"):
      passes += [image, encoder(1 + m.max_title_tokens)]
      passes += [both] * config.align.fused
    if config.align.views in ("twins", "both"):
      passes += [both, both]
  return passes
