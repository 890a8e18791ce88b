# Sourced by test.sh and demo.sh: `make_venv ROOT EXTRAS` leaves a virtual environment with the package and these extras.
#
#   PPCLS_VENV         where it is (default: ROOT/.venv)
#   PPCLS_PYTHON       the interpreter that makes it (default: python3.11, else python3)
#   PPCLS_CONSTRAINTS  a pip constraints file (default: none)
#   PPCLS_EXTRAS       which extras, separated by commas, instead of the script's own
#
# After the call `$venv` is its folder. A stamp inside makes the second call a matter of milliseconds, and an environment
# that has more extras than are needed is left as it is.

make_venv() {
    local root=$1 extras=${PPCLS_EXTRAS:-$2} python stamp made has=""
    venv=$(realpath -m "${PPCLS_VENV:-$root/.venv}")
    python=${PPCLS_PYTHON:-$(command -v python3.11 || command -v python3 || echo python3.11)}
    stamp=$( (cat "$root/setup.py" ${PPCLS_CONSTRAINTS:+"$PPCLS_CONSTRAINTS"}; echo "$root") | sha256sum | cut -c1-64)
    read -r made has 2>/dev/null < "$venv/.ppcls-stamp" || true
    if [ "${made:-}" != "$stamp" ] || ! includes "$has" "$extras"; then
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
            { echo "error: $python is not Python 3.11 or newer; name one with PPCLS_PYTHON" >&2; return 2; }
        "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv "$venv" ||
            { echo "error: no virtual environment; Debian needs: apt-get install python3-venv" >&2; return 2; }
        echo "installing into $venv: about 1 GB, a few minutes the first time"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            ${PPCLS_CONSTRAINTS:+--constraint "$PPCLS_CONSTRAINTS"} --editable "$root[$extras]"
        echo "$stamp $extras" > "$venv/.ppcls-stamp"
    fi
    lend_libgomp
}

# Whether the extras that are there include those that are needed; `all` includes every one.
includes() {
    local extra
    [ "$1" = all ] && return
    for extra in ${2//,/ }; do
        [[ ",$1," == *",$extra,"* ]] || return
    done
}

# PaddlePaddle needs the system's libgomp.so.1, which a minimal Debian lacks; scikit-learn's wheel carries one.
lend_libgomp() {
    "$venv/bin/python" -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null && return
    mkdir -p "$venv/lib/lent"
    ln -sf "$venv"/lib/python3.*/site-packages/scikit_learn.libs/libgomp-*.so.* "$venv/lib/lent/libgomp.so.1"
    export LD_LIBRARY_PATH="$venv/lib/lent${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
}
