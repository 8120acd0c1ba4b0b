/* SPDX-License-Identifier: Apache-2.0 */
#define TABLE    m2s_cpu_kernels_baseline
#define SET_NAME "baseline"
#include "backends/cpu/kernels.inc"
