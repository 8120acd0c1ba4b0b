/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE 1
#include "eval/structure.h"

#include <math.h>
#include <string.h>

#include "eval/distance.h"
#include "eval/overlap.h"

__extension__ typedef __int128 wide; /* n * sum of squares passes 64 bits on large pictures */

/* ---- S-measure ---- */

/* Over a set of pixels, with L = level above the low end and g = 0 or 1. */
typedef struct level_sums {
    int64_t n, l, ll, g, lg;
} level_sums;

static void add_run(const uint8_t *p, const uint8_t *g, int32_t count, level_sums *sums)
{
    uint32_t l = 0, ll = 0, inside = 0, lg = 0; /* 65535 * 255^2 fits */

    for (int32_t i = 0; i < count; i++) {
        uint32_t v = p[i];
        l += v;
        ll += v * v;
        inside += g[i];
        lg += v & (0u - g[i]);
    }
    sums->n += count;
    sums->l += l;
    sums->ll += ll;
    sums->g += inside;
    sums->lg += lg;
}

/* From raw gray levels to levels above low. */
static void shift(level_sums *sums, int64_t low)
{
    sums->ll += low * (low * sums->n - 2 * sums->l);
    sums->l -= low * sums->n;
    sums->lg -= low * sums->g;
}

static double over(wide numerator, double denominator)
{
    return (double)numerator / denominator;
}

/* 2 mean / (mean^2 + 1 + deviation + epsilon) of levels with these sums. */
static double object_score(int64_t n, int64_t l, int64_t ll, double range, bool authors)
{
    double mean = (double)l / ((double)n * range);
    double divisor = authors ? (double)n * (double)n : (double)n * ((double)n - 1.0);
    double variance = n > 1 ? over((wide)n * ll - (wide)l * l, divisor) / (range * range) : 0.0;

    return 2.0 * mean / (mean * mean + 1.0 + sqrt(variance) + (authors ? 1e-8 : M2S_EPSILON));
}

static double quadrant_score(const level_sums *s, double range, bool authors)
{
    wide vx = (wide)s->n * s->ll - (wide)s->l * s->l;
    wide vy = (wide)s->n * s->g - (wide)s->g * s->g;
    wide vxy = (wide)s->n * s->lg - (wide)s->l * s->g;
    double n = (double)s->n;

    if (s->n < 2) {
        return authors ? NAN : 1.0;
    }
    if (s->l == 0 || s->g == 0 || vxy == 0) {
        bool flat = (s->l == 0 && s->g == 0) || (vx == 0 && vy == 0);
        return flat ? 1.0 : 0.0;
    }
    double x = (double)s->l / (n * range), y = (double)s->g / n;
    double variance_divisor = authors ? n * n : n * (n - 1.0);
    double sum = over(vx, variance_divisor * range * range) + over(vy, variance_divisor);
    double covariance = over(vxy, n * (n - 1.0) * range);
    return 4.0 * x * y * covariance / ((x * x + y * y) * sum + (authors ? 1e-8 : M2S_EPSILON));
}

static double region_score(const uint8_t *prediction, const m2s_plane *inside, const m2s_levels *levels,
                           int32_t split_y, int32_t split_x, double *authors)
{
    level_sums quadrants[4] = { { 0 } };
    size_t width = (size_t)inside->width;
    double pixels = (double)inside->height * inside->width;
    double score = 0.0;

    for (int32_t y = 0; y < inside->height; y++) {
        const uint8_t *p = prediction + (size_t)y * width;
        const uint8_t *g = inside->origin + (size_t)y * inside->stride;
        level_sums *half = &quadrants[y < split_y ? 0 : 2];
        add_run(p, g, split_x, &half[0]);
        add_run(p + split_x, g + split_x, inside->width - split_x, &half[1]);
    }
    *authors = 0.0;
    for (int i = 0; i < 4; i++) {
        level_sums *s = &quadrants[i];
        shift(s, levels->low);
        double weight = (double)s->n / pixels;
        if (s->n > 0) {
            score += weight * quadrant_score(s, levels->range, false);
        }
        *authors += weight * quadrant_score(s, levels->range, true);
    }
    return score;
}

static double object_scores(const m2s_histogram *histogram, const m2s_levels *levels, bool authors)
{
    int64_t l[2] = { 0, 0 }, ll[2] = { 0, 0 };
    int64_t n[2] = { histogram->foreground, histogram->background };

    for (int32_t v = 0; v < M2S_LEVELS; v++) {
        int64_t up = v - levels->low, down = levels->range - up; /* 1 - x outside the mask */
        l[0] += up * histogram->inside[v];
        ll[0] += up * up * histogram->inside[v];
        l[1] += down * histogram->outside[v];
        ll[1] += down * down * histogram->outside[v];
    }
    double pixels = (double)(n[0] + n[1]);
    return (double)n[0] / pixels * object_score(n[0], l[0], ll[0], levels->range, authors) +
           (double)n[1] / pixels * object_score(n[1], l[1], ll[1], levels->range, authors);
}

