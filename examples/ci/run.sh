#!/usr/bin/env bash
# Runs a command with a Pilothouse server of its own behind it: ./run.sh pytest, ./run.sh python train.py, …
set -euo pipefail

home=$(mktemp -d)
pilothouse serve --home "$home" --port 0 >"$home/ready" 2>"$home/log" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" || true; rm -rf "$home"' EXIT

until [ -s "$home/ready" ]; do
  kill -0 "$server" || { cat "$home/log" >&2; exit 1; }
  sleep 0.2
done
eval "$(pilothouse env --home "$home")"
"$@"
