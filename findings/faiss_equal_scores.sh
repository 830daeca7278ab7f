#!/usr/bin/env bash
# Guess: Equal scores are listed in one order, the smaller id first.
# Seen: Of equal scores IndexFlatIP lists the later id first and IndexFlatL2
# the earlier one; where not all find room, both keep the earliest. Places
# without a hit are -1.
# With: faiss-cpu 1.15.1, numpy 2.4.6, Python 3.11.7; seen 2026-11-29.
# Printed:
#> IndexFlatIP k=2: [1, 0]
#> IndexFlatIP k=6: [3, 2, 1, 0, -1, -1]
#> IndexFlatL2 k=2: [0, 1]
#> IndexFlatL2 k=6: [0, 1, 2, 3, -1, -1]
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q faiss-cpu==1.15.1 numpy==2.4.6

cat > "$work/show.py" <<'END'
import faiss
import numpy as np

same = np.tile(np.eye(1, 8, dtype=np.float32), (4, 1))
for kind in (faiss.IndexFlatIP, faiss.IndexFlatL2):
  index = kind(8)
  index.add(same)
  for k in (2, 6):
    print(kind.__name__, f"k={k}:", index.search(same[:1], k)[1][0].tolist())
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
