/* SPDX-License-Identifier: Apache-2.0
 * Pictures in, masks out: formats, strides, regions, batches, what is found, and the receipt. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"

/* The compact model on a real picture at a small input: has components, and is quick. */
typedef struct rig {
    m2snet_context *context;
    m2snet_model *model;
    m2snet_session *session;
    m2snet_image photo; /* 160 x 130, RGB8, dense */
    m2snet_result *truth;
} rig;

#define WIDTH  160
#define HEIGHT 130

static m2snet_session *session_of_size(m2snet_model *model, int32_t width, int32_t height)
{
    m2snet_session_options options;
    m2snet_session *session;
    m2snet_error error;

    m2snet_session_options_init(&options);
    options.input_width = width;
    options.input_height = height;
    OK(m2snet_session_create(model, &options, &session, &error));
    return session;
}

static int begin(void **state)
{
    static rig r;
    m2snet_image whole;
    m2snet_error error;

    r.context = open_context("cpu", 2);
    OK(m2snet_model_load_file(r.context, COMPACT_MODEL, NULL, &r.model, &error));
    r.session = session_of_size(r.model, 96, 96);
    OK(m2snet_image_read_file(r.context, DEMO_IMAGE, NULL, &whole, &error));
    r.photo = noise_picture(WIDTH, HEIGHT);
    OK(m2snet_image_resize(r.context, &whole, &r.photo, &error));
    m2snet_image_release(&whole);
    OK(m2snet_predict(r.session, &r.photo, NULL, &r.truth, &error));
    *state = &r;
    return 0;
}

static int end(void **state)
{
    rig *r = *state;

    m2snet_result_destroy(r->truth);
    free_picture(&r->photo);
    m2snet_session_destroy(r->session);
    m2snet_model_destroy(r->model);
    m2snet_context_destroy(r->context);
    return 0;
}

static m2snet_result *predict(rig *r, const m2snet_image *picture, const m2snet_predict_options *options)
{
    m2snet_result *result;
    m2snet_error error;

    OK(m2snet_predict(r->session, picture, options, &result, &error));
    assert_non_null(result);
    return result;
}

/* A threshold at which about a third of the picture is inside: masks with a shape whatever the model thinks. */
static double busy_threshold(const m2snet_result *result)
{
    size_t pixels = (size_t)m2snet_result_width(result) * (size_t)m2snet_result_height(result), count[256] = { 0 };
    size_t above = 0;
    int level = 255;

    for (size_t i = 0; i < pixels; i++) {
        count[m2snet_result_map(result)[i]]++;
    }
    for (; level > 1 && above + count[level] < pixels / 3; level--) {
        above += count[level];
    }
    return level / 255.0;
}

/* ---- formats and strides ---- */

static void test_colour_formats(void **state)
{
    static const struct {
        m2snet_pixel_format format;
        int bytes, r, g, b;
    } formats[] = { { M2SNET_PIXEL_RGB8, 3, 0, 1, 2 },
                    { M2SNET_PIXEL_BGR8, 3, 2, 1, 0 },
                    { M2SNET_PIXEL_RGBA8, 4, 0, 1, 2 },
                    { M2SNET_PIXEL_BGRA8, 4, 2, 1, 0 } };
    rig *r = *state;
    const uint8_t *rgb = r->photo.data;

    for (size_t f = 0; f < COUNT(formats); f++) {
        for (int way = 0; way < 3; way++) { /* dense, padded rows, upside down */
            size_t row = (size_t)(WIDTH * formats[f].bytes), stride = way == 0 ? row : row + 13;
            uint8_t *pixels = malloc(stride * HEIGHT);
            assert_non_null(pixels);
            memset(pixels, 0xee, stride * HEIGHT);
            for (size_t y = 0; y < HEIGHT; y++) {
                uint8_t *to = pixels + stride * (way == 2 ? HEIGHT - 1 - y : y);
                for (size_t x = 0; x < WIDTH; x++, to += formats[f].bytes) {
                    const uint8_t *from = &rgb[3 * (y * WIDTH + x)];
                    to[formats[f].r] = from[0];
                    to[formats[f].g] = from[1];
                    to[formats[f].b] = from[2];
                }
            }
            m2snet_image picture = { .data = way == 2 ? pixels + stride * (HEIGHT - 1) : pixels,
                                     .width = WIDTH,
                                     .height = HEIGHT,
                                     .row_stride_bytes = way == 0   ? 0
                                                         : way == 1 ? (ptrdiff_t)stride
                                                                    : -(ptrdiff_t)stride,
                                     .format = formats[f].format };
            m2snet_result *result = predict(r, &picture, NULL);
            assert_same_result(result, r->truth);
            m2snet_result_destroy(result);
            free(pixels);
        }
    }
}

