/* SPDX-License-Identifier: Apache-2.0 */
#include "train/lint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/sha256.h"
#include "image/decode.h"
#include "train/loader_picture.h"

#define PHASE "lint"

/* What reading an item's files told; pure facts, judged afterwards in order. */
typedef struct facts {
    char *image_error, *mask_error; /* NULL = read; m2s_memory */
    int32_t width, height, mask_width, mask_height;
    uint64_t histogram[256];           /* of the mask */
    bool is_colour;                    /* of the mask: some pixel is not gray */
    m2snet_status failure;             /* this machine's, not the file's */
    char sha256[M2S_SHA256_HEX_BYTES]; /* of the picture's pixels; "" = not read */
} facts;

typedef struct lint {
    m2snet_dataset *dataset;
    facts *facts;
    bool is_label;
    uint8_t background;
    bool is_allowed[256]; /* levels of masks */
} lint;

/* ---- reading (on the pool) ---- */

static void hash_pixels(const m2s_bitmap *b, char hex[M2S_SHA256_HEX_BYTES])
{
    const int32_t head[3] = { b->width, b->height, (int32_t)b->format };
    m2s_sha256 hash;

    m2s_sha256_init(&hash);
    m2s_sha256_update(&hash, head, sizeof head);
    m2s_sha256_update(&hash, b->pixels, (size_t)b->width * (size_t)b->height * (size_t)m2s_pixel_bytes(b->format));
    m2s_sha256_finish(&hash, hex);
}

static bool has_colour(const m2s_bitmap *b)
{
    for (ptrdiff_t i = 0; b->format == M2SNET_PIXEL_RGB8 && i < (ptrdiff_t)b->width * b->height; i++) {
        const uint8_t *p = b->pixels + 3 * i;
        if (p[0] != p[1] || p[1] != p[2]) {
            return true;
        }
    }
    return false;
}

static m2snet_status count_levels(m2s_memory *memory, const m2s_bitmap *mask, bool is_label, facts *f)
{
    size_t count = (size_t)mask->width * (size_t)mask->height;
    uint8_t *levels = m2s_alloc(memory, count);

    if (levels == NULL) {
        return M2SNET_STATUS_OUT_OF_MEMORY;
    }
    m2s_mask_levels(mask, is_label, levels);
    for (size_t i = 0; i < count; i++) {
        f->histogram[levels[i]]++;
    }
    m2s_free(memory, levels);
    f->is_colour = has_colour(mask);
    return M2SNET_STATUS_OK;
}

/* Either *bitmap, or *message (the file is at fault), or a failure. */
static m2snet_status read_file(m2s_memory *memory, const char *path, m2s_bitmap *bitmap, char **message)
{
    m2s_decode_options decode = M2S_DECODE_DEFAULTS;
    m2snet_error error = { 0 };
    m2snet_status status = m2s_image_read(memory, path, &decode, NULL, bitmap, &error);

    if (status == M2SNET_STATUS_OK || status == M2SNET_STATUS_OUT_OF_MEMORY) {
        return status;
    }
    *message = m2s_strdup(memory, error.message);
    return *message != NULL ? M2SNET_STATUS_OK : M2SNET_STATUS_OUT_OF_MEMORY;
}

static void read_item(void *argument, int64_t chunk, int worker)
{
    const lint *l = argument;
    m2s_memory *memory = &l->dataset->context->memory;
    const m2s_sample *sample = &l->dataset->samples[chunk];
    facts *f = &l->facts[chunk];
    m2s_bitmap image = { 0 }, mask = { 0 };
    m2snet_status status;

    (void)worker;
    M2S_TRY(read_file(memory, sample->image_path, &image, &f->image_error));
    if (f->image_error == NULL) {
        f->width = image.width;
        f->height = image.height;
        hash_pixels(&image, f->sha256);
    }
    if (sample->mask_path != NULL) {
        M2S_TRY(read_file(memory, sample->mask_path, &mask, &f->mask_error));
        if (f->mask_error == NULL) {
            f->mask_width = mask.width;
            f->mask_height = mask.height;
            M2S_TRY(count_levels(memory, &mask, l->is_label, f));
        }
    }
fail:
    f->failure = status;
    m2s_bitmap_release(&image);
    m2s_bitmap_release(&mask);
}

/* ---- judging ---- */

/* "1, 2, 7, ..." : up to six levels that are there and, unless all, not allowed. */
static void list_levels(const lint *l, const facts *f, bool all, char *text, size_t bytes)
{
    size_t used = 0;
    int shown = 0;

    text[0] = '\0';
    for (int v = 0; v < 256; v++) {
        if (f->histogram[v] == 0 || (!all && l->is_allowed[v])) {
            continue;
        }
        if (shown == 6) {
            snprintf(text + used, bytes - used, ", ...");
            return;
        }
        int written = snprintf(text + used, bytes - used, shown++ > 0 ? ", %d" : "%d", v);
        used += (size_t)written < bytes - used ? (size_t)written : bytes - used - 1;
    }
}

