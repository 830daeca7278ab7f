#!/usr/bin/env bash
# Guess: A row of zeros, such as a product without words or photo gets, has no
# direction: in a search by cosine it stands behind all that is near the query.
# Seen: In DuckDB its cosine is NaN, the largest of numbers there: it is the best
# hit of every query and above every threshold, a duplicate of everything. In
# sqlite-vec the distance is NULL, which ORDER BY puts first; a vec0 table has it
# as first hit of every query where it is the first row, and a real hit falls out
# (further down in the table it takes other places). LanceDB leaves it out of a
# search by cosine, though not of one by product. Keep such rows out of the table
# or search by the product of unit vectors, where they count as 0.
# With: duckdb 2.0.1, sqlite-vec 0.1.9, pysqlite3-binary 0.5.4.post2, lancedb
# 0.40.0, numpy 2.4.6, Python 3.11.7; seen 2026-12-02.
# Printed:
#> DuckDB, cosine: blank nan, mug 1.0, vase 0.6, lamp -0.6
#> DuckDB, cosine above 0.9: blank nan, mug 1.0
#> DuckDB, product: mug 1.0, vase 0.6, blank 0.0, lamp -0.6
#> sqlite-vec, vec_distance_cosine: blank None, mug 0.0, vase 0.4, lamp 1.6
#> sqlite-vec, vec0, k=2: blank None, mug 0.0
#> LanceDB, cosine: mug 0.0, vase 0.4, lamp 1.6
#> LanceDB, product: mug 0.0, vase 0.4, blank 1.0, lamp 1.6
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q duckdb==2.0.1 sqlite-vec==0.1.9 \
  pysqlite3-binary==0.5.4.post2 lancedb==0.40.0 numpy==2.4.6

cat > "$work/show.py" <<'END'
import json
import tempfile

import duckdb
import lancedb
import pysqlite3
import sqlite_vec

ROWS = {"blank": [0, 0], "mug": [1, 0], "vase": [0.6, 0.8], "lamp": [-0.6, 0.8]}
QUERY = "[1, 0]"


def show(what, hits):
  rounded = [(name, score and round(score, 2)) for name, score in hits]
  print(f"{what}:", ", ".join(f"{name} {score}" for name, score in rounded))


database = duckdb.connect()
database.execute("CREATE TABLE items (name TEXT, v FLOAT[2])")
database.executemany("INSERT INTO items VALUES (?, ?)", list(ROWS.items()))
for name, function, where in (
  ("cosine", "array_cosine_similarity", "true"),
  ("cosine above 0.9", "array_cosine_similarity", "score > 0.9"),
  ("product", "array_inner_product", "true"),
):
  found = database.execute(
    f"SELECT name, {function}(v, {QUERY}::FLOAT[2]) AS score FROM items"
    f" WHERE {where} ORDER BY score DESC"
  )
  show(f"DuckDB, {name}", found.fetchall())

database = pysqlite3.connect(":memory:")
database.enable_load_extension(True)
sqlite_vec.load(database)
database.execute(
  "CREATE VIRTUAL TABLE items USING"
  " vec0(name TEXT, v FLOAT[2] distance_metric=cosine)"
)
for name, vector in ROWS.items():
  values = (name, json.dumps(vector))
  database.execute("INSERT INTO items (name, v) VALUES (?, ?)", values)
for name, query in (
  (
    "vec_distance_cosine",
    "SELECT name, vec_distance_cosine(v, ?) AS score FROM items ORDER BY score",
  ),
  ("vec0, k=2", "SELECT name, distance FROM items WHERE v MATCH ? AND k = 2"),
):
  show(f"sqlite-vec, {name}", database.execute(query, [QUERY]))

with tempfile.TemporaryDirectory() as folder:
  items = lancedb.connect(folder).create_table(
    "items", [{"name": name, "vector": vector} for name, vector in ROWS.items()]
  )
  for name, kind in (("cosine", "cosine"), ("product", "dot")):
    found = items.search(json.loads(QUERY)).distance_type(kind).limit(9)
    hits = [(hit["name"], hit["_distance"]) for hit in found.to_list()]
    show(f"LanceDB, {name}", hits)
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