static void test_gray_formats(void **state)
{
    rig *r = *state;
    const uint8_t *rgb = r->photo.data;
    uint8_t gray_rgb[3 * WIDTH * HEIGHT], gray[WIDTH * HEIGHT];
    uint16_t wide[WIDTH * HEIGHT];
    float real[WIDTH * HEIGHT];

    for (size_t i = 0; i < COUNT(gray); i++) {
        gray[i] = rgb[3 * i + 1];
        memset(&gray_rgb[3 * i], gray[i], 3);
        wide[i] = (uint16_t)(gray[i] * 257u);
        real[i] = (float)gray[i] / 255.0f;
    }
    m2snet_image picture = { .data = gray_rgb, .width = WIDTH, .height = HEIGHT, .format = M2SNET_PIXEL_RGB8 };
    m2snet_result *truth = predict(r, &picture, NULL);
    const m2snet_image same[] = {
        { gray, WIDTH, HEIGHT, 0, M2SNET_PIXEL_GRAY8, 0.0f, 0.0f, NULL },
        { wide, WIDTH, HEIGHT, 0, M2SNET_PIXEL_GRAY16, 0.0f, 0.0f, NULL },
        { wide, WIDTH, HEIGHT, 0, M2SNET_PIXEL_GRAY16, 0.0f, 65535.0f, NULL },
        { real, WIDTH, HEIGHT, 0, M2SNET_PIXEL_F32, 0.0f, 0.0f, NULL },
        { real + (size_t)WIDTH * (HEIGHT - 1), WIDTH, HEIGHT, 0, M2SNET_PIXEL_F32, 0.0f, 1.0f, NULL },
    };
    for (size_t i = 0; i < COUNT(same); i++) {
        picture = same[i];
        if (i == COUNT(same) - 1) { /* upside down in memory */
            for (size_t y = 0; y < HEIGHT; y++) {
                for (size_t x = 0; x < WIDTH; x++) {
                    real[y * WIDTH + x] = (float)gray[(HEIGHT - 1 - y) * WIDTH + x] / 255.0f;
                }
            }
            picture.row_stride_bytes = -(ptrdiff_t)(WIDTH * sizeof(float));
        }
        m2snet_result *result = predict(r, &picture, NULL);
        assert_same_result(result, truth);
        m2snet_result_destroy(result);
    }
    /* A window: CT-like numbers, clipped at both ends. */
    for (size_t i = 0; i < COUNT(gray); i++) {
        real[i] = gray[i] == 0 ? -3000.0f : gray[i] == 255 ? 9000.0f : -100.0f + 2.0f * (float)gray[i];
    }
    picture = (m2snet_image){ real, WIDTH, HEIGHT, 0, M2SNET_PIXEL_F32, -100.0f, 410.0f, NULL };
    m2snet_result *result = predict(r, &picture, NULL);
    assert_same_result(result, truth);
    m2snet_result_destroy(result);
    m2snet_result_destroy(truth);
}

/* ---- the caller's buffers ---- */

static void test_buffers(void **state)
{
    rig *r = *state;

    for (int way = 0; way < 3; way++) {
        size_t rows = HEIGHT, float_row = WIDTH + (way > 0 ? 5 : 0), byte_row = WIDTH + (way > 0 ? 9 : 0);
        float *probability = malloc(rows * float_row * sizeof *probability);
        uint8_t *map = malloc(rows * byte_row), *mask = malloc(rows * byte_row);
        m2snet_predict_options o;
        assert_true(probability != NULL && map != NULL && mask != NULL);
        memset(map, 0x77, rows * byte_row);
        m2snet_predict_options_init(&o);
        size_t last = way == 2 ? rows - 1 : 0; /* way 2: rows run backwards from the end */
        ptrdiff_t sign = way == 2 ? -1 : 1;
        o.probability = probability + last * float_row;
        o.map = map + last * byte_row;
        o.mask = mask + last * byte_row;
        if (way > 0) {
            o.probability_stride_bytes = sign * (ptrdiff_t)(float_row * sizeof *probability);
            o.map_stride_bytes = o.mask_stride_bytes = sign * (ptrdiff_t)byte_row;
        }
        m2snet_result *result = predict(r, &r->photo, &o);
        assert_same_result(result, r->truth);
        for (size_t y = 0; y < rows; y++) {
            size_t at = way == 2 ? rows - 1 - y : y;
            assert_memory_equal(probability + at * float_row, m2snet_result_probability(result) + y * WIDTH,
                                WIDTH * sizeof *probability);
            assert_memory_equal(map + at * byte_row, m2snet_result_map(result) + y * WIDTH, WIDTH);
            assert_memory_equal(mask + at * byte_row, m2snet_result_mask(result) + y * WIDTH, WIDTH);
            for (size_t x = WIDTH; x < byte_row; x++) {
                assert_int_equal(map[at * byte_row + x], 0x77);
            }
        }
        m2snet_result_destroy(result);
        free(probability);
        free(map);
        free(mask);
    }
}

/* ---- region of interest ---- */

static void test_region(void **state)
{
    static const int32_t regions[][4] = {
        { 20, 10, 90, 100 }, { 0, 0, WIDTH, HEIGHT }, { 159, 129, 1, 1 }, { 0, 64, WIDTH, 1 }
    };
    rig *r = *state;

    for (size_t i = 0; i < COUNT(regions); i++) {
        int32_t x = regions[i][0], y = regions[i][1], w = regions[i][2], h = regions[i][3];
        m2snet_predict_options o;
        m2snet_predict_options_init(&o);
        o.threshold = 0.25;
        o.presence_min_area_px = 5.0; /* the default is a share of the picture, and the pictures differ */
        m2snet_image crop = r->photo;
        crop.data = (const uint8_t *)r->photo.data + 3 * (y * WIDTH + x);
        crop.row_stride_bytes = 3 * WIDTH;
        crop.width = w;
        crop.height = h;
        m2snet_result *of_crop = predict(r, &crop, &o);
        o.roi_x = x;
        o.roi_y = y;
        o.roi_width = w;
        o.roi_height = h;
        m2snet_result *of_region = predict(r, &r->photo, &o);
        assert_int_equal(m2snet_result_width(of_region), WIDTH);
        assert_int_equal(m2snet_result_height(of_region), HEIGHT);
        for (int32_t py = 0; py < HEIGHT; py++) {
            for (int32_t px = 0; px < WIDTH; px++) {
                bool inside = px >= x && px < x + w && py >= y && py < y + h;
                size_t at = (size_t)(py * WIDTH + px), in_crop = inside ? (size_t)((py - y) * w + px - x) : 0;
                float p = inside ? m2snet_result_probability(of_crop)[in_crop] : 0.0f;
                assert_true(m2snet_result_probability(of_region)[at] == p);
                assert_int_equal(m2snet_result_map(of_region)[at], inside ? m2snet_result_map(of_crop)[in_crop] : 0);
                assert_int_equal(m2snet_result_mask(of_region)[at], inside ? m2snet_result_mask(of_crop)[in_crop] : 0);
            }
        }
        assert_int_equal(m2snet_result_found(of_crop), m2snet_result_found(of_region));
        assert_true(m2snet_result_presence(of_crop) == m2snet_result_presence(of_region));
        int32_t count = m2snet_result_component_count(of_crop);
        assert_int_equal(count, m2snet_result_component_count(of_region));
        for (int32_t k = 0; k < count; k++) {
            m2snet_component a = { .struct_size = sizeof a }, b = { .struct_size = sizeof b };
            assert_int_equal(m2snet_result_component(of_crop, k, &a, NULL), 0);
            assert_int_equal(m2snet_result_component(of_region, k, &b, NULL), 0);
            assert_true(a.x + x == b.x && a.y + y == b.y && a.area_px == b.area_px);
            assert_true(fabs(a.centroid_x + x - b.centroid_x) < 1e-9 && fabs(a.centroid_y + y - b.centroid_y) < 1e-9);
        }
        m2snet_result_destroy(of_crop);
        m2snet_result_destroy(of_region);
    }
    /* Threshold 0 marks what the network saw, and nothing else. */
    m2snet_predict_options o;
    m2snet_predict_options_init(&o);
    o.threshold = 0.0;
    o.roi_x = o.roi_y = 10;
    o.roi_width = o.roi_height = 20;
    m2snet_result *result = predict(r, &r->photo, &o);
    m2snet_component component = { .struct_size = sizeof component };
    assert_int_equal(m2snet_result_component(result, 0, &component, NULL), 0);
    assert_int_equal(component.area_px, 400);
    m2snet_result_destroy(result);
}

