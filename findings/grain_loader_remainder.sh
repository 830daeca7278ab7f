#!/usr/bin/env bash
# Guess: Where the rows do not divide by the processes, `ShardOptions` with
# `drop_remainder=False`, the default, gives the rest to the first ones, as its
# documentation says: an epoch of a `DataLoader` reads each row once.
# Seen: The sampler's parts are so, but `DataLoader` reads as many rows of each
# as of the smallest one, without a word: the last rows of the larger parts are
# read by nobody, as in an evaluation of all products.
# With: grain 0.2.18, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> 8 rows, 3 processes: never read [2, 5]
#> 11 rows, 4 processes: never read [2, 5, 8]
#> 1003 rows, 8 processes: never read [125, 251, 377]
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q grain==0.2.18 numpy==2.4.6

cat > "$work/show.py" <<'END'
import grain


class Rows:
  def __init__(self, size):
    self.size = size

  def __len__(self):
    return self.size

  def __getitem__(self, row):
    return row


def read(size, process, count):
  sampler = grain.samplers.IndexSampler(
    size,
    num_epochs=1,
    shard_options=grain.sharding.ShardOptions(process, count),
  )
  loader = grain.DataLoader(
    data_source=Rows(size), sampler=sampler, worker_count=0
  )
  return [int(row) for row in loader]


for size, count in ((8, 3), (11, 4), (1003, 8)):
  parts = [read(size, process, count) for process in range(count)]
  missing = set(range(size)) - {row for part in parts for row in part}
  print(f"{size} rows, {count} processes: never read", sorted(missing))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
