/* SPDX-License-Identifier: Apache-2.0
 * Attention within windows, head by head: a window's few pixels are gathered, their products are small matrix products.
 * Also the joining of 2 x 2 pixels. */
#include <stdio.h>
#include <string.h>

#include "backends/cpu/plan.h"
#include "graph/windows.h"

#define ROUND(n, to) (((n) + (to)-1) / (to) * (to))

/* ---- a head of a window ---- */

typedef struct window_step {
    m2s_window_map map;
    int64_t images, heads, part, depth; /* channels: of a third of qkv, of a head */
    int64_t stride;                     /* of the scores' rows */
    int64_t panel_pixels, panel_depth;  /* columns of packed operands of so many columns */
    const float *qkv, *table, *pad;     /* pad may be NULL */
    const float *diff;                  /* of the gradient; else NULL */
    float alpha;
} window_step;

static window_step describe(const m2s_step *step)
{
    int32_t first = step->node.op == M2S_OP_window_attention_grad ? 1 : 0;
    const m2s_ref_args *args = &step->args;
    m2s_shape shape = args->in_shape[first];
    window_step w = { .map = m2s_window_map_of(shape, &step->node.attrs),
                      .images = shape.n,
                      .heads = step->node.attrs.groups,
                      .part = shape.c / 3,
                      .qkv = args->in[first],
                      .table = args->in[first + 1],
                      .pad = args->in_count > first + 2 ? args->in[first + 2] : NULL,
                      .diff = first == 1 ? args->in[0] : NULL,
                      .alpha = (float)step->node.attrs.alpha };

    w.depth = w.part / w.heads;
    w.stride = ROUND(w.map.pixels, 16);
    w.panel_pixels = m2s_gemm_packed_columns(step->kernels, w.map.pixels);
    w.panel_depth = m2s_gemm_packed_columns(step->kernels, w.depth);
    return w;
}

/* A worker's room, and where the window is. */
typedef struct window_room {
    float *query;                     /* pixels x depth, times alpha */
    float *packed;                    /* the second factor of a product */
    float *shares;                    /* pixels x stride */
    float *scores;                    /* the same; of gradients */
    float *diff;                      /* pixels x depth; of gradients */
    float *result;                    /* pixels x depth */
    float *piece;                     /* stride */
    float *sums;                      /* pixels x stride: of the table's gradient */
    bool pieces;                      /* there is more than one */
    int64_t place[M2S_WINDOW_PIXELS]; /* of all images; -1: padding */
} window_room;

static int64_t packed_numbers(const window_step *w)
{
    int64_t by_depth = w->map.pixels * w->panel_depth, by_pixels = w->depth * w->panel_pixels;

    return by_depth > by_pixels ? by_depth : by_pixels;
}

static size_t room_bytes(const window_step *w)
{
    int64_t numbers = 3 * w->map.pixels * w->depth + packed_numbers(w) + 3 * w->map.pixels * w->stride + w->stride;

    return (size_t)numbers * sizeof(float);
}

static window_room room_of(const m2s_step *step, const window_step *w, int worker)
{
    int64_t narrow = w->map.pixels * w->depth, wide = w->map.pixels * w->stride;
    window_room r = { .query = m2s_step_worker_scratch(step, worker) };

    r.packed = r.query + narrow;
    r.shares = r.packed + packed_numbers(w);
    r.scores = r.shares + wide;
    r.diff = r.scores + wide;
    r.result = r.diff + narrow;
    r.sums = r.result + narrow;
    r.piece = r.sums + wide;
    return r;
}

static void find_pixels(const window_step *w, int64_t window, window_room *r)
{
    int64_t column = window % w->map.columns, row = window / w->map.columns % w->map.rows;
    int64_t image = window / w->map.columns / w->map.rows;

    r->pieces = false;
    for (int64_t i = 0; i < w->map.pixels; i++) {
        int64_t pixel = m2s_window_pixel(&w->map, row, column, i);
        r->place[i] = pixel < 0 ? -1 : image * w->map.h * w->map.w + pixel;
        r->piece[i] = (float)m2s_window_piece(&w->map, row, column, i);
        r->pieces = r->pieces || r->piece[i] != r->piece[0];
    }
}

