/* SPDX-License-Identifier: Apache-2.0
 * The multi-scale subtraction unit in a training step and its gradient (MODELS.md 2.3, 2.4), by planes: sums over
 * channels, windows over them, their statistics, and one pass over the channels. Wherever a task adds up what chunks
 * found, it does so in the order of the chunks. */
#include <math.h>
#include <string.h>

#include "backends/cpu/plan.h"
#include "backends/ref/kernel_cuts.h"

/* Chunks of a step, by what they are: bands of rows of one image. */
typedef struct unit_detail {
    int64_t bands;        /* of the fine image */
    int64_t coarse_bands; /* of the coarse one */
    float window[M2S_MAX_SCALES][MAX_WINDOW];
    m2s_tap *taps;  /* one for each fine column */
    int32_t *first; /* fine rows whose upper neighbour lies above coarse row i; coarse_h + 1 of them */
} unit_detail;

/* What both operations read, at its place among their inputs. */
typedef struct unit {
    const unit_detail *detail;
    int32_t scales;
    bool frozen, same;
    m2s_shape coarse, fine;
    const float *a, *b, *diff;
    const float *statistics, *planes;
    const float *gamma[M2S_MAX_SCALES], *beta[M2S_MAX_SCALES], *mean[M2S_MAX_SCALES], *var[M2S_MAX_SCALES];
    /* scratch */
    double *totals; /* of each chunk: 4 scales, and in the gradient 2 scales rows of channels */
    double *means;  /* in the gradient: of common, and of common times normal, of each plane */
    float *plane_a; /* coarse sums; in the gradient, fine: what A' gets */
    float *plane_b; /* fine */
    float *common;  /* in the gradient: 2 scales fine planes */
    float *slope[M2S_MAX_SCALES];
    size_t bytes; /* of all scratch */
} unit;

static int64_t pixels_of(m2s_shape shape)
{
    return shape.n * shape.h * shape.w;
}

static bool is_gradient(const m2s_step *step)
{
    return step->node.op == M2S_OP_multi_scale_subtract_grad;
}

static int64_t total_count(const unit *u, bool gradient)
{
    return 4 * u->scales + (gradient ? 2 * u->scales * u->fine.c : 0);
}

static void place_scratch(const m2s_step *step, unit *u)
{
    bool gradient = is_gradient(step);
    int64_t chunks = u->fine.n * (gradient ? u->detail->coarse_bands : u->detail->bands);
    int64_t doubles = chunks * total_count(u, gradient), at = 0;
    float *floats;

    u->totals = step->args.scratch;
    u->means = u->totals + doubles;
    doubles += gradient ? 4 * u->scales : 0;
    floats = (float *)(u->totals + doubles);
    u->plane_a = floats;
    at += pixels_of(gradient ? u->fine : u->coarse);
    u->plane_b = floats + at;
    at += pixels_of(u->fine);
    u->common = floats + at;
    at += gradient ? 2 * u->scales * pixels_of(u->fine) : 0;
    for (int32_t k = 0; k < u->scales; k++) {
        u->slope[k] = floats + at;
        at += u->frozen ? u->fine.c : 0;
    }
    u->bytes = (size_t)doubles * sizeof(double) + (size_t)at * sizeof(float);
}

static unit describe(const m2s_step *step)
{
    const void *const *in = step->args.in;
    const m2s_shape *shape = step->args.in_shape;
    bool gradient = is_gradient(step);
    int32_t first = gradient ? 1 : 0, norms = gradient ? 5 : 2;
    unit u = { .detail = step->detail,
               .scales = step->node.attrs.scales,
               .frozen = step->node.attrs.frozen != 0,
               .coarse = shape[first],
               .fine = shape[first + 1],
               .a = in[first],
               .b = in[first + 1],
               .diff = gradient ? in[0] : NULL,
               .statistics = gradient ? in[3] : step->args.out[1],
               .planes = gradient ? in[4] : step->args.out[2] };

    u.same = u.coarse.h == u.fine.h && u.coarse.w == u.fine.w;
    for (int32_t k = 0; k < u.scales; k++) {
        u.gamma[k] = in[norms + 4 * k];
        u.beta[k] = in[norms + 4 * k + 1];
        u.mean[k] = in[norms + 4 * k + 2];
        u.var[k] = in[norms + 4 * k + 3];
    }
    place_scratch(step, &u);
    return u;
}

