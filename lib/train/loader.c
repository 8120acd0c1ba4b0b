/* SPDX-License-Identifier: Apache-2.0
 * The queue of batches and the threads that fill it.
 *
 * Batches under way stand in a queue in the order of the stream. A thread takes the next free picture of the first
 * batch that has one, or begins another batch when there is a buffer for it. All shared members are guarded by the
 * mutex; pictures are made outside it, each in its own part of a batch's buffer. */
#define _GNU_SOURCE
#include "train/loader.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "core/rng.h"
#include "train/loader_order.h"
#include "train/loader_slot.h"

#define PHASE             "load"
#define WATCH_INTERVAL_NS 4000000 /* how often a waiting caller looks whether to stop */
#define MAX_BUFFERS       64
#define DEFAULT_BUFFERS   3
#define MAX_BATCH         4096
#define MAX_SIDE_PX       8192
#define MAX_EPOCH_BATCHES ((int64_t)1 << 30)

/* An epoch's order, shared by its batches. */
typedef struct epoch_order {
    int32_t users;
    uint64_t epoch;
    int32_t places[];
} epoch_order;

typedef struct job {
    m2s_batch batch; /* what the caller sees */
    epoch_order *order;
    int64_t first;       /* position of the first picture */
    int32_t next_slot;   /* that no thread has taken; batch.n = none is left */
    int32_t running;     /* on threads now */
    int32_t failed_slot; /* the first that failed; -1 = the batch as a whole */
    m2snet_status status;
    m2snet_error error;
    m2s_skip *skips; /* in order of slots */
    bool is_dropped; /* nobody waits for it */
    bool is_used;
    float *images, *masks;      /* one block */
    m2s_unfinished *unfinished; /* NULL: not asked for */
    int32_t *items;
} job;

struct m2s_loader {
    m2s_host host;
    m2s_loader_options options;
    m2s_maker maker;
    m2s_order *order;
    int64_t length, batches;
    int32_t classes;
    size_t mask_offset, unfinished_offset, buffer_bytes; /* of the largest batch */

    pthread_mutex_t mutex;
    pthread_cond_t work;  /* threads sleep here */
    pthread_cond_t ready; /* the caller waits here */
    bool ending;
    uint64_t epoch; /* of the batch to begin next */
    int64_t index;
    epoch_order *current;
    job jobs[MAX_BUFFERS];
    int32_t job_count;
    job *queue[MAX_BUFFERS];
    int32_t queued;
    job *given; /* the caller's */
    uint64_t skipped;
    uint64_t waited_ns;
    atomic_uint_fast64_t worked_ns;
    int32_t started;
    struct worker {
        m2s_loader *loader;
        pthread_t thread;
        m2s_control control;
        m2s_augment_scratch scratch;
    } workers[];
};

void m2s_loader_options_default(m2s_loader_options *options)
{
    *options = (m2s_loader_options){ .batch = 8, .sizes = { { 352, 352 } }, .size_count = 1, .shuffle = true };
    m2s_augment_preset("none", &options->augment, NULL);
}

/* ---- batches (mutex held, unless a function says otherwise) ---- */

static void order_release(m2s_loader *l, epoch_order *order)
{
    if (order != NULL && --order->users == 0) {
        m2s_free(l->host.memory, order);
    }
}

static void free_skips(m2s_loader *l, m2s_skip *skips)
{
    while (skips != NULL) {
        m2s_skip *next = skips->next;
        m2s_free(l->host.memory, skips);
        skips = next;
    }
}

static void job_release(m2s_loader *l, job *j)
{
    free_skips(l, j->skips);
    order_release(l, j->order);
    j->skips = NULL;
    j->order = NULL;
    j->is_used = false;
}

static bool job_is_over(const job *j)
{
    return j->running == 0 && j->next_slot == j->batch.n;
}

/* Keeps the failure of the first picture: the same one whatever threads do, since pictures are taken in order. */
static void job_fail(job *j, int32_t slot, m2snet_status status, const m2snet_error *error)
{
    if (j->status == M2SNET_STATUS_OK || slot < j->failed_slot) {
        j->status = status;
        j->failed_slot = slot;
        j->error = *error;
    }
    j->next_slot = j->batch.n;
}

