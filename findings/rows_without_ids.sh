#!/usr/bin/env bash
# Guess: Rows that are added without ids get ids that are free.
# Seen: hnswlib numbers them from the count of rows on, voyager from 0 on.
# Where earlier rows had ids of their own, some of those numbers are in use,
# and their vectors are overwritten: of six rows added four and five are left.
# With: hnswlib 0.8.0, voyager 2.2.3, numpy 2.4.6, Python 3.11.7; seen
# 2026-11-29.
# Needs: a C++ compiler: hnswlib has no wheel.
# Printed:
#> hnswlib: 4 [2, 3, 4, 5]
#> hnswlib, id 3 is still its vector: False
#> voyager: 5 [0, 1, 2, 3, 4]
#> voyager, id 2 is still its vector: False
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q hnswlib==0.8.0 voyager==2.2.3 numpy==2.4.6

cat > "$work/show.py" <<'END'
import hnswlib
import numpy as np
import voyager

first, later = np.eye(6, 8, dtype=np.float32).reshape(2, 3, 8)

graph = hnswlib.Index("l2", 8)
graph.init_index(max_elements=10)
graph.add_items(first, [2, 3, 4])
graph.add_items(later)
print("hnswlib:", graph.get_current_count(), sorted(graph.get_ids_list()))
kept = np.array(graph.get_items([3])[0])
print("hnswlib, id 3 is still its vector:", np.array_equal(kept, first[1]))

graph = voyager.Index(voyager.Space.Euclidean, 8)
graph.add_items(first, [2, 3, 4])
graph.add_items(later)
print("voyager:", len(graph), sorted(graph.ids))
kept = graph.get_vector(2)
print("voyager, id 2 is still its vector:", np.array_equal(kept, first[0]))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
