#!/usr/bin/env bash
# Guess: Augmentation after a dataset is cut up for processes draws other
# random numbers in each: the seed is mixed with what the row is.
# Seen: `random_map` seeds a row by its place within the part: the first row of
# every process gets the same numbers, and so on. A global batch of 64 rows on
# 8 processes has 8 different draws. Cutting after `random_map` gives each row
# its own; so does another seed for each process.
# With: grain 0.2.18, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> cut, then random_map: 8 draws for 64 rows
#> cut, iterated, then random_map: 8 draws for 64 rows
#> random_map, then cut: 64 draws for 64 rows
#> cut, a seed for each process: 64 draws for 64 rows
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q grain==0.2.18 numpy==2.4.6

cat > "$work/show.py" <<'END'
import grain

ROWS, PROCESSES = 64, 8


def draw(row, rng):
  return row, int(rng.integers(2**31))


def batch(part_of):
  """All that the processes read, with what was drawn for it."""
  read = [pair for p in range(PROCESSES) for pair in part_of(p)]
  assert sorted(row for row, _ in read) == list(range(ROWS))
  return len({drawn for _, drawn in read})


rows = grain.MapDataset.range(ROWS).seed(0)
told = {
  "cut, then random_map": lambda p: rows[p::PROCESSES].random_map(draw),
  "cut, iterated, then random_map": lambda p: (
    rows[p::PROCESSES].to_iter_dataset().random_map(draw)
  ),
  "random_map, then cut": lambda p: rows.random_map(draw)[p::PROCESSES],
  "cut, a seed for each process": lambda p: (
    rows[p::PROCESSES].seed(p).random_map(draw)
  ),
}
for name, part_of in told.items():
  print(f"{name}: {batch(part_of)} draws for {ROWS} rows")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