static m2snet_status judge_mask(const lint *l, int32_t item, m2s_findings *findings, m2s_pile *pile,
                                m2snet_error *error)
{
    const facts *f = &l->facts[item];
    const char *path = l->dataset->samples[item].mask_path;
    uint64_t total = 0, strange = 0;
    int distinct = 0;
    char levels[64];
    m2snet_status status = M2SNET_STATUS_OK;

    for (int v = 0; v < 256; v++) {
        total += f->histogram[v];
        strange += l->is_allowed[v] ? 0 : f->histogram[v];
        distinct += f->histogram[v] > 0;
    }
    list_levels(l, f, distinct <= 6, levels, sizeof levels);
    if (f->is_colour) {
        M2S_TRY(m2s_finding_add(l->dataset, findings, pile, M2SNET_FINDING_MASK_COLOUR, item, path, error,
                                "the mask is in colour; its luminance would be used"));
    }
    if (f->histogram[l->background] == total) {
        return m2s_finding_add(l->dataset, findings, pile, M2SNET_FINDING_MASK_EMPTY, item, path, error,
                               "nothing is marked in the mask");
    }
    if (f->histogram[l->background] == 0) {
        M2S_TRY(m2s_finding_add(l->dataset, findings, pile, M2SNET_FINDING_MASK_FULL, item, path, error,
                                "the mask has no background (level %d)", l->background));
    }
    if (strange == 0) {
        return M2SNET_STATUS_OK;
    }
    if (l->is_label) {
        return m2s_finding_add(l->dataset, findings, pile, M2SNET_FINDING_MASK_LABEL, item, path, error,
                               "%" PRIu64 " of %" PRIu64 " pixels have levels that are no label: %s", strange, total,
                               levels);
    }
    if (f->histogram[0] + f->histogram[1] == total) {
        return m2s_finding_add(l->dataset, findings, pile, M2SNET_FINDING_MASK_CODED_01, item, path, error,
                               "the mask is coded 0 and 1 instead of 0 and 255; use a threshold of 1");
    }
    status = m2s_finding_add(l->dataset, findings, pile, M2SNET_FINDING_MASK_NOT_BINARY, item, path, error,
                             "%" PRIu64 " of %" PRIu64 " pixels (%.2f %%) are neither 0 nor 255; levels: %s", strange,
                             total, 100.0 * (double)strange / (double)total, levels);
fail:
    return status;
}

static m2snet_status judge_item(const lint *l, int32_t item, m2s_findings *findings, m2s_pile *pile,
                                m2snet_error *error)
{
    const m2s_sample *s = &l->dataset->samples[item];
    const facts *f = &l->facts[item];
    m2snet_status status = M2SNET_STATUS_OK;

    if (f->image_error != NULL) {
        M2S_TRY(m2s_finding_add(l->dataset, findings, pile, M2SNET_FINDING_UNREADABLE, item, s->image_path, error, "%s",
                                f->image_error));
    }
    if (f->mask_error != NULL) {
        M2S_TRY(m2s_finding_add(l->dataset, findings, pile, M2SNET_FINDING_UNREADABLE, item, s->mask_path, error, "%s",
                                f->mask_error));
    }
    if (s->mask_path == NULL || f->mask_error != NULL) {
        return M2SNET_STATUS_OK;
    }
    if (f->image_error == NULL && (f->width != f->mask_width || f->height != f->mask_height)) {
        M2S_TRY(m2s_finding_add(l->dataset, findings, pile, M2SNET_FINDING_SIZE_DIFFERS, item, s->mask_path, error,
                                "the mask is %d x %d px, the picture %d x %d", f->mask_width, f->mask_height, f->width,
                                f->height));
    }
    M2S_TRY(judge_mask(l, item, findings, pile, error));
fail:
    return status;
}

/* ---- repeated pictures ---- */

typedef struct key {
    const char *text; /* what is equal */
    int32_t item;
} key;

static int by_text(const void *a, const void *b)
{
    const key *x = a, *y = b;
    int order = strcmp(x->text, y->text);

    return order != 0 ? order : (x->item > y->item) - (x->item < y->item);
}

/* first[i]: the lowest item with the same text, where text is not "". */
static void find_first(const lint *l, bool by_path, key *keys, int32_t *first)
{
    int32_t count = l->dataset->count;

    for (int32_t i = 0; i < count; i++) {
        keys[i] = (key){ by_path ? l->dataset->samples[i].image_path : l->facts[i].sha256, i };
    }
    qsort(keys, (size_t)count, sizeof *keys, by_text);
    for (int32_t i = 0; i < count; i++) {
        bool is_same = i > 0 && keys[i].text[0] != '\0' && strcmp(keys[i - 1].text, keys[i].text) == 0;
        first[keys[i].item] = is_same ? first[keys[i - 1].item] : keys[i].item;
    }
}

