#!/usr/bin/env bash
# Guess: optax's NT-Xent over rows with labels is the loss of supervised
# contrastive learning: below the line stand all other rows.
# Seen: A label's other rows are left out there, so that with three rows of a
# label the loss is another; with pairs both are one. A batch in which no two
# rows share a label has a loss of NaN.
# With: optax 0.2.8, jax 0.10.2, Python 3.11.7; seen 2026-12-03.
# Printed:
#> labels [0, 0, 1, 1, 2, 2]: ntxent 6.396, with the label's other rows below 6.396, without them 6.396
#> labels [0, 0, 0, 1, 1, 1]: ntxent 6.103, with the label's other rows below 6.300, without them 6.103
#> labels [0, 1, 2, 3, 4, 5]: ntxent nan
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q optax==0.2.8 jax==0.10.2

cat > "$work/show.py" <<'END'
import jax
import jax.numpy as jnp
import optax

rows = jax.random.normal(jax.random.key(0), (6, 4))


def by_hand(labels, others):
  """Of each two rows of a label; `others`: of that label, in the sum below."""
  unit = rows / jnp.linalg.norm(rows, axis=1, keepdims=True)
  cosines = unit @ unit.T / 0.1
  itself = jnp.eye(len(rows), dtype=bool)
  same = (labels[:, None] == labels) & ~itself
  beside = ~itself if others else labels[:, None] != labels
  below = jnp.where(beside, jnp.exp(cosines), 0).sum(axis=1, keepdims=True)
  below = below if others else below + jnp.exp(cosines)
  return -jnp.where(same, cosines - jnp.log(below), 0).sum() / same.sum()


for labels in ([0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 5]):
  given = jnp.array(labels)
  loss = optax.losses.ntxent(rows, given, temperature=0.1)
  if len(set(labels)) == len(labels):
    print(f"labels {labels}: ntxent {loss:.3f}")
    continue
  print(
    f"labels {labels}: ntxent {loss:.3f},",
    f"with the label's other rows below {by_hand(given, True):.3f},",
    f"without them {by_hand(given, False):.3f}",
  )
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
