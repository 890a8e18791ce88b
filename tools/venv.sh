# Sourced by test.sh and demo.sh: `make_venv ROOT` leaves a virtual environment with the package and its extras.
#
#   PPCLS_VENV         where it is (default: ROOT/.venv)
#   PPCLS_PYTHON       the interpreter that makes it (default: python3.11, else python3)
#   PPCLS_CONSTRAINTS  a pip constraints file (default: none)
#   PPCLS_EXTRAS       which extras, separated by commas (default: test)
#
# After the call `$venv` is its folder. A stamp inside makes the second call a matter of milliseconds.

make_venv() {
    local root=$1 python stamp extras=${PPCLS_EXTRAS:-test}
    venv=$(realpath -m "${PPCLS_VENV:-$root/.venv}")
    python=${PPCLS_PYTHON:-$(command -v python3.11 || command -v python3 || echo python3.11)}
    stamp=$( (cat "$root/setup.py" ${PPCLS_CONSTRAINTS:+"$PPCLS_CONSTRAINTS"}; echo "$root" "$extras") | sha256sum)
    if [ "$(cat "$venv/.ppcls-stamp" 2>/dev/null)" != "$stamp" ]; then
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
            { echo "error: $python is not Python 3.11 or newer; name one with PPCLS_PYTHON" >&2; return 2; }
        "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv "$venv" ||
            { echo "error: no virtual environment; Debian needs: apt-get install python3-venv" >&2; return 2; }
        echo "installing into $venv: about 1 GB, a few minutes the first time"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            ${PPCLS_CONSTRAINTS:+--constraint "$PPCLS_CONSTRAINTS"} --editable "$root[$extras]"
        echo "$stamp" > "$venv/.ppcls-stamp"
    fi
    lend_libgomp
}

# PaddlePaddle needs the system's libgomp.so.1, which a minimal Debian lacks; scikit-learn's wheel carries one.
lend_libgomp() {
    "$venv/bin/python" -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null && return
    mkdir -p "$venv/lib/lent"
    ln -sf "$venv"/lib/python3.*/site-packages/scikit_learn.libs/libgomp-*.so.* "$venv/lib/lent/libgomp.so.1"
    export LD_LIBRARY_PATH="$venv/lib/lent${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
}
