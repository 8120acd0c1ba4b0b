/* SPDX-License-Identifier: Apache-2.0
 * Batches for training and validation, made ahead on threads of the loader's own.
 *
 * The stream of batches is fixed by (data set, options, seed) alone: any number of threads, with and without a cache,
 * begun anywhere, gives the same bytes. A place in it is (epoch, batch index). The epoch's order is drawn from (seed,
 * epoch), the size of a batch from (seed, epoch, batch index), a picture's changes from (seed, epoch, position).
 *
 * A picture that cannot be read (or whose mask has another size): with `stop` m2s_loader_next fails and names it; with
 * `skip` its place in the batch is taken by the next picture of the epoch's order that can be read, so batches and
 * epochs keep their lengths and no other batch changes.
 *
 * A loader is used by one thread at a time. It copies what it needs of the data set. */
#ifndef M2S_TRAIN_LOADER_H
#define M2S_TRAIN_LOADER_H

#include "core/host.h"
#include "train/augment.h"
#include "train/dataset.h"

#define M2S_LOADER_MAX_SIZES   32
#define M2S_LOADER_MAX_THREADS 64

typedef struct m2s_size {
    int32_t height, width; /* px */
} m2s_size;

typedef enum m2s_sampler {
    M2S_SAMPLER_CONCAT = 0,   /* the union: set s gives round(weight x pictures) places an epoch: whole repeats, and a
                               * random choice for the rest, then all are shuffled */
    M2S_SAMPLER_BALANCED = 1, /* each batch is split over the sets in proportion to their weights, one shuffled stream a
                               * set */
    M2S_SAMPLER_RANDOM = 2    /* places are drawn one by one, with replacement, a picture's chance in proportion to its
                               * set's weight */
} m2s_sampler;

typedef enum m2s_epoch_end {                            /* of BALANCED */
                             M2S_EPOCH_OF_SHORTEST = 0, /* ends when the first set has been seen */
                             M2S_EPOCH_OF_LONGEST =
                                 1 /* ends when every set has been seen; shorter ones are shuffled again */
} m2s_epoch_end;

typedef enum m2s_unreadable { M2S_UNREADABLE_STOP = 0, M2S_UNREADABLE_SKIP = 1 } m2s_unreadable;

/* A picture that was skipped; runs inside m2s_loader_next, on its caller's thread. */
typedef void (*m2s_skipped_fn)(void *user, int32_t item, const char *reason);

typedef struct m2s_loader_options {
    int32_t batch;                        /* pictures, 1..4096 */
    m2s_size sizes[M2S_LOADER_MAX_SIZES]; /* one is drawn for each batch; 1..8192 px a side */
    int32_t size_count;
    m2snet_augment_options augment;
    m2s_mask_coding mask;
    uint64_t seed;
    bool shuffle;   /* false: items in order, weights and sampler without effect, first size always */
    bool drop_last; /* leave out an epoch's last, partial batch */
    m2s_sampler sampler;
    m2s_epoch_end epoch_end;
    int64_t epoch_batches;   /* RANDOM: of an epoch; 0 = as many as the pictures fill */
    bool patches;            /* sizes are those of windows of pictures at their own size: train/patch.h */
    bool unfinished;         /* pictures are left as R, G, B, mask, for another to apply what was drawn, where they take
                              * no more room than the finished image; never with order NNUNET */
    double foreground_share; /* patches: the last round(batch x share) places of a batch are centred on foreground */
    m2s_unreadable unreadable;
    m2s_skipped_fn skipped; /* may be NULL; skipped pictures are also logged as warnings */
    void *skipped_user;
    int32_t threads;         /* 1..M2S_LOADER_MAX_THREADS; 0 = 1 */
    uint64_t prefetch_bytes; /* cap on finished and unfinished batches, the caller's included; 0 = three batches.
                              * Less than one batch: LIMIT. */
    uint64_t cache_bytes;    /* cap on decoded pictures that are kept from epoch to epoch; 0 = none are */
    int32_t shrink_px;       /* pictures with longer sides are brought to it once, with antialiasing (Pillow's bilinear;
                              * labels: nearest). 0 = what the sizes and crops need; -1 = never. Not with first_size_px.
                              * Where nothing moves and there is one size, pictures are brought to exactly that size, as
                              * for prediction. */
    uint64_t max_pixels;     /* refuse larger pictures before decoding; 0 = 2^26 */
    uint64_t epoch;          /* where to begin */
    int64_t batch_index;
    uint64_t epochs; /* the stream ends before this epoch; 0 = never */
} m2s_loader_options;
/* batch 8, 352 x 352, augment "none", GRAY, shuffled, concat, stop, one thread. */
void m2s_loader_options_default(m2s_loader_options *options);

typedef struct m2s_batch {
    uint64_t epoch;
    int64_t index; /* in the epoch, from 0 */
    bool is_last;  /* of its epoch */
    int32_t n, height, width, classes;
    const float *images;  /* (n, height, width, 3), dense, normalised */
    const float *masks;   /* (n, height, width, classes), dense, 0..1 */
    const int32_t *items; /* n indices into the data set: what was read */
    /* NULL, or n: in place of an unfinished picture's image its rgbm begins, and its mask is undefined. */
    const m2s_unfinished *unfinished;
} m2s_batch;

typedef struct m2s_loader m2s_loader;

/* items: count (at least 1) indices into the data set, in the order that shuffle == false gives. Starts the threads
 * (all signals blocked), which begin to work at once. host is copied; its memory and log must outlive the loader; its
 * pool is not used. */
m2snet_status m2s_loader_create(const m2s_host *host, const m2snet_dataset *dataset, const int32_t *items,
                                int32_t count, const m2s_loader_options *options, m2s_loader **loader,
                                m2snet_error *error);
/* Stops the threads, also in the middle of a picture, and waits for them. NULL is fine. */
void m2s_loader_destroy(m2s_loader *loader);

/* The next batch, borrowed until the next call for this loader; *batch NULL at the end of the stream. Waits for it;
 * a cancel (control may be NULL) ends the wait, phase "load". After any failure the next call tries the same batch
 * again. */
m2snet_status m2s_loader_next(m2s_loader *loader, m2s_control *control, const m2s_batch **batch, m2snet_error *error);
/* The next batch will be this one. Cheap; batches made ahead are dropped. INVALID_ARGUMENT: not 0..batches - 1. */
m2snet_status m2s_loader_seek(m2s_loader *loader, uint64_t epoch, int64_t batch_index, m2snet_error *error);

int64_t m2s_loader_batches(const m2s_loader *loader);  /* of an epoch; every epoch has as many */
int64_t m2s_loader_pictures(const m2s_loader *loader); /* of an epoch, as they are in its batches */
uint64_t m2s_loader_skipped(const m2s_loader *loader); /* pictures in batches so far given */
uint64_t m2s_loader_cached_bytes(m2s_loader *loader);  /* now */
/* Seconds that m2s_loader_next has waited, and that the threads have worked, since creation. */
void m2s_loader_times(m2s_loader *loader, double *waited_s, double *worked_s);

#endif
