/* SPDX-License-Identifier: Apache-2.0
 * Functions of a library that was opened at run time. */
#ifndef M2S_CUDA_FIND_H
#define M2S_CUDA_FIND_H

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

/* Puts the function `name` of module into the function pointer at `function`; false, with *missing = name, where there
 * is none. */
static inline bool m2s_cuda_find(void *module, const char *name, void *function, const char **missing)
{
    void *symbol = dlsym(module, name);

    if (symbol == NULL) {
        *missing = name;
        return false;
    }
    memcpy(function, &symbol, sizeof symbol); /* ISO C has no cast from one to the other */
    return true;
}

#endif
