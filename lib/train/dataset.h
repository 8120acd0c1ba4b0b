/* SPDX-License-Identifier: Apache-2.0
 * Data sets for training: pairs of a picture's file and its mask's file, from folders and lists, several sets joined,
 * each pair in a part (training, validation, test). Only names are held here; pixels are read by the loader.
 *
 * One thread at a time changes a data set; any number may read it meanwhile nobody does. */
#ifndef M2S_TRAIN_DATASET_H
#define M2S_TRAIN_DATASET_H

#include <stdatomic.h>

#include "run/context.h"

/* Strings live in the data set's pile. */
typedef struct m2s_sample {
    const char *name;       /* file name of the picture without its ending */
    const char *image_path; /* as it can be opened: relative to the current folder, or absolute */
    const char *mask_path;  /* NULL: no mask file, an empty mask stands for it */
    const char *group;      /* patient or sequence; "" = on its own. Equal text is one group, also across sets. */
    const char *split;      /* text of the list's split column; NULL = the set has no such column */
    int32_t set;            /* of which source */
    int32_t fold;           /* of the last split by folds; -1 = none */
    m2snet_part part;
} m2s_sample;

typedef struct m2s_source {
    const char *name;
    double weight;
    int32_t count;
} m2s_source;

/* What the adding functions noticed; m2s_lint puts these in front of its own findings. */
typedef struct m2s_finding {
    m2snet_finding_kind kind;
    int32_t item;  /* -1: of a file that is no item */
    int32_t other; /* DUPLICATE: the item it repeats; else -1 */
    const char *path;
    const char *reason;
} m2s_finding;

typedef struct m2s_findings {
    m2s_finding *list; /* strings in the data set's piles */
    int32_t count, capacity;
} m2s_findings;

typedef struct m2s_near_pair {
    int32_t a, b;     /* items, a < b */
    int32_t distance; /* bits of 128 that differ */
} m2s_near_pair;

struct m2snet_dataset {
    m2snet_context *context; /* retained */
    atomic_bool busy;
    m2s_pile *names;
    m2s_sample *samples;
    int32_t count, capacity;
    m2s_source *sources;
    int32_t source_count, source_capacity;
    m2s_findings noticed;      /* while adding */
    m2s_findings linted;       /* of the last lint, noticed ones included */
    m2s_pile *reasons;         /* texts of linted */
    m2s_near_pair *near_pairs; /* of the last search */
    int32_t near_count;
};

m2snet_status m2s_dataset_create(m2snet_context *context, m2snet_dataset **dataset, m2snet_error *error);
void m2s_dataset_destroy(m2snet_dataset *dataset); /* NULL is fine */

/* BUSY when another thread is inside. */
m2snet_status m2s_dataset_enter(m2snet_dataset *dataset, m2snet_error *error);
void m2s_dataset_leave(m2snet_dataset *dataset);

/* The defaults of m2snet_source_options. */
void m2s_source_options_default(m2snet_source_options *options);

/* Two folders, which may be one when a mask_suffix tells masks from pictures. PNG and JPEG files (by ending: png, jpg,
 * jpeg in any case; others and names that begin with a dot are passed over) are paired by stem, in order of the stem's
 * bytes. Nothing is opened. On failure the data set is as before. IO: a folder cannot be read; MISMATCH: partners are
 * missing and options do not allow it, or two pictures have one stem. options is complete and checked by
 * m2s_source_check. */
m2snet_status m2s_dataset_add_folders(m2snet_dataset *dataset, const char *images, const char *masks,
                                      const m2snet_source_options *options, m2snet_error *error);
/* A list: header row with the columns image and mask, and perhaps split and group (any order, any others ignored), RFC
 * 4180; paths relative to the list's folder. FORMAT names line and column. On failure the data set is as before. */
m2snet_status m2s_dataset_add_csv(m2snet_dataset *dataset, const char *path, const m2snet_source_options *options,
                                  m2snet_error *error);
m2snet_status m2s_source_check(const m2snet_source_options *options, m2snet_error *error);

/* What the adding functions are made of: begin, any number of samples and findings, then end; or undo. */
typedef struct m2s_dataset_mark {
    int32_t samples, sources, findings;
} m2s_dataset_mark;
m2snet_status m2s_dataset_begin_source(m2snet_dataset *dataset, const char *name, double weight, m2s_dataset_mark *mark,
                                       m2snet_error *error);
/* Copies the strings of *sample; set, fold and part are filled in. */
m2snet_status m2s_dataset_add_sample(m2snet_dataset *dataset, const m2s_sample *sample, m2snet_error *error);
void m2s_dataset_undo(m2snet_dataset *dataset, const m2s_dataset_mark *mark);

/* Appends one finding, its texts copied into pile. */
__attribute__((format(printf, 8, 9))) m2snet_status m2s_finding_add(m2snet_dataset *dataset, m2s_findings *findings,
                                                                    m2s_pile *pile, m2snet_finding_kind kind,
                                                                    int32_t item, const char *path, m2snet_error *error,
                                                                    const char *format, ...);

/* Indices of the items in a part, ascending, in a block for m2s_free; an empty part is MISMATCH. */
m2snet_status m2s_dataset_part(const m2snet_dataset *dataset, m2snet_part part, int32_t **items, int32_t *count,
                               m2snet_error *error);

#endif
