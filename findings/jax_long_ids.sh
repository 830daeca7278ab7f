#!/usr/bin/env bash
# Guess: An id that does not fit into int32 raises an OverflowError in JAX, as
# `jnp.asarray(4006381333931)` does, or at least there is a warning.
# Seen: Only Python's integers are looked at. A numpy array of int64 is made one
# of int32 by its lowest 32 bits, without a warning: by `jnp.asarray`, by
# `device_put` and by a compiled function that is called with it. Barcodes
# (13 digits) and hashes become other numbers, below zero too, and two products
# whose ids are 2^32 apart are one: `jnp.isin` finds an id that is not there.
# With: jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen 2026-12-03.
# Printed:
#> jnp.asarray of a number: OverflowError
#> jnp.asarray of a list: OverflowError
#> jnp.asarray of a numpy array: [-823153237] int32
#> device_put of a numpy array: [-823153237] int32
#> a compiled function of a numpy array: [-823153237] int32
#> jnp.asarray of uint64: [3471814059] uint32
#> jnp.isin of an array without it: [ True], numpy [False]
#> warnings: 0
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q jax==0.10.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os
import warnings

os.environ["JAX_PLATFORMS"] = "cpu"
import jax
import jax.numpy as jnp
import numpy as np

BARCODE = 4006381333931
barcodes = np.array([BARCODE])


def show(name, call, given):
  try:
    found = call(given)
    print(f"{name}: {found} {found.dtype}")
  except OverflowError as error:
    print(f"{name}: {type(error).__name__}")


with warnings.catch_warnings(record=True) as seen:
  warnings.simplefilter("always")
  show("jnp.asarray of a number", jnp.asarray, BARCODE)
  show("jnp.asarray of a list", jnp.asarray, [BARCODE])
  show("jnp.asarray of a numpy array", jnp.asarray, barcodes)
  show("device_put of a numpy array", jax.device_put, barcodes)
  show("a compiled function of a numpy array", jax.jit(lambda x: x), barcodes)
  show("jnp.asarray of uint64", jnp.asarray, barcodes.astype(np.uint64))
  others = barcodes + 2**32
  print(
    f"jnp.isin of an array without it: {jnp.isin(barcodes, others)},",
    f"numpy {np.isin(barcodes, others)}",
  )
print("warnings:", len(seen))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