/* The queue's batches are forgotten; their buffers are free when the threads have let go of them. */
static void drop_queue(m2s_loader *l)
{
    for (int32_t i = 0; i < l->queued; i++) {
        job *j = l->queue[i];
        j->next_slot = j->batch.n;
        j->is_dropped = true;
        if (j->running == 0) {
            job_release(l, j);
        }
    }
    l->queued = 0;
}

static job *free_job(m2s_loader *l)
{
    for (int32_t i = 0; i < l->job_count; i++) {
        if (!l->jobs[i].is_used) {
            return &l->jobs[i];
        }
    }
    return NULL;
}

static bool stream_is_over(const m2s_loader *l)
{
    return l->options.epochs > 0 && l->epoch >= l->options.epochs;
}

static m2snet_status prepare_order(m2s_loader *l, m2snet_error *error)
{
    size_t bytes = sizeof(epoch_order) + (size_t)l->length * sizeof(int32_t);
    m2snet_status status;

    if (l->current != NULL && l->current->epoch == l->epoch) {
        return M2SNET_STATUS_OK;
    }
    epoch_order *order = m2s_alloc(l->host.memory, bytes);
    if (order == NULL) {
        return m2s_fail_memory(error, "an epoch's order", bytes);
    }
    order->users = 1;
    order->epoch = l->epoch;
    status = m2s_order_epoch(l->order, l->epoch, order->places, error);
    if (status != M2SNET_STATUS_OK) {
        m2s_free(l->host.memory, order);
        return status;
    }
    order_release(l, l->current);
    l->current = order;
    return M2SNET_STATUS_OK;
}

static m2snet_status prepare_buffer(m2s_loader *l, job *j, m2snet_error *error)
{
    if (j->images == NULL) {
        uint8_t *block = m2s_alloc(l->host.memory, l->buffer_bytes);
        if (block == NULL) {
            return m2s_fail_memory(error, "a batch of pictures", l->buffer_bytes);
        }
        j->images = (float *)(void *)block;
        j->masks = (float *)(void *)(block + l->mask_offset);
        j->unfinished = l->options.unfinished ? (m2s_unfinished *)(void *)(block + l->unfinished_offset) : NULL;
        j->items = (int32_t *)(void *)(block + l->buffer_bytes) - l->options.batch;
    }
    return M2SNET_STATUS_OK;
}

static m2s_size batch_size(const m2s_loader *l)
{
    const m2s_loader_options *o = &l->options;

    if (!o->shuffle || o->size_count == 1) {
        return o->sizes[0];
    }
    uint64_t stream = m2s_rng_bits(m2s_rng_stream(o->seed, "size"), l->epoch);
    return o->sizes[(int32_t)(m2s_rng_uniform(stream, (uint64_t)l->index) * o->size_count)];
}

/* Puts the next batch of the stream at the queue's end. Its failure is the batch's. */
static void begin_batch(m2s_loader *l, job *j)
{
    m2s_size size = batch_size(l);
    int64_t first = l->index * l->options.batch;
    int64_t left = l->length - first;
    m2snet_error error = { 0 };
    m2snet_status status;

    j->is_used = true;
    j->is_dropped = false;
    j->first = first;
    j->status = M2SNET_STATUS_OK;
    j->next_slot = j->running = 0;
    j->batch = (m2s_batch){ .epoch = l->epoch,
                            .index = l->index,
                            .is_last = l->index + 1 == l->batches,
                            .n = left < l->options.batch ? (int32_t)left : l->options.batch,
                            .height = size.height,
                            .width = size.width,
                            .classes = l->classes };
    l->queue[l->queued++] = j;
    M2S_TRY(prepare_order(l, &error));
    M2S_TRY(prepare_buffer(l, j, &error));
    j->order = l->current;
    j->order->users++;
    j->batch.images = j->images;
    j->batch.masks = j->masks;
    j->batch.items = j->items;
    j->batch.unfinished = j->unfinished;
fail:
    if (status != M2SNET_STATUS_OK) {
        job_fail(j, -1, status, &error);
        pthread_cond_signal(&l->ready);
    }
    if (++l->index == l->batches) {
        l->index = 0;
        l->epoch++;
    }
}

/* ---- threads ---- */