/* Sums of the row and column numbers of the mask's pixels. */
static void centre_sums(const m2s_plane *inside, int64_t *rows, int64_t *columns)
{
    *rows = 0;
    *columns = 0;
    for (int32_t y = 0; y < inside->height; y++) {
        const uint8_t *g = inside->origin + (size_t)y * inside->stride;
        uint32_t count = 0, sum = 0; /* 0 + 1 + ... + 65534 fits */
        for (int32_t x = 0; x < inside->width; x++) {
            count += g[x];
            sum += (uint32_t)x & (0u - g[x]);
        }
        *rows += (int64_t)y * count;
        *columns += sum;
    }
}

/* 1 + sum / count, rounded; exactly in the middle to the even number below the one that is added, or up. */
static int32_t split_at(int64_t sum, int64_t count, bool half_up)
{
    int64_t whole = sum / count, twice_rest = 2 * (sum % count);

    if (twice_rest > count || (twice_rest == count && (half_up || whole % 2 != 0))) {
        whole++;
    }
    return (int32_t)whole + 1;
}

m2s_s_measure m2s_s_measure_make(const uint8_t *prediction, const m2s_plane *inside, const m2s_histogram *histogram,
                                 const m2s_levels *levels)
{
    int64_t rows, columns, count = histogram->foreground;
    double authors_region, unused;

    if (histogram->foreground == 0 || histogram->background == 0) {
        double mean = m2s_mean_level(histogram, levels);
        double score = histogram->foreground == 0 ? 1.0 - mean : mean;
        return (m2s_s_measure){ score, score, score };
    }
    double object = object_scores(histogram, levels, false);
    centre_sums(inside, &rows, &columns);
    int32_t y = split_at(rows, count, false), x = split_at(columns, count, false);
    int32_t y_up = split_at(rows, count, true), x_up = split_at(columns, count, true);
    double region = region_score(prediction, inside, levels, y, x, &authors_region);
    double region_up = region;
    if (y != y_up || x != x_up) {
        region_up = region_score(prediction, inside, levels, y_up, x_up, &unused);
    }
    return (m2s_s_measure){ .numpy_rounding = fmax(0.0, 0.5 * object + 0.5 * region),
                            .matlab_rounding = fmax(0.0, 0.5 * object + 0.5 * region_up),
                            .authors = 0.5 * object_scores(histogram, levels, true) + 0.5 * authors_region };
}

/* ---- weighted F-measure ---- */

#define REACH     3                   /* of the 7 x 7 Gaussian */
#define RING      (2 * REACH + 1)     /* rows of errors held at a time */
#define NEAR      (2 * REACH * REACH) /* largest squared distance of a pixel that the Gaussian reaches */
#define WEIGHTS   65536               /* beyond a distance of 256 the weight is 2 to the last digit */
#define HALF_SPAN 5.0                 /* at this distance an error outside weighs 1.5 */

typedef struct weighting {
    const uint8_t *prediction;
    const m2s_plane *inside;
    const m2s_levels *levels;
    const uint16_t *vertical;
    double kernel[REACH + 1];
    m2s_envelope_piece *pieces;
    double *weights;                  /* by squared distance; 0 = not computed yet */
    double *ring;                     /* RING rows of width + 2 REACH errors */
    double *smooth;                   /* one such row, filtered along the columns */
    uint8_t *near;                    /* one row, framed by REACH on both sides */
    int32_t top, bottom, left, right; /* of the mask, inclusive */
    size_t ring_stride;
} weighting;

static void find_box(const m2s_plane *inside, weighting *w)
{
    w->top = inside->height;
    w->bottom = -1;
    w->left = inside->width;
    w->right = -1;
    for (int32_t y = 0; y < inside->height; y++) {
        const uint8_t *g = inside->origin + (size_t)y * inside->stride;
        const uint8_t *first = memchr(g, 1, (size_t)inside->width);
        if (first == NULL) {
            continue;
        }
        const uint8_t *last = memrchr(g, 1, (size_t)inside->width);
        w->top = w->top < y ? w->top : y;
        w->bottom = y;
        w->left = w->left < first - g ? w->left : (int32_t)(first - g);
        w->right = w->right > last - g ? w->right : (int32_t)(last - g);
    }
}

