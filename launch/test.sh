#!/usr/bin/env bash
# Installs the test extra into .venv, and the torchcheck extra where PyTorch's
# CPU build can be had; then runs the whole suite, two files at a time.
#
#   bash launch/test.sh [--slow] [what pytest takes]
#
# --slow adds the tests that take minutes each. What the tests compile is kept
# in ~/.cache/item-jax/test-programs (or in JAX_COMPILATION_CACHE_DIR): a first
# run takes half as long again as those after it.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=launch/install.sh
source "$here/launch/install.sh"
install test
install_torchcheck
cd "$here"
exec "$PYTHON" -m pytest -n 2 --dist loadfile \
  --no-loadscope-reorder "$@"
