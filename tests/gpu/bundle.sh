#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Collects what run.sh needs for a machine that cannot build it: the tests, the programs, the module, and the shared
# libraries they need but for the C library's own. Stripped; and the same as one file, FOLDER.tar.xz.
#     tests/gpu/bundle.sh [--no-build] [BUILD [FOLDER]]      (default: build/gpu build/gpu-bundle)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build_it=yes
if [ "${1:-}" = --no-build ]; then
    build_it='' && shift
fi
from=${1:-build/gpu} to=${2:-build/gpu-bundle}

tests=(ops/ops-ops_table ops/ops-ops_train ops/ops-state ops/ops-backend_plans parity/parity-parity_vectors
    parity/parity-training_step parity/parity-reduced parity/parity-reduced_training parity/parity-device
    parity/parity-device_inputs
    gpu/gpu-measure cuda/cuda-kernels cuda/cuda-attention cuda/cuda-depthwise cuda/cuda-updates cuda/cuda-pictures
    cuda/cuda-order)
device_tests=(cuda/gpu-kernels cuda/gpu-attention cuda/gpu-depthwise cuda/gpu-updates cuda/gpu-pictures
    cuda/gpu-order cuda/gpu-time-kernels)
programs=(m2snet-segment m2snet-train m2snet-bench m2snet-evaluate)

if [ -n "$build_it" ]; then
    # Test data as seen from the repository's root. Without a library for products on the processor: not needed there.
    cmake -G Ninja -S . -B "$from" -DCMAKE_BUILD_TYPE=Release -DM2SNET_BUILD_TESTS=ON -DM2SNET_WERROR=ON \
        -DM2SNET_CUDA=ON -DM2SNET_CUDA_ARCHITECTURES=90 -DM2SNET_GEMM=none -DM2SNET_TEST_DATA=tests/data
    names=(m2snet-cuda m2snet-cuda-simulated "${programs[@]}")
    for test in "${tests[@]}" "${device_tests[@]}"; do
        names+=("$(basename "$test")")
    done
    nice -n 5 ninja -j "${JOBS:-2}" -C "$from" "${names[@]}"
fi

rm -rf "$to"
mkdir -p "$to/bin" "$to/lib"
for test in "${tests[@]}" "${device_tests[@]}"; do
    cp "$from/tests/$test" "$to/bin/"
done
for program in "${programs[@]}"; do
    cp "$from/bin/$program" "$to/bin/"
done
cp -L "$from"/lib/libm2snet.so.0 "$from"/lib/m2snet-cuda*.so "$to/lib/"
ldd "$to"/bin/* "$to"/lib/*.so* | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
    grep -vE '/(libc|libm|libdl|libpthread|librt|libgcc_s|libstdc\+\+|ld-linux[^/]*|libm2snet|libcuda|libcudart)\.so' |
    xargs -r cp -L -t "$to/lib/"
strip --strip-unneeded "$to"/bin/* "$to"/lib/* 2>/dev/null || true
du -sh "$to"
tar -C "$to" -cf - bin lib | xz -T0 -6 >"$to.tar.xz"
du -sh "$to.tar.xz"