/* The error at the nearest mask pixel of background pixel (y, x), which lies within the Gaussian's reach of one. The
 * nearest is at most NEAR away, so its column is within REACH + 1. */
static double error_of_nearest(const weighting *w, int32_t y, int32_t x)
{
    int32_t width = w->inside->width;
    const uint16_t *vertical = w->vertical + (size_t)y * (size_t)width;
    int32_t first = x - REACH - 1 < 0 ? 0 : x - REACH - 1;
    int32_t last = x + REACH + 1 >= width ? width - 1 : x + REACH + 1;
    int32_t best = INT32_MAX, best_x = x;

    for (int32_t k = first; k <= last; k++) { /* left to right and strictly less: the smallest column wins a tie */
        int32_t square = (k - x) * (k - x);
        if (vertical[k] <= REACH + 1) {
            square += vertical[k] * vertical[k];
            if (square < best) {
                best = square;
                best_x = k;
            }
        }
    }
    int32_t away = vertical[best_x];
    int32_t best_y = y + away;
    if (y >= away && w->inside->origin[(size_t)(y - away) * w->inside->stride + (size_t)best_x]) {
        best_y = y - away; /* the smaller row wins a tie */
    }
    return 1.0 - w->levels->x[w->prediction[(size_t)best_y * (size_t)width + (size_t)best_x]];
}

static double *ring_row(const weighting *w, int32_t y)
{
    return w->ring + (size_t)((y + RING) % RING) * w->ring_stride;
}

/* Errors of row y between the mask's left - REACH and right + REACH, 0 where they are not wanted. */
static void fill_errors(const weighting *w, int32_t y)
{
    const m2s_plane *inside = w->inside;
    double *row = ring_row(w, y);
    int32_t first = w->left - REACH, last = w->right + REACH;

    memset(row, 0, (size_t)(last - first + 1) * sizeof *row);
    if (y < 0 || y >= inside->height) {
        return;
    }
    size_t offset = (size_t)y * (size_t)inside->width;
    const uint8_t *g = inside->origin + (size_t)y * inside->stride;
    const uint8_t *p = w->prediction + offset;
    const uint16_t *vertical = w->vertical + offset;
    int32_t low = first < 0 ? 0 : first, high = last >= inside->width ? inside->width - 1 : last;

    memset(w->near, 0, (size_t)high - (size_t)low + 1 + 2 * (size_t)REACH);
    uint8_t *near = w->near + REACH - low; /* near[x] for column x */
    for (int32_t x = low; x <= high; x++) {
        near[x] = vertical[x] <= REACH;
    }
    for (int32_t x = low; x <= high; x++) {
        if (g[x]) {
            row[x - first] = 1.0 - w->levels->x[p[x]];
        } else if (near[x - 3] | near[x - 2] | near[x - 1] | near[x] | near[x + 1] | near[x + 2] | near[x + 3]) {
            row[x - first] = error_of_nearest(w, y, x);
        }
    }
}

/* Sum of min(E, smoothed E) over the mask's pixels of row y. */
static double smoothed_inside(const weighting *w, int32_t y)
{
    const uint8_t *g = w->inside->origin + (size_t)y * w->inside->stride;
    const uint8_t *p = w->prediction + (size_t)y * (size_t)w->inside->width;
    const double *k = w->kernel;
    const double *rows[RING];
    int32_t columns = w->right - w->left + 1 + 2 * REACH;
    double sum = 0.0;

    for (int i = 0; i < RING; i++) {
        rows[i] = ring_row(w, y - REACH + i);
    }
    for (int32_t i = 0; i < columns; i++) {
        w->smooth[i] = k[0] * rows[3][i] + k[1] * (rows[2][i] + rows[4][i]) + k[2] * (rows[1][i] + rows[5][i]) +
                       k[3] * (rows[0][i] + rows[6][i]);
    }
    for (int32_t x = w->left; x <= w->right; x++) {
        if (g[x]) {
            const double *s = w->smooth + (x - w->left + REACH);
            double smooth = k[0] * s[0] + k[1] * (s[-1] + s[1]) + k[2] * (s[-2] + s[2]) + k[3] * (s[-3] + s[3]);
            double own = 1.0 - w->levels->x[p[x]];
            sum += own < smooth ? own : smooth;
        }
    }
    return sum;
}

static double weight_at(const weighting *w, double square)
{
    if (square >= WEIGHTS) {
        return 2.0;
    }
    double *weight = &w->weights[(size_t)square];
    if (*weight == 0.0) {
        *weight = 2.0 - exp(log(0.5) / HALF_SPAN * sqrt(square));
    }
    return *weight;
}

