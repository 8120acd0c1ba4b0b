#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every test: release, sanitizers, threads, the other GEMM provider, another processor, fuzz targets, style.
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<'TEXT'
Usage: scripts/test.sh [--quick] [--long] [--fuzz SECONDS] [PHASE...]
Phases (default: all):
  release    optimised build, all tests
  format     clang-format 14, nothing may differ
  asan       Debug build under AddressSanitizer and UBSan, all tests
  tsan       ThreadSanitizer, the tests of concurrency
  openblas   the build without oneDNN: op and parity tests
  clang      clang build, fuzz targets under libFuzzer
  aarch64    cross build of the kernels, op tests under qemu
  tidy       clang-tidy over the library; with --long also clang's analyzer
  cuda       with --long: the CUDA module, where nvcc is
Options:
  --quick          release and format only
  --long           also the tests labelled long
  --fuzz SECONDS   time for each fuzz target (default 5)
TEXT
}

all_phases=(release format asan tsan openblas clang aarch64 tidy cuda)
phases=()
long=long
fuzz_seconds=5
while [ $# -gt 0 ]; do
    case $1 in
    --quick) phases=(release format) ;;
    --long) long=none ;;
    --fuzz) fuzz_seconds=${2:?--fuzz needs a number of seconds}; shift ;;
    -h | --help) usage; exit 0 ;;
    -*) usage >&2; exit 2 ;;
    *)
        [[ " ${all_phases[*]} " == *" $1 "* ]] || die "no phase is called \"$1\"; there are: ${all_phases[*]}"
        phases+=("$1")
        ;;
    esac
    shift
