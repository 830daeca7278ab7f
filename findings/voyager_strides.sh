#!/usr/bin/env bash
# Guess: voyager reads the values of an array, whatever its strides, or
# refuses it.
# Seen: Strides are ignored: Fortran-ordered and sliced arrays are stored as
# other vectors, without an error, and looked up as others, too.
# np.ascontiguousarray first.
# With: voyager 2.2.3, numpy 2.4.6, Python 3.11.7; seen 2026-11-29.
# Printed:
#> contiguous [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]] -> [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]
#> fortran [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]] -> [[0.0, 4.0, 1.0, 5.0], [2.0, 6.0, 3.0, 7.0]]
#> every other row [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]] -> [[0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0]]
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q voyager==2.2.3 numpy==2.4.6

cat > "$work/show.py" <<'END'
import numpy as np
import voyager

plain = np.arange(8, dtype=np.float32).reshape(2, 4)
forms = {
  "contiguous": plain,
  "fortran": np.asfortranarray(plain),
  "every other row": np.repeat(plain, 2, axis=0)[::2],
}
for name, rows in forms.items():
  index = voyager.Index(voyager.Space.Euclidean, 4)
  index.add_items(rows)
  print(name, rows.tolist(), "->", index.get_vectors([0, 1]).tolist())
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
