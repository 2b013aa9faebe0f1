# Sourced by the other scripts: make a virtual environment and install this checkout into it.

find_python() { # print the first interpreter that is new enough and for which the pinned wheels exist
  local candidate
  for candidate in python3.11 python3 python3.12 python3.13 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "no Python >= 3.11 on PATH; install one (with its venv module)" >&2
  return 1
}

fingerprint() { # fingerprint EXTRAS: changes when an installation would
  cat pyproject.toml constraints/ci.txt <(printf '%s %s' "$PWD" "$1") |
    "$venv/bin/python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

install_into() { # install_into VENV EXTRAS ('' or '[dev]'), from the root of the checkout
  local venv=$1 extras=$2 stamp log
  if [ ! -x "$venv/bin/python" ]; then
    echo "creating $venv" >&2
    "$(find_python)" -m venv "$venv" || return 1
  fi
  stamp="$venv/.installed${extras//[^a-z]/-}"
  if [ "$(cat "$stamp" 2>/dev/null)" = "$(fingerprint "$extras")" ]; then
    return 0
  fi
  echo "installing verifier$extras into $venv (a minute or two the first time)" >&2
  log=$("$venv/bin/python" -m pip install --disable-pip-version-check --quiet \
    -c constraints/ci.txt -e ".$extras" 2>&1) || { printf '%s\n' "$log" >&2; return 1; }
  # Where Python is told to write no byte code, each run would compile all of it anew.
  "$venv/bin/python" -m compileall -q verifier
  fingerprint "$extras" > "$stamp"
}
