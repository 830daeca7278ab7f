#!/usr/bin/env bash
# Guess: fused with equal weights, a listing that both searches found comes
# before one that a single search found with the same score.
# Seen: ranx's `fuse` scales each run of hits to 0 for its last and 1 for its
# first ("min-max", the default). The last hit of a run counts as if it had
# not been found, whatever its score, and so does the only one of a run.
# With: ranx 0.3.21, Python 3.11.7; seen 2026-12-03.
# Printed:
#> the only hit of a run: by image {'a': 0.9}, by title {'b': 0.3, 'c': 0.2}
#>   min-max: {'a': 0.0, 'b': 1.0, 'c': 0.0}
#>   max: {'a': 1.0, 'b': 1.0, 'c': 0.67}
#>   rank: {'a': 1.0, 'b': 1.0, 'c': 0.5}
#> the last of both runs: by image {'a': 0.9, 'b': 0.8}, by title {'c': 0.9, 'b': 0.8}
#>   min-max: {'a': 1.0, 'b': 0.0, 'c': 1.0}
#>   max: {'a': 1.0, 'b': 1.78, 'c': 1.0}
#>   rank: {'a': 1.0, 'b': 1.0, 'c': 1.0}
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q ranx==0.3.21

cat > "$work/show.py" <<'END'
from ranx import Run, fuse

cases = {
  "the only hit of a run": ({"a": 0.9}, {"b": 0.3, "c": 0.2}),
  "the last of both runs": ({"a": 0.9, "b": 0.8}, {"c": 0.9, "b": 0.8}),
}
for case, (image, title) in cases.items():
  print(f"{case}: by image {image}, by title {title}")
  for norm in ("min-max", "max", "rank"):
    runs = [Run({"query": image}), Run({"query": title})]
    fused = dict(fuse(runs, norm=norm, method="sum")["query"])
    scores = {name: round(float(fused[name]), 2) for name in sorted(fused)}
    print(f"  {norm}: {scores}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
