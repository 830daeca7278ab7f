#!/usr/bin/env bash
# Guess: A vector that is replaced in KeyedVectors, by kv[key] = vector or
# add_vectors(replace=True), is searched like any other.
# Seen: most_similar divides by lengths that it keeps from the first search on;
# add_vectors does not set them anew, and a new vector is divided by the length
# of the old one. After an update to vectors of other lengths a cosine of 0.6 is
# listed as 6, ahead of the best hit, or as 0.06, behind the worst. Before the
# first search, and in cosine_similarities, it is right. After each change call
# kv.fill_norms(force=True).
# With: gensim 4.4.0, numpy 2.4.6, Python 3.11.7; seen 2026-12-02.
# Printed:
#> 10 times as long, before the first search: mug 0.80, vase 0.60, bowl 0.28
#> 10 times as long, after it: vase 6.00, mug 0.80, bowl 0.28
#> its cosine: 0.60
#> after fill_norms: mug 0.80, vase 0.60, bowl 0.28
#> 0.1 times as long, before the first search: mug 0.80, vase 0.60, bowl 0.28
#> 0.1 times as long, after it: mug 0.80, bowl 0.28, vase 0.06
#> its cosine: 0.60
#> after fill_norms: mug 0.80, vase 0.60, bowl 0.28
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q gensim==4.4.0 numpy==2.4.6

cat > "$work/show.py" <<'END'
import numpy as np
from gensim.models import KeyedVectors

ROWS = np.array([[0.8, 0.6], [0, 1], [0.28, 0.96]], np.float32)
QUERY = np.array([1, 0], np.float32)


def search(vectors):
  found = vectors.most_similar([QUERY])
  return ", ".join(f"{name} {score:.2f}" for name, score in found)


for times in (10, 0.1):
  for when in ("before the first search", "after it"):
    vectors = KeyedVectors(2)
    vectors.add_vectors(["mug", "vase", "bowl"], ROWS)
    if when == "after it":
      search(vectors)
    vectors["vase"] = np.array([0.6, 0.8], np.float32) * times
    print(f"{times} times as long, {when}:", search(vectors))
  cosine = vectors.cosine_similarities(QUERY, vectors["vase"][None])[0]
  print(f"its cosine: {cosine:.2f}")
  vectors.fill_norms(force=True)
  print("after fill_norms:", search(vectors))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
