/* SPDX-License-Identifier: Apache-2.0
 * Whole files: read into memory under a cap, written beside the target and renamed over it when complete.
 * Paths are UTF-8 (Linux takes the bytes as they are). Error messages name the path and the system's reason. */
#ifndef M2S_CORE_FILE_H
#define M2S_CORE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "core/control.h"
#include "core/memory.h"
#include "core/threads.h"

/* Fails with M2SNET_STATUS_IO: the formatted text, ": ", and the system's words for error_number. */
__attribute__((format(printf, 3, 4))) m2snet_status m2s_fail_errno(m2snet_error *error, int error_number,
                                                                   const char *format, ...);

/* Reads all of path into a block for m2s_free. One zero byte follows the data, so *data is never NULL on success and
 * text can be parsed in place. Regular files, pipes, FIFOs and terminals are read to their end, whatever size the
 * system reports; directories, sockets and block devices are refused. More than max_bytes: M2SNET_STATUS_LIMIT,
 * before anything is allocated when the size is known. Phase "read", unit bytes; control may be NULL; a cancel ends
 * also a wait for a pipe's writer. On failure *data is NULL and *size_bytes 0. */
m2snet_status m2s_file_read(m2s_memory *memory, const char *path, uint64_t max_bytes, m2s_control *control,
                            uint8_t **data, size_t *size_bytes, m2snet_error *error);
/* The same; the threads of pool (nullable) share the reading of a large regular file. The phase then counts parts
 * before it counts bytes. */
m2snet_status m2s_file_read_wide(m2s_memory *memory, m2s_pool *pool, const char *path, uint64_t max_bytes,
                                 m2s_control *control, uint8_t **data, size_t *size_bytes, m2snet_error *error);

/* A file that is being written: a hidden temporary in the target's folder. One thread at a time. Start from
 * M2S_FILE_WRITER_NONE; between begin and commit/abort the members are the functions' own. */
typedef struct m2s_file_writer {
    m2s_memory *memory; /* NULL = nothing is open */
    char *path;         /* as the caller gave it, for messages */
    char *name;         /* the target inside folder */
    char temporary[32]; /* the temporary inside folder */
    int folder;         /* kept open, so a chdir of the host cannot move the target */
    int file;
} m2s_file_writer;
#define M2S_FILE_WRITER_NONE ((m2s_file_writer){ 0 })

/* The target may exist or not; it is untouched until commit, and then keeps its permission bits (a new file gets
 * 0666 less the umask). A symbolic link to a file is followed. Anything else than a regular file is refused. */
m2snet_status m2s_file_write_begin(m2s_memory *memory, const char *path, m2s_file_writer *writer, m2snet_error *error);
/* Appends. After a failure only abort makes sense. Polls control (nullable) every MiB, without reporting. */
m2snet_status m2s_file_write(m2s_file_writer *writer, const void *data, size_t size_bytes, m2s_control *control,
                             m2snet_error *error);
/* Syncs, renames over the target, syncs the folder. Closes the writer, also on failure (the temporary is then gone and
 * the target as before). */
m2snet_status m2s_file_write_commit(m2s_file_writer *writer, m2snet_error *error);
/* Removes the temporary and closes the writer. Does nothing on one that is not open. */
void m2s_file_write_abort(m2s_file_writer *writer);

#endif
