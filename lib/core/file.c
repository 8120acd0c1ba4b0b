/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define PHASE_READ         "read"
#define STEP_BYTES         ((size_t)1 << 20) /* between two looks at the control */
#define FIRST_BYTES        ((size_t)1 << 16) /* for files whose size is unknown */
#define PART_BYTES         ((size_t)4 << 20) /* of a wide read: whole huge pages, read in a few ms */
#define POLL_MS            20
#define TEMPORARY_ATTEMPTS 100

m2snet_status m2s_fail_errno(m2snet_error *error, int error_number, const char *format, ...)
{
    char reason[128];
    char text[sizeof((m2snet_error *)0)->message];
    va_list arguments;

    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return m2s_fail(error, M2SNET_STATUS_IO, "%s: %s", length >= 0 ? text : "",
                    strerror_r(error_number, reason, sizeof reason));
}

/* ---- reading ---- */

static m2snet_status fail_too_large(m2snet_error *error, const char *path, uint64_t max_bytes)
{
    return m2s_fail(error, M2SNET_STATUS_LIMIT, "cannot read '%s': it is larger than %" PRIu64 " bytes", path,
                    max_bytes);
}

static m2snet_status open_for_reading(const char *path, uint64_t max_bytes, int *file, uint64_t *known_bytes,
                                      m2snet_error *error)
{
    struct stat info;

    /* O_NONBLOCK: a FIFO without a writer must not hold us where a cancel cannot reach. */
    *file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (*file < 0) {
        return m2s_fail_errno(error, errno, "cannot open '%s'", path);
    }
    if (fstat(*file, &info) != 0) {
        return m2s_fail_errno(error, errno, "cannot read '%s'", path);
    }
    if (S_ISDIR(info.st_mode)) {
        return m2s_fail_errno(error, EISDIR, "cannot read '%s'", path);
    }
    if (!S_ISREG(info.st_mode) && !S_ISFIFO(info.st_mode) && !S_ISCHR(info.st_mode)) {
        return m2s_fail(error, M2SNET_STATUS_IO, "cannot read '%s': it is neither a file nor a pipe", path);
    }
    *known_bytes = S_ISREG(info.st_mode) && info.st_size > 0 ? (uint64_t)info.st_size : 0;
    if (*known_bytes > max_bytes) {
        return m2s_fail(error, M2SNET_STATUS_LIMIT,
                        "cannot read '%s': it is %" PRIu64 " bytes, more than the %" PRIu64 " allowed", path,
                        *known_bytes, max_bytes);
    }
    return M2SNET_STATUS_OK;
}

/* Waits until a pipe has something, or its writers are gone. */
static m2snet_status wait_for_data(int file, const char *path, m2s_control *control, uint64_t done, m2snet_error *error)
{
    struct pollfd events = { file, POLLIN, 0 };
    int ready;

    do {
        if (m2s_control_report(control, PHASE_READ, done, 0)) {
            return m2s_fail_cancelled(error, PHASE_READ);
        }
        ready = poll(&events, 1, POLL_MS);
        if (ready < 0 && errno != EINTR) {
            return m2s_fail_errno(error, errno, "cannot read '%s'", path);
        }
    } while (ready <= 0);
    return M2SNET_STATUS_OK;
}

/* A file of known size, read by several threads at once: most of the time goes into copying, and into the first touch
 * of the memory. */
typedef struct wide_read {
    int file;
    uint8_t *block;
    size_t bytes;
    atomic_size_t whole; /* all bytes before this one are there */
} wide_read;

static void read_part(void *argument, int64_t chunk, int worker)
{
    wide_read *wide = argument;
    size_t begin = (size_t)chunk * PART_BYTES;
    size_t end = wide->bytes - begin < PART_BYTES ? wide->bytes : begin + PART_BYTES;

    (void)worker;
    while (begin < end) {
        ssize_t got = pread(wide->file, wide->block + begin, end - begin, (off_t)begin);
        if (got > 0) {
            begin += (size_t)got;
        } else if (got == 0 || errno != EINTR) {
            break;
        }
    }
    if (begin < end) {
        size_t whole = atomic_load(&wide->whole);
        while (begin < whole && !atomic_compare_exchange_weak(&wide->whole, &whole, begin)) {
        }
    }
}

/* Reads what it can. Whatever stops it (an end too early, an error, a file that cannot seek) meets the plain reading
 * that follows at *size, which knows what to say. */
static m2snet_status read_wide(m2s_pool *pool, int file, uint8_t *block, size_t bytes, m2s_control *control,
                               size_t *size, m2snet_error *error)
{
    wide_read wide = { .file = file, .block = block, .bytes = bytes };
    m2s_task task = { read_part, &wide, (int64_t)((bytes + PART_BYTES - 1) / PART_BYTES), NULL };
    m2snet_status status;

    atomic_init(&wide.whole, bytes);
    M2S_TRY(m2s_pool_run(pool, &task, 1, control, PHASE_READ, error));
    size_t whole = atomic_load(&wide.whole);
    *size = lseek(file, (off_t)whole, SEEK_SET) == (off_t)whole ? whole : 0;
fail:
    return status;
}

