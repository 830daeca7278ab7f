#!/usr/bin/env bash
# Guess: Where ScaNN finds fewer neighbours than were asked for, what is missing
# has an index that cannot be taken for a row, such as -1.
# Seen: It is row 0 with a distance of NaN. It happens where the leaves searched
# hold too few, and whenever more is asked for than `reorder(n)` keeps: of 200
# neighbours in a search of all leaves 100 are row 0.
# With: scann 1.4.2, numpy 2.4.6, Python 3.11.7; seen 2026-12-04.
# Printed:
#> 50 of 50 leaves, reorder None, 200 asked for: 0% of the hits have no score; their rows []
#> 50 of 50 leaves, reorder 100, 200 asked for: 50% of the hits have no score; their rows [0]
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q scann==1.4.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import numpy as np
import scann

drawn = np.random.default_rng(0)
rows = drawn.normal(size=(2000, 32)).astype(np.float32)
rows /= np.linalg.norm(rows, axis=1, keepdims=True)


def search(leaves, asked, reordered=None):
  builder = scann.scann_ops_pybind.builder(rows, 10, "dot_product").tree(
    num_leaves=50, num_leaves_to_search=leaves, training_sample_size=2000
  )
  if reordered:
    builder = builder.score_ah(2).reorder(reordered)
  else:
    builder = builder.score_brute_force()
  found, scores = builder.build().search_batched(
    rows[1:11], final_num_neighbors=asked
  )
  none = np.isnan(scores)
  print(
    f"{leaves} of 50 leaves, reorder {reordered}, {asked} asked for:",
    f"{none.sum() / none.size:.0%} of the hits have no score;",
    "their rows", sorted(set(found[none].tolist())),
  )


search(50, 200)
search(50, 200, 100)
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
