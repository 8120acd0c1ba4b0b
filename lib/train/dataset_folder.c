/* SPDX-License-Identifier: Apache-2.0
 * Data sets from folders. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/quote.h"
#include "train/dataset.h"
#include "train/dataset_names.h"

typedef struct entry {
    const char *stem; /* what pairs; of a mask: without the suffix */
    const char *file;
} entry;

typedef struct listing {
    const char *folder;
    const char *only;    /* names that end so, without it; NULL = all */
    const char *without; /* names that do not end so */
    entry *entries;
    int32_t count, capacity;
} listing;

static int by_stem(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    int order = strcmp(x->stem, y->stem);

    return order != 0 ? order : strcmp(x->file, y->file);
}

static m2snet_status append(m2s_memory *memory, listing *l, entry e, m2snet_error *error)
{
    if (l->count == l->capacity) {
        int32_t grown = l->capacity == 0 ? 64 : 2 * l->capacity;
        if (l->capacity > INT32_MAX / 4) {
            return m2s_fail(error, M2SNET_STATUS_LIMIT, "'%s': too many files", l->folder);
        }
        entry *moved = m2s_realloc(memory, l->entries, (size_t)grown * sizeof *moved);
        if (moved == NULL) {
            return m2s_fail_memory(error, "a folder's names", (size_t)grown * sizeof *moved);
        }
        l->entries = moved;
        l->capacity = grown;
    }
    l->entries[l->count++] = e;
    return M2SNET_STATUS_OK;
}

static bool ends_with(const char *text, size_t length, const char *suffix)
{
    size_t suffix_length = strlen(suffix);

    return length > suffix_length && memcmp(text + length - suffix_length, suffix, suffix_length) == 0;
}

/* The name without ending and suffix; NULL in e->stem for a file that is not wanted. */
static m2snet_status make_entry(m2s_pile *pile, const char *file, const listing *l, entry *e, m2snet_error *error)
{
    size_t length;

    *e = (entry){ NULL, NULL };
    m2s_name_of_path(file, &length);
    if (!m2s_name_is_picture(file) || (l->only != NULL && !ends_with(file, length, l->only)) ||
        (l->without != NULL && ends_with(file, length, l->without))) {
        return M2SNET_STATUS_OK;
    }
    length -= l->only != NULL ? strlen(l->only) : 0;
    e->stem = m2s_pile_printf(pile, "%.*s", (int)length, file);
    e->file = m2s_pile_strdup(pile, file);
    return e->stem != NULL && e->file != NULL ? M2SNET_STATUS_OK : m2s_fail_memory(error, "a folder's names", length);
}

/* The pictures of a folder in order of their stems. */
static m2snet_status list_folder(m2s_memory *memory, m2s_pile *pile, listing *l, m2snet_error *error)
{
    DIR *directory = opendir(l->folder);
    m2snet_status status;

    if (directory == NULL) {
        return m2s_fail_errno(error, errno, "cannot read the folder '%s'", l->folder);
    }
    for (;;) {
        errno = 0;
        const struct dirent *d = readdir(directory);
        if (d == NULL) {
            break;
        }
        entry e;
        M2S_TRY(make_entry(pile, d->d_name, l, &e, error));
        if (e.stem != NULL) {
            M2S_TRY(append(memory, l, e, error));
        }
    }
    if (errno != 0) {
        status = m2s_fail_errno(error, errno, "cannot read the folder '%s'", l->folder);
        goto fail;
    }
    if (l->count > 0) {
        qsort(l->entries, (size_t)l->count, sizeof *l->entries, by_stem);
    }
    for (int32_t i = 1; i < l->count; i++) {
        if (strcmp(l->entries[i - 1].stem, l->entries[i].stem) == 0) {
            status = m2s_fail(error, M2SNET_STATUS_MISMATCH, "'%s': %s and %s have one name; which is meant?",
                              l->folder, m2s_quote(l->entries[i - 1].file, strlen(l->entries[i - 1].file)).text,
                              m2s_quote(l->entries[i].file, strlen(l->entries[i].file)).text);
            goto fail;
        }
    }
    status = M2SNET_STATUS_OK;
fail:
    closedir(directory);
    return status;
}

static m2snet_status join(m2s_pile *pile, const listing *l, const entry *e, const char **path, m2snet_error *error)
{
    *path = m2s_name_join(pile, l->folder, e->file);
    return *path != NULL ? M2SNET_STATUS_OK : m2s_fail_memory(error, "a path", strlen(e->file));
}

