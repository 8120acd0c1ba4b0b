/* SPDX-License-Identifier: Apache-2.0 */
#include "image/components.h"

#include <string.h>

#define PHASE "post"

/* First x >= from with a pixel that is 0 (or is not), or width. */
static int32_t find_zero(const uint8_t *row, int32_t from, int32_t width)
{
    const uint8_t *found = from < width ? memchr(row + from, 0, (size_t)(width - from)) : NULL;

    return found != NULL ? (int32_t)(found - row) : width;
}

static int32_t find_nonzero(const uint8_t *row, int32_t from, int32_t width)
{
    uint64_t word;

    for (; width - from >= (int32_t)sizeof word; from += (int32_t)sizeof word) {
        memcpy(&word, row + from, sizeof word);
        if (word != 0) {
            break;
        }
    }
    while (from < width && row[from] == 0) {
        from++;
    }
    return from;
}

/* Finds the next run at or after x; false: there is none. */
static bool next_run(const uint8_t *row, int32_t x, int32_t width, m2s_region_kind kind, m2s_mask_run *run)
{
    bool is_foreground = kind == M2S_REGION_FOREGROUND;

    run->begin = is_foreground ? find_nonzero(row, x, width) : find_zero(row, x, width);
    if (run->begin == width) {
        return false;
    }
    run->end = is_foreground ? find_zero(row, run->begin, width) : find_nonzero(row, run->begin, width);
    return true;
}

/* While labels are being joined, a run's label is the index of an earlier run of the same region, or its own. */
static int32_t root_of(m2s_mask_run *runs, int32_t i)
{
    while (runs[i].label != i) {
        runs[i].label = runs[runs[i].label].label;
        i = runs[i].label;
    }
    return i;
}

static void join(m2s_mask_run *runs, int32_t a, int32_t b)
{
    int32_t root_a = root_of(runs, a);
    int32_t root_b = root_of(runs, b);

    if (root_a < root_b) {
        runs[root_b].label = root_a;
    } else {
        runs[root_a].label = root_b;
    }
}

/* Joins the runs of one row to those of the row above that touch them. */
static void join_rows(m2s_mask_run *runs, uint32_t above, uint32_t row, uint32_t row_end, int32_t reach)
{
    uint32_t up = above;

    for (uint32_t i = row; i < row_end; i++) {
        while (up < row && runs[up].end + reach <= runs[i].begin) {
            up++;
        }
        for (uint32_t j = up; j < row && runs[j].begin < runs[i].end + reach; j++) {
            join(runs, (int32_t)i, (int32_t)j);
        }
    }
}

