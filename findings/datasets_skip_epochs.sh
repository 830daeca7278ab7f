#!/usr/bin/env bash
# Guess: shuffle, then take and skip, parts a stream into rows that are held out
# and rows to train on; set_epoch puts the rows to train on in a new order.
# Seen: set_epoch moves the seed of every shuffle in the pipeline, of those
# before skip too, and skip leaves out the first rows of the new order. With a
# buffer that holds all rows most of the held-out ones are trained on from epoch
# 1 on, and a search measured with them looks better than it is. The library's
# guide to streams has both, in neighbouring sections. Rows that are skipped
# first and then shuffled stay apart, as do those of train_test_split.
# With: datasets 5.2.0, pyarrow 26.0.1, numpy 2.4.6, Python 3.11.7; seen
# 2026-12-02.
# Printed:
#> shuffle, skip, epoch 0: 800 rows, of 200 held-out ones 0
#> shuffle, skip, epoch 1: 800 rows, of 200 held-out ones 152
#> shuffle, skip, epoch 2: 800 rows, of 200 held-out ones 160
#> skip, shuffle, epoch 0: 800 rows, of 200 held-out ones 0
#> skip, shuffle, epoch 1: 800 rows, of 200 held-out ones 0
#> skip, shuffle, epoch 2: 800 rows, of 200 held-out ones 0
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HOME="$work/cache"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q \
  datasets==5.2.0 pyarrow==26.0.1 numpy==2.4.6

cat > "$work/show.py" <<'END'
from datasets import Dataset

rows = Dataset.from_dict({"id": range(1000)}).to_iterable_dataset(num_shards=8)
shuffled = rows.shuffle(seed=42, buffer_size=1000)
parts = {
  "shuffle, skip": (shuffled.take(200), shuffled.skip(200)),
  "skip, shuffle": (
    rows.take(200),
    rows.skip(200).shuffle(seed=42, buffer_size=1000),
  ),
}
for name, (test, train) in parts.items():
  held = {row["id"] for row in test}
  for epoch in range(3):
    train.set_epoch(epoch)
    seen = {row["id"] for row in train}
    print(
      f"{name}, epoch {epoch}: {len(seen)} rows,",
      f"of {len(held)} held-out ones {len(seen & held)}",
    )
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
