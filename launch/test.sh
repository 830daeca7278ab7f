#!/usr/bin/env bash
# Installs the test extra into .venv, and the torchcheck extra where PyTorch's
# CPU build can be had; then runs the whole suite, two files at a time.
#
#   bash launch/test.sh [--slow] [what pytest takes]
#
# A browser for the tests of pages, Debian's chromium, is installed where that
# may be done without asking: as root, with apt-get. Elsewhere they are skipped
# unless chromium and chromedriver are there.
# --slow adds the tests that take minutes each. What the tests compile is kept
# in ~/.cache/item-jax/test-programs (or in JAX_COMPILATION_CACHE_DIR): a first
# run takes half as long again as those after it.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=launch/install.sh
source "$here/launch/install.sh"
install test
install_torchcheck
if ! command -v chromedriver > /dev/null && [ "$(id -u)" = 0 ] \
  && command -v apt-get > /dev/null; then
  echo "installing chromium and chromium-driver"
  log="$(mktemp)"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y \
    --no-install-recommends chromium chromium-driver; } > "$log" 2>&1 \
    || { tail -n 5 "$log"; echo "no browser: its tests are skipped"; }
fi
cd "$here"
exec "$PYTHON" -m pytest -n 2 --dist loadfile \
  --no-loadscope-reorder "$@"
