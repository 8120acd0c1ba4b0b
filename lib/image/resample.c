/* SPDX-License-Identifier: Apache-2.0 */
#include "image/resample.h"

#include <math.h>
#include <string.h>

#include "image/resample_kernels.h"

#define CUT_ROWS 16 /* rows to a chunk of work */

/* ---- weights ---- */

static void axis_release(m2s_memory *memory, m2s_filter_axis *a)
{
    m2s_free(memory, a->first);
    m2s_free(memory, a->count);
    m2s_free(memory, a->real);
    m2s_free(memory, a->fixed);
    m2s_free(memory, a->split);
    *a = (m2s_filter_axis){ 0 };
}

/* Weights of one output; the order of operations is Pillow's. */
static void weigh(int32_t in, double scale, double support, int32_t o, int32_t *first, int32_t *count, double *weights)
{
    double centre = (o + 0.5) * scale;
    double inverse = 1.0 / support;
    double sum = 0.0;
    int32_t low = (int32_t)(centre - support + 0.5);
    int32_t high = (int32_t)(centre + support + 0.5);

    low = low < 0 ? 0 : low;
    high = high > in ? in : high;
    for (int32_t x = low; x < high; x++) {
        double distance = fabs((x - centre + 0.5) * inverse);
        weights[x - low] = distance < 1.0 ? 1.0 - distance : 0.0;
        sum += weights[x - low];
    }
    for (int32_t i = 0; i < high - low; i++) {
        if (sum != 0.0) {
            weights[i] /= sum;
        }
    }
    *first = low;
    *count = high - low;
}

static void fix_weights(m2s_filter_axis *a, int32_t o, const double *weights)
{
    int32_t *fixed = a->fixed + (ptrdiff_t)o * a->taps;
    int16_t *split = a->split + 2 * (ptrdiff_t)o * a->taps;

    for (int32_t i = 0; i < a->count[o]; i++) {
        int32_t lower_at = i / M2S_SPLIT_TAPS * 2 * M2S_SPLIT_TAPS + i % M2S_SPLIT_TAPS;
        fixed[i] = (int32_t)(0.5 + weights[i] * (1 << M2S_WEIGHT_BITS));
        split[lower_at] = (int16_t)(fixed[i] & ((1 << M2S_WEIGHT_SPLIT_BITS) - 1));
        split[lower_at + M2S_SPLIT_TAPS] = (int16_t)(fixed[i] >> M2S_WEIGHT_SPLIT_BITS);
    }
}

static m2snet_status axis_make(m2s_memory *memory, int32_t in, int32_t out, bool is_fixed, m2s_filter_axis *a,
                               m2snet_error *error)
{
    double scale = (double)in / out;
    double support = scale < 1.0 ? 1.0 : scale;
    size_t taps = (2 * (size_t)ceil(support) + M2S_SPLIT_TAPS) / M2S_SPLIT_TAPS * M2S_SPLIT_TAPS; /* 2 ceil + 1 fit */
    size_t total = (size_t)out * taps;

    *a = (m2s_filter_axis){ .out = out, .taps = (int32_t)taps };
    a->first = m2s_alloc_array(memory, (size_t)out, sizeof *a->first);
    a->count = m2s_alloc_array(memory, (size_t)out, sizeof *a->count);
    a->real = m2s_alloc_array(memory, is_fixed ? taps : total, sizeof *a->real);
    a->fixed = is_fixed ? m2s_alloc_array(memory, total, sizeof *a->fixed) : NULL;
    a->split = is_fixed ? m2s_calloc(memory, 2 * total, sizeof *a->split) : NULL;
    if (a->first == NULL || a->count == NULL || a->real == NULL ||
        (is_fixed && (a->fixed == NULL || a->split == NULL))) {
        axis_release(memory, a);
        return m2s_fail_memory(error, "the weights of a resize",
                               total * (is_fixed ? sizeof *a->fixed : sizeof *a->real));
    }
    for (int32_t o = 0; o < out; o++) {
        double *weights = is_fixed ? a->real : a->real + (size_t)o * taps;
        weigh(in, scale, support, o, &a->first[o], &a->count[o], weights);
        if (is_fixed) {
            fix_weights(a, o, weights);
        }
    }
    return M2SNET_STATUS_OK;
}

/* ---- portable kernels ---- */

static void horizontal_u8x1(const m2s_filter_axis *a, const uint8_t *src, int32_t src_width, uint8_t *dst)
{
    (void)src_width;
    for (int32_t o = 0; o < a->out; o++) {
        m2s_filter_gray_pixel(a, o, src, dst);
    }
}

