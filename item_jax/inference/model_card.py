"""Writes the model card of a run: data, sizes, numbers and limits."""

from collections.abc import Mapping

import item_jax
from item_jax import config as config_lib
from item_jax.config import Config
from item_jax.data.summary import summarize
from item_jax.errors import UserError
from item_jax.inference.embedder import Embedder
from item_jax.inference.space import describe
from item_jax.training.part_weights import PREFIX
from item_jax.training.trained_on import open_data

# "other", because whoever publishes weights must name the licence of the data.
_HEAD = """\
---
library_name: jax
pipeline_tag: feature-extraction
license: other
tags:
- item-jax
- jax
- stablehlo
- product-embeddings
- image-text
---
"""
# Files of the machine that it was trained on.
_PATHS = (
  *("data.path", "data.features", "data.tokenizer"),
  *("start_from", "stem_from"),
)
_USE = """\
```python
from embed import Model  # with this folder in PYTHONPATH

vectors = Model(".").embed(images=["mug.jpg", None], titles=["red mug", "vase"])
```

An image is a path or a file's bytes, and `None` where there is none."""
_LIMITS = """\
- It knows the products of the catalogue above; of others its vectors may say
  little. Measure it on your own.
- The licence is to be named by who publishes it: that of the images and titles
  counts.
- A listing without image and title has one vector, the same for all of them.
- Images are read as JPEG, PNG or WebP in 8 bits; colour profiles are not
  applied.
- JAX promises to run the program for six months after its own version in
  `preprocessing.json`."""


def write(
  name: str,
  embedder: Embedder,
  values: int,
  files: Mapping[str, str],
) -> str:
  """Writes the card, Markdown with the YAML header of Hugging Face.

  Args:
    name: of the model.
    values: how many weights the program reads.
    files: {name: what it is}.
  """
  run, model = embedder.run, embedder.config.model
  origin = "weights of another model" if run.taken else "random weights"
  parts = [
    f"{_HEAD}# {name}",
    "Embeddings of product listings from image and title: vectors of"
    f" {embedder.dims} values and length 1, whose inner product says how alike"
    " two listings are. Trained by item-jax"
    f" {item_jax.__version__}, which is made after"
    f" [ITEm](https://arxiv.org/abs/2311.02084), from {origin}; what it was"
    " taught by is in the config below.",
    f"## Use\n\n{_USE}",
    "| file | what |\n|---|---|\n"
    + "\n".join(f"| `{file}` | {what} |" for file, what in files.items()),
    f"## Data\n\n{_describe_data(embedder)}",
    f"## Model\n\nStep {embedder.step:,} of {run.config.steps:,};"
    f" {values:,} weights; images of {model.image_size} x {model.image_size}"
    f" pixels; titles of {model.max_title_tokens - 1} tokens at most, of a"
    f" vocabulary of {embedder.tokenizer.size:,}. Where the config differs from"
    f" item-jax's defaults:\n\n{_describe_config(run.config)}",
    f"## Validation\n\n{_describe_validation(embedder)}",
    f"## Limits\n\n{_LIMITS}",
  ]
  return "\n\n".join(parts) + "\n"


def _describe_data(embedder: Embedder) -> str:
  run = embedder.run
  try:
    found = summarize(open_data(run).catalogue)
  except (UserError, OSError):  # it was moved, or its store is away
    found = "The data set was not at hand when this card was written."
  fenced = f"```text\n{found}\n```"
  hashes = "\n".join(f"- {name}: `{one}`" for name, one in run.data.items())
  return f"{fenced}\n\nFingerprints of its splits (SHA-256):\n\n{hashes}"


def _describe_config(config: Config) -> str:
  usual = config_lib.flatten(Config())
  lines = [
    f"{name} = {value!r}"
    for name, value in config_lib.flatten(config).items()
    # Paths say nothing to others.
    if value != usual.get(name) and name not in _PATHS
  ]
  return "```python\n" + "\n".join(lines) + "\n```"


def _describe_validation(embedder: Embedder) -> str:
  if embedder.space is None:
    return _describe_metrics(embedder.metrics)
  return (
    "What the run measured is of the embedding as trained. This one was pooled"
    f" and transformed after it: {describe(embedder.space.made)}."
  )


def _describe_metrics(metrics: Mapping[str, float]) -> str:
  if not metrics:
    return "This step was not measured."
  parts, lines = "", []
  for name, value in metrics.items():
    if name.startswith(PREFIX):
      parts += f", {name.removeprefix(PREFIX)} {value:.3g}"
    else:
      lines.append(f"| {name} | {value:.4f} |")
  return (
    "Products that were not trained on, searched among one another; the step"
    " was chosen by them, so new ones may score lower."
    + f" So was what each part weighs in a cosine: {parts[2:]}." * bool(parts)
    + "\n\n| | |\n|---|---|\n"
    + "\n".join(lines)
  )
