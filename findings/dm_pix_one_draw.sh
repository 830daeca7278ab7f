#!/usr/bin/env bash
# Guess: Random changes of a batch of images draw for each image: leading axes
# are accepted.
# Seen: They draw once: all of a batch are flipped or none, and all get the same
# brightness, contrast and saturation. `vmap` with a key for each image draws
# for each.
# With: dm-pix 0.4.5, jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen 2026-12-03.
# Printed:
#> random_flip_left_right: different images 1, with vmap 2
#> random_brightness: different images 1, with vmap 64
#> random_contrast: different images 1, with vmap 64
#> random_saturation: different images 1, with vmap 64
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q dm-pix==0.4.5 jax==0.10.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import functools
import os

os.environ["JAX_PLATFORMS"] = "cpu"
import dm_pix
import jax
import numpy as np

photos = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
photos = photos.repeat(64, axis=0)  # 64 copies of one photo
CHANGES = {
  "random_flip_left_right": {},
  "random_brightness": {"max_delta": 0.2},
  "random_contrast": {"lower": 0.5, "upper": 1.5},
  "random_saturation": {"lower": 0.5, "upper": 1.5},
}
for name, options in CHANGES.items():
  change = functools.partial(getattr(dm_pix, name), **options)
  batch = change(jax.random.key(0), photos)
  each = jax.vmap(change)(jax.random.split(jax.random.key(0), 64), photos)
  counts = [len({x.tobytes() for x in np.asarray(y)}) for y in (batch, each)]
  print(f"{name}: different images {counts[0]}, with vmap {counts[1]}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
