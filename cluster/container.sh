#!/usr/bin/env bash
# What the image of cluster/Dockerfile runs:
#
#   head             a Ray head that computes nothing
#   worker ADDRESS   a Ray worker with its drain agent; `docker stop` drains it first
#   mlflow ...       MLflow's own command line, e.g. its server
#   health           whether the container's Ray answers; a container without one is well
#   anything else    a command of prvr-sweep
#
# From the environment, all optional:
#   RAY_AUTH_MODE, RAY_AUTH_TOKEN   Ray's token, the same in all containers
#   PRVR_PORT                       port of the head (6379)
#   PRVR_GRACE_S                    seconds in which trials save themselves on `docker stop` (60);
#                                   give `docker stop --time` a minute more
set -euo pipefail

readonly port="${PRVR_PORT:-6379}" address_file="${TMPDIR:-/tmp}/prvr-ray-address"
readonly grace_s="${PRVR_GRACE_S:-60}"

case "${1:-}" in
  head)
    echo "127.0.0.1:$port" > "$address_file"
    exec ray start --head --block --port="$port" --num-cpus=0 --num-gpus=0 \
      --dashboard-host=127.0.0.1 --resources='{"train_driver": 100}'
    ;;
  worker)
    readonly address="${2:?worker needs HOST:PORT of the head}"
    echo "$address" > "$address_file"
    # On SIGTERM, Ray waits so long until its node is idle.
    RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="$grace_s" ray start --block --address="$address" &
    ray=$!
    readonly told="$address_file.told"
    prvr-sweep drain-agent --source signal --lead-seconds "$grace_s" &> >(tee "$told") &
    agent=$!
    # The agent tells the trials, which save themselves and continue on another node. It needs a
    # process of Ray's for that, which takes seconds to start.
    # shellcheck disable=SC2329  # The trap calls it.
    drain() {
      kill -USR1 "$agent" 2> /dev/null || true
      for _ in {1..60}; do
        if grep --quiet "is draining" "$told" || ! kill -0 "$agent" 2> /dev/null; then break; fi
        sleep 0.5
      done
      kill -TERM "$ray" || true
    }
    trap drain TERM INT
    while kill -0 "$ray" 2> /dev/null; do
      wait "$ray" || code=$?
    done
    kill -TERM "$agent" 2> /dev/null || true
    exit "${code:-0}"
    ;;
  health)
    if [[ -e "$address_file" ]]; then
      exec ray health-check --address "$(< "$address_file")"
    fi
    ;;
  mlflow)
    exec "$@"
    ;;
  *)
    exec prvr-sweep "$@"
    ;;
esac
