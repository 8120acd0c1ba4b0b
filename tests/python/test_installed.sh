#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The Python tests against an installed library, found as a user's programs find it: by its soname.
# shellcheck source=tests/python/python.sh
. "${M2SNET_SOURCE_DIR:?run through ctest}/tests/python/python.sh"
need_python "import numpy; print('NumPy', numpy.__version__)" "python3-numpy"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
DESTDIR='' "${CMAKE_COMMAND:-cmake}" --install "${M2SNET_BUILD_DIR:?}" --prefix "$work/prefix" >"$work/install.log"
libdir=$(dirname "$(find "$work/prefix" -name libm2snet.so)")
unset M2SNET_LIBRARY
export LD_LIBRARY_PATH=$libdir M2SNET_LIB_DIR=$libdir PYTHONPATH=$binding
cd "$here"
"$python" - "$work/prefix" <<'CHECK'
import sys
import m2snet

assert m2snet.library_path == "libm2snet.so.0", m2snet.library_path
mapped = {line.split()[-1] for line in open("/proc/self/maps") if "libm2snet" in line}
assert len(mapped) == 1 and mapped.pop().startswith(sys.argv[1]), mapped
CHECK
"$python" -W error::ResourceWarning -m unittest test_library test_errors test_predict test_zero_copy test_image \
    test_metrics test_examples test_objectives test_training
