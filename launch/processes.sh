#!/usr/bin/env bash
# One run as N processes on this machine, as it would be on N machines.
#
#   bash launch/processes.sh N item-jax train --config=... --workdir=...
#
# Where all that stopped say "start me again" (75), all are started again. A
# SIGTERM or Ctrl-C to this script is passed on and means stop: it ends with 75
# once the run is saved. Any other failure ends the others, and its code is
# this script's. With GPUs, process i has GPU i alone.
set -euo pipefail

if [ $# -lt 2 ] || ! [[ "$1" =~ ^[1-9][0-9]*$ ]]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
count="$1"
shift

# On Linux no process outlives this script, however it ends.
tie=()
if command -v setpriv > /dev/null 2>&1; then
  tie=(setpriv --pdeathsig KILL --)
fi

free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000)) # below those the system gives away
    (: <> "/dev/tcp/127.0.0.1/$port") 2> /dev/null || break
  done
  echo "$port"
}

pids=()
stopping=""
stop() {
  stopping=yes
  [ ${#pids[@]} -eq 0 ] || kill -TERM "${pids[@]}" 2> /dev/null || true
}
trap stop TERM INT

while :; do
  port="$(free_port)"
  pids=()
  for ((i = 0; i < count; i++)); do
    JAX_LOCAL_DEVICE_IDS="$i" ${tie[@]+"${tie[@]}"} "$@" \
      --coordinator="127.0.0.1:$port" --num_processes="$count" \
      --process_id="$i" &
    pids+=("$!")
  done
  again="" failed=0
  [ -z "$stopping" ] || stop # asked while they were being started
  while [ ${#pids[@]} -gt 0 ]; do
    left=()
    for pid in "${pids[@]}"; do
      if kill -0 "$pid" 2> /dev/null; then
        left+=("$pid")
        continue
      fi
      code=0
      wait "$pid" || code=$?
      if [ "$code" -eq 75 ]; then
        again=yes
      elif [ "$code" -ne 0 ] && [ "$failed" -eq 0 ]; then
        failed="$code"
        [ ${#pids[@]} -eq 1 ] || kill -TERM "${pids[@]}" 2> /dev/null || true
      fi
    done
    pids=(${left[@]+"${left[@]}"})
    sleep 0.2
  done
  [ "$failed" -eq 0 ] || exit "$failed"
  [ -n "$again" ] || exit 0
  [ -z "$stopping" ] || exit 75
  echo "processes.sh: starting again" >&2
done
