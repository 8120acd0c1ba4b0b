/* SPDX-License-Identifier: Apache-2.0
 * Which instruction set this processor has, and how many processors this process may use. */
#ifndef M2S_CORE_CPU_H
#define M2S_CORE_CPU_H

#include <stdbool.h>
#include <stddef.h>

typedef enum m2s_isa {
    M2S_ISA_BASELINE = 0, /* portable C; SSE2 on x86-64 */
    M2S_ISA_AVX2 = 1,     /* with FMA and F16C */
    M2S_ISA_AVX512 = 2,   /* F, BW, DQ, VL */
    M2S_ISA_COUNT = 3
} m2s_isa;

m2s_isa m2s_isa_detect(void);
const char *m2s_isa_name(m2s_isa isa);              /* "baseline", "avx2", "avx512" */
bool m2s_isa_parse(const char *name, m2s_isa *isa); /* false: no such name */
int m2s_processor_count(void);                      /* affinity mask and cgroup quota respected; at least 1 */
void m2s_processor_name(char *name, size_t bytes);  /* "AMD EPYC 9555 64-Core Processor", or the architecture */

#endif
