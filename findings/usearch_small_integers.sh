#!/usr/bin/env bash
# Guess: dtype='i8' keeps vectors with fewer digits, so that squared distances
# are nearly the same; vectors of uint8 are numbers from 0 to 255.
# Seen: dtype='i8' scales each vector to one length, also for metric='l2sq':
# vectors of length 1 and 10 have distance 0. Vectors of uint8 are read as
# packed bits.
# With: usearch 2.26.6, numpy 2.4.6, Python 3.11.7; seen 2026-11-29.
# Printed:
#> dtype=f32, from 1 to 1 and 10: [0.0, 81.0]
#> dtype=i8, from 1 to 1 and 10: [0.0, 0.0]
#> 1 and 10 given as float32, kept: [[1, 0, 0, 0, 0, 0, 0, 0], [10, 0, 0, 0, 0, 0, 0, 0]]
#> 1 and 10 given as uint8, kept: [[0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0, 1, 0]]
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q usearch==2.26.6 numpy==2.4.6

cat > "$work/show.py" <<'END'
import numpy as np
from usearch.index import Index

rows = np.zeros((2, 8), np.float32)
rows[:, 0] = [1, 10]
for dtype in ("f32", "i8"):
  index = Index(ndim=8, metric="l2sq", dtype=dtype)
  index.add(np.arange(2), rows)
  found = index.search(rows[0], 2).distances
  print(f"dtype={dtype}, from 1 to 1 and 10:", sorted(found.tolist()))

for dtype in ("float32", "uint8"):
  index = Index(ndim=8, metric="l2sq", dtype="f32")
  index.add(np.arange(2), rows.astype(dtype))
  kept = [index.get(row).astype(int).tolist() for row in range(2)]
  print(f"1 and 10 given as {dtype}, kept:", kept)
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