static void horizontal_u8x3(const m2s_filter_axis *a, const uint8_t *src, int32_t src_width, uint8_t *dst)
{
    (void)src_width;
    for (int32_t o = 0; o < a->out; o++) {
        m2s_filter_rgb_pixel(a, o, src, dst);
    }
}

static void horizontal_f32(const m2s_filter_axis *a, const float *src, float *dst)
{
    for (int32_t o = 0; o < a->out; o++) {
        const float *pixel = src + a->first[o];
        const double *weight = a->real + (ptrdiff_t)o * a->taps;
        double sum = 0.0;
        for (int32_t i = 0; i < a->count[o]; i++) {
            sum += (double)pixel[i] * weight[i];
        }
        dst[o] = (float)sum;
    }
}

static void vertical_u8(const uint8_t *src, ptrdiff_t stride, const int32_t *weight, int32_t count, uint8_t *dst,
                        ptrdiff_t bytes)
{
    m2s_vertical_u8(src, stride, weight, count, dst, bytes);
}

static void vertical_f32(const float *src, ptrdiff_t stride, const double *weight, int32_t count, float *dst,
                         ptrdiff_t width)
{
    m2s_vertical_f32(src, stride, weight, count, dst, width);
}

static const m2s_resample_kernels portable_kernels = { horizontal_u8x1, horizontal_u8x3, vertical_u8, vertical_f32 };

static const m2s_resample_kernels *choose_kernels(const m2s_host *host)
{
#if defined(__x86_64__)
    if (host->isa >= M2S_ISA_AVX2) {
        return &m2s_resample_kernels_avx2;
    }
#endif
    (void)host;
    return &portable_kernels;
}

/* ---- work ---- */

typedef struct row_work {
    m2s_rows_fn rows;
    void *argument;
    int32_t count, cut;
} row_work;

static void run_chunk(void *argument, int64_t chunk, int worker)
{
    const row_work *work = argument;
    int32_t begin = (int32_t)chunk * work->cut;
    int32_t end = work->count - begin < work->cut ? work->count : begin + work->cut;

    work->rows(work->argument, begin, end, worker);
}

int m2s_row_workers(const m2s_host *host)
{
    return host->pool != NULL ? m2s_pool_threads(host->pool) : 1;
}

m2snet_status m2s_run_rows(const m2s_host *host, m2s_rows_fn rows, void *argument, int32_t count, int32_t cut,
                           m2s_control *control, const char *phase, m2snet_error *error)
{
    row_work work = { rows, argument, count, cut };
    m2s_task task = { .run = run_chunk, .argument = &work, .chunks = (count + (int64_t)cut - 1) / cut };

    if (host->pool != NULL) {
        return m2s_pool_run(host->pool, &task, 1, control, phase, error);
    }
    for (int64_t chunk = 0; chunk < task.chunks; chunk++) {
        if (m2s_control_stopped(control)) {
            return m2s_fail_cancelled(error, phase);
        }
        run_chunk(&work, chunk, 0);
    }
    return M2SNET_STATUS_OK;
}

/* One resize. Where the rows change length they are filtered into `between`, or straight into dst when that is all. */
typedef struct resize {
    const m2s_resample_kernels *kernels;
    const m2s_row_source *source; /* bytes, or */
    const float *floats;          /* floats, float_stride apart */
    ptrdiff_t float_stride;
    int32_t src_width;
    ptrdiff_t row_bytes;           /* of a filtered row */
    const m2s_filter_axis *across; /* NULL: rows keep their length */
    const m2s_filter_axis *down;
    uint8_t *between;
    ptrdiff_t between_stride;
    uint8_t *dst;
    ptrdiff_t dst_stride;
    uint8_t *scratch;
    size_t scratch_bytes; /* of one worker */
    m2s_filter_axis axes[2];
} resize;

static void filter_rows(void *argument, int32_t begin, int32_t end, int worker)
{
    const resize *r = argument;
    uint8_t *scratch = r->scratch != NULL ? r->scratch + (size_t)worker * r->scratch_bytes : NULL;

    for (int32_t y = begin; y < end; y++) {
        uint8_t *out = r->between + y * r->between_stride;
        if (r->source == NULL) {
            const float *row = r->floats + y * r->float_stride;
            if (r->across != NULL) {
                horizontal_f32(r->across, row, (float *)(void *)out);
            } else {
                memcpy(out, row, (size_t)r->row_bytes);
            }
            continue;
        }
        const uint8_t *row = r->source->row(r->source->user, y, scratch);
        if (r->across == NULL) {
            memcpy(out, row, (size_t)r->row_bytes);
        } else if (r->source->channels == 3) {
            r->kernels->horizontal_u8x3(r->across, row, r->src_width, out);
        } else {
            r->kernels->horizontal_u8x1(r->across, row, r->src_width, out);
        }
    }
}