/* Part 0 (query), 1 (key), 2 (value) of pixel i; NULL: zeros. */
static const float *numbers_of(const window_step *w, const window_room *r, int64_t i, int64_t part, int64_t head)
{
    int64_t at = part * w->part + head * w->depth;

    return r->place[i] >= 0 ? w->qkv + r->place[i] * 3 * w->part + at : w->pad != NULL ? w->pad + at : NULL;
}

/* The second factor with a row a pixel. */
static void pack_rows(const m2s_step *step, const window_step *w, window_room *r, int64_t part, int64_t head)
{
    int64_t most = step->kernels->panel_columns;

    for (int64_t i = 0; i < w->map.pixels; i++) {
        const float *src = numbers_of(w, r, i, part, head);
        for (int64_t begin = 0; begin < w->panel_depth; begin += most) {
            int64_t width = w->panel_depth - begin < most ? w->panel_depth - begin : most;
            int64_t count = w->depth - begin < width ? w->depth - begin : width;
            float *dst = r->packed + begin * w->map.pixels + i * width;
            count = src != NULL ? count : 0;
            if (count > 0) {
                memcpy(dst, src + begin, (size_t)count * sizeof *dst);
            }
            memset(dst + count, 0, (size_t)(width - count) * sizeof *dst);
        }
    }
}

/* The second factor with a column a pixel. */
static void pack_columns(const m2s_step *step, const window_step *w, window_room *r, int64_t part, int64_t head)
{
    int64_t most = step->kernels->panel_columns;

    for (int64_t begin = 0; begin < w->panel_pixels; begin += most) {
        int64_t width = w->panel_pixels - begin < most ? w->panel_pixels - begin : most;
        float *dst = r->packed + begin * w->depth;
        for (int64_t i = 0; i < width; i++) {
            const float *src = begin + i < w->map.pixels ? numbers_of(w, r, begin + i, part, head) : NULL;
            for (int64_t k = 0; k < w->depth; k++) {
                dst[k * width + i] = src != NULL ? src[k] : 0.0f;
            }
        }
    }
}

static void gather_queries(const window_step *w, window_room *r, int64_t head)
{
    for (int64_t i = 0; i < w->map.pixels; i++) {
        const float *src = numbers_of(w, r, i, 0, head);
        for (int64_t k = 0; k < w->depth; k++) {
            r->query[i * w->depth + k] = src != NULL ? w->alpha * src[k] : 0.0f;
        }
    }
}

/* shares = softmax(alpha Q K^T + bias) */
static void make_shares(const m2s_step *step, const window_step *w, window_room *r, const float *bias, int64_t head)
{
    gather_queries(w, r, head);
    pack_columns(step, w, r, 1, head);
    step->kernels->gemm(&(m2s_gemm){ .rows = w->map.pixels,
                                     .columns = w->map.pixels,
                                     .depth = w->depth,
                                     .a = r->query,
                                     .a_stride = w->depth,
                                     .b = r->packed,
                                     .c = r->shares,
                                     .c_stride = w->stride });
    step->kernels->window_softmax(&(m2s_window_softmax){ .pixels = w->map.pixels,
                                                         .stride = w->stride,
                                                         .scores = r->shares,
                                                         .bias = bias + head * w->map.pixels * w->stride,
                                                         .piece = r->pieces ? r->piece : NULL });
}

/* result = rows x packed, rows: pixels x pixels. */
static void multiply_rows(const m2s_step *step, const window_step *w, window_room *r, const float *rows)
{
    step->kernels->gemm(&(m2s_gemm){ .rows = w->map.pixels,
                                     .columns = w->depth,
                                     .depth = w->map.pixels,
                                     .a = rows,
                                     .a_stride = w->stride,
                                     .b = r->packed,
                                     .c = r->result,
                                     .c_stride = w->depth });
}