/* ---- batches ---- */

static void test_batch(void **state)
{
    static const int32_t sizes[][2] = { { WIDTH, HEIGHT }, { 33, 57 }, { 1, 1 },   { 300, 40 }, { 64, 64 },
                                        { 7, 200 },        { 96, 96 }, { 97, 95 }, { 50, 50 } };
    enum { PICTURES = COUNT(sizes) };
    rig *r = *state;
    m2snet_image pictures[PICTURES];
    m2snet_result *alone[PICTURES], *together[PICTURES], *turned[PICTURES];
    m2snet_error error;

    for (size_t i = 0; i < PICTURES; i++) {
        pictures[i] = i == 0 ? r->photo : noise_picture(sizes[i][0], sizes[i][1]);
        alone[i] = predict(r, &pictures[i], NULL);
    }
    for (int32_t count = 1; count <= PICTURES; count++) {
        OK(m2snet_predict_batch(r->session, pictures, count, NULL, together, &error));
        for (int32_t i = 0; i < count; i++) {
            assert_same_result(together[i], alone[i]);
            m2snet_result_destroy(together[i]);
        }
    }
    /* Other places, other neighbours. */
    for (size_t i = 0; i < PICTURES / 2; i++) {
        m2snet_image kept = pictures[i];
        pictures[i] = pictures[PICTURES - 1 - i];
        pictures[PICTURES - 1 - i] = kept;
    }
    OK(m2snet_predict_batch(r->session, pictures, PICTURES, NULL, turned, &error));
    for (size_t i = 0; i < PICTURES; i++) {
        assert_same_result(turned[PICTURES - 1 - i], alone[i]);
    }
    for (size_t i = 0; i < PICTURES; i++) {
        m2snet_result_destroy(turned[i]);
        m2snet_result_destroy(alone[i]);
        if (pictures[i].data != r->photo.data) {
            free_picture(&pictures[i]);
        }
    }
}

/* ---- the mask ---- */

static void test_map_and_mask(void **state)
{
    rig *r = *state;
    static const double thresholds[] = { 0.0, 0.001, 0.2, 0.5, 0.501, 128.0 / 255.0, 0.999, 1.0 };

    for (size_t t = 0; t < COUNT(thresholds); t++) {
        m2snet_predict_options o;
        m2snet_predict_options_init(&o);
        o.threshold = thresholds[t];
        m2snet_result *result = predict(r, &r->photo, &o);
        int level = (int)ceil(255.0 * thresholds[t]);
        for (size_t i = 0; i < (size_t)WIDTH * HEIGHT; i++) {
            assert_int_equal(m2snet_result_mask(result)[i], m2snet_result_map(result)[i] >= level ? 255 : 0);
            float p = m2snet_result_probability(result)[i];
            assert_true(p >= 0.0f && p <= 1.0f);
            /* The map is truncated at the network's size, then resized: one level below to one above. */
            double distance = 255.0 * (double)p - m2snet_result_map(result)[i];
            assert_true(distance > -1.0 && distance < 2.0);
        }
        m2snet_receipt receipt = { .struct_size = sizeof receipt };
        assert_int_equal(m2snet_result_receipt(result, &receipt, NULL), 0);
        assert_true(receipt.threshold == thresholds[t]);
        m2snet_result_destroy(result);
    }
    /* The default is the model's threshold. */
    m2snet_receipt receipt = { .struct_size = sizeof receipt };
    assert_int_equal(m2snet_result_receipt(r->truth, &receipt, NULL), 0);
    assert_true(receipt.threshold == 0.5);
}

/* Area enclosed by a polygon along pixel edges; positive = clockwise on the screen (y down). */
static int64_t polygon_area(const int32_t *points, int32_t count)
{
    int64_t twice = 0;

    for (int32_t i = 0; i < count; i++) {
        int32_t k = (i + 1) % count;
        twice += (int64_t)points[2 * i] * points[2 * k + 1] - (int64_t)points[2 * k] * points[2 * i + 1];
    }
    assert_int_equal(twice % 2, 0);
    return twice / 2;
}

