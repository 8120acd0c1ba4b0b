#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Times the network here and in whichever of PyTorch, ONNX Runtime and OpenVINO the Python interpreter has, with the same
# weights, in turns within one run, and prints ratios. None is needed to build or test libm2snet.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
case ${1:-} in
-h | --help)
    cat <<'TEXT'
Usage: scripts/compare.sh --model FILE [--size N] [--threads N] [--rounds N] [--json FILE]
       scripts/compare.sh --train --model FILE [--size N] [--batch N] [--threads N] [--rounds N] [--steps N]
                          [--no-lossnet] [--json FILE]
The second form times training steps, in images a second, and peaks of memory.
Environment: PYTHON (default python3), an interpreter with torch, and onnxruntime or openvino where they are to be
compared. FILE is a .safetensors model (m2snet-convert makes one of a .pth).
TEXT
    exit 0
    ;;
esac
bin=${M2SNET_BIN_DIR:-$here/../build/release/bin}
[ -x "$bin/m2snet-bench" ] || { echo "compare: build first: scripts/build.sh" >&2; exit 1; }
if [ "${1:-}" = --train ]; then
    shift
    exec "${PYTHON:-python3}" "$here/compare/training.py" --bin "$bin" "$@"
fi
exec "${PYTHON:-python3}" "$here/compare/compare.py" --bin "$bin" "$@"
