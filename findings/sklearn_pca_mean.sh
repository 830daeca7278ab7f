#!/usr/bin/env bash
# Guess: PCA takes off the mean first, so a constant that is added to float32
# rows changes nothing while the rows themselves hold the digits.
# Seen: For 10 times as many rows as columns, and at most 1,000 columns, `auto`
# is covariance_eigh, which takes the mean off the products of the rows, in
# float32: the variances cancel. With a mean of 100 and a deviation of 1 the
# axes are wrong, with 1,000, as of a column of years, the variances, too.
# svd_solver='full' is right, and float64 is.
# With: scikit-learn 1.9.1, numpy 2.4.6, Python 3.11.7; seen 2026-12-01.
# Printed:
#> mean 0, float32, auto: the right axes True, largest variance 1
#> mean 0, float32, full: the right axes True, largest variance 1
#> mean 0, float64, auto: the right axes True, largest variance 1
#> mean 100, float32, auto: the right axes False, largest variance 1
#> mean 100, float32, full: the right axes True, largest variance 1
#> mean 100, float64, auto: the right axes True, largest variance 1
#> mean 1000, float32, auto: the right axes False, largest variance above 10
#> mean 1000, float32, full: the right axes True, largest variance 1
#> mean 1000, float64, auto: the right axes True, largest variance 1
set -euo pipefail
stated=$(sed -n 's/^#> //p' "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q scikit-learn==1.9.1 numpy==2.4.6

cat > "$work/show.py" <<'END'
import numpy as np
from sklearn.decomposition import PCA

rng = np.random.default_rng(0)
N, D, K = 5000, 32, 4
around_ND = rng.normal(size=(N, D)) * np.linspace(1, 0.1, D)
exact_KD = PCA(K, svd_solver="full").fit(around_ND).components_
for mean in (0, 100, 1000):
  rows_ND = (around_ND + mean).astype(np.float32)
  for name, rows, solver in (
    ("float32", rows_ND, "auto"),
    ("float32", rows_ND, "full"),
    ("float64", rows_ND.astype(np.float64), "auto"),
  ):
    pca = PCA(K, svd_solver=solver).fit(rows)
    # The least cosine between the two planes of K axes.
    cosine = np.linalg.svd(exact_KD @ pca.components_.T)[1].min()
    largest = pca.explained_variance_[0]
    print(
      f"mean {mean}, {name}, {solver}: the right axes {cosine > 0.95},",
      f"largest variance {'above 10' if largest > 10 else f'{largest:.0f}'}",
    )
END
printed=$("$work/venv/bin/python" "$work/show.py")
echo "$printed"
diff <(echo "$stated") <(echo "$printed")  # fails where the behaviour changed
