#!/usr/bin/env bash
# Guess: `resize(size, Image.LANCZOS)` filters, whatever the image's mode.
# Seen: An image with a palette (a GIF, a PNG of 256 colours) or of one bit is
# scaled by the nearest pixel whatever filter is named, without a word, also by
# `thumbnail` and `ImageOps.fit`: a fine pattern of black and white stays black
# and white in place of grey. Converted to RGB first, it is filtered.
# With: pillow 13.0.0, numpy 2.4.6, Python 3.11.7; seen 2026-12-04.
# Printed:
#> PNG in RGB, mode RGB: resize [127, 128] thumbnail [128] fit [127, 128] as RGB first [127, 128]
#> PNG with a palette, mode P: resize [255] thumbnail [255] fit [255] as RGB first [127, 128]
#> GIF, mode P: resize [255] thumbnail [255] fit [255] as RGB first [127, 128]
#> PNG of one bit, mode 1: resize [255] thumbnail [255] fit [255] as RGB first [127, 128]
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pillow==13.0.0 numpy==2.4.6

cat > "$work/show.py" <<'END'
import io

import numpy as np
from PIL import Image, ImageOps

stripes = np.zeros((256, 256, 3), np.uint8)
stripes[:, ::2] = 255  # every second column white: grey when made small
photo = Image.fromarray(stripes)


def stored(image, form):
  file = io.BytesIO()
  image.save(file, form)
  return Image.open(io.BytesIO(file.getvalue()))


def colours(image):
  return np.unique(np.asarray(image.convert("L"))[2:-2, 2:-2]).tolist()


for name, image in {
  "PNG in RGB": stored(photo, "PNG"),
  "PNG with a palette": stored(photo.quantize(256), "PNG"),
  "GIF": stored(photo, "GIF"),
  "PNG of one bit": stored(photo.convert("1"), "PNG"),
}.items():
  small = image.copy()
  small.thumbnail((64, 64), Image.Resampling.LANCZOS)
  print(
    f"{name}, mode {image.mode}: resize",
    colours(image.resize((64, 64), Image.Resampling.LANCZOS)),
    "thumbnail", colours(small),
    "fit", colours(ImageOps.fit(image, (64, 64), Image.Resampling.LANCZOS)),
    "as RGB first",
    colours(image.convert("RGB").resize((64, 64), Image.Resampling.LANCZOS)),
  )
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
