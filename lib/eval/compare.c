/* SPDX-License-Identifier: Apache-2.0
 *
 * Two kinds of numbers: means over images, where a resample is a sum over the images drawn; and maxima of the mean
 * curve, where a resample averages 256-point curves before it looks for the maximum. */
#include "eval/compare.h"

#include <math.h>
#include <string.h>

#include "core/quote.h"
#include "core/rng.h"

#define RESAMPLES_A_CHUNK 64

void m2s_compare_options_default(m2snet_compare_options *options)
{
    *options = (m2snet_compare_options){ .struct_size = sizeof *options, .resamples = 10000, .level = 0.95 };
}

/* ---- which number ---- */

typedef struct metric {
    const m2s_score_field *field;
    bool surface;
} metric;

static m2snet_status find_metric(const char *key, bool surfaces, metric *found, m2snet_error *error)
{
    for (int32_t i = 0; i < m2s_score_field_count; i++) {
        const m2s_score_field *field = &m2s_score_fields[i];
        /* the authors' own keys repeat the default's, so they carry a prefix here */
        bool authors = i >= m2s_authors_field_first;
        const char *rest = authors && strncmp(key, "authors_", 8) == 0 ? key + 8 : authors ? "" : key;
        if (strcmp(rest, field->key) == 0 && !(authors && strcmp(rest, "fm_max") == 0)) {
            *found = (metric){ .field = field };
            return M2SNET_STATUS_OK;
        }
    }
    for (int32_t i = 0; i < m2s_surface_field_count; i++) {
        if (strcmp(key, m2s_surface_fields[i].key) == 0) {
            if (!surfaces) {
                return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED, "%s: an evaluator measures no distances", key);
            }
            *found = (metric){ .field = &m2s_surface_fields[i], .surface = true };
            return M2SNET_STATUS_OK;
        }
    }
    return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "key %s: no number that can be compared",
                    m2s_quote(key, strlen(key)).text);
}

static double value_of(const m2s_item *item, const metric *m)
{
    m2snet_scores *s = &item->pair->scores;

    return *m2s_field_of(m->surface ? (void *)&s->surface[0] : (void *)s, m->field);
}

/* ---- which images ---- */

/* Images of both sides with their names; ends with release_match. */
typedef struct match {
    const m2s_item **sides[2];
    int32_t count;
} match;

static void release_match(m2s_memory *memory, match *m)
{
    m2s_free(memory, m->sides[0]);
    m2s_free(memory, m->sides[1]);
}

/* By name; equal names keep their order, which is that of the addresses. */
static bool name_before(const m2s_item *a, const m2s_item *b)
{
    int order = strcmp(a->name, b->name);

    return order != 0 ? order < 0 : a < b;
}

static void sift_down(const m2s_item **heap, int32_t root, int32_t count)
{
    for (int32_t child = 2 * root + 1; child < count; child = 2 * root + 1) {
        if (child + 1 < count && name_before(heap[child], heap[child + 1])) {
            child++;
        }
        if (!name_before(heap[root], heap[child])) {
            return;
        }
        const m2s_item *swapped = heap[root];
        heap[root] = heap[child];
        heap[child] = swapped;
        root = child;
    }
}

/* Not qsort, which takes memory of its own. */
static void sort_by_name(const m2s_item **items, int32_t count)
{
    for (int32_t i = count / 2; i > 0; i--) {
        sift_down(items, i - 1, count);
    }
    for (int32_t end = count - 1; end > 0; end--) {
        const m2s_item *largest = items[0];
        items[0] = items[end];
        items[end] = largest;
        sift_down(items, 0, end);
    }
}

static m2snet_status list_side(m2s_memory *memory, const m2snet_evaluator *evaluator, const metric *wanted,
                               const m2s_item ***list, int32_t *count, m2snet_error *error)
{
    size_t room = evaluator->count > 0 ? (size_t)evaluator->count : 1;

    *list = m2s_alloc_array(memory, room, sizeof **list);
    if (*list == NULL) {
        return m2s_fail_memory(error, "the images to compare", room * sizeof **list);
    }
    *count = 0;
    for (int32_t i = 0; i < evaluator->count; i++) {
        const m2s_item *item = &evaluator->items[i];
        if (m2s_evaluator_counts(evaluator, item) && !isnan(value_of(item, wanted))) {
            (*list)[(*count)++] = item;
        }
    }
    sort_by_name(*list, *count);
    return M2SNET_STATUS_OK;
}

