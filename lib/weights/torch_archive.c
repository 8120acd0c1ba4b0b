/* SPDX-License-Identifier: Apache-2.0 */
#include "weights/torch_archive.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <zip.h>

#include "core/quote.h"

#define PICKLE_RECORD   "data.pkl"
#define CHUNK_BYTES     ((size_t)1 << 16)
#define CHUNKS_PER_POLL 16u
#define NOT_READ        UINT64_MAX
#define ZLIB_MEMORY     (-4) /* zlib's Z_MEM_ERROR */

/* The file's bytes as libzip sees them. It remembers where the last read began: that is how the place of a stored
 * entry is learnt, which libzip does not tell. */
typedef struct byte_source {
    const char *data;
    uint64_t bytes;
    uint64_t position;
    uint64_t first_read; /* since it was last set to NOT_READ */
    zip_error_t error;
} byte_source;

struct m2s_torch_archive {
    m2s_memory *memory;
    byte_source source;
    zip_t *zip;
    char *chunk;
    char *path; /* NAME/, then room for a record's name */
    size_t prefix_bytes, path_bytes;
};

#define RECORD_NAME_BYTES 128u

static zip_int64_t read_source(void *user, void *data, zip_uint64_t bytes, zip_source_cmd_t command)
{
    byte_source *source = user;
    zip_stat_t stat;
    zip_int64_t offset;
    uint64_t count;

    switch (command) {
    case ZIP_SOURCE_OPEN:
        source->position = 0;
        return 0;
    case ZIP_SOURCE_READ:
        count = source->bytes - source->position < bytes ? source->bytes - source->position : bytes;
        if (source->first_read == NOT_READ) {
            source->first_read = source->position;
        }
        memcpy(data, source->data + source->position, count);
        source->position += count;
        return (zip_int64_t)count;
    case ZIP_SOURCE_SEEK:
        offset = zip_source_seek_compute_offset(source->position, source->bytes, data, bytes, &source->error);
        if (offset < 0) {
            return -1;
        }
        source->position = (uint64_t)offset;
        return 0;
    case ZIP_SOURCE_TELL:
        return (zip_int64_t)source->position;
    case ZIP_SOURCE_STAT:
        zip_stat_init(&stat);
        stat.valid = ZIP_STAT_SIZE;
        stat.size = source->bytes;
        memcpy(data, &stat, sizeof stat);
        return sizeof stat;
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&source->error, data, bytes);
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
        return 0;
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT,
                                              ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL,
                                              ZIP_SOURCE_SUPPORTS, -1);
    default:
        zip_error_set(&source->error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

/* The status of what libzip says, and its words. Ends the zip_error_t. */
static m2snet_status fail_zip(m2snet_error *error, zip_error_t *reason, const char *what)
{
    bool memory = zip_error_code_zip(reason) == ZIP_ER_MEMORY ||
                  (zip_error_code_zip(reason) == ZIP_ER_ZLIB && zip_error_code_system(reason) == ZLIB_MEMORY);
    m2snet_status status = memory ? m2s_fail(error, M2SNET_STATUS_OUT_OF_MEMORY, "%s: out of memory", what)
                                  : m2s_fail(error, M2SNET_STATUS_FORMAT, "%s: %s: the file is cut off or damaged",
                                             what, zip_error_strerror(reason));

    zip_error_fini(reason);
    return status;
}

static m2snet_status open_zip(m2s_torch_archive *archive, m2snet_error *error)
{
    zip_error_t reason;

    zip_error_init(&reason);
    zip_source_t *source = zip_source_function_create(read_source, &archive->source, &reason);
    if (source == NULL) {
        return fail_zip(error, &reason, "zip file");
    }
    archive->zip = zip_open_from_source(source, ZIP_RDONLY, &reason);
    if (archive->zip == NULL) {
        zip_source_free(source);
        return fail_zip(error, &reason, "zip file");
    }
    zip_error_fini(&reason);
    return M2SNET_STATUS_OK;
}

/* Finds NAME/data.pkl; *prefix_bytes is the length of NAME/. */
static const char *find_prefix(zip_t *zip, size_t *prefix_bytes)
{
    const size_t record = strlen(PICKLE_RECORD);
    zip_int64_t count = zip_get_num_entries(zip, 0);

    for (zip_int64_t i = 0; i < count; i++) {
        const char *name = zip_get_name(zip, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        size_t bytes = name != NULL ? strlen(name) : 0;
        if (bytes >= record && strcmp(name + bytes - record, PICKLE_RECORD) == 0 &&
            (bytes == record || name[bytes - record - 1] == '/')) {
            *prefix_bytes = bytes - record;
            return name;
        }
    }
    return NULL;
}

m2snet_status m2s_torch_archive_open(m2s_memory *memory, const void *data, size_t bytes, m2s_torch_archive **archive,
                                     m2snet_error *error)
{
    m2snet_status status;
    m2s_torch_archive *made = m2s_calloc(memory, 1, sizeof *made);

    *archive = NULL;
    if (made == NULL) {
        return m2s_fail_memory(error, "a zip file", sizeof *made);
    }
    made->memory = memory;
    made->source = (byte_source){ .data = data, .bytes = bytes, .first_read = NOT_READ };
    zip_error_init(&made->source.error);
    made->chunk = m2s_alloc(memory, CHUNK_BYTES);
    if (made->chunk == NULL) {
        status = m2s_fail_memory(error, "a zip file", CHUNK_BYTES);
        goto fail;
    }
    M2S_TRY(open_zip(made, error));
    const char *name = find_prefix(made->zip, &made->prefix_bytes);
    if (name == NULL) {
        status = m2s_fail(error, M2SNET_STATUS_FORMAT,
                          "zip file without " PICKLE_RECORD ": expected a checkpoint that torch.save wrote");
        goto fail;
    }
    made->path_bytes = made->prefix_bytes + RECORD_NAME_BYTES;
    made->path = m2s_alloc(memory, made->path_bytes);
    if (made->path == NULL) {
        status = m2s_fail_memory(error, "a zip file", made->path_bytes);
        goto fail;
    }
    memcpy(made->path, name, made->prefix_bytes);
    if (m2s_torch_archive_has(made, "constants.pkl")) {
        status = m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                          "TorchScript archive (torch.jit.save): expected the state dict alone, written by "
                          "torch.save(net.state_dict(), ...)");
        goto fail;
    }
    *archive = made;
    return M2SNET_STATUS_OK;

fail:
    m2s_torch_archive_close(made);
    return status;
}

void m2s_torch_archive_close(m2s_torch_archive *archive)
{
    if (archive == NULL) {
        return;
    }
    if (archive->zip != NULL) {
        zip_discard(archive->zip);
    }
    zip_error_fini(&archive->source.error);
    m2s_free(archive->memory, archive->chunk);
    m2s_free(archive->memory, archive->path);
    m2s_free(archive->memory, archive);
}

/* -1: no such entry. Leaves the entry's name in archive->path. */
static zip_int64_t locate(m2s_torch_archive *archive, const char *record)
{
    size_t room = archive->path_bytes - archive->prefix_bytes;
    int length = snprintf(archive->path + archive->prefix_bytes, room, "%s", record);

    if (length < 0 || (size_t)length >= room) {
        return -1;
    }
    return zip_name_locate(archive->zip, archive->path, ZIP_FL_ENC_RAW);
}

bool m2s_torch_archive_has(m2s_torch_archive *archive, const char *record)
{
    return locate(archive, record) >= 0;
}

/* Reads an opened entry through. Into block when there is one; else only to learn where a stored entry lies (and, with
 * its end reached, that its CRC is right). */
static m2snet_status read_through(m2s_torch_archive *archive, zip_file_t *file, size_t bytes, bool whole, char *block,
                                  m2s_control *control, m2snet_error *error)
{
    size_t done = 0;

    archive->source.first_read = NOT_READ;
    for (size_t round = 0; done < bytes || (whole && round == 0); round++) {
        size_t want = bytes - done < CHUNK_BYTES ? bytes - done : CHUNK_BYTES;
        char *into = block != NULL ? block + done : archive->chunk;
        zip_int64_t got = zip_fread(file, into, want);
        if (got < 0) {
            return fail_zip(error, zip_file_get_error(file), m2s_quote(archive->path, strlen(archive->path)).text);
        }
        if ((size_t)got != want) {
            return m2s_fail(error, M2SNET_STATUS_FORMAT, "zip entry %s: %zu bytes expected, %zu are there",
                            m2s_quote(archive->path, strlen(archive->path)).text, bytes, done + (size_t)got);
        }
        if (block == NULL && done == 0 && want > 0 &&
            (archive->source.first_read > archive->source.bytes - want ||
             memcmp(archive->source.data + archive->source.first_read, archive->chunk, want) != 0)) {
            return m2s_fail(error, M2SNET_STATUS_INTERNAL, "zip entry %s: its place in the file was not found",
                            m2s_quote(archive->path, strlen(archive->path)).text);
        }
        done += want;
        if (!whole) {
            break;
        }
        if (round % CHUNKS_PER_POLL == 0 &&
            m2s_control_report(control, "read", archive->source.position, archive->source.bytes)) {
            return m2s_fail_cancelled(error, "read");
        }
    }
    if (whole && zip_fread(file, archive->chunk, 1) < 0) { /* the end, where the CRC is compared */
        return fail_zip(error, zip_file_get_error(file), m2s_quote(archive->path, strlen(archive->path)).text);
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_torch_archive_get(m2s_torch_archive *archive, const char *record, uint64_t *budget_bytes,
                                    m2s_control *control, m2s_torch_record *found, m2snet_error *error)
{
    const zip_uint64_t needed = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_CRC;
    zip_stat_t stat;
    zip_file_t *file = NULL;
    char *block = NULL;
    m2snet_status status;
    zip_int64_t index = locate(archive, record);

    *found = (m2s_torch_record){ 0 };
    if (index < 0) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "zip file: the entry %s is missing",
                        m2s_quote(record, strlen(record)).text);
    }
    m2s_quoted path = m2s_quote(archive->path, strlen(archive->path));
    if (zip_stat_index(archive->zip, (zip_uint64_t)index, 0, &stat) != 0 || (stat.valid & needed) != needed) {
        return fail_zip(error, zip_get_error(archive->zip), path.text);
    }
    if ((stat.valid & ZIP_STAT_ENCRYPTION_METHOD) != 0 && stat.encryption_method != ZIP_EM_NONE) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED, "zip entry %s is encrypted", path.text);
    }
    if (stat.comp_method != ZIP_CM_STORE && stat.comp_method != ZIP_CM_DEFLATE) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                        "zip entry %s: compression method %u, expected stored or deflated", path.text,
                        (unsigned)stat.comp_method);
    }
    bool stored = stat.comp_method == ZIP_CM_STORE;
    if (stored && stat.size > archive->source.bytes) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "zip entry %s: %" PRIu64 " bytes in a file of %" PRIu64, path.text,
                        (uint64_t)stat.size, archive->source.bytes);
    }
    if (!stored) {
        if (stat.size > *budget_bytes) {
            return m2s_fail(error, M2SNET_STATUS_LIMIT,
                            "zip entry %s: expands to %" PRIu64 " bytes, too many for a file of %" PRIu64, path.text,
                            (uint64_t)stat.size, archive->source.bytes);
        }
        *budget_bytes -= stat.size;
        block = m2s_alloc(archive->memory, stat.size);
        if (block == NULL) {
            return m2s_fail_memory(error, path.text, stat.size);
        }
    }
    /* A stored entry's raw bytes are its bytes; asked for so, libzip does not compare the CRC. */
    bool whole = !stored || stat.crc != 0;
    file = zip_fopen_index(archive->zip, (zip_uint64_t)index, whole ? 0 : ZIP_FL_COMPRESSED);
    if (file == NULL) {
        status = fail_zip(error, zip_get_error(archive->zip), path.text);
        goto fail;
    }
    M2S_TRY(read_through(archive, file, stat.size, whole, block, control, error));
    zip_fclose(file);
    found->bytes = stat.size;
    found->block = block;
    found->data = block != NULL ? block : archive->source.data + (stat.size > 0 ? archive->source.first_read : 0);
    return M2SNET_STATUS_OK;

fail:
    if (file != NULL) {
        zip_fclose(file);
    }
    m2s_free(archive->memory, block);
    return status;
}
