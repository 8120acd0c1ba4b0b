/* SPDX-License-Identifier: Apache-2.0
 * Structs of the public interface that may be older or newer than this library. */
#ifndef M2S_CORE_OPTIONS_H
#define M2S_CORE_OPTIONS_H

#include <stddef.h>

#include "core/error.h"

/* Copies the caller's options over the defaults in `known` (known_bytes of them). options NULL keeps the defaults. A
 * larger, newer struct is accepted while everything beyond what this library knows is zero. */
m2snet_status m2s_options_import(const char *name, const void *options, void *known, size_t known_bytes,
                                 m2snet_error *error);
/* Copies as much of `known` into the caller's struct as its struct_size has room for, keeping struct_size. */
m2snet_status m2s_options_export(const char *name, const void *known, size_t known_bytes, void *info,
                                 m2snet_error *error);

#endif
