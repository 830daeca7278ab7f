#!/usr/bin/env bash
# Guess: A row of NaN (a photo whose embedding failed) is refused, or treated
# alike by exact searches.
# Seen: IndexFlatIP of faiss accepts it and never finds it; jax.lax.top_k
# ranks its score above all others: it is the nearest row of every query.
# With: faiss-cpu 1.15.1, jax 0.10.2, numpy 2.4.6, Python 3.11.7; seen
# 2026-11-29.
# Printed:
#> faiss, rows held: 4
#> faiss finds row 1: False
#> top_k, nearest rows of queries 0, 2, 3: [1, 1, 1]
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q faiss-cpu==1.15.1 jax==0.10.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import os

os.environ["JAX_PLATFORMS"] = "cpu"
import faiss
import jax
import numpy as np

rows = np.eye(4, 8, dtype=np.float32)
rows[1] = np.nan
queries = rows[[0, 2, 3]]

index = faiss.IndexFlatIP(8)
index.add(rows)
print("faiss, rows held:", index.ntotal)
print("faiss finds row 1:", bool((index.search(queries, 4)[1] == 1).any()))
nearest = jax.lax.top_k(queries @ rows.T, 4)[1][:, 0]
print("top_k, nearest rows of queries 0, 2, 3:", nearest.tolist())
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
