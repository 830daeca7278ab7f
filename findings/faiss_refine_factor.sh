#!/usr/bin/env bash
# Guess: `RFlat` behind a compressed index, as in `SQ4,RFlat`, finds more of
# the true neighbours: the index's candidates are compared again by the vectors
# themselves.
# Seen: Unless `k_factor` is set it is 1: k candidates are asked of the index
# for k hits, and only their order changes. The hits and so the recall are
# those without the vectors, which now take 8 or 32 times the codes' memory.
# With 10 candidates for each hit they are worth it.
# With: faiss-cpu 1.15.1, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> SQ4: 0.7; SQ4,RFlat: 0.7; the same hits: True; k_factor 10: 1.0
#> PQ16x4: 0.2; PQ16x4,RFlat: 0.2; the same hits: True; k_factor 10: 0.6
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
rows = rng.normal(size=(10_000, 64)).astype(np.float32)
queries = rng.normal(size=(200, 64)).astype(np.float32)
exact = faiss.IndexFlatL2(64)
exact.add(rows)
wanted = exact.search(queries, 10)[1]


def recall(found):
  shared = [len(set(a) & set(b)) for a, b in zip(found, wanted, strict=True)]
  return f"{np.mean(shared) / 10:.1f}"


for kind in ("SQ4", "PQ16x4"):
  plain = faiss.index_factory(64, kind)
  refined = faiss.index_factory(64, f"{kind},RFlat")
  for index in (plain, refined):
    index.train(rows)
    index.add(rows)
  found, again = (index.search(queries, 10)[1] for index in (plain, refined))
  same = np.array_equal(np.sort(found), np.sort(again))
  print(f"{kind}: {recall(found)}; {kind},RFlat: {recall(again)};", end=" ")
  print("the same hits:", same, end="; ")
  refined.k_factor = 10
  print("k_factor 10:", recall(refined.search(queries, 10)[1]))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
