#!/usr/bin/env bash
# Guess: RR@10 is RR cut at rank 10: where the relevant document stands among
# the first ten the two are equal.
# Seen: They come from different evaluators that break equal scores in
# opposite ways: with two tied documents one says 1.0 and the other 0.5.
# With: ir_measures 0.4.3, pytrec_eval-terrier 0.5.11, numpy 2.4.6, Python
# 3.11.7; seen 2026-11-29.
# Printed:
#> a is relevant: RR 0.5, RR@10 1.0
#> b is relevant: RR 1.0, RR@10 0.5
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q \
  ir_measures==0.4.3 pytrec_eval-terrier==0.5.11 numpy==2.4.6

cat > "$work/show.py" <<'END'
import ir_measures
from ir_measures import RR

scored = [ir_measures.ScoredDoc("q", name, 1.0) for name in ("a", "b")]
for relevant in ("a", "b"):
  judged = [ir_measures.Qrel("q", relevant, 1)]
  found = ir_measures.calc_aggregate([RR, RR @ 10], judged, scored)
  print(f"{relevant} is relevant: RR {found[RR]}, RR@10 {found[RR @ 10]}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
