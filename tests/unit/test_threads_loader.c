/* SPDX-License-Identifier: Apache-2.0
 * lib/train/loader, loader_order, loader_slot, loader_picture: the same bytes for any number of threads, from any
 * place, with any cache; unreadable files, caps, cancel, destruction while threads run, allocations that fail. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "common/dataset_fixture.h"
#include "common/faults.h"
#include "core/sha256.h"
#include "image/decode.h"
#include "image/preprocess.h"
#include "train/loader.h"
#include "train/loader_order.h"

#define INVALID M2SNET_STATUS_INVALID_ARGUMENT
#define PAIRS   11

typedef struct rig {
    dataset_files files;
    m2snet_context *context;
    m2snet_dataset *dataset;
    int32_t items[64];
    int32_t count;
    m2s_loader_options options;
} rig;

static void add_folder(rig *r, const char *images, const char *masks, double weight)
{
    m2snet_source_options o;
    m2snet_error error;

    m2s_source_options_default(&o);
    o.weight = weight;
    OK(m2s_dataset_add_folders(r->dataset, dataset_path(&r->files, images), dataset_path(&r->files, masks), &o,
                               &error));
    r->count = r->dataset->count;
    for (int32_t i = 0; i < r->count; i++) {
        r->items[i] = i;
    }
}

static void begin(rig *r, int pairs)
{
    m2snet_error error;

    memset(r, 0, sizeof *r);
    dataset_files_make(&r->files);
    r->context = open_context("cpu", 1);
    OK(m2s_dataset_create(r->context, &r->dataset, &error));
    for (int i = 0; i < pairs; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%02d", i);
        dataset_pair(&r->files, name, 40 + 3 * i, 52 - 2 * i, (uint32_t)i);
    }
    if (pairs > 0) {
        add_folder(r, "images", "masks", 1.0);
    }
    m2s_loader_options_default(&r->options);
    OK(m2s_augment_preset("compact", &r->options.augment, &error));
    r->options.augment.p_blur = 0.5;
    r->options.augment.blur_high_px = 2.0;
    r->options.augment.p_noise = 0.5;
    r->options.augment.noise_high = 0.1;
    r->options.batch = 4;
    r->options.seed = 5;
    r->options.size_count = 3;
    r->options.sizes[0] = (m2s_size){ 32, 32 };
    r->options.sizes[1] = (m2s_size){ 48, 40 };
    r->options.sizes[2] = (m2s_size){ 64, 64 };
}

static void end(rig *r)
{
    m2s_dataset_destroy(r->dataset);
    m2snet_context_destroy(r->context);
    dataset_files_remove(&r->files);
}

static m2s_loader *open_loader(rig *r)
{
    m2s_loader *loader;
    m2snet_error error;

    OK(m2s_loader_create(&r->context->host, r->dataset, r->items, r->count, &r->options, &loader, &error));
    return loader;
}

static const m2s_batch *next(m2s_loader *loader)
{
    const m2s_batch *batch;
    m2snet_error error;

    OK(m2s_loader_next(loader, NULL, &batch, &error));
    return batch;
}

/* All that a batch says. */
typedef struct print {
    uint64_t epoch;
    int64_t index;
    int32_t n, height, width, classes, is_last;
    char sha[M2S_SHA256_HEX_BYTES];
} print;

static print print_of(const m2s_batch *b)
{
    m2s_sha256 hash;
    print p;
    size_t pixels = (size_t)b->n * (size_t)b->height * (size_t)b->width;

    memset(&p, 0, sizeof p);
    p.epoch = b->epoch;
    p.index = b->index;
    p.n = b->n;
    p.height = b->height;
    p.width = b->width;
    p.classes = b->classes;
    p.is_last = b->is_last;
    m2s_sha256_init(&hash);
    m2s_sha256_update(&hash, b->images, pixels * 3 * sizeof(float));
    m2s_sha256_update(&hash, b->masks, pixels * (size_t)b->classes * sizeof(float));
    m2s_sha256_update(&hash, b->items, (size_t)b->n * sizeof(int32_t));
    m2s_sha256_finish(&hash, p.sha);
    return p;
}

static void record(rig *r, print *prints, int count)
{
    m2s_loader *loader = open_loader(r);

    for (int i = 0; i < count; i++) {
        const m2s_batch *b = next(loader);
        assert_non_null(b);
        prints[i] = print_of(b);
    }
    m2s_loader_destroy(loader);
}

/* ---- the stream ---- */

#define BATCHES 9 /* three epochs of three */

