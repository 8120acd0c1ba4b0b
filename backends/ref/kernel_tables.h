/* SPDX-License-Identifier: Apache-2.0
 * The two tables that kernels.inc makes, indexed by op. */
#ifndef M2S_BACKENDS_REF_KERNEL_TABLES_H
#define M2S_BACKENDS_REF_KERNEL_TABLES_H

#include "backends/ref/ref.h"

extern const m2s_ref_kernel m2s_ref_kernels_f32[M2S_OP_COUNT];
extern const m2s_ref_kernel m2s_ref_kernels_f64[M2S_OP_COUNT];

#endif
