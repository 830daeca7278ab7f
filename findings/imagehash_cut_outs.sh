#!/usr/bin/env bash
# Guess: perceptual hashes tell a disc from a triangle, cut out or not.
# Seen: ImageHash leaves out the alpha channel and looks at the colours that
# are hidden beneath it: black things on a transparent ground that is black
# beneath have one hash, by each of its five hashes; on white they differ.
# With: ImageHash 4.3.2, pillow 13.0.0, Python 3.11.7; seen 2026-12-03.
# Printed:
#> average_hash, cut out: 0 bits apart
#> average_hash, on white: 19 bits apart
#> phash, cut out: 0 bits apart
#> phash, on white: 28 bits apart
#> dhash, cut out: 0 bits apart
#> dhash, on white: 27 bits apart
#> whash, cut out: 0 bits apart
#> whash, on white: 20 bits apart
#> colorhash, cut out: 0 bits apart
#> colorhash, on white: 2 bits apart
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q ImageHash==4.3.2 pillow==13.0.0

cat > "$work/show.py" <<'END'
import imagehash
from PIL import Image, ImageDraw


def things(mode, ground):
  """A disc and a triangle in black."""
  for draw_as in ("ellipse", "polygon"):
    image = Image.new(mode, (96, 96), ground)
    where = (8, 8, 88, 88) if draw_as == "ellipse" else (8, 88, 88, 88, 48, 8)
    getattr(ImageDraw.Draw(image), draw_as)(where, fill="black")
    yield image


for name in ("average_hash", "phash", "dhash", "whash", "colorhash"):
  make = getattr(imagehash, name)
  for words, mode, ground in (
    ("cut out", "RGBA", (0, 0, 0, 0)),
    ("on white", "RGB", "white"),
  ):
    disc, triangle = map(make, things(mode, ground))
    print(f"{name}, {words}: {disc - triangle} bits apart")
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
