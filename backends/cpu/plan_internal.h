/* SPDX-License-Identifier: Apache-2.0
 * The plan's entries of the vtable (backend.h states their contracts). */
#ifndef M2S_BACKENDS_CPU_PLAN_INTERNAL_H
#define M2S_BACKENDS_CPU_PLAN_INTERNAL_H

#include "backends/backend.h"

m2snet_status m2s_cpu_plan_compile(m2s_device *device, const m2s_plan_request *request, m2s_plan **compiled,
                                   m2snet_error *error);
void m2s_cpu_plan_free(m2s_device *device, m2s_plan *plan); /* NULL is fine */
void m2s_cpu_plan_info(const m2s_plan *plan, m2s_plan_info *info);
bool m2s_cpu_plan_step(const m2s_plan *plan, int32_t index, m2s_step_info *info);
m2snet_status m2s_cpu_plan_run(m2s_device *device, m2s_plan *plan, const m2s_run_request *request, m2snet_error *error);

#endif