static m2snet_status add_repeated(const lint *l, int32_t item, int32_t other, m2snet_finding_kind kind,
                                  m2s_findings *findings, m2s_pile *pile, m2snet_error *error)
{
    const m2s_sample *samples = l->dataset->samples;
    m2snet_status status =
        m2s_finding_add(l->dataset, findings, pile, kind, item, samples[item].image_path, error,
                        kind == M2SNET_FINDING_DUPLICATE ? "the same pixels as '%s'" : "listed before, as item '%s'",
                        kind == M2SNET_FINDING_DUPLICATE ? samples[other].image_path : samples[other].name);

    if (status == M2SNET_STATUS_OK) {
        findings->list[findings->count - 1].other = other;
    }
    return status;
}

static m2snet_status judge_all(const lint *l, m2s_findings *findings, m2s_pile *pile, m2snet_error *error)
{
    m2snet_dataset *d = l->dataset;
    m2s_memory *memory = &d->context->memory;
    size_t count = (size_t)d->count;
    key *keys = m2s_alloc_array(memory, count, sizeof *keys);
    int32_t *same_path = m2s_alloc_array(memory, count, sizeof *same_path);
    int32_t *same_pixels = m2s_alloc_array(memory, count, sizeof *same_pixels);
    m2snet_status status = M2SNET_STATUS_OK;

    if (keys == NULL || same_path == NULL || same_pixels == NULL) {
        status = m2s_fail_memory(error, "a lint", count * sizeof *keys);
        goto fail;
    }
    for (int32_t i = 0; i < d->noticed.count; i++) {
        const m2s_finding *f = &d->noticed.list[i];
        M2S_TRY(m2s_finding_add(d, findings, pile, f->kind, f->item, f->path, error, "%s", f->reason));
    }
    find_first(l, true, keys, same_path);
    find_first(l, false, keys, same_pixels);
    for (int32_t i = 0; i < d->count; i++) {
        if (same_path[i] != i) {
            M2S_TRY(add_repeated(l, i, same_path[i], M2SNET_FINDING_NAME_TWICE, findings, pile, error));
            continue; /* all else has been said of the first */
        }
        M2S_TRY(judge_item(l, i, findings, pile, error));
        if (same_pixels[i] != i) {
            M2S_TRY(add_repeated(l, i, same_pixels[i], M2SNET_FINDING_DUPLICATE, findings, pile, error));
        }
    }
fail:
    m2s_free(memory, keys);
    m2s_free(memory, same_path);
    m2s_free(memory, same_pixels);
    return status;
}

/* ---- all ---- */

m2snet_status m2s_lint(m2snet_dataset *d, const uint8_t *labels, int32_t label_count, uint8_t background,
                       m2s_control *control, m2snet_error *error)
{
    m2s_memory *memory = &d->context->memory;
    lint l = { .dataset = d, .is_label = labels != NULL, .background = labels != NULL ? background : 0 };
    m2s_findings findings = { 0 };
    m2s_pile *pile = m2s_pile_create(memory);
    m2snet_status status;

    l.is_allowed[l.background] = true;
    l.is_allowed[255] = l.is_allowed[255] || labels == NULL;
    for (int32_t i = 0; labels != NULL && i < label_count; i++) {
        l.is_allowed[labels[i]] = true;
    }
    l.facts = m2s_calloc(memory, (size_t)d->count + 1, sizeof *l.facts);
    if (pile == NULL || l.facts == NULL) {
        status = m2s_fail_memory(error, "a lint", ((size_t)d->count + 1) * sizeof *l.facts);
        goto fail;
    }
    const m2s_task task = { .run = read_item, .argument = &l, .chunks = d->count };
    M2S_TRY(m2s_pool_run(d->context->host.pool, &task, 1, control, PHASE, error));
    for (int32_t i = 0; i < d->count; i++) {
        if (l.facts[i].failure != M2SNET_STATUS_OK) {
            status = m2s_fail(error, l.facts[i].failure, "out of memory: reading '%s'", d->samples[i].image_path);
            goto fail;
        }
    }
    M2S_TRY(judge_all(&l, &findings, pile, error));
    m2s_free(memory, d->linted.list);
    m2s_pile_destroy(d->reasons);
    d->linted = findings;
    d->reasons = pile;
    findings = (m2s_findings){ 0 };
    pile = NULL;
fail:
    for (int32_t i = 0; l.facts != NULL && i < d->count; i++) {
        m2s_free(memory, l.facts[i].image_error);
        m2s_free(memory, l.facts[i].mask_error);
    }
    m2s_free(memory, l.facts);
    m2s_free(memory, findings.list);
    m2s_pile_destroy(pile);
    return status;
}

const char *m2s_finding_kind_name(m2snet_finding_kind kind)
{
    static const char *const names[] = { "?",
                                         "unreadable",
                                         "no mask",
                                         "no image",
                                         "size differs",
                                         "mask not binary",
                                         "mask coded 0 and 1",
                                         "mask empty",
                                         "mask full",
                                         "mask in colour",
                                         "mask label",
                                         "duplicate",
                                         "listed twice" };

    return kind >= M2SNET_FINDING_UNREADABLE && kind <= M2SNET_FINDING_NAME_TWICE ? names[kind] : names[0];
}
