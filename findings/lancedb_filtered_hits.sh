#!/usr/bin/env bash
# Guess: A search for 50 hits among the rows that a filter allows, of which
# there are 100, has 50 hits: the filter comes before the search, so only which
# ones they are is approximate.
# Seen: With an index of 100 partitions it has fewer, about 20, without a word:
# the rows allowed in the nearest 20 partitions. `maximum_nprobes=0` lets the
# search go on until it has enough.
# With: lancedb 0.40.0, pyarrow 25.0.1, numpy 2.4.6, Python 3.11.7; seen
# 2026-12-03.
# Printed:
#> without an index: 50 hits in 20 of 20 searches, below 40 in 0
#> with an index: 50 hits in 0 of 20 searches, below 40 in 20
#> maximum_nprobes=0: 50 hits in 20 of 20 searches, below 40 in 0
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q lancedb==0.40.0 pyarrow==25.0.1 numpy==2.4.6

cat > "$work/show.py" <<'END'
import tempfile

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import IvfFlat

rng = np.random.default_rng(0)
rows = rng.normal(size=(20_000, 32)).astype(np.float32)
vectors = pa.FixedSizeListArray.from_arrays(rows.reshape(-1), 32)
brands = np.where(np.arange(len(rows)) % 200, "others", "acme")  # 100 of it
queries = rng.normal(size=(20, 32)).astype(np.float32)


def show(name, table, change=lambda search: search):
  searches = [change(table.search(query)).limit(50) for query in queries]
  hits = [len(x.where("brand = 'acme'").to_list()) for x in searches]
  full = sum(count == 50 for count in hits)
  print(f"{name}: 50 hits in {full} of 20 searches,", end=" ")
  print(f"below 40 in {sum(count < 40 for count in hits)}")


with tempfile.TemporaryDirectory() as folder:
  data = pa.table({"brand": brands, "vector": vectors})
  table = lancedb.connect(folder).create_table("products", data)
  show("without an index", table)
  table.create_index("vector", config=IvfFlat(num_partitions=100))
  show("with an index", table)
  show("maximum_nprobes=0", table, lambda search: search.maximum_nprobes(0))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
