#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that only a machine with an NVIDIA GPU can show: every operation against the reference, whole networks and
# a training step against golden values, compute-sanitizer, times, and PyTorch beside them. A part that fails does not
# stop the others; a table comes last.
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root" || exit 1

usage() {
    cat <<'TEXT'
Usage: tests/gpu/run.sh [--prebuilt PATH] [--dry] [PART...]
Parts (default: all, in this order): ops kernels parity memcheck speed torch
  --prebuilt PATH  what tests/gpu/bundle.sh put together on another machine; else scripts/build.sh builds here
  --dry            the module of the tests in the place of the device, small sizes: checks this script itself
Environment:
  M2SNET_REFERENCE   folder with ref_models.py: the network in PyTorch, for the part "torch"
  OUT                folder for the logs (default build/gpu-run)
TEXT
}

prebuilt='' dry='' parts=()
while [ $# -gt 0 ]; do
    case $1 in
    --prebuilt) prebuilt=${2:?--prebuilt needs a folder or a file}; shift ;;
    --dry) dry=yes ;;
    -h | --help) usage; exit 0 ;;
    ops | kernels | parity | memcheck | speed | torch) parts+=("$1") ;;
    *) usage >&2; exit 2 ;;
    esac
    shift
done
[ ${#parts[@]} -gt 0 ] || parts=(ops kernels parity memcheck speed torch)
out=${OUT:-$root/build/gpu-run}
mkdir -p "$out"
log=$out/log.txt table=$out/table.txt
: >"$log"
: >"$table"

# ---- what to run ----

if [ -n "$prebuilt" ]; then
    if [ -f "$prebuilt" ]; then
        mkdir -p build/gpu-unpacked && tar -C build/gpu-unpacked -xf "$prebuilt" && prebuilt=build/gpu-unpacked || exit 1
    fi
    bin=$(cd "$prebuilt" && pwd)/bin lib=$(cd "$prebuilt" && pwd)/lib
else
    scripts/build.sh -DM2SNET_BUILD_TESTS=ON -DM2SNET_CUDA=ON -DM2SNET_CUDA_ARCHITECTURES=native >>"$log" 2>&1 &&
        cmake --build build/release --target gpu-measure gpu-kernels gpu-attention gpu-depthwise gpu-updates \
            gpu-pictures gpu-order gpu-time-kernels >>"$log" 2>&1 || { tail -n 20 "$log"; exit 1; }
    tests/gpu/bundle.sh --no-build build/release build/gpu-local >>"$log" 2>&1 || { tail -n 20 "$log"; exit 1; }
    bin=$root/build/gpu-local/bin lib=$root/build/gpu-local/lib
fi
module=$lib/m2snet-cuda.so
[ -z "$dry" ] || module=$lib/m2snet-cuda-simulated.so
# cuDNN and cuBLAS may be PyTorch's.
wheels=$(python3 - 2>/dev/null <<'PYTHON'
import importlib.util, os
folders = []
for name in ("nvidia.cudnn", "nvidia.cu13", "nvidia.cublas", "nvidia.cuda_nvrtc"):
    try:
        spec = importlib.util.find_spec(name)
        folders += [os.path.join(p, "lib") for p in spec.submodule_search_locations] if spec else []
    except ModuleNotFoundError:
        pass
print(":".join(folders))
PYTHON
)
export LD_LIBRARY_PATH=$lib${wheels:+:$wheels}:/usr/local/cuda/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export M2SNET_BACKEND_PATH=$module M2SNET_TEST_BACKEND=cuda

# ---- parts ----

row() { printf '%-44s %s\n' "$1" "$2" | tee -a "$table"; }

# part NAME SECONDS COMMAND...: runs it with a limit; the row has its last line, or how it failed.
part() {
    local name=$1 limit=$2 code=0 start=$SECONDS line
    shift 2
    printf '\n==== %s: %s\n' "$name" "$*" >>"$log"
    timeout "$limit" "$@" >"$out/part.txt" 2>&1 || code=$?
    cat "$out/part.txt" >>"$log"
    line=$(grep -vE '^\s*$' "$out/part.txt" | tail -n 1 | cut -c 1-110)
    case $code in
    0) row "$name" "ok      $line ($((SECONDS - start)) s)" ;;
    77) row "$name" "skipped $line" ;;
    124) row "$name" "TIMEOUT after $limit s: $line" ;;
    *) row "$name" "FAILED  ($code) $line ($((SECONDS - start)) s)" ;;
    esac
    [ $code -eq 0 ] || [ $code -eq 77 ] || grep -E 'FAIL|ERROR|Error|error|rror:' "$out/part.txt" | head -n 6 | cut -c 1-400 |
        sed 's/^/        /'
}