done
if [ ${#phases[@]} -eq 0 ]; then
    phases=("${all_phases[@]}")
    [ "$long" = none ] || unset "phases[-1]" # minutes of nvcc
fi

# Sanitizer builds keep some optimisation: the kernels are loops, and -O0 would take most of the time of this script.
debug_flags="-g -O1"
passed=0 failed=0 skipped_tests=0
failures=() skips=() test_prefix=()

# What ctest said, for the line of a phase.
phase_detail() {
    local line
    line=$(grep -E '^[0-9]+% tests passed' "$phase_log" | tail -n 1) && printf '  %s' "$line"
    line=$(grep -E '^(operations|fuzz|files): ' "$phase_log" | tail -n 1) && printf '  %s' "$line"
    return 0
}

# step NAME COMMAND...: a phase whose failure is remembered while the rest goes on.
step() {
    phase "$@" && return 0
    failures+=("$1")
    return 1
}

# run_ctest NAME [LABELS [EXCLUDED LABELS]]: the tests of build/NAME, all labels by default.
run_ctest() {
    local directory=$build/$1 name="test build/$1" line bad total skip code=0
    step "$name" "${test_prefix[@]}" ctest --test-dir "$directory" --output-on-failure --no-tests=error -j "$jobs" \
        -L "${2:-.}" -LE "^($long${3:+|$3})\$" || code=1
    line=$(grep -E '^[0-9]+% tests passed' "$phase_log" | tail -n 1) || return 1
    read -r _ _ _ bad _ _ _ _ total <<<"${line//,/}"
    skip=$(grep -cE '\*\*\*Skipped' "$phase_log") || true
    failed=$((failed + bad)) skipped_tests=$((skipped_tests + skip)) passed=$((passed + total - bad - skip))
    return $code
}

# wants_tool PHASE PACKAGE...: false, with a line, when what a phase needs cannot be installed here.
wants_tool() {
    local name=$1
    shift
    install_packages "$@" && return 0
    printf '%-34s skipped: needs %s\n' "$name" "$*"
    skips+=("$name")
    return 1
}

build_tree() { # DIRECTORY OPTION...
    local directory=$build/$1
    shift
    step "configure ${directory#"$root"/}" configure "$directory" -DM2SNET_WERROR=ON "${launcher[@]}" "$@" || return 1
    step "build ${directory#"$root"/}" cmake --build "$directory" --parallel "$jobs" ${build_target:+--target $build_target}
}

sources() { # the C and CUDA files of the repository, tracked or new
    (cd "$root" && find include lib backends examples tests \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' \) \
        -not -path '*/build/*' | sort)
}

check_format() {
    local files
    mapfile -t files < <(sources)
    cd "$root" && clang-format-14 --dry-run -Werror "${files[@]}" && say "files: ${#files[@]} formatted"
}

check_tidy() {
    # Its own configuration: clang reads gcc's command lines, but not all of them.
    configure "$build/tidy" -DCMAKE_C_COMPILER=clang-14 -DM2SNET_BUILD_TESTS=OFF || return 1
    local code=0 findings=$build/tidy/findings analyzer=()
    [ "$long" = none ] || analyzer=(--checks=-clang-analyzer-*) # minutes
    cd "$root" || return 1
    compiled_files "$build/tidy/compile_commands.json" |
        xargs -P "$jobs" -n 4 clang-tidy-14 --quiet "${analyzer[@]}" -p "$build/tidy" >"$findings" 2>/dev/null || code=$?
    cat "$findings"
    say "" "Findings:"
    grep -E "(error|warning): " "$findings" | sort -u || true
    return $code
}
# The files that this configuration compiles.
compiled_files() { sed -n 's/^ *"file": "\(.*\)",*$/\1/p' "$1" | sort -u; }

run_fuzzers() {
    local target name count=0 work
    for target in "$build"/clang/tests/fuzz/fuzz_*; do
        if [ ! -f "$target" ] || [ ! -x "$target" ]; then
            continue
        fi
        name=$(basename "$target")
        work=$build/clang/fuzz-work/$name
        mkdir -p "$work"
        (cd "$build/clang" && "$target" -max_total_time="$fuzz_seconds" -timeout=20 -rss_limit_mb=2048 -max_len=65536 \
            -print_final_stats=1 "$work" "$root/tests/fuzz/corpus/${name#fuzz_}") || return 1
        count=$((count + 1))
    done
    say "fuzz: $count targets, $fuzz_seconds s each, no crash"
}

run_release() {
    build_tree release -DCMAKE_BUILD_TYPE=Release -DM2SNET_BUILD_TESTS=ON || return 0
    run_ctest release || true
}

run_format() {
    # The version matters: others lay the same style out differently.
    command -v apt-get >/dev/null && ! is_installed clang-format-14 && ! is_available clang-format-14 && {
        printf '%-34s skipped: clang-format 14 is not in this distribution\n' format
        skips+=(format)
        return 0
    }
    wants_tool format clang-format-14 || return 0
    step "format" check_format || true
}

run_asan() {
    # What is installed and exported is a matter of the release build, and an interpreter loads no sanitized library. The
    # whole networks of the parity tests take minutes here and their code paths are those of the small ones in the api
    # tests: with --long. So do the CUDA module's own tests (without, it runs in api.cuda_module), and so does stack used
    # after return, which costs a tenth.
    local without="install|abi|python" build_target='' options=detect_stack_use_after_return=1
    if [ "$long" = long ]; then
        options=detect_stack_use_after_return=0
        without+="|parity|cuda|lengthy"
        build_target="tests_ops tests_unit tests_api tests_fuzz tests_module m2snet_examples"
    fi
    build_tree asan -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG="$debug_flags" \
        -DM2SNET_SANITIZE=address,undefined -DM2SNET_ASAN_OPTIONS=$options -DM2SNET_TEST_TIMEOUT_S=900 || return 0
    run_ctest asan . "$without" || true
}

run_tsan() {
    build_target=tests_tsan build_tree tsan -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG="$debug_flags" \
        -DM2SNET_SANITIZE=thread -DM2SNET_BUILD_EXAMPLES=OFF -DM2SNET_TEST_TIMEOUT_S=900 || return 0
    # The shadow memory of gcc 12's ThreadSanitizer does not fit every random address layout of newer kernels.
    setarch "$(uname -m)" -R true 2>/dev/null && test_prefix=(setarch "$(uname -m)" -R)
    run_ctest tsan '^tsan$' || true
    test_prefix=()
}

run_openblas() {
    wants_tool openblas libopenblas-serial-dev || return 0
    build_target="tests_ops tests_parity m2snet-segment" build_tree openblas -DCMAKE_BUILD_TYPE=Release -DM2SNET_GEMM=openblas || return 0
    run_ctest openblas '^(ops|parity)$' oracle || true
}

run_clang() {
    local version=14
    command -v apt-get >/dev/null && ! is_installed clang-14 && ! is_available clang-14 && version=19
    wants_tool clang clang-$version libclang-rt-$version-dev || return 0
    # The fuzz targets and what they run alone: clang-tidy reads the rest with clang's warnings, and gcc compiles it.
    build_target=tests_fuzz build_tree clang -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG="$debug_flags" -DCMAKE_C_COMPILER=clang-$version \
        -DM2SNET_FUZZ=ON -DM2SNET_SANITIZE=address,undefined || return 0
    step "fuzz build/clang" run_fuzzers || true
}

run_aarch64() {
    wants_tool aarch64 gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static || return 0
    build_tree aarch64 -DCMAKE_BUILD_TYPE=Release -DM2SNET_GEMM=none -DM2SNET_KERNELS_ONLY=ON \
        -DM2SNET_TEST_TIMEOUT_S=900 -DCMAKE_TOOLCHAIN_FILE="$root/cmake/aarch64-linux-gnu.cmake" || return 0
    run_ctest aarch64 '^ops$' || true
}

run_tidy() {
    command -v apt-get >/dev/null && ! is_installed clang-tidy-14 && ! is_available clang-tidy-14 && {
        printf '%-34s skipped: clang-tidy 14 is not in this distribution\n' tidy
        skips+=(tidy)
        return 0
    }
    wants_tool tidy clang-tidy-14 clang-14 || return 0
    step "tidy" check_tidy || true
}

run_cuda() {
    command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ] || {
        printf '%-34s skipped: needs nvcc\n' cuda
        skips+=(cuda)
        return 0
    }
    build_target=m2snet-cuda build_tree cuda -DCMAKE_BUILD_TYPE=Release -DM2SNET_BUILD_TESTS=OFF -DM2SNET_CUDA=ON \
        -DM2SNET_CUDA_ARCHITECTURES=90 || true
}

install_build_packages || exit 1
install_packages libcmocka-dev g++ || exit 1
# The tests of the Python binding skip what is missing, and so does the one of the scores against public tools.
install_packages python3-numpy python3-pil python3-venv python3-pip python3-setuptools python3-wheel patchelf || true
install_packages python3-scipy python3-skimage || true
# What two trees compile alike (release and openblas: nearly all) is compiled once.
launcher=()
if install_packages ccache && command -v ccache >/dev/null; then
    export CCACHE_DIR=$build/ccache
    launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
fi
for name in "${phases[@]}"; do
    "run_$name"
done

say ""
say "$passed tests passed, $failed failed, $skipped_tests skipped; phases skipped: ${skips[*]:-none}; $SECONDS s in all"
if [ ${#failures[@]} -gt 0 ]; then
    printf 'FAILED: %s\n' "${failures[@]}"
    exit 1
fi