static m2s_subtract_train describe_rows(const unit *u, int64_t image)
{
    m2s_subtract_train s = { .coarse_h = u->coarse.h,
                             .coarse_w = u->coarse.w,
                             .h = u->fine.h,
                             .w = u->fine.w,
                             .channels = u->fine.c,
                             .a = u->a + image * u->coarse.h * u->coarse.w * u->coarse.c,
                             .b = u->b + image * u->fine.h * u->fine.w * u->fine.c,
                             .taps = u->detail->taps,
                             .scales = u->scales };

    for (int32_t k = 0; k < u->scales; k++) {
        s.mean[k] = u->frozen ? u->mean[k] : NULL;
        s.scale[k] = u->frozen ? u->slope[k] : u->gamma[k];
        s.beta[k] = u->beta[k];
    }
    return s;
}

/* Mean and 1 / deviation of plane `call`, scale call / 2 of A' or B; 0 and 1 when the running values normalise. */
typedef struct spread {
    double mean, inverse;
} spread;

static spread spread_of(const m2s_step *step, const unit *u, int32_t call)
{
    if (u->frozen) {
        return (spread){ 0.0, 1.0 };
    }
    return (spread){ (double)u->statistics[2 * call],
                     1.0 / sqrt((double)u->statistics[2 * call + 1] + step->node.attrs.epsilon) };
}

/* Row `row` of the planes, counted through all images, normalised: 2 scales rows of w. */
static void normalise_row(const m2s_step *step, const unit *u, int64_t row, float *normal)
{
    int64_t w = u->fine.w, calls = 2 * u->scales;
    const float *src = u->planes + row * w * calls;

    for (int32_t call = 0; call < calls; call++) {
        spread s = spread_of(step, u, call);
        for (int64_t x = 0; x < w; x++) {
            normal[call * w + x] = (float)(((double)src[x * calls + call] - s.mean) * s.inverse);
        }
    }
}

/* Frozen: gamma / deviation of each channel. */
static void run_slopes(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    unit u = describe(step);

    (void)task;
    (void)worker;
    for (int64_t c = 0; c < u.fine.c; c++) {
        u.slope[chunk][c] =
            (float)((double)u.gamma[chunk][c] / sqrt((double)u.var[chunk][c] + step->node.attrs.epsilon));
    }
}

/* Rows [begin, end) of the fine image, and those that the widest window reaches beyond. */
typedef struct row_band {
    int64_t image, begin, end, top, bottom;
} row_band;

static int64_t reach_of(const m2s_step *step)
{
    const m2s_attrs *attrs = &step->node.attrs;
    int64_t reach = 0;

    for (int32_t k = 0; k < attrs->scales; k++) {
        reach = attrs->scale[k] / 2 > reach ? attrs->scale[k] / 2 : reach;
    }
    return reach;
}

static row_band band_of(const m2s_step *step, const unit *u, int64_t chunk)
{
    m2s_cut rows = m2s_cut_part(u->fine.h, u->detail->bands, chunk % u->detail->bands);
    int64_t reach = reach_of(step);

    return (row_band){ .image = chunk / u->detail->bands,
                       .begin = rows.begin,
                       .end = rows.end,
                       .top = rows.begin > reach ? rows.begin - reach : 0,
                       .bottom = rows.end + reach < u->fine.h ? rows.end + reach : u->fine.h };
}

/* The window of scale k over rows top..bottom of a plane, of which src holds only these, to rows begin..end of dst,
 * which begins at row top. */
static void run_window(const m2s_step *step, const unit *u, const row_band *band, int32_t k, const float *src,
                       float *dst, int64_t dst_step, bool add, float *scratch)
{
    m2s_plane_window window = { .h = band->bottom - band->top,
                                .w = u->fine.w,
                                .channels = 1,
                                .kernel = step->node.attrs.scale[k],
                                .weights = step->node.attrs.gaussian != 0 ? u->detail->window[k] : NULL,
                                .src = src,
                                .dst = dst,
                                .dst_step = dst_step,
                                .add = add,
                                .row = scratch };

    step->kernels->plane_window(&window, band->begin - band->top, band->end - band->top);
}

