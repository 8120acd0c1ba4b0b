/* SPDX-License-Identifier: Apache-2.0
 * m2snet-evaluate: one set as the library writes it; several side by side, with their differences. */
#define _GNU_SOURCE 1
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/json_writer.h"
#include "evaluate.h"

/* With all its digits. */
static void write_number(json_writer *json, const char *key, double value)
{
    char digits[32];

    snprintf(digits, sizeof(digits), "%.17g", value);
    json_verbatim(json, key, isfinite(value) ? digits : "null");
}

static void write_main_numbers(json_writer *json, const char *key, const double *numbers)
{
    json_open(json, key, '{');
    for (int k = 0; k < MAIN_NUMBERS; k++) {
        write_number(json, main_numbers[k].key, numbers[k]);
    }
    json_close(json, '}');
}

static bool write_clips(json_writer *json, const settings *set, const score_set *scored)
{
    clip_list clips = { 0 };
    m2snet_error error;
    bool fine = clips_of(set, scored, &clips, &error) == M2SNET_STATUS_OK;

    if (fine) {
        json_open(json, "clips", '{');
        json_string(json, "separator", set->group_separator);
        write_main_numbers(json, "mean", clips.mean);
        json_open(json, "clips", '[');
        for (size_t i = 0; i < clips.count; i++) {
            json_open(json, NULL, '{');
            json_string(json, "name", clips.items[i].name);
            json_integer(json, "images", clips.items[i].images);
            write_main_numbers(json, "numbers", clips.items[i].numbers);
            json_close(json, '}');
        }
        json_close(json, ']');
        json_close(json, '}');
    } else {
        library_error(set->json, &error);
    }
    clip_list_free(&clips);
    return fine;
}

static bool write_set(json_writer *json, const settings *set, const score_set *scored)
{
    const char *scores;
    m2snet_error error;

    if (m2snet_evaluator_json(scored->evaluator, set->folds, &scores, &error) != M2SNET_STATUS_OK) {
        library_error(set->json, &error);
        return false;
    }
    json_open(json, NULL, '{');
    json_string(json, "name", scored->name);
    json_string(json, "predictions", scored->folder);
    json_verbatim(json, "scores", scores);
    bool fine = set->group_separator == NULL || write_clips(json, set, scored);
    json_close(json, '}');
    return fine;
}

static void write_comparison(json_writer *json, const evaluation *all, const comparison *c)
{
    json_open(json, NULL, '{');
    json_string(json, "first", all->sets[c->first].name);
    json_string(json, "second", all->sets[c->second].name);
    json_open(json, "numbers", '{');
    for (int k = 0; k < MAIN_NUMBERS; k++) {
        const m2snet_difference *d = &c->differences[k];

        if (d->pairs > 0) {
            json_open(json, main_numbers[k].key, '{');
            json_integer(json, "pairs", d->pairs);
            write_number(json, "first", d->first);
            write_number(json, "second", d->second);
            write_number(json, "difference", d->difference);
            write_number(json, "low", d->low);
            write_number(json, "high", d->high);
            write_number(json, "share_above", d->share_above);
            json_close(json, '}');
        }
    }
    json_close(json, '}');
    json_close(json, '}');
}

static bool write_all(json_writer *json, const evaluation *all, const comparison_list *comparisons)
{
    const m2snet_compare_options *options = &all->set->compare;

    json_open(json, NULL, '{');
    json_integer(json, "format", 1);
    json_open(json, "sets", '[');
    for (int i = 0; i < all->count; i++) {
        if (!write_set(json, all->set, &all->sets[i])) {
            return false;
        }
    }
    json_close(json, ']');
    if (all->count == 1) {
        json_close(json, '}');
        return true;
    }
    json_open(json, "bootstrap", '{');
    json_integer(json, "resamples", options->resamples);
    json_number(json, "level", options->level);
    json_integer(json, "seed", (int64_t)options->seed);
    json_close(json, '}');
    json_open(json, "differences", '[');
    for (int i = 0; i < comparisons->count; i++) {
        write_comparison(json, all, &comparisons->items[i]);
    }
    json_close(json, ']');
    json_close(json, '}');
    return true;
}

bool write_json(const evaluation *all, const comparison_list *comparisons)
{
    const char *path = all->set->json;
    char *text = NULL;
    size_t size_bytes = 0;
    FILE *stream;
    json_writer json;
    bool fine;

    if (all->count == 1 && all->set->group_separator == NULL) {
        const char *scores;
        m2snet_error error;

        if (m2snet_evaluator_json(all->sets[0].evaluator, all->set->folds, &scores, &error) != M2SNET_STATUS_OK) {
            library_error(path, &error);
            return false;
        }
        return write_whole_file(path, NULL, 0, scores, strlen(scores));
    }
    stream = open_memstream(&text, &size_bytes);
    if (stream == NULL) {
        complain("%s: out of memory", path);
        return false;
    }
    json_start(&json, stream);
    fine = write_all(&json, all, comparisons);
    if (fclose(stream) != 0) {
        complain("%s: out of memory", path);
        fine = false;
    }
    fine = fine && write_whole_file(path, NULL, 0, text, size_bytes);
    free(text);
    return fine;
}
