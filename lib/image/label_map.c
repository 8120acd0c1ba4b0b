/* SPDX-License-Identifier: Apache-2.0 */
#include "image/label_map.h"

#include <math.h>
#include <string.h>

#include "image/resample.h"

#define PHASE "post"

void m2s_softmax_logits(float *logits, size_t pixels, int32_t classes)
{
    double made[M2SNET_MAX_LABELS] = { 0.0 };

    for (size_t i = 0; classes > 1 && i < pixels; i++, logits += classes) {
        for (int32_t c = 0; c < classes; c++) {
            double most = -INFINITY, sum = 0.0;
            for (int32_t k = 0; k < classes; k++) {
                most = k != c && (double)logits[k] > most ? (double)logits[k] : most;
            }
            for (int32_t k = 0; k < classes; k++) {
                sum += k != c ? exp((double)logits[k] - most) : 0.0;
            }
            made[c] = (double)logits[c] - most - log(sum);
        }
        for (int32_t c = 0; c < classes; c++) {
            logits[c] = (float)made[c];
        }
    }
}

/* Where the class's probability is above the best so far, it is the label. */
static void take_better(const float *probability, size_t pixels, uint8_t level, float *best, uint8_t *labels)
{
    for (size_t i = 0; i < pixels; i++) {
        if (probability[i] > best[i]) {
            best[i] = probability[i];
            labels[i] = level;
        }
    }
}

m2snet_status m2s_label_map(const m2s_host *host, const float *logits, int32_t src_width, int32_t src_height,
                            int32_t width, int32_t height, const m2s_label_options *options, m2s_control *control,
                            uint8_t *labels, m2snet_error *error)
{
    size_t src_pixels = (size_t)src_width * (size_t)src_height, pixels = 0;
    float *source = NULL, *planes = NULL;
    uint8_t *found = NULL;
    m2s_rect region;
    m2snet_status status;

    M2S_TRY(m2s_region_resolve(width, height, &options->region, &region, error));
    pixels = (size_t)region.width * (size_t)region.height;
    source = m2s_alloc_array(host->memory, src_pixels, sizeof *source);
    planes = m2s_alloc_array(host->memory, pixels, 2 * sizeof *planes);
    found = m2s_alloc(host->memory, pixels);
    if (source == NULL || planes == NULL || found == NULL) {
        status = m2s_fail_memory(error, "a label map", src_pixels * sizeof *source + pixels * 9);
        goto fail;
    }
    float *best = planes + pixels;
    memset(found, options->background, pixels);
    for (size_t i = 0; i < pixels; i++) {
        best[i] = options->always ? -1.0f : (float)options->threshold;
    }
    for (int32_t c = 0; c < options->classes; c++) {
        for (size_t i = 0; i < src_pixels; i++) {
            source[i] = 1.0f / (1.0f + expf(-logits[i * (size_t)options->classes + (size_t)c]));
        }
        M2S_TRY(m2s_resize_f32(host, source, (ptrdiff_t)src_width * (ptrdiff_t)sizeof(float), src_width, src_height,
                               planes, (ptrdiff_t)region.width * (ptrdiff_t)sizeof(float), region.width, region.height,
                               control, PHASE, error));
        take_better(planes, pixels, options->levels[c], best, found);
    }
    memset(labels, options->background, (size_t)width * (size_t)height);
    for (int32_t y = 0; y < region.height; y++) {
        memcpy(labels + (size_t)(region.y + y) * (size_t)width + (size_t)region.x,
               found + (size_t)y * (size_t)region.width, (size_t)region.width);
    }
    status = M2SNET_STATUS_OK;
fail:
    m2s_free(host->memory, source);
    m2s_free(host->memory, planes);
    m2s_free(host->memory, found);
    return status;
}