/* ---- the position table, spread out: heads x pixels x stride ---- */

static void spread_table(const window_step *w, const float *table, int64_t head, float *bias)
{
    for (int64_t i = 0; i < w->map.pixels; i++) {
        float *row = bias + (head * w->map.pixels + i) * w->stride;
        for (int64_t j = 0; j < w->stride; j++) {
            row[j] = j < w->map.pixels ? table[m2s_window_offset(w->map.side, i, j) * w->heads + head] : 0.0f;
        }
    }
}

static void run_table(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    window_step w = describe(step);

    (void)task;
    (void)worker;
    spread_table(&w, w.table, chunk, step->args.scratch);
}

static m2snet_status pack_table(void *argument, const float *plain, void *packed, m2snet_error *error)
{
    const window_step *w = argument;

    (void)error;
    for (int64_t head = 0; head < w->heads; head++) {
        spread_table(w, plain, head, packed);
    }
    return M2SNET_STATUS_OK;
}

/* What lowering found out. */
typedef struct window_detail {
    const float *bias; /* of a constant table; NULL: made in each run, in the step's scratch */
} window_detail;

static const float *bias_of(const m2s_step *step)
{
    const window_detail *detail = step->detail;

    return detail->bias != NULL ? detail->bias : step->args.scratch;
}

/* ---- forward: a unit is a head of a window ---- */

static void run_attention(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    window_step w = describe(step);
    window_room r = room_of(step, &w, worker);
    int64_t units = w.images * w.map.rows * w.map.columns * w.heads;
    m2s_cut cut = m2s_cut_part(units, step->tasks[task].chunks, chunk);
    float *dst = step->args.out[0];

    for (int64_t unit = cut.begin; unit < cut.end; unit++) {
        int64_t head = unit % w.heads;
        if (unit == cut.begin || head == 0) {
            find_pixels(&w, unit / w.heads, &r);
        }
        make_shares(step, &w, &r, bias_of(step), head);
        pack_rows(step, &w, &r, 2, head);
        multiply_rows(step, &w, &r, r.shares);
        for (int64_t i = 0; i < w.map.pixels; i++) {
            if (r.place[i] >= 0) {
                memcpy(dst + r.place[i] * w.part + head * w.depth, r.result + i * w.depth,
                       (size_t)w.depth * sizeof *dst);
            }
        }
    }
}

/* ---- gradient ---- */

/* Part of the gradient of a window's pixels; the padding's is added to pad, which may be NULL. */
static void scatter(const window_step *w, const window_room *r, int64_t part, int64_t head, float factor,
                    float *diff_qkv, float *pad)
{
    int64_t at = part * w->part + head * w->depth;

    for (int64_t i = 0; i < w->map.pixels; i++) {
        const float *src = r->result + i * w->depth;
        float *dst = r->place[i] >= 0 ? diff_qkv + r->place[i] * 3 * w->part + at : pad != NULL ? pad + at : NULL;
        for (int64_t k = 0; dst != NULL && k < w->depth; k++) {
            dst[k] = factor * src[k] + (r->place[i] >= 0 ? 0.0f : dst[k]);
        }
    }
}

/* result = left^T right: left pixels x pixels, right pixels x depth. */
static void multiply_turned(const m2s_step *step, const window_step *w, window_room *r, const float *left,
                            const float *right)
{
    step->kernels->outer(&(m2s_outer){ .rows = w->map.pixels,
                                       .columns = w->depth,
                                       .segments = 1,
                                       .count = w->map.pixels,
                                       .a = left,
                                       .a_step = w->stride,
                                       .b = right,
                                       .b_step = w->depth,
                                       .c = r->result,
                                       .c_stride = w->depth });
}

