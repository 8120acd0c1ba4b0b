/* SPDX-License-Identifier: Apache-2.0
 * Whole files: read under a cap, written beside the target and renamed; through pictures too. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/image_fixture.h"
#include "core/file.h"
#include "image/decode.h"
#include "image/file_png.h"

typedef struct place {
    char folder[64];
    char path[128];
} place;

static int count_entries(const char *folder)
{
    char command[128];
    char line[32] = "";

    snprintf(command, sizeof command, "ls -A %s | wc -l", folder);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_non_null(fgets(line, sizeof line, pipe));
    pclose(pipe);
    return atoi(line);
}

static void make_place(place *p, const char *name)
{
    snprintf(p->folder, sizeof p->folder, "/tmp/m2snet-test-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    snprintf(p->path, sizeof p->path, "%s/%s", p->folder, name);
}

static m2snet_status write_and_read(image_fixture *f, void *user)
{
    const place *p = user;
    static const uint8_t pixels[6] = { 0, 50, 100, 150, 200, 250 };
    m2snet_image image = { .data = pixels, .width = 3, .height = 2, .format = M2SNET_PIXEL_GRAY8 };
    m2s_decode_options options = M2S_DECODE_DEFAULTS;
    m2s_bitmap bitmap = { 0 };

    m2snet_status status = m2s_png_write_file(&f->memory, p->path, &image, NULL, &f->error);
    if (status == M2SNET_STATUS_OK) {
        status = m2s_image_read(&f->memory, p->path, &options, NULL, &bitmap, &f->error);
    }
    if (status == M2SNET_STATUS_OK) {
        assert_memory_equal(bitmap.pixels, pixels, sizeof pixels);
    }
    m2s_bitmap_release(&bitmap);
    return status;
}

static void test_files(void **state)
{
    image_fixture f;
    place p;

    (void)state;
    image_fixture_begin(&f, 0);
    make_place(&p, "na\xc3\xafve name.png");
    assert_int_equal(write_and_read(&f, &p), 0);
    assert_int_equal(write_and_read(&f, &p), 0); /* over an existing file */
    image_fixture_fail_each_allocation(&f, write_and_read, &p);
    assert_int_equal(count_entries(p.folder), 1); /* no temporary is left */
    assert_int_equal(unlink(p.path), 0);
    assert_int_equal(rmdir(p.folder), 0);

    m2s_decode_options options = M2S_DECODE_DEFAULTS;
    m2s_bitmap bitmap;
    assert_int_equal(m2s_image_read(&f.memory, p.path, &options, NULL, &bitmap, &f.error), M2SNET_STATUS_IO);
    assert_true(strstr(f.error.message, p.path) != NULL && strstr(f.error.message, "No such file") != NULL);
    assert_int_equal(write_and_read(&f, &p), M2SNET_STATUS_IO); /* the folder is gone */
    image_fixture_end(&f);
}