static void filter_columns(void *argument, int32_t begin, int32_t end, int worker)
{
    const resize *r = argument;
    const m2s_filter_axis *a = r->down;

    (void)worker;
    for (int32_t o = begin; o < end; o++) {
        const uint8_t *src = r->between + a->first[o] * r->between_stride;
        uint8_t *dst = r->dst + o * r->dst_stride;
        ptrdiff_t weights = (ptrdiff_t)o * a->taps;
        if (r->source == NULL) {
            ptrdiff_t floats = (ptrdiff_t)sizeof(float);
            r->kernels->vertical_f32((const float *)(const void *)src, r->between_stride / floats, a->real + weights,
                                     a->count[o], (float *)(void *)dst, r->row_bytes / floats);
        } else {
            r->kernels->vertical_u8(src, r->between_stride, a->fixed + weights, a->count[o], dst, r->row_bytes);
        }
    }
}

/* Everything of *r about the source, dst and row_bytes is set. */
static m2snet_status run_resize(const m2s_host *host, resize *r, int32_t src_height, int32_t dst_width,
                                int32_t dst_height, m2s_control *control, const char *phase, m2snet_error *error)
{
    m2snet_status status;
    uint8_t *block = NULL;
    bool is_fixed = r->source != NULL;

    if (r->src_width != dst_width) {
        M2S_TRY(axis_make(host->memory, r->src_width, dst_width, is_fixed, &r->axes[0], error));
        r->across = &r->axes[0];
    }
    if (src_height != dst_height) {
        M2S_TRY(axis_make(host->memory, src_height, dst_height, is_fixed, &r->axes[1], error));
        r->down = &r->axes[1];
        r->between_stride = r->row_bytes;
        block = m2s_alloc_array(host->memory, (size_t)src_height, (size_t)r->row_bytes);
        if (block == NULL) {
            status = m2s_fail_memory(error, "a resize's filtered rows", (size_t)src_height * (size_t)r->row_bytes);
            goto fail;
        }
        r->between = block;
    } else {
        r->between = r->dst;
        r->between_stride = r->dst_stride;
    }
    if (is_fixed) {
        r->scratch_bytes = (3 * (size_t)r->src_width + M2S_ALIGNMENT - 1) / M2S_ALIGNMENT * M2S_ALIGNMENT;
        size_t workers = (size_t)m2s_row_workers(host);
        r->scratch = m2s_alloc_array(host->memory, workers, r->scratch_bytes);
        if (r->scratch == NULL) {
            status = m2s_fail_memory(error, "a resize's source rows", workers * r->scratch_bytes);
            goto fail;
        }
    }
    M2S_TRY(m2s_run_rows(host, filter_rows, r, src_height, CUT_ROWS, control, phase, error));
    if (r->down != NULL) {
        M2S_TRY(m2s_run_rows(host, filter_columns, r, dst_height, CUT_ROWS, control, phase, error));
    }
    status = M2SNET_STATUS_OK;

fail:
    m2s_free(host->memory, r->scratch);
    m2s_free(host->memory, block);
    axis_release(host->memory, &r->axes[0]);
    axis_release(host->memory, &r->axes[1]);
    return status;
}

m2snet_status m2s_resize_u8(const m2s_host *host, const m2s_row_source *src, uint8_t *dst, ptrdiff_t dst_stride_bytes,
                            int32_t dst_width, int32_t dst_height, m2s_control *control, const char *phase,
                            m2snet_error *error)
{
    resize r = { .kernels = choose_kernels(host),
                 .source = src,
                 .src_width = src->width,
                 .row_bytes = (ptrdiff_t)dst_width * src->channels,
                 .dst = dst,
                 .dst_stride = dst_stride_bytes };

    return run_resize(host, &r, src->height, dst_width, dst_height, control, phase, error);
}

m2snet_status m2s_resize_f32(const m2s_host *host, const float *src, ptrdiff_t src_stride_bytes, int32_t src_width,
                             int32_t src_height, float *dst, ptrdiff_t dst_stride_bytes, int32_t dst_width,
                             int32_t dst_height, m2s_control *control, const char *phase, m2snet_error *error)
{
    resize r = { .kernels = choose_kernels(host),
                 .floats = src,
                 .float_stride = src_stride_bytes / (ptrdiff_t)sizeof(float),
                 .src_width = src_width,
                 .row_bytes = (ptrdiff_t)dst_width * (ptrdiff_t)sizeof(float),
                 .dst = (uint8_t *)dst,
                 .dst_stride = dst_stride_bytes };

    return run_resize(host, &r, src_height, dst_width, dst_height, control, phase, error);
}