static void test_same_for_any_threads(void **state)
{
    static const int threads[] = { 2, 3, 5, 8 };
    print first[BATCHES], other[BATCHES];
    rig r;

    (void)state;
    begin(&r, PAIRS);
    record(&r, first, BATCHES);
    for (int i = 0; i < BATCHES; i++) {
        assert_int_equal(first[i].epoch, i / 3);
        assert_int_equal(first[i].index, i % 3);
        assert_int_equal(first[i].n, i % 3 == 2 ? 3 : 4); /* 11 pictures: the last batch is kept */
        assert_int_equal(first[i].is_last, i % 3 == 2);
        for (int k = 0; k < i; k++) {
            assert_memory_not_equal(first[i].sha, first[k].sha, sizeof first[i].sha);
        }
    }
    for (size_t t = 0; t < COUNT(threads); t++) {
        r.options.threads = threads[t];
        r.options.cache_bytes = t % 2 == 0 ? 1 << 20 : 20000;
        r.options.prefetch_bytes = t % 2 == 0 ? 16 << 20 : 0;
        record(&r, other, BATCHES);
        assert_memory_equal(other, first, sizeof first);
    }
    r.options.seed = 6;
    record(&r, other, BATCHES);
    for (int i = 0; i < BATCHES; i++) {
        assert_memory_not_equal(other[i].sha, first[i].sha, sizeof first[i].sha);
    }
    end(&r);
}

static void test_from_any_place(void **state)
{
    print whole[BATCHES], part[BATCHES];
    m2snet_error error;
    rig r;

    (void)state;
    begin(&r, PAIRS);
    r.options.threads = 2;
    record(&r, whole, BATCHES);
    for (int start = 1; start < BATCHES; start++) {
        r.options.epoch = (uint64_t)start / 3;
        r.options.batch_index = start % 3;
        record(&r, part, BATCHES - start);
        assert_memory_equal(part, whole + start, (size_t)(BATCHES - start) * sizeof *part);
    }
    m2s_loader *loader = open_loader(&r);
    for (int i = 0; i < 3 * BATCHES; i++) {
        int at = i * 5 % BATCHES;
        OK(m2s_loader_seek(loader, (uint64_t)at / 3, at % 3, &error));
        print p = print_of(next(loader));
        assert_memory_equal(&p, &whole[at], sizeof p);
    }
    REFUSE(m2s_loader_seek(loader, 0, 3, &error), INVALID, "0 to 2");
    REFUSE(m2s_loader_seek(loader, 0, -1, &error), INVALID, "batch -1");
    m2s_loader_destroy(loader);
    end(&r);
}

/* What is still to be done to a picture, done: *image and *mask are as the loader finishes them. */
static void apply(const rig *r, const m2s_batch *b, int32_t i, m2s_augment_scratch *room, float *image, float *mask)
{
    const m2s_unfinished *u = &b->unfinished[i];
    m2s_picture *picture = malloc(M2S_PICTURE_BYTES(u->width, u->height));
    m2snet_error error;

    picture->width = u->width;
    picture->height = u->height;
    memcpy(picture->mean_rgb, u->mean_rgb, sizeof picture->mean_rgb);
    memcpy(picture->rgbm, b->images + (ptrdiff_t)i * b->height * b->width * 3,
           4 * (size_t)u->width * (size_t)u->height);
    OK(m2s_augment_apply(&r->options.augment, &u->draw, picture, &r->options.mask, b->height, b->width, room, image,
                         mask, &error));
    free(picture);
}

