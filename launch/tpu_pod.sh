#!/usr/bin/env bash
# One run on all hosts of a Cloud TPU slice; from a machine that stays up.
#
#   bash launch/tpu_pod.sh TPU_NAME [gcloud options] -- item-jax train \
#     --config=... --workdir=...
#
# gcloud options are such as --zone=... --project=... --internal-ip. Words go to
# the hosts as they are: item-jax is installed there (extra tpu), and paths are
# theirs; workdir and data on a disk that all hosts share. A host that says
# "start me again" (75) does so there; all meet again.
set -euo pipefail

usage() {
  sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

[ $# -gt 0 ] || usage
name="$1"
shift
options=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  options+=("$1")
  shift
done
[ $# -gt 1 ] || usage
shift
case "$name" in -*) usage ;; esac

# Here, as the exit code of gcloud is not that of a host.
printf -v command '%q ' "$@" --distributed
remote="code=75
while [ \$code -eq 75 ]; do
  code=0
  $command || code=\$?
done
exit \$code"

# All at once: in groups, the first would wait for the others for ever.
exec gcloud compute tpus tpu-vm ssh "$name" ${options[@]+"${options[@]}"} \
  --worker=all --batch-size=all --command="$remote"
