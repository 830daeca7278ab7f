#!/usr/bin/env bash
# Guess: Chroma's `get(ids)` lists vectors as they were asked for, and `add`
# of ids that are there puts the new vectors in place of the old.
# Seen: `get` lists them in the order of their insertion and leaves out ids
# that it does not have, so rows beside the ids asked for are of others.
# `add` keeps the old vectors without a word: embeddings of a new model are
# not taken (`upsert` takes them).
# With: chromadb 1.5.9, Python 3.11.7; seen 2026-12-03.
# Printed:
#> asked for b, c: ['c', 'b'] [[3.0, 3.0], [2.0, 2.0]]
#> asked for a, x, c: ['c', 'a'] [[3.0, 3.0], [1.0, 1.0]]
#> after add of a = [9, 9] and d: ['a', 'd'] [[1.0, 1.0], [4.0, 4.0]]
#> after upsert of a: ['a'] [[9.0, 9.0]]
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q chromadb==1.5.9

cat > "$work/show.py" <<'END'
import chromadb

mugs = chromadb.EphemeralClient().create_collection("mugs")
mugs.add(ids=["c", "a", "b"], embeddings=[[3, 3], [1, 1], [2, 2]])


def listed(ids):
  found = mugs.get(ids=ids, include=["embeddings"])
  return found["ids"], found["embeddings"].tolist()


print("asked for b, c:", *listed(["b", "c"]))
print("asked for a, x, c:", *listed(["a", "x", "c"]))
mugs.add(ids=["a", "d"], embeddings=[[9, 9], [4, 4]])
print("after add of a = [9, 9] and d:", *listed(["a", "d"]))
mugs.upsert(ids=["a"], embeddings=[[9, 9]])
print("after upsert of a:", *listed(["a"]))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
