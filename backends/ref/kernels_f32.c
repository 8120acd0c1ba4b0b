/* SPDX-License-Identifier: Apache-2.0 */
#define REAL    float
#define KERNELS m2s_ref_kernels_f32
#include "backends/ref/kernels.inc"
