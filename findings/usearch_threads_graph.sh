#!/usr/bin/env bash
# Guess: The same vectors, added in one call under the same keys, make the same
# index; threads only make it quicker, as of faiss's flat indexes.
# Seen: With several threads the graph is another at each build, and so is what
# it finds: the files differ, and some queries get other neighbours. With
# threads=1 files are equal to the byte.
# With: usearch 2.26.6, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> threads=1: 1 file of 6 builds; all find the same
#> threads=4: several files of 6 builds; not all find the same
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q usearch==2.26.6 numpy==2.4.6

cat > "$work/show.py" <<'END'
import numpy as np
from usearch.index import Index

rng = np.random.default_rng(0)
rows_ND = rng.normal(size=(20_000, 32)).astype(np.float32)
queries_QD = rng.normal(size=(1_000, 32)).astype(np.float32)

for threads in (1, 4):
  files, found = set(), set()
  for _ in range(6):
    index = Index(ndim=32, metric="cos", dtype="f32")
    index.add(np.arange(len(rows_ND)), rows_ND, threads=threads)
    files.add(bytes(index.save()))
    found.add(index.search(queries_QD, 10, threads=1).keys.tobytes())
  many = "1 file" if len(files) == 1 else "several files"
  same = "all" if len(found) == 1 else "not all"
  print(f"threads={threads}: {many} of 6 builds; {same} find the same")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
