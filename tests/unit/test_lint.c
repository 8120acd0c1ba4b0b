/* SPDX-License-Identifier: Apache-2.0
 * lib/train/lint: each fault is found, named, and nothing else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "common/dataset_fixture.h"
#include "train/dataset.h"

#define INVALID M2SNET_STATUS_INVALID_ARGUMENT
#define W       16
#define H       12

typedef struct rig {
    dataset_files files;
    m2snet_context *context;
    m2snet_dataset *dataset;
} rig;

static void begin(rig *r, int32_t threads)
{
    m2snet_error error;

    dataset_files_make(&r->files);
    r->context = open_context("ref", threads);
    OK(m2snet_dataset_create(r->context, &r->dataset, &error));
}

static void end(rig *r)
{
    m2snet_dataset_destroy(r->dataset);
    m2snet_context_destroy(r->context);
    dataset_files_remove(&r->files);
}

static m2snet_finding finding(const rig *r, int32_t index)
{
    m2snet_finding f = { .struct_size = sizeof f };
    m2snet_error error;

    OK(m2snet_dataset_get_finding(r->dataset, index, &f, &error));
    return f;
}

/* A pair whose mask has these levels in its first row and 0 elsewhere. */
static void pair_with(const rig *r, const char *name, uint32_t seed, const uint8_t *levels, int count)
{
    uint8_t mask[W * H] = { 0 };
    char file[64];

    dataset_pair(&r->files, name, W, H, seed);
    memcpy(mask, levels, (size_t)count);
    snprintf(file, sizeof file, "masks/%s.png", name);
    dataset_gray(&r->files, file, W, H, mask);
}

static void expect(const rig *r, int32_t *at, m2snet_finding_kind kind, int32_t item, const char *path,
                   const char *reason)
{
    assert_true(*at < m2snet_dataset_finding_count(r->dataset));
    m2snet_finding f = finding(r, (*at)++);
    if (f.kind != kind || f.item != item || strstr(f.path, path) == NULL || strstr(f.reason, reason) == NULL) {
        fail_msg("finding %d: %s, item %d, %s: %s", *at - 1, m2snet_finding_kind_name(f.kind), f.item, f.path,
                 f.reason);
    }
}

static void make_faults(rig *r)
{
    m2snet_source_options o;
    m2snet_error error;
    uint8_t rgb[W * H * 3], mask[W * H], full[W * H];

    dataset_pair(&r->files, "a_good", W, H, 1);
    pair_with(r, "b_soft", 2, (const uint8_t[]){ 255, 255, 254, 7, 7 }, 5);
    pair_with(r, "c_01", 3, (const uint8_t[]){ 1, 1, 1 }, 3);
    pair_with(r, "d_empty", 4, (const uint8_t[]){ 0 }, 1);
    memset(full, 255, sizeof full);
    pair_with(r, "e_full", 5, full, W * H);
    dataset_pair(&r->files, "f_size", W, H, 6);
    dataset_gray(&r->files, "masks/f_size.png", W - 4, H + 4, full);
    dataset_pair(&r->files, "g_broken", W, H, 7);
    dataset_text(&r->files, "images/g_broken.png", "GIF89a is something else");
    dataset_pair(&r->files, "h_broken_mask", W, H, 8);
    dataset_text(&r->files, "masks/h_broken_mask.png", "");
    dataset_pair(&r->files, "i_colour", W, H, 9);
    dataset_pattern(W, H, 9, rgb, mask);
    memset(rgb, 0, sizeof rgb);
    rgb[4] = 200; /* green */
    dataset_rgb(&r->files, "masks/i_colour.png", W, H, rgb);
    dataset_pair(&r->files, "j_copy", W, H, 1); /* of a_good */
    dataset_pair(&r->files, "k_gray_as_rgb", W, H, 11);
    for (int i = 0; i < W * H; i++) {
        rgb[3 * i] = rgb[3 * i + 1] = rgb[3 * i + 2] = i % 2 == 0 ? 255 : 0;
    }
    dataset_rgb(&r->files, "masks/k_gray_as_rgb.png", W, H, rgb); /* fine */
    dataset_rgb(&r->files, "images/l_alone.png", W, H, rgb);
    dataset_gray(&r->files, "masks/m_alone.png", W, H, mask);
    m2snet_source_options_init(&o);
    o.missing = M2SNET_MISSING_SKIP;
    OK(m2snet_dataset_add_folder(r->dataset, r->files.folder, &o, &error));
    dataset_text(&r->files, "list.csv", "image,mask\nimages/n.png,masks/a_good.png\nimages/n.png,masks/a_good.png\n");
    OK(m2snet_dataset_add_csv(r->dataset, dataset_path(&r->files, "list.csv"), NULL, &error));
}