m2snet_status m2s_file_read(m2s_memory *memory, const char *path, uint64_t max_bytes, m2s_control *control,
                            uint8_t **data, size_t *size_bytes, m2snet_error *error)
{
    return m2s_file_read_wide(memory, NULL, path, max_bytes, control, data, size_bytes, error);
}

m2snet_status m2s_file_read_wide(m2s_memory *memory, m2s_pool *pool, const char *path, uint64_t max_bytes,
                                 m2s_control *control, uint8_t **data, size_t *size_bytes, m2snet_error *error)
{
    m2snet_status status;
    uint8_t *block = NULL;
    int file = -1;
    uint64_t known = 0;
    size_t size = 0;

    *data = NULL;
    *size_bytes = 0;
    if (max_bytes > PTRDIFF_MAX / 2) {
        max_bytes = PTRDIFF_MAX / 2;
    }
    M2S_TRY(open_for_reading(path, max_bytes, &file, &known, error));

    /* One byte more than expected: the read that finds the end needs room for what should not be there. */
    size_t capacity = known != 0 ? (size_t)known + 1 : FIRST_BYTES;
    block = m2s_alloc(memory, capacity);
    if (block == NULL) {
        status = m2s_fail_memory(error, path, capacity);
        goto fail;
    }
    if (pool != NULL && known > PART_BYTES) {
        M2S_TRY(read_wide(pool, file, block, (size_t)known, control, &size, error));
    }
    for (;;) {
        if (known == 0) {
            M2S_TRY(wait_for_data(file, path, control, size, error));
        } else if (m2s_control_report(control, PHASE_READ, size, known)) {
            status = m2s_fail_cancelled(error, PHASE_READ);
            goto fail;
        }
        if (size == capacity) {
            if (size > max_bytes) {
                status = fail_too_large(error, path, max_bytes);
                goto fail;
            }
            size_t larger = capacity > (size_t)max_bytes / 2 ? (size_t)max_bytes + 1 : 2 * capacity;
            uint8_t *moved = m2s_realloc(memory, block, larger);
            if (moved == NULL) {
                status = m2s_fail_memory(error, path, larger);
                goto fail;
            }
            block = moved;
            capacity = larger;
        }
        size_t want = capacity - size < STEP_BYTES ? capacity - size : STEP_BYTES;
        ssize_t got = read(file, block + size, want);
        if (got == 0) {
            break;
        }
        if (got > 0) {
            size += (size_t)got;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            M2S_TRY(wait_for_data(file, path, control, size, error));
        } else if (errno != EINTR) {
            status = m2s_fail_errno(error, errno, "cannot read '%s'", path);
            goto fail;
        }
    }
    if (size > max_bytes) {
        status = fail_too_large(error, path, max_bytes);
        goto fail;
    }
    if (size == capacity) {
        uint8_t *moved = m2s_realloc(memory, block, size + 1);
        if (moved == NULL) {
            status = m2s_fail_memory(error, path, size + 1);
            goto fail;
        }
        block = moved;
    }
    block[size] = 0;
    close(file);
    *data = block;
    *size_bytes = size;
    return M2SNET_STATUS_OK;

fail:
    m2s_free(memory, block);
    if (file >= 0) {
        close(file);
    }
    return status;
}

/* ---- writing ---- */

/* Random enough that two processes do not meet; O_EXCL settles it when they do. */
static void name_temporary(char *name, size_t bytes)
{
    uint64_t number;

    if (getrandom(&number, sizeof number, GRND_NONBLOCK) != (ssize_t)sizeof number) {
        number = m2s_now_ns() ^ (uint64_t)getpid() << 40;
    }
    snprintf(name, bytes, ".m2snet-%016" PRIx64 ".tmp", number);
}

/* A folder that may be entered and written but not listed opens only as a place, which cannot be synced. */
static int open_folder(const char *path)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return folder < 0 && errno == EACCES ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : folder;
}

