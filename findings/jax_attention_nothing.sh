#!/usr/bin/env bash
# Guess: A query that may look at no key gets zeros, or NaN.
# Seen: By a mask or a length of 0 it gets the mean of all values, those of the
# padding: a listing without a title reads what stands in the empty places. A
# bias of -inf gives NaN, a softmax with `where` zeros.
# With: jax 0.10.2, Python 3.11.7; seen 2026-12-03.
# Printed:
#> values 10, 20, 60; none may be seen
#> by a mask: 30
#> by a length of 0: 30
#> by a bias of -inf: nan
#> by softmax with where: 0
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2

cat > "$work/show.py" <<'END'
import jax
import jax.numpy as jnp

query = jnp.ones((1, 1, 1, 4))
key = jax.random.normal(jax.random.key(0), (1, 3, 1, 4))
value = jnp.array([10.0, 20.0, 60.0]).reshape(1, 3, 1, 1) * jnp.ones(4)
nothing = jnp.zeros((1, 1, 1, 3), bool)


def first(**options):
  found = jax.nn.dot_product_attention(query, key, value, **options)
  return f"{found[0, 0, 0, 0]:.0f}"


print("values 10, 20, 60; none may be seen")
print("by a mask:", first(mask=nothing))
print("by a length of 0:", first(key_value_seq_lengths=jnp.array([0])))
print("by a bias of -inf:", first(bias=jnp.where(nothing, 0.0, -jnp.inf)))
scores = jnp.einsum("bqhd,bkhd->bhqk", query, key)
weights = jax.nn.softmax(scores, where=nothing)
by_softmax = jnp.einsum("bhqk,bkhd->bqhd", weights, value)
print(f"by softmax with where: {by_softmax[0, 0, 0, 0]:.0f}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
