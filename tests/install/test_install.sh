#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs into a fresh folder and uses the library from there as a stranger would: pkg-config, pkg-config --static,
# CMake; moves the folder and runs again; compiles the header alone as C and C++.
set -euo pipefail
here=${M2SNET_SOURCE_DIR:?run through ctest}/tests/install
build=${M2SNET_BUILD_DIR:?}
cmake=${CMAKE_COMMAND:-cmake}
cc=${CC:-cc}
if [ -n "${M2SNET_SANITIZE:-}" ]; then
    echo "a sanitized library is not for installing"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/first
version=$(sed -n 's/^#define M2SNET_VERSION_STRING "\(.*\)"$/\1/p' "$M2SNET_SOURCE_DIR/include/m2snet.h")

DESTDIR='' "$cmake" --install "$build" --prefix "$prefix" >"$work/install.log"

# ---- the header alone ----
for standard in c99 c11; do
    "$cc" -x c -std=$standard -Wall -Wextra -pedantic -Werror -fsyntax-only "$prefix/include/m2snet.h"
done
if command -v c++ >/dev/null; then
    printf '#include <m2snet.h>\nint main() { return m2snet_version() < 0; }\n' >"$work/alone.cpp"
    for standard in c++11 c++17; do
        c++ -std=$standard -Wall -Wextra -pedantic -Werror -fsyntax-only -I"$prefix/include" "$work/alone.cpp"
    done
    echo "header: C99, C11, C++11, C++17"
else
    echo "header: C99, C11 (no C++ compiler here)"
fi

# ---- consumers; run NAME FILE: prints the version and nothing else ----
run() {
    local said
    said=$("$2")
    [ "$said" = "$version" ] || { echo "$1 printed \"$said\", expected \"$version\""; exit 1; }
    echo "$1: $said"
}
libdir=$(dirname "$(find "$prefix" -name libm2snet.so)")

export PKG_CONFIG_PATH=$libdir/pkgconfig
# shellcheck disable=SC2046 # the flags are words
"$cc" -o "$work/shared" "$here/consumer.c" $(pkg-config --cflags --libs m2snet)
LD_LIBRARY_PATH=$libdir run "pkg-config, shared" "$work/shared"
readelf -dW "$work/shared" | grep -q 'NEEDED.*libm2snet\.so\.' || { echo "the shared consumer is not linked with it"; exit 1; }

# With both libraries side by side the linker takes the shared one: -l:libm2snet.a asks for the archive by name.
# shellcheck disable=SC2046
"$cc" -DM2SNET_STATIC -o "$work/static" "$here/consumer.c" \
    $(pkg-config --static --cflags --libs m2snet | sed 's/-lm2snet/-l:libm2snet.a/')
run "pkg-config, static" "$work/static"
if readelf -dW "$work/static" | grep -q 'NEEDED.*libm2snet'; then
    echo "the static consumer is linked with the shared library"
    exit 1
fi

# The build's own generator: the default one's program may not be installed.
generator=$(sed -n 's/^CMAKE_GENERATOR:INTERNAL=//p' "$build/CMakeCache.txt")
"$cmake" -G "$generator" -S "$here" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" >"$work/cmake.log"
"$cmake" --build "$work/cmake" >>"$work/cmake.log" || { cat "$work/cmake.log"; exit 1; }
run "CMake, shared" "$work/cmake/consumer-shared"
run "CMake, static" "$work/cmake/consumer-static"

# ---- installed programs, and the whole tree moved ----
count=0
mv "$prefix" "$work/second"
for program in "$work"/second/bin/m2snet-*; do
    [ -e "$program" ] || continue
    "$program" --version >/dev/null || { echo "$(basename "$program") --version failed"; exit 1; }
    count=$((count + 1))
done
pkg_include=$(PKG_CONFIG_PATH=${libdir/first/second}/pkgconfig pkg-config --variable=includedir m2snet)
[ -f "$pkg_include/m2snet.h" ] || { echo "the moved m2snet.pc points to $pkg_include"; exit 1; }
echo "$count programs run from a moved folder"
