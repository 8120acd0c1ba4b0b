/* SPDX-License-Identifier: Apache-2.0
 * Which convolution: the first of all ways that works, or the fastest. What a library supports is known only when it is
 * asked to run, so a way is tried on scratch memory before it is taken. Measured is what a plan does later: several in
 * a row, captured into a graph, so that the host's part of a launch does not count. */
#include <stdio.h>
#include <string.h>

#include "backends/cuda/conv.h"
#include "backends/cuda/gemm.h"
#include "backends/cuda/runtime.h"

#define MOST_CHOICES 40
#define REPEATS      8    /* in a graph */
#define ROUNDS       3    /* launches of it, of which the fastest counts */
#define GAIN         0.97 /* a later way must be faster by so much: the first ones are the libraries' own advice */

/* What was chosen for a problem. */
typedef struct record {
    struct record *next;
    m2s_conv_problem problem;
    m2s_conv_choice choice;
} record;

_Static_assert(sizeof(m2s_conv_problem) == 15 * sizeof(int32_t) + 4 * sizeof(bool), "compared as bytes: no padding");

struct m2s_conv_chooser {
    m2s_memory *memory;
    m2s_conv_settings settings;
    m2s_conv_library *cudnn; /* NULL: not here */
    m2s_gemm_library *gemm;  /* NULL: not here */
    char text[160];
    record *records;
    void *stream; /* of trials */
    unsigned char *trial;
    size_t trial_bytes;
};

m2snet_status m2s_conv_chooser_open(m2s_memory *memory, const m2s_conv_settings *settings, m2s_conv_chooser **opened,
                                    m2snet_error *error)
{
    m2s_conv_chooser *c = m2s_calloc(memory, 1, sizeof *c);
    char no_cudnn[128] = "", no_gemm[128] = "";
    m2snet_status status;

    *opened = NULL;
    if (c == NULL) {
        return m2s_fail_memory(error, "convolutions", sizeof *c);
    }
    c->memory = memory;
    c->settings = *settings;
    M2S_TRY(m2s_cuda_fail(error, m2s_cuda_stream_create(&c->stream), "a stream"));
    M2S_TRY(m2s_conv_cudnn_open(memory, settings, &c->cudnn, no_cudnn, error));
    M2S_TRY(m2s_gemm_open(memory, &c->gemm, no_gemm, error));
    if (c->cudnn != NULL) {
        snprintf(c->text, sizeof c->text, "%s", m2s_conv_cudnn_version(c->cudnn));
    } else if (c->gemm != NULL) {
        snprintf(c->text, sizeof c->text, "%.40s (%.100s)", m2s_gemm_version(c->gemm), no_cudnn);
    } else {
        snprintf(c->text, sizeof c->text, "own convolutions (%.60s; %.60s)", no_cudnn, no_gemm);
    }
    *opened = c;
    return status;
fail:
    m2s_conv_chooser_close(c);
    return status;
}

void m2s_conv_chooser_close(m2s_conv_chooser *c)
{
    if (c == NULL) {
        return;
    }
    m2s_conv_chooser_trim(c);
    m2s_conv_cudnn_close(c->cudnn);
    m2s_gemm_close(c->gemm);
    m2s_cuda_stream_destroy(c->stream);
    for (record *r = c->records, *next; r != NULL; r = next) {
        next = r->next;
        m2s_free(c->memory, r);
    }
    m2s_free(c->memory, c);
}

void m2s_conv_chooser_trim(m2s_conv_chooser *c)
{
    m2s_device_free(c->settings.device_memory, c->trial, c->trial_bytes);
    c->trial = NULL;
    c->trial_bytes = 0;
}

const char *m2s_conv_chooser_text(const m2s_conv_chooser *c)
{
    return c->text;
}

bool m2s_conv_chooser_is_slow(const m2s_conv_chooser *c)
{
    return c->cudnn == NULL && c->gemm == NULL;
}

/* ---- trials ---- */