static void check_components(m2snet_result *result, double spacing_mm2)
{
    const uint8_t *mask = m2snet_result_mask(result);
    const int32_t width = m2snet_result_width(result), height = m2snet_result_height(result);
    int64_t in_mask = 0, in_components = 0, before = INT64_MAX;

    for (int64_t i = 0; i < (int64_t)width * height; i++) {
        in_mask += mask[i] != 0;
    }
    for (int32_t k = 0; k < m2snet_result_component_count(result); k++) {
        m2snet_component c = { .struct_size = sizeof c };
        const int32_t *points, *again;
        int32_t count, count_again;
        m2snet_error error;
        OK(m2snet_result_component(result, k, &c, &error));
        assert_true(c.area_px > 0 && c.area_px <= before); /* largest first */
        before = c.area_px;
        in_components += c.area_px;
        assert_true(c.x >= 0 && c.y >= 0 && c.x + c.width <= width && c.y + c.height <= height);
        assert_true(c.centroid_x > c.x && c.centroid_x < c.x + c.width);
        assert_true(c.centroid_y > c.y && c.centroid_y < c.y + c.height);
        assert_true(c.mean_probability >= 0.0 && c.mean_probability <= 1.0);
        if (spacing_mm2 > 0.0) {
            assert_true(fabs(c.area_mm2 - (double)c.area_px * spacing_mm2) < 1e-9 * c.area_mm2);
        } else {
            assert_true(c.area_mm2 == -1.0);
        }
        OK(m2snet_result_contour(result, k, &points, &count, &error));
        OK(m2snet_result_contour(result, k, &again, &count_again, &error));
        assert_true(points == again && count == count_again); /* belongs to the result */
        assert_true(count >= 4);
        int32_t low_x = INT32_MAX, high_x = 0, low_y = INT32_MAX, high_y = 0;
        for (int32_t i = 0; i < count; i++) {
            int32_t next = (i + 1) % count; /* the last point joins the first: closed */
            bool across = points[2 * i] != points[2 * next], down = points[2 * i + 1] != points[2 * next + 1];
            assert_true(across != down); /* along pixel edges, no point twice in a row */
            low_x = points[2 * i] < low_x ? points[2 * i] : low_x;
            high_x = points[2 * i] > high_x ? points[2 * i] : high_x;
            low_y = points[2 * i + 1] < low_y ? points[2 * i + 1] : low_y;
            high_y = points[2 * i + 1] > high_y ? points[2 * i + 1] : high_y;
        }
        assert_true(low_x == c.x && high_x == c.x + c.width && low_y == c.y && high_y == c.y + c.height);
        assert_true(polygon_area(points, count) >= c.area_px); /* clockwise; holes are inside */
    }
    assert_int_equal(in_mask, in_components);
}

static void test_components(void **state)
{
    rig *r = *state;
    m2snet_predict_options o;
    double busy = busy_threshold(r->truth);

    m2snet_predict_options_init(&o);
    o.threshold = busy;
    m2snet_result *plain = predict(r, &r->photo, &o);
    assert_true(m2snet_result_component_count(plain) >= 1);
    check_components(plain, 0.0);

    o.spacing_y_mm = 0.5;
    o.spacing_x_mm = 0.25;
    m2snet_result *spaced = predict(r, &r->photo, &o);
    check_components(spaced, 0.125);
    m2snet_result_destroy(spaced);

    o.largest_component = 1;
    m2snet_result *largest = predict(r, &r->photo, &o);
    assert_int_equal(m2snet_result_component_count(largest), 1);
    check_components(largest, 0.125);
    m2snet_component a = { .struct_size = sizeof a }, b = { .struct_size = sizeof b };
    assert_int_equal(m2snet_result_component(plain, 0, &a, NULL), 0);
    assert_int_equal(m2snet_result_component(largest, 0, &b, NULL), 0);
    assert_int_equal(a.area_px, b.area_px);
    /* What was found does not depend on what is then taken away. */
    assert_int_equal(m2snet_result_found(plain), m2snet_result_found(largest));
    assert_true(m2snet_result_presence(plain) == m2snet_result_presence(largest));
    m2snet_result_destroy(largest);

    m2snet_predict_options_init(&o);
    o.threshold = busy;
    o.min_area_px = (double)a.area_px + 1.0;
    m2snet_result *none = predict(r, &r->photo, &o);
    assert_int_equal(m2snet_result_component_count(none), 0);
    assert_int_equal(m2snet_result_found(none), m2snet_result_found(plain));
    check_components(none, 0.0);
    m2snet_result_destroy(none);

    m2snet_predict_options_init(&o);
    o.threshold = busy;
    o.presence_min_area_px = (double)a.area_px + 1.0;
    m2snet_result *absent = predict(r, &r->photo, &o);
    assert_int_equal(m2snet_result_found(absent), 0);
    assert_true(m2snet_result_presence(absent) == 0.0);
    assert_int_equal(m2snet_result_component_count(absent), m2snet_result_component_count(plain));
    m2snet_result_destroy(absent);
    o.presence_min_area_px = (double)a.area_px;
    m2snet_result *present = predict(r, &r->photo, &o);
    assert_int_equal(m2snet_result_found(present), 1);
    assert_true(fabs(m2snet_result_presence(present) - a.mean_probability) < 1e-12);
    m2snet_result_destroy(present);

    m2snet_predict_options_init(&o);
    o.threshold = busy;
    o.fill_holes = 1;
    m2snet_result *filled = predict(r, &r->photo, &o);
    check_components(filled, 0.0);
    for (int32_t k = 0; k < m2snet_result_component_count(filled); k++) { /* without holes the outline is the area */
        const int32_t *points;
        int32_t count;
        assert_int_equal(m2snet_result_component(filled, k, &b, NULL), 0);
        assert_int_equal(m2snet_result_contour(filled, k, &points, &count, NULL), 0);
        assert_int_equal(polygon_area(points, count), b.area_px);
    }
    for (size_t i = 0; i < (size_t)WIDTH * HEIGHT; i++) {
        assert_true(m2snet_result_mask(filled)[i] >= m2snet_result_mask(plain)[i]);
    }
    m2snet_result_destroy(filled);
    m2snet_result_destroy(plain);
}