/* Unfinished pictures and finished ones, with caches and skips or without, are the same pictures. */
static void test_unfinished(void **state)
{
    static const char *const presets[] = { "compact", "released", "nnunet" };
    float *image = malloc(3 * 64 * 64 * sizeof *image), *mask = malloc(64 * 64 * sizeof *mask);
    rig r;

    (void)state;
    begin(&r, PAIRS);
    dataset_text(&r.files, "images/p03.png", "no picture");
    r.options.unreadable = M2S_UNREADABLE_SKIP;
    r.options.size_count = 2;
    r.options.sizes[0] = (m2s_size){ 20, 24 }; /* takes less room than a picture */
    for (size_t p = 0; p < COUNT(presets); p++) {
        m2s_augment_scratch room = { .memory = r.context->host.memory };
        int kinds[2] = { 0, 0 };
        m2snet_error error;
        OK(m2s_augment_preset(presets[p], &r.options.augment, &error));
        r.options.augment.first_size_px = r.options.augment.first_size_px > 0 ? 48 : 0;
        r.options.augment.order = p == 2 ? M2SNET_AUGMENT_NNUNET : M2SNET_AUGMENT_COLOUR;
        r.options.unfinished = false;
        m2s_loader *ordinary = open_loader(&r);
        r.options.unfinished = true;
        r.options.threads = 3;
        r.options.cache_bytes = p == 0 ? 1 << 20 : 20000;
        m2s_loader *loader = open_loader(&r);
        for (int k = 0; k < BATCHES; k++) {
            const m2s_batch *a = next(ordinary), *b = next(loader);
            const size_t pixels = (size_t)a->height * (size_t)a->width;
            assert_null(a->unfinished);
            assert_int_equal(b->n, a->n);
            assert_int_equal(b->height, a->height);
            assert_memory_equal(b->items, a->items, (size_t)a->n * sizeof *a->items);
            for (int32_t i = 0; i < a->n; i++) {
                const float *made[] = { b->images + (size_t)i * pixels * 3, b->masks + (size_t)i * pixels };
                bool left = b->unfinished[i].width > 0;
                if (left) {
                    apply(&r, b, i, &room, image, mask);
                    made[0] = image;
                    made[1] = mask;
                }
                kinds[left]++;
                assert_memory_equal(made[0], a->images + (size_t)i * pixels * 3, pixels * 3 * sizeof *image);
                assert_memory_equal(made[1], a->masks + (size_t)i * pixels, pixels * sizeof *mask);
            }
        }
        assert_true(kinds[0] > 0 && (kinds[1] > 0) == (p < 2));
        m2s_loader_destroy(ordinary);
        m2s_loader_destroy(loader);
        m2s_augment_scratch_release(&room);
    }
    free(image);
    free(mask);
    end(&r);
}

static void test_every_picture_once(void **state)
{
    int seen[PAIRS];
    rig r;

    (void)state;
    begin(&r, PAIRS);
    r.options.epochs = 4;
    m2s_loader *loader = open_loader(&r);
    assert_int_equal(m2s_loader_batches(loader), 3);
    assert_int_equal(m2s_loader_pictures(loader), PAIRS);
    for (int epoch = 0; epoch < 4; epoch++) {
        memset(seen, 0, sizeof seen);
        for (int b = 0; b < 3; b++) {
            const m2s_batch *batch = next(loader);
            for (int i = 0; i < batch->n; i++) {
                seen[batch->items[i]]++;
            }
        }
        for (int i = 0; i < PAIRS; i++) {
            assert_int_equal(seen[i], 1);
        }
    }
    assert_null(next(loader)); /* the end, and again */
    assert_null(next(loader));
    m2s_loader_destroy(loader);

    r.options.drop_last = true;
    loader = open_loader(&r);
    assert_int_equal(m2s_loader_batches(loader), 2);
    assert_int_equal(m2s_loader_pictures(loader), 8);
    assert_false(next(loader)->is_last);
    assert_true(next(loader)->is_last);
    assert_int_equal(next(loader)->epoch, 1);
    m2s_loader_destroy(loader);
    end(&r);
}

/* Without shuffling and moving, pictures come in order and equal what prediction prepares, bit for bit. */
static void test_validation_equals_prediction(void **state)
{
    m2snet_error error;
    rig r;

    (void)state;
    begin(&r, 3);
    OK(m2s_augment_preset("none", &r.options.augment, &error));
    r.options.shuffle = false;
    r.options.epochs = 1;
    m2s_loader *loader = open_loader(&r);
    const m2s_batch *b = next(loader);
    assert_int_equal(b->n, 3);
    for (int32_t i = 0; i < 3; i++) {
        m2s_normalization imagenet = M2S_NORMALIZATION_IMAGENET;
        m2s_decode_options decode = M2S_DECODE_DEFAULTS;
        m2s_bitmap bitmap;
        float *expected = malloc(32 * 32 * 3 * sizeof *expected);
        assert_int_equal(b->items[i], i);
        OK(m2s_image_read(&r.context->memory, r.dataset->samples[i].image_path, &decode, NULL, &bitmap, &error));
        m2snet_image image = m2s_bitmap_image(&bitmap);
        OK(m2s_preprocess(&r.context->host, &image, NULL, &imagenet, 32, 32, expected, NULL, &error));
        assert_memory_equal(b->images + i * 32 * 32 * 3, expected, 32 * 32 * 3 * sizeof *expected);
        m2s_bitmap_release(&bitmap);
        free(expected);
    }
    assert_null(next(loader));
    m2s_loader_destroy(loader);
    end(&r);
}

/* ---- several sets ---- */