static void differentiate(const m2s_step *step, const window_step *w, window_room *r, int64_t head, float *diff_qkv,
                          float *pad)
{
    make_shares(step, w, r, bias_of(step), head);
    for (int64_t i = 0; i < w->map.pixels; i++) {
        float *row = r->diff + i * w->depth;
        if (r->place[i] >= 0) {
            memcpy(row, w->diff + r->place[i] * w->part + head * w->depth, (size_t)w->depth * sizeof *row);
        } else {
            memset(row, 0, (size_t)w->depth * sizeof *row);
        }
    }
    multiply_turned(step, w, r, r->shares, r->diff);
    scatter(w, r, 2, head, 1.0f, diff_qkv, pad);

    pack_columns(step, w, r, 2, head);
    step->kernels->gemm(&(m2s_gemm){ .rows = w->map.pixels,
                                     .columns = w->map.pixels,
                                     .depth = w->depth,
                                     .a = r->diff,
                                     .a_stride = w->depth,
                                     .b = r->packed,
                                     .c = r->scores,
                                     .c_stride = w->stride });
    step->kernels->window_softmax_back(&(m2s_window_softmax){
        .pixels = w->map.pixels, .stride = w->stride, .scores = r->scores, .shares = r->shares });
    multiply_turned(step, w, r, r->scores, r->query); /* which holds alpha */
    scatter(w, r, 1, head, 1.0f, diff_qkv, pad);
    pack_rows(step, w, r, 1, head);
    multiply_rows(step, w, r, r->scores);
    scatter(w, r, 0, head, w->alpha, diff_qkv, NULL);
}

static void run_gradient(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    window_step w = describe(step);
    window_room r = room_of(step, &w, worker);
    int64_t units = w.images * w.map.rows * w.map.columns * w.heads;
    m2s_cut cut = m2s_cut_part(units, step->tasks[task].chunks, chunk);

    for (int64_t unit = cut.begin; unit < cut.end; unit++) {
        if (unit == cut.begin || unit % w.heads == 0) {
            find_pixels(&w, unit / w.heads, &r);
        }
        differentiate(step, &w, &r, unit % w.heads, step->args.out[0], NULL);
    }
}

/* With the gradients of table and padding, which are sums over all windows: a chunk is a head. */
static void run_whole_gradient(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    window_step w = describe(step);
    window_room r = room_of(step, &w, worker);
    int64_t offsets = 2 * w.map.side - 1, scores = w.map.pixels * w.stride;
    float *diff_table = step->args.out[1], *pad = step->args.out[2];

    (void)task;
    for (int64_t part = 0; pad != NULL && part < 3; part++) {
        memset(pad + part * w.part + chunk * w.depth, 0, (size_t)w.depth * sizeof *pad);
    }
    memset(r.sums, 0, (size_t)scores * sizeof *r.sums);
    for (int64_t window = 0; window < w.images * w.map.rows * w.map.columns; window++) {
        find_pixels(&w, window, &r);
        differentiate(step, &w, &r, chunk, step->args.out[0], pad);
        for (int64_t i = 0; i < w.map.pixels; i++) {
            step->kernels->add_scaled(r.sums + i * w.stride, r.scores + i * w.stride, 1.0f, w.map.pixels);
        }
    }
    for (int64_t o = 0; o < offsets * offsets; o++) {
        diff_table[o * w.heads + chunk] = 0.0f;
    }
    for (int64_t i = 0; i < w.map.pixels; i++) {
        for (int64_t j = 0; j < w.map.pixels; j++) {
            diff_table[m2s_window_offset(w.map.side, i, j) * w.heads + chunk] += r.sums[i * w.stride + j];
        }
    }
}

static void free_detail(m2s_memory *memory, void *detail)
{
    m2s_free(memory, detail);
}

