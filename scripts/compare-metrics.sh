#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Times the evaluation of one picture here and in public Python tools (SciPy; PySODMetrics and surface-distance where the
# interpreter has them), in turns within one run. None is needed to build or test libm2snet.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
case ${1:-} in
-h | --help)
    cat <<'TEXT'
Usage: scripts/compare-metrics.sh [--size N] [--pairs N] [--rounds N]
Environment: PYTHON (default python3), an interpreter with numpy and scipy, and pysodmetrics and surface-distance where
they are to be compared; M2SNET_LIB_DIR (default build/release/lib).
TEXT
    exit 0
    ;;
esac
library=${M2SNET_LIB_DIR:-$here/../build/release/lib}/libm2snet.so
[ -e "$library" ] || { echo "compare-metrics: build first: scripts/build.sh" >&2; exit 1; }
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 OPENCV_FOR_THREADS_NUM=1
exec "${PYTHON:-python3}" "$here/compare/metrics.py" --library "$library" "$@"