static void two_sets(rig *r, double weight_a, double weight_b) /* 8 and 3 pictures */
{
    begin(r, 0);
    for (int i = 0; i < PAIRS; i++) {
        char name[40];
        uint8_t rgb[20 * 20 * 3], mask[20 * 20];
        dataset_pattern(20, 20, (uint32_t)i, rgb, mask);
        snprintf(name, sizeof name, "%s/images/%02d.png", i < 8 ? "a" : "b", i);
        dataset_rgb(&r->files, name, 20, 20, rgb);
        snprintf(name, sizeof name, "%s/masks/%02d.png", i < 8 ? "a" : "b", i);
        dataset_gray(&r->files, name, 20, 20, mask);
    }
    add_folder(r, "a/images", "a/masks", weight_a);
    add_folder(r, "b/images", "b/masks", weight_b);
    r->options.sizes[0] = r->options.sizes[1] = r->options.sizes[2] = (m2s_size){ 8, 8 };
}

static void count_items(m2s_loader *loader, uint64_t epoch, int seen[PAIRS])
{
    memset(seen, 0, PAIRS * sizeof *seen);
    for (int64_t b = 0; b < m2s_loader_batches(loader); b++) {
        const m2s_batch *batch = next(loader);
        assert_int_equal(batch->epoch, epoch);
        for (int i = 0; i < batch->n; i++) {
            seen[batch->items[i]]++;
        }
    }
}

static void test_weights(void **state)
{
    int seen[PAIRS], other[PAIRS];
    rig r;

    (void)state;
    two_sets(&r, 0.5, 2.0 + 1.0 / 3.0); /* 4 of 8, and 7 places for 3 */
    m2s_loader *loader = open_loader(&r);
    assert_int_equal(m2s_loader_pictures(loader), 11);
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        int a = 0, b = 0;
        count_items(loader, epoch, seen);
        for (int i = 0; i < PAIRS; i++) {
            a += i < 8 ? seen[i] : 0;
            b += i >= 8 ? seen[i] : 0;
            assert_true(i < 8 ? seen[i] <= 1 : seen[i] == 2 || seen[i] == 3);
        }
        assert_int_equal(a, 4);
        assert_int_equal(b, 7);
        if (epoch > 0 && memcmp(seen, other, sizeof seen) != 0) {
            epoch = 3; /* the choice changes from epoch to epoch */
        }
        assert_true(epoch != 2);
        memcpy(other, seen, sizeof seen);
    }
    m2s_loader_destroy(loader);
    end(&r);
}

/* With replacement: any number of batches, a picture's chance in proportion to its set's weight. */
static void test_random(void **state)
{
    int seen[PAIRS], heavy = 0, twice = 0;
    rig r;

    (void)state;
    two_sets(&r, 1.0, 4.0); /* 8 of 8 + 3 x 4 */
    r.options.sampler = M2S_SAMPLER_RANDOM;
    r.options.epoch_batches = 25;
    r.options.patches = true;
    r.options.size_count = 1;
    r.options.drop_last = true;
    m2s_loader *loader = open_loader(&r);
    assert_int_equal(m2s_loader_batches(loader), 25);
    assert_int_equal(m2s_loader_pictures(loader), 100);
    for (uint64_t epoch = 0; epoch < 4; epoch++) {
        count_items(loader, epoch, seen);
        for (int i = 0; i < PAIRS; i++) {
            heavy += i >= 8 ? seen[i] : 0;
            twice += seen[i] > 1;
        }
    }
    assert_true(abs(heavy - 240) < 50); /* of 400 draws; five deviations */
    assert_true(twice > 20);
    m2s_loader_destroy(loader);
    r.options.epoch_batches = 0; /* as many as there are pictures */
    loader = open_loader(&r);
    assert_int_equal(m2s_loader_batches(loader), 2);
    m2s_loader_destroy(loader);
    end(&r);
}

/* Patches: the last of a batch have something to find in their middle, unless that is where the window must not go; the
 * same bytes for any number of threads, with and without a cache. */
