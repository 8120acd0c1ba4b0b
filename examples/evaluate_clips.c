/* SPDX-License-Identifier: Apache-2.0
 * m2snet-evaluate: images that belong together, as the frames of a clip, scored clip by clip. */
#define _GNU_SOURCE 1
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "evaluate.h"

void clip_list_free(clip_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].name);
    }
    free(list->items);
    *list = (clip_list){ 0 };
}

static size_t name_length(const char *name, const char *separator)
{
    const char *at = strstr(name, separator);

    return at != NULL && at != name ? (size_t)(at - name) : strlen(name);
}

/* Images of the clip that the one at `first` belongs to, none of which stands before it; 0 where it is not the clip's
 * first. */
static int32_t frames_of(const settings *set, const m2snet_evaluator *evaluator, int32_t first, int32_t *frames)
{
    const char *name = m2snet_evaluator_name(evaluator, first);
    size_t length = name_length(name, set->group_separator);
    int32_t count = 0;

    for (int32_t i = 0; i < m2snet_evaluator_count(evaluator); i++) {
        const char *other = m2snet_evaluator_name(evaluator, i);

        if (name_length(other, set->group_separator) == length && strncmp(name, other, length) == 0) {
            if (i < first) {
                return 0;
            }
            frames[count++] = i;
        }
    }
    return count;
}

/* How many of them have scores that enter the mean. */
static int32_t counting(const settings *set, const m2snet_evaluator *evaluator, const int32_t *frames, int32_t count)
{
    int32_t counted = 0;

    for (int32_t i = 0; i < count; i++) {
        m2snet_scores scores = { .struct_size = sizeof(scores) };
        bool scored = m2snet_evaluator_image_scores(evaluator, frames[i], &scores, NULL) == M2SNET_STATUS_OK;

        counted += scored && !(set->options.empty == M2SNET_EMPTY_SKIP && scores.mask_empty);
    }
    return counted;
}

static void take_means(clip_list *list)
{
    for (int k = 0; k < MAIN_NUMBERS; k++) {
        double sum = 0.0;
        int defined = 0;

        for (size_t i = 0; i < list->count; i++) {
            if (!isnan(list->items[i].numbers[k])) {
                sum += list->items[i].numbers[k];
                defined++;
            }
        }
        list->mean[k] = defined > 0 ? sum / defined : (double)NAN;
    }
}

m2snet_status clips_of(const settings *set, const score_set *scored, clip_list *list, m2snet_error *error)
{
    const m2snet_evaluator *evaluator = scored->evaluator;
    int32_t images = m2snet_evaluator_count(evaluator);
    int32_t *frames = must_alloc(((size_t)images + 1) * sizeof(*frames));
    m2snet_status status = M2SNET_STATUS_OK;

    *list = (clip_list){ .items = must_alloc(((size_t)images + 1) * sizeof(*list->items)) };
    for (int32_t i = 0; i < images && status == M2SNET_STATUS_OK; i++) {
        m2snet_scores scores = { .struct_size = sizeof(scores) };
        int32_t count = frames_of(set, evaluator, i, frames), counted = counting(set, evaluator, frames, count);
        const char *name = m2snet_evaluator_name(evaluator, i);

        if (counted == 0) {
            continue;
        }
        status = m2snet_evaluator_subset_scores(evaluator, frames, count, &scores, error);
        if (status == M2SNET_STATUS_OK) {
            clip *made = &list->items[list->count++];

            made->name = format_text("%.*s", (int)name_length(name, set->group_separator), name);
            made->images = counted;
            for (int k = 0; k < MAIN_NUMBERS; k++) {
                made->numbers[k] = main_number_of(&scores, k);
            }
        }
    }
    take_means(list);
    free(frames);
    return status;
}