static void test_files_keep_permissions_and_links(void **state)
{
    image_fixture f;
    place p, link;
    struct stat info;

    (void)state;
    image_fixture_begin(&f, 0);
    make_place(&p, "file.png");
    assert_int_equal(write_and_read(&f, &p), 0);
    assert_int_equal(chmod(p.path, 0640), 0);
    link = p;
    snprintf(link.path, sizeof link.path, "%s/link.png", link.folder);
    assert_int_equal(symlink("file.png", link.path), 0);
    assert_int_equal(write_and_read(&f, &link), 0);
    assert_int_equal(lstat(link.path, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(lstat(p.path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    assert_int_equal(count_entries(p.folder), 2);
    unlink(link.path);
    unlink(p.path);
    rmdir(p.folder);
    image_fixture_end(&f);
}

static void test_files_that_are_no_place_to_write(void **state)
{
    static const char *const paths[] = { "/dev/null", "/tmp", "/tmp/", "", ".", "/nonexistent/x.png" };
    uint8_t pixel = 0;
    m2snet_image image = { .data = &pixel, .width = 1, .height = 1, .format = M2SNET_PIXEL_GRAY8 };
    image_fixture f;

    (void)state;
    image_fixture_begin(&f, 0);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        assert_int_equal(m2s_png_write_file(&f.memory, paths[i], &image, NULL, &f.error), M2SNET_STATUS_IO);
    }
    struct stat info;
    assert_int_equal(stat("/dev/null", &info), 0);
    assert_true(S_ISCHR(info.st_mode));
    image_fixture_end(&f);
}

static void test_files_that_cannot_be_read(void **state)
{
    image_fixture f;
    uint8_t *data;
    size_t size;
    place p;

    (void)state;
    image_fixture_begin(&f, 0);
    assert_int_equal(m2s_file_read(&f.memory, "/tmp", 1000, NULL, &data, &size, &f.error), M2SNET_STATUS_IO);
    assert_true(strstr(f.error.message, "Is a directory") != NULL);
    assert_int_equal(m2s_file_read(&f.memory, "/dev/zero", 1000000, NULL, &data, &size, &f.error), M2SNET_STATUS_LIMIT);
    assert_int_equal(m2s_file_read(&f.memory, "/dev/null", 0, NULL, &data, &size, &f.error), M2SNET_STATUS_OK);
    assert_int_equal(size, 0);
    m2s_free(&f.memory, data);

    make_place(&p, "sparse");
    FILE *file = fopen(p.path, "wb");
    assert_non_null(file);
    assert_int_equal(ftruncate(fileno(file), (off_t)1 << 40), 0);
    fclose(file);
    assert_int_equal(m2s_file_read(&f.memory, p.path, 1 << 20, NULL, &data, &size, &f.error), M2SNET_STATUS_LIMIT);
    f.memory.limit_bytes = (uint64_t)1 << 30;
    assert_int_equal(m2s_file_read(&f.memory, p.path, UINT64_MAX, NULL, &data, &size, &f.error),
                     M2SNET_STATUS_OUT_OF_MEMORY);
    f.memory.limit_bytes = 0;
    unlink(p.path);

    /* A pipe whose writer never comes can be left. */
    m2snet_cancel token;
    m2snet_control user = { NULL, NULL, &token };
    m2s_control control;
    atomic_init(&token.requested, 1);
    m2s_control_init(&control, &user);
    assert_int_equal(mkfifo(p.path, 0600), 0);
    assert_int_equal(m2s_file_read(&f.memory, p.path, 1000, &control, &data, &size, &f.error), M2SNET_STATUS_CANCELLED);
    assert_null(data);
    unlink(p.path);
    rmdir(p.folder);
    image_fixture_end(&f);
}

/* ---- several threads ---- */

#define LARGE_BYTES ((size_t)9000001) /* three parts, the last one not full */

typedef struct resizer {
    const char *path;
    size_t bytes; /* of the file from the first report on; 0 = as it is */
    int calls, stop_at;
} resizer;

static int resize_once(void *user, const m2snet_progress *progress)
{
    resizer *r = user;

    assert_string_equal(progress->phase, "read");
    if (r->calls++ == 0 && r->bytes != 0) {
        assert_int_equal(truncate(r->path, (off_t)r->bytes), 0);
    }
    return r->calls == r->stop_at;
}

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 131 >> 7);
}

static void test_wide_reading(void **state)
{
    /* As it is; cut off inside the last and the first part and at a part's end; grown by zeros. */
    static const size_t sizes[] = { 0, LARGE_BYTES - 5, 100, (size_t)4 << 20, LARGE_BYTES + 3000000 };
    image_fixture f;
    place p;
    uint8_t *data, *expected = malloc(LARGE_BYTES);
    size_t size;

    (void)state;
    image_fixture_begin(&f, 0);
    make_place(&p, "large");
    assert_non_null(expected);
    for (size_t i = 0; i < LARGE_BYTES; i++) {
        expected[i] = byte_at(i);
    }
    for (int threads = 1; threads <= 3; threads += 2) {
        m2s_pool *pool;
        assert_int_equal(m2s_pool_create(&f.memory, threads, &pool, &f.error), 0);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            resizer r = { .path = p.path, .bytes = sizes[i] };
            m2snet_control user = { .progress = resize_once, .progress_user = &r };
            m2s_control control;
            FILE *file = fopen(p.path, "wb");
            assert_non_null(file);
            assert_int_equal(fwrite(expected, 1, LARGE_BYTES, file), LARGE_BYTES);
            assert_int_equal(fclose(file), 0);
            m2s_control_init(&control, &user);
            assert_int_equal(m2s_file_read_wide(&f.memory, pool, p.path, UINT64_MAX, &control, &data, &size, &f.error),
                             0);
            size_t kept = r.bytes == 0 || r.bytes > LARGE_BYTES ? LARGE_BYTES : r.bytes;
            assert_int_equal(size, r.bytes == 0 ? LARGE_BYTES : r.bytes);
            assert_int_equal(memcmp(data, expected, kept), 0);
            for (size_t k = kept; k <= size; k++) {
                assert_int_equal(data[k], 0);
            }
            m2s_free(&f.memory, data);
        }
        resizer r = { .path = p.path, .stop_at = 1 };
        m2snet_control user = { .progress = resize_once, .progress_user = &r };
        m2s_control control;
        m2s_control_init(&control, &user);
        assert_int_equal(m2s_file_read_wide(&f.memory, pool, p.path, UINT64_MAX, &control, &data, &size, &f.error),
                         M2SNET_STATUS_CANCELLED);
        assert_null(data);
        m2s_pool_destroy(pool);
    }
    free(expected);
    unlink(p.path);
    rmdir(p.folder);
    image_fixture_end(&f);
}

