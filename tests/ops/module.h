/* SPDX-License-Identifier: Apache-2.0
 * `--module FILE` as a test's first arguments: the test runs the backend of that module, and of the built-in ones only
 * what it needs as oracle. */
#ifndef M2S_TESTS_OPS_MODULE_H
#define M2S_TESTS_OPS_MODULE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/backend.h"

#if !defined(M2S_KERNELS_ONLY)
#include "run/module.h"
#endif

/* Takes the option off the arguments. NULL: it is not there. Ends the program when the module cannot be had: with 77 (a
 * skip) where it finds no device, else with 2. */
static inline const m2s_backend *module_option(int *argc, char ***argv)
{
    const m2s_backend *backend = NULL;

    if (*argc < 3 || strcmp((*argv)[1], "--module") != 0) {
        return NULL;
    }
#if !defined(M2S_KERNELS_ONLY)
    m2snet_error error;
    if (m2s_module_open((*argv)[2], &backend, &error) != M2SNET_STATUS_OK) {
        fprintf(stderr, "%s\n", error.message);
        exit(2);
    }
    if (backend->device_count() == 0) {
        fprintf(stderr, "%s: no device\n", (*argv)[2]);
        exit(77);
    }
#else
    fprintf(stderr, "--module: this build has no modules\n");
    exit(2);
#endif
    (*argv)[2] = (*argv)[0];
    *argv += 2;
    *argc -= 2;
    return backend;
}

#endif
