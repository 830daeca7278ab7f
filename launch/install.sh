# Makes a virtual environment and installs item-jax into it. To be sourced.
#
#   install EXTRA...   into $VENV; $PYTHON is its python afterwards
#
# What is installed already, for the same setup.py, is not installed again.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${VENV:-$ROOT/.venv}"

# The first python that runs and is new enough; a shim may be there and not run.
find_python() {
  local candidate
  for candidate in python3.13 python3.12 python3.11 python3 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
      > /dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
  echo "item-jax needs Python 3.11 or newer; none was found" >&2
  return 1
}

# The extra for this machine's accelerator, if it has one.
accelerator() {
  if command -v nvidia-smi > /dev/null 2>&1 && nvidia-smi -L > /dev/null 2>&1
  then
    echo cuda
  elif [ -e /dev/accel0 ] || [ -n "${TPU_WORKER_ID:-}" ]; then
    echo tpu
  fi
}

install() {
  local python stamp extra before missing="" extras
  stamp="$(printf '%s' "$ROOT" | cat - "$ROOT/setup.py" | cksum | tr -d ' ')"
  # The first word says for which setup.py, the others are the extras.
  before=" $(cat "$VENV/.installed" 2> /dev/null || true) "
  extras="$*"
  for extra in "$stamp" "$@" $(accelerator); do
    case "$before" in *" $extra "*) ;; *) missing=yes ;; esac
  done
  PYTHON="$VENV/bin/python"
  if [ ! -x "$PYTHON" ]; then
    python="$(find_python)" || return 1
    echo "making $VENV with $("$python" --version)"
    "$python" -m venv "$VENV" || return 1
  fi
  [ -n "$missing" ] || return 0
  extras="$(echo "$extras" "$(accelerator)" | xargs | tr ' ' ',')"
  echo "installing item-jax${extras:+[$extras]} into $VENV"
  "$PYTHON" -m pip install --quiet --disable-pip-version-check \
    --editable "$ROOT${extras:+[$extras]}" || return 1
  printf '%s\n' "$stamp ${extras//,/ }" > "$VENV/.installed"
}
