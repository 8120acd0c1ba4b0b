/* SPDX-License-Identifier: Apache-2.0
 * Backends in modules of their own, which this library opens by name and never links: m2snet-cuda.so. A module stays
 * open until the process ends. */
#ifndef M2S_RUN_MODULE_H
#define M2S_RUN_MODULE_H

#include "backends/module.h"

/* The backend of the module in one file. M2SNET_STATUS_BACKEND when it cannot be opened, is none, or was built for
 * another libm2snet. */
m2snet_status m2s_module_open(const char *path, const m2s_backend **backend, m2snet_error *error);

/* By the backend's name: m2snet-NAME.so in `folder` (or folder itself, when it is a file); without one (NULL, ""), in
 * $M2SNET_BACKEND_PATH, read the same way, and else beside this library, or, where this library is part of a program,
 * where the loader looks. */
m2snet_status m2s_module_find(m2s_memory *memory, const char *name, const char *folder, const m2s_backend **backend,
                              m2snet_error *error);

#endif
