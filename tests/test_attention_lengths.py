"""Every config's attention is one that each kernel trains, asked without it."""

import re
from pathlib import Path

import pytest

from item_jax import config_flags, tasks
from item_jax.diagnostics.plan import Vocabulary
from item_jax.distributed.private_apis import assumed_cudnn
from item_jax.training import attention_backend

CONFIGS = Path(__file__).parents[1] / "configs"
# A file's variants that train; those without are of one size.
VARIANTS = {
  "item_align.py": ("base", "small", "tiny"),
  "item_products.py": ("base", "small", "tiny"),
  "comparison.py": tuple(
    f"{name},{size}"
    for name in ("item", "item_align", "item_align_both", "roberta", "clip")
    for size in ("tiny", "small", "base")
  ),
}


@pytest.fixture(scope="module")
def shapes() -> set:
  """Each (positions, heads, depth, causal) of any config."""
  found = set()
  for file in sorted(CONFIGS.glob("*.py")):
    for variant in VARIANTS.get(file.name, ("",)):
      config = config_flags.parse(f"{file}:{variant}".rstrip(":"), [])
      if config.task == "category":
        continue  # the encoders are those of the others
      task = tasks.make_task(config, Vocabulary(300))
      found |= set(task.attention_shapes)
  return found


def test_cudnn_trains_at_every_length_of_every_config(shapes):
  # An image and [CLS] alone, 197 positions, is odd: jax refuses it as it is.
  assert {197, 256, 60} <= {shape[0] for shape in shapes}
  for shape in shapes:
    with assumed_cudnn():
      text = attention_backend._lower(shape, "bfloat16")
    calls = re.findall(r"@__cudnn\$fmha\w*", text)
    assert len(calls) == 2, (shape, calls)  # forward and backward
    assert sum("Backward" in call for call in calls) == 1


def test_pallas_trains_at_every_length_of_every_config(shapes):
  for shape in shapes:
    text = attention_backend._lower(shape, "bfloat16", "pallas")
    # Forward and backward, in multiples of 128 positions.
    calls = [line for line in text.splitlines() if "@tpu_custom_call" in line]
    padded = -(-shape[0] // 128) * 128
    assert len(calls) == 2, (shape, calls)
    for line in calls:
      assert f"{shape[1]}x{padded}x{shape[2]}xbf16" in line, shape


def test_what_cudnn_cannot_do_is_said_where_there_is_no_gpu():
  with assumed_cudnn(), pytest.raises(NotImplementedError, match="head dim"):
    attention_backend._lower((16, 2, 12, False), "bfloat16")
