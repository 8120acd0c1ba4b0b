/* SPDX-License-Identifier: Apache-2.0 */
#include "image/postprocess.h"

#include <math.h>
#include <string.h>

#include "image/components.h"
#include "image/resample.h"

#define PHASE            "post"
#define CUT_ROWS         32
#define DEFAULT_PRESENCE 0.0005 /* of the picture's area */

static bool is_area(double value)
{
    return isfinite(value) && value >= 0.0;
}

m2snet_status m2s_postprocess_check(const m2s_postprocess_options *options, int32_t width, int32_t height,
                                    m2snet_error *error)
{
    const m2snet_status bad = M2SNET_STATUS_INVALID_ARGUMENT;
    m2s_rect region;

    if (!(options->threshold >= 0.0 && options->threshold <= 1.0)) {
        return m2s_fail(error, bad, "the threshold must be 0..1, not %g", options->threshold);
    }
    if (!is_area(options->min_area_px)) {
        return m2s_fail(error, bad, "min_area_px must be a finite number of at least 0, not %g", options->min_area_px);
    }
    if (!(options->presence_min_area_px < 0.0) && !is_area(options->presence_min_area_px)) {
        return m2s_fail(error, bad, "presence_min_area_px must be a finite number, not %g",
                        options->presence_min_area_px);
    }
    bool is_unknown = options->spacing_y_mm == 0.0 && options->spacing_x_mm == 0.0;
    if (!is_unknown && !(isfinite(options->spacing_y_mm) && isfinite(options->spacing_x_mm) &&
                         options->spacing_y_mm > 0.0 && options->spacing_x_mm > 0.0)) {
        return m2s_fail(error, bad, "the pixel spacing must be two lengths above 0 mm (or 0, 0: unknown), not %g, %g",
                        options->spacing_y_mm, options->spacing_x_mm);
    }
    return m2s_region_resolve(width, height, &options->region, &region, error);
}

/* ---- maps ---- */

typedef struct sigmoid_work {
    const float *logits;
    int32_t channels, width;
    float *probability;
    uint8_t *map;
    atomic_llong first_bad; /* index of the first logit that is not finite */
} sigmoid_work;

#define NONE_BAD INT64_MAX

static void sigmoid_rows(void *argument, int32_t begin, int32_t end, int worker)
{
    sigmoid_work *work = argument;
    int64_t last = (int64_t)end * work->width;

    (void)worker;
    for (int64_t i = (int64_t)begin * work->width; i < last; i++) {
        float logit = work->logits[i * work->channels];
        if (!isfinite(logit)) {
            long long first = atomic_load(&work->first_bad);
            while (i < first && !atomic_compare_exchange_weak(&work->first_bad, &first, i)) {
            }
            return;
        }
        float probability = 1.0f / (1.0f + expf(-logit));
        work->probability[i] = probability;
        work->map[i] = (uint8_t)(probability * 255.0f);
    }
}

typedef struct dense_map {
    const uint8_t *pixels;
    int32_t width;
} dense_map;

static const uint8_t *dense_row(const void *user, int32_t y, uint8_t *scratch)
{
    const dense_map *map = user;

    (void)scratch;
    return map->pixels + (ptrdiff_t)y * map->width;
}

