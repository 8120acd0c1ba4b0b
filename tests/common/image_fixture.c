/* SPDX-License-Identifier: Apache-2.0 */
#include "common/image_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void *counting_alloc(void *user, size_t bytes, size_t alignment)
{
    image_fixture *f = user;

    if (atomic_fetch_add(&f->allocations, 1) + 1 == atomic_load(&f->fail_at)) {
        return NULL;
    }
    atomic_fetch_add(&f->live, 1);
    return aligned_alloc(alignment, bytes);
}

static void counting_free(void *user, void *pointer, size_t bytes)
{
    image_fixture *f = user;

    (void)bytes;
    atomic_fetch_sub(&f->live, 1);
    free(pointer);
}

void image_fixture_begin(image_fixture *f, int threads)
{
    m2snet_allocator allocator = { counting_alloc, counting_free, f };

    memset(f, 0, sizeof *f);
    m2s_memory_init(&f->memory, &allocator, 0);
    f->host.memory = &f->memory;
    f->host.isa = m2s_isa_detect();
    if (threads > 0) {
        assert_int_equal(m2s_pool_create(&f->memory, threads, &f->host.pool, &f->error), M2SNET_STATUS_OK);
    }
}

void image_fixture_end(image_fixture *f)
{
    m2s_pool_destroy(f->host.pool);
    assert_int_equal(atomic_load(&f->live), 0);
    assert_int_equal(atomic_load(&f->memory.used_bytes), 0);
}

void image_fixture_fail_each_allocation(image_fixture *f, m2snet_status (*attempt)(image_fixture *f, void *user),
                                        void *user)
{
    const long long live = atomic_load(&f->live);

    for (long long k = 1;; k++) {
        atomic_store(&f->allocations, 0);
        atomic_store(&f->fail_at, k);
        m2snet_status status = attempt(f, user);
        bool failed_one = atomic_load(&f->allocations) >= k;
        atomic_store(&f->fail_at, 0);
        assert_int_equal(atomic_load(&f->live), live);
        if (!failed_one) {
            assert_int_equal(status, M2SNET_STATUS_OK);
            assert_true(k > 1);
            return;
        }
        if (status != M2SNET_STATUS_OK) {
            assert_int_equal(status, M2SNET_STATUS_OUT_OF_MEMORY);
            assert_int_equal(f->error.status, status);
        }
        assert_true(k < 10000);
    }
}

uint8_t *image_fixture_read(const char *name, size_t *size)
{
    char path[1024];

    snprintf(path, sizeof path, "%s/%s", M2S_TEST_DATA, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fail_msg("cannot open %s", path);
        return NULL;
    }
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long length = ftell(file);
    assert_true(length >= 0);
    rewind(file);
    *size = (size_t)length;
    uint8_t *data = malloc(*size + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *size, file), *size);
    data[*size] = 0;
    fclose(file);
    return data;
}

static bool exists(const char *name)
{
    char path[1024];

    snprintf(path, sizeof path, "%s/%s", M2S_TEST_DATA, name);
    FILE *file = fopen(path, "rb");
    if (file != NULL) {
        fclose(file);
    }
    return file != NULL;
}

m2s_bitmap image_fixture_expected(const char *name)
{
    char file[256];
    char kind;
    int width, height, top, header;
    size_t size;

    snprintf(file, sizeof file, "images/%s.pgm", name);
    if (!exists(file)) {
        snprintf(file, sizeof file, "images/%s.ppm", name);
    }
    uint8_t *data = image_fixture_read(file, &size);
    assert_int_equal(sscanf((const char *)data, "P%c %d %d %d%n", &kind, &width, &height, &top, &header), 4);
    header++; /* one white space */
    m2s_bitmap bitmap = { .width = width, .height = height };
    bitmap.format = kind == '6' ? M2SNET_PIXEL_RGB8 : top == 255 ? M2SNET_PIXEL_GRAY8 : M2SNET_PIXEL_GRAY16;
    size_t bytes = (size_t)width * (size_t)height * (size_t)m2s_pixel_bytes(bitmap.format);
    assert_int_equal(size, (size_t)header + bytes);
    bitmap.pixels = malloc(bytes);
    assert_non_null(bitmap.pixels);
    memcpy(bitmap.pixels, data + header, bytes);
    for (size_t i = 0; bitmap.format == M2SNET_PIXEL_GRAY16 && i < bytes; i += 2) {
        uint16_t value = (uint16_t)(bitmap.pixels[i] << 8 | bitmap.pixels[i + 1]);
        memcpy(bitmap.pixels + i, &value, 2);
    }
    free(data);
    return bitmap;
}

void image_fixture_assert_same(const m2s_bitmap *actual, const m2s_bitmap *expected, const char *name)
{
    if (actual->width != expected->width || actual->height != expected->height || actual->format != expected->format) {
        fail_msg("%s: %d x %d of format %d, expected %d x %d of format %d", name, actual->width, actual->height,
                 (int)actual->format, expected->width, expected->height, (int)expected->format);
    }
    size_t bytes = (size_t)actual->width * (size_t)actual->height * (size_t)m2s_pixel_bytes(actual->format);
    for (size_t i = 0; i < bytes; i++) {
        if (actual->pixels[i] != expected->pixels[i]) {
            fail_msg("%s: byte %zu is %d, expected %d", name, i, actual->pixels[i], expected->pixels[i]);
        }
    }
}
