# shellcheck shell=bash
# Makes a virtual environment and installs item-jax into it. To be sourced.
#
#   install EXTRA...     into $VENV; $PYTHON is its python afterwards
#   install_torchcheck   after it: the extra of that name, with PyTorch's CPU
#                        build; says in a line where that can't be had
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

# The newest CUDA that the driver and each GPU are new enough for: 13 needs
# driver 580 and compute capability 7.5. A driver that is too old to know the
# question gets 12.
cuda() {
  nvidia-smi --query-gpu=driver_version,compute_cap --format=csv,noheader \
    2> /dev/null | awk -F ', ' '
      $1 + 0 < 580 || $2 + 0 < 7.5 { old = 1 }
      END { print NR && !old ? "cuda13" : "cuda12" }'
}

# Whether one of Google's PCI devices is a TPU; others are network cards.
tpu() {
  local vendor
  for vendor in /sys/bus/pci/devices/*/vendor; do
    if grep -qsx 0x1ae0 "$vendor" && grep -qsx -E \
      '0x00(27|56|5e|62|63|6f|76)' "${vendor%vendor}device"
    then
      return 0
    fi
  done
  return 1
}

# The extra for this machine's accelerator, if it has one.
accelerator() {
  if command -v nvidia-smi > /dev/null 2>&1 && nvidia-smi -L > /dev/null 2>&1
  then
    cuda
  elif [ -e /dev/accel0 ] || [ -n "${TPU_WORKER_ID:-}" ] || tpu; then
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

# What pip calls PyTorch's CPU build: nothing where the indexes it is set up with
# have none. On Linux the plain one brings gigabytes of CUDA, which no test needs.
cpu_torch() {
  if [ "$(uname -s)" != Linux ]; then
    echo torch
    return
  fi
  "$PYTHON" -m pip index versions torch 2> /dev/null \
    | tr ', ' '\n' | grep '+cpu$' | head -n 1 | sed 's/^/torch==/'
}

install_torchcheck() {
  local build
  ! grep -qsw torchcheck "$VENV/.installed" || return 0
  build="$(cpu_torch || true)"
  if [ -z "$build" ]; then
    echo "no index of this pip has PyTorch's CPU build (PIP_EXTRA_INDEX_URL" \
      "adds one): the tests that compare with it are skipped"
    return 0
  fi
  echo "installing item-jax[torchcheck] with $build into $VENV"
  # In one go, so that pip can't put another build in its place.
  if ! "$PYTHON" -m pip install --quiet --disable-pip-version-check \
    --editable "${ROOT}[torchcheck]" "$build"; then
    echo "item-jax[torchcheck] can't be installed: the tests that compare with" \
      "PyTorch are skipped"
    return 0
  fi
  sed -i.old 's/$/ torchcheck/' "$VENV/.installed"
}