static void test_patches(void **state)
{
    print one[6], many[6];
    int centred[4] = { 0 };
    rig r;
    m2snet_error error;

    (void)state;
    begin(&r, PAIRS);
    OK(m2s_augment_preset("none", &r.options.augment, &error));
    r.options.patches = true;
    r.options.foreground_share = 0.5;
    r.options.sampler = M2S_SAMPLER_RANDOM;
    r.options.epoch_batches = 50;
    r.options.size_count = 1;
    r.options.sizes[0] = (m2s_size){ .height = 17, .width = 17 }; /* a window of 20: its middle, 10, is the patch's 9 */
    m2s_loader *loader = open_loader(&r);
    for (int i = 0; i < 50; i++) {
        const m2s_batch *b = next(loader);
        assert_true(b->n == 4 && b->height == 17 && b->width == 17);
        for (int k = 0; k < 4; k++) {
            centred[k] += b->masks[(k * 17 + 9) * 17 + 9] == 1.0f;
        }
    }
    m2s_loader_destroy(loader);
    print_message("  in the middle: %d %d %d %d of 50\n", centred[0], centred[1], centred[2], centred[3]);
    assert_true(centred[0] < 30 && centred[1] < 30 && centred[2] > 40 && centred[3] > 40);

    OK(m2s_augment_preset("nnunet", &r.options.augment, &error));
    r.options.mask = (m2s_mask_coding){ .kind = M2S_MASK_SOFTMAX, .labels = { 255 }, .label_count = 1 };
    r.options.sizes[0] = (m2s_size){ .height = 48, .width = 32 };
    record(&r, one, 6);
    r.options.threads = 4;
    r.options.cache_bytes = 1 << 20;
    record(&r, many, 6);
    assert_memory_equal(one, many, sizeof one);
    r.options.seed++;
    record(&r, many, 6);
    assert_memory_not_equal(one, many, sizeof one);
    end(&r);
}

static void test_balanced(void **state)
{
    int seen[PAIRS];
    rig r;

    (void)state;
    two_sets(&r, 1.0, 1.0);
    r.options.sampler = M2S_SAMPLER_BALANCED;
    m2s_loader *loader = open_loader(&r);
    assert_int_equal(m2s_loader_pictures(loader),
                     7); /* three of each, and one more before the shorter is asked again */
    const m2s_batch *batch = next(loader);
    assert_int_equal((batch->items[0] >= 8) + (batch->items[1] >= 8), 1);
    assert_int_equal((batch->items[2] >= 8) + (batch->items[3] >= 8), 1);
    m2s_loader_destroy(loader);

    r.options.epoch_end = M2S_EPOCH_OF_LONGEST;
    loader = open_loader(&r);
    count_items(loader, 0, seen);
    int b = 0;
    for (int i = 0; i < PAIRS; i++) {
        assert_true(i >= 8 || seen[i] == 1);
        b += i >= 8 ? seen[i] : 0;
    }
    assert_true(b == 7 || b == 8);
    m2s_loader_destroy(loader);

    /* One set's share three times the other's. */
    end(&r);
    two_sets(&r, 3.0, 1.0);
    r.options.sampler = M2S_SAMPLER_BALANCED;
    loader = open_loader(&r);
    batch = next(loader);
    b = 0;
    for (int i = 0; i < 4; i++) {
        b += batch->items[i] >= 8;
    }
    assert_int_equal(b, 1);
    m2s_loader_destroy(loader);
    end(&r);

    /* Nor is an epoch walked that would have more than 2^30 pictures. */
    two_sets(&r, 1e6, 1e-6);
    r.options.sampler = M2S_SAMPLER_BALANCED;
    r.options.epoch_end = M2S_EPOCH_OF_LONGEST;
    m2snet_error error;
    REFUSE(m2s_loader_create(&r.context->host, r.dataset, r.items, r.count, &r.options, &loader, &error),
           M2SNET_STATUS_LIMIT, "2^30");
    end(&r);
}

/* ---- what goes wrong ---- */

typedef struct skips {
    int32_t items[64];
    int count;
} skips;

static void on_skip(void *user, int32_t item, const char *reason)
{
    skips *s = user;

    assert_non_null(strstr(reason, "p0"));
    s->items[s->count++] = item;
}

/* The items of an epoch in order. */
static void list_epoch(rig *r, int32_t items[PAIRS])
{
    m2s_loader *loader = open_loader(r);

    for (int b = 0; b < 3; b++) {
        const m2s_batch *batch = next(loader);
        memcpy(items + 4 * b, batch->items, (size_t)batch->n * sizeof *items);
    }
    m2s_loader_destroy(loader);
}

