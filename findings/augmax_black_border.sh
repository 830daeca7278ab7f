#!/usr/bin/env bash
# Guess: augmax's `RandomSizedCrop` with `prevent_underzoom=True`, its default,
# never shows what lies outside of the image.
# Seen: The least zoom is taken from the logarithm of the ratio of the sizes,
# which is below every zoom that can be drawn: with the flag and without it the
# crops are the same, and photos of 256 pixels get black borders in 33 of 64
# crops of 224, up to 66% of one.
# With: augmax 0.4.1, jax 0.10.2, Python 3.11.7; seen 2026-12-04.
# Printed:
#> white 224 x 224: 38 of 64 crops of 224 are black in part, at most 74%; without the flag the same: True
#> white 256 x 256: 33 of 64 crops of 224 are black in part, at most 66%; without the flag the same: True
#> white 512 x 512: 0 of 64 crops of 224 are black in part, at most 0%; without the flag the same: True
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q augmax==0.4.1 jax==0.10.2

cat > "$work/show.py" <<'END'
import augmax
import jax
import jax.numpy as jnp

keys = jax.random.split(jax.random.key(0), 64)
for size in (224, 256, 512):
  white = jnp.ones((size, size, 3))
  crops = {}
  for prevent in (True, False):
    chain = augmax.Chain(
      augmax.RandomSizedCrop(224, 224, prevent_underzoom=prevent)
    )
    crops[prevent] = jax.jit(jax.vmap(chain, (0, None)))(keys, white)
  black = (crops[True] < 0.5).mean(axis=(1, 2, 3))
  same = bool((crops[True] == crops[False]).all())
  print(
    f"white {size} x {size}: {int((black > 0.01).sum())} of 64 crops of 224 are",
    f"black in part, at most {float(black.max()):.0%}; without the flag the same:",
    same,
  )
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