/* The two maps of the region at its place in the picture. */
static m2snet_status make_maps(const m2s_host *host, const float *logits, int32_t channels, int32_t src_width,
                               int32_t src_height, const m2s_rect *region, m2s_control *control,
                               m2s_segmentation *result, m2snet_error *error)
{
    m2snet_status status;
    size_t src_pixels = (size_t)src_width * (size_t)src_height;
    sigmoid_work work = { .logits = logits, .channels = channels, .width = src_width };

    atomic_init(&work.first_bad, NONE_BAD);
    work.probability = m2s_alloc_array(host->memory, src_pixels, sizeof *work.probability);
    work.map = m2s_alloc_array(host->memory, src_pixels, sizeof *work.map);
    if (work.probability == NULL || work.map == NULL) {
        status = m2s_fail_memory(error, "the probabilities", src_pixels * (sizeof *work.probability + 1));
        goto fail;
    }
    M2S_TRY(m2s_run_rows(host, sigmoid_rows, &work, src_height, CUT_ROWS, control, PHASE, error));
    long long bad = atomic_load(&work.first_bad);
    if (bad != NONE_BAD) {
        status = m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                          "the network gave a logit that is not finite (%g at row %lld, column %lld): the weights or "
                          "the input are damaged",
                          (double)logits[bad * channels], bad / src_width, bad % src_width);
        goto fail;
    }
    ptrdiff_t offset = (ptrdiff_t)region->y * result->width + region->x;
    M2S_TRY(m2s_resize_f32(host, work.probability, (ptrdiff_t)src_width * (ptrdiff_t)sizeof(float), src_width,
                           src_height, result->probability + offset,
                           (ptrdiff_t)result->width * (ptrdiff_t)sizeof(float), region->width, region->height, control,
                           PHASE, error));
    dense_map map = { work.map, src_width };
    m2s_row_source rows = { dense_row, &map, src_width, src_height, 1 };
    M2S_TRY(m2s_resize_u8(host, &rows, result->map + offset, result->width, region->width, region->height, control,
                          PHASE, error));
    status = M2SNET_STATUS_OK;

fail:
    m2s_free(host->memory, work.probability);
    m2s_free(host->memory, work.map);
    return status;
}

static void make_mask(m2s_segmentation *result, const m2s_rect *region, double threshold)
{
    uint8_t least = (uint8_t)ceil(255.0 * threshold); /* as bytes, many are compared at once */

    for (int32_t y = region->y; y < region->y + region->height; y++) {
        ptrdiff_t offset = (ptrdiff_t)y * result->width + region->x;
        const uint8_t *restrict map = result->map + offset;
        uint8_t *restrict mask = result->mask + offset;
        for (int32_t x = 0; x < region->width; x++) {
            mask[x] = map[x] >= least ? 255 : 0;
        }
    }
}

/* ---- components ---- */