static job *job_with_work(m2s_loader *l)
{
    for (int32_t i = 0; i < l->queued; i++) {
        if (l->queue[i]->next_slot < l->queue[i]->batch.n) {
            return l->queue[i];
        }
    }
    /* Behind a failure nothing is begun: the caller will want that batch again. */
    job *j = l->queued > 0 && l->queue[l->queued - 1]->status != M2SNET_STATUS_OK ? NULL : free_job(l);
    if (j == NULL || stream_is_over(l)) {
        return NULL;
    }
    begin_batch(l, j);
    return j->next_slot < j->batch.n ? j : NULL;
}

/* Puts a picture's reports among the batch's, in order of slots. */
static void merge_skips(job *j, int32_t slot, m2s_skip *skips)
{
    m2s_skip **at = &j->skips;

    while (*at != NULL && (*at)->slot < slot) {
        at = &(*at)->next;
    }
    while (skips != NULL) {
        m2s_skip *next = skips->next;
        skips->slot = slot;
        skips->next = *at;
        *at = skips;
        at = &skips->next;
        skips = next;
    }
}

/* One picture; the mutex is let go meanwhile. */
static void make_picture(m2s_loader *l, job *j, struct worker *self)
{
    int32_t index = j->next_slot++;
    ptrdiff_t pixels = (ptrdiff_t)j->batch.height * j->batch.width;
    m2s_slot slot = { .places = j->order->places,
                      .length = l->length,
                      .epoch = j->batch.epoch,
                      .position = j->first + index,
                      .height = j->batch.height,
                      .width = j->batch.width,
                      .image = j->images + index * pixels * 3,
                      .mask = j->masks + index * pixels * l->classes };
    m2snet_error error = { 0 };

    j->running++;
    pthread_mutex_unlock(&l->mutex);
    uint64_t began = m2s_now_ns();
    m2snet_status status = m2s_maker_fill(&l->maker, &slot, &self->scratch, &self->control, &error);
    atomic_fetch_add_explicit(&l->worked_ns, m2s_now_ns() - began, memory_order_relaxed);
    pthread_mutex_lock(&l->mutex);
    j->running--;
    j->items[index] = slot.item;
    if (j->unfinished != NULL) {
        j->unfinished[index] = slot.unfinished;
    }
    merge_skips(j, index, slot.skips);
    if (status != M2SNET_STATUS_OK) {
        job_fail(j, index, status, &error);
    }
    if (job_is_over(j)) {
        if (j->is_dropped) {
            job_release(l, j);
            pthread_cond_broadcast(&l->work);
        } else {
            pthread_cond_signal(&l->ready);
        }
    }
}

static void *worker_main(void *argument)
{
    struct worker *self = argument;
    m2s_loader *l = self->loader;

    pthread_mutex_lock(&l->mutex);
    while (!l->ending) {
        job *j = job_with_work(l);
        if (j != NULL) {
            make_picture(l, j, self);
        } else {
            pthread_cond_wait(&l->work, &l->mutex);
        }
    }
    pthread_mutex_unlock(&l->mutex);
    return NULL;
}

static m2snet_status start_threads(m2s_loader *l, m2snet_error *error)
{
    sigset_t all, old;
    int failure = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (int32_t i = 0; i < l->options.threads && failure == 0; i++) {
        struct worker *w = &l->workers[i];
        w->loader = l;
        w->scratch.memory = l->host.memory;
        m2s_control_init(&w->control, NULL);
        failure = pthread_create(&w->thread, NULL, worker_main, w);
        l->started += failure == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failure != 0) {
        return m2s_fail(error, M2SNET_STATUS_LIMIT, "the loader's thread %d of %d cannot be started: %s",
                        l->started + 1, l->options.threads, strerrordesc_np(failure));
    }
    return M2SNET_STATUS_OK;
}

/* ---- creation ---- */

