# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts beside it: where things are, packages, phases. Not for users.
# shellcheck shell=bash
set -euo pipefail
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build
logs=$build/logs
# shellcheck disable=SC2034 # for the scripts that read this file
jobs=$(nproc)

# What a build needs, as Debian names it. Named one by one because recommendations are not installed.
build_packages=(gcc libc6-dev binutils cmake ninja-build pkg-config libjansson-dev nettle-dev libzip-dev libpng-dev
    libjpeg-dev)

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

is_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
is_available() { apt-cache show "$1" >/dev/null 2>&1; }

# Runs a command as root, or says what to type.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        sudo --preserve-env=DEBIAN_FRONTEND "$@"
    else
        return 126
    fi
}

# install_packages NAME...: installs those that are missing and says so; quiet when all are there. Returns 1 when it
# cannot.
install_packages() {
    local missing=() package
    command -v apt-get >/dev/null || return 0 # another distribution: the configure step names what it misses
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    say "packages: installing ${missing[*]}"
    mkdir -p "$logs"
    local code=0
    { as_root apt-get -q update && as_root apt-get -qy install --no-install-recommends "${missing[@]}"; } \
        >"$logs/packages.log" 2>&1 </dev/null || code=$?
    [ $code -eq 0 ] && return 0
    if [ $code -eq 126 ]; then
        say "packages: neither root nor sudo here; please run: apt-get install ${missing[*]}" >&2
    else
        tail -n 15 "$logs/packages.log" >&2
        say "packages: apt-get failed, see $logs/packages.log" >&2
    fi
    return 1
}

# The provider of convolutions: oneDNN where the distribution has it for this processor.
install_build_packages() {
    local gemm=libdnnl-dev
    if command -v apt-get >/dev/null && ! is_installed $gemm; then
        if ! is_available $gemm; then
            mkdir -p "$logs"
            as_root apt-get -q update >"$logs/packages.log" 2>&1 </dev/null || true
            is_available $gemm || gemm=libopenblas-serial-dev
        fi
    fi
    install_packages "${build_packages[@]}" "$gemm"
}

# phase NAME COMMAND...: one line with the seconds it took; the end of its log when it fails.
phase() {
    local name=$1 start=$SECONDS code=0
    shift
    mkdir -p "$logs"
    printf '%-34s ' "$name"
    "$@" >"$logs/${name//[^a-zA-Z0-9]/-}.log" 2>&1 </dev/null || code=$?
    if [ $code -eq 0 ]; then
        printf 'ok      %4d s' $((SECONDS - start))
    else
        printf 'FAILED  %4d s' $((SECONDS - start))
    fi
    phase_log=$logs/${name//[^a-zA-Z0-9]/-}.log
    printf '%s\n' "$(phase_detail)"
    if [ $code -ne 0 ]; then
        tail -n 40 "$phase_log" | sed 's/^/    /'
        say "    (whole log: $phase_log)"
    fi
    return $code
}
phase_detail() { :; }

# configure DIRECTORY OPTION...
configure() {
    local directory=$1 generator=()
    shift
    if [ ! -f "$directory/CMakeCache.txt" ] && command -v ninja >/dev/null; then
        generator=(-G Ninja)
    fi
    cmake "${generator[@]}" -S "$root" -B "$directory" "$@"
}
