/* SPDX-License-Identifier: Apache-2.0
 * attention and attention_grad by matrix products, head by head. Keys and values are packed once; then a worker makes
 * all scores of a few queries at a time, which stay in its own cache and are never stored as a whole.
 *
 * A query's result does not depend on which others are computed beside it. In the gradient, the sums over queries for
 * keys and values are cut into parts, which follow from the shapes, and the parts are added up at the end. */
#include <string.h>

#include "backends/cpu/plan.h"

/* Scores that a worker holds at a time, and at most, at least so many queries' of them. */
#define SCORES       65536
#define MOST_QUERIES 96
#define FEW_QUERIES  32
/* Multiply-adds of a chunk. */
#define CHUNK_WORK (4 * 1000 * 1000)
/* Chunks that the gradient wants for its threads, heads and images counted. */
#define GRAD_CHUNKS 16

typedef enum operand { KEYS_ACROSS, VALUES_ACROSS, KEYS, VALUES } operand;

/* Across: columns are pixels, rows a head's channels; else the other way round. */
static bool is_across(operand which)
{
    return which == KEYS_ACROSS || which == VALUES_ACROSS;
}

#define MOST_OPERANDS 3

typedef struct attention_detail {
    int64_t images, heads, width; /* width: channels of a head */
    int64_t pixels, keys, channels;
    int64_t queries; /* computed together */
    int64_t stride;  /* numbers from a query's scores to the next one's */
    int64_t bands;   /* of a head's queries */
    int32_t operands;
    operand which[MOST_OPERANDS];
    int64_t packed[MOST_OPERANDS], packed_at[MOST_OPERANDS]; /* numbers of a head's, and where the first head's are */
    int64_t parts_at;                                        /* gradient: sums of bands, in scratch */
} attention_detail;

