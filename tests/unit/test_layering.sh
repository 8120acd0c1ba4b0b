#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Who may include whom. Reads every #include line of the library, the backends, the programs and the api tests.
set -euo pipefail
cd "${M2SNET_SOURCE_DIR:-$(dirname "$0")/../..}"

folders=(include lib backends examples)
[ ! -d tests/api ] || folders+=(tests/api)
find "${folders[@]}" -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.inc' -o -name '*.def' | sort | xargs awk '
function complain(why) {
    printf "%s:%d: %s\n", FILENAME, FNR, why
    bad++
}
BEGIN {
    # What each room may see besides m2snet.h and itself. Rooms as they appear in an include path.
    see["core"]    = ""
    see["graph"]   = "core"
    see["net"]     = "core graph"
    see["weights"] = "core graph"
    see["image"]   = "core graph"
    see["run"]     = "core graph net weights image backends/backend.h backends/module.h backends/ref/ref.h backends/cpu/cpu.h"
    see["train"]   = "core graph net weights image run eval"
    see["eval"]    = "core graph net weights image run"
    see["api"]     = "core graph net weights image run train eval"
    see["backends"]      = "core graph"
    see["backends/ref"]  = "core graph backends/backend.h"
    see["backends/cpu"]  = "core graph backends/backend.h backends/ref/ref.h backends/ref/kernel_cuts.h"
    see["backends/cuda"] = "core graph backends/backend.h backends/module.h backends/ref/ref.h"
    see["examples"]  = "common"
    see["tests/api"] = "common tests/common"

    # Foreign headers: the library each belongs to. One file may know a library.
    n = split("dnnl.h dnnl oneapi/dnnl/dnnl.h dnnl dnnl_version.h dnnl oneapi/dnnl/dnnl_version.h dnnl omp.h openmp " \
              "cblas.h openblas openblas_config.h openblas jansson.h jansson zip.h libzip png.h libpng pngconf.h libpng " \
              "jpeglib.h libjpeg jerror.h libjpeg turbojpeg.h libjpeg cudnn.h cudnn cublasLt.h cublas", pairs, " ")
    for (i = 1; i < n; i += 2)
        foreign[pairs[i]] = pairs[i + 1]

    n = split("assert ctype dirent dlfcn errno fcntl fenv float getopt immintrin inttypes libgen limits link locale " \
              "math poll pthread sched semaphore setjmp signal stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib " \
              "stdnoreturn string strings tgmath time unistd sys/ioctl sys/mman sys/random sys/resource sys/stat sys/syscall sys/time " \
              "sys/types sys/utsname sys/wait arm_neon cpuid emmintrin", names, " ")
    for (i = 1; i <= n; i++)
        standard[names[i] ".h"] = 1
    standard["atomic"] = 1 # C++, of which the CUDA backend has a little

    # The CUDA runtime has two keepers: one launches, one does all else.
    cuda["backends/cuda/kernel.cuh"] = cuda["backends/cuda/runtime_cuda.cu"] = 1
}
FNR == 1 {
    files++
    n = split(FILENAME, part, "/")
    room = part[1] == "lib" ? part[2] : part[1] == "include" ? "include" : n > 2 && part[1] != "examples" ? part[1] "/" part[2] : part[1]
    if ($0 !~ /SPDX-License-Identifier: Apache-2\.0/)
        complain("the first line does not say SPDX-License-Identifier: Apache-2.0")
    if (part[1] == "lib" || part[1] == "include" || part[1] == "backends") {
        base = part[1] == "backends" ? room "/" part[n] : part[n] # backends mirror each other
        if (base in home)
            complain("a file of this name is already " home[base])
        home[base] = FILENAME
    }
}
/^[ \t]*#[ \t]*include/ {
    if (!match($0, /[<"][^>"]+[>"]/))
        next # an include of a macro
    quoted = substr($0, RSTART, 1) == "\""
    path = substr($0, RSTART + 1, RLENGTH - 2)
    includes++
    if (path == "m2snet.h") {
        if (room == "net") # a neighbour has this name
            complain("the public header comes with core/error.h")
        next
    }
    if (room == "include") {
        if (path != "stddef.h" && path != "stdint.h")
            complain("the public header includes " path "; it may include stddef.h and stdint.h")
        next
    }
    if (!quoted) {
        library = path in foreign ? foreign[path] : path ~ /^nettle\// ? "nettle" : ""
        if (library != "") {
            if (room == "examples")
                complain("a program includes " path "; it may see m2snet.h only")
            else if (library in keeper && keeper[library] != FILENAME && room != "tests/api")
                complain(path " belongs in " keeper[library] ", the one file that knows " library)
            else if (room != "tests/api")
                keeper[library] = FILENAME
        } else if (path ~ /^cuda/ && FILENAME in cuda) {
            next
        } else if (!(path in standard) && room != "tests/api") {
            complain("<" path "> is neither a standard header nor one of a library that is known here")
        }
        next
    }
    # A quoted path is relative to lib/ or to the root; a bare name is a neighbour.
    if (path !~ /\//) {
        if (part[1] == "lib" || part[1] == "backends")
            if (path !~ /\.(inc|def)$/)
                complain("\"" path "\" should be written with its room")
        next
    }
    if (path ~ /\.\./)
        complain("\"" path "\" leaves its folder")
    target = path
    sub(/^lib\//, "", target)
    if (index(target, room "/") == 1)
        next
    allowed = 0
    n_see = split(see[room], may, " ")
    for (i = 1; i <= n_see; i++)
        if (target == may[i] || index(target, may[i] "/") == 1)
            allowed = 1
    if (!(room in see))
        complain("room \"" room "\" is not known: add it to this test")
    else if (!allowed)
        complain(room " may not include \"" path "\"; it may see: m2snet.h " see[room])
}
END {
    printf "%d files, %d includes, %d complaints\n", files, includes, bad
    exit bad > 0 || includes == 0
}'
