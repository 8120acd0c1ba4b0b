/* SPDX-License-Identifier: Apache-2.0 */
#include "weights/load.h"

#include <stdio.h>
#include <string.h>

#include "weights/safetensors.h"
#include "weights/torch_checkpoint.h"

#define PHASE_READ "read"
#define STEP_BYTES ((size_t)1 << 20) /* between two looks at the control */
#define EXPECTED   "expected a safetensors file or a PyTorch checkpoint"

/* What people pass by mistake: bytes at a place, and the sentence that helps. */
static const struct {
    size_t place;
    const char *bytes;
    size_t count;
    const char *what;
} mistakes[] = {
    { 0, "version https://git-lfs", 23, "a Git LFS pointer, not the file itself (git lfs pull fetches it)" },
    { 257, "ustar", 5,
      "a tar file (PyTorch before 0.1.10, or an archive): load and torch.save it again, or unpack it" },
    { 0, "\x1f\x8b", 2, "a gzip file: unpack it" },
    { 0, "7z\xbc\xaf", 4, "a 7z file: unpack it" },
    { 0, "\x89HDF", 4, "an HDF5 file" },
    { 0, "\x89PNG", 4, "a PNG picture" },
    { 0, "\xff\xd8\xff", 3, "a JPEG picture" },
    { 0, "%PDF", 4, "a PDF document" },
};

static m2snet_status fail_unknown(const m2s_blob *blob, m2snet_error *error)
{
    static const unsigned char blank[] = { ' ', '\t', '\r', '\n', 0xef, 0xbb, 0xbf }; /* and the byte order mark */
    const unsigned char *bytes = blob->data;
    char shown[3 * 8 + 1] = "";
    size_t start = 0;

    if (blob->bytes == 0) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "the file is empty: " EXPECTED);
    }
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        if (blob->bytes >= mistakes[i].place + mistakes[i].count &&
            memcmp(bytes + mistakes[i].place, mistakes[i].bytes, mistakes[i].count) == 0) {
            return m2s_fail(error, M2SNET_STATUS_FORMAT, "this is %s; " EXPECTED, mistakes[i].what);
        }
    }
    while (start < blob->bytes && start < 64 && memchr(blank, bytes[start], sizeof blank) != NULL) {
        start++;
    }
    if (start < blob->bytes && bytes[start] == '<') {
        return m2s_fail(error, M2SNET_STATUS_FORMAT,
                        "this is a web page (HTML), not the file itself: was it a download that asked for a login or a "
                        "confirmation?; " EXPECTED);
    }
    for (size_t i = 0; i < 8 && i < blob->bytes; i++) {
        snprintf(shown + 3 * i, sizeof shown - 3 * i, " %02x", (unsigned)bytes[i]);
    }
    return m2s_fail(error, M2SNET_STATUS_FORMAT, "unknown file format (first bytes%s): " EXPECTED, shown);
}

static m2snet_status hash_here(const m2s_blob *blob, m2s_control *control, char hex[M2S_SHA256_HEX_BYTES],
                               m2snet_error *error)
{
    m2s_sha256 state;
    const char *bytes = blob->data;

    m2s_sha256_init(&state);
    for (size_t done = 0; done < blob->bytes;) {
        size_t count = blob->bytes - done < STEP_BYTES ? blob->bytes - done : STEP_BYTES;
        m2s_sha256_update(&state, bytes + done, count);
        done += count;
        if (m2s_control_report(control, PHASE_READ, done, blob->bytes)) {
            return m2s_fail_cancelled(error, PHASE_READ);
        }
    }
    m2s_sha256_finish(&state, hex);
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_store_load(m2s_memory *memory, m2s_blob *blob, m2s_control *control, m2s_store **store,
                             m2snet_error *error)
{
    m2snet_status status;
    char hex[M2S_SHA256_HEX_BYTES] = "";
    bool safetensors = m2s_safetensors_recognise(blob->data, blob->bytes);
    bool legacy = m2s_torch_legacy_recognise(blob->data, blob->bytes);
    bool torch = legacy || m2s_torch_zip_recognise(blob->data, blob->bytes);

    *store = NULL;
    if (!safetensors && !torch) {
        status = fail_unknown(blob, error);
        goto fail;
    }
    if (blob->digest == NULL) {
        M2S_TRY(hash_here(blob, control, hex, error));
    } else if (safetensors ? m2s_safetensors_moves(blob) : legacy && blob->writable) {
        M2S_TRY(m2s_digest_wait(blob->digest, control, error));
    }
    M2S_TRY(safetensors ? m2s_safetensors_read(memory, blob, store, error)
                        : m2s_torch_checkpoint_read(memory, blob, control, store, error));
    m2s_store_set_sha256(*store, hex);
    return M2SNET_STATUS_OK;

fail:
    m2s_blob_release(memory, blob);
    return status;
}