/* ---- forward ---- */

/* Chunks: pixels of B, then of A. */
static void run_channel_sums(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    unit u = describe(step);
    int64_t fine = pixels_of(u.fine), channels = u.fine.c;
    m2s_cut range = m2s_cut_part(fine + pixels_of(u.coarse), step->tasks[task].chunks, chunk);
    int64_t end = range.end < fine ? range.end : fine, begin = range.begin > fine ? range.begin : fine;

    (void)worker;
    if (range.begin < end) {
        step->kernels->channel_sum(u.plane_b + range.begin, u.b + range.begin * channels, end - range.begin, channels);
    }
    if (begin < range.end) {
        step->kernels->channel_sum(u.plane_a + begin - fine, u.a + (begin - fine) * channels, range.end - begin,
                                   channels);
    }
}

static void resize_plane(const unit *u, const float *coarse, int64_t top, int64_t bottom, float *dst)
{
    for (int64_t y = top; y < bottom; y++) {
        resize_tap ty = resize_tap_at(u->coarse.h, u->fine.h, y);
        const float *low = coarse + ty.low * u->coarse.w, *high = coarse + ty.high * u->coarse.w;
        float y0 = (float)ty.low_weight, y1 = (float)ty.high_weight;
        for (int64_t x = 0; x < u->fine.w; x++) {
            const m2s_tap *tx = &u->detail->taps[x];
            float upper = tx->low_weight * low[tx->low] + tx->high_weight * low[tx->high];
            float lower = tx->low_weight * high[tx->low] + tx->high_weight * high[tx->high];
            *dst++ = y0 * upper + y1 * lower;
        }
    }
}

static void run_windows(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    unit u = describe(step);
    row_band band = band_of(step, &u, chunk);
    int64_t w = u.fine.w, calls = 2 * u.scales, row = band.image * u.fine.h + band.top;
    float *resized = m2s_step_worker_scratch(step, worker), *scratch = resized + (band.bottom - band.top) * w;
    float *planes = (float *)step->args.out[2] + row * w * calls;
    const float *coarse = u.plane_a + band.image * u.coarse.h * u.coarse.w;
    const float *side[2] = { u.same ? coarse + band.top * w : resized, u.plane_b + row * w };
    double *totals = u.totals + chunk * total_count(&u, false);

    (void)task;
    if (!u.same) {
        resize_plane(&u, coarse, band.top, band.bottom, resized);
    }
    for (int32_t call = 0; call < calls; call++) {
        double sum = 0.0, square = 0.0;
        run_window(step, &u, &band, call / 2, side[call % 2], planes + call, calls, false, scratch);
        for (int64_t p = (band.begin - band.top) * w; p < (band.end - band.top) * w; p++) {
            double s = (double)planes[p * calls + call];
            sum += s;
            square += s * s;
        }
        totals[2 * call] = sum;
        totals[2 * call + 1] = square;
    }
}

static void run_statistics(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    unit u = describe(step);
    int64_t each = total_count(&u, false), chunks = u.fine.n * u.detail->bands;
    float *statistics = step->args.out[1];

    (void)task;
    (void)chunk;
    (void)worker;
    for (int32_t call = 0; call < 2 * u.scales; call++) {
        double sum = 0.0, square = 0.0;
        for (int64_t i = 0; i < chunks && !u.frozen; i++) {
            sum += u.totals[i * each + 2 * call];
            square += u.totals[i * each + 2 * call + 1];
        }
        double mean = sum / (double)pixels_of(u.fine), var = square / (double)pixels_of(u.fine) - mean * mean;
        statistics[2 * call] = (float)mean;
        statistics[2 * call + 1] = (float)(var < 0.0 ? 0.0 : var);
    }
}

static void run_result(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    unit u = describe(step);
    row_band band = band_of(step, &u, chunk);
    float *normal = m2s_step_worker_scratch(step, worker);
    m2s_subtract_train rows = describe_rows(&u, band.image);

    (void)task;
    rows.normal = normal;
    rows.dst = (float *)step->args.out[0] + band.image * u.fine.h * u.fine.w * u.fine.c;
    for (int64_t y = band.begin; y < band.end; y++) {
        normalise_row(step, &u, band.image * u.fine.h + y, normal);
        step->kernels->subtract_train_row(&rows, y);
    }
}

