#!/usr/bin/env bash
# VNN-COMP: install_tool.sh v1. Runs once; installs into the checkout's .venv.
set +u
if [ "$1" != v1 ]; then
  echo "install_tool.sh: expected version v1, not '$1'" >&2
  exit 1
fi
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/environment.sh
install_into .venv ''
.venv/bin/python -P -m verifier --version
