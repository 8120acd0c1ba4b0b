/* SPDX-License-Identifier: Apache-2.0
 * For the tests of the public interface: short ways to say "this must work" and "this must be refused, saying so", a
 * network small enough to run in milliseconds, pictures, and a folder. Knows nothing but m2snet.h. */
#ifndef M2S_TESTS_COMMON_API_FIXTURE_H
#define M2S_TESTS_COMMON_API_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "m2snet.h"

#define COMPACT_MODEL M2S_EXAMPLE_DATA "/polyp-compact.safetensors"
#define DEMO_IMAGE    M2S_EXAMPLE_DATA "/demo-polyps/images/cju0qkwl35piu0993l0dewei2.jpg"

/* A Res2Net of two to three channels a group, input 64 x 64: every kind of node, no work to speak of. */
#define TINY_SHAPE                                                                                                     \
    "\"encoder\":\"res2net\",\"encoder_shape\":{\"stem\":[4,4,8],\"blocks\":[2,1,1,1],\"width\":[3,4,4,4],"            \
    "\"channels\":[16,16,16,16]},\"pyramid_channels\":8,\"input_size\":64"
#define TINY_CONFIG "{" TINY_SHAPE "}"
#define TINY_SEED   7u

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Both want `m2snet_error error` in scope. */
#define OK(call) assert_ok((call), &error, #call, __FILE__, __LINE__)
/* The status, the same in error.status, and a message that has `part` in it. */
#define REFUSE(call, wanted, part)                                                                                     \
    do {                                                                                                               \
        error = (m2snet_error){ .status = (m2snet_status)-1 };                                                         \
        assert_refused((call), &error, (wanted), (part), #call, __FILE__, __LINE__);                                   \
    } while (0)

void assert_ok(m2snet_status status, const m2snet_error *error, const char *call, const char *file, int line);
void assert_refused(m2snet_status status, const m2snet_error *error, m2snet_status wanted, const char *part,
                    const char *call, const char *file, int line);

/* ---- handles; all of these must succeed ---- */

m2snet_context *open_context(const char *backend, int32_t threads); /* NULL, 0: the defaults */
m2snet_model *tiny_model(m2snet_context *context);
m2snet_session *open_session(m2snet_model *model);
uint64_t memory_used(const m2snet_context *context);

/* ---- pictures ---- */

/* RGB8, smooth with some noise, in malloc memory: free((void *)picture.data). The same numbers for the same size. */
m2snet_image noise_picture(int32_t width, int32_t height);
void free_picture(m2snet_image *picture);

/* ---- files ---- */

/* A new folder under /tmp; path of a file in it (up to 8 at a time); everything removed again. */
typedef struct scratch {
    char folder[64];
    char paths[8][160];
    int next;
} scratch;
void scratch_make(scratch *s);
const char *scratch_path(scratch *s, const char *name);
int scratch_count(const scratch *s); /* entries in the folder, hidden ones too */
void scratch_remove(scratch *s);

unsigned char *read_whole(const char *path, size_t *bytes); /* malloc */
void write_whole(const char *path, const void *data, size_t bytes);

/* A safetensors file of one's own making: header text (JSON) and data. */
void write_safetensors(const char *path, const char *header, const void *data, size_t bytes);

/* ---- results ---- */

void assert_same_result(const m2snet_result *a, const m2snet_result *b); /* maps and figures, bit for bit */

#endif
