#!/usr/bin/env bash
# Guess: A model that gives every candidate the same score has the accuracy of
# chance, and one that gives NaN has 0 or NaN.
# Seen: In Keras with JAX's backend both have a top-k accuracy of 1, for k=1
# too, where the accuracy by argmax is that of chance. In rax equal scores and
# NaN are ranked as they are listed: where the relevant one stands first, as in
# lists of a positive and its negatives, MRR and NDCG are 1.
# With: keras 3.15.1, rax 0.4.0, jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen
# 2026-12-03.
# Printed:
#> the same score: keras top-1 1.00, its argmax 0.00; rax MRR 1.00, NDCG 1.00
#> NaN: keras top-1 1.00, its argmax 0.00; rax MRR 1.00, NDCG 1.00
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q \
  keras==3.15.1 rax==0.4.0 jax==0.10.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["KERAS_BACKEND"] = "jax"
import jax.numpy as jnp
import keras
import numpy as np
import rax

QUERIES, CANDIDATES = 100, 1000
right = np.random.default_rng(0).integers(0, CANDIDATES, QUERIES)
first = jnp.zeros((QUERIES, CANDIDATES)).at[:, 0].set(1)  # relevant, others
for name, value in (("the same score", 0.5), ("NaN", np.nan)):
  scores = np.full((QUERIES, CANDIDATES), value, np.float32)
  top = keras.metrics.SparseTopKCategoricalAccuracy(k=1)
  top.update_state(right, scores)
  one = keras.metrics.SparseCategoricalAccuracy()
  one.update_state(right, scores)
  print(f"{name}: keras top-1 {float(top.result()):.2f},", end=" ")
  print(f"its argmax {float(one.result()):.2f};", end=" ")
  print(f"rax MRR {rax.mrr_metric(scores, first):.2f},", end=" ")
  print(f"NDCG {rax.ndcg_metric(scores, first):.2f}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
