"""Finds the family of weights and the options that it needs of a run."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from item_jax.errors import UserError
from item_jax.models.patches import PIXEL_STATISTICS
from item_jax.pretrained.files import Tensors
from item_jax.pretrained.transforms import Pixels

HALF = Pixels((0.5,) * 3, (0.5,) * 3)
_PIXELS = {"half": HALF} | {
  name: Pixels(*values) for name, values in PIXEL_STATISTICS.items()
}
_DEPTH = 64  # of an attention head, in every published model of these families


class Family(NamedTuple):
  """What is the same for all weights of a family.

  prefixes: that names may begin with, taken off one after another.
  epsilon, activation: of the published weights, where no config.json says
  otherwise; None where the family has no such option. pixels: likewise.
  """

  prefixes: tuple[str, ...]
  epsilon: float | None = None
  activation: str | None = None
  pixels: str = "half"


FAMILIES = {
  "bert": Family(("model.", "bert."), 1e-12, "gelu"),
  "roberta": Family(("model.", "roberta."), 1e-5, "gelu"),
  "vit": Family(("model.", "vit."), 1e-12, "gelu"),
  "clip": Family(("model.",), 1e-5, "quick_gelu", "clip"),
  "resnet": Family(("model.", "resnet."), pixels="imagenet"),
  "torchvision": Family(("model.", "resnet."), pixels="imagenet"),
  "efficientnet_lite0": Family(("model.",), pixels="lite"),
}
# A name that only one family has, those that others contain last.
_MARKS = (
  ("clip", r"text_model\.embeddings\.token_embedding\."),
  ("roberta", r"roberta\.|lm_head\.dense\."),
  ("vit", r"embeddings\.cls_token$"),
  ("resnet", r"embedder\.embedder\.convolution\."),
  ("torchvision", r"layer1\.0\.conv1\."),
  ("efficientnet_lite0", r"_blocks\.0\._depthwise_conv\."),
  ("bert", r"embeddings\.word_embeddings\."),
)


def find_family(tensors: Tensors) -> str:
  """The family by config.json's model_type, without it by the names.

  Raises:
    UserError: none that is known here.
  """
  model_type = tensors.config.get("model_type")
  if model_type in FAMILIES:
    return model_type
  if model_type is not None:
    raise UserError(
      f"{tensors.path}: weights of model_type {model_type!r}, known are"
      f" {', '.join(FAMILIES)}"
    )
  for family, mark in _MARKS:
    if any(re.search(rf"(^|\.)({mark})", name) for name in tensors.shapes):
      if family == "bert":
        _check_segments(tensors)
      return family
  raise UserError(
    f"{tensors.path}: the tensors are of none of {', '.join(FAMILIES)}; the"
    f" first are {', '.join(sorted(tensors.shapes)[:5])}"
  )


def _check_segments(tensors: Tensors) -> None:
  """RoBERTa without its head has BERT's names, but only one segment."""
  for name, shape in tensors.shapes.items():
    if name.endswith("token_type_embeddings.weight") and shape[0] == 1:
      raise UserError(
        f"{tensors.path}: BERT's names, but one segment as RoBERTa has: put"
        " its config.json beside it"
      )


def plain_names(family: str, names: Iterable[str]) -> dict[str, str]:
  """Name without prefixes -> name in the file.

  Old files call a norm's weight and bias gamma and beta.
  """
  plain = {}
  for name in names:
    short = name
    for prefix in FAMILIES[family].prefixes:
      short = short.removeprefix(prefix)
    short = re.sub(r"(?<=norm\.)gamma$", "weight", short, flags=re.I)
    short = re.sub(r"(?<=norm\.)beta$", "bias", short, flags=re.I)
    if short in plain:
      raise UserError(f"{plain[short]} and {name} are both {short}")
    plain[short] = name
  return plain


def pixels_of(family: str, tensors: Tensors) -> Pixels:
  """How the weights' images were normalised."""
  settings = tensors.preprocessor
  found = _PIXELS[FAMILIES[family].pixels]
  mean, std = settings.get("image_mean"), settings.get("image_std")
  if not settings.get("do_normalize", True):
    found = Pixels((0.0,) * 3, (1.0,) * 3)
  elif mean is not None and std is not None:
    found = Pixels(tuple(map(float, mean)), tuple(map(float, std)))
  factor = settings.get("rescale_factor") or 1 / 255
  # What white is before it is normalised: 1, as it is to us, or 255, or 2.
  white = round(255 * (factor if settings.get("do_rescale", True) else 1), 6)
  return Pixels(*(tuple(x / white for x in values) for values in found))


def required_options(
  family: str, model: str, tensors: Tensors, widths: Mapping[str, int]
) -> dict[str, Any]:
  """Options that a run must have for the weights to mean what they meant.

  Args:
    widths: of each encoder, by its name in our tree.

  Returns:
    {name of the option: value}; "heads of ..." is the number of attention
    heads, which no shape of theirs shows.
  """
  known = FAMILIES[family]
  if family == "efficientnet_lite0":
    return {}  # it is as published, and has no option
  if known.epsilon is None:
    pixels = pixels_of(family, tensors)
    names = [name for name, of in _PIXELS.items() if of == pixels]
    return {
      "resnet.norm": "batch",
      "resnet.pixels": names[0] if names else f"(x - mean) / std, {pixels}",
    }
  towers = {"": "encoder"}
  if family == "clip":
    towers = {
      "vision_config": "image_tower/encoder",
      "text_config": "title_tower/encoder",
    }
  options = {}
  for key, encoder in towers.items():
    theirs = tensors.config.get(key, {}) if key else tensors.config
    found = {
      "model.epsilon": theirs.get("layer_norm_eps", known.epsilon),
      "model.activation": theirs.get("hidden_act", known.activation),
      f"heads of {encoder}": theirs.get(
        "num_attention_heads", widths[encoder] // _DEPTH
      ),
    }
    for name, value in found.items():
      if options.setdefault(name, value) != value:
        raise UserError(
          f"{tensors.path}: {name} is {options[name]} in one tower and {value}"
          " in the other; a run has one"
        )
  if model == "item":
    options["model.norm"] = "pre" if family == "vit" else "post"
  return options


def check_kind(family: str, tensors: Tensors) -> None:
  """Kinds of a family that differ where no tensor's name or shape does."""
  kinds = {
    "position_embedding_type": "absolute",
    "downsample_in_bottleneck": False,
    "downsample_in_first_stage": False,
    "is_decoder": False,
  }
  if family == "resnet":
    kinds["hidden_act"] = "relu"
  for name, expected in kinds.items():
    if (value := tensors.config.get(name, expected)) != expected:
      raise UserError(
        f"{tensors.path}: config.json has {name}={value!r}, expected"
        f" {expected!r}"
      )