static void test_faults(void **state)
{
    m2snet_error error;

    (void)state;
    for (int32_t threads = 1; threads <= 3; threads += 2) {
        int32_t at = 0;
        rig r;
        begin(&r, threads);
        make_faults(&r);
        OK(m2snet_dataset_lint(r.dataset, NULL, &error));
        expect(&r, &at, M2SNET_FINDING_NO_MASK, -1, "images/l_alone.png", "masks");
        expect(&r, &at, M2SNET_FINDING_NO_IMAGE, -1, "masks/m_alone.png", "images");
        expect(&r, &at, M2SNET_FINDING_MASK_NOT_BINARY, 1, "masks/b_soft.png",
               "3 of 192 pixels (1.56 %) are neither 0 nor 255; levels: 0, 7, 254, 255");
        expect(&r, &at, M2SNET_FINDING_MASK_CODED_01, 2, "masks/c_01.png", "threshold of 1");
        expect(&r, &at, M2SNET_FINDING_MASK_EMPTY, 3, "masks/d_empty.png", "nothing is marked");
        expect(&r, &at, M2SNET_FINDING_MASK_FULL, 4, "masks/e_full.png", "no background");
        expect(&r, &at, M2SNET_FINDING_SIZE_DIFFERS, 5, "masks/f_size.png",
               "the mask is 12 x 16 px, the picture 16 x 12");
        expect(&r, &at, M2SNET_FINDING_MASK_FULL, 5, "masks/f_size.png", "");
        expect(&r, &at, M2SNET_FINDING_UNREADABLE, 6, "images/g_broken.png", "neither PNG nor JPEG");
        expect(&r, &at, M2SNET_FINDING_UNREADABLE, 7, "masks/h_broken_mask.png", "empty");
        expect(&r, &at, M2SNET_FINDING_MASK_COLOUR, 8, "masks/i_colour.png", "in colour");
        expect(&r, &at, M2SNET_FINDING_MASK_NOT_BINARY, 8, "masks/i_colour.png", "levels: 0, 117");
        expect(&r, &at, M2SNET_FINDING_DUPLICATE, 9, "images/j_copy.png", "images/a_good.png");
        assert_int_equal(finding(&r, at - 1).other, 0);
        expect(&r, &at, M2SNET_FINDING_UNREADABLE, 11, "images/n.png", "cannot open");
        expect(&r, &at, M2SNET_FINDING_NAME_TWICE, 12, "images/n.png", "item 'n'");
        assert_int_equal(finding(&r, at - 1).other, 11);
        assert_int_equal(at, m2snet_dataset_finding_count(r.dataset));
        end(&r);
    }
}

static void test_labels(void **state)
{
    static const uint8_t labels[] = { 80, 160 };
    m2snet_lint_options o;
    m2snet_error error;
    int32_t at = 0;
    rig r;

    (void)state;
    begin(&r, 2);
    pair_with(&r, "a", 1, (const uint8_t[]){ 80, 160, 160 }, 3);
    pair_with(&r, "b", 2, (const uint8_t[]){ 80, 1, 2, 3, 4, 5, 6, 7 }, 8);
    pair_with(&r, "c", 3, (const uint8_t[]){ 0 }, 1);
    OK(m2snet_dataset_add_folder(r.dataset, r.files.folder, NULL, &error));
    m2snet_lint_options_init(&o);
    o.labels = labels;
    o.label_count = 2;
    OK(m2snet_dataset_lint(r.dataset, &o, &error));
    expect(&r, &at, M2SNET_FINDING_MASK_LABEL, 1, "masks/b.png",
           "7 of 192 pixels have levels that are no label: 1, 2, 3, 4, 5, 6, ...");
    expect(&r, &at, M2SNET_FINDING_MASK_EMPTY, 2, "masks/c.png", "");
    assert_int_equal(at, m2snet_dataset_finding_count(r.dataset));
    o.label_count = 65;
    REFUSE(m2snet_dataset_lint(r.dataset, &o, &error), INVALID, "label_count is 65");
    o.label_count = 2;
    o.labels = NULL;
    REFUSE(m2snet_dataset_lint(r.dataset, &o, &error), INVALID, "labels is NULL");
    assert_int_equal(at, m2snet_dataset_finding_count(r.dataset)); /* the old ones are there */
    end(&r);
}

static int stop(void *user, const m2snet_progress *progress)
{
    (void)user;
    assert_string_equal(progress->phase, "lint");
    return 1;
}

static void test_edges(void **state)
{
    m2snet_lint_options o;
    m2snet_finding f = { .struct_size = sizeof f };
    m2snet_error error;
    rig r;

    (void)state;
    begin(&r, 1);
    OK(m2snet_dataset_lint(r.dataset, NULL, &error)); /* nothing in it */
    assert_int_equal(m2snet_dataset_finding_count(r.dataset), 0);
    assert_int_equal(m2snet_dataset_finding_count(NULL), 0);
    REFUSE(m2snet_dataset_get_finding(r.dataset, 0, &f, &error), INVALID, "finding 0");
    make_faults(&r);
    m2snet_lint_options_init(&o);
    o.control.progress = stop;
    REFUSE(m2snet_dataset_lint(r.dataset, &o, &error), M2SNET_STATUS_CANCELLED, "lint");
    assert_int_equal(m2snet_dataset_finding_count(r.dataset), 0);
    for (int kind = 0; kind <= 13; kind++) {
        const char *name = m2snet_finding_kind_name((m2snet_finding_kind)kind);
        assert_true((kind == 0 || kind == 13) == (strcmp(name, "?") == 0));
    }
    end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_edges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
