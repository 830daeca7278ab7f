#!/usr/bin/env bash
# Guess: A change of brightness or a blur may stand before or behind
# A.Normalize: it works on what it is given, and values below 0 stay below 0.
# Seen: Float images are taken as values of 0 to 1, and those changes cut off
# what is outside: behind Normalize, with zero mean, no value is below 0 and up
# to 80% are 0 or 1, by a blur that changes nothing and noise of 1%, too. Flips
# and crops leave them. Nothing is said: Normalize has to be the last.
# With: albumentations 2.0.8, opencv-python-headless 5.0.0.93, numpy 2.4.6,
# Python 3.11.7; seen 2026-12-01.
# Printed:
#> HorizontalFlip: then Normalize 45% below 0, after Normalize 45%, 0% at 0 or 1
#> RandomResizedCrop: then Normalize 43% below 0, after Normalize 43%, 0% at 0 or 1
#> RandomBrightnessContrast: then Normalize 31% below 0, after Normalize 0%, 80% at 0 or 1
#> ColorJitter: then Normalize 41% below 0, after Normalize 0%, 38% at 0 or 1
#> GaussNoise: then Normalize 45% below 0, after Normalize 0%, 78% at 0 or 1
#> GaussianBlur: then Normalize 45% below 0, after Normalize 0%, 78% at 0 or 1
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q \
  albumentations==2.0.8 opencv-python-headless==5.0.0.93 numpy==2.4.6

cat > "$work/show.py" <<'END'
import albumentations as A
import numpy as np

photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
CHANGES = {
  "HorizontalFlip": A.HorizontalFlip(p=1),
  "RandomResizedCrop": A.RandomResizedCrop((64, 64), scale=(0.9, 1), p=1),
  "RandomBrightnessContrast": A.RandomBrightnessContrast(p=1),
  "ColorJitter": A.ColorJitter(p=1),
  "GaussNoise": A.GaussNoise(std_range=(0.01, 0.01), p=1),
  "GaussianBlur": A.GaussianBlur(blur_limit=0, sigma_limit=0.1, p=1),
}
for name, change in CHANGES.items():
  first = A.Compose([change, A.Normalize()], seed=0)(image=photo)["image"]
  last = A.Compose([A.Normalize(), change], seed=0)(image=photo)["image"]
  print(
    f"{name}: then Normalize {(first < 0).mean():.0%} below 0,",
    f"after Normalize {(last < 0).mean():.0%},",
    f"{((last == 0) | (last == 1)).mean():.0%} at 0 or 1",
  )
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
