/* SPDX-License-Identifier: Apache-2.0
 * Making one picture of a batch: from the cache or the files, augmented; with the next ones of the epoch's order in the
 * place of one that cannot be read. */
#ifndef M2S_TRAIN_LOADER_SLOT_H
#define M2S_TRAIN_LOADER_SLOT_H

#include <stdatomic.h>

#include "train/loader.h"
#include "train/loader_picture.h"

typedef struct m2s_file_names {
    const char *image, *mask; /* in the maker's pile */
    int32_t item;             /* in the data set */
} m2s_file_names;

/* Shared by all threads of a loader; only the cache changes. */
typedef struct m2s_maker {
    m2s_host host;
    m2snet_augment_options augment;
    m2s_picture_rules rules;
    uint64_t seed;
    bool patches;
    int32_t batch, first_on_foreground; /* patches: places of a batch from there on are centred on foreground */
    bool unfinished;
    m2s_unreadable unreadable;
    m2s_pile *pile;
    m2s_file_names *files; /* by picture number */
    int32_t count;
    _Atomic(m2s_picture *) *cache; /* by picture number; NULL = there is no cache */
    uint64_t cache_limit_bytes;
    atomic_uint_fast64_t cache_bytes;
} m2s_maker;

m2snet_status m2s_maker_begin(m2s_maker *maker, const m2s_host *host, const m2snet_dataset *dataset,
                              const int32_t *items, int32_t count, const m2s_loader_options *options,
                              m2snet_error *error);
void m2s_maker_end(m2s_maker *maker); /* fine on a zeroed one */

/* One that was skipped, in order. */
typedef struct m2s_skip {
    struct m2s_skip *next;
    int32_t item, slot;
    char reason[];
} m2s_skip;

typedef struct m2s_slot {
    const int32_t *places; /* the epoch's order: picture numbers */
    int64_t length;
    uint64_t epoch;
    int64_t position; /* in places */
    int32_t height, width;
    float *image, *mask;
    int32_t item;              /* out: of the data set */
    m2s_unfinished unfinished; /* out: its bytes are in image */
    m2s_skip *skips;           /* out: also when it fails; to be freed one by one */
} m2s_slot;

m2snet_status m2s_maker_fill(m2s_maker *maker, m2s_slot *slot, m2s_augment_scratch *scratch, m2s_control *control,
                             m2snet_error *error);

#endif
