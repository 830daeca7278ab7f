#!/usr/bin/env bash
# Guess: MAP@10 is one number, and libraries that compute it agree.
# Seen: trec_eval and what wraps it divide by all relevant rows, so that a query
# with 25 of them cannot score more than 0.40; implicit divides by 10 at most,
# and gives 1. The two can order two models differently.
# With: pytrec_eval-terrier 0.5.11, ir_measures 0.4.3, implicit 0.7.3, scipy 1.17.1,
# numpy 2.4.6, Python 3.11.7; seen 2026-12-03.
# Printed:
#> All of the first 10 hits are relevant, AP at 10:
#> of 10 relevant rows: pytrec_eval 1.00, ir_measures 1.00, implicit 1.00
#> of 20 relevant rows: pytrec_eval 0.50, ir_measures 0.50, implicit 1.00
#> of 25 relevant rows: pytrec_eval 0.40, ir_measures 0.40, implicit 1.00
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pytrec_eval-terrier==0.5.11 ir_measures==0.4.3 implicit==0.7.3 scipy==1.17.1 numpy==2.4.6

cat > "$work/show.py" <<'END'
import ir_measures
import numpy as np
import pytrec_eval
import scipy.sparse
from implicit.als import AlternatingLeastSquares
from implicit.evaluation import ranking_metrics_at_k

ROWS, CUTOFF = 30, 10


def by_trec(relevant):
  judged = {"q": {f"d{row:02}": 1 for row in range(relevant)}}
  found = {"q": {f"d{row:02}": float(ROWS - row) for row in range(ROWS)}}
  measure = ir_measures.AP @ CUTOFF
  trec = pytrec_eval.RelevanceEvaluator(judged, {f"map_cut.{CUTOFF}"})
  return (
    trec.evaluate(found)["q"][f"map_cut_{CUTOFF}"],
    ir_measures.calc_aggregate([measure], judged, found)[measure],
  )


def by_implicit(relevant):
  model = AlternatingLeastSquares(factors=1)
  model.user_factors = np.ones((1, 1), np.float32)
  model.item_factors = np.arange(ROWS, 0, -1, dtype=np.float32)[:, None]
  row = np.zeros((1, ROWS))
  row[0, :relevant] = 1
  test = scipy.sparse.csr_matrix(row)
  train = scipy.sparse.csr_matrix((1, ROWS))
  return ranking_metrics_at_k(
    model, train, test, K=CUTOFF, show_progress=False
  )["map"]


print("All of the first 10 hits are relevant, AP at 10:")
for relevant in (10, 20, 25):
  trec, measures = by_trec(relevant)
  print(
    f"of {relevant} relevant rows: pytrec_eval {trec:.2f},",
    f"ir_measures {measures:.2f}, implicit {by_implicit(relevant):.2f}",
  )
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
