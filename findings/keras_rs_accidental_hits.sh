#!/usr/bin/env bash
# Guess: Keras's `RemoveAccidentalHits` takes other listings of a query's
# product out of the negatives of its batch, by very small logits.
# Seen: It adds 1.2e-40 to their logits, which leaves each as it was: the
# loss is the one with them among the negatives.
# With: keras-rs 0.4.0, keras 3.15.1, jax 0.10.2, numpy 2.4.6, Python 3.11.7;
# seen 2026-12-03.
# Printed:
#> logits before [[9.0, 9.0, 1.0], [9.0, 9.0, 1.0], [1.0, 1.0, 9.0]]
#> logits after  [[9.0, 9.0, 1.0], [9.0, 9.0, 1.0], [1.0, 1.0, 9.0]]
#> loss, removed by none: 0.4624
#> loss, removed by layer: 0.4624
#> loss, removed by hand: 0.0004
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q \
  keras-rs==0.4.0 keras==3.15.1 jax==0.10.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os

os.environ["KERAS_BACKEND"] = "jax"
import keras
import keras_rs
import numpy as np

products = np.array([5, 5, 7])  # of the three rows of a batch
logits = np.array([[9, 9, 1], [9, 9, 1], [1, 1, 9]], np.float32)
labels = np.eye(3, dtype=np.float32)
removed = keras_rs.layers.RemoveAccidentalHits()(logits, labels, products)
by_hand = logits.copy()
by_hand[0, 1] = by_hand[1, 0] = -1e9
loss = keras.losses.CategoricalCrossentropy(from_logits=True)
print("logits before", logits.tolist())
print("logits after ", np.asarray(removed).tolist())
for name, given in (("none", logits), ("layer", removed), ("hand", by_hand)):
  print(f"loss, removed by {name}: {float(loss(labels, given)):.4f}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