static void free_detail(m2s_memory *memory, void *detail)
{
    m2s_free(memory, detail);
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Numbers of keys and values before those of head `unit`, heads counted through all images. */
static int64_t keys_offset(const attention_detail *detail, int64_t unit)
{
    return unit / detail->heads * detail->keys * 2 * detail->channels + unit % detail->heads * detail->width;
}

static int64_t query_offset(const attention_detail *detail, int64_t unit, int64_t query)
{
    return (unit / detail->heads * detail->pixels + query) * detail->channels + unit % detail->heads * detail->width;
}

static float *packed_operand(const m2s_step *step, int32_t i, int64_t unit)
{
    const attention_detail *detail = step->detail;

    return (float *)step->args.scratch + detail->packed_at[i] + unit * detail->packed[i];
}

/* One operand of one head, in panels of columns (kernels.h). */
static void run_pack(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const attention_detail *detail = step->detail;
    int32_t i = (int32_t)(chunk % detail->operands);
    int64_t unit = chunk / detail->operands, pixel = 2 * detail->channels;
    operand which = detail->which[i];
    bool across = is_across(which), values = which == VALUES || which == VALUES_ACROSS;
    int64_t columns = across ? detail->keys : detail->width, depth = across ? detail->width : detail->keys;
    int64_t column_step = across ? pixel : 1, row_step = across ? 1 : pixel;
    int64_t packed = m2s_gemm_packed_columns(step->kernels, columns), panel = step->kernels->panel_columns;
    const float *src = step->args.in[step->node.in_count - 1];
    float *dst = packed_operand(step, i, unit);

    (void)task;
    (void)worker;
    src += keys_offset(detail, unit) + (values ? detail->channels : 0);
    for (int64_t begin = 0; begin < packed; begin += panel) {
        int64_t end = smaller(begin + panel, packed), valid = smaller(end, columns);
        for (int64_t k = 0; k < depth; k++) {
            const float *from = src + k * row_step;
            for (int64_t j = begin; j < valid; j++) {
                *dst++ = from[j * column_step];
            }
            for (int64_t j = valid; j < end; j++) {
                *dst++ = 0.0f;
            }
        }
    }
}

/* c (rows x columns) = a (rows x depth) times operand i of a head. */
static void multiply_operand(const m2s_step *step, int32_t i, int64_t unit, int64_t rows, const float *a,
                             int64_t a_stride, float *c, int64_t c_stride)
{
    const attention_detail *detail = step->detail;
    bool across = is_across(detail->which[i]);

    step->kernels->gemm(&(m2s_gemm){
        .rows = rows,
        .columns = across ? detail->keys : detail->width,
        .depth = across ? detail->width : detail->keys,
        .a = a,
        .a_stride = a_stride,
        .b = packed_operand(step, i, unit),
        .c = c,
        .c_stride = c_stride,
    });
}

static void run_band(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const attention_detail *detail = step->detail;
    int64_t unit = chunk / detail->bands;
    m2s_cut band = m2s_cut_part(detail->pixels, detail->bands, chunk % detail->bands);
    float *scores = m2s_step_worker_scratch(step, worker);

    (void)task;
    for (int64_t begin = band.begin; begin < band.end; begin += detail->queries) {
        int64_t rows = smaller(detail->queries, band.end - begin), at = query_offset(detail, unit, begin);
        multiply_operand(step, 0, unit, rows, (const float *)step->args.in[0] + at, detail->channels, scores,
                         detail->stride);
        step->kernels->softmax_rows(scores, (float)step->node.attrs.alpha, rows, detail->keys, detail->stride);
        multiply_operand(step, 1, unit, rows, scores, detail->stride, (float *)step->args.out[0] + at,
                         detail->channels);
    }
}

/* ---- gradient ---- */

/* sums (keys x width) (+)= the outer products of rows of scores and of numbers. */
static void add_outer(const m2s_step *step, const float *scores, const float *numbers, int64_t rows, float *sums,
                      int64_t stride, bool accumulate)
{
    const attention_detail *detail = step->detail;

    step->kernels->outer(&(m2s_outer){
        .rows = detail->keys,
        .columns = detail->width,
        .segments = 1,
        .count = rows,
        .a = scores,
        .a_step = detail->stride,
        .b = numbers,
        .b_step = detail->channels,
        .c = sums,
        .c_stride = stride,
        .accumulate = accumulate,
    });
}

static void run_grad_band(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const attention_detail *detail = step->detail;
    int64_t unit = chunk / detail->bands, stride = 2 * detail->channels;
    m2s_cut band = m2s_cut_part(detail->pixels, detail->bands, chunk % detail->bands);
    float alpha = (float)step->node.attrs.alpha;
    float *scores = m2s_step_worker_scratch(step, worker), *back = scores + detail->queries * detail->stride;
    float *key_sums = (float *)step->args.out[1] + keys_offset(detail, unit), *value_sums = key_sums + detail->channels;

    (void)task;
    if (detail->bands > 1) {
        stride = detail->width;
        key_sums = (float *)step->args.scratch + detail->parts_at + chunk * 2 * detail->keys * detail->width;
        value_sums = key_sums + detail->keys * detail->width;
    }
    for (int64_t begin = band.begin; begin < band.end; begin += detail->queries) {
        int64_t rows = smaller(detail->queries, band.end - begin), at = query_offset(detail, unit, begin);
        const float *diff = (const float *)step->args.in[0] + at, *query = (const float *)step->args.in[1] + at;
        multiply_operand(step, 0, unit, rows, query, detail->channels, scores, detail->stride);
        step->kernels->softmax_rows(scores, alpha, rows, detail->keys, detail->stride);
        add_outer(step, scores, diff, rows, value_sums, stride, begin > band.begin);
        multiply_operand(step, 1, unit, rows, diff, detail->channels, back, detail->stride);
        step->kernels->softmax_grad_rows(back, scores, alpha, rows, detail->keys, detail->stride);
        add_outer(step, back, query, rows, key_sums, stride, begin > band.begin);
        multiply_operand(step, 2, unit, rows, back, detail->stride, (float *)step->args.out[0] + at, detail->channels);
    }
}

/* Adds up the bands of a head: row by row of keys and values. */
static void run_grad_sum(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const attention_detail *detail = step->detail;
    int64_t each = detail->keys * detail->width;
    const float *parts = (const float *)step->args.scratch + detail->parts_at + chunk * detail->bands * 2 * each;
    float *dst = (float *)step->args.out[1] + keys_offset(detail, chunk);

    (void)task;
    (void)worker;
    for (int64_t j = 0; j < 2 * detail->keys; j++) {
        float *row = dst + j % detail->keys * 2 * detail->channels + j / detail->keys * detail->channels;
        memcpy(row, parts + j * detail->width, (size_t)detail->width * sizeof(float));
        for (int64_t band = 1; band < detail->bands; band++) {
            step->kernels->add_scaled(row, parts + band * 2 * each + j * detail->width, 1.0f, detail->width);
        }
    }
}

/* ---- lowering ---- */

static void place_operands(m2s_step *step, attention_detail *detail, const operand *which, int32_t count)
{
    int64_t at = 0, units = detail->images * detail->heads;

    detail->operands = count;
    for (int32_t i = 0; i < count; i++) {
        bool across = is_across(which[i]);
        detail->which[i] = which[i];
        detail->packed[i] = m2s_gemm_packed_columns(step->kernels, across ? detail->keys : detail->width) *
                            (across ? detail->width : detail->keys);
        detail->packed_at[i] = at;
        at += units * detail->packed[i];
    }
    detail->parts_at = at;
    step->scratch_bytes = (size_t)at * sizeof(float);
}

m2snet_status m2s_lower_attention(const m2s_lowering *lowering, m2snet_error *error)
{
    static const operand forward[] = { KEYS_ACROSS, VALUES }, backward[] = { KEYS_ACROSS, VALUES_ACROSS, KEYS };
    m2s_step *step = lowering->step;
    bool gradient = step->node.op == M2S_OP_attention_grad;
    m2s_shape query = step->args.out_shape[0], other = step->args.in_shape[step->node.in_count - 1];
    attention_detail *detail = m2s_calloc(lowering->device->host->memory, 1, sizeof *detail);
    m2snet_status status = M2SNET_STATUS_OK;

    if (detail == NULL) {
        return m2s_fail_memory(error, step->name, sizeof *detail);
    }
    step->detail = detail;
    step->free_detail = free_detail;
    M2S_TRY(m2s_lowering_plain_constants(lowering, error));
    detail->images = query.n;
    detail->heads = step->node.attrs.groups;
    detail->channels = query.c;
    detail->width = query.c / detail->heads;
    detail->pixels = query.h * query.w;
    detail->keys = other.h * other.w;
    /* A line more, so that rows of a power of two do not fall into the same places of a cache. */
    detail->stride = m2s_gemm_packed_columns(step->kernels, detail->keys) + 16;
    detail->queries = SCORES / (gradient ? 2 : 1) / detail->keys;
    detail->queries = detail->queries < FEW_QUERIES ? FEW_QUERIES : smaller(detail->queries, MOST_QUERIES);
    detail->queries = smaller(detail->queries, detail->pixels);
    int64_t units = detail->images * detail->heads;
    size_t scores = (size_t)(detail->queries * detail->stride) * sizeof(float);

    m2s_step_set_kernel(step, "rows %s", step->kernels->name);
    place_operands(step, detail, gradient ? backward : forward, gradient ? 3 : 2);
    m2s_step_add_task(step, run_pack, units * detail->operands);
    if (!gradient) {
        detail->bands = m2s_cut_count(detail->pixels, 2 * detail->keys * detail->width, CHUNK_WORK);
        step->worker_bytes = scores;
        m2s_step_add_task(step, run_band, units * detail->bands);
        return status;
    }
    detail->bands = smaller((GRAD_CHUNKS + units - 1) / units, detail->pixels);
    step->worker_bytes = 2 * scores;
    m2s_step_add_task(step, run_grad_band, units * detail->bands);
    if (detail->bands > 1) {
        step->scratch_bytes += (size_t)(units * detail->bands * 2 * detail->keys * detail->width) * sizeof(float);
        m2s_step_add_task(step, run_grad_sum, units);
    }
fail:
    return status;
}
