#!/usr/bin/env bash
# Guess: save and save_file of safetensors.numpy store the values of an array,
# whatever its strides.
# Seen: They store the bytes as they lie in memory beside the shape:
# transposed, Fortran-ordered and strided arrays come back with other values,
# without an error. np.ascontiguousarray first.
# With: safetensors 0.8.0, numpy 2.4.6, Python 3.11.7; seen 2026-11-29.
# Printed:
#> contiguous [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]] -> [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
#> transposed [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]] -> [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
#> fortran [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]] -> [[0.0, 3.0, 1.0], [4.0, 2.0, 5.0]]
#> strided [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]] -> [[0.0, 0.0, 1.0], [1.0, 2.0, 2.0]]
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q safetensors==0.8.0 numpy==2.4.6

cat > "$work/show.py" <<'END'
import numpy as np
from safetensors.numpy import load, save

plain = np.arange(6, dtype=np.float32).reshape(2, 3)
arrays = {
  "contiguous": plain,
  "transposed": plain.T,
  "fortran": np.asfortranarray(plain),
  "strided": np.repeat(plain, 2, axis=1)[:, ::2],
}
found = load(save(arrays))
for name, array in arrays.items():
  print(name, array.tolist(), "->", found[name].tolist())
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
