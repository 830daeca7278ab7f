#!/usr/bin/env bash
# Guess: A column of vectors in which one is missing, of a fixed size as vector
# stores ask for, is written to Parquet and read again like any other column.
# Seen: It is written without a word, and no reader of pyarrow takes the file:
# reading any rows of the column fails, whole or filtered to the rows that have
# a vector. The other columns can be read. Lists without a fixed size, files
# written with `store_schema=False`, and Feather files come back.
# With: pyarrow 25.0.1, Python 3.11.7; seen 2026-12-01.
# Printed:
#> fixed size, Parquet: ArrowInvalid
#> the rows that have one: ArrowInvalid
#> ids alone: [1, 2, 3]
#> fixed size, store_schema=False: [[1.0, 1.0], None, [3.0, 3.0]]
#> any size, Parquet: [[1.0, 1.0], None, [3.0, 3.0]]
#> fixed size, Feather: [[1.0, 1.0], None, [3.0, 3.0]]
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pyarrow==25.0.1

cat > "$work/show.py" <<'END'
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet as pq

vectors = [[1.0, 1.0], None, [3.0, 3.0]]
fixed, free = pa.list_(pa.float32(), 2), pa.list_(pa.float32())


def table(kind):
  return pa.table({"id": [1, 2, 3], "vector": pa.array(vectors, kind)})


def told(name, read):
  try:
    print(f"{name}:", read()["vector"].to_pylist())
  except pa.ArrowInvalid as error:
    print(f"{name}:", type(error).__name__)


with tempfile.TemporaryDirectory() as folder:
  path = Path(folder) / "vectors"
  pq.write_table(table(fixed), path)
  there = pc.field("id") != 2
  data = pa.dataset.dataset(path)
  told("fixed size, Parquet", lambda: pq.read_table(path))
  told("the rows that have one", lambda: data.to_table(filter=there))
  print("ids alone:", pq.read_table(path, columns=["id"])["id"].to_pylist())
  pq.write_table(table(fixed), path, store_schema=False)
  told("fixed size, store_schema=False", lambda: pq.read_table(path))
  pq.write_table(table(free), path)
  told("any size, Parquet", lambda: pq.read_table(path))
  pa.feather.write_feather(table(fixed), path)
  told("fixed size, Feather", lambda: pa.feather.read_table(path))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
