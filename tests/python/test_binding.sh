#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The Python tests against the library of this build.
# shellcheck source=tests/python/python.sh
. "${M2SNET_SOURCE_DIR:?run through ctest}/tests/python/python.sh"
need_python "import numpy; print('NumPy', numpy.__version__)" "python3-numpy"
export M2SNET_LIBRARY=${M2SNET_LIB_DIR:?}/libm2snet.so PYTHONPATH=$binding
cd "$here"
exec "$python" -W error::ResourceWarning -m unittest discover -p 'test_*.py'
