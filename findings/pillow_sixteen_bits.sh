#!/usr/bin/env bash
# Guess: `Image.open(path).convert("RGB")` gives 8 bits of any photo: of a PNG
# of 16 bits the upper 8, in grey as in colour.
# Seen: Colour is so. Grey is opened in the mode I;16 and cut off at 255
# by `convert`, without a warning: all but the darkest 0.4% of the scale is
# white, so that photos of that kind have one vector and are copies of each
# other. OpenCV reads both alike.
# With: pillow 12.3.0, opencv-python-headless 5.0.0.93, numpy 2.4.6, Python
# 3.11.7; seen 2026-12-03.
# Printed:
#> colour, mode RGB: convert [  0  31  62  93 125 156 187 218], OpenCV [  0  31  62  93 125 156 187 218]
#> grey, mode I;16: convert [  0 255 255 255 255 255 255 255], OpenCV [  0  31  62  93 125 156 187 218]
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q \
  pillow==12.3.0 opencv-python-headless==5.0.0.93 numpy==2.4.6

cat > "$work/show.py" <<'END'
import io

import cv2
import numpy as np
from PIL import Image

grey = np.arange(8, dtype=np.uint16)[None] * 8_000  # of 65,535
for name, pixels in (("colour", np.stack([grey] * 3, 2)), ("grey", grey)):
  _, png = cv2.imencode(".png", pixels)
  photo = Image.open(io.BytesIO(png.tobytes()))
  converted = np.asarray(photo.convert("RGB"))[0, :, 0]
  other = cv2.imdecode(png, cv2.IMREAD_COLOR)[0, :, 0]
  print(f"{name}, mode {photo.mode}: convert {converted}, OpenCV {other}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