static m2snet_status match_images(m2s_memory *memory, const m2snet_evaluator *first, const m2snet_evaluator *second,
                                  const metric *wanted, match *m, m2snet_error *error)
{
    int32_t counts[2] = { 0, 0 }, a = 0, b = 0;
    m2snet_status status;

    M2S_TRY(list_side(memory, first, wanted, &m->sides[0], &counts[0], error));
    M2S_TRY(list_side(memory, second, wanted, &m->sides[1], &counts[1], error));
    while (a < counts[0] && b < counts[1]) {
        int order = strcmp(m->sides[0][a]->name, m->sides[1][b]->name);
        if (order == 0) {
            m->sides[0][m->count] = m->sides[0][a];
            m->sides[1][m->count] = m->sides[1][b];
            m->count++;
        }
        a += order <= 0;
        b += order >= 0;
    }
    if (m->count == 0) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "nothing to compare: no image has a defined %s on both sides",
                        wanted->field->key);
    }
fail:
    return status;
}

static m2snet_status same_settings(const m2s_eval_settings *a, const m2s_eval_settings *b, m2snet_error *error)
{
    bool same_spacing = a->spacings[0][0] == b->spacings[0][0] && a->spacings[0][1] == b->spacings[0][1];
    const char *what = a->empty != b->empty                 ? "policies for empty masks"
                       : a->connectivity != b->connectivity ? "connectivities"
                       : a->penalty != b->penalty           ? "penalties"
                       : !same_spacing                      ? "spacings"
                                                            : NULL;

    if (what != NULL) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "the evaluators have different %s", what);
    }
    return M2SNET_STATUS_OK;
}

/* ---- resamples ---- */

typedef struct bootstrap {
    int32_t images, resamples;
    uint64_t stream;
    double *values[2]; /* a mean: of each image */
    double *curves[2]; /* a maximum: 256 of each image; else NULL */
    int32_t *drawn;    /* a maximum: how often each image was drawn, one row a worker */
    double *differences;
} bootstrap;

static int32_t draw(const bootstrap *b, int32_t resample, int32_t k)
{
    uint64_t bits = m2s_rng_bits(b->stream, (uint64_t)resample * (uint64_t)b->images + (uint64_t)k);

    return (int32_t)((bits >> 32) * (uint64_t)b->images >> 32);
}

static double resample_means(const bootstrap *b, int32_t resample)
{
    double sum = 0.0;

    for (int32_t k = 0; k < b->images; k++) {
        int32_t i = draw(b, resample, k);
        sum += b->values[1][i] - b->values[0][i];
    }
    return sum / b->images;
}

/* drawn NULL: each image once. */
static double best_of_curve(const bootstrap *b, int side, const int32_t *drawn)
{
    double sums[M2S_LEVELS] = { 0 };
    double best = 0.0;

    for (int32_t i = 0; i < b->images; i++) {
        const double *curve = b->curves[side] + (size_t)i * M2S_LEVELS;
        double weight = drawn != NULL ? drawn[i] : 1.0;
        for (int t = 0; weight != 0.0 && t < M2S_LEVELS; t++) {
            sums[t] += weight * curve[t];
        }
    }
    for (int t = 0; t < M2S_LEVELS; t++) {
        best = sums[t] > best ? sums[t] : best;
    }
    return best / b->images;
}

static double resample_maxima(const bootstrap *b, int32_t resample, int32_t *drawn)
{
    memset(drawn, 0, (size_t)b->images * sizeof *drawn);
    for (int32_t k = 0; k < b->images; k++) {
        drawn[draw(b, resample, k)]++;
    }
    return best_of_curve(b, 1, drawn) - best_of_curve(b, 0, drawn);
}

static void run_chunk(void *argument, int64_t chunk, int worker)
{
    const bootstrap *b = argument;
    int32_t from = (int32_t)(chunk * RESAMPLES_A_CHUNK);
    int32_t to = b->resamples - from < RESAMPLES_A_CHUNK ? b->resamples : from + RESAMPLES_A_CHUNK;

    for (int32_t r = from; r < to; r++) {
        b->differences[r] = b->curves[0] == NULL ? resample_means(b, r)
                                                 : resample_maxima(b, r, b->drawn + (size_t)worker * (size_t)b->images);
    }
}

static void release_bootstrap(m2s_memory *memory, bootstrap *b)
{
    for (int side = 0; side < 2; side++) {
        m2s_free(memory, b->values[side]);
        m2s_free(memory, b->curves[side]);
    }
    m2s_free(memory, b->drawn);
    m2s_free(memory, b->differences);
}

