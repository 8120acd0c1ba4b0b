/* SPDX-License-Identifier: Apache-2.0 */
#define REAL    double
#define KERNELS m2s_ref_kernels_f64
#include "backends/ref/kernels.inc"
