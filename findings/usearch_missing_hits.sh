#!/usr/bin/env bash
# Guess: Where an index has fewer than k rows, usearch's answer is shorter, or
# marked as -1.
# Seen: A search for one vector is shorter. A search for several fills up with
# key 0 and distance NaN, and key 0 may be a row: look at `counts`.
# With: usearch 2.26.6, numpy 2.4.6, Python 3.11.7; seen 2026-11-29.
# Printed:
#> one query: [0, 1, 2]
#> two queries: [[0, 1, 2, 0, 0], [2, 1, 0, 0, 0]]
#> missing: [[False, False, False, True, True], [False, False, False, True, True]]
#> counts: [3, 3]
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q usearch==2.26.6 numpy==2.4.6

cat > "$work/show.py" <<'END'
import numpy as np
from usearch.index import Index

rows = np.zeros((3, 8), np.float32)
rows[:, :2] = [[1, 0], [1, 1], [0, 1]]
index = Index(ndim=8, metric="cos", dtype="f32")
index.add(np.arange(3), rows)
print("one query:", index.search(rows[0], 5).keys.tolist())
found = index.search(rows[[0, 2]], 5)
print("two queries:", found.keys.tolist())
print("missing:", np.isnan(found.distances).tolist())
print("counts:", found.counts.tolist())
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
