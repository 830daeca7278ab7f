#!/usr/bin/env bash
# Guess: `sp_matmul_topn(A, A.T, top_n=10)` lists the ten best of each row, best
# first, as its name and a search would have it.
# Seen: They come in no order unless `sort=True`: of 1,000 rows none begins with
# its best hit, which is the row itself. Products below zero are never among
# them, also where fewer than `top_n` others are left.
# With: sparse-dot-topn 1.2.0, scipy 1.17.1, numpy 2.4.6, Python 3.11.7; seen
# 2026-12-04.
# Printed:
#> {}: 0 rows in order, 0 begin with the row itself
#> {'sort': True}: 1000 rows in order, 1000 begin with the row itself
#> row 0 by numpy [1.25, -0.9, -0.45]
#> row 0 of the top 3 [1.25, 0.0, 0.0]
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q sparse-dot-topn==1.2.0 scipy==1.17.1 numpy==2.4.6

cat > "$work/show.py" <<'END'
import numpy as np
import scipy.sparse as sp
from sparse_dot_topn import sp_matmul_topn

drawn = np.random.default_rng(0)
titles = sp.csr_matrix(
  drawn.random((1000, 300)) * (drawn.random((1000, 300)) < 0.1)
)
titles = sp.csr_matrix(titles / sp.linalg.norm(titles, axis=1)[:, None])
for options in ({}, {"sort": True}):
  best = sp_matmul_topn(titles, titles.T.tocsr(), top_n=10, **options)
  scores = best.data.reshape(1000, 10)
  first = best.indices.reshape(1000, 10)[:, 0]
  print(
    f"{options}: {int((np.diff(scores) <= 0).all(axis=1).sum())} rows in order,",
    f"{int((first == np.arange(1000)).sum())} begin with the row itself",
  )
rows = sp.csr_matrix(np.array([[1.0, 0.5], [-1.0, 0.2], [-0.5, 0.1]]))
best = sp_matmul_topn(rows, rows.T.tocsr(), top_n=3, sort=True)
print("row 0 by numpy", (rows @ rows.T).toarray()[0].round(2).tolist())
print("row 0 of the top 3", best[0].toarray().round(2).tolist()[0])
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
