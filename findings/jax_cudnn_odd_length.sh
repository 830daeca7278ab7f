#!/usr/bin/env bash
# Guess: Where jax lowers the forward pass of cuDNN's attention for a sequence
# length it lowers the gradient, too; odd lengths matter at most with a bias.
# Seen: The gradient is refused at every odd length, with or without a bias or a
# mask. The forward pass is not: such a model can be evaluated and not trained.
# One position of padding, left out by the lengths, is enough.
# With: jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> length 76, plain: forward lowered, gradient lowered
#> length 76, causal: forward lowered, gradient lowered
#> length 76, lengths: forward lowered, gradient lowered
#> length 76, mask: forward lowered, gradient lowered
#> length 77, plain: forward lowered, gradient refused
#> length 77, causal: forward lowered, gradient refused
#> length 77, lengths: forward lowered, gradient refused
#> length 77, mask: forward lowered, gradient refused
#> length 77 padded to 78, lengths: forward lowered, gradient lowered
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os

os.environ["JAX_PLATFORMS"] = "cpu"
import jax
import jax.numpy as jnp

# The program is lowered for a GPU that is not there. jax asks the installed
# cuDNN for its version first; the answer is 9.10.
from jax._src.cudnn import fused_attention_stablehlo

fused_attention_stablehlo.check_cudnn_version = lambda: 91_000


def lowered(function, *shapes) -> str:
  try:
    traced = jax.jit(function).trace(*shapes)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
  except NotImplementedError:
    return "refused"
  assert "__cudnn$fmha" in text
  return "lowered"


def show(name, size, case, padding=0) -> None:
  rows = jax.ShapeDtypeStruct((2, size, 4, 64), jnp.bfloat16)
  lengths = jax.ShapeDtypeStruct((2,), jnp.int32)
  mask = jax.ShapeDtypeStruct((2, 1, size, size), jnp.bool_)

  def attend(q, k, v, lengths, mask):
    given = {
      "plain": {},
      "causal": {"is_causal": True},
      "lengths": {
        "query_seq_lengths": lengths,
        "key_value_seq_lengths": lengths,
      },
      "mask": {"mask": mask},
    }[case]
    widths = ((0, 0), (0, padding), (0, 0), (0, 0))
    q, k, v = (jnp.pad(x, widths) for x in (q, k, v))
    found = jax.nn.dot_product_attention(
      q, k, v, implementation="cudnn", **given
    )
    return found[:, :size].astype(jnp.float32).sum()

  shapes = rows, rows, rows, lengths, mask
  forward = lowered(attend, *shapes)
  gradient = lowered(jax.grad(attend, (0, 1, 2)), *shapes)
  print(f"length {name}, {case}: forward {forward}, gradient {gradient}")


for size in (76, 77):
  for case in ("plain", "causal", "lengths", "mask"):
    show(size, size, case)
show("77 padded to 78", 77, "lengths", padding=1)
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