m2snet_status m2s_lower_window_attention(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_memory *memory = lowering->device->host->memory;
    bool gradient = step->node.op == M2S_OP_window_attention_grad;
    window_step w = describe(step);
    int64_t units = w.images * w.map.rows * w.map.columns * w.heads;
    size_t bias_bytes = (size_t)(w.heads * w.map.pixels * w.stride) * sizeof(float);
    window_detail *detail = m2s_calloc(memory, 1, sizeof *detail);
    m2snet_status status;

    if (detail == NULL) {
        return m2s_fail_memory(error, "a plan", sizeof *detail);
    }
    step->detail = detail;
    step->free_detail = free_detail;
    M2S_TRY(m2s_lowering_plain_constants(lowering, error));
    if (m2s_lowering_is_constant(lowering, gradient ? 2 : 1)) {
        const void *packed = NULL;
        char layout[32];
        snprintf(layout, sizeof layout, "positions %d", (int)w.map.side);
        M2S_TRY(m2s_lowering_pack(lowering, gradient ? 2 : 1, layout, bias_bytes, pack_table, &w, &packed, error));
        detail->bias = packed;
    } else {
        step->scratch_bytes = bias_bytes;
        m2s_step_add_task(step, run_table, w.heads);
    }
    step->worker_bytes = room_bytes(&w);
    m2s_step_set_kernel(step, "windows %s", step->kernels->name);
    if (gradient && step->node.attrs.frozen == 0) {
        m2s_step_add_task(step, run_whole_gradient, w.heads);
    } else {
        m2s_step_add_task(
            step, gradient ? run_gradient : run_attention,
            m2s_cut_count(units, (gradient ? 5 : 2) * w.map.pixels * w.map.pixels * w.depth / 8, M2S_CHUNK_NUMBERS));
    }
fail:
    return status;
}

/* ---- 2 x 2 pixels ---- */

static void run_merge(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_shape src_shape = step->args.in_shape[0], shape = step->args.out_shape[0];
    m2s_cut rows = m2s_cut_part(shape.n * shape.h, step->tasks[task].chunks, chunk);
    const float *src = step->args.in[0];
    float *dst = (float *)step->args.out[0] + rows.begin * shape.w * shape.c;
    size_t bytes = (size_t)src_shape.c * sizeof *dst;

    (void)worker;
    for (int64_t row = rows.begin; row < rows.end; row++) {
        for (int64_t at = 0; at < 4 * shape.w; at++, dst += src_shape.c) {
            int64_t y = 2 * (row % shape.h) + at % 2, x = 2 * (at / 4) + at % 4 / 2;
            if (y < src_shape.h && x < src_shape.w) {
                memcpy(dst, src + ((row / shape.h * src_shape.h + y) * src_shape.w + x) * src_shape.c, bytes);
            } else {
                memset(dst, 0, bytes);
            }
        }
    }
}

static void run_merge_grad(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_shape diff_shape = step->args.in_shape[0], shape = step->args.out_shape[0];
    m2s_cut rows = m2s_cut_part(shape.n * shape.h, step->tasks[task].chunks, chunk);
    const float *diff = step->args.in[0];
    float *dst = (float *)step->args.out[0] + rows.begin * shape.w * shape.c;

    (void)worker;
    for (int64_t row = rows.begin; row < rows.end; row++) {
        int64_t n = row / shape.h, y = row % shape.h;
        for (int64_t x = 0; x < shape.w; x++, dst += shape.c) {
            int64_t pixel = (n * diff_shape.h + y / 2) * diff_shape.w + x / 2;
            memcpy(dst, diff + (pixel * 4 + y % 2 + 2 * (x % 2)) * shape.c, (size_t)shape.c * sizeof *dst);
        }
    }
}

m2snet_status m2s_lower_merge_patches(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_shape shape = step->args.out_shape[0];
    m2snet_status status = m2s_lowering_plain_constants(lowering, error);

    m2s_step_set_kernel(step, "copies");
    m2s_step_add_task(step, step->node.op == M2S_OP_merge_patches ? run_merge : run_merge_grad,
                      m2s_cut_count(shape.n * shape.h, shape.w * shape.c, M2S_CHUNK_NUMBERS));
    return status;
}
