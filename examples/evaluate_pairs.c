/* SPDX-License-Identifier: Apache-2.0
 * m2snet-evaluate: which prediction belongs to which mask. */
#define _GNU_SOURCE 1
#include <stdlib.h>
#include <string.h>

#include "evaluate.h"

void pair_list_free(pair_list *list)
{
    path_list_free(&list->names);
    path_list_free(&list->predictions);
    path_list_free(&list->masks);
    path_list_free(&list->unmatched);
    path_list_free(&list->reasons);
}

/* Bytes of the UTF-8 character at text; 0: it is none. */
static size_t character_bytes(const unsigned char *text)
{
    size_t bytes = text[0] < 0x80 ? 1 : text[0] >= 0xf0 && text[0] < 0xf5 ? 4 : text[0] >= 0xe0 ? 3 : 2;

    if (text[0] >= 0x80 && (text[0] < 0xc2 || text[0] >= 0xf5)) {
        return 0;
    }
    /* forms that are too long, surrogates, beyond U+10FFFF */
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] >= 0xa0) ||
        (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] >= 0x90)) {
        return 0;
    }
    for (size_t i = 1; i < bytes; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return bytes;
}

/* File names may be any bytes, names in JSON may not: what is no UTF-8 is written as \xff. */
static char *as_utf8(const char *text)
{
    char *made = must_alloc(4 * strlen(text) + 1);
    char *end = made;

    while (*text != '\0') {
        size_t bytes = character_bytes((const unsigned char *)text);

        if (bytes == 0) {
            end += snprintf(end, sizeof("\\xff"), "\\x%02x", (unsigned)(unsigned char)*text++);
        } else {
            memcpy(end, text, bytes);
            end += bytes;
            text += bytes;
        }
    }
    *end = '\0';
    return made;
}

/* Takes reason. */
static void add_unmatched(pair_list *list, const char *stem, char *reason)
{
    complain("%s", reason);
    path_list_add(&list->unmatched, as_utf8(stem));
    path_list_add(&list->reasons, as_utf8(reason));
    free(reason);
}

static char *stem_of(const char *path)
{
    const char *name = file_name(path);
    const char *dot = strrchr(name, '.');

    return format_text("%.*s", (int)(dot != NULL && dot != name ? (size_t)(dot - name) : strlen(name)), name);
}

/* A file by its stem. */
typedef struct stemmed {
    char *stem;
    const char *path;
    bool used;
} stemmed;

static int compare_stems(const void *left, const void *right)
{
    return strcmp(((const stemmed *)left)->stem, ((const stemmed *)right)->stem);
}

/* Without suffix, which they must have. */
static stemmed *sort_by_stem(const path_list *paths, const char *suffix, size_t *count)
{
    stemmed *sorted = must_alloc(paths->count * sizeof(*sorted));

    *count = 0;
    for (size_t i = 0; i < paths->count; i++) {
        char *stem = stem_of(paths->items[i]);
        size_t length = strlen(stem), rest = length - strlen(suffix);

        if (length < strlen(suffix) || strcmp(stem + rest, suffix) != 0) {
            free(stem);
            continue;
        }
        stem[rest] = '\0';
        sorted[(*count)++] = (stemmed){ .stem = stem, .path = paths->items[i] };
    }
    qsort(sorted, *count, sizeof(*sorted), compare_stems);
    return sorted;
}

/* Files of one folder that share a stem cannot be told apart: all of them are left out. */
static void drop_ambiguous(stemmed *sorted, size_t count, pair_list *list)
{
    for (size_t i = 0; i < count;) {
        size_t end = i + 1;

        while (end < count && compare_stems(&sorted[i], &sorted[end]) == 0) {
            end++;
        }
        if (end - i > 1) {
            add_unmatched(list, sorted[i].stem,
                          format_text("%s: %zu files of this folder have the stem \"%s\"", sorted[i].path, end - i,
                                      sorted[i].stem));
        }
        for (size_t k = i; end - i > 1 && k < end; k++) {
            sorted[k].used = true;
        }
        i = end;
    }
}

static void match_files(const path_list *predictions, const path_list *masks, const char *suffix, pair_list *list)
{
    size_t left_count, right_count;
    stemmed *left = sort_by_stem(predictions, suffix, &left_count);
    stemmed *right = sort_by_stem(masks, "", &right_count);

    drop_ambiguous(left, left_count, list);
    drop_ambiguous(right, right_count, list);
    for (size_t i = 0; i < right_count; i++) {
        stemmed *partner = bsearch(&right[i], left, left_count, sizeof(*left), compare_stems);

        if (partner == NULL && !right[i].used) {
            add_unmatched(list, right[i].stem, format_text("%s: no prediction of this stem", right[i].path));
        } else if (partner != NULL && !partner->used && !right[i].used) {
            path_list_add(&list->names, as_utf8(right[i].stem));
            path_list_add(&list->predictions, format_text("%s", partner->path));
            path_list_add(&list->masks, format_text("%s", right[i].path));
            partner->used = true;
        } else if (partner != NULL) {
            partner->used = true; /* one side is ambiguous, which was said */
        }
    }
    for (size_t i = 0; i < left_count; i++) {
        if (!left[i].used) {
            add_unmatched(list, left[i].stem, format_text("%s: no mask of this stem", left[i].path));
        }
        free(left[i].stem);
    }
    for (size_t i = 0; i < right_count; i++) {
        free(right[i].stem);
    }
    free(left);
    free(right);
}

/* False after a complaint: there is nothing to score. */
bool collect_pairs(const char *predictions, const char *masks, const char *suffix, pair_list *list)
{
    path_list left = { 0 };
    path_list right = { 0 };
    bool there = collect_pictures(predictions, &left);

    there = collect_pictures(masks, &right) && there;
    if (there && left.count == 1 && right.count == 1 && strcmp(left.items[0], predictions) == 0 &&
        strcmp(right.items[0], masks) == 0) { /* two files belong together, whatever they are called */
        char *stem = stem_of(masks);

        path_list_add(&list->names, as_utf8(stem));
        free(stem);
        path_list_add(&list->predictions, format_text("%s", predictions));
        path_list_add(&list->masks, format_text("%s", masks));
    } else if (there) {
        match_files(&left, &right, suffix != NULL ? suffix : "", list);
        if (list->names.count == 0) {
            complain("no pair of equal stems in %s and %s%s%s", predictions, masks,
                     suffix != NULL ? ", of predictions with " : "", suffix != NULL ? suffix : "");
            there = false;
        }
    }
    path_list_free(&left);
    path_list_free(&right);
    return there;
}
