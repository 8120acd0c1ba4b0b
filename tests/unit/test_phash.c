/* SPDX-License-Identifier: Apache-2.0
 * lib/train/phash and dataset_near: hashes by hand, what they do not see, what they tell apart. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "common/dataset_fixture.h"
#include "train/dataset_near.h"
#include "train/phash.h"

#define INVALID M2SNET_STATUS_INVALID_ARGUMENT
#define W       90
#define H       70

static m2s_phash hash_of(const uint8_t *pixels, int32_t width, int32_t height, m2snet_pixel_format format)
{
    const m2snet_image image = { .data = pixels, .width = width, .height = height, .format = format };
    m2s_memory memory;
    m2s_host host = { .memory = &memory };
    m2s_phash hash, other;
    m2snet_error error;

    m2s_memory_init(&memory, NULL, 0);
    OK(m2s_phash_of(&host, &image, &hash, &error));
    host.isa = m2s_isa_detect();
    OK(m2s_phash_of(&host, &image, &other, &error));
    assert_int_equal(m2s_phash_distance(hash, other), 0); /* on every instruction set */
    return hash;
}

/* A wave of one period along x at 32 x 32: the coefficient (0, 2) stands out; the gradient's sign changes in the
 * middle. */
static void test_by_hand(void **state)
{
    uint8_t gray[32 * 32], ramp[9 * 8];

    (void)state;
    for (int i = 0; i < 32 * 32; i++) {
        gray[i] = (uint8_t)lround(128.0 + 100.0 * cos(3.14159265358979 * (2 * (i % 32) + 1) * 2 / 64.0));
    }
    m2s_phash hash = hash_of(gray, 32, 32, M2SNET_PIXEL_GRAY8);
    assert_true((hash.cosine >> 2 & 1) == 1);
    for (int row = 0; row < 8; row++) { /* falling in the left half, rising in the right */
        assert_int_equal(hash.gradient >> (8 * row) & 0xff, 0x0f);
    }
    for (int i = 0; i < 9 * 8; i++) { /* rising everywhere but in row 5, where it falls */
        ramp[i] = (uint8_t)(i / 9 == 5 ? 200 - 10 * (i % 9) : 10 * (i % 9));
    }
    hash = hash_of(ramp, 9, 8, M2SNET_PIXEL_GRAY8);
    assert_true(hash.gradient == (uint64_t)0xff << 40);
    assert_int_equal(m2s_phash_distance((m2s_phash){ 1, 3 }, (m2s_phash){ 2, 2 }), 3);
    assert_int_equal(m2s_phash_distance((m2s_phash){ 0, 0 }, (m2s_phash){ ~(uint64_t)0, ~(uint64_t)0 }), 128);
}

static void test_robust(void **state)
{
    static uint8_t rgb[W * H * 3], other[W * H * 3], large[4 * W * H * 3], mask[4 * W * H];

    (void)state;
    for (uint32_t seed = 0; seed < 12; seed++) {
        dataset_pattern(W, H, seed, rgb, mask);
        m2s_phash hash = hash_of(rgb, W, H, M2SNET_PIXEL_RGB8);
        assert_int_equal(__builtin_popcountll(hash.cosine), 32); /* one half lies above the median */
        for (int i = 0; i < W * H * 3; i++) {                    /* darker, flatter, a little noise */
            other[i] = (uint8_t)(20 + rgb[i] * 7 / 10 + (i * 7919 % 5));
        }
        assert_true(m2s_phash_distance(hash, hash_of(other, W, H, M2SNET_PIXEL_RGB8)) <= 12);
        dataset_pattern(2 * W, 2 * H, seed, large, mask);
        assert_true(m2s_phash_distance(hash, hash_of(large, 2 * W, 2 * H, M2SNET_PIXEL_RGB8)) <= 12);
        for (int i = 0; i < W * H; i++) { /* channels in another order: another luminance, the same forms */
            memcpy(other + 3 * i, rgb + 3 * (i / W * W + W - 1 - i % W), 3);
        }
        assert_true(m2s_phash_distance(hash, hash_of(other, W, H, M2SNET_PIXEL_RGB8)) > 20); /* mirrored */
    }
}

static void test_search(void **state)
{
    m2snet_duplicates_options o;
    m2snet_near_pair p = { .struct_size = sizeof p };
    m2snet_error error;
    dataset_files files;
    m2snet_dataset *d;

    (void)state;
    dataset_files_make(&files);
    dataset_pair(&files, "a", W, H, 1);
    dataset_pair(&files, "b", W, H, 9);
    dataset_pair(&files, "c", W + 7, H + 3, 1); /* as a */
    dataset_pair(&files, "d", W, H, 1);
    dataset_text(&files, "images/d.png", "unreadable");
    dataset_pair(&files, "e", W, H, 9); /* as b */
    for (int32_t threads = 1; threads <= 3; threads += 2) {
        m2snet_context *context = open_context("ref", threads);
        OK(m2snet_dataset_create(context, &d, &error));
        OK(m2snet_dataset_add_folder(d, files.folder, NULL, &error));
        assert_int_equal(m2snet_dataset_near_pair_count(d), 0);
        OK(m2snet_dataset_find_duplicates(d, NULL, &error));
        assert_int_equal(m2snet_dataset_near_pair_count(d), 2);
        OK(m2snet_dataset_get_near_pair(d, 0, &p, &error));
        assert_true(p.a == 1 && p.b == 4 && p.distance == 0 && p.across == 0);
        OK(m2snet_dataset_get_near_pair(d, 1, &p, &error));
        assert_true(p.a == 0 && p.b == 2 && p.distance <= 12);
        OK(m2snet_dataset_set_part(d, 2, M2SNET_PART_VALIDATION, &error));
        OK(m2snet_dataset_get_near_pair(d, 1, &p, &error));
        assert_int_equal(p.across, 1);
        OK(m2snet_dataset_set_part(d, 0, M2SNET_PART_NONE, &error));
        OK(m2snet_dataset_get_near_pair(d, 1, &p, &error));
        assert_int_equal(p.across, 0);
        REFUSE(m2snet_dataset_get_near_pair(d, 2, &p, &error), INVALID, "pair 2");
        m2snet_duplicates_options_init(&o);
        o.distance = 64;
        OK(m2snet_dataset_find_duplicates(d, &o, &error));
        int32_t many = m2snet_dataset_near_pair_count(d), last = 0;
        assert_true(many >= 2);
        for (int32_t i = 0; i < many; i++) {
            OK(m2snet_dataset_get_near_pair(d, i, &p, &error));
            assert_true(p.distance >= last && p.a != 3 && p.b != 3 && p.a < p.b);
            last = p.distance;
        }
        o.distance = 65;
        REFUSE(m2snet_dataset_find_duplicates(d, &o, &error), INVALID, "distance is 65");
        assert_int_equal(m2snet_dataset_near_pair_count(d), many);
        OK(m2snet_dataset_add_folder(d, files.folder, NULL, &error)); /* others: the pairs are no longer all */
        assert_int_equal(m2snet_dataset_near_pair_count(d), 0);
        m2snet_dataset_destroy(d);
        m2snet_context_destroy(context);
    }
    dataset_files_remove(&files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_robust),
        cmocka_unit_test(test_search),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