static void test_unreadable(void **state)
{
    int32_t order[PAIRS], taken[PAIRS];
    print good[6], bad[6];
    m2snet_error error;
    const m2s_batch *batch;
    skips told = { .count = 0 };
    rig r;

    (void)state;
    begin(&r, PAIRS);
    record(&r, good, 6);
    list_epoch(&r, order);
    dataset_text(&r.files, "images/p03.png", "no picture");
    dataset_pair(&r.files, "other", 9, 9, 1);
    assert_int_equal(rename(dataset_path(&r.files, "masks/other.png"), dataset_path(&r.files, "masks/p07.png")), 0);

    r.options.threads = 3;
    m2s_loader *loader = open_loader(&r);
    int failures = 0, reached = 0;
    for (int i = 0; i < 6; i++) {
        m2snet_status status = m2s_loader_next(loader, NULL, &batch, &error);
        if (status == M2SNET_STATUS_OK) {
            reached++;
            continue;
        }
        assert_null(batch);
        assert_true(status == M2SNET_STATUS_FORMAT || status == M2SNET_STATUS_MISMATCH);
        assert_non_null(strstr(error.message, status == M2SNET_STATUS_FORMAT ? "images/p03.png" : "masks/p07.png"));
        REFUSE(m2s_loader_next(loader, NULL, &batch, &error), status, "p0"); /* the same batch again */
        OK(m2s_loader_seek(loader, (uint64_t)(i + 1) / 3, (i + 1) % 3, &error));
        failures++;
    }
    assert_true(failures >= 2 && reached >= 1);
    m2s_loader_destroy(loader);

    r.options.unreadable = M2S_UNREADABLE_SKIP;
    r.options.skipped = on_skip;
    r.options.skipped_user = &told;
    record(&r, bad, 6);
    int expected = told.count;
    assert_true(expected >= 4); /* each of the two in each of two epochs, perhaps also as a stand-in */
    int same = 0;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(bad[i].n, good[i].n); /* batches keep their length */
        same += memcmp(&bad[i], &good[i], sizeof bad[i]) == 0;
    }
    assert_true(same >= 2); /* batches without them are as they were */
    for (int i = 0; i < told.count; i++) {
        assert_true(told.items[i] == 3 || told.items[i] == 7);
    }
    for (int threads = 1; threads <= 5; threads += 2) {
        print again[6];
        skips other = { .count = 0 };
        r.options.threads = threads;
        r.options.skipped_user = &other;
        record(&r, again, 6);
        assert_memory_equal(again, bad, sizeof bad);
        assert_memory_equal(&other, &told, sizeof told);
    }
    r.options.skipped = NULL;
    list_epoch(&r, taken);
    for (int i = 0; i < PAIRS;
         i++) { /* a place that is free goes to the next that can be read, round the epoch's end */
        int k = i;
        while (order[k] == 3 || order[k] == 7) {
            k = (k + 1) % PAIRS;
        }
        assert_int_equal(taken[i], order[k]);
    }
    loader = open_loader(&r);
    for (int i = 0; i < 6; i++) {
        next(loader);
    }
    assert_int_equal(m2s_loader_skipped(loader), expected);
    m2s_loader_destroy(loader);

    for (int i = 0; i < PAIRS; i++) {
        char name[32];
        snprintf(name, sizeof name, "images/p%02d.png", i);
        dataset_text(&r.files, name, "");
    }
    loader = open_loader(&r);
    REFUSE(m2s_loader_next(loader, NULL, &batch, &error), M2SNET_STATUS_IO, "none of the epoch's 11");
    m2s_loader_destroy(loader);
    end(&r);
}

static void test_misuse(void **state)
{
    m2s_loader *loader = (m2s_loader *)(uintptr_t)1;
    m2s_loader_options usual;
    m2snet_error error;
    rig r;

    (void)state;
    begin(&r, 2);
    usual = r.options;
#define REFUSE_WITH(member, value, part)                                                                               \
    do {                                                                                                               \
        r.options.member = (value);                                                                                    \
        REFUSE(m2s_loader_create(&r.context->host, r.dataset, r.items, r.count, &r.options, &loader, &error), INVALID, \
               part);                                                                                                  \
        assert_null(loader);                                                                                           \
        r.options = usual;                                                                                             \
    } while (0)
    REFUSE_WITH(batch, 0, "batch is 0");
    REFUSE_WITH(size_count, 0, "0 sizes");
    REFUSE_WITH(sizes[1].width, 0, "size 0 x 48");
    REFUSE_WITH(threads, 65, "threads is 65");
    REFUSE_WITH(sampler, (m2s_sampler)9, "unknown value");
    REFUSE_WITH(augment.p_crop, 2.0, "p_crop is 2");
    REFUSE_WITH(mask.kind, M2S_MASK_SOFTMAX, "label_count is 0");
    REFUSE_WITH(batch_index, 1, "0 to 0");
    REFUSE_WITH(shrink_px, -2, "shrink_px");
    r.items[1] = 2;
    REFUSE(m2s_loader_create(&r.context->host, r.dataset, r.items, 2, &r.options, &loader, &error), INVALID,
           "picture 2");
    REFUSE(m2s_loader_create(&r.context->host, r.dataset, r.items, 0, &r.options, &loader, &error), INVALID,
           "0 pictures");
    r.options.drop_last = true;
    r.items[1] = 1;
    REFUSE(m2s_loader_create(&r.context->host, r.dataset, r.items, 2, &r.options, &loader, &error),
           M2SNET_STATUS_MISMATCH, "no whole batch of 4");
    m2s_loader_destroy(NULL);
    end(&r);
}