static void test_pipes(void **state)
{
    image_fixture f;
    int ends[2];
    char path[64];
    uint8_t *data;
    size_t size;

    (void)state;
    image_fixture_begin(&f, 0);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "hello", 5), 5);
    close(ends[1]);
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    assert_int_equal(m2s_file_read(&f.memory, path, 5, NULL, &data, &size, &f.error), M2SNET_STATUS_OK);
    assert_int_equal(size, 5);
    assert_memory_equal(data, "hello", 6);
    m2s_free(&f.memory, data);
    close(ends[0]);
    image_fixture_end(&f);
}

static void test_abort_leaves_the_target(void **state)
{
    image_fixture f;
    place p;
    m2s_file_writer writer;
    uint8_t *data;
    size_t size;

    (void)state;
    image_fixture_begin(&f, 0);
    make_place(&p, "file");
    assert_int_equal(m2s_file_write_begin(&f.memory, p.path, &writer, &f.error), 0);
    assert_int_equal(m2s_file_write(&writer, "old", 3, NULL, &f.error), 0);
    assert_int_equal(m2s_file_write_commit(&writer, &f.error), 0);
    assert_int_equal(m2s_file_write_begin(&f.memory, p.path, &writer, &f.error), 0);
    assert_int_equal(m2s_file_write(&writer, "new", 3, NULL, &f.error), 0);
    assert_int_equal(count_entries(p.folder), 2);
    m2s_file_write_abort(&writer);
    m2s_file_write_abort(&writer);
    assert_int_equal(count_entries(p.folder), 1);
    assert_int_equal(m2s_file_read(&f.memory, p.path, 3, NULL, &data, &size, &f.error), 0);
    assert_memory_equal(data, "old", 4);
    m2s_free(&f.memory, data);

    /* A rename that cannot work: the target has become a folder meanwhile. */
    assert_int_equal(m2s_file_write_begin(&f.memory, p.path, &writer, &f.error), 0);
    unlink(p.path);
    assert_int_equal(mkdir(p.path, 0700), 0);
    assert_int_equal(m2s_file_write_commit(&writer, &f.error), M2SNET_STATUS_IO);
    assert_int_equal(count_entries(p.folder), 1);
    rmdir(p.path);
    rmdir(p.folder);
    image_fixture_end(&f);
}

static void test_a_full_disk(void **state)
{
    image_fixture f;
    m2s_file_writer writer = M2S_FILE_WRITER_NONE;

    (void)state;
    image_fixture_begin(&f, 0);
    /* /dev/full is no target, so its descriptor takes the temporary's place. */
    place p;
    make_place(&p, "file");
    assert_int_equal(m2s_file_write_begin(&f.memory, p.path, &writer, &f.error), 0);
    FILE *full = fopen("/dev/full", "wb");
    assert_non_null(full);
    assert_int_equal(dup2(fileno(full), writer.file), writer.file);
    fclose(full);
    assert_int_equal(m2s_file_write(&writer, "x", 1, NULL, &f.error), M2SNET_STATUS_IO);
    assert_true(strstr(f.error.message, p.path) != NULL && strstr(f.error.message, strerror(ENOSPC)) != NULL);
    m2s_file_write_abort(&writer);
    assert_int_equal(count_entries(p.folder), 0);
    rmdir(p.folder);
    image_fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_files_keep_permissions_and_links),
        cmocka_unit_test(test_files_that_are_no_place_to_write),
        cmocka_unit_test(test_files_that_cannot_be_read),
        cmocka_unit_test(test_wide_reading),
        cmocka_unit_test(test_pipes),
        cmocka_unit_test(test_abort_leaves_the_target),
        cmocka_unit_test(test_a_full_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
