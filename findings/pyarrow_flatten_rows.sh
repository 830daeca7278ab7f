#!/usr/bin/env bash
# Guess: Flattening a column of vectors gives rows x width values, so that it
# can be reshaped to the rows of the table.
# Seen: Rows without a vector are dropped: the vectors after them move up
# against the ids. The same for fixed-size lists, whose `values` keep the
# places.
# With: pyarrow 25.0.1, numpy 2.4.6, Python 3.11.7; seen 2026-11-29.
# Printed:
#> list<item: float> {'mug': [1.0, 1.0], 'vase': [3.0, 3.0]}
#> fixed_size_list<item: float>[2] {'mug': [1.0, 1.0], 'vase': [3.0, 3.0]}
#> values: {'mug': [1.0, 1.0], 'vase': [nan, nan], 'lamp': [3.0, 3.0]}
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pyarrow==25.0.1 numpy==2.4.6

cat > "$work/show.py" <<'END'
import numpy as np
import pyarrow as pa

ids = ["mug", "vase", "lamp"]
vectors = [[1.0, 1.0], None, [3.0, 3.0]]
for kind in (pa.list_(pa.float32()), pa.list_(pa.float32(), 2)):
  column = pa.array(vectors, kind)
  rows = column.flatten().to_numpy().reshape(-1, 2)
  print(kind, dict(zip(ids, rows.tolist())))
fixed = column.values.to_numpy(zero_copy_only=False).reshape(-1, 2)
print("values:", dict(zip(ids, fixed.tolist())))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
