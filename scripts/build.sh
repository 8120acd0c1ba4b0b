#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing and builds build/release: libraries in lib/, programs in bin/.
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<'TEXT'
Usage: scripts/build.sh [--tests] [--] [CMAKE OPTION...]
Installs missing packages (Debian: apt, as root or through sudo) and builds build/release.
  --tests    build the tests too
  --help     this text
What follows is handed to cmake, for example -DM2SNET_GEMM=openblas.
TEXT
}

tests=OFF
while [ $# -gt 0 ]; do
    case $1 in
    --tests) tests=ON ;;
    -h | --help) usage; exit 0 ;;
    --) shift; break ;;
    -D* | -G*) break ;;
    *) usage >&2; exit 2 ;;
    esac
    shift
done

install_build_packages || exit 1
phase "configure build/release" configure "$build/release" -DCMAKE_BUILD_TYPE=Release -DM2SNET_BUILD_TESTS=$tests "$@"
phase "build build/release" cmake --build "$build/release" --parallel "$jobs"
