/* SPDX-License-Identifier: Apache-2.0
 * Whole sets of real pictures, which may not be in the repository: beside it in ../shared/data, or where
 * M2SNET_DATASETS says. test_real_datasets does the same with the demo's pictures, which are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "train/dataset.h"
#include "train/loader.h"

static const char *base;

typedef struct rig {
    m2snet_context *context;
    m2snet_dataset *dataset;
} rig;

static void begin(rig *r)
{
    m2snet_error error;

    r->context = open_context("cpu", 2);
    OK(m2snet_dataset_create(r->context, &r->dataset, &error));
}

static void end(rig *r)
{
    m2snet_dataset_destroy(r->dataset);
    m2snet_context_destroy(r->context);
}

static const char *path_of(const char *name)
{
    static char path[512];

    snprintf(path, sizeof path, "%s/%s", base, name);
    return path;
}

static const char *name_of(const rig *r, int32_t index)
{
    m2snet_dataset_item i = { .struct_size = sizeof i };
    m2snet_error error;

    OK(m2snet_dataset_get_item(r->dataset, index, &i, &error));
    return i.name;
}

/* Whether the report of leaks names the two, each being in another part. */
static bool leaks(const rig *r, const char *a, const char *b)
{
    bool found = false;
    m2snet_error error;

    for (int32_t i = 0; i < m2snet_dataset_near_pair_count(r->dataset); i++) {
        m2snet_near_pair p = { .struct_size = sizeof p };
        OK(m2snet_dataset_get_near_pair(r->dataset, i, &p, &error));
        found |= p.across == 1 && ((strcmp(name_of(r, p.a), a) == 0 && strcmp(name_of(r, p.b), b) == 0) ||
                                   (strcmp(name_of(r, p.a), b) == 0 && strcmp(name_of(r, p.b), a) == 0));
    }
    return found;
}

static int32_t find(const rig *r, const char *name)
{
    for (int32_t i = 0; i < m2snet_dataset_count(r->dataset); i++) {
        if (strcmp(name_of(r, i), name) == 0) {
            return i;
        }
    }
    fail_msg("no item %s", name);
    return -1;
}

static void test_known_leaks(void **state)
{
    m2snet_error error;
    rig r;

    (void)state;
    begin(&r);
    OK(m2snet_dataset_add_folder(r.dataset, path_of("busi"), NULL, &error));
    OK(m2snet_dataset_add_folder(r.dataset, path_of("covid-ct"), NULL, &error));
    OK(m2snet_dataset_find_duplicates(r.dataset, NULL, &error));
    assert_false(leaks(&r, "malignant_8", "malignant_9")); /* all train */
    OK(m2snet_dataset_set_part(r.dataset, find(&r, "malignant_9"), M2SNET_PART_VALIDATION, &error));
    OK(m2snet_dataset_set_part(r.dataset, find(&r, "48"), M2SNET_PART_VALIDATION, &error));
    assert_true(leaks(&r, "malignant_8", "malignant_9"));
    assert_true(leaks(&r, "48", "barrdistorted_1003_0.3_0.3_48"));
    assert_true(m2snet_dataset_near_pair_count(r.dataset) <= 12); /* and not everything looks alike */
    end(&r);
}

static void test_lint(void **state)
{
    int32_t empty = 0;
    m2snet_error error;
    rig r;

    (void)state;
    begin(&r);
    OK(m2snet_dataset_add_folder(r.dataset, path_of("busi"), NULL, &error));
    OK(m2snet_dataset_lint(r.dataset, NULL, &error));
    for (int32_t i = 0; i < m2snet_dataset_finding_count(r.dataset); i++) {
        m2snet_finding f = { .struct_size = sizeof f };
        OK(m2snet_dataset_get_finding(r.dataset, i, &f, &error));
        if (f.kind == M2SNET_FINDING_MASK_EMPTY) {
            assert_non_null(strstr(f.path, "normal_")); /* nothing to find in these */
            empty++;
        }
    }
    assert_int_equal(empty, 5);
    end(&r);
}

/* The whole of a real training set through the loader: JPEG pictures, 1-bit masks. */
static void test_load(void **state)
{
    m2snet_split_options split;
    m2s_loader_options o;
    m2s_loader *loader;
    const m2s_batch *batch;
    int32_t *items, count;
    double sum = 0.0, square = 0.0, mask = 0.0, pixels = 0.0;
    m2snet_error error;
    rig r;

    (void)state;
    begin(&r);
    OK(m2snet_dataset_add_csv(r.dataset, path_of("kvasir-train/split.csv"), NULL, &error));
    m2snet_split_options_init(&split);
    OK(m2snet_dataset_split(r.dataset, &split, &error));
    assert_int_equal(m2snet_dataset_part_count(r.dataset, M2SNET_PART_TRAIN), 790);
    OK(m2s_dataset_part(r.dataset, M2SNET_PART_VALIDATION, &items, &count, &error));
    assert_int_equal(count, 77);
    m2s_loader_options_default(&o);
    OK(m2s_augment_preset("compact", &o.augment, &error));
    o.sizes[0] = (m2s_size){ 224, 224 };
    o.epochs = 2;
    o.cache_bytes = 64 << 20;
    OK(m2s_loader_create(&r.context->host, r.dataset, items, count, &o, &loader, &error));
    for (;;) {
        OK(m2s_loader_next(loader, NULL, &batch, &error));
        if (batch == NULL) {
            break;
        }
        for (ptrdiff_t i = 0; i < (ptrdiff_t)batch->n * 224 * 224; i++) {
            sum += batch->images[3 * i];
            square += (double)batch->images[3 * i] * batch->images[3 * i];
            mask += batch->masks[i];
        }
        pixels += batch->n * 224.0 * 224.0;
    }
    double waited, worked;
    m2s_loader_times(loader, &waited, &worked);
    print_message("  2 epochs of 77: threads worked %.2f s; red mean %.3f, deviation %.3f; mask %.3f of the picture\n",
                  worked, sum / pixels, square / pixels, mask / pixels);
    assert_true(pixels == 2 * 77 * 224.0 * 224.0);
    assert_true(mask / pixels > 0.05 && mask / pixels < 0.4);
    assert_true(sum / pixels > -0.5 && sum / pixels < 1.0 && square / pixels > 0.5 && square / pixels < 3.0);
    m2s_loader_destroy(loader);
    m2s_free(&r.context->memory, items);
    end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_leaks),
        cmocka_unit_test(test_lint),
        cmocka_unit_test(test_load),
    };

    base = getenv("M2SNET_DATASETS");
    base = base != NULL ? base : M2S_EXAMPLE_DATA "/../../../shared/data";
    if (access(path_of("busi/images"), R_OK) != 0 || access(path_of("covid-ct/images"), R_OK) != 0 ||
        access(path_of("kvasir-train/split.csv"), R_OK) != 0) {
        printf("skipped: busi, covid-ct and kvasir-train are not in %s (M2SNET_DATASETS says where)\n", base);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