static m2snet_status count_runs(const uint8_t *mask, m2s_region_kind kind, m2s_control *control, m2s_labels *labels,
                                m2snet_error *error)
{
    uint32_t total = 0;

    for (int32_t y = 0; y < labels->height; y++) {
        const uint8_t *row = mask + (ptrdiff_t)y * labels->width;
        m2s_mask_run run = { 0, 0, 0 };
        if (m2s_control_stopped(control)) {
            return m2s_fail_cancelled(error, PHASE);
        }
        labels->first[y] = total;
        while (next_run(row, run.end, labels->width, kind, &run)) {
            total++;
        }
    }
    labels->first[labels->height] = total;
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_label_mask(m2s_memory *memory, const uint8_t *mask, int32_t width, int32_t height,
                             m2s_region_kind kind, m2s_control *control, m2s_labels *labels, m2snet_error *error)
{
    m2snet_status status;
    int32_t reach = kind == M2S_REGION_FOREGROUND ? 1 : 0; /* diagonal neighbours touch, or not */

    *labels = (m2s_labels){ .memory = memory, .width = width, .height = height };
    labels->first = m2s_alloc_array(memory, (size_t)height + 1, sizeof *labels->first);
    if (labels->first == NULL) {
        status = m2s_fail_memory(error, "the mask's rows", ((size_t)height + 1) * sizeof *labels->first);
        goto fail;
    }
    M2S_TRY(count_runs(mask, kind, control, labels, error));
    uint32_t total = labels->first[height];
    labels->runs = m2s_alloc_array(memory, total, sizeof *labels->runs);
    if (labels->runs == NULL) {
        status = m2s_fail_memory(error, "the mask's runs", total * sizeof *labels->runs);
        goto fail;
    }
    m2s_mask_run *runs = labels->runs;
    for (int32_t y = 0; y < height; y++) {
        const uint8_t *row = mask + (ptrdiff_t)y * width;
        m2s_mask_run run = { 0, 0, 0 };
        uint32_t i = labels->first[y];
        if (m2s_control_stopped(control)) {
            status = m2s_fail_cancelled(error, PHASE);
            goto fail;
        }
        while (next_run(row, run.end, width, kind, &run)) {
            run.label = (int32_t)i;
            runs[i++] = run;
        }
        if (y > 0) {
            join_rows(runs, labels->first[y - 1], labels->first[y], labels->first[y + 1], reach);
        }
    }
    /* Every label points at an earlier run or at its own, and earlier runs have their number by now. */
    for (uint32_t i = 0; i < total; i++) {
        runs[i].label = runs[i].label == (int32_t)i ? labels->count++ : runs[runs[i].label].label;
    }
    return M2SNET_STATUS_OK;

fail:
    m2s_labels_release(labels);
    return status;
}

void m2s_labels_release(m2s_labels *labels)
{
    if (labels->memory != NULL) {
        m2s_free(labels->memory, labels->runs);
        m2s_free(labels->memory, labels->first);
    }
    *labels = (m2s_labels){ 0 };
}

m2snet_status m2s_fill_holes(m2s_memory *memory, uint8_t *mask, int32_t width, int32_t height, m2s_control *control,
                             m2snet_error *error)
{
    m2snet_status status;
    m2s_labels labels = { 0 };
    uint8_t *outside = NULL; /* per label: joined to the border */

    M2S_TRY(m2s_label_mask(memory, mask, width, height, M2S_REGION_BACKGROUND, control, &labels, error));
    outside = m2s_calloc(memory, (size_t)labels.count, 1);
    if (outside == NULL) {
        status = m2s_fail_memory(error, "the mask's holes", (size_t)labels.count);
        goto fail;
    }
    for (int32_t y = 0; y < height; y++) {
        for (uint32_t i = labels.first[y]; i < labels.first[y + 1]; i++) {
            const m2s_mask_run *run = &labels.runs[i];
            if (y == 0 || y == height - 1 || run->begin == 0 || run->end == width) {
                outside[run->label] = 1;
            }
        }
    }
    for (int32_t y = 0; y < height; y++) {
        for (uint32_t i = labels.first[y]; i < labels.first[y + 1]; i++) {
            const m2s_mask_run *run = &labels.runs[i];
            if (!outside[run->label]) {
                memset(mask + (ptrdiff_t)y * width + run->begin, 255, (size_t)(run->end - run->begin));
            }
        }
    }
    status = M2SNET_STATUS_OK;

fail:
    m2s_free(memory, outside);
    m2s_labels_release(&labels);
    return status;
}

/* ---- outlines ---- */

typedef struct plane {
    const uint8_t *mask;
    int32_t width, height;
} plane;

static bool is_inside(const plane *p, int32_t x, int32_t y)
{
    return x >= 0 && y >= 0 && x < p->width && y < p->height && p->mask[(ptrdiff_t)y * p->width + x] != 0;
}

/* Walks along pixel edges with the region on the right until it is back. All pixels around a corner are 8-neighbours,
 * so whatever of the mask is met belongs to the same region, and a pixel ahead on the left, also one that touches
 * only by its corner, is gone around. Writes corners to points unless it is NULL; returns their number. */
static int32_t walk_outline(const plane *p, int32_t x, int32_t y, int32_t *points)
{
    enum { RIGHT, DOWN, LEFT, UP };
    static const int32_t step[4][2] = { { 1, 0 }, { 0, 1 }, { -1, 0 }, { 0, -1 } };
    /* From a corner to the pixels ahead of it, for each way: left of the edge, right of it. */
    static const int32_t ahead_left[4][2] = { { 0, -1 }, { 0, 0 }, { -1, 0 }, { -1, -1 } };
    static const int32_t ahead_right[4][2] = { { 0, 0 }, { -1, 0 }, { -1, -1 }, { 0, -1 } };
    const int32_t start_x = x;
    const int32_t start_y = y;
    int32_t count = 0;
    int way = RIGHT;
    int came = UP;

    do {
        if (way != came) {
            if (points != NULL) {
                points[2 * (ptrdiff_t)count] = x;
                points[2 * (ptrdiff_t)count + 1] = y;
            }
            count++;
        }
        x += step[way][0];
        y += step[way][1];
        came = way;
        if (is_inside(p, x + ahead_left[way][0], y + ahead_left[way][1])) {
            way = (way + 3) % 4;
        } else if (!is_inside(p, x + ahead_right[way][0], y + ahead_right[way][1])) {
            way = (way + 1) % 4;
        }
    } while (x != start_x || y != start_y);
    return count;
}

m2snet_status m2s_trace_outline(m2s_memory *memory, const uint8_t *mask, int32_t width, int32_t height, int32_t x,
                                int32_t y, int32_t **points, int32_t *count, m2snet_error *error)
{
    plane p = { mask, width, height };

    *count = walk_outline(&p, x, y, NULL);
    *points = m2s_alloc_array(memory, (size_t)*count, 2 * sizeof **points);
    if (*points == NULL) {
        size_t bytes = (size_t)*count * 2 * sizeof **points;
        *count = 0;
        return m2s_fail_memory(error, "a component's outline", bytes);
    }
    walk_outline(&p, x, y, *points);
    return M2SNET_STATUS_OK;
}