/* ---- backward ---- */

/* Adds weight times the gathered row to row y of A's gradient where the chunk owns it. */
static void add_gathered(const m2s_step *step, const unit *u, const m2s_subtract_train *rows, m2s_cut owned, int64_t y,
                         double weight, float *diff_a)
{
    int64_t row = u->coarse.w * u->coarse.c;

    if (y >= owned.begin && y < owned.end && weight != 0.0) {
        step->kernels->add_scaled(diff_a + y * row, rows->line, (float)weight, row);
    }
}

/* Chunks own rows of A and the rows of B whose upper neighbours these are; what A's first row gets of the rows before
 * is computed once more. */
static void run_gradient(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    unit u = describe(step);
    int64_t image = chunk / u.detail->coarse_bands, channels = u.fine.c, sums = 2 * u.scales * channels;
    m2s_cut owned = m2s_cut_part(u.coarse.h, u.detail->coarse_bands, chunk % u.detail->coarse_bands);
    m2s_subtract_train rows = describe_rows(&u, image);
    float *normal = m2s_step_worker_scratch(step, worker);
    float *diff_a = (float *)step->args.out[0] + image * u.coarse.h * u.coarse.w * channels;
    double *totals = u.totals + chunk * total_count(&u, true), *sum_totals = totals + 4 * u.scales;

    (void)task;
    rows.normal = normal;
    rows.sums = normal + 2 * u.scales * u.fine.w;
    rows.line = rows.sums + sums;
    rows.diff = u.diff + image * u.fine.h * u.fine.w * channels;
    rows.dst = (float *)step->args.out[1] + image * u.fine.h * u.fine.w * channels;
    rows.dst_a = diff_a;
    rows.plane = pixels_of(u.fine);
    rows.common = u.common + image * u.fine.h * u.fine.w;
    rows.totals = totals;
    memset(totals, 0, (size_t)total_count(&u, true) * sizeof(double));
    if (!u.same) {
        int64_t row = u.coarse.w * channels;
        memset(diff_a + owned.begin * row, 0, (size_t)((owned.end - owned.begin) * row) * sizeof(float));
        for (int64_t y = owned.begin > 0 ? u.detail->first[owned.begin - 1] : 0; y < u.detail->first[owned.begin];
             y++) {
            resize_tap tap = resize_tap_at(u.coarse.h, u.fine.h, y);
            if (tap.high == owned.begin && tap.high_weight != 0.0) {
                step->kernels->subtract_gather_row(&rows, y);
                add_gathered(step, &u, &rows, owned, tap.high, tap.high_weight, diff_a);
            }
        }
    }
    for (int64_t y = u.detail->first[owned.begin]; y < u.detail->first[owned.end]; y++) {
        normalise_row(step, &u, image * u.fine.h + y, normal);
        memset(rows.sums, 0, (size_t)sums * sizeof(float));
        step->kernels->subtract_grad_row(&rows, y);
        for (int64_t i = 0; i < sums; i++) {
            sum_totals[i] += (double)rows.sums[i];
        }
        if (!u.same) {
            resize_tap tap = resize_tap_at(u.coarse.h, u.fine.h, y);
            add_gathered(step, &u, &rows, owned, tap.low, tap.low_weight, diff_a);
            add_gathered(step, &u, &rows, owned, tap.high, tap.high_weight, diff_a);
        }
    }
}

static void run_totals(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    unit u = describe(step);
    int64_t each = total_count(&u, true), chunks = step->tasks[task - 1].chunks;

    (void)chunk;
    (void)worker;
    for (int64_t i = 0; i < each; i++) {
        double sum = 0.0;
        for (int64_t part = 0; part < chunks; part++) {
            sum += u.totals[part * each + i];
        }
        if (i < 4 * u.scales) {
            u.means[i] = u.frozen ? 0.0 : sum / (double)pixels_of(u.fine);
            continue;
        }
        int64_t row = (i - 4 * u.scales) / u.fine.c, c = (i - 4 * u.scales) % u.fine.c;
        double inverse = 1.0; /* frozen: g was multiplied by what the running variance divides later */
        if (u.frozen && row % 2 == 1) {
            inverse /= sqrt((double)u.var[row / 2][c] + step->node.attrs.epsilon);
        }
        float *dst = step->args.out[row % 2 == 0 ? 3 + row : 1 + row]; /* beta, then gamma */
        dst[c] = (float)(sum * inverse);
    }
}

