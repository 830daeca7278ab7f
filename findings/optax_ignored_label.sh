#!/usr/bin/env bash
# Guess: A label of -1 or -100, which marks what is not to be predicted, adds
# nothing to the loss, or makes it NaN.
# Seen: `softmax_cross_entropy_with_integer_labels` takes -1 as the last class,
# so that all that is marked is trained to be the last token of the vocabulary;
# -100 and 3 of 3 classes are NaN. With `jax.nn.one_hot` all of them add 0.
# With: optax 0.2.8, jax 0.10.2, Python 3.11.7; seen 2026-12-03.
# Printed:
#> label 2: by integers 0.408, one-hot 0.408
#> label -1: by integers 0.408, one-hot 0.000
#> label -100: by integers nan, one-hot 0.000
#> label 3: by integers nan, one-hot 0.000
#> gradients of the last class: ['0.665', '-0.335', '-0.335', '-0.335']
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q optax==0.2.8 jax==0.10.2

cat > "$work/show.py" <<'END'
import os

os.environ["JAX_PLATFORMS"] = "cpu"
import jax
import jax.numpy as jnp
import optax

logits = jnp.array([1.0, 2.0, 3.0])
for label in (2, -1, -100, 3):
  loss = optax.softmax_cross_entropy_with_integer_labels(logits, label)
  one_hot = optax.softmax_cross_entropy(logits, jax.nn.one_hot(label, 3))
  print(f"label {label}: by integers {loss:.3f}, one-hot {abs(one_hot):.3f}")
labels = jnp.array([0, -1, -1, -1])  # one masked token and three others
many = jnp.tile(logits, (4, 1))
pull = jax.grad(
  lambda x: optax.softmax_cross_entropy_with_integer_labels(x, labels).sum()
)(many)
print("gradients of the last class:", [f"{x:.3f}" for x in pull[:, 2].tolist()])
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