/* ---- caps ---- */

static void test_memory_caps(void **state)
{
    m2snet_error error;
    m2s_loader *loader;
    print first[BATCHES], other[BATCHES];
    rig r;

    (void)state;
    begin(&r, PAIRS);
    size_t batch = 4 * 64 * 64 * 4 * sizeof(float) + 64; /* the largest, with its list of pictures */
    r.options.prefetch_bytes = batch - 64;
    REFUSE(m2s_loader_create(&r.context->host, r.dataset, r.items, r.count, &r.options, &loader, &error),
           M2SNET_STATUS_LIMIT, "prefetch_bytes");
    r.options.prefetch_bytes = 0;
    record(&r, first, BATCHES);

    /* Room for one, two, five batches, and what a data set, orders and a picture being made take. */
    for (size_t n = 1; n <= 5; n += n) {
        uint64_t before = memory_used(r.context);
        r.options.prefetch_bytes = n * batch;
        r.options.threads = 2;
        loader = open_loader(&r);
        for (int i = 0; i < BATCHES; i++) {
            other[i] = print_of(next(loader));
        }
        uint64_t held = 0;
        for (int wait = 0; wait < 2000 && held < n * (batch - 64); wait++) { /* all that may be made ahead is made */
            usleep(5000);
            held = memory_used(r.context) - before;
        }
        assert_true(held >= n * (batch - 64));
        usleep(20000);
        assert_true(memory_used(r.context) - before < (n + 1) * batch + (1 << 20));
        m2s_loader_destroy(loader);
        assert_int_equal(memory_used(r.context), before);
        assert_memory_equal(other, first, sizeof first);
    }

    r.options.cache_bytes = 30000; /* three or four of the eleven */
    loader = open_loader(&r);
    for (int i = 0; i < BATCHES; i++) {
        other[i] = print_of(next(loader));
    }
    assert_true(m2s_loader_cached_bytes(loader) > 15000);
    assert_true(m2s_loader_cached_bytes(loader) <= 30000);
    assert_memory_equal(other, first, sizeof first);
    m2s_loader_destroy(loader);
    end(&r);
}

/* Pictures in the cache are not read again. */
static void test_cache(void **state)
{
    print first[BATCHES], other[BATCHES];
    rig r;

    (void)state;
    begin(&r, PAIRS);
    record(&r, first, BATCHES);
    r.options.cache_bytes = 1 << 20;
    m2s_loader *loader = open_loader(&r);
    for (int i = 0; i < BATCHES; i++) {
        other[i] = print_of(next(loader));
        if (i == 5) { /* two epochs are over, so every picture has been read */
            for (int k = 0; k < PAIRS; k++) {
                char name[32];
                snprintf(name, sizeof name, "images/p%02d.png", k);
                assert_int_equal(remove(dataset_path(&r.files, name)), 0);
            }
        }
    }
    assert_memory_equal(other, first, sizeof first);
    m2s_loader_destroy(loader);
    end(&r);
}

/* ---- cancel and destruction ---- */

static int stop_at_once(void *user, const m2snet_progress *progress)
{
    ++*(int *)user;
    assert_string_equal(progress->phase, "load");
    return 1;
}

