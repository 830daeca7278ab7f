#!/usr/bin/env bash
# Guess: A table of images that `datasets` writes as Parquet holds the images,
# as one that it uploads or saves to disk does; a photo that passes through
# `map` unchanged is the same file.
# Seen: `to_parquet` writes the paths alone, without a warning: the file is of
# no use on another machine, or once the photos have moved. `map` makes a PNG of
# each JPEG that its function returns, here three times as large.
# With: datasets 5.2.0, numpy 2.4.6, pillow 13.0.0, Python 3.11.7; seen 2026-12-03.
# Printed:
#> save_to_disk: the file itself, 1.0 times its size
#> to_parquet: no bytes, only the path photo.jpg
#> map that changes nothing: PNG, 2.9 times its size
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q datasets==5.2.0 numpy==2.4.6 pillow==13.0.0

cat > "$work/show.py" <<'END'
import os
import tempfile

import datasets
import numpy as np
from PIL import Image

os.chdir(tempfile.mkdtemp())
pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
Image.fromarray(pixels).save("photo.jpg", quality=90)
size = os.path.getsize("photo.jpg")
datasets.disable_progress_bars()
photos = datasets.Dataset.from_dict({"image": ["photo.jpg"]})
photos = photos.cast_column("image", datasets.Image())


def kept(table):
  raw = table.cast_column("image", datasets.Image(decode=False))[0]["image"]
  if raw["bytes"] is None:
    return f"no bytes, only the path {raw['path']}"
  same = raw["bytes"] == open("photo.jpg", "rb").read()
  kind = "the file itself" if same else raw["bytes"][1:4].decode()
  return f"{kind}, {len(raw['bytes']) / size:.1f} times its size"


photos.save_to_disk("disk")
print("save_to_disk:", kept(datasets.load_from_disk("disk")))
photos.to_parquet("photos.parquet")
print("to_parquet:", kept(datasets.Dataset.from_parquet("photos.parquet")))
gray = photos.map(lambda row: {"image": row["image"].convert("RGB")})
print("map that changes nothing:", kept(gray))
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