static m2snet_status check_options(const m2s_loader_options *o, m2snet_error *error)
{
    const m2snet_status bad = M2SNET_STATUS_INVALID_ARGUMENT;
    m2snet_status status;

    if (o->batch < 1 || o->batch > MAX_BATCH) {
        return m2s_fail(error, bad, "loader: batch is %d, expected 1 to %d", o->batch, MAX_BATCH);
    }
    if (o->size_count < 1 || o->size_count > M2S_LOADER_MAX_SIZES) {
        return m2s_fail(error, bad, "loader: %d sizes, expected 1 to %d", o->size_count, M2S_LOADER_MAX_SIZES);
    }
    for (int32_t i = 0; i < o->size_count; i++) {
        m2s_size s = o->sizes[i];
        if (s.width < 1 || s.height < 1 || s.width > MAX_SIDE_PX || s.height > MAX_SIDE_PX) {
            return m2s_fail(error, bad, "loader: size %d x %d, expected sides of 1 to %d px", s.width, s.height,
                            MAX_SIDE_PX);
        }
    }
    if (o->threads < 0 || o->threads > M2S_LOADER_MAX_THREADS) {
        return m2s_fail(error, bad, "loader: threads is %d, expected 0 to %d", o->threads, M2S_LOADER_MAX_THREADS);
    }
    if (o->sampler < M2S_SAMPLER_CONCAT || o->sampler > M2S_SAMPLER_RANDOM ||
        (o->epoch_end != M2S_EPOCH_OF_SHORTEST && o->epoch_end != M2S_EPOCH_OF_LONGEST) ||
        (o->unreadable != M2S_UNREADABLE_STOP && o->unreadable != M2S_UNREADABLE_SKIP)) {
        return m2s_fail(error, bad, "loader: sampler, epoch_end or unreadable has an unknown value");
    }
    if (o->shrink_px < -1 || o->shrink_px > M2S_MAX_SIDE_PX) {
        return m2s_fail(error, bad, "loader: shrink_px is %d, expected -1 to %d", o->shrink_px, M2S_MAX_SIDE_PX);
    }
    if (o->epoch_batches < 0 || o->epoch_batches > MAX_EPOCH_BATCHES ||
        !(o->foreground_share >= 0.0 && o->foreground_share <= 1.0)) {
        return m2s_fail(error, bad, "loader: epoch_batches or foreground_share is out of range");
    }
    if (o->patches && o->augment.first_size_px > 0) {
        return m2s_fail(error, bad,
                        "loader: patches are cut out of pictures at their own size: augmentation \"released\" brings "
                        "these to another one first; take another augmentation, or set its first_size_px to 0");
    }
    M2S_TRY(m2s_augment_check(&o->augment, error));
    M2S_TRY(m2s_mask_coding_check(&o->mask, error));
fail:
    return status;
}

static m2snet_status create_order(m2s_loader *l, const m2snet_dataset *dataset, const int32_t *items, int32_t count,
                                  m2snet_error *error)
{
    m2s_memory *memory = l->host.memory;
    int32_t *sets = m2s_alloc_array(memory, (size_t)count, sizeof *sets);
    double *weights = m2s_alloc_array(memory, (size_t)dataset->source_count, sizeof *weights);
    m2snet_status status;

    if (sets == NULL || weights == NULL) {
        status = m2s_fail_memory(error, "an epoch's order", (size_t)count * sizeof *sets);
        goto fail;
    }
    for (int32_t i = 0; i < count; i++) {
        sets[i] = dataset->samples[items[i]].set;
    }
    for (int32_t s = 0; s < dataset->source_count; s++) {
        weights[s] = dataset->sources[s].weight;
    }
    M2S_TRY(m2s_order_create(memory, sets, count, weights, dataset->source_count, &l->options, &l->order, error));
    l->length = m2s_order_length(l->order);
    l->batches = (l->length + (l->options.drop_last ? 0 : l->options.batch - 1)) / l->options.batch;
    if (l->batches == 0) {
        status = m2s_fail(error, M2SNET_STATUS_MISMATCH,
                          "an epoch of %d pictures has no whole batch of %d, and partial ones are dropped",
                          (int)l->length, l->options.batch);
    }
fail:
    m2s_free(memory, sets);
    m2s_free(memory, weights);
    return status;
}

static size_t whole_lines(size_t bytes)
{
    return (bytes + M2S_ALIGNMENT - 1) / M2S_ALIGNMENT * M2S_ALIGNMENT;
}

/* Room for the largest batch, and how many of them the cap allows. At most 4096 x 8192^2 x 68 x 4 bytes: no overflow.
 */
