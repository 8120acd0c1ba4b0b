/* SPDX-License-Identifier: Apache-2.0
 * What the exported functions share: checks of the caller's pointers. */
#ifndef M2S_API_API_H
#define M2S_API_API_H

#include "core/error.h"

/* Returns INVALID_ARGUMENT from the calling function when a required pointer is NULL. */
#define M2S_REQUIRE(pointer)                                                                                           \
    do {                                                                                                               \
        if ((pointer) == NULL) {                                                                                       \
            return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "%s: %s is NULL", __func__, #pointer);              \
        }                                                                                                              \
    } while (0)

#endif