# The figures of a measurement, one row each, and one for what the backend says of its graph.
figure() {
    local name=$1 limit=$2 code=0 line
    shift 2
    printf '\n==== %s: %s\n' "$name" "$*" >>"$log"
    timeout "$limit" "$@" >"$out/part.txt" 2>&1 || code=$?
    cat "$out/part.txt" >>"$log"
    line=$(grep -E 'pictures/s' "$out/part.txt" | tail -n 1 | cut -c 1-120)
    if [ $code -eq 0 ] && [ -n "$line" ]; then
        row "$name" "$line"
        line=$(grep -E 'a graph of|in a row|no graph' "$out/part.txt" | tail -n 1 | cut -c 1-120)
        [ -z "$line" ] || row "" "${line#"${line%%[! ]*}"}"
    else
        row "$name" "FAILED ($code) $(grep -vE '^\s*$' "$out/part.txt" | grep -E 'rror|FAIL|out of' | head -n 1 | cut -c 1-160)"
    fi
}

run_ops() {
    part "operations of inference" 60 "$bin/ops-ops_table" --module "$module"
    part "operations of training" 60 "$bin/ops-ops_train" --module "$module"
    part "state, cancel" 30 "$bin/ops-state" --module "$module"
    part "plans" 60 "$bin/ops-backend_plans" --module "$module"
}

run_kernels() {
    local prefix=gpu
    [ -z "$dry" ] || prefix=cuda
    part "kernels one by one" 60 "$bin/$prefix-kernels"
    part "attention" 60 "$bin/$prefix-attention"
    part "depthwise convolutions" 30 "$bin/$prefix-depthwise"
    part "grouped updates" 30 "$bin/$prefix-updates"
    part "pictures" 30 "$bin/$prefix-pictures"
    part "the order of steps, branches" 30 "$bin/$prefix-order"
}

run_parity() {
    part "whole networks against golden values" 90 "$bin/parity-parity_vectors"
    part "f16, bf16, tf32 against f32" 60 "$bin/parity-reduced" "$([ -n "$dry" ] && echo 64 || echo 352)"
    part "a training step in them against f32" 60 "$bin/parity-reduced_training" "$([ -n "$dry" ] && echo 48 || echo 96)"
    part "ConvNeXt, PVTv2, Swin-T against ref F64" 60 "$bin/parity-device" cuda
    part "inputs made by the device against the host's" 60 "$bin/parity-device_inputs" cuda
    part "a training step against golden values" 90 "$bin/parity-training_step" --backend cuda
}

run_memcheck() {
    local sanitizer
    if [ -n "$dry" ]; then
        row memcheck "skipped: dry"
        return
    fi
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
    if [ -z "$sanitizer" ]; then
        row memcheck "skipped: there is no compute-sanitizer"
        return
    fi
    # Rows by a part of their name: the smallest odd shapes of each family.
    part "memcheck, inference" 45 "$sanitizer" --tool memcheck --error-exitcode 9 "$bin/ops-ops_table" \
        --module "$module" "2x5x7x13" "1x1x" "2x1x1"
    part "memcheck, training" 45 "$sanitizer" --tool memcheck --error-exitcode 9 "$bin/ops-ops_train" \
        --module "$module" "2x5x7x13" "1x1x"
    part "memcheck, attention, depthwise" 60 bash -c "$sanitizer --tool memcheck --error-exitcode 9 $bin/gpu-attention \
        2x5x7x10 1x9x5x120 2x9x12x64 && $sanitizer --tool memcheck --error-exitcode 9 $bin/gpu-depthwise 1x9x29 1x11x11"
    part "racecheck" 40 "$sanitizer" --tool racecheck --error-exitcode 9 "$bin/ops-ops_table" \
        --module "$module" "multi_scale_subtract 1x3x2x13" "box_filter 2x" "softmax_c 2x" "layer_norm 2x"
    part "racecheck, attention" 60 "$sanitizer" --tool racecheck --error-exitcode 9 "$bin/gpu-attention" 2x5x7x10 1x9x5x120
}