/* A black picture of a polyp model: "nothing found" is an answer, with zeros, not an error and not a stretch. */
static void test_nothing_found(void **state)
{
    rig *r = *state;
    uint8_t black[64 * 48 * 3] = { 0 };
    m2snet_image picture = { .data = black, .width = 64, .height = 48, .format = M2SNET_PIXEL_RGB8 };
    m2snet_predict_options o;

    m2snet_predict_options_init(&o);
    o.threshold = 1.0; /* no network is that sure of a black picture */
    m2snet_result *result = predict(r, &picture, &o);
    assert_int_equal(m2snet_result_found(result), 0);
    assert_true(m2snet_result_presence(result) == 0.0);
    assert_int_equal(m2snet_result_component_count(result), 0);
    for (size_t i = 0; i < 64 * 48; i++) {
        assert_int_equal(m2snet_result_mask(result)[i], 0);
    }
    assert_non_null(strstr(m2snet_result_receipt_json(result), "\"found\": false"));
    m2snet_result_destroy(result);
    result = predict(r, &picture, NULL);
    print_message("black picture at the model's threshold: %s, presence %.3f\n",
                  m2snet_result_found(result) ? "found" : "nothing found", m2snet_result_presence(result));
    assert_int_equal(m2snet_result_found(result), m2snet_result_presence(result) > 0.0);
    m2snet_result_destroy(result);
}

/* ---- several classes ---- */

static void test_classes(void **state)
{
    m2snet_context *context = open_context("cpu", 2);
    m2snet_image picture = noise_picture(80, 60);
    m2snet_model *model;
    m2snet_model_info info = { .struct_size = sizeof info };
    m2snet_error error;

    (void)state;
    OK(m2snet_model_create(context, "{" TINY_SHAPE ",\"classes\":[\"left\",\"\",\"right\"]}", 3, &model, &error));
    OK(m2snet_model_get_info(model, &info, &error));
    assert_int_equal(info.classes, 3);
    assert_string_equal(m2snet_model_class_name(model, 0), "left");
    assert_null(m2snet_model_class_name(model, 1));
    assert_string_equal(m2snet_model_class_name(model, 2), "right");
    assert_null(m2snet_model_class_name(model, 3));
    m2snet_session *session = open_session(model);

    /* The logits of one run, channel by channel, are what predict shows class by class. */
    m2snet_image input = noise_picture(64, 64);
    m2snet_tensor_desc desc = { .dtype = M2SNET_DTYPE_F32, .n = 1, .h = 64, .w = 64, .c = 3 };
    m2snet_tensor *src, *dst;
    OK(m2snet_tensor_create(context, &desc, NULL, &src, &error));
    static const float mean[3] = { 0.485f, 0.456f, 0.406f }, std[3] = { 0.229f, 0.224f, 0.225f };
    for (size_t i = 0; i < 3 * 64 * 64; i++) {
        ((float *)m2snet_tensor_data(src))[i] =
            ((float)((const uint8_t *)input.data)[i] / 255.0f - mean[i % 3]) / std[i % 3];
    }
    OK(m2snet_tensor_create(context,
                            &(m2snet_tensor_desc){ .dtype = M2SNET_DTYPE_F32, .n = 1, .h = 64, .w = 64, .c = 3 }, NULL,
                            &dst, &error));
    OK(m2snet_session_run(session, src, dst, NULL, &error));
    const float *logits = m2snet_tensor_data(dst);
    for (int32_t class = 0; class < 3; class ++) {
        m2snet_predict_options o;
        m2snet_result *result;
        m2snet_predict_options_init(&o);
        o.class_index = class;
        OK(m2snet_predict(session, &input, &o, &result, &error));
        for (size_t i = 0; i < 64 * 64; i++) {
            double p = 1.0 / (1.0 + exp(-(double)logits[3 * i + (size_t) class]));
            assert_true(fabs(p - (double)m2snet_result_probability(result)[i]) < 1e-6); /* float's sigmoid */
        }
        m2snet_result_destroy(result);
        OK(m2snet_predict(session, &picture, &o, &result, &error));
        assert_int_equal(m2snet_result_width(result), 80);
        m2snet_result_destroy(result);
    }
    m2snet_tensor_destroy(src);
    m2snet_tensor_destroy(dst);
    free_picture(&input);
    free_picture(&picture);
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
}