static size_t round_up(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

static m2snet_status reserve(m2s_conv_chooser *c, size_t bytes, m2snet_error *error)
{
    void *grown = NULL;
    m2snet_status status = M2SNET_STATUS_OK;

    if (c->trial_bytes < bytes) {
        m2s_conv_chooser_trim(c);
        M2S_TRY(m2s_cuda_fail(error, m2s_device_alloc(c->settings.device_memory, &grown, bytes),
                              "memory to try a convolution in"));
        c->trial = grown;
        c->trial_bytes = bytes;
    }
fail:
    return status;
}

/* Everything that it reads and writes, in scratch memory. */
static m2snet_status lay_out(m2s_conv_chooser *c, const m2s_prepared_conv *conv, m2s_conv_data *data,
                             m2snet_error *error)
{
    const m2s_conv_problem *p = &conv->problem;
    size_t element = m2s_dtype_bytes(p->storage);
    size_t x = round_up((size_t)p->n * (size_t)p->h * (size_t)p->w * (size_t)p->c * element);
    size_t y = round_up((size_t)p->n * (size_t)p->oh * (size_t)p->ow * (size_t)p->oc * element);
    size_t weights =
        round_up((size_t)p->oc * (size_t)(p->c / p->groups) * (size_t)(p->kh * p->kw) * sizeof(float)); /* or fewer */
    size_t bias = round_up((size_t)p->oc * sizeof(float));
    m2snet_status status;

    M2S_TRY(reserve(c, x + 2 * y + weights + bias + conv->workspace_bytes, error));
    *data = (m2s_conv_data){ .x = c->trial, .y = c->trial + x, .weights = c->trial + x + y };
    data->bias = p->bias ? c->trial + x + y + weights : NULL;
    data->residual = p->residual ? c->trial + x + y + weights + bias : NULL;
    data->workspace = c->trial + x + 2 * y + weights + bias;
fail:
    return status;
}

static m2s_cuda_call call_of(const m2s_conv_chooser *c, const m2s_prepared_conv *conv)
{
    return (m2s_cuda_call){ .stream = c->stream,
                            .storage = conv->problem.storage,
                            .multiprocessors = c->settings.multiprocessors };
}

/* Whether it works. */
static bool runs(const m2s_conv_chooser *c, const m2s_prepared_conv *conv, const m2s_conv_data *data)
{
    const m2s_cuda_call call = call_of(c, conv);
    int number = conv->launch(conv, &call, data);

    return m2s_cuda_synchronize(c->stream) == 0 && number == 0;
}

/* REPEATS of it as a graph; NULL when it cannot be captured. */
static void *capture(const m2s_conv_chooser *c, const m2s_prepared_conv *conv, const m2s_conv_data *data)
{
    const m2s_cuda_call call = call_of(c, conv);
    void *graph = NULL;
    int number = 0;

    if (m2s_cuda_capture_begin(c->stream) != 0) {
        return NULL;
    }
    for (int i = 0; i < REPEATS && number == 0; i++) {
        number = conv->launch(conv, &call, data);
    }
    number = m2s_cuda_capture_end(c->stream, &graph) != 0 ? 1 : number;
    if (number != 0) {
        m2s_cuda_graph_destroy(graph);
        graph = NULL;
    }
    return graph;
}

/* Milliseconds of one; false when it cannot be measured. */
static bool measure(const m2s_conv_chooser *c, const m2s_prepared_conv *conv, const m2s_conv_data *data, float *ms)
{
    void *graph = capture(c, conv, data), *begin = NULL, *end = NULL;
    bool works = graph != NULL && m2s_cuda_event_create(&begin) == 0 && m2s_cuda_event_create(&end) == 0;

    for (int round = 0; round <= ROUNDS && works; round++) { /* the first one warms up */
        float passed = 0.0f;
        works = m2s_cuda_event_record(begin, c->stream) == 0 && m2s_cuda_graph_launch(c->stream, graph) == 0 &&
                m2s_cuda_event_record(end, c->stream) == 0 && m2s_cuda_synchronize(c->stream) == 0 &&
                m2s_cuda_event_milliseconds(begin, end, &passed) == 0;
        *ms = round <= 1 || passed < *ms ? passed : *ms;
    }
    *ms /= REPEATS;
    (void)m2s_cuda_synchronize(c->stream);
    m2s_cuda_event_destroy(begin);
    m2s_cuda_event_destroy(end);
    m2s_cuda_graph_destroy(graph);
    return works;
}

/* ---- choosing ---- */

static int32_t list_all(m2s_conv_chooser *c, const m2s_conv_problem *problem, bool libraries,
                        m2s_conv_choice list[MOST_CHOICES])
{
    int32_t count = 0;

    if (c->cudnn != NULL) {
        count += m2s_conv_cudnn_list(c->cudnn, problem, list, MOST_CHOICES - 1);
    }
    if (c->gemm != NULL) {
        count += m2s_conv_gemm_list(problem, list + count, MOST_CHOICES - 1 - count);
    }
    if (!libraries) {
        list[count++] = (m2s_conv_choice){ .provider = M2S_CONV_DIRECT };
    }
    return count;
}

static m2snet_status make(m2s_conv_chooser *c, const m2s_conv_problem *problem, const m2s_conv_choice *choice,
                          m2s_prepared_conv **conv, m2snet_error *error)
{
    switch (choice->provider) {
    case M2S_CONV_CUDNN:
        return m2s_conv_cudnn_make(c->cudnn, problem, choice, conv, error);
    case M2S_CONV_GEMM:
        return m2s_conv_gemm_make(c->memory, c->gemm, c->settings.most_workspace_bytes, problem, choice, conv, error);
    default:
        return m2s_conv_direct_create(c->memory, problem, conv, error);
    }
}

static void drop(m2s_conv_chooser *c, m2s_prepared_conv *conv)
{
    if (conv != NULL) {
        conv->destroy(c->memory, conv);
    }
}

/* The own kernels come last and need no trial; they are measured only against others, since they may be very slow. */
static m2snet_status choose(m2s_conv_chooser *c, const m2s_conv_problem *problem, bool libraries,
                            m2s_conv_choice *chosen, m2s_prepared_conv **best, m2snet_error *error)
{
    m2s_conv_choice list[MOST_CHOICES];
    int32_t count = list_all(c, problem, libraries, list);
    m2s_prepared_conv *conv = NULL;
    m2s_conv_data data;
    float least = 0.0f, ms = 0.0f;
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t i = 0; i < count && (*best == NULL || c->settings.search); i++) {
        bool own = list[i].provider == M2S_CONV_DIRECT;
        if (own && *best != NULL && problem->groups == 1) {
            break;
        }
        M2S_TRY(make(c, problem, &list[i], &conv, error));
        bool works = conv != NULL;
        if (works && !(own && *best == NULL)) {
            M2S_TRY(lay_out(c, conv, &data, error));
            works = runs(c, conv, &data) && (!c->settings.search || measure(c, conv, &data, &ms));
        }
        if (works && (*best == NULL || ms < least * (float)GAIN)) {
            drop(c, *best);
            *best = conv;
            *chosen = list[i];
            least = ms;
        } else {
            drop(c, conv);
        }
        conv = NULL;
    }
    m2s_log_write(c->settings.log, M2SNET_LOG_DEBUG,
                  "cuda: convolution %d of %d x %d x %d x %d to %d channels, %d x %d / %d: %s %d, %.4f ms, of %d",
                  (int)problem->kind, problem->n, problem->h, problem->w, problem->c, problem->oc, problem->kh,
                  problem->kw, problem->stride, *best != NULL ? (*best)->name : "none", chosen->algorithm,
                  (double)least, count);
fail:
    drop(c, conv);
    if (status != M2SNET_STATUS_OK) {
        drop(c, *best);
        *best = NULL;
    }
    return status;
}

m2snet_status m2s_conv_choose(m2s_conv_chooser *c, const m2s_conv_problem *problem, bool libraries,
                              m2s_prepared_conv **conv, m2snet_error *error)
{
    record *r = c->records;
    m2snet_status status = M2SNET_STATUS_OK;

    *conv = NULL;
    while (r != NULL && memcmp(&r->problem, problem, sizeof *problem) != 0) {
        r = r->next;
    }
    if (r != NULL && libraries && r->choice.provider == M2S_CONV_DIRECT) {
        return status;
    }
    if (r != NULL) {
        M2S_TRY(make(c, problem, &r->choice, conv, error));
        if (*conv != NULL) {
            return status;
        }
    }
    r = m2s_alloc(c->memory, sizeof *r);
    if (r == NULL) {
        return m2s_fail_memory(error, "a convolution", sizeof *r);
    }
    *r = (record){ c->records, *problem, { .provider = M2S_CONV_DIRECT } };
    status = choose(c, problem, libraries, &r->choice, conv, error);
    if (status == M2SNET_STATUS_OK && *conv != NULL) {
        c->records = r;
        return status;
    }
    m2s_free(c->memory, r);
fail:
    return status;
}
