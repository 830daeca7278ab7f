#!/usr/bin/env bash
# Installs the docs extra into .venv and builds the documentation into
# docs/_build/html; any warning is an error.
#
#   bash launch/docs.sh [what sphinx-build takes]
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=launch/install.sh
source "$here/launch/install.sh"
install docs
cd "$here"
exec "$PYTHON" -m sphinx --fail-on-warning --keep-going --quiet "$@" \
  docs docs/_build/html