/* Through batch norm and the windows: what every channel of A' and of B gets. */
static void run_planes(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    unit u = describe(step);
    row_band band = band_of(step, &u, chunk);
    int64_t w = u.fine.w, calls = 2 * u.scales, first = (band.image * u.fine.h + band.top) * w;
    int64_t count = (band.bottom - band.top) * w;
    float *filtered = m2s_step_worker_scratch(step, worker), *scratch = filtered + count;
    float *const side[2] = { u.plane_a + first, u.plane_b + first };

    (void)task;
    for (int32_t call = 0; call < calls; call++) {
        const float *common = u.common + call * pixels_of(u.fine) + first, *plane = u.planes + first * calls + call;
        spread s = spread_of(step, &u, call);
        double mean = u.means[2 * call], slope = u.means[2 * call + 1];
        for (int64_t p = 0; p < count; p++) {
            double normal = ((double)plane[p * calls] - s.mean) * s.inverse;
            filtered[p] = (float)(((double)common[p] - mean - normal * slope) * s.inverse);
        }
        run_window(step, &u, &band, call / 2, filtered, side[call % 2], 1, call >= 2, scratch);
    }
}

/* The adjoint of resize_plane: row y of the coarse plane. */
static void gather_plane(const unit *u, const float *plane, int64_t y, float *dst)
{
    memset(dst, 0, (size_t)u->coarse.w * sizeof *dst);
    for (int64_t v = u->detail->first[y > 0 ? y - 1 : 0]; v < u->detail->first[y + 1]; v++) {
        resize_tap tap = resize_tap_at(u->coarse.h, u->fine.h, v);
        float weight = (float)((tap.low == y ? tap.low_weight : 0.0) + (tap.high == y ? tap.high_weight : 0.0));
        for (int64_t x = 0; x < u->fine.w; x++) {
            const m2s_tap *tx = &u->detail->taps[x];
            float number = weight * plane[v * u->fine.w + x];
            dst[tx->low] += number * tx->low_weight;
            dst[tx->high] += number * tx->high_weight;
        }
    }
}

/* Chunks: bands of B, then bands of A. */
static void run_add_planes(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    unit u = describe(step);
    int64_t fine_chunks = u.fine.n * u.detail->bands, channels = u.fine.c;

    (void)task;
    if (chunk < fine_chunks) {
        row_band band = band_of(step, &u, chunk);
        int64_t at = (band.image * u.fine.h + band.begin) * u.fine.w;
        step->kernels->add_plane((float *)step->args.out[1] + at * channels, u.plane_b + at,
                                 (band.end - band.begin) * u.fine.w, channels);
        return;
    }
    chunk -= fine_chunks;
    int64_t image = chunk / u.detail->coarse_bands, w = u.coarse.w;
    m2s_cut rows = m2s_cut_part(u.coarse.h, u.detail->coarse_bands, chunk % u.detail->coarse_bands);
    const float *plane = u.plane_a + image * u.fine.h * u.fine.w;
    float *gathered = m2s_step_worker_scratch(step, worker);
    for (int64_t y = rows.begin; y < rows.end; y++) {
        if (!u.same) {
            gather_plane(&u, plane, y, gathered);
        }
        step->kernels->add_plane((float *)step->args.out[0] + (image * u.coarse.h + y) * w * channels,
                                 u.same ? plane + y * w : gathered, w, channels);
    }
}

/* ---- lowering ---- */

static void free_detail(m2s_memory *memory, void *detail)
{
    m2s_free(memory, detail);
}