run_speed() {
    local size=352 seconds=1.5 batches=(1 8 64) precision batch step_limit what
    if [ -n "$dry" ]; then
        size=64 seconds=0.1 batches=(1)
    fi
    for precision in f32 tf32 f16 bf16; do
        for batch in "${batches[@]}"; do
            figure "network $precision batch $batch" 40 "$bin/gpu-measure" --steps network $precision "$batch" $size $seconds
        done
    done
    # Launches one after the other, as they all were before: what side by side is worth.
    for precision in tf32 f16 bf16; do
        figure "network $precision batch 1, in a row" 30 "$bin/gpu-measure" --row network $precision 1 $size $seconds
    done
    # Convolutions chosen by measurement.
    for precision in f32 bf16; do
        for batch in "${batches[@]}"; do
            figure "network $precision batch $batch, searched" 60 "$bin/gpu-measure" --steps --search network $precision \
                "$batch" $size $seconds
        done
    done
    batch=16 step_limit=40
    [ -z "$dry" ] || batch=1 step_limit=200 # numbers of 16 bits take their time without a device
    for precision in f32 tf32 f16 bf16; do
        figure "training step $precision batch $batch" $step_limit "$bin/gpu-measure" --steps step $precision $batch $size $seconds
    done
    batch=4
    [ -z "$dry" ] || batch=1
    for what in predict predict-host; do # with drawn weights, whose activations are beyond f16
        figure "$what bf16 batch $batch, 1920x1080 px" 30 "$bin/gpu-measure" --steps $what bf16 $batch $size $seconds
    done
    [ -n "$dry" ] || part "kernels, timed" 30 "$bin/gpu-time-kernels"
}

run_torch() {
    local batch limit line reference=${M2SNET_REFERENCE:-$root/../shared/reference}
    if [ -n "$dry" ] || [ ! -e "$reference/ref_models.py" ] || ! python3 -c 'import torch' 2>/dev/null; then
        row PyTorch "skipped: needs python3 with torch, and M2SNET_REFERENCE"
        return
    fi
    # Without our folders: PyTorch brings its own libraries.
    printf '\n==== PyTorch\n' >>"$log"
    env -u LD_LIBRARY_PATH timeout 100 python3 tests/gpu/torch_speed.py "$reference" eager >"$out/part.txt" 2>&1
    cat "$out/part.txt" >>"$log"
    grep -E '^torch ' "$out/part.txt" | while IFS=: read -r name rest; do row "$name" "$rest"; done
    grep -qE '^torch ' "$out/part.txt" || row PyTorch "FAILED $(tail -n 1 "$out/part.txt")"
    # Compiling takes minutes: each batch on its own, with what is left of ten minutes.
    for batch in 64 8 1; do
        limit=$((570 - SECONDS < 130 ? 570 - SECONDS : 130))
        if [ $limit -lt 30 ]; then
            row "torch compiled f16 batch $batch" "skipped: no time is left"
            continue
        fi
        env -u LD_LIBRARY_PATH timeout $limit python3 tests/gpu/torch_speed.py "$reference" compiled "$batch" \
            >"$out/part.txt" 2>&1
        cat "$out/part.txt" >>"$log"
        line=$(grep -E '^torch ' "$out/part.txt" | cut -d : -f 2-)
        row "torch compiled f16 batch $batch" "${line:-not done after $limit s}"
    done
}

device=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -n 1)
row device "${device:-none}${dry:+ (dry run)}"
for name in "${parts[@]}"; do
    "run_$name"
done
rm -f "$out/part.txt"
printf '\n%s\n' "---- in $SECONDS s ----"
cat "$table"
! grep -qE ' (FAILED|TIMEOUT)' "$table"
