/* SPDX-License-Identifier: Apache-2.0
 * Data sets of real pictures: the demo's five colonoscopy JPEG files of many sizes, with experts' masks. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "common/dataset_fixture.h"
#include "train/dataset.h"
#include "train/loader.h"

#define POLYPS   M2S_EXAMPLE_DATA "/demo-polyps"
#define PICTURES 5

typedef struct rig {
    dataset_files files;
    m2snet_context *context;
    m2snet_dataset *dataset;
} rig;

static void begin(rig *r)
{
    m2snet_error error;

    dataset_files_make(&r->files);
    r->context = open_context("cpu", 2);
    OK(m2snet_dataset_create(r->context, &r->dataset, &error));
    OK(m2snet_dataset_add_folder(r->dataset, POLYPS, NULL, &error));
    assert_int_equal(m2snet_dataset_count(r->dataset), PICTURES);
}

static void end(rig *r)
{
    m2snet_dataset_destroy(r->dataset);
    m2snet_context_destroy(r->context);
    dataset_files_remove(&r->files);
}

static m2snet_dataset_item item(const rig *r, int32_t index)
{
    m2snet_dataset_item i = { .struct_size = sizeof i };
    m2snet_error error;

    OK(m2snet_dataset_get_item(r->dataset, index, &i, &error));
    return i;
}

/* Item index again, as another collection may have it: small, square, as PNG, under a name of its own. */
static void add_copy(rig *r, int32_t index, int32_t side)
{
    m2snet_image whole = { 0 };
    m2snet_image small = { .width = side, .height = side, .format = M2SNET_PIXEL_RGB8 };
    static uint8_t pixels[3 * 256 * 256], mask[256 * 256];
    m2snet_error error;

    assert_true(side <= 256);
    OK(m2snet_image_read_file(r->context, item(r, index).image_path, NULL, &whole, &error));
    small.data = pixels;
    small.row_stride_bytes = 3 * side;
    OK(m2snet_image_resize(r->context, &whole, &small, &error));
    m2snet_image_release(&whole);
    dataset_rgb(&r->files, "images/another.png", side, side, pixels);
    memset(mask, 255, 100);
    dataset_gray(&r->files, "masks/another.png", side, side, mask);
    OK(m2snet_dataset_add_folder(r->dataset, r->files.folder, NULL, &error));
}

static void test_leak(void **state)
{
    m2snet_near_pair pair = { .struct_size = sizeof pair };
    m2snet_error error;
    rig r;

    (void)state;
    begin(&r);
    OK(m2snet_dataset_find_duplicates(r.dataset, NULL, &error));
    assert_int_equal(m2snet_dataset_near_pair_count(r.dataset), 0); /* five patients */
    add_copy(&r, 3, 200);
    OK(m2snet_dataset_find_duplicates(r.dataset, NULL, &error));
    assert_int_equal(m2snet_dataset_near_pair_count(r.dataset), 1);
    OK(m2snet_dataset_get_near_pair(r.dataset, 0, &pair, &error));
    assert_true(pair.a == 3 && pair.b == PICTURES && pair.across == 0);
    OK(m2snet_dataset_set_part(r.dataset, PICTURES, M2SNET_PART_VALIDATION, &error));
    OK(m2snet_dataset_get_near_pair(r.dataset, 0, &pair, &error));
    assert_int_equal(pair.across, 1);
    end(&r);
}

static void test_lint(void **state)
{
    m2snet_error error;
    rig r;

    (void)state;
    begin(&r);
    OK(m2snet_dataset_lint(r.dataset, NULL, &error));
    assert_int_equal(m2snet_dataset_finding_count(r.dataset), 0);
    end(&r);
}

/* Through the loader, whose pictures are normalised: the numbers of pictures, not of noise or of a wrong byte order. */
static void test_load(void **state)
{
    enum { SIDE = 224, EPOCHS = 4 };
    static const int32_t items[PICTURES] = { 0, 1, 2, 3, 4 };
    m2s_loader_options o;
    m2s_loader *loader;
    const m2s_batch *batch;
    double sum[3] = { 0.0 }, square = 0.0, mask = 0.0, pixels = 0.0;
    m2snet_error error;
    rig r;

    (void)state;
    begin(&r);
    m2s_loader_options_default(&o);
    OK(m2s_augment_preset("compact", &o.augment, &error));
    o.sizes[0] = (m2s_size){ SIDE, SIDE };
    o.epochs = EPOCHS;
    OK(m2s_loader_create(&r.context->host, r.dataset, items, PICTURES, &o, &loader, &error));
    for (;;) {
        OK(m2s_loader_next(loader, NULL, &batch, &error));
        if (batch == NULL) {
            break;
        }
        for (ptrdiff_t i = 0; i < (ptrdiff_t)batch->n * SIDE * SIDE; i++) {
            for (int c = 0; c < 3; c++) {
                sum[c] += batch->images[3 * i + c];
            }
            square += (double)batch->images[3 * i] * batch->images[3 * i];
            mask += batch->masks[i];
        }
        pixels += (double)batch->n * SIDE * SIDE;
    }
    m2s_loader_destroy(loader);
    print_message("  red %.2f, green %.2f, blue %.2f, red squared %.2f; mask %.2f of the picture\n", sum[0] / pixels,
                  sum[1] / pixels, sum[2] / pixels, square / pixels, mask / pixels);
    assert_true(pixels == (double)EPOCHS * PICTURES * SIDE * SIDE);
    assert_true(mask / pixels > 0.05 && mask / pixels < 0.4);
    /* the inside of a colon is red */
    assert_true(sum[0] > sum[1] && sum[1] > sum[2]);
    assert_true(sum[0] / pixels > -0.5 && sum[0] / pixels < 1.5 && square / pixels > 0.5 && square / pixels < 4.0);
    end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leak),
        cmocka_unit_test(test_lint),
        cmocka_unit_test(test_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
