#!/usr/bin/env bash
# Guess: A search of some ids only, by `params` with a selector, is otherwise
# as the index is set: `nprobe` and `efSearch` are the index's.
# Seen: The parameters bring defaults of their own, nprobe 1 and efSearch 16,
# which take the place of the index's: with a selector that keeps every row the
# recall of 64 probed lists falls from 1 to 0.2, that of an HNSW graph to 0.6.
# With: faiss-cpu 1.15.1, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> IVF, nprobe 64: 1.0
#> with a selector of all: 0.2
#> and nprobe: 1.0
#> HNSW, efSearch 512: 1.0
#> with a selector of all: 0.6
#> and efSearch: 1.0
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
rows = rng.normal(size=(20_000, 32)).astype(np.float32)
queries = rng.normal(size=(200, 32)).astype(np.float32)
exact = faiss.IndexFlatL2(32)
exact.add(rows)
wanted = exact.search(queries, 10)[1]
every_row = faiss.IDSelectorRange(0, len(rows))


def recall(index, params=None):
  found = index.search(queries, 10, params=params)[1]
  shared = [len(set(a) & set(b)) for a, b in zip(found, wanted, strict=True)]
  return f"{np.mean(shared) / 10:.1f}"


ivf = faiss.index_factory(32, "IVF64,Flat")
ivf.train(rows)
ivf.add(rows)
ivf.nprobe = 64
kind = faiss.SearchParametersIVF
print("IVF, nprobe 64:", recall(ivf))
print("with a selector of all:", recall(ivf, kind(sel=every_row)))
print("and nprobe:", recall(ivf, kind(sel=every_row, nprobe=64)))

hnsw = faiss.index_factory(32, "HNSW16")
hnsw.add(rows)
hnsw.hnsw.efSearch = 512
kind = faiss.SearchParametersHNSW
print("HNSW, efSearch 512:", recall(hnsw))
print("with a selector of all:", recall(hnsw, kind(sel=every_row)))
print("and efSearch:", recall(hnsw, kind(sel=every_row, efSearch=512)))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