static m2snet_status add_pair(m2snet_dataset *d, m2s_pile *pile, const listing *images, const entry *image,
                              const listing *masks, const entry *mask, const m2snet_source_options *o,
                              m2snet_error *error)
{
    m2s_sample sample = { .name = image->stem };
    m2snet_status status;

    M2S_TRY(join(pile, images, image, &sample.image_path, error));
    sample.group = m2s_name_group(pile, image->stem, o->group_separator);
    if (sample.group == NULL) {
        return m2s_fail_memory(error, "a group", strlen(image->stem));
    }
    if (mask != NULL) {
        M2S_TRY(join(pile, masks, mask, &sample.mask_path, error));
    } else if (o->missing == M2SNET_MISSING_REFUSE) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "'%s' has no mask %s%s.png (or .jpg) in '%s'", sample.image_path,
                        image->stem, o->mask_suffix != NULL ? o->mask_suffix : "", masks->folder);
    } else if (o->missing == M2SNET_MISSING_SKIP) {
        return m2s_finding_add(d, &d->noticed, d->names, M2SNET_FINDING_NO_MASK, -1, sample.image_path, error,
                               "no file of this name in '%s'", masks->folder);
    }
    M2S_TRY(m2s_dataset_add_sample(d, &sample, error));
fail:
    return status;
}

/* A mask too many harms nobody; it is noted for the lint. */
static m2snet_status note_mask(m2snet_dataset *d, m2s_pile *pile, const listing *masks, const entry *mask,
                               const char *images, m2snet_error *error)
{
    const char *path;
    m2snet_status status;

    M2S_TRY(join(pile, masks, mask, &path, error));
    M2S_TRY(m2s_finding_add(d, &d->noticed, d->names, M2SNET_FINDING_NO_IMAGE, -1, path, error,
                            "no picture of this name in '%s'", images));
fail:
    return status;
}

static m2snet_status add_pairs(m2snet_dataset *d, m2s_pile *pile, const listing *images, const listing *masks,
                               const m2snet_source_options *o, m2snet_error *error)
{
    int32_t i = 0, m = 0;
    m2snet_status status = M2SNET_STATUS_OK;

    while (i < images->count || m < masks->count) {
        int order = i == images->count  ? 1
                    : m == masks->count ? -1
                                        : strcmp(images->entries[i].stem, masks->entries[m].stem);
        if (order > 0) {
            M2S_TRY(note_mask(d, pile, masks, &masks->entries[m], images->folder, error));
        } else {
            M2S_TRY(add_pair(d, pile, images, &images->entries[i], masks, order == 0 ? &masks->entries[m] : NULL, o,
                             error));
        }
        i += order <= 0;
        m += order >= 0;
    }
fail:
    return status;
}

m2snet_status m2s_dataset_add_folders(m2snet_dataset *d, const char *images, const char *masks,
                                      const m2snet_source_options *o, m2snet_error *error)
{
    m2s_memory *memory = &d->context->memory;
    bool is_one_folder = o->mask_suffix != NULL && strcmp(images, masks) == 0;
    listing pictures = { .folder = images, .without = is_one_folder ? o->mask_suffix : NULL };
    listing partners = { .folder = masks, .only = o->mask_suffix };
    m2s_pile *pile = m2s_pile_create(memory);
    m2s_dataset_mark mark;
    m2snet_status status;

    if (pile == NULL) {
        return m2s_fail_memory(error, "a folder's names", 1);
    }
    M2S_TRY(list_folder(memory, pile, &pictures, error));
    M2S_TRY(list_folder(memory, pile, &partners, error));
    if (pictures.count == 0) {
        status = m2s_fail(error, M2SNET_STATUS_MISMATCH, "'%s' has no .png, .jpg or .jpeg in it", images);
        goto fail;
    }
    M2S_TRY(m2s_dataset_begin_source(d, o->name != NULL ? o->name : images, o->weight, &mark, error));
    status = add_pairs(d, pile, &pictures, &partners, o, error);
    if (status != M2SNET_STATUS_OK) {
        m2s_dataset_undo(d, &mark);
    }
fail:
    m2s_pile_destroy(pile);
    m2s_free(memory, pictures.entries);
    m2s_free(memory, partners.entries);
    return status;
}
