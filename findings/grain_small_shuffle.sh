#!/usr/bin/env bash
# Guess: `MapDataset.shuffle` of few rows, as of a test or a rare category, or
# in windows of few, takes no longer a row than of many.
# Seen: The fewer rows, the longer: each is looked for among 65,536 numbers
# until one is below the count. Of 10 rows each takes 2.5 ms, of 100,000 0.01 ms.
# It is paid again in every pass and in every window: a million rows
# shuffled in windows of 10 take 40 minutes a pass, in windows of 100,000 they
# take 10 seconds. A permutation of numpy's as the source has no such time.
# With: grain 0.2.18, numpy 2.4.6, Python 3.11.7; seen 2026-12-03.
# Printed:
#> a row of 10: more than 50 times as long as one of 100,000
#> a row of 100: more than 5 times as long as one of 100,000
#> a row of a million in windows of 10: more than 50 times as long as one of 100,000
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q grain==0.2.18 numpy==2.4.6

cat > "$work/show.py" <<'END'
import time

import grain
from grain.experimental import WindowShuffleMapDataset


def seconds(rows):
  """The least of ten times of ten rows."""
  found = []
  for _ in range(10):
    begin = time.perf_counter()
    for row in range(10):
      rows[row]
    found.append(time.perf_counter() - begin)
  return min(found)


many = seconds(grain.MapDataset.range(100_000).shuffle(seed=1))


def show(name, rows, at_least):
  longer = seconds(rows) / many
  said = f"more than {at_least}" if longer > at_least else f"{longer:.1f}"
  print(f"{name}: {said} times as long as one of 100,000")


show("a row of 10", grain.MapDataset.range(10).shuffle(seed=1), 50)
show("a row of 100", grain.MapDataset.range(100).shuffle(seed=1), 5)
windows = WindowShuffleMapDataset(
  grain.MapDataset.range(1_000_000), window_size=10, seed=1
)
show("a row of a million in windows of 10", windows, 50)
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
