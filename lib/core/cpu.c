/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "core/cpu.h"

#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#else
#include <sys/utsname.h>
#endif

static const char *const isa_names[M2S_ISA_COUNT] = { "baseline", "avx2", "avx512" };

m2s_isa m2s_isa_detect(void)
{
#if defined(__x86_64__)
    /* clang 14 has no name for F16C. */
    unsigned eax, ebx, ecx = 0, edx;
    bool f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !f16c) {
        return M2S_ISA_BASELINE;
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
        return M2S_ISA_AVX512;
    }
    return M2S_ISA_AVX2;
#else
    return M2S_ISA_BASELINE;
#endif
}

const char *m2s_isa_name(m2s_isa isa)
{
    return isa >= 0 && isa < M2S_ISA_COUNT ? isa_names[isa] : "unknown";
}

bool m2s_isa_parse(const char *name, m2s_isa *isa)
{
    for (int i = 0; i < M2S_ISA_COUNT; i++) {
        if (strcmp(name, isa_names[i]) == 0) {
            *isa = (m2s_isa)i;
            return true;
        }
    }
    return false;
}

/* Whole processors that the control group's quota allows; a large number without a quota. */
static int cgroup_limit(void)
{
    int limit = INT32_MAX;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");

    if (file != NULL) {
        char line[64] = "", *end = line; /* "QUOTA PERIOD", or "max PERIOD" */
        long long quota = fgets(line, sizeof line, file) != NULL ? strtoll(line, &end, 10) : 0;
        long long period = strtoll(end, NULL, 10);
        if (quota > 0 && period > 0 && quota <= INT32_MAX * period) {
            limit = (int)((quota + period - 1) / period);
        }
        fclose(file);
    }
    return limit;
}

int m2s_processor_count(void)
{
    cpu_set_t set;
    int count = 1;

    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        count = CPU_COUNT(&set);
    }
    int limit = cgroup_limit();
    count = count < limit ? count : limit;
    return count > 0 ? count : 1;
}

void m2s_processor_name(char *name, size_t bytes)
{
    name[0] = '\0';
#if defined(__x86_64__)
    unsigned words[12];
    if ((unsigned)__get_cpuid_max(0x80000000u, NULL) >= 0x80000004u) {
        for (unsigned i = 0; i < 3; i++) {
            __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
        }
        char brand[sizeof words + 1];
        memcpy(brand, words, sizeof words);
        brand[sizeof words] = '\0';
        const char *start = brand + strspn(brand, " ");
        snprintf(name, bytes, "%s", start);
        for (size_t length = strlen(name); length > 0 && name[length - 1] == ' '; length--) {
            name[length - 1] = '\0';
        }
    }
    if (name[0] == '\0') {
        snprintf(name, bytes, "x86-64 processor");
    }
#else
    struct utsname system;
    snprintf(name, bytes, "%s processor", uname(&system) == 0 ? system.machine : "unknown");
#endif
}
