#!/usr/bin/env bash
# Guess: DatasetDict.class_encode_column numbers the categories of all splits
# in one way, or complains where a split lacks some.
# Seen: Each split is numbered by itself: where test has no lamp, its mug is
# what train calls lamp, and a probe or a loss over these numbers compares
# other categories. Split by split the names are still right; written as
# Parquet and loaded again, all splits have the names of the first, and the mug
# of test is a lamp for good. Number one split and give the others its feature
# by cast_column, which fails for a category that it lacks.
# With: datasets 5.2.0, pyarrow 26.0.1, numpy 2.4.6, Python 3.11.7; seen
# 2026-12-02.
# Printed:
#> before: train ['lamp', 'mug', 'vase'], test ['mug', 'vase']
#> class_encode_column: train [0, 1, 2], test [0, 1]
#> their names: train ['lamp', 'mug', 'vase'], test ['mug', 'vase']
#> their names after Parquet: train ['lamp', 'mug', 'vase'], test ['lamp', 'mug']
#> cast_column: train [0, 1, 2], test [1, 2]
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HOME="$work/cache"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q \
  datasets==5.2.0 pyarrow==26.0.1 numpy==2.4.6

cat > "$work/show.py" <<'END'
import tempfile

import datasets

datasets.disable_progress_bars()


def show(what, splits, names=False):
  said = []
  for split, rows in splits.items():
    values = rows["kind"][:]
    if names:
      values = rows.features["kind"].int2str(values)
    said.append(f"{split} {values}")
  print(f"{what}:", ", ".join(said))


products = datasets.DatasetDict(
  train=datasets.Dataset.from_dict({"kind": ["lamp", "mug", "vase"]}),
  test=datasets.Dataset.from_dict({"kind": ["mug", "vase"]}),
)
show("before", products)
encoded = products.class_encode_column("kind")
show("class_encode_column", encoded)
show("their names", encoded, names=True)
with tempfile.TemporaryDirectory() as folder:
  for split, rows in encoded.items():
    rows.to_parquet(f"{folder}/{split}.parquet")
  read = datasets.load_dataset("parquet", data_dir=folder)
  show("their names after Parquet", read, names=True)

one = products["train"].class_encode_column("kind").features["kind"]
show("cast_column", products.cast_column("kind", one))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
