#!/usr/bin/env bash
# Guess: faiss.Kmeans moves each centroid to the mean of the rows that are
# nearest to it, and returns the sum of their squared distances.
# Seen: It draws 256 rows for each centroid and never sees the others: the one
# centroid of 100,000 rows is not their mean, and the objective that `train`
# returns is that of the drawn rows, a hundredth of the table's. With
# `max_points_per_centroid` as large as the table all rows count.
# With: faiss-cpu 1.15.1, numpy 2.4.6, Python 3.11.7; seen 2026-12-03.
# Printed:
#> as it is: one centroid is 0.38 from the mean; of four, the objective is 0.01 of all rows'
#> all rows: one centroid is 0.00 from the mean; of four, the objective is 1.00 of all rows'
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q faiss-cpu==1.15.1 numpy==2.4.6

cat > "$work/show.py" <<'END'
import faiss
import numpy as np

ROWS, DIMS = 100_000, 8
random = np.random.default_rng(0)
rows = random.normal(size=(ROWS, DIMS)).astype(np.float32)
rows[ROWS // 2 :] += 4
mean = rows.mean(axis=0)

for name, options in (
  ("as it is", {}),
  ("all rows", {"max_points_per_centroid": ROWS}),
):
  one = faiss.Kmeans(DIMS, 1, seed=1, **options)
  one.train(rows)
  away = np.abs(one.centroids[0] - mean).max()
  four = faiss.Kmeans(DIMS, 4, seed=1, **options)
  said = four.train(rows)
  squares, _ = four.index.search(rows, 1)
  print(
    f"{name}: one centroid is {away:.2f} from the mean;",
    f"of four, the objective is {said / squares.sum():.2f} of all rows'",
  )
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
