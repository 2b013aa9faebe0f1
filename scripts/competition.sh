# Sourced by prepare_instance.sh and run_instance.sh.
# The harness may export its own shell options; neither script wants to stop at the first failure.
set +e +u

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if [ -n "$VERIFIER_PYTHON" ]; then
  python=$VERIFIER_PYTHON
elif [ -x "$root/.venv/bin/python" ]; then
  python=$root/.venv/bin/python
else
  python=python3
fi

# Threads that wait sleep instead of spinning: the harness may give fewer cores than the machine has.
export OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=0 KMP_BLOCKTIME=0
# As many threads as cores, once: torch has its own, and beside NumPy the search has, so its BLAS has none.
OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)}
export OMP_NUM_THREADS OPENBLAS_NUM_THREADS=1
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

# One file per run in progress: the id of the process, then the id of the script that started it.
runs=${TMPDIR:-/tmp}/verifier-runs-$(id -u)
