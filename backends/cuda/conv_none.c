/* SPDX-License-Identifier: Apache-2.0
 * In the place of conv_cudnn.c where the module is built without cuDNN. */
#include <stdio.h>

#include "backends/cuda/conv.h"

m2snet_status m2s_conv_cudnn_open(m2s_memory *memory, const m2s_conv_settings *settings, m2s_conv_library **library,
                                  char why[128], m2snet_error *error)
{
    (void)memory;
    (void)settings;
    (void)error;
    *library = NULL;
    snprintf(why, 128, "built without cuDNN");
    return M2SNET_STATUS_OK;
}

void m2s_conv_cudnn_close(m2s_conv_library *library)
{
    (void)library;
}

const char *m2s_conv_cudnn_version(const m2s_conv_library *library)
{
    (void)library;
    return "none";
}

int32_t m2s_conv_cudnn_list(m2s_conv_library *library, const m2s_conv_problem *problem, m2s_conv_choice *list,
                            int32_t most)
{
    (void)library;
    (void)problem;
    (void)list;
    (void)most;
    return 0;
}

m2snet_status m2s_conv_cudnn_make(m2s_conv_library *library, const m2s_conv_problem *problem,
                                  const m2s_conv_choice *choice, m2s_prepared_conv **conv, m2snet_error *error)
{
    (void)library;
    (void)problem;
    (void)choice;
    (void)error;
    *conv = NULL;
    return M2SNET_STATUS_OK;
}
