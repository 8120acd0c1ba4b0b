/* SPDX-License-Identifier: Apache-2.0 */
#include "image/resample.h"

#include <math.h>
#include <string.h>

#define PRECISION_BITS 22 /* of a weight; with 8 bits of pixel and 1 of carry the sums fit 31 bits */
#define ROUND_HALF     ((int32_t)1 << (PRECISION_BITS - 1))
#define BLOCK          64 /* columns that the vertical passes keep in registers or the first cache */
#define CUT_ROWS       16 /* rows to a chunk of work */

/* The kernels below are compiled twice from the same text. Integers and uncontracted doubles give the same results in
 * any width. */
#define KERNEL_BODY static inline __attribute__((always_inline)) void
#if defined(__x86_64__)
#define KERNEL_AVX2 __attribute__((target("avx2"))) static void
#endif

typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef uint8_t u8x4 __attribute__((vector_size(4)));

/* ---- weights ---- */

/* The filter along one axis: output o is the sum over i < count[o] of weight[o * taps + i] * input[first[o] + i]. */
typedef struct axis {
    int32_t out, taps;
    int32_t *first;
    int32_t *count;
    double *real;   /* for floats, or */
    int32_t *fixed; /* for bytes */
} axis;

static void axis_release(m2s_memory *memory, axis *a)
{
    m2s_free(memory, a->first);
    m2s_free(memory, a->count);
    m2s_free(memory, a->real);
    m2s_free(memory, a->fixed);
    *a = (axis){ 0 };
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

static m2snet_status axis_make(m2s_memory *memory, int32_t in, int32_t out, bool is_fixed, axis *a, m2snet_error *error)
{
    double scale = (double)in / out;
    double support = scale < 1.0 ? 1.0 : scale;
    size_t taps = 2 * (size_t)ceil(support) + 1;
    size_t total = (size_t)out * taps;

    *a = (axis){ .out = out, .taps = (int32_t)taps };
    a->first = m2s_alloc_array(memory, (size_t)out, sizeof *a->first);
    a->count = m2s_alloc_array(memory, (size_t)out, sizeof *a->count);
    a->real = m2s_alloc_array(memory, is_fixed ? taps : total, sizeof *a->real);
    a->fixed = is_fixed ? m2s_alloc_array(memory, total, sizeof *a->fixed) : NULL;
    if (a->first == NULL || a->count == NULL || a->real == NULL || (is_fixed && a->fixed == NULL)) {
        axis_release(memory, a);
        return m2s_fail_memory(error, "the weights of a resize",
                               total * (is_fixed ? sizeof *a->fixed : sizeof *a->real));
    }
    for (int32_t o = 0; o < out; o++) {
        double *weights = is_fixed ? a->real : a->real + (size_t)o * taps;
        weigh(in, scale, support, o, &a->first[o], &a->count[o], weights);
        for (int32_t i = 0; is_fixed && i < a->count[o]; i++) {
            a->fixed[(size_t)o * taps + (size_t)i] = (int32_t)(0.5 + weights[i] * (1 << PRECISION_BITS));
        }
    }
    return M2SNET_STATUS_OK;
}

/* ---- bytes ---- */

/* Weights are not negative, so only the upper end needs clipping: rounded weights may add up to more than one. */
static inline uint8_t to_byte(int32_t sum)
{
    int32_t value = sum >> PRECISION_BITS;

    return (uint8_t)(value > 255 ? 255 : value);
}

static void horizontal_u8x1(const axis *a, const uint8_t *src, int32_t src_width, uint8_t *dst)
{
    (void)src_width;
    for (int32_t o = 0; o < a->out; o++) {
        const uint8_t *pixel = src + a->first[o];
        const int32_t *weight = a->fixed + (ptrdiff_t)o * a->taps;
        int32_t sum = ROUND_HALF;
        for (int32_t i = 0; i < a->count[o]; i++) {
            sum += weight[i] * pixel[i];
        }
        dst[o] = to_byte(sum);
    }
}

KERNEL_BODY horizontal_u8x3_body(const axis *a, const uint8_t *src, int32_t src_width, uint8_t *dst)
{
    for (int32_t o = 0; o < a->out; o++) {
        const uint8_t *pixel = src + 3 * (ptrdiff_t)a->first[o];
        const int32_t *weight = a->fixed + (ptrdiff_t)o * a->taps;
        int32_t count = a->count[o];
        /* Four bytes are read for three, which the row's last pixel has not got. */
        int32_t wide = a->first[o] + count < src_width ? count : count - 1;
        i32x4 sum = { ROUND_HALF, ROUND_HALF, ROUND_HALF, 0 };
        for (int32_t i = 0; i < wide; i++) {
            u8x4 bytes;
            memcpy(&bytes, pixel + 3 * (ptrdiff_t)i, sizeof bytes);
            sum += __builtin_convertvector(bytes, i32x4) * weight[i];
        }
        for (int32_t i = wide; i < count; i++) {
            const uint8_t *last = pixel + 3 * (ptrdiff_t)i;
            sum += (i32x4){ last[0], last[1], last[2], 0 } * weight[i];
        }
        dst[3 * (ptrdiff_t)o] = to_byte(sum[0]);
        dst[3 * (ptrdiff_t)o + 1] = to_byte(sum[1]);
        dst[3 * (ptrdiff_t)o + 2] = to_byte(sum[2]);
    }
}

/* One output row from count rows, stride bytes apart. */
KERNEL_BODY vertical_u8_body(const uint8_t *src, ptrdiff_t stride, const int32_t *weight, int32_t count, uint8_t *dst,
                             ptrdiff_t bytes)
{
    ptrdiff_t x = 0;

    for (; x + BLOCK <= bytes; x += BLOCK) {
        int32_t sum[BLOCK];
        for (int j = 0; j < BLOCK; j++) {
            sum[j] = ROUND_HALF;
        }
        for (int32_t i = 0; i < count; i++) {
            const uint8_t *row = src + i * stride + x;
            for (int j = 0; j < BLOCK; j++) {
                sum[j] += weight[i] * row[j];
            }
        }
        for (int j = 0; j < BLOCK; j++) {
            dst[x + j] = to_byte(sum[j]);
        }
    }
    for (; x < bytes; x++) {
        int32_t sum = ROUND_HALF;
        for (int32_t i = 0; i < count; i++) {
            sum += weight[i] * src[i * stride + x];
        }
        dst[x] = to_byte(sum);
    }
}

/* ---- floats ---- */

static void horizontal_f32(const axis *a, const float *src, float *dst)
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

KERNEL_BODY vertical_f32_body(const float *src, ptrdiff_t stride, const double *weight, int32_t count, float *dst,
                              ptrdiff_t width)
{
    ptrdiff_t x = 0;

    for (; x + BLOCK <= width; x += BLOCK) {
        double sum[BLOCK] = { 0 };
        for (int32_t i = 0; i < count; i++) {
            const float *row = src + i * stride + x;
            for (int j = 0; j < BLOCK; j++) {
                sum[j] += (double)row[j] * weight[i];
            }
        }
        for (int j = 0; j < BLOCK; j++) {
            dst[x + j] = (float)sum[j];
        }
    }
    for (; x < width; x++) {
        double sum = 0.0;
        for (int32_t i = 0; i < count; i++) {
            sum += (double)src[i * stride + x] * weight[i];
        }
        dst[x] = (float)sum;
    }
}

/* ---- instruction sets ---- */

typedef struct kernels {
    void (*horizontal_u8x3)(const axis *a, const uint8_t *src, int32_t src_width, uint8_t *dst);
    void (*vertical_u8)(const uint8_t *src, ptrdiff_t stride, const int32_t *weight, int32_t count, uint8_t *dst,
                        ptrdiff_t bytes);
    void (*vertical_f32)(const float *src, ptrdiff_t stride, const double *weight, int32_t count, float *dst,
                         ptrdiff_t width);
} kernels;

static void horizontal_u8x3(const axis *a, const uint8_t *src, int32_t src_width, uint8_t *dst)
{
    horizontal_u8x3_body(a, src, src_width, dst);
}

static void vertical_u8(const uint8_t *src, ptrdiff_t stride, const int32_t *weight, int32_t count, uint8_t *dst,
                        ptrdiff_t bytes)
{
    vertical_u8_body(src, stride, weight, count, dst, bytes);
}

static void vertical_f32(const float *src, ptrdiff_t stride, const double *weight, int32_t count, float *dst,
                         ptrdiff_t width)
{
    vertical_f32_body(src, stride, weight, count, dst, width);
}

static const kernels portable_kernels = { horizontal_u8x3, vertical_u8, vertical_f32 };

#if defined(KERNEL_AVX2)
KERNEL_AVX2 horizontal_u8x3_avx2(const axis *a, const uint8_t *src, int32_t src_width, uint8_t *dst)
{
    horizontal_u8x3_body(a, src, src_width, dst);
}

KERNEL_AVX2 vertical_u8_avx2(const uint8_t *src, ptrdiff_t stride, const int32_t *weight, int32_t count, uint8_t *dst,
                             ptrdiff_t bytes)
{
    vertical_u8_body(src, stride, weight, count, dst, bytes);
}

KERNEL_AVX2 vertical_f32_avx2(const float *src, ptrdiff_t stride, const double *weight, int32_t count, float *dst,
                              ptrdiff_t width)
{
    vertical_f32_body(src, stride, weight, count, dst, width);
}

static const kernels avx2_kernels = { horizontal_u8x3_avx2, vertical_u8_avx2, vertical_f32_avx2 };
#endif

static const kernels *choose_kernels(const m2s_host *host)
{
#if defined(KERNEL_AVX2)
    if (host->isa >= M2S_ISA_AVX2) {
        return &avx2_kernels;
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
    const kernels *kernels;
    const m2s_row_source *source; /* bytes, or */
    const float *floats;          /* floats, float_stride apart */
    ptrdiff_t float_stride;
    int32_t src_width;
    ptrdiff_t row_bytes; /* of a filtered row */
    const axis *across;  /* NULL: rows keep their length */
    const axis *down;
    uint8_t *between;
    ptrdiff_t between_stride;
    uint8_t *dst;
    ptrdiff_t dst_stride;
    uint8_t *scratch;
    size_t scratch_bytes; /* of one worker */
    axis axes[2];
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
            horizontal_u8x1(r->across, row, r->src_width, out);
        }
    }
}

static void filter_columns(void *argument, int32_t begin, int32_t end, int worker)
{
    const resize *r = argument;
    const axis *a = r->down;

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