static m2snet_status add_detail(const m2s_lowering *lowering, m2s_shape coarse, m2s_shape fine, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    const m2s_attrs *attrs = &step->node.attrs;
    size_t taps_at = (sizeof(unit_detail) + sizeof(m2s_tap) - 1) / sizeof(m2s_tap);
    size_t count = taps_at + (size_t)fine.w + ((size_t)coarse.h + 1); /* an int32_t is no larger than a tap */
    m2s_tap *block = m2s_calloc(lowering->device->host->memory, count, sizeof *block);
    unit_detail *detail = (unit_detail *)(void *)block;
    int64_t y = 0;

    if (block == NULL) {
        return m2s_fail_memory(error, step->name, count * sizeof *block);
    }
    step->detail = detail;
    step->free_detail = free_detail;
    detail->taps = block + taps_at;
    detail->first = (int32_t *)(void *)(detail->taps + fine.w);
    m2s_resize_taps(coarse.w, fine.w, detail->taps);
    for (int64_t row = 0; row <= coarse.h; row++) {
        while (y < fine.h && resize_tap_at(coarse.h, fine.h, y).low < row) {
            y++;
        }
        detail->first[row] = (int32_t)y;
    }
    for (int32_t k = 0; k < attrs->scales; k++) {
        double weights[MAX_WINDOW];
        window_weights(attrs, attrs->scale[k], weights);
        for (int32_t i = 0; i < attrs->scale[k]; i++) {
            detail->window[k][i] = (float)weights[i];
        }
    }
    detail->bands = m2s_cut_count(fine.h, fine.w * fine.c, M2S_CHUNK_NUMBERS);
    int64_t coarse_row = coarse.h > 0 ? fine.h * fine.w * fine.c / coarse.h : 0;
    detail->coarse_bands = m2s_cut_count(coarse.h, coarse_row, M2S_CHUNK_NUMBERS);
    return M2SNET_STATUS_OK;
}

/* The most numbers that one band of filtered rows, and the windows over it, take. */
static int64_t window_numbers(const m2s_step *step, m2s_shape fine)
{
    const unit_detail *detail = step->detail;
    int64_t reach = reach_of(step), rows = (fine.h + detail->bands - 1) / detail->bands + 2 * reach;

    return (rows < fine.h ? rows : fine.h) * fine.w + m2s_plane_window_scratch(fine.w, 1, 2 * reach + 1);
}

static int64_t greater(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

m2snet_status m2s_lower_subtract_train(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_shape coarse = step->args.in_shape[0], fine = step->args.in_shape[1];
    m2snet_status status;

    M2S_TRY(add_detail(lowering, coarse, fine, error));
    M2S_TRY(m2s_lowering_plain_constants(lowering, error));
    unit u = describe(step);
    step->scratch_bytes = u.bytes;
    step->worker_bytes = (size_t)greater(window_numbers(step, fine), 2 * (int64_t)u.scales * fine.w) * sizeof(float);
    m2s_step_set_kernel(step, "planes %s", step->kernels->name);
    if (u.frozen) {
        m2s_step_add_task(step, run_slopes, u.scales);
    }
    m2s_step_add_task(step, run_channel_sums,
                      m2s_cut_count(pixels_of(fine) + pixels_of(coarse), fine.c, M2S_CHUNK_NUMBERS));
    m2s_step_add_task(step, run_windows, fine.n * u.detail->bands);
    m2s_step_add_task(step, run_statistics, 1);
    m2s_step_add_task(step, run_result, fine.n * u.detail->bands);
fail:
    return status;
}

m2snet_status m2s_lower_subtract_grad(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_shape coarse = step->args.in_shape[1], fine = step->args.in_shape[2];
    m2snet_status status;

    M2S_TRY(add_detail(lowering, coarse, fine, error));
    M2S_TRY(m2s_lowering_plain_constants(lowering, error));
    unit u = describe(step);
    int64_t rows = 2 * (int64_t)u.scales * (fine.w + fine.c) + coarse.w * fine.c;
    step->scratch_bytes = u.bytes;
    step->worker_bytes = (size_t)greater(greater(window_numbers(step, fine), rows), coarse.w) * sizeof(float);
    m2s_step_set_kernel(step, "planes %s", step->kernels->name);
    if (u.frozen) {
        m2s_step_add_task(step, run_slopes, u.scales);
    }
    m2s_step_add_task(step, run_gradient, fine.n * u.detail->coarse_bands);
    m2s_step_add_task(step, run_totals, 1);
    m2s_step_add_task(step, run_planes, fine.n * u.detail->bands);
    m2s_step_add_task(step, run_add_planes, fine.n * (u.detail->bands + u.detail->coarse_bands));
fail:
    return status;
}