/* All classes in one map: of each pixel the class whose probability, as predict tells it class by class, is largest. */
static void test_label_maps(void **state)
{
    static const char *const configs[2] = {
        "{" TINY_SHAPE ",\"classes\":[\"a\",\"b\",\"c\"],\"labels\":[0,80,160]}",
        "{" TINY_SHAPE ",\"classes\":[\"none\",\"b\",\"c\"],\"activation\":\"softmax\",\"labels\":[80,160]}"
    };
    enum { W = 80, H = 60, STRIDE = W + 3 };
    m2snet_context *context = open_context("cpu", 2);
    m2snet_image picture = noise_picture(W, H);
    uint8_t labels[H * STRIDE];
    m2snet_error error;

    (void)state;
    for (int softmax = 0; softmax < 2; softmax++) {
        m2snet_model_info info = { .struct_size = sizeof info };
        m2snet_predict_options o;
        m2snet_result *result, *of_class[3];
        m2snet_model *model;
        OK(m2snet_model_create(context, configs[softmax], 3, &model, &error));
        OK(m2snet_model_get_info(model, &info, &error));
        assert_int_equal(info.softmax, softmax);
        const int32_t background = m2snet_model_class_label(model, -1);
        assert_int_equal(background, softmax ? 0 : 255);
        assert_int_equal(m2snet_model_class_label(model, 0), 0); /* with softmax the background itself */
        assert_int_equal(m2snet_model_class_label(model, 2), 160);
        assert_int_equal(m2snet_model_class_label(model, 3), -1);
        assert_int_equal(m2snet_model_class_label(model, -2), -1);
        assert_int_equal(m2snet_model_class_label(NULL, 0), -1);
        m2snet_session *session = open_session(model);
        m2snet_predict_options_init(&o);
        o.threshold = 0.45;
        for (int c = 0; c < 3; c++) {
            o.class_index = c;
            OK(m2snet_predict(session, &picture, &o, &of_class[c], &error));
            assert_null(m2snet_result_labels(of_class[c])); /* it was not asked for */
        }
        memset(labels, 0x55, sizeof labels);
        o.labels = labels;
        o.labels_stride_bytes = STRIDE;
        OK(m2snet_predict(session, &picture, &o, &result, &error));
        const uint8_t *map = m2snet_result_labels(result);
        int seen = 0;
        for (int i = 0; i < W * H; i++) {
            float best = softmax ? -1.0f : 0.45f;
            double sum = 0.0;
            int32_t level = background;
            for (int c = 0; c < 3; c++) {
                float p = m2snet_result_probability(of_class[c])[i];
                level = p > best ? m2snet_model_class_label(model, c) : level;
                best = p > best ? p : best;
                sum += (double)p;
            }
            assert_int_equal(map[i], level);
            assert_true(!softmax || fabs(sum - 1.0) < 1e-5); /* they exclude each other */
            assert_int_equal(labels[i / W * STRIDE + i % W], level);
            seen += level != map[0];
        }
        assert_true(seen > 0);
        assert_int_equal(labels[W], 0x55);
        m2snet_result_destroy(result);
        o.labels_stride_bytes = W - 1;
        REFUSE(m2snet_predict(session, &picture, &o, &result, &error), M2SNET_STATUS_INVALID_ARGUMENT,
               "labels_stride_bytes");
        o.labels = NULL;
        o.labels_stride_bytes = 0;
        o.label_map = 1;
        OK(m2snet_predict(session, &picture, &o, &result, &error));
        assert_non_null(m2snet_result_labels(result));
        for (int c = 0; c < 3; c++) {
            m2snet_result_destroy(of_class[c]);
        }
        m2snet_result_destroy(result);
        m2snet_session_destroy(session);
        m2snet_model_destroy(model);
    }
    assert_null(m2snet_result_labels(NULL));
    free_picture(&picture);
    m2snet_context_destroy(context);
}

/* ---- tensors ---- */

/* Any strides, either dtype: the same numbers. */
static void test_tensor_strides(void **state)
{
    enum { N = 2, H = 40, W = 51 };
    m2snet_context *context = open_context("cpu", 2);
    m2snet_model *model = tiny_model(context);
    m2snet_session *session = open_session(model);
    static float nhwc[N * H * W * 3], nchw[N * H * W * 3], logits[N * H * W], padded[N * (H + 1) * (W + 7)];
    static double wide[N * H * W * 3], wide_logits[N * H * W];
    m2snet_tensor *src, *dst;
    m2snet_error error;

    (void)state;
    for (size_t n = 0; n < N; n++) {
        for (size_t p = 0; p < H * W; p++) {
            for (size_t c = 0; c < 3; c++) {
                float v = (float)((n * 7919 + p * 31 + c * 17) % 257) / 64.0f - 2.0f;
                nhwc[(n * H * W + p) * 3 + c] = v;
                nchw[(n * 3 + c) * H * W + p] = v;
                wide[(n * H * W + (H * W - 1 - p)) * 3 + 2 - c] = (double)v; /* backwards */
            }
        }
    }
    m2snet_tensor_desc in = { .dtype = M2SNET_DTYPE_F32, .n = N, .h = H, .w = W, .c = 3 };
    m2snet_tensor_desc out = { .dtype = M2SNET_DTYPE_F32, .n = N, .h = H, .w = W, .c = 1 };
    OK(m2snet_tensor_create(context, &in, nhwc, &src, &error));
    OK(m2snet_tensor_create(context, &out, logits, &dst, &error));
    OK(m2snet_session_run(session, src, dst, NULL, &error));
    m2snet_tensor_destroy(src);
    m2snet_tensor_destroy(dst);

    in = (m2snet_tensor_desc){ M2SNET_DTYPE_F32, N, H, W, 3, 4 * 3 * H * W, 4 * W, 4, 4 * H * W };
    out = (m2snet_tensor_desc){ M2SNET_DTYPE_F32, N, H, W, 1, 4 * (H + 1) * (W + 7), 4 * (W + 7), 4, 4 };
    memset(padded, 0x5a, sizeof padded);
    OK(m2snet_tensor_create(context, &in, nchw, &src, &error));
    OK(m2snet_tensor_create(context, &out, padded, &dst, &error));
    OK(m2snet_session_run(session, src, dst, NULL, &error));
    for (size_t n = 0; n < N; n++) {
        for (size_t y = 0; y <= H; y++) {
            for (size_t x = 0; x < W + 7; x++) {
                const float *at = &padded[(n * (H + 1) + y) * (W + 7) + x];
                float untouched;
                memset(&untouched, 0x5a, sizeof untouched);
                assert_memory_equal(at, y < H && x < W ? &logits[(n * H + y) * W + x] : &untouched, sizeof *at);
            }
        }
    }
    m2snet_tensor_destroy(src);
    m2snet_tensor_destroy(dst);

    in = (m2snet_tensor_desc){ M2SNET_DTYPE_F64, N, H, W, 3, 8 * 3 * H * W, -8 * 3 * W, -8 * 3, -8 };
    out = (m2snet_tensor_desc){ .dtype = M2SNET_DTYPE_F64, .n = N, .h = H, .w = W, .c = 1 };
    OK(m2snet_tensor_create(context, &in, &wide[3 * H * W - 1], &src, &error));
    OK(m2snet_tensor_create(context, &out, wide_logits, &dst, &error));
    OK(m2snet_session_run(session, src, dst, NULL, &error));
    for (size_t i = 0; i < COUNT(logits); i++) {
        assert_true(wide_logits[i] == (double)logits[i]);
    }
    m2snet_tensor_destroy(src);
    m2snet_tensor_destroy(dst);

    m2snet_tensor_desc got;
    OK(m2snet_tensor_create(context, &(m2snet_tensor_desc){ .dtype = M2SNET_DTYPE_F32, .n = 1, .h = 2, .w = 3, .c = 4 },
                            NULL, &src, &error));
    m2snet_tensor_get_desc(src, &got);
    assert_true(got.stride_c_bytes == 4 && got.stride_w_bytes == 16 && got.stride_h_bytes == 48 &&
                got.stride_n_bytes == 96);
    for (size_t i = 0; i < 24; i++) {
        assert_true(((float *)m2snet_tensor_data(src))[i] == 0.0f);
    }
    m2snet_tensor_destroy(src);
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
}

