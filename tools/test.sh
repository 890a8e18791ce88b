#!/usr/bin/env bash
# Lint, then run the tests; arguments go to pytest: `bash tools/test.sh -m "not slow" tests/slim`.
# Makes the virtual environment when needed, see tools/venv.sh for what can be set.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/tools/venv.sh"
make_venv "$root" all

cd "$root"
"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
# Two processes with one thread each do the work of two cores better than one process with two threads.
# Each begins with one half of the tests, so that what those of a file share is made once; the quicker one takes over.
OMP_NUM_THREADS=1 "$venv/bin/python" -m pytest --numprocesses 2 --dist worksteal "$@"
