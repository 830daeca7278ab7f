#!/usr/bin/env bash
# Guess: By BM25 a title that has the word of the query comes before those that
# have not, and a title without it scores 0.
# Seen: BM25Okapi gives a word that half of the titles have a weight of 0: of
# two titles none is found. Where each word is in most titles, those that have
# the word come last, with a score below 0. BM25Plus orders them well, but a
# title without the word scores half of what one with it does.
# With: rank-bm25 0.2.2, numpy 2.4.6, Python 3.11.7; seen 2026-12-03.
# Printed:
#> mug, two titles, BM25Okapi: red mug 0.00, blue vase 0.00
#> mug, two titles, BM25Plus: red mug 2.20, blue vase 1.10
#> mug, mugs are most, BM25Okapi: mug red 0.00, mug blue 0.00, vase red 0.00
#> mug, mugs are most, BM25Plus: mug red 1.39, mug blue 1.39, vase red 0.69
#> mug, each word in most, BM25Okapi: mug red small -0.10, vase red small 0.00, mug red large -0.10
#> mug, each word in most, BM25Plus: mug red small 1.39, vase red small 0.69, mug red large 1.39
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q rank-bm25==0.2.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
from rank_bm25 import BM25Okapi, BM25Plus

TITLES = {
  "two titles": ["red mug", "blue vase"],
  "mugs are most": ["mug red", "mug blue", "vase red"],
  "each word in most": ["mug red small", "vase red small", "mug red large"],
}
for name, titles in TITLES.items():
  words = [title.split() for title in titles]
  for kind in (BM25Okapi, BM25Plus):
    scores = kind(words).get_scores(["mug"])
    each = ", ".join(
      f"{title} {score:.2f}"
      for title, score in zip(titles, scores.tolist(), strict=True)
    )
    print(f"mug, {name}, {kind.__name__}: {each}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
