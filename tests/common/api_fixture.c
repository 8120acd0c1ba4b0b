/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

void assert_ok(m2snet_status status, const m2snet_error *error, const char *call, const char *file, int line)
{
    if (status != M2SNET_STATUS_OK) {
        print_error("%s: %s: %s\n", call, m2snet_status_string(status), error != NULL ? error->message : "");
        _fail(file, line);
    }
}

void assert_refused(m2snet_status status, const m2snet_error *error, m2snet_status wanted, const char *part,
                    const char *call, const char *file, int line)
{
    if (status != wanted || error->status != wanted || strstr(error->message, part) == NULL) {
        print_error("%s: got \"%s\" (in the error struct %d), expected \"%s\" with \"%s\" in:\n  %s\n", call,
                    m2snet_status_string(status), (int)error->status, m2snet_status_string(wanted), part,
                    error->message);
        _fail(file, line);
    }
}

/* ---- handles ---- */

m2snet_context *open_context(const char *backend, int32_t threads)
{
    m2snet_context_options options;
    m2snet_context *context = NULL;
    m2snet_error error;

    m2snet_context_options_init(&options);
    options.backend = backend;
    options.threads = threads;
    OK(m2snet_context_create(&options, &context, &error));
    assert_non_null(context);
    return context;
}

m2snet_model *tiny_model(m2snet_context *context)
{
    m2snet_model *model = NULL;
    m2snet_error error;

    OK(m2snet_model_create(context, TINY_CONFIG, TINY_SEED, &model, &error));
    assert_non_null(model);
    return model;
}

m2snet_session *open_session(m2snet_model *model)
{
    m2snet_session *session = NULL;
    m2snet_error error;

    OK(m2snet_session_create(model, NULL, &session, &error));
    assert_non_null(session);
    return session;
}

uint64_t memory_used(const m2snet_context *context)
{
    m2snet_context_info info = { .struct_size = sizeof info };
    m2snet_error error;

    OK(m2snet_context_get_info(context, &info, &error));
    return info.memory_used_bytes;
}

/* ---- pictures ---- */

m2snet_image noise_picture(int32_t width, int32_t height)
{
    uint8_t *pixels = malloc((size_t)width * (size_t)height * 3);
    uint32_t state = 12345u;

    assert_non_null(pixels);
    for (int32_t y = 0; y < height; y++) {
        for (int32_t x = 0; x < width; x++) {
            uint8_t *pixel = &pixels[3 * ((size_t)y * (size_t)width + (size_t)x)];
            for (int32_t c = 0; c < 3; c++) {
                state = state * 1664525u + 1013904223u;
                int32_t ramp = (c == 1 ? y : x) * (150 + 20 * c) / (c == 1 ? height : width);
                pixel[c] = (uint8_t)(20 + ramp + (int32_t)(state >> 27));
            }
        }
    }
    return (m2snet_image){ .data = pixels, .width = width, .height = height, .format = M2SNET_PIXEL_RGB8 };
}

void free_picture(m2snet_image *picture)
{
    free((void *)(uintptr_t)picture->data);
    *picture = (m2snet_image){ 0 };
}

/* ---- files ---- */

void scratch_make(scratch *s)
{
    *s = (scratch){ .folder = "/tmp/m2snet-api-XXXXXX" };
    assert_non_null(mkdtemp(s->folder));
}

const char *scratch_path(scratch *s, const char *name)
{
    char *path = s->paths[s->next++ % 8];

    assert_true(strlen(s->folder) + 1 + strlen(name) < sizeof s->paths[0]);
    strcpy(path, s->folder);
    strcat(path, "/");
    strcat(path, name);
    return path;
}

static int each_entry(const char *folder, bool remove_it)
{
    DIR *directory = opendir(folder);
    int count = 0;

    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            count++;
            if (remove_it && unlinkat(dirfd(directory), entry->d_name, 0) != 0) {
                unlinkat(dirfd(directory), entry->d_name, AT_REMOVEDIR);
            }
        }
    }
    closedir(directory);
    return count;
}

int scratch_count(const scratch *s)
{
    return each_entry(s->folder, false);
}

void scratch_remove(scratch *s)
{
    each_entry(s->folder, true);
    assert_int_equal(rmdir(s->folder), 0);
}

unsigned char *read_whole(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");

    if (file == NULL) {
        fail_msg("%s cannot be read", path);
    }
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *bytes = (size_t)ftell(file);
    rewind(file);
    unsigned char *data = malloc(*bytes + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *bytes, file), *bytes);
    data[*bytes] = '\0';
    fclose(file);
    return data;
}

void write_whole(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

void write_safetensors(const char *path, const char *header, const void *data, size_t bytes)
{
    uint64_t length = strlen(header);
    unsigned char *whole = malloc(sizeof length + length + bytes + 1);

    assert_non_null(whole);
    memcpy(whole, &length, sizeof length);
    memcpy(whole + sizeof length, header, length);
    if (bytes > 0) {
        memcpy(whole + sizeof length + length, data, bytes);
    }
    write_whole(path, whole, sizeof length + length + bytes);
    free(whole);
}

/* ---- results ---- */

void assert_same_result(const m2snet_result *a, const m2snet_result *b)
{
    size_t pixels = (size_t)m2snet_result_width(a) * (size_t)m2snet_result_height(a);
    double presence[2] = { m2snet_result_presence(a), m2snet_result_presence(b) };

    assert_int_equal(m2snet_result_width(a), m2snet_result_width(b));
    assert_int_equal(m2snet_result_height(a), m2snet_result_height(b));
    assert_memory_equal(m2snet_result_probability(a), m2snet_result_probability(b), pixels * sizeof(float));
    assert_memory_equal(m2snet_result_map(a), m2snet_result_map(b), pixels);
    assert_memory_equal(m2snet_result_mask(a), m2snet_result_mask(b), pixels);
    assert_int_equal(m2snet_result_found(a), m2snet_result_found(b));
    assert_memory_equal(&presence[0], &presence[1], sizeof presence[0]);
    assert_int_equal(m2snet_result_component_count(a), m2snet_result_component_count(b));
}
