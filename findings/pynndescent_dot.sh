#!/usr/bin/env bash
# Guess: NNDescent(metric="dot") finds the rows of the largest product with the
# query, as IndexFlatIP of faiss or the dot of other vector databases do.
# Seen: It makes every row and every query of length 1, and its hits and
# distances are those of metric="cosine". Where lengths mean something, as the
# popularity in the vectors of a two-tower model, three of four hits are others.
# The metric of the product is "inner_product". The docstring of NNDescent and
# the README list only "dot", the README as an angular one; that it is for unit
# vectors is said in pynndescent.distances.
# With: pynndescent 0.7.0, numpy 2.4.6, Python 3.11.7; seen 2026-12-02.
# Needs: three minutes, most of them to compile the search.
# Printed:
#> inner_product: 1.00 of the best 5 by product, 0.27 by cosine
#> dot: 0.27 of the best 5 by product, 1.00 by cosine
#> distances of dot are 1 - cosine: True
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pynndescent==0.7.0 numpy==2.4.6

cat > "$work/show.py" <<'END'
import numpy as np
from pynndescent import NNDescent

draw = np.random.default_rng(0)
rows = draw.normal(size=(1000, 8)).astype(np.float32)
rows *= draw.uniform(0.5, 2, (1000, 1)).astype(np.float32)
queries = draw.normal(size=(20, 8)).astype(np.float32)
unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
best = {
  name: np.argsort(-queries @ table.T, axis=1)[:, :5]
  for name, table in (("product", rows), ("cosine", unit))
}
for metric in ("inner_product", "dot"):
  index = NNDescent(rows, metric=metric, random_state=0)
  # A large epsilon looks at so many rows that none of the best is missed.
  found, distances = index.query(queries, 5, epsilon=1)
  share = {
    name: np.mean([np.isin(*pair).mean() for pair in zip(found, hits)])
    for name, hits in best.items()
  }
  print(
    f"{metric}: {share['product']:.2f} of the best 5 by product,",
    f"{share['cosine']:.2f} by cosine",
  )
cosines = np.einsum("qd,qkd->qk", queries, unit[found])
cosines /= np.linalg.norm(queries, axis=1, keepdims=True)
same = np.allclose(distances, 1 - cosines, atol=1e-5)
print("distances of dot are 1 - cosine:", same)
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
