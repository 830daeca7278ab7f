#!/usr/bin/env bash
# Guess: The rows left out by a slice of a shuffled grain dataset stay left
# out, however often the slice is repeated.
# Seen: repeat reseeds what lies before the slice, too: from the second epoch
# the shuffle is another, and rows held out in the first are trained on.
# With: grain 0.2.18, numpy 2.4.6, Python 3.11.7; seen 2026-11-29.
# Printed:
#> epoch 0 held-out rows in training: []
#> epoch 1 held-out rows in training: [0, 3]
#> epoch 2 held-out rows in training: [3]
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q grain==0.2.18 numpy==2.4.6

cat > "$work/show.py" <<'END'
import grain

rows = grain.MapDataset.range(10).seed(0).shuffle()
held_out = set(rows.slice(slice(8, 10)))
train = rows.slice(slice(0, 8)).repeat(3)
for epoch in range(3):
  seen = {train[i] for i in range(epoch * 8, epoch * 8 + 8)}
  print("epoch", epoch, "held-out rows in training:", sorted(seen & held_out))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
