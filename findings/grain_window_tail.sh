#!/usr/bin/env bash
# Guess: A window shuffle moves rows within their window and leaves none out:
# where the last window is not full, its rows are shuffled among themselves.
# Seen: `WindowShuffleMapDataset` shuffles the last window as if it were full:
# places past the end wrap around to rows of the start, which come twice, and
# rows of the end never come. Of 1,000 rows in windows of 300 it is 72.
# `WindowShuffleIterDataset` leaves none out.
# With: grain 0.2.18, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> MapDataset: 8 rows read, 0 of them again; never []
#> IterDataset: 8 rows read, 0 of them again; never []
#> MapDataset: 10 rows read, 1 of them again; never [9]
#> IterDataset: 10 rows read, 0 of them again; never []
#> MapDataset: 1000 rows read, 72 of them again; never 72
#> IterDataset: 1000 rows read, 0 of them again; never []
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q grain==0.2.18 numpy==2.4.6

cat > "$work/show.py" <<'END'
import grain
from grain.experimental import WindowShuffleIterDataset, WindowShuffleMapDataset


def told(name, seen, rows):
  never = sorted(set(range(rows)) - set(seen))
  again = len(seen) - len(set(seen))
  print(f"{name}: {len(seen)} rows read, {again} of them again;", end=" ")
  print("never", never if len(never) < 9 else len(never))


for size, window in ((8, 4), (10, 4), (1000, 300)):
  rows = grain.MapDataset.range(size)
  given = {"window_size": window, "seed": 0}
  told("MapDataset", list(WindowShuffleMapDataset(rows, **given)), size)
  shuffled = WindowShuffleIterDataset(rows.to_iter_dataset(), **given)
  told("IterDataset", list(shuffled), size)
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
