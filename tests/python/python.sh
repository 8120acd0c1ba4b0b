# SPDX-License-Identifier: Apache-2.0
# Sourced by the tests beside it: which Python, and what does not apply here.
# shellcheck shell=bash
set -euo pipefail
here=${M2SNET_SOURCE_DIR:?run through ctest}/tests/python
binding=$M2SNET_SOURCE_DIR/bindings/python
if [ -n "${M2SNET_SANITIZE:-}" ]; then
    echo "an interpreter cannot load a sanitized library"
    exit 77
fi

# Sets $python: $PYTHON, or the first interpreter that has what the words say ("import numpy, sys; ...").
need_python() {
    local candidate
    for candidate in ${PYTHON:-python3 /usr/bin/python3}; do
        if "$candidate" -c "import sys; assert sys.version_info >= (3, 9); $1" 2>/dev/null; then
            python=$candidate
            "$python" -c 'import sys; print("Python", sys.version.split()[0], sys.executable)'
            return
        fi
    done
    echo "needs Python 3.9 or newer with: $1 (Debian: $2; or set PYTHON)"
    exit 77
}
export PYTHONDONTWRITEBYTECODE=1

# run_tests MODULE...: against the library of this build.
run_tests() {
    need_python "import numpy; print('NumPy', numpy.__version__)" "python3-numpy"
    export M2SNET_LIBRARY=${M2SNET_LIB_DIR:?}/libm2snet.so PYTHONPATH=$binding
    cd "$here"
    exec "$python" -W error::ResourceWarning -m unittest "$@"
}
