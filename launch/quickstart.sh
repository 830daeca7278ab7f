#!/usr/bin/env bash
# From a catalogue to retrieval numbers on this machine, in minutes.
#
#   bash launch/quickstart.sh
#   bash launch/quickstart.sh --catalogue products.csv --images DIR
#
# Options: --out DIR (default: quickstart), --config FILE[:VARIANT] and its
# fields, such as --config.steps=500; --column, --source, --missing, --quoting
# as `item-jax prepare` takes them; --python FILE to use a Python that has
# item-jax already and install nothing. What is there already is used again.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
PYTHON="" catalogue="" images="" out="$here/quickstart"
config="$here/configs/item_align.py:tiny"
options=() reading=()
while [ $# -gt 0 ]; do
  case "$1" in
    --catalogue | --images | --out | --python | --config)
      [ $# -gt 1 ] || { echo "$1 needs a value" >&2; exit 2; }
      case "$1" in
        --catalogue) catalogue="$2" ;;
        --images) images="$2" ;;
        --out) out="$2" ;;
        --python) PYTHON="$2" ;;
        --config) config="$2" ;;
      esac
      shift 2
      ;;
    --column | --source | --missing | --quoting)
      [ $# -gt 1 ] || { echo "$1 needs a value" >&2; exit 2; }
      reading+=("$1=$2")
      shift 2
      ;;
    --column=* | --source=* | --missing=* | --quoting=*)
      reading+=("$1")
      shift
      ;;
    --config.* | --noconfig.*) options+=("$1"); shift ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit ;;
    *) echo "unknown option $1; see --help" >&2; exit 2 ;;
  esac
done
if [ -n "$catalogue" ] && [ -z "$images" ]; then
  echo "--catalogue needs --images, the folder of its images" >&2
  exit 2
fi

if [ -z "$PYTHON" ]; then
  # shellcheck source=launch/install.sh
  source "$here/launch/install.sh"
  # shellcheck disable=SC2119 # no extra is needed
  install
fi
item() { "$PYTHON" -m item_jax "$@"; }
mkdir -p "$out"

if [ -z "$catalogue" ]; then
  catalogue="$out/catalogue/products.csv" images="$out/catalogue"
  [ -e "$catalogue" ] || item synthesize "$out/catalogue"
fi
# A store of another catalogue must not be taken for this one's.
source_file="$out/source.txt"
source_now="$(cksum < "$catalogue") $(cd "$images" && pwd)${reading[*]:+ ${reading[*]}}"
if [ -e "$out/data" ] && [ "$(cat "$source_file" 2> /dev/null)" != "$source_now" ]
then
  echo "$out holds the results of another catalogue; give another --out" >&2
  exit 2
fi
printf '%s\n' "$source_now" > "$source_file"
[ -e "$out/data" ] || item prepare "$catalogue" --images "$images" \
  --out "$out/data" ${reading[@]+"${reading[@]}"}

item train --config="$config" --workdir="$out/run" \
  --config.data.path="$out/data" ${options[@]+"${options[@]}"}

for modality in both image title; do
  item export --workdir="$out/run" --data="$out/data" --split=test \
    --out="$out/embeddings/$modality" --modality="$modality"
done
item export --workdir="$out/run" --data="$out/data" --split=test \
  --out="$out/embeddings/untrained" --step=0

item report --data="$out/data" --split=test --out="$out/results.json" \
  both="$out/embeddings/both" image="$out/embeddings/image" \
  title="$out/embeddings/title" untrained="$out/embeddings/untrained"

cat <<END

  catalogue    $catalogue
  data         $out/data          (what there is: catalogue.json)
  run          $out/run           (metrics.jsonl, checkpoints, tensorboard)
  embeddings   $out/embeddings    (both, image, title, untrained: .npy)
  results      $out/results.json
END
