#!/usr/bin/env bash
# Guess: Titles that differ in a word have different TF-IDF vectors and BM25
# scores.
# Seen: scikit-learn's vectorizers and bm25s drop words of one letter or digit
# unless told otherwise: sizes S, M and 8, vitamins C and D are one product.
# `token_pattern=r"(?u)\b\w+\b"` keeps them in both.
# With: scikit-learn 1.9.1, bm25s 0.3.16, numpy 2.4.6, Python 3.11.7; seen 2026-12-03.
# Printed:
#> sklearn, words: shirt vitamin 100
#> cosine of Shirt S and Shirt M: 1.00
#> cosine of Vitamin C 100 and Vitamin D 100: 1.00
#> bm25s, words: shirt vitamin 100
#> bm25s, vitamin d: 0.00 0.00 0.00 0.29 0.29
#> told otherwise: shirt s m 8 vitamin c 100 d
#> told otherwise: shirt s m 8 vitamin c 100 d
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q scikit-learn==1.9.1 bm25s==0.3.16 numpy==2.4.6

cat > "$work/show.py" <<'END'
import bm25s
from sklearn.feature_extraction.text import TfidfVectorizer

TITLES = ["Shirt S", "Shirt M", "Shirt 8", "Vitamin C 100", "Vitamin D 100"]
vectors = TfidfVectorizer().fit_transform(TITLES)
cosines = (vectors @ vectors.T).toarray()
print("sklearn, words:", *TfidfVectorizer().fit(TITLES).vocabulary_)
print(f"cosine of Shirt S and Shirt M: {cosines[0, 1]:.2f}")
print(f"cosine of Vitamin C 100 and Vitamin D 100: {cosines[3, 4]:.2f}")
words = bm25s.tokenize(TITLES, show_progress=False)
print("bm25s, words:", *words.vocab)
index = bm25s.BM25()
index.index(words, show_progress=False)
scores = index.get_scores(["vitamin", "d"])
print("bm25s, vitamin d:", *(f"{score:.2f}" for score in scores))
every = r"(?u)\b\w+\b"
kept = bm25s.tokenize(TITLES, token_pattern=every, show_progress=False)
sklearn = TfidfVectorizer(token_pattern=every).fit(TITLES)
print("told otherwise:", *sklearn.vocabulary_)
print("told otherwise:", *kept.vocab)
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