static m2snet_status plan_buffers(m2s_loader *l, m2snet_error *error)
{
    const m2s_loader_options *o = &l->options;
    size_t pixels = 0;

    for (int32_t i = 0; i < o->size_count; i++) {
        size_t area = (size_t)o->sizes[i].width * (size_t)o->sizes[i].height;
        pixels = area > pixels ? area : pixels;
    }
    pixels *= (size_t)o->batch;
    l->mask_offset = whole_lines(3 * pixels * sizeof(float));
    l->unfinished_offset = whole_lines(l->mask_offset + (size_t)l->classes * pixels * sizeof(float));
    l->buffer_bytes = whole_lines(l->unfinished_offset +
                                  (size_t)o->batch * ((o->unfinished ? sizeof(m2s_unfinished) : 0) + sizeof(int32_t)));
    if (o->prefetch_bytes > 0 && o->prefetch_bytes < l->buffer_bytes) {
        return m2s_fail(error, M2SNET_STATUS_LIMIT, "loader: a batch takes %zu bytes, prefetch_bytes allows %llu",
                        l->buffer_bytes, (unsigned long long)o->prefetch_bytes);
    }
    uint64_t fit = o->prefetch_bytes > 0 ? o->prefetch_bytes / l->buffer_bytes : DEFAULT_BUFFERS;
    l->job_count = fit > MAX_BUFFERS ? MAX_BUFFERS : (int32_t)fit;
    return M2SNET_STATUS_OK;
}

static m2snet_status check_place(const m2s_loader *l, int64_t batch_index, m2snet_error *error)
{
    if (batch_index < 0 || batch_index >= l->batches) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "loader: batch %lld of an epoch, expected 0 to %lld",
                        (long long)batch_index, (long long)l->batches - 1);
    }
    return M2SNET_STATUS_OK;
}

static void create_conditions(m2s_loader *l)
{
    pthread_condattr_t monotonic;

    pthread_mutex_init(&l->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&l->ready, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&l->work, NULL);
}

m2snet_status m2s_loader_create(const m2s_host *host, const m2snet_dataset *dataset, const int32_t *items,
                                int32_t count, const m2s_loader_options *options, m2s_loader **created,
                                m2snet_error *error)
{
    m2snet_status status = check_options(options, error);
    int32_t threads = options->threads > 0 ? options->threads : 1;

    *created = NULL;
    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    for (int32_t i = 0; i < count; i++) {
        if (items[i] < 0 || items[i] >= dataset->count) {
            return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "loader: picture %d of a data set of %d", items[i],
                            dataset->count);
        }
    }
    if (count < 1) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "loader: %d pictures, expected 1 or more", count);
    }
    size_t bytes = sizeof(m2s_loader) + (size_t)threads * sizeof(struct worker);
    m2s_loader *l = m2s_calloc(host->memory, 1, bytes);
    if (l == NULL) {
        return m2s_fail_memory(error, "a loader", bytes);
    }
    l->host = *host;
    l->options = *options;
    l->options.threads = threads;
    l->classes = m2s_mask_channels(&options->mask);
    l->epoch = options->epoch;
    l->index = options->batch_index;
    create_conditions(l);
    M2S_TRY(m2s_maker_begin(&l->maker, host, dataset, items, count, options, error));
    M2S_TRY(create_order(l, dataset, items, count, error));
    M2S_TRY(check_place(l, options->batch_index, error));
    M2S_TRY(plan_buffers(l, error));
    M2S_TRY(start_threads(l, error));
    *created = l;
    return M2SNET_STATUS_OK;
fail:
    m2s_loader_destroy(l);
    return status;
}

void m2s_loader_destroy(m2s_loader *l)
{
    if (l == NULL) {
        return;
    }
    m2s_memory *memory = l->host.memory;
    pthread_mutex_lock(&l->mutex);
    l->ending = true;
    for (int32_t i = 0; i < l->started; i++) {
        atomic_store(&l->workers[i].control.stop, true);
    }
    drop_queue(l);
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->mutex);
    for (int32_t i = 0; i < l->started; i++) {
        pthread_join(l->workers[i].thread, NULL);
        m2s_augment_scratch_release(&l->workers[i].scratch);
    }
    for (int32_t i = 0; i < l->job_count; i++) {
        if (l->jobs[i].is_used) {
            job_release(l, &l->jobs[i]);
        }
        m2s_free(memory, l->jobs[i].images);
    }
    order_release(l, l->current);
    m2s_order_destroy(l->order);
    m2s_maker_end(&l->maker);
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->ready);
    pthread_mutex_destroy(&l->mutex);
    m2s_free(memory, l);
}

