#!/usr/bin/env bash
# Guess: A query without a relevant candidate adds 0 to a ranking metric, is
# left out or raises an error, alike in the metrics of one library.
# Seen: `label_ranking_average_precision_score` counts it as 1 and `ndcg_score`
# as 0, both without a warning: where half of the queries have none, LRAP of
# random scores rises from 0.09 to 0.55 and NDCG is halved.
# With: scikit-learn 1.9.1, numpy 2.4.6, Python 3.11.7; seen 2026-12-03.
# Printed:
#> 0% of queries without a relevant candidate: LRAP 0.09, NDCG 0.26
#> 50% of queries without a relevant candidate: LRAP 0.55, NDCG 0.13
#> 100% of queries without a relevant candidate: LRAP 1.00, NDCG 0.00
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q scikit-learn==1.9.1 numpy==2.4.6

cat > "$work/show.py" <<'END'
import warnings

import numpy as np
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

warnings.simplefilter("error")
scores = np.random.default_rng(0).random((1000, 50))  # of chance
relevant = np.zeros((1000, 50), int)
relevant[:, 0] = 1
for share in (0, 0.5, 1):
  relevant[: int(share * 1000)] = 0
  ranked = label_ranking_average_precision_score(relevant, scores)
  print(f"{share:.0%} of queries without a relevant candidate:", end=" ")
  print(f"LRAP {ranked:.2f}, NDCG {ndcg_score(relevant, scores):.2f}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