static void test_cancel(void **state)
{
    int calls = 0;
    m2snet_control user = { .progress = stop_at_once, .progress_user = &calls };
    m2snet_error error;
    const m2s_batch *batch;
    m2s_control control;
    m2snet_cancel *token;
    print expected;
    rig r;

    (void)state;
    begin(&r, PAIRS);
    record(&r, &expected, 1);
    r.options.size_count = 1;
    r.options.sizes[0] = (m2s_size){ 1024, 1024 }; /* takes its time */
    m2s_loader *loader = open_loader(&r);
    m2s_control_init(&control, &user);
    REFUSE(m2s_loader_next(loader, &control, &batch, &error), M2SNET_STATUS_CANCELLED, "load");
    assert_int_equal(calls, 1);
    OK(m2snet_cancel_create(&token, &error));
    m2snet_cancel_request(token);
    user = (m2snet_control){ .cancel = token };
    m2s_control_init(&control, &user);
    REFUSE(m2s_loader_next(loader, &control, &batch, &error), M2SNET_STATUS_CANCELLED, "load");
    m2snet_cancel_reset(token);
    OK(m2s_loader_next(loader, &control, &batch, &error)); /* as usable as before */
    assert_int_equal(batch->index, 0);
    m2snet_cancel_destroy(token);
    m2s_loader_destroy(loader); /* and the next batches are under way */
    r.options.sizes[0] = (m2s_size){ 200, 200 };
    for (int i = 0; i < 20; i++) {
        r.options.threads = 1 + i % 4;
        loader = open_loader(&r);
        usleep((unsigned)(i * 300));
        m2s_loader_destroy(loader);
    }
    end(&r);
}

/* ---- memory ---- */

static m2snet_status run_once(m2s_host *host, rig *r, m2snet_error *error)
{
    m2s_loader *loader;
    const m2s_batch *batch;
    m2snet_status status = m2s_loader_create(host, r->dataset, r->items, r->count, &r->options, &loader, error);

    for (int i = 0; i < 4 && status == M2SNET_STATUS_OK; i++) {
        status = m2s_loader_next(loader, NULL, &batch, error);
        if (status != M2SNET_STATUS_OK) { /* may be tried again */
            m2snet_error other;
            assert_int_equal(m2s_loader_next(loader, NULL, &batch, &other), M2SNET_STATUS_OK);
            assert_non_null(batch);
        }
    }
    if (loader != NULL) {
        m2s_loader_destroy(loader);
    }
    return status;
}

static void test_failed_allocations(void **state)
{
    rig r;
    int failures = 0;

    (void)state;
    begin(&r, 5);
    dataset_text(&r.files, "images/p01.png", "no picture");
    r.options.unreadable = M2S_UNREADABLE_SKIP;
    r.options.cache_bytes = 40000;
    r.options.threads = 2;
    r.options.size_count = 1;
    r.options.sizes[0] = (m2s_size){ 12, 12 };
    for (int kind = 0; kind < 3; kind++) {
        r.options.sampler = kind == 1 ? M2S_SAMPLER_BALANCED : M2S_SAMPLER_CONCAT;
        if (kind == 2) {
            m2s_augment_preset("released", &r.options.augment, NULL);
            r.options.augment.first_size_px = 14;
            r.options.mask = (m2s_mask_coding){ .kind = M2S_MASK_SIGMOID, .labels = { 255 }, .label_count = 1 };
        }
        for (size_t n = 1;; n++) {
            faults f = { .fail_at = n };
            m2snet_allocator allocator = faults_allocator(&f);
            m2s_memory memory;
            m2s_host host = r.context->host;
            m2snet_error error = { 0 };
            m2s_memory_init(&memory, &allocator, 0);
            host.memory = &memory;
            m2snet_status status = run_once(&host, &r, &error);
            assert_int_equal(atomic_load(&f.live), 0);
            if (status != M2SNET_STATUS_OK) {
                assert_int_equal(status, M2SNET_STATUS_OUT_OF_MEMORY);
                assert_int_equal(error.status, status);
                failures++;
            }
            if (atomic_load(&f.calls) < n) {
                assert_int_equal(status, M2SNET_STATUS_OK);
                break;
            }
        }
    }
    assert_true(failures > 60);
    end(&r);
}

/* ---- order alone ---- */

static void test_shuffle(void **state)
{
    int32_t list[6];
    int at[6][6] = { { 0 } };

    (void)state;
    for (uint64_t stream = 0; stream < 6000; stream++) {
        for (int i = 0; i < 6; i++) {
            list[i] = i;
        }
        m2s_shuffle(stream * 0x9e3779b97f4a7c15u, list, 6);
        for (int i = 0; i < 6; i++) {
            at[list[i]][i]++;
        }
    }
    for (int i = 0; i < 36; i++) { /* 1000 expected, deviation 29: six of them */
        assert_true(abs(at[i / 6][i % 6] - 1000) < 174);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_for_any_threads),
        cmocka_unit_test(test_from_any_place),
        cmocka_unit_test(test_unfinished),
        cmocka_unit_test(test_every_picture_once),
        cmocka_unit_test(test_validation_equals_prediction),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_patches),
        cmocka_unit_test(test_balanced),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_memory_caps),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_failed_allocations),
        cmocka_unit_test(test_shuffle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
