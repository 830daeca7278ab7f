#!/usr/bin/env bash
# What one GPU does, in a table and a JSON file, in less than eight minutes:
# samples/s and MFU of item_base and item_align with cuDNN's and XLA's attention,
# their three largest costs, their peak memory beside what `plan --compile h100`
# says, whether a resumed run is bitwise the same, and rows/s of an export.
#
#   bash launch/gpu_check.sh [--out DIR] [--python FILE] [--cpu]
#
# --out is a new folder (default: gpu_check). --python is a Python that has
# item-jax already; otherwise .venv is made. --cpu takes the same way at tiny
# sizes where there is no GPU: its figures mean nothing. A part that fails or
# takes too long is named, the others go on, and the end is 1. Logs are in
# DIR/*.log, the figures in DIR/gpu_check.json.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
PYTHON="" out="$here/gpu_check" cpu=""
while [ $# -gt 0 ]; do
  case "$1" in
    --out | --python)
      [ $# -gt 1 ] || { echo "$1 needs a value" >&2; exit 2; }
      case "$1" in
        --out) out="$2" ;;
        --python) PYTHON="$2" ;;
      esac
      shift 2
      ;;
    --cpu) cpu=yes; shift ;;
    -h | --help) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit ;;
    *) echo "unknown option $1; see --help" >&2; exit 2 ;;
  esac
done
if [ -e "$out" ]; then
  echo "$out is there already; give another --out" >&2
  exit 2
fi
if [ -z "$PYTHON" ]; then
  # shellcheck source=launch/install.sh
  source "$here/launch/install.sh"
  # shellcheck disable=SC2119 # no extra but the accelerator's
  install
fi
# Parts begin in this time, which leaves some of the eight minutes for the rest.
SECONDS=0 whole=465
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
[ -z "$cpu" ] || export JAX_PLATFORMS=cpu
found="$("$PYTHON" -c 'import jax; print(jax.default_backend())' || true)"
if [ -z "$cpu" ] && [ "$found" != gpu ]; then
  echo "no GPU here: jax finds ${found:-no device}." \
    "--cpu takes the same way at tiny sizes" >&2
  exit 2
fi
mkdir -p "$out"
out="$(cd "$out" && pwd)"
# A resumed run need not compile anew what the first one compiled.
export JAX_COMPILATION_CACHE_DIR="$out/programs"

products=2000 side=256 batch=512 rows=64 seconds=8 kernels=(cudnn xla)
# As many words as BERT has, whatever the catalogue's.
sizes=(--config.model.vocab_pad_multiple=30592)
compile=(--compile=h100)
if [ -n "$cpu" ]; then
  products=60 side=32 batch=8 rows=8 seconds=0.1 kernels=(xla)
  sizes=(--config.model.layers=1 --config.model.width=16 --config.model.heads=2
    --config.model.mlp=16 --config.model.image_size=32
    --config.model.max_title_tokens=16 --config.model.dtype=float32)
  compile=(--chips=1 --memory=80 --peak=989)
fi
sizes+=(--config.data.workers=0)

# part NAME SECONDS COMMAND...: runs it, and notes how it ended in parts.tsv.
part() {
  local name="$1" limit="$2" code=0 begin="$SECONDS" left="$((whole - SECONDS))"
  shift 2
  [ "$limit" -le "$left" ] || limit="$left"
  if [ "$limit" -lt 1 ]; then
    code=124
  else
    echo "$name (at most $limit s)"
    timeout --kill-after=5 "$limit" "$@" > "$out/$name.log" 2>&1 || code=$?
  fi
  [ "$code" -eq 0 ] || echo "$name ended with $code: see $out/$name.log" >&2
  printf '%s\t%s\t%s\n' "$name" "$code" "$((SECONDS - begin))" \
    >> "$out/parts.tsv"
}
item() { item=("$PYTHON" -m item_jax "$@"); }

catalogue() {
  "$PYTHON" -m item_jax synthesize "$out/catalogue" --products="$products" \
    --image_size="$side"
  "$PYTHON" -m item_jax prepare "$out/catalogue/products.csv" \
    --images="$out/catalogue" --out="$out/data"
}
# One run, then its last part again from the checkpoint in its middle.
resume() {
  local train=("$PYTHON" -m item_jax train --config="$here/configs/item_base.py"
    --config.data.path="$out/data" --config.batch_size="$rows"
    --config.steps=8 --config.optim.warmup=2 --config.log_every=1
    --config.eval_every=8 --config.evaluators= --config.checkpoint.every=4
    "${sizes[@]}")
  export XLA_FLAGS="${XLA_FLAGS:-} --xla_gpu_deterministic_ops=true"
  "${train[@]}" --workdir="$out/run"
  cp -r "$out/run" "$out/resumed"
  rm -r "$out/resumed/checkpoints/8"
  "${train[@]}" --workdir="$out/resumed"
  "$PYTHON" "$here/launch/gpu_check.py" same "$out"
}
export -f catalogue resume
export PYTHON out here products side rows
# A function in a shell of its own, so that `timeout` can end it; arrays are not
# exported, so that this one is written out.
by_itself() {
  shell=(bash -euo pipefail -c "$(declare -p sizes); $1")
}

by_itself catalogue
part catalogue 60 "${shell[@]}"
for name in base align; do
  item plan --config="$here/configs/item_$name.py" --words=30522 \
    "${compile[@]}" --json="$out/plan_$name.json" \
    --config.batch_size="$batch" "${sizes[@]}"
  # Beside the others: it needs the processor, and they the GPU.
  part "plan_$name" 180 nice -n 10 "${item[@]}" &
  plans="${plans:-} $!"
  for kernel in "${kernels[@]}"; do
    item bench step --config="$here/configs/item_$name.py" \
      --config.data.path="$out/data" --config.batch_size="$batch" \
      --config.model.attention="$kernel" --seconds="$seconds" \
      --profile="$out/trace_${name}_$kernel" \
      --json="$out/${name}_$kernel.json" "${sizes[@]}"
    part "${name}_$kernel" 65 "${item[@]}"
  done
  if [ "$name" = base ]; then
    by_itself resume
    part resume 100 "${shell[@]}"
    part export 45 "$PYTHON" "$here/launch/gpu_check.py" export "$out"
  fi
done
for plan in $plans; do wait "$plan"; done
"$PYTHON" "$here/launch/gpu_check.py" table "$out"
