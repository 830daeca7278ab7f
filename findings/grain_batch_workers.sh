#!/usr/bin/env bash
# Guess: The number of worker processes changes the speed of a grain pipeline,
# not its batches.
# Seen: batch() after to_iter_dataset() runs in each worker on that worker's
# share: other batches for other numbers of workers, and with drop_remainder
# each worker drops rows. batch() before to_iter_dataset() gives the same
# batches for all.
# With: grain 0.2.18, numpy 2.4.6, absl-py 2.5.1, Python 3.11.7; seen
# 2026-11-29.
# Printed:
#> 0 workers, batch last:  [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
#> 2 workers, batch last:  [[0, 2, 4], [1, 3, 5], [6, 8, 10], [7, 9, 11]]
#> 3 workers, batch last:  [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
#> 0 workers, batch first: [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
#> 2 workers, batch first: [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
#> 3 workers, batch first: [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q grain==0.2.18 numpy==2.4.6 absl-py==2.5.1

cat > "$work/show.py" <<'END'
import grain
from absl import flags


def batches(workers, *, first):
  """Batches of 14 rows, batched before or after to_iter_dataset."""
  rows = grain.MapDataset.range(14)
  if first:
    rows = rows.batch(3, drop_remainder=True).to_iter_dataset()
  else:
    rows = rows.to_iter_dataset().batch(3, drop_remainder=True)
  options = grain.MultiprocessingOptions(num_workers=workers)
  return [batch.tolist() for batch in rows.mp_prefetch(options)]


if __name__ == "__main__":  # the workers import this file
  flags.FLAGS(["show"])
  for workers in (0, 2, 3):
    print(workers, "workers, batch last: ", batches(workers, first=False))
  for workers in (0, 2, 3):
    print(workers, "workers, batch first:", batches(workers, first=True))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