/* ---- receipt ---- */

/* A JSON value's end, or NULL: no more than is needed to see that a text is JSON. */
static const char *skip_value(const char *p);

static const char *skip_space(const char *p)
{
    return p + strspn(p, " \t\r\n");
}

static const char *skip_string(const char *p)
{
    if (*p++ != '"') {
        return NULL;
    }
    while (*p != '"') {
        if ((unsigned char)*p < 0x20) {
            return NULL;
        }
        p += *p == '\\' ? 2 : 1;
    }
    return p + 1;
}

static const char *skip_list(const char *p, char closing)
{
    p = skip_space(p + 1);
    if (*p == closing) {
        return p + 1;
    }
    for (;;) {
        if (closing == '}') {
            p = skip_string(p);
            p = p != NULL ? skip_space(p) : NULL;
            if (p == NULL || *p++ != ':') {
                return NULL;
            }
        }
        p = skip_value(skip_space(p));
        if (p == NULL) {
            return NULL;
        }
        p = skip_space(p);
        if (*p == closing) {
            return p + 1;
        }
        if (*p++ != ',') {
            return NULL;
        }
        p = skip_space(p);
    }
}

static const char *skip_value(const char *p)
{
    static const char *const words[] = { "true", "false", "null" };

    if (*p == '{' || *p == '[') {
        return skip_list(p, *p == '{' ? '}' : ']');
    }
    if (*p == '"') {
        return skip_string(p);
    }
    for (size_t i = 0; i < COUNT(words); i++) {
        if (strncmp(p, words[i], strlen(words[i])) == 0) {
            return p + strlen(words[i]);
        }
    }
    size_t length = strspn(p, "-+.0123456789eE");
    return length > 0 && strchr("-0123456789", *p) != NULL ? p + length : NULL;
}

static void test_receipt(void **state)
{
    rig *r = *state;
    m2snet_receipt receipt = { .struct_size = sizeof receipt };
    m2snet_context_info context = { .struct_size = sizeof context };
    m2snet_model_info model = { .struct_size = sizeof model };
    m2snet_predict_options o;
    m2snet_error error;

    m2snet_predict_options_init(&o);
    o.threshold = busy_threshold(r->truth);
    m2snet_result *result = predict(r, &r->photo, &o);
    OK(m2snet_result_receipt(result, &receipt, &error));
    OK(m2snet_context_get_info(r->context, &context, &error));
    OK(m2snet_model_get_info(r->model, &model, &error));
    assert_string_equal(receipt.model_sha256, model.sha256);
    assert_int_equal(strlen(receipt.model_sha256), 64);
    assert_string_equal(receipt.architecture, "m2snet");
    assert_string_equal(receipt.encoder, "res2net_compact");
    assert_string_equal(receipt.library_version, M2SNET_VERSION_STRING);
    assert_non_null(strstr(receipt.dependencies, context.gemm_provider));
    assert_non_null(strstr(receipt.dependencies, "libpng 1."));
    assert_non_null(strstr(receipt.dependencies, "jpeg"));
    assert_string_equal(receipt.backend, context.backend);
    assert_string_equal(receipt.device, context.device);
    assert_string_equal(receipt.instruction_set, context.instruction_set);
    assert_string_equal(receipt.precision, "f32");
    assert_string_equal(receipt.preprocessing,
                        "pillow-bilinear 96x96, mean 0.48500,0.45600,0.40600, std 0.22900,0.22400,0.22500");
    assert_int_equal(receipt.threads, 2);
    assert_true(receipt.image_width == WIDTH && receipt.image_height == HEIGHT);
    assert_true(receipt.input_width == 96 && receipt.input_height == 96);
    assert_int_equal(receipt.found, m2snet_result_found(result));
    assert_true(receipt.presence == m2snet_result_presence(result));
    assert_true(receipt.milliseconds_pre >= 0.0 && receipt.milliseconds_network > 0.0 &&
                receipt.milliseconds_post > 0.0);

    const char *json = m2snet_result_receipt_json(result);
    const char *after = skip_value(skip_space(json));
    assert_non_null(after);
    assert_string_equal(skip_space(after), "");
    static const char *const keys[] = { "model_sha256",
                                        "architecture",
                                        "encoder",
                                        "library_version",
                                        "dependencies",
                                        "backend",
                                        "device",
                                        "instruction_set",
                                        "precision",
                                        "preprocessing",
                                        "threads",
                                        "image_width",
                                        "image_height",
                                        "input_width",
                                        "input_height",
                                        "threshold",
                                        "found",
                                        "presence",
                                        "components",
                                        "area_px",
                                        "milliseconds_pre",
                                        "milliseconds_post",
                                        "milliseconds_network" };
    for (size_t i = 0; i < COUNT(keys); i++) {
        char quoted[40];
        snprintf(quoted, sizeof quoted, "\"%s\":", keys[i]);
        assert_non_null(strstr(json, quoted));
    }
    assert_non_null(strstr(json, model.sha256));
    m2snet_result_destroy(result);
}

