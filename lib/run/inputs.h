/* SPDX-License-Identifier: Apache-2.0
 * A network's inputs from parts of pictures: made by the device where its backend can, else by the host, to the same
 * bytes and floats (image/preprocess.h) but for the last bit of a float. */
#ifndef M2S_RUN_INPUTS_H
#define M2S_RUN_INPUTS_H

#include "image/preprocess.h"
#include "run/session.h"

#define M2S_MAX_WINDOWS 4 /* of one run */

/* What a network sees at once: a part of a picture, resized to width x height at (x, y) of the input, which is 0, the
 * mean colour, around it. */
typedef struct m2s_window {
    const m2snet_image *image;
    m2s_rect part; /* 0 x 0: all */
    int32_t x, y, width, height;
    double *prepare_ms; /* grows by what it took */
} m2s_window;

/* (count * ways, height, width, 3): every window in every way. */
typedef struct m2s_inputs {
    const m2s_window *windows;
    int32_t count;
    int32_t width, height;
    int32_t way[M2S_MAX_WAYS]; /* m2snet_mirror; the first is NONE */
    int32_t ways;
    m2s_normalization normalization;
    bool on_host; /* somebody there reads them */
    m2s_control *control;
} m2s_inputs;

/* Into the program's input. *made is false, and nothing done, where they are left to the host: the backend does not
 * make inputs, they are wanted on the host, a picture goes through a window (GRAY16, F32: the pool's threads share
 * that), or the device would need more scratch, the picture's bytes among it, than 256 MB or than the session's
 * memory_limit_bytes. Scratch is the session's arena, which may grow. */
m2snet_status m2s_inputs_on_device(m2snet_session *session, m2s_program *program, const m2s_inputs *inputs, bool *made,
                                   m2snet_error *error);
/* Into pixels. */
m2snet_status m2s_inputs_on_host(const m2s_host *host, const m2s_inputs *inputs, float *pixels, m2snet_error *error);

#endif
