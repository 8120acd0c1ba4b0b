#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What leaves the libraries, and what they ask of others: exported names, soname, needed libraries, writable data,
# calls that an embedded library must not make.
set -euo pipefail
source=${M2SNET_SOURCE_DIR:?run through ctest}
here=$source/tests/abi
lib=${M2SNET_LIB_DIR:?}
nm=${NM:-nm}
shared=$lib/libm2snet.so
static=$lib/libm2snet.a
internal=$lib/libm2snet_internal.a
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

complain() { printf '%s\n' "$*"; failures=$((failures + 1)); }
# same NAME EXPECTED ACTUAL: two sorted lists
same() {
    local difference
    difference=$(diff "$2" "$3" | sed -n 's/^< /missing: /p; s/^> /unexpected: /p') || true
    [ -z "$difference" ] || complain "$1:"$'\n'"$difference"
}

if [ -n "${M2SNET_SANITIZE:-}" ]; then
    echo "a sanitizer adds symbols of its own"
    exit 77
fi

# ---- exported names: header = committed list = shared library = static library ----

awk '!/^#/' "$here/symbols.txt" | LC_ALL=C sort >"$work/listed"
awk '/^M2SNET_API / { text = "" ; reading = 1 }
     reading { text = text " " $0
               if (match(text, /m2snet_[a-z0-9_]+\(/)) { print substr(text, RSTART, RLENGTH - 1); reading = 0 } }' \
    "$source/include/m2snet.h" | LC_ALL=C sort >"$work/declared"
"$nm" -D --defined-only "$shared" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | LC_ALL=C sort >"$work/exported"
"$nm" -g --defined-only "$static" 2>/dev/null | awk 'NF == 3 { print $3 }' | LC_ALL=C sort >"$work/archived"
same "tests/abi/symbols.txt against m2snet.h" "$work/declared" "$work/listed"
same "libm2snet.so against m2snet.h" "$work/declared" "$work/exported"
same "libm2snet.a against m2snet.h" "$work/declared" "$work/archived"
[ -s "$work/declared" ] || complain "no declaration was found in m2snet.h"

# ---- struct sizes: m2snet_struct_size has a row for each struct of the header ----

sed -nE 's/^(typedef )?struct (m2snet_[a-z0-9_]*) \{.*/\2/p' "$source/include/m2snet.h" | LC_ALL=C sort >"$work/structs"
sed -n 's/^ *ROW(\(m2snet_[a-z0-9_]*\)),$/\1/p' "$source/lib/api/api_layout.c" | LC_ALL=C sort >"$work/sized"
same "lib/api/api_layout.c against m2snet.h" "$work/structs" "$work/sized"
[ -s "$work/structs" ] || complain "no struct was found in m2snet.h"

# ---- dynamic section ----

readelf -dW "$shared" >"$work/dynamic"
abi=$(awk '$2 == "M2SNET_ABI" { print $3 }' "$source/include/m2snet.h")
grep -q "SONAME.*\[libm2snet\.so\.$abi\]" "$work/dynamic" || complain "the soname is not libm2snet.so.$abi"
grep -q "TEXTREL" "$work/dynamic" && complain "the library has text relocations"
grep -Eq "RPATH|RUNPATH" "$work/dynamic" && complain "the library has an rpath"
grep -q "BIND_NOW" "$work/dynamic" || complain "the library is not linked with -z now"
readelf -lW "$shared" | grep "GNU_STACK" | grep -q "RWE" && complain "the library wants an executable stack"

# What it may need; a new one is a decision.
allowed='c|m|pthread|dl|rt|gcc_s|gomp|dnnl|jansson|nettle|zip|png16|jpeg'
[ "${M2SNET_GEMM:-}" = openblas ] && allowed="$allowed|gfortran|quadmath"
sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' "$work/dynamic" | while read -r needed; do
    [[ $needed =~ ^(lib($allowed)\.so(\.[0-9]+)*|ld-linux.*)$ ]] || echo "$needed"
done >"$work/needed"
[ ! -s "$work/needed" ] || complain "libraries that are new here: $(tr '\n' ' ' <"$work/needed")"
ldd -r "$shared" >"$work/ldd" 2>&1 || true
grep -E "undefined symbol|not found" "$work/ldd" >"$work/undefined" && complain "not resolved: $(cat "$work/undefined")"

# ---- writable data of our own ----

# Tables of pointers (.data.rel.ro) become read-only before main; everything else writable is state.
objdump -t "$internal" | awk -v OFS=' ' '
    /file format/ { object = $1; sub(/:$/, "", object); sub(/\.o$/, "", object); next }
    NF >= 5 && $2 != "df" {
        for (i = 2; i <= NF; i++)
            if ($i ~ /^(\.(data|bss|tdata|tbss)|\*COM\*)/ && $i !~ /^\.data\.rel\.ro/ && $NF !~ /^\./) {
                print object, $NF
                break
            }
    }' | sed 's/\.[0-9]*$//' | LC_ALL=C sort -u >"$work/writable"
awk '!/^#/ && NF { print $1, $2 }' "$here/writable.txt" | LC_ALL=C sort -u >"$work/writable_allowed"
new=$(comm -23 "$work/writable" "$work/writable_allowed")
[ -z "$new" ] || complain "writable global data, not in tests/abi/writable.txt:"$'\n'"$new"
old=$(comm -13 "$work/writable" "$work/writable_allowed")
[ -z "$old" ] || complain "in tests/abi/writable.txt, but not in the library:"$'\n'"$old"

# ---- calls that a library inside somebody's program must not make ----

# Names of the C library by reason; fortified builds call __NAME_chk.
forbidden='printf|vprintf|puts|putchar|perror|stdout|stderr|stdin'                    # prints
forbidden+='|exit|_exit|_Exit|quick_exit|abort|atexit|__assert_fail|__assert'          # ends the host
forbidden+='|setlocale|signal|sigaction|raise|alarm|setitimer|umask|chdir'             # touches process state
forbidden+='|fesetround|fesetenv|feenableexcept|fesetexceptflag|feupdateenv|feraiseexcept' # touches the FPU
forbidden+='|getenv|setenv|putenv|unsetenv'                                            # secure_getenv alone
forbidden+='|omp_set_num_threads|openblas_set_num_threads|goto_set_num_threads|dnnl_set_[a-z_]*' # others' settings
forbidden+='|strtod|strtof|strtold|atof|scanf|sscanf|fscanf|vsscanf'                   # depends on the locale
forbidden+='|__isoc99_sscanf|__isoc99_fscanf|toupper|tolower'
forbidden+='|strtok|strerror|localtime|gmtime|ctime|asctime|rand|srand|random|srandom|readdir_r' # shared state
forbidden+='|gets|strcpy|strcat|sprintf|vsprintf|tmpnam|mktemp|alloca'                 # no bound
forbidden+='|fork|vfork|system|popen|execve|execv|execvp|posix_spawn'                  # starts programs
"$nm" -A -u "$internal" 2>/dev/null | awk '{ n = split($1, part, ":"); print part[n - 1] == "" ? part[n] : part[n - 1], $NF }' |
    sed 's/^\(.*\)\.o /\1 /; s/ __\([a-z]*\)_chk$/ \1/' | grep -E " ($forbidden)$" | LC_ALL=C sort -u >"$work/calls" || true
awk '!/^#/ && NF { print $1, $2 }' "$here/calls.txt" | LC_ALL=C sort -u >"$work/calls_allowed"
new=$(comm -23 "$work/calls" "$work/calls_allowed")
[ -z "$new" ] || complain "forbidden calls, not in tests/abi/calls.txt:"$'\n'"$new"

printf '%d exported names, %d writable objects, %d complaints\n' \
    "$(wc -l <"$work/exported")" "$(wc -l <"$work/writable")" "$failures"
[ "$failures" -eq 0 ]