/* Sum of weighted errors over the background of row y. */
static double weighted_outside(const weighting *w, int32_t y)
{
    size_t width = (size_t)w->inside->width;
    const uint8_t *g = w->inside->origin + (size_t)y * w->inside->stride;
    const uint8_t *p = w->prediction + (size_t)y * width;
    int32_t zero = w->levels->constant ? 0 : w->levels->low; /* x is 0 up to this level */
    int32_t first = 0, last = w->inside->width - 1;
    double sum = 0.0;

    while (first <= last && (g[first] || p[first] <= zero)) {
        first++;
    }
    while (last > first && (g[last] || p[last] <= zero)) {
        last--;
    }
    if (first > last) {
        return 0.0;
    }
    int32_t count = m2s_envelope(w->vertical + (size_t)y * width, w->inside->width, 1.0, 1.0, w->pieces);
    for (int32_t i = 0; i < count; i++) {
        const m2s_envelope_piece *piece = &w->pieces[i];
        int32_t from = piece->start > first ? piece->start : first;
        int32_t to = piece[1].start <= last ? piece[1].start : last + 1;
        for (int32_t x = from; x < to; x++) {
            if (!g[x] && p[x] > zero) {
                double across = x - piece->column;
                sum += w->levels->x[p[x]] * weight_at(w, piece->square + across * across);
            }
        }
    }
    return sum;
}

static m2snet_status reserve(m2s_scratch *scratch, weighting *w, m2snet_error *error)
{
    size_t width = (size_t)w->inside->width, height = (size_t)w->inside->height;
    size_t stride = width + 2 * REACH;
    void *block;
    m2snet_status status;

    M2S_TRY(m2s_scratch_get(scratch, M2S_SCRATCH_VERTICAL, width * height, sizeof(uint16_t), &block, error));
    m2s_vertical_distances(w->inside, block);
    w->vertical = block;
    M2S_TRY(m2s_scratch_get(scratch, M2S_SCRATCH_ENVELOPE, width + 1, sizeof(m2s_envelope_piece), &block, error));
    w->pieces = block;
    M2S_TRY(m2s_scratch_get_zeroed(scratch, M2S_SCRATCH_WEIGHTS, WEIGHTS, sizeof(double), &block, error));
    w->weights = block;
    /* Rows of doubles, one more for the filtered row, and one of bytes behind them. */
    M2S_TRY(m2s_scratch_get(scratch, M2S_SCRATCH_ERRORS, (RING + 2) * stride, sizeof(double), &block, error));
    w->ring = block;
    w->ring_stride = stride;
    w->smooth = w->ring + RING * stride;
    w->near = (uint8_t *)(w->smooth + stride);
fail:
    return status;
}

m2snet_status m2s_weighted_sums_make(m2s_scratch *scratch, const uint8_t *prediction, const m2s_plane *inside,
                                     const m2s_levels *levels, m2s_weighted_sums *sums, m2snet_error *error)
{
    weighting w = { .prediction = prediction, .inside = inside, .levels = levels };
    double total = 0.0;
    m2snet_status status = M2SNET_STATUS_OK;

    *sums = (m2s_weighted_sums){ 0 };
    find_box(inside, &w);
    if (w.bottom < 0) {
        return status;
    }
    M2S_TRY(reserve(scratch, &w, error));
    for (int k = -REACH; k <= REACH; k++) {
        w.kernel[k < 0 ? -k : k] = exp(-k * k / 50.0);
        total += exp(-k * k / 50.0);
    }
    for (int k = 0; k <= REACH; k++) {
        w.kernel[k] /= total;
    }
    for (int32_t y = w.top - REACH; y < w.top + REACH; y++) {
        fill_errors(&w, y);
    }
    for (int32_t y = w.top; y <= w.bottom; y++) {
        const uint8_t *g = inside->origin + (size_t)y * inside->stride;
        fill_errors(&w, y + REACH);
        sums->error_inside += smoothed_inside(&w, y);
        for (int32_t x = 0; x < inside->width; x++) {
            sums->foreground += g[x];
        }
    }
    for (int32_t y = 0; y < inside->height; y++) {
        sums->error_outside += weighted_outside(&w, y);
    }
fail:
    return status;
}

double m2s_weighted_f(const m2s_weighted_sums *sums, double epsilon)
{
    double foreground = (double)sums->foreground;

    if (sums->foreground == 0) {
        return 0.0;
    }
    double found = foreground - sums->error_inside;
    double recall = 1.0 - sums->error_inside / foreground;
    double precision = found / (found + sums->error_outside + epsilon);
    return 2.0 * recall * precision / (recall + precision + epsilon);
}