/* Splits target at its last slash, opens the folder and keeps the name. */
static m2snet_status open_place(m2s_file_writer *writer, char *target, m2snet_error *error)
{
    char *slash = strrchr(target, '/');
    const char *name = slash != NULL ? slash + 1 : target;

    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return m2s_fail(error, M2SNET_STATUS_IO, "cannot write '%s': it does not name a file", writer->path);
    }
    writer->name = m2s_strdup(writer->memory, name);
    if (writer->name == NULL) {
        return m2s_fail_memory(error, writer->path, strlen(name) + 1);
    }
    if (slash != NULL) {
        slash[slash == target] = '\0'; /* the root folder keeps its slash */
    }
    writer->folder = open_folder(slash != NULL ? target : ".");
    if (writer->folder < 0) {
        return m2s_fail_errno(error, errno, "cannot write '%s': its folder", writer->path);
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status open_temporary(m2s_file_writer *writer, mode_t mode, m2snet_error *error)
{
    for (int attempt = 0; attempt < TEMPORARY_ATTEMPTS && writer->file < 0; attempt++) {
        name_temporary(writer->temporary, sizeof writer->temporary);
        writer->file = openat(writer->folder, writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (writer->file < 0 && errno != EEXIST) {
            break;
        }
    }
    if (writer->file < 0) {
        int reason = errno;
        writer->temporary[0] = '\0'; /* not ours to remove */
        return m2s_fail_errno(error, reason, "cannot write '%s': no temporary file in its folder", writer->path);
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_file_write_begin(m2s_memory *memory, const char *path, m2s_file_writer *writer, m2snet_error *error)
{
    m2snet_status status;
    char *target = NULL;
    struct stat info;
    char resolved[PATH_MAX];

    *writer = (m2s_file_writer){ .memory = memory, .folder = -1, .file = -1 };
    writer->path = m2s_strdup(memory, path);
    if (writer->path == NULL) {
        status = m2s_fail_memory(error, path, strlen(path) + 1);
        goto fail;
    }
    bool is_link = lstat(path, &info) == 0 && S_ISLNK(info.st_mode) && realpath(path, resolved) != NULL;
    target = m2s_strdup(memory, is_link ? resolved : path);
    if (target == NULL) {
        status = m2s_fail_memory(error, path, strlen(is_link ? resolved : path) + 1);
        goto fail;
    }
    M2S_TRY(open_place(writer, target, error));
    bool exists = fstatat(writer->folder, writer->name, &info, AT_SYMLINK_NOFOLLOW) == 0;
    if (exists && S_ISDIR(info.st_mode)) {
        status = m2s_fail_errno(error, EISDIR, "cannot write '%s'", path);
        goto fail;
    }
    if (exists && !S_ISREG(info.st_mode) && !S_ISLNK(info.st_mode)) {
        status = m2s_fail(error, M2SNET_STATUS_IO, "cannot write '%s': it exists and is not a regular file", path);
        goto fail;
    }
    M2S_TRY(open_temporary(writer, 0666, error));
    if (exists && S_ISREG(info.st_mode) && fchmod(writer->file, info.st_mode & 0777) != 0) {
        status = m2s_fail_errno(error, errno, "cannot write '%s' with its permissions", path);
        goto fail;
    }
    m2s_free(memory, target);
    return M2SNET_STATUS_OK;

fail:
    m2s_free(memory, target);
    m2s_file_write_abort(writer);
    return status;
}

m2snet_status m2s_file_write(m2s_file_writer *writer, const void *data, size_t size_bytes, m2s_control *control,
                             m2snet_error *error)
{
    const char *rest = data;

    while (size_bytes > 0) {
        if (m2s_control_stopped(control)) {
            return m2s_fail(error, M2SNET_STATUS_CANCELLED, "cancelled by the caller while writing '%s'", writer->path);
        }
        ssize_t written = write(writer->file, rest, size_bytes < STEP_BYTES ? size_bytes : STEP_BYTES);
        if (written > 0) {
            rest += written;
            size_bytes -= (size_t)written;
        } else if (written == 0 || errno != EINTR) {
            return m2s_fail_errno(error, written == 0 ? EIO : errno, "cannot write '%s'", writer->path);
        }
    }
    return M2SNET_STATUS_OK;
}

/* Frees what the writer holds; the temporary is the caller's matter. */
static void close_writer(m2s_file_writer *writer)
{
    if (writer->file >= 0) {
        close(writer->file);
    }
    if (writer->folder >= 0) {
        close(writer->folder);
    }
    m2s_free(writer->memory, writer->path);
    m2s_free(writer->memory, writer->name);
    *writer = M2S_FILE_WRITER_NONE;
}

m2snet_status m2s_file_write_commit(m2s_file_writer *writer, m2snet_error *error)
{
    m2snet_status status;

    if (fsync(writer->file) != 0) {
        status = m2s_fail_errno(error, errno, "cannot write '%s'", writer->path);
        goto fail;
    }
    int closed = close(writer->file);
    int reason = errno;
    /* The descriptor is gone whatever close says, but the temporary is not: abort tells them apart by its name. */
    writer->file = -1;
    if (closed != 0 && reason != EINTR) {
        status = m2s_fail_errno(error, reason, "cannot write '%s'", writer->path);
        goto fail;
    }
    if (renameat(writer->folder, writer->temporary, writer->folder, writer->name) != 0) {
        status = m2s_fail_errno(error, errno, "cannot write '%s': renaming the finished file", writer->path);
        goto fail;
    }
    /* File systems that cannot sync a folder say EINVAL; EBADF is a folder that could not be opened for reading. */
    if (fsync(writer->folder) != 0 && errno != EINVAL && errno != EBADF && errno != EROFS) {
        status = m2s_fail_errno(error, errno, "'%s' is written, but its folder could not be synced", writer->path);
        close_writer(writer);
        return status;
    }
    close_writer(writer);
    return M2SNET_STATUS_OK;

fail:
    m2s_file_write_abort(writer);
    return status;
}

void m2s_file_write_abort(m2s_file_writer *writer)
{
    if (writer->memory == NULL) {
        return;
    }
    if (writer->temporary[0] != '\0' && writer->folder >= 0) {
        unlinkat(writer->folder, writer->temporary, 0);
    }
    close_writer(writer);
}
