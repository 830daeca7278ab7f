#!/usr/bin/env bash
# Guess: OpenCV shows a photo upright: it applies the orientation that the
# file states.
# Seen: It does so for JPEG, WebP and PNG, not for AVIF, where the orientation
# is a property of the file and Pillow applies it.
# With: opencv-python-headless 5.0.0.93, pillow 12.3.0, numpy 2.4.6, Python
# 3.11.7; seen 2026-11-29.
# Printed:
#> JPEG: Pillow (20, 30), OpenCV (20, 30)
#> WEBP: Pillow (20, 30), OpenCV (20, 30)
#> PNG: Pillow (20, 30), OpenCV (20, 30)
#> AVIF: Pillow (20, 30), OpenCV (30, 20)
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q \
  opencv-python-headless==5.0.0.93 pillow==12.3.0 numpy==2.4.6

cat > "$work/show.py" <<'END'
import io

import cv2
import numpy as np
from PIL import Image, ImageOps

for kind in ("JPEG", "WEBP", "PNG", "AVIF"):
  turned = Image.Exif()
  turned[274] = 6  # turn by 90 degrees to show
  file = io.BytesIO()
  Image.new("RGB", (30, 20)).save(file, kind, exif=turned)
  pillow = ImageOps.exif_transpose(Image.open(file)).size
  data = np.frombuffer(file.getvalue(), np.uint8)
  height, width = cv2.imdecode(data, cv2.IMREAD_COLOR).shape[:2]
  print(f"{kind}: Pillow {pillow}, OpenCV {(width, height)}")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
