#!/usr/bin/env bash
# A sweep on a Slurm cluster: starts Ray on the nodes of the job, runs `prvr-sweep` with Ray's
# address, and ends what it started. From the folder of the checkout:
#
#   sbatch cluster/slurm.sh launch search_spaces/cbva.yaml --storage /shared/prvr/runs
#
# What follows the script's name goes to prvr-sweep, and --address with it. This folder, where
# `sbatch` is called, and the storage must be the same on all nodes. Options of sbatch, before the
# script's name, replace those below.
#
# From the environment, all optional:
#   PRVR_HEAD_IP        address of the first node by which the others reach it
#   PRVR_START_LIMIT_S  seconds in which all nodes must have joined (300)
#   PRVR_GRACE_S        seconds in which trials save themselves before the job's time is up (120)
#
#SBATCH --job-name=prvr-sweep
#SBATCH --output=prvr-sweep-%j.log
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=08:00:00
# To this script alone, 300 s before the end: long enough for PRVR_GRACE_S and the sweep's own end.
#SBATCH --signal=B:USR1@300

set -euo pipefail

readonly start_limit_s="${PRVR_START_LIMIT_S:-300}"
readonly grace_s="${PRVR_GRACE_S:-120}"
readonly stop_limit_s=30

say() { printf '%(%H:%M:%S)T %s\n' -1 "$*" >&2; }

if (($# == 0)); then
  say "usage: sbatch cluster/slurm.sh COMMAND..., e.g. launch search_spaces/cbva.yaml"
  exit 2
fi
if [[ -x .venv/bin/prvr-sweep ]]; then
  PATH="$PWD/.venv/bin:$PATH"
fi

steps=() # process ids of the job steps, and of the sweep
agents=
sweep=
folder="$PWD/.prvr-sweep-$SLURM_JOB_ID"
scratch="/tmp/prvr-sweep-$SLURM_JOB_ID"

# Ends a process that this script started, and waits for it, but not for ever.
# shellcheck disable=SC2317,SC2329  # called by a trap
stop() {
  kill -TERM "$1" 2> /dev/null || return 0
  timeout "$stop_limit_s" tail --pid="$1" -f /dev/null || kill -KILL "$1" 2> /dev/null || true
}

# shellcheck disable=SC2317,SC2329  # called by a trap
clean_up() {
  trap '' USR1 TERM INT
  local pid
  # The sweep first, while Ray is there for its end.
  for pid in $sweep "${steps[@]}"; do
    stop "$pid"
  done
  # A job that was cancelled gets no more steps: the other nodes then keep their logs in /tmp.
  timeout "$stop_limit_s" srun --overlap --ntasks-per-node=1 rm -rf "$scratch" || true
  rm -rf "$scratch" "$folder"
}

# The time is nearly up: trials save themselves, then the sweep is told to end.
# shellcheck disable=SC2317,SC2329  # called by a trap
on_notice() {
  [[ -n "$sweep" ]] || exit 143
  say "the job's time is nearly up; trials save themselves, the sweep ends in $grace_s s"
  kill -USR1 "$agents" 2> /dev/null || true
  { timeout "$grace_s" tail --pid="$sweep" -f /dev/null || kill -TERM "$sweep"; } 2> /dev/null &
}

trap clean_up EXIT
trap 'exit 143' TERM INT
trap on_notice USR1

# A token keeps out the other users of these nodes; with it, a program may run anything here.
(
  umask 077
  mkdir "$folder"
  od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$folder/auth_token"
)
# A token in the environment would be taken before that of the file.
unset RAY_AUTH_TOKEN RAY_ADDRESS
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$folder/auth_token" RAY_USAGE_STATS_ENABLED=0
# Ray is told to end when the sweep has ended: there is nothing to wait for.
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
readonly head="${hosts[0]}"
readonly head_ip="${PRVR_HEAD_IP:-$(hostname -I | awk '{print $1}')}"
# By the job's number: another job may have a Ray on the same node.
readonly port=$((20000 + SLURM_JOB_ID % 4000 * 4))
readonly address="$head_ip:$port"

# Starts a job step on so many nodes in the background; its process id is in $!.
on_nodes() {
  local -r count="$1"
  shift
  srun --overlap --nodes="$count" --ntasks="$count" --ntasks-per-node=1 \
    --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" "$@" &
}

# Waits until so many nodes have joined.
wait_for_nodes() {
  python3 - "$head_ip" "$port" "$1" "$start_limit_s" << 'END'
import socket
import sys
import time

import ray

host, port, wanted, limit_s = sys.argv[1], *map(int, sys.argv[2:])
deadline = time.monotonic() + limit_s
nodes = 0
while nodes < wanted and time.monotonic() < deadline:
    time.sleep(0.5)
    if ray.is_initialized():
        nodes = sum(node["Alive"] for node in ray.nodes())
        continue
    try:
        # Until the head listens, Ray itself would try for most of a minute.
        socket.create_connection((host, port), 5).close()
        ray.init(f"{host}:{port}", log_to_driver=False, logging_level="error")
    except (OSError, RuntimeError, ConnectionError, ray.exceptions.RayError):
        pass
if nodes < wanted:
    sys.exit(f"{nodes} of {wanted} nodes joined within {limit_s} s; see the log above")
END
}

common=(--num-cpus="${SLURM_CPUS_PER_TASK:-1}" --dashboard-agent-listen-port=0
  --min-worker-port=0 --max-worker-port=0 --block)
on_nodes 1 --nodelist="$head" ray start --head --node-ip-address="$head_ip" --port="$port" \
  --dashboard-host=127.0.0.1 --dashboard-port=$((port + 1)) \
  --ray-client-server-port=$((port + 2)) --temp-dir="$scratch" \
  --resources='{"train_driver": 100}' "${common[@]}"
steps+=($!)
wait_for_nodes 1
if ((${#hosts[@]} > 1)); then
  on_nodes $((${#hosts[@]} - 1)) --exclude="$head" ray start --address="$address" "${common[@]}"
  steps+=($!)
fi
wait_for_nodes "${#hosts[@]}"
say "Ray runs on ${#hosts[@]} nodes at $address"

on_nodes "${#hosts[@]}" prvr-sweep drain-agent --source signal --lead-seconds "$grace_s" \
  --address "$address"
agents=$!
steps+=("$agents")

prvr-sweep "$@" --address "$address" &
sweep=$!
# A signal ends `wait`, not the sweep.
while :; do
  code=0
  wait "$sweep" || code=$?
  if ((code <= 128)) || ! kill -0 "$sweep" 2> /dev/null; then break; fi
done
say "the sweep ended with exit code $code"
sweep=
exit "$code"
