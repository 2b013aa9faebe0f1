#!/usr/bin/env bash
# VNN-COMP: prepare_instance.sh v1 CATEGORY ONNX VNNLIB. Untimed; no analysis happens here.
. "$(dirname "${BASH_SOURCE[0]}")/competition.sh"

kill_stale_runs() { # runs of ours that outlived the script that started them
  local file pid starter
  for file in "$runs"/*.run; do
    [ -e "$file" ] || continue
    read -r pid starter < "$file"
    [ -n "$starter" ] && kill -0 "$starter" 2>/dev/null && continue
    if tr '\0' ' ' < "/proc/$pid/cmdline" 2>/dev/null | grep -q -- '-m verifier verify'; then
      kill -TERM "$pid" 2>/dev/null
    fi
    rm -f "$file"
  done
}

warm_up() { # once: byte code on disk, libraries in the file cache
  [ -z "$(find "$runs/warm" -newer "$root/pyproject.toml" -mmin -60 2>/dev/null)" ] || return
  "$python" -P -m compileall -q "$root/verifier"
  "$python" -P -c 'import numpy, onnx, onnxruntime, scipy.optimize, torch'
  touch "$runs/warm"
}

mkdir -p "$runs"
kill_stale_runs
warm_up > /dev/null 2>&1
for path in "$3" "$4"; do
  [ ! -f "$path" ] || cat "$path" > /dev/null
done
exit 0
