#!/usr/bin/env bash
# Guess: pytrec_eval ranks the documents of a query by their scores, which are
# Python's floats; names matter where scores are equal.
# Seen: Scores are rounded to float32 before they are compared: cosines that
# agree in seven digits, seconds since 1970 within a minute and whole numbers
# beyond 2^24 are equal, and equal ones are ranked by name, the last name first.
# A hit that is the best of three is the third, and the measures follow. So does
# ir_measures, where it asks pytrec_eval. Ranks in the place of scores, as
# `count - rank`, are kept.
# With: pytrec_eval-terrier 0.5.11, ir_measures 0.4.3, numpy 2.4.6, Python
# 3.11.7; seen 2026-12-03.
# Printed:
#> cosines: pytrec_eval ranks 3, 2, 1; ir_measures' nDCG of the best 0.5; as ranks 1, 2, 3
#> seconds: pytrec_eval ranks 3, 2, 1; ir_measures' nDCG of the best 0.5; as ranks 1, 2, 3
#> numbers: pytrec_eval ranks 3, 2, 1; ir_measures' nDCG of the best 0.5; as ranks 1, 2, 3
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q \
  pytrec_eval-terrier==0.5.11 ir_measures==0.4.3 numpy==2.4.6

cat > "$work/show.py" <<'END'
import ir_measures
import pytrec_eval

FALLING = {
  "cosines": [0.99999997, 0.99999996, 0.99999995],
  "seconds": [1_700_000_030.0, 1_700_000_020.0, 1_700_000_010.0],
  "numbers": [50_000_002.0, 50_000_001.0, 50_000_000.0],
}


def ranks(scores):
  found = []
  for name in scores:  # is the relevant one
    judge = pytrec_eval.RelevanceEvaluator({"q": {name: 1}}, {"recip_rank"})
    found.append(round(1 / judge.evaluate({"q": scores})["q"]["recip_rank"]))
  return ", ".join(map(str, found))


for kind, falling in FALLING.items():
  scores = dict(zip("abc", falling, strict=True))
  assert sorted(scores, key=scores.get, reverse=True) == ["a", "b", "c"]
  ndcg = ir_measures.calc_aggregate(
    [ir_measures.nDCG], {"q": {"a": 1}}, {"q": scores}
  )[ir_measures.nDCG]
  print(
    f"{kind}: pytrec_eval ranks {ranks(scores)};",
    f"ir_measures' nDCG of the best {ndcg:.1f};",
    f"as ranks {ranks({'a': 3.0, 'b': 2.0, 'c': 1.0})}",
  )
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
