#!/usr/bin/env bash
# Guess: Two samples with different keys stay two samples.
# Seen: A key ends at its first dot: mug-1.0l and mug-1.5l become one sample
# with the photos of both, and without the field jpg.
# With: webdataset 1.0.2, numpy 2.4.6, Python 3.11.7; seen 2026-11-29.
# Printed:
#> mug-1 ['0l.jpg', '5l.jpg']
#> cup ['jpg']
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q webdataset==1.0.2 numpy==2.4.6

cat > "$work/show.py" <<'END'
import tempfile
from pathlib import Path

import webdataset

with tempfile.TemporaryDirectory() as folder:
  path = str(Path(folder) / "photos.tar")
  with webdataset.TarWriter(path) as writer:
    for key in ("mug-1.0l", "mug-1.5l", "cup"):
      writer.write({"__key__": key, "jpg": key.encode()})
  for sample in webdataset.WebDataset(path, shardshuffle=False):
    fields = [name for name in sample if not name.startswith("_")]
    print(sample["__key__"], fields)
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
