#!/usr/bin/env bash
# VNN-COMP: run_instance.sh v1 CATEGORY ONNX VNNLIB RESULTS TIMEOUT
# The verdict goes to the first line of RESULTS, a counterexample after it. Always exits with 0, since
# the harness discards the verdict of any other status. ONNX may be a list of (name, path) pairs; it and
# the paths ending in .gz are handed on as they are.
. "$(dirname "${BASH_SOURCE[0]}")/competition.sh"

onnx=$3 vnnlib=$4 results=$5 limit=$6
seconds=${limit%%.*}
[[ $seconds =~ ^[0-9]+$ ]] || seconds=0

finish() { # finish WORD: say WORD unless there is a verdict, and end well
  local first=
  [ ! -f "$results" ] || read -r first < "$results"
  case $first in
    sat | unsat | unknown | timeout | error) ;;
    *) printf '%s\n' "$1" > "$results" ;;
  esac
  rm -f "$runs/$$.run"
  exit 0
}

stopped() { # the harness ended us: it was the time limit
  [ -z "$child" ] || kill -TERM "$child" 2>/dev/null
  finish timeout
}

if [ -z "$results" ]; then
  echo "usage: run_instance.sh v1 CATEGORY ONNX VNNLIB RESULTS TIMEOUT" >&2
  exit 0
fi
mkdir -p "$runs" "$(dirname "$results")"
rm -f "$results"
if [ "$1" != v1 ] || [ "$seconds" -eq 0 ]; then
  echo "run_instance.sh: expected version v1 and a time limit in seconds, not '$1' and '$limit'" >&2
  finish error
fi

trap stopped TERM INT HUP
# The engine keeps the time itself; `timeout` is for the day that it does not, or that we are killed.
timeout --foreground --kill-after=1 $((seconds + 3)) \
  "$python" -P -m verifier verify "$onnx" "$vnnlib" --timeout "$limit" \
  --results-file "$results" --verdict-style vnncomp &
child=$!
printf '%s %s\n' "$child" "$$" > "$runs/$$.run"
wait "$child"

if [ "$SECONDS" -ge "$seconds" ]; then finish timeout; else finish error; fi
