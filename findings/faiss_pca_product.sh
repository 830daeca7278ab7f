#!/usr/bin/env bash
# Guess: PCA to as many axes as before is a rotation: behind it an index finds
# what it finds without, by the inner product as by L2.
# Seen: faiss's PCA also takes the rows' mean off the rows and off the queries.
# Distances stay; inner products do not: where the queries lie elsewhere than
# the rows, as titles do from photos, 4 of 10 neighbours are others.
# METRIC_INNER_PRODUCT is taken without a warning. A rotation (`RR64`) keeps
# them.
# With: faiss-cpu 1.15.1, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> mean 0, product, PCA64,Flat: 1.0
#> mean 0, product, RR64,Flat: 1.0
#> mean 0, L2, PCA64,Flat: 1.0
#> mean 0, L2, RR64,Flat: 1.0
#> mean 2, product, PCA64,Flat: 0.6
#> mean 2, product, RR64,Flat: 1.0
#> mean 2, L2, PCA64,Flat: 1.0
#> mean 2, L2, RR64,Flat: 1.0
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q faiss-cpu==1.15.1 numpy==2.4.6

cat > "$work/show.py" <<'END'
import faiss
import numpy as np

faiss.omp_set_num_threads(1)
rng = np.random.default_rng(0)
N, Q, D, K = 5000, 200, 64, 10
mean_D = rng.normal(size=D)


def unit(count, shift):
  rows = rng.normal(size=(count, D)) + shift * mean_D
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  return rows.astype(np.float32)


def found(spec, metric, rows_ND, queries_QD):
  index = faiss.index_factory(D, spec, metric)
  index.train(rows_ND)
  index.add(rows_ND)
  return index.search(queries_QD, K)[1]


METRICS = {"product": faiss.METRIC_INNER_PRODUCT, "L2": faiss.METRIC_L2}
for shift in (0, 2):
  rows_ND, queries_QD = unit(N, shift), unit(Q, 0)
  for name, metric in METRICS.items():
    exact_QK = found("Flat", metric, rows_ND, queries_QD)
    for spec in (f"PCA{D},Flat", f"RR{D},Flat"):
      some_QK = found(spec, metric, rows_ND, queries_QD)
      same = [np.isin(*pair).mean() for pair in zip(exact_QK, some_QK)]
      print(f"mean {shift}, {name}, {spec}: {np.mean(same):.1f}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