/* ---- the caller ---- */

static void take_back(m2s_loader *l)
{
    if (l->given != NULL) {
        job_release(l, l->given);
        l->given = NULL;
        pthread_cond_broadcast(&l->work);
    }
}

static void go_to(m2s_loader *l, uint64_t epoch, int64_t index)
{
    drop_queue(l);
    l->epoch = epoch;
    l->index = index;
    pthread_cond_broadcast(&l->work);
}

/* Until the first batch is complete or there is none; mutex held. */
static m2snet_status wait_for_batch(m2s_loader *l, m2s_control *control, m2snet_error *error)
{
    uint64_t began = m2s_now_ns();
    m2snet_status status = M2SNET_STATUS_OK;

    while (status == M2SNET_STATUS_OK && (l->queued > 0 ? !job_is_over(l->queue[0]) : !stream_is_over(l))) {
        if (control == NULL) {
            pthread_cond_wait(&l->ready, &l->mutex);
            continue;
        }
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += WATCH_INTERVAL_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&l->ready, &l->mutex, &until);
        uint64_t done = l->queued > 0 ? (uint64_t)(l->queue[0]->next_slot - l->queue[0]->running) : 0;
        pthread_mutex_unlock(&l->mutex); /* the callback may take its time */
        if (m2s_control_report(control, PHASE, done, (uint64_t)l->options.batch)) {
            status = m2s_fail_cancelled(error, PHASE);
        }
        pthread_mutex_lock(&l->mutex);
    }
    l->waited_ns += m2s_now_ns() - began;
    return status;
}

static void tell_skips(m2s_loader *l, const job *j)
{
    for (const m2s_skip *s = j->skips; s != NULL; s = s->next) {
        m2s_log_write(l->host.log, M2SNET_LOG_WARNING, "skipped: %s", s->reason);
        if (l->options.skipped != NULL) {
            l->options.skipped(l->options.skipped_user, s->item, s->reason);
        }
        l->skipped++;
    }
}

m2snet_status m2s_loader_next(m2s_loader *l, m2s_control *control, const m2s_batch **batch, m2snet_error *error)
{
    m2snet_status status;
    job *j = NULL;

    *batch = NULL;
    if (m2s_control_stopped(control)) {
        return m2s_fail_cancelled(error, PHASE);
    }
    pthread_mutex_lock(&l->mutex);
    take_back(l);
    M2S_TRY(wait_for_batch(l, control, error));
    if (l->queued == 0) {
        goto fail;
    }
    j = l->queue[0];
    if (j->status != M2SNET_STATUS_OK) {
        status = m2s_fail(error, j->status, "%s", j->error.message);
        go_to(l, j->batch.epoch, j->batch.index);
        goto fail;
    }
    l->queued--;
    memmove(l->queue, l->queue + 1, (size_t)l->queued * sizeof(job *));
    l->given = j;
    *batch = &j->batch;
fail:
    pthread_mutex_unlock(&l->mutex);
    if (*batch != NULL) {
        tell_skips(l, j); /* the batch is the caller's now: no thread touches it */
    }
    return status;
}

m2snet_status m2s_loader_seek(m2s_loader *l, uint64_t epoch, int64_t batch_index, m2snet_error *error)
{
    m2snet_status status = check_place(l, batch_index, error);

    if (status == M2SNET_STATUS_OK) {
        pthread_mutex_lock(&l->mutex);
        take_back(l);
        go_to(l, epoch, batch_index);
        pthread_mutex_unlock(&l->mutex);
    }
    return status;
}

int64_t m2s_loader_batches(const m2s_loader *l)
{
    return l->batches;
}

int64_t m2s_loader_pictures(const m2s_loader *l)
{
    return l->options.drop_last ? l->batches * l->options.batch : l->length;
}

uint64_t m2s_loader_skipped(const m2s_loader *l)
{
    return l->skipped;
}

uint64_t m2s_loader_cached_bytes(m2s_loader *l)
{
    return atomic_load(&l->maker.cache_bytes);
}

void m2s_loader_times(m2s_loader *l, double *waited_s, double *worked_s)
{
    *waited_s = (double)l->waited_ns * 1e-9;
    *worked_s = (double)atomic_load(&l->worked_ns) * 1e-9;
}
