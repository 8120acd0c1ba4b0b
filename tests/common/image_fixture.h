/* SPDX-License-Identifier: Apache-2.0
 * For the tests of lib/image: an allocator that counts and can fail, a host on top of it, and the pictures of
 * tests/data/images. */
#ifndef M2S_TESTS_COMMON_IMAGE_FIXTURE_H
#define M2S_TESTS_COMMON_IMAGE_FIXTURE_H

#include <stdatomic.h>

#include "core/host.h"
#include "image/bitmap.h"

typedef struct image_fixture {
    m2s_memory memory;
    m2s_host host;
    m2snet_error error;
    atomic_llong allocations; /* so far */
    atomic_llong fail_at;     /* the allocation, counted from 1, that fails; 0 = none */
    atomic_llong live;        /* blocks not yet freed */
} image_fixture;

/* threads 0 = no pool. */
void image_fixture_begin(image_fixture *f, int threads);
/* Ends the pool and fails the cmocka test when a block is still live. */
void image_fixture_end(image_fixture *f);

/* Calls attempt(f, user) with the first, second, ... allocation failing until it succeeds without a failure. Each
 * failed attempt must return M2SNET_STATUS_OUT_OF_MEMORY (or succeed, where a foreign library can go on) and leave no
 * block. */
void image_fixture_fail_each_allocation(image_fixture *f, m2snet_status (*attempt)(image_fixture *f, void *user),
                                        void *user);

/* A file under tests/data in a malloc block; fails the test when it cannot be read. */
uint8_t *image_fixture_read(const char *name, size_t *size);
/* NAME.pgm or NAME.ppm of tests/data/images as a bitmap on malloc memory: free(pixels). */
m2s_bitmap image_fixture_expected(const char *name);
/* Same size, format and pixels, or the test fails. */
void image_fixture_assert_same(const m2s_bitmap *actual, const m2s_bitmap *expected, const char *name);

#endif