/* Names that JSON must escape, in the model's file. */
static void test_receipt_escapes(void **state)
{
    m2snet_context *context = open_context("ref", 1);
    m2snet_model *model;
    m2snet_image picture = noise_picture(40, 40);
    m2snet_result *result;
    m2snet_error error;

    (void)state;
    OK(m2snet_model_create(context, "{" TINY_SHAPE ",\"classes\":[\"a\\\"b\\\\c\\n\"]}", 1, &model, &error));
    assert_string_equal(m2snet_model_class_name(model, 0), "a\"b\\c\n");
    m2snet_session *session = open_session(model);
    OK(m2snet_predict(session, &picture, NULL, &result, &error));
    const char *after = skip_value(m2snet_result_receipt_json(result));
    assert_non_null(after);
    assert_string_equal(skip_space(after), "");
    m2snet_result_destroy(result);
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
    free_picture(&picture);
}

/* ---- images ---- */

static void test_image_round_trip(void **state)
{
    rig *r = *state;
    scratch files;
    m2snet_image read, overlay;
    uint8_t pixels[WIDTH * HEIGHT];
    m2snet_image mask = { .data = pixels, .width = WIDTH, .height = HEIGHT, .format = M2SNET_PIXEL_GRAY8 };
    m2snet_error error;

    scratch_make(&files);
    const char *path = scratch_path(&files, "picture.png");
    OK(m2snet_image_write_png(r->context, path, &r->photo, &error));
    OK(m2snet_image_read_file(r->context, path, NULL, &read, &error));
    assert_int_equal(read.format, M2SNET_PIXEL_RGB8);
    m2snet_result *result = predict(r, &read, NULL);
    assert_same_result(result, r->truth);
    m2snet_result_destroy(result);
    m2snet_image_release(&read);
    assert_true(read.data == NULL && read.owner == NULL);
    assert_int_equal(scratch_count(&files), 1);

    /* An outline, and nothing but it, in the colour that was asked for. */
    memset(pixels, 0, sizeof pixels);
    for (size_t y = 40; y < 80; y++) {
        memset(&pixels[y * WIDTH + 50], 255, 60);
    }
    OK(m2snet_image_overlay(r->context, &r->photo, &mask, 0x12f034, 2, &overlay, &error));
    assert_true(overlay.format == M2SNET_PIXEL_RGB8 && overlay.width == WIDTH && overlay.height == HEIGHT);
    size_t drawn = 0;
    ptrdiff_t stride = overlay.row_stride_bytes != 0 ? overlay.row_stride_bytes : 3 * WIDTH;
    for (size_t y = 0; y < HEIGHT; y++) {
        for (size_t x = 0; x < WIDTH; x++) {
            const uint8_t *now = (const uint8_t *)overlay.data + (ptrdiff_t)y * stride + 3 * (ptrdiff_t)x;
            const uint8_t *was = (const uint8_t *)r->photo.data + 3 * (y * WIDTH + x);
            if (memcmp(now, was, 3) != 0) {
                drawn++;
                assert_true(now[0] == 0x12 && now[1] == 0xf0 && now[2] == 0x34);
                assert_true(x >= 47 && x < 113 && y >= 37 && y < 83);
                assert_false(x >= 54 && x < 106 && y >= 44 && y < 76);
            }
        }
    }
    assert_true(drawn >= 190);
    m2snet_image_release(&overlay);
    scratch_remove(&files);
}

/* ---- steps ---- */

static void test_step_times(void **state)
{
    rig *r = *state;
    m2snet_step_info step = { .struct_size = sizeof step };
    m2snet_plan_info plan = { .struct_size = sizeof plan };
    uint64_t multiply_adds = 0;
    double sum = 0.0;
    m2snet_error error;

    OK(m2snet_session_time_steps(r->session, 1, &error));
    m2snet_result *result = predict(r, &r->photo, NULL);
    assert_same_result(result, r->truth);
    OK(m2snet_session_plan_info(r->session, 1, 96, 96, &plan, &error));
    assert_int_equal(plan.compiled, 1);
    assert_int_equal(m2snet_session_step_count(r->session), plan.steps);
    assert_true(plan.steps > 30);
    for (int32_t i = 0; i < plan.steps; i++) {
        OK(m2snet_session_step_info(r->session, i, &step, &error));
        assert_true(step.name != NULL && strlen(step.name) > 0 && step.kernel != NULL && strlen(step.kernel) > 0);
        assert_true(step.milliseconds >= 0.0);
        multiply_adds += step.multiply_adds;
        sum += step.milliseconds;
    }
    assert_int_equal(multiply_adds, plan.multiply_adds);
    m2snet_receipt receipt = { .struct_size = sizeof receipt };
    OK(m2snet_result_receipt(result, &receipt, &error));
    assert_true(sum > 0.0 && sum <= receipt.milliseconds_network);
    OK(m2snet_session_time_steps(r->session, 0, &error));
    m2snet_result_destroy(result);
    result = predict(r, &r->photo, NULL);
    OK(m2snet_session_step_info(r->session, 0, &step, &error));
    assert_true(step.milliseconds == 0.0); /* timing is off: as the header says */
    m2snet_result_destroy(result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_colour_formats),  cmocka_unit_test(test_gray_formats),
        cmocka_unit_test(test_buffers),         cmocka_unit_test(test_region),
        cmocka_unit_test(test_batch),           cmocka_unit_test(test_map_and_mask),
        cmocka_unit_test(test_components),      cmocka_unit_test(test_nothing_found),
        cmocka_unit_test(test_classes),         cmocka_unit_test(test_label_maps),
        cmocka_unit_test(test_tensor_strides),  cmocka_unit_test(test_receipt),
        cmocka_unit_test(test_receipt_escapes), cmocka_unit_test(test_image_round_trip),
        cmocka_unit_test(test_step_times),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
