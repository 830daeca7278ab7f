#!/usr/bin/env bash
# Guess: An index that is saved and restored finds what it found: its settings
# are in the file, as they are in faiss's.
# Seen: `expansion_search` is not: Index.restore has the default of 64 in the
# place of 512, and recall falls from 1.0 to 0.8. copy() keeps it; so does
# load() into an index made with it.
# With: usearch 2.26.6, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> built: expansion_search 512, 1.0
#> Index.restore: expansion_search 64, 0.8
#> Index.restore, view: expansion_search 64, 0.8
#> load: expansion_search 512, 1.0
#> copy: 512
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q usearch==2.26.6 numpy==2.4.6

cat > "$work/show.py" <<'END'
import tempfile
from pathlib import Path

import numpy as np
from usearch.index import Index

rng = np.random.default_rng(0)
N, Q, D, K = 20_000, 200, 64, 10
rows_ND = rng.normal(size=(N, D)).astype(np.float32)
queries_QD = rng.normal(size=(Q, D)).astype(np.float32)
square_QN = -2 * queries_QD @ rows_ND.T + (rows_ND**2).sum(1)
exact_QK = np.argpartition(square_QN, K, axis=1)[:, :K]


def told(name, index):
  found_QK = index.search(queries_QD, K, threads=1).keys
  recall = np.mean([np.isin(*pair).mean() for pair in zip(exact_QK, found_QK)])
  print(f"{name}: expansion_search {index.expansion_search}, {recall:.1f}")


made = {"ndim": D, "metric": "l2sq", "dtype": "f32", "expansion_search": 512}
index = Index(**made)
index.add(np.arange(N), rows_ND, threads=1)
told("built", index)
with tempfile.TemporaryDirectory() as folder:
  path = str(Path(folder) / "rows.usearch")
  index.save(path)
  told("Index.restore", Index.restore(path))
  told("Index.restore, view", Index.restore(path, view=True))
  again = Index(**made)
  again.load(path)
  told("load", again)
  print("copy:", index.copy().expansion_search)
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