/* Four sums side by side: one alone would wait for each addition. */
static double sum_of(const float *values, int32_t count)
{
    double sums[4] = { 0 };
    int32_t i = 0;

    for (; i + 4 <= count; i += 4) {
        for (int j = 0; j < 4; j++) {
            sums[j] += (double)values[i + j];
        }
    }
    for (; i < count; i++) {
        sums[0] += (double)values[i];
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* Adds a run to its component. Bounding boxes are kept as first and last pixel until finish_component. */
static void add_run(m2s_component *component, const m2s_mask_run *run, int32_t y, const float *row)
{
    m2snet_component *info = &component->info;
    int64_t length = run->end - run->begin;

    if (info->area_px == 0) {
        component->label = run->label;
        component->first_x = info->x = run->begin;
        component->first_y = info->y = y;
        info->width = run->end;
    }
    info->x = run->begin < info->x ? run->begin : info->x;
    info->width = run->end > info->width ? run->end : info->width;
    info->height = y + 1;
    info->area_px += length;
    info->mean_probability += sum_of(row + run->begin, run->end - run->begin);
    info->centroid_x += (double)length * 0.5 * ((double)run->begin + (double)run->end);
    info->centroid_y += (double)length * ((double)y + 0.5);
}

static void finish_component(m2s_component *component, double pixel_mm2)
{
    m2snet_component *info = &component->info;
    double area = (double)info->area_px;

    info->struct_size = sizeof *info;
    info->area_mm2 = pixel_mm2 > 0.0 ? area * pixel_mm2 : -1.0;
    info->width -= info->x;
    info->height -= info->y;
    info->mean_probability /= area;
    info->centroid_x /= area;
    info->centroid_y /= area;
}

/* Labels the mask and measures its components, in the order of their labels. */
static m2snet_status find_components(m2s_segmentation *result, double pixel_mm2, m2s_control *control,
                                     m2s_labels *labels, m2snet_error *error)
{
    m2snet_status status = m2s_label_mask(result->memory, result->mask, result->width, result->height,
                                          M2S_REGION_FOREGROUND, control, labels, error);

    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    size_t count = (size_t)labels->count;
    result->components = m2s_calloc(result->memory, count, sizeof *result->components);
    if (result->components == NULL) {
        return m2s_fail_memory(error, "the mask's components", count * sizeof *result->components);
    }
    result->component_count = labels->count;
    for (int32_t y = 0; y < labels->height; y++) {
        const float *row = result->probability + (ptrdiff_t)y * result->width;
        for (uint32_t i = labels->first[y]; i < labels->first[y + 1]; i++) {
            add_run(&result->components[labels->runs[i].label], &labels->runs[i], y, row);
        }
    }
    for (size_t i = 0; i < count; i++) {
        finish_component(&result->components[i], pixel_mm2);
    }
    return M2SNET_STATUS_OK;
}

/* Whether a comes before b: larger first, then by the first pixel. */
static bool comes_before(const m2s_component *a, const m2s_component *b)
{
    return a->info.area_px != b->info.area_px ? a->info.area_px > b->info.area_px : a->label < b->label;
}

static void sift_down(m2s_component *heap, size_t root, size_t count)
{
    for (size_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && comes_before(&heap[child], &heap[child + 1])) {
            child++;
        }
        if (!comes_before(&heap[root], &heap[child])) {
            return;
        }
        m2s_component swapped = heap[root];
        heap[root] = heap[child];
        heap[child] = swapped;
    }
}

/* Heap sort: qsort may allocate outside m2s_memory. */
static void sort_components(m2s_component *components, size_t count)
{
    for (size_t root = count / 2; root-- > 0;) {
        sift_down(components, root, count);
    }
    for (size_t end = count; end > 1; end--) {
        m2s_component swapped = components[0];
        components[0] = components[end - 1];
        components[end - 1] = swapped;
        sift_down(components, 0, end - 1);
    }
}

static void judge_presence(m2s_segmentation *result, double least_px)
{
    const m2s_component *largest = NULL;

    for (int32_t i = 0; i < result->component_count; i++) {
        const m2s_component *component = &result->components[i];
        if ((double)component->info.area_px >= least_px && (largest == NULL || comes_before(component, largest))) {
            largest = component;
        }
    }
    result->found = largest != NULL;
    result->presence = largest != NULL ? largest->info.mean_probability : 0.0;
}

/* Takes components that the options do not want from the list (sorted) and from the mask. */
static m2snet_status drop_components(m2s_segmentation *result, const m2s_labels *labels,
                                     const m2s_postprocess_options *options, m2snet_error *error)
{
    int32_t kept = 0;

    while (kept < result->component_count && (double)result->components[kept].info.area_px >= options->min_area_px &&
           !(options->largest_component && kept == 1)) {
        kept++;
    }
    if (kept == result->component_count) {
        return M2SNET_STATUS_OK;
    }
    uint8_t *keep = m2s_calloc(result->memory, (size_t)labels->count, 1);
    if (keep == NULL) {
        return m2s_fail_memory(error, "the mask's components", (size_t)labels->count);
    }
    for (int32_t i = 0; i < kept; i++) {
        keep[result->components[i].label] = 1;
    }
    for (int32_t y = 0; y < labels->height; y++) {
        for (uint32_t i = labels->first[y]; i < labels->first[y + 1]; i++) {
            const m2s_mask_run *run = &labels->runs[i];
            if (!keep[run->label]) {
                memset(result->mask + (ptrdiff_t)y * result->width + run->begin, 0, (size_t)(run->end - run->begin));
            }
        }
    }
    m2s_free(result->memory, keep);
    result->component_count = kept;
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_postprocess(const m2s_host *host, const float *logits, int32_t channels, int32_t src_width,
                              int32_t src_height, int32_t width, int32_t height, const m2s_postprocess_options *options,
                              m2s_control *control, m2s_segmentation *result, m2snet_error *error)
{
    m2snet_status status;
    m2s_memory *memory = host->memory;
    size_t pixels = (size_t)width * (size_t)height;
    double pixel_mm2 = options->spacing_y_mm * options->spacing_x_mm;
    m2s_labels labels = { 0 };
    m2s_rect region;

    *result = (m2s_segmentation){ .memory = memory, .width = width, .height = height };
    if (m2s_control_report(control, PHASE, 0, 1)) {
        status = m2s_fail_cancelled(error, PHASE);
        goto fail;
    }
    M2S_TRY(m2s_postprocess_check(options, width, height, error));
    M2S_TRY(m2s_region_resolve(width, height, &options->region, &region, error));
    result->probability = m2s_alloc_array(memory, pixels, sizeof *result->probability);
    result->map = m2s_alloc(memory, pixels);
    result->mask = m2s_alloc(memory, pixels);
    if (result->probability == NULL || result->map == NULL || result->mask == NULL) {
        status = m2s_fail_memory(error, "the result's maps", pixels * (sizeof *result->probability + 2));
        goto fail;
    }
    if (region.width != width || region.height != height) {
        memset(result->probability, 0, pixels * sizeof *result->probability);
        memset(result->map, 0, pixels);
        memset(result->mask, 0, pixels);
    }
    M2S_TRY(make_maps(host, logits, channels, src_width, src_height, &region, control, result, error));
    make_mask(result, &region, options->threshold);

    M2S_TRY(find_components(result, pixel_mm2, control, &labels, error));
    judge_presence(result, options->presence_min_area_px < 0.0 ? DEFAULT_PRESENCE * (double)pixels
                                                               : options->presence_min_area_px);
    if (options->fill_holes) {
        m2s_labels_release(&labels);
        m2s_free(memory, result->components);
        result->components = NULL;
        result->component_count = 0;
        M2S_TRY(m2s_fill_holes(memory, result->mask, width, height, control, error));
        M2S_TRY(find_components(result, pixel_mm2, control, &labels, error));
    }
    sort_components(result->components, (size_t)result->component_count);
    M2S_TRY(drop_components(result, &labels, options, error));
    m2s_labels_release(&labels);
    m2s_control_report(control, PHASE, 1, 1);
    return M2SNET_STATUS_OK;

fail:
    m2s_labels_release(&labels);
    m2s_segmentation_release(result);
    return status;
}

void m2s_segmentation_release(m2s_segmentation *result)
{
    m2s_memory *memory = result->memory;

    if (memory != NULL) {
        for (int32_t i = 0; i < result->component_count; i++) {
            m2s_free(memory, result->components[i].points);
        }
        m2s_free(memory, result->components);
        m2s_free(memory, result->probability);
        m2s_free(memory, result->map);
        m2s_free(memory, result->mask);
    }
    *result = (m2s_segmentation){ 0 };
}

m2snet_status m2s_segmentation_outline(m2s_segmentation *result, int32_t index, const int32_t **points, int32_t *count,
                                       m2snet_error *error)
{
    *points = NULL;
    *count = 0;
    if (index < 0 || index >= result->component_count) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "there is no component %d: the result has %d", index,
                        result->component_count);
    }
    m2s_component *component = &result->components[index];
    if (component->points == NULL) {
        m2snet_status status =
            m2s_trace_outline(result->memory, result->mask, result->width, result->height, component->first_x,
                              component->first_y, &component->points, &component->point_count, error);
        if (status != M2SNET_STATUS_OK) {
            return status;
        }
    }
    *points = component->points;
    *count = component->point_count;
    return M2SNET_STATUS_OK;
}

void m2s_copy_rows(void *dst, ptrdiff_t dst_stride_bytes, const void *src, size_t row_bytes, int32_t rows)
{
    ptrdiff_t stride = dst_stride_bytes != 0 ? dst_stride_bytes : (ptrdiff_t)row_bytes;

    for (ptrdiff_t y = 0; y < rows; y++) {
        memcpy((char *)dst + y * stride, (const char *)src + y * (ptrdiff_t)row_bytes, row_bytes);
    }
}