static m2snet_status prepare_side(m2s_memory *memory, const m2snet_evaluator *evaluator, const metric *wanted,
                                  const match *m, int side, bootstrap *b, m2snet_error *error)
{
    bool maximum = wanted->field->kind == M2S_SCORE_CURVE_MAX;
    size_t count = (size_t)m->count * (maximum ? M2S_LEVELS : 1);
    double *numbers = m2s_alloc_array(memory, count, sizeof *numbers);

    if (numbers == NULL) {
        return m2s_fail_memory(error, "the numbers to compare", count * sizeof *numbers);
    }
    memset(numbers, 0, count * sizeof *numbers);
    for (int32_t i = 0; i < m->count; i++) {
        if (maximum) {
            m2s_curve_add(&m->sides[side][i]->pair->sweep, wanted->field->curve,
                          m2s_both_empty_value(&evaluator->settings), numbers + (size_t)i * M2S_LEVELS);
        } else {
            numbers[i] = value_of(m->sides[side][i], wanted);
        }
    }
    *(maximum ? &b->curves[side] : &b->values[side]) = numbers;
    return M2SNET_STATUS_OK;
}

static m2snet_status prepare_room(m2s_memory *memory, int threads, bootstrap *b, m2snet_error *error)
{
    size_t rows = (size_t)b->images * (size_t)threads;

    b->differences = m2s_alloc_array(memory, (size_t)b->resamples, sizeof *b->differences);
    if (b->differences == NULL) {
        return m2s_fail_memory(error, "resamples", (size_t)b->resamples * sizeof *b->differences);
    }
    if (b->curves[0] != NULL) {
        b->drawn = m2s_alloc_array(memory, rows, sizeof *b->drawn);
        if (b->drawn == NULL) {
            return m2s_fail_memory(error, "resamples", rows * sizeof *b->drawn);
        }
    }
    return M2SNET_STATUS_OK;
}

/* ---- the answer ---- */

static double observed(const bootstrap *b, int side)
{
    double sum = 0.0;

    if (b->curves[side] != NULL) {
        return best_of_curve(b, side, NULL);
    }
    for (int32_t i = 0; i < b->images; i++) {
        sum += b->values[side][i];
    }
    return sum / b->images;
}

static double share_above(const bootstrap *b)
{
    int64_t halves = 0;

    for (int32_t r = 0; r < b->resamples; r++) {
        halves += b->differences[r] > 0.0 ? 2 : b->differences[r] == 0.0;
    }
    return (double)halves / (2.0 * b->resamples);
}

static void conclude(const bootstrap *b, double level, m2snet_difference *d)
{
    *d = (m2snet_difference){ .struct_size = sizeof *d, .pairs = b->images };
    d->first = observed(b, 0);
    d->second = observed(b, 1);
    d->difference = d->second - d->first;
    d->share_above = share_above(b);
    d->low = d->high = NAN; /* one image cannot say how images vary */
    if (b->images > 1) {
        d->low = m2s_percentile(b->differences, b->resamples, (1.0 - level) / 2.0);
        d->high = m2s_percentile(b->differences, b->resamples, (1.0 + level) / 2.0);
    }
}

static m2snet_status check_options(const m2snet_compare_options *o, m2snet_error *error)
{
    if (o->resamples < 100 || o->resamples > 1000000) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "resamples is %d: expected 100 to 1000000",
                        o->resamples);
    }
    if (!(o->level >= 0.5 && o->level <= 0.999)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "level is %g: expected 0.5 to 0.999", o->level);
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_compare(const m2snet_evaluator *first, const m2snet_evaluator *second, const char *key,
                          const m2snet_compare_options *options, m2snet_difference *difference, m2snet_error *error)
{
    m2s_memory *memory = &first->context->memory;
    m2s_pool *pool = first->context->host.pool;
    bootstrap b = { .resamples = options->resamples, .stream = m2s_rng_stream(options->seed, "bootstrap") };
    m2s_task task = { .run = run_chunk, .argument = &b };
    match matched = { 0 };
    m2s_control control;
    metric wanted = { 0 };
    m2snet_status status;

    M2S_TRY(check_options(options, error));
    M2S_TRY(same_settings(&first->settings, &second->settings, error));
    M2S_TRY(find_metric(key, first->settings.surface && second->settings.surface, &wanted, error));
    M2S_TRY(match_images(memory, first, second, &wanted, &matched, error));
    b.images = matched.count;
    M2S_TRY(prepare_side(memory, first, &wanted, &matched, 0, &b, error));
    M2S_TRY(prepare_side(memory, second, &wanted, &matched, 1, &b, error));
    M2S_TRY(prepare_room(memory, m2s_pool_threads(pool), &b, error));
    task.chunks = (b.resamples + RESAMPLES_A_CHUNK - 1) / RESAMPLES_A_CHUNK;
    m2s_control_init(&control, &options->control);
    M2S_TRY(m2s_pool_run(pool, &task, 1, &control, "bootstrap", error));
    conclude(&b, options->level, difference);
fail:
    release_bootstrap(memory, &b);
    release_match(memory, &matched);
    return status;
}
