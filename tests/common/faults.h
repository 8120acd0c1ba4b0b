/* SPDX-License-Identifier: Apache-2.0
 * An allocator that fails on purpose: the n-th allocation, so that a test can fail every one in turn.
 *
 *     for (size_t n = 1;; n++) {
 *         faults f = { .fail_at = n };
 *         m2snet_allocator allocator = faults_allocator(&f);
 *         ... the calls under test ...
 *         assert_int_equal(f.live, 0);
 *         if (f.calls < n) break;       (all of them have failed once)
 *     } */
#ifndef M2S_TESTS_COMMON_FAULTS_H
#define M2S_TESTS_COMMON_FAULTS_H

#include <stdatomic.h>
#include <stddef.h>

#include "m2snet.h"

typedef struct faults {
    size_t fail_at;      /* which allocation fails, counted from 1; 0 = none */
    atomic_size_t calls; /* so far */
    atomic_size_t live;  /* blocks not freed */
} faults;

m2snet_allocator faults_allocator(faults *f);

#endif
