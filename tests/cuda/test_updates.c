/* SPDX-License-Identifier: Apache-2.0
 * Updates in groups: random sequences of updates over shared and separate tensors, once node by node, once through
 * m2s_cuda_updates_take. The same bits, in far fewer launches. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cuda/runtime.h"
#include "backends/cuda/updates.h"
#include "common/check.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define TENSORS      400
#define NUMBERS      (1 << 20) /* of all of them */
#define STEPS        1200
#define SCALARS      6

typedef struct world {
    float *data; /* of all tensors, on the device */
    float *host; /* pinned */
    void *stream;
    int64_t begin[TENSORS + 1];
} world;

typedef struct step {
    m2s_op op;
    m2s_attrs attrs;
    m2s_ref_args args;
} step;

static int draw(unsigned long long *random, int below)
{
    return (int)((check_random(random) * 0.5 + 0.5) * below) % below;
}

/* Sizes of biases, vectors, kernels; some begin where no vector may. */
static void lay_out(world *w)
{
    static const int64_t sizes[] = { 1, 3, 26, 64, 208, 256, 6084, 4096, 4097, 20000 };
    unsigned long long random = 3;
    int64_t at = SCALARS;

    for (int t = 0; t < TENSORS; t++) {
        w->begin[t] = at;
        at += sizes[draw(&random, t % 20 == 0 ? 10 : 6)];
        at += draw(&random, 3) == 0 ? 0 : (4 - at % 4) % 4;
    }
    w->begin[TENSORS] = at;
    CHECK(at <= NUMBERS, "%lld numbers", (long long)at);
}

static void fill(world *w)
{
    unsigned long long random = 9;

    for (int64_t i = 0; i < NUMBERS; i++) {
        w->host[i] = (float)(0.6 + 0.4 * check_random(&random));
    }
    w->host[0] = 0.01f; /* rate */
    w->host[1] = 1.0f;  /* commit */
    w->host[2] = 0.5f;  /* factor */
    w->host[3] = 0.1f;  /* corrections */
    w->host[4] = 0.001f;
    w->host[5] = 0.0f; /* no commit */
}

static int64_t size_of(const world *w, int t)
{
    return w->begin[t + 1] - w->begin[t];
}

static void set_step(world *w, step *s, m2s_op op, const int *tensors, int tensor_count, const int *scalars,
                     int scalar_count)
{
    int64_t count = size_of(w, tensors[0]);
    int outs = 0;

    *s = (step){ .op = op };
    for (int i = 0; i < tensor_count; i++) {
        count = size_of(w, tensors[i]) < count ? size_of(w, tensors[i]) : count;
    }
    for (int i = 0; i < tensor_count; i++) {
        s->args.in[i] = w->data + w->begin[tensors[i]];
        s->args.in_shape[i] = (m2s_shape){ .d = { count, 1, 1, 1 } };
        if (i != 1) {
            s->args.out[outs] = w->data + w->begin[tensors[i]];
            s->args.out_shape[outs++] = s->args.in_shape[i];
        }
    }
    for (int i = 0; i < scalar_count; i++) {
        s->args.in[tensor_count + i] = w->data + scalars[i];
        s->args.in_shape[tensor_count + i] = (m2s_shape){ .d = { 1, 1, 1, 1 } };
    }
    s->args.in_count = tensor_count + scalar_count;
    s->args.out_count = outs;
}

/* A step as trainers make them: optimisers over many parameters, averages of these between; and at random. */
static void draw_step(world *w, step *s, unsigned long long *random, int index, bool wild)
{
    int base = wild ? draw(random, TENSORS - 4) : index % (TENSORS / 4) * 4;
    int tensors[] = { base, base + 1, base + 2, base + 3 };
    int kind = wild ? draw(random, 5) : index / 100 % 2 == 0 ? 2 : index % 2 == 0 ? 2 : 0;
    int commit = wild && draw(random, 6) == 0 ? 5 : 1;

    if (kind == 0) {
        set_step(w, s, M2S_OP_running_average, tensors, 2, (int[]){ commit }, 1);
        s->attrs = (m2s_attrs){ .alpha = 0.1, .beta = wild ? 1.0 + 0.1 * draw(random, 3) : 1.0 };
        if (wild && draw(random, 3) == 0) {
            s->attrs.count = 1;
            s->attrs.begin = (int32_t)(size_of(w, base + 1) - 1);
        }
    } else if (kind == 1) {
        set_step(w, s, M2S_OP_accumulate, tensors, 2, (int[]){ 2, 1 }, 2);
    } else if (kind == 2) {
        set_step(w, s, M2S_OP_sgd, tensors, 3, (int[]){ 0, commit, 2 }, draw(random, 4) == 0 && wild ? 2 : 3);
        s->attrs = (m2s_attrs){
            .alpha = index % 3 == 0 ? 0.1 : 1.0, .momentum = 0.9, .weight_decay = index % 5 == 0 ? 0.0 : 5e-4, .form = 1
        };
    } else {
        set_step(w, s, M2S_OP_adamw, tensors, 4, (int[]){ 0, commit, 3, 4 }, 4);
        s->attrs = (m2s_attrs){ .alpha = 1.0, .momentum = 0.9, .beta = 0.999, .weight_decay = 0.01, .epsilon = 1e-8 };
    }
}

static const m2s_cuda_kernel *kernel_of(m2s_op op)
{
    return op == M2S_OP_sgd               ? &m2s_cuda_sgd
           : op == M2S_OP_adamw           ? &m2s_cuda_adamw
           : op == M2S_OP_running_average ? &m2s_cuda_running_average
                                          : &m2s_cuda_accumulate;
}

/* Launches, or -1. */
static int run_steps(world *w, step *steps, int count, bool grouped)
{
    static m2s_updates updates;
    int launches = 0, error = 0;

    updates.groups = 0;
    for (int i = 0; i < count && error == 0; i++) {
        steps[i].args.attrs = &steps[i].attrs;
        m2s_cuda_call call = { .args = &steps[i].args, .stream = w->stream, .multiprocessors = 8 };
        if (grouped && m2s_cuda_updates_take(&updates, steps[i].op, &steps[i].args)) {
            continue;
        }
        launches += updates.groups;
        error = m2s_cuda_updates_launch(&call, &updates);
        if (error == 0 && !(grouped && m2s_cuda_updates_take(&updates, steps[i].op, &steps[i].args))) {
            launches++;
            error = kernel_of(steps[i].op)->launch(&call);
        }
    }
    launches += updates.groups;
    error = error != 0 ? error : m2s_cuda_updates_launch(&(m2s_cuda_call){ .stream = w->stream }, &updates);
    return error == 0 ? launches : -1;
}

static void compare(world *w, bool wild, unsigned long long seed)
{
    step *steps = calloc(STEPS, sizeof *steps);
    float *once = malloc(NUMBERS * sizeof *once);
    int launches[2];

    for (int i = 0; i < STEPS; i++) {
        draw_step(w, &steps[i], &seed, i, wild);
    }
    for (int grouped = 0; grouped < 2; grouped++) {
        fill(w);
        int error = m2s_cuda_copy_in(w->stream, w->data, w->host, NUMBERS * sizeof(float));
        launches[grouped] = run_steps(w, steps, STEPS, grouped != 0);
        CHECK(launches[grouped] > 0, "a launch failed");
        error |= m2s_cuda_copy_out(w->stream, w->host, w->data, NUMBERS * sizeof(float));
        error |= m2s_cuda_synchronize(w->stream);
        CHECK(error == 0, "the runtime failed: %d", error);
        if (grouped == 0) {
            memcpy(once, w->host, NUMBERS * sizeof *once);
        }
    }
    CHECK_BYTES(w->host, once, NUMBERS * sizeof *once, "all tensors");
    CHECK(launches[0] == STEPS, "%d launches", launches[0]);
    CHECK(launches[1] < (wild ? STEPS : STEPS / 10), "%d launches of groups", launches[1]);
    free(once);
    free(steps);
}

int main(int argc, char **argv)
{
    world w = { 0 };
    int error;

    check_start(argc, argv);
    check_case("room");
    error = m2s_cuda_malloc((void **)&w.data, NUMBERS * sizeof(float));
    error |= m2s_cuda_malloc_host((void **)&w.host, NUMBERS * sizeof(float));
    error |= m2s_cuda_stream_create(&w.stream);
    if (!CHECK(error == 0, "the runtime failed: %d", error)) {
        return check_finish();
    }
    lay_out(&w);
    if (check_case("as a trainer has them")) {
        compare(&w, false, 1);
    }
    for (unsigned long long seed = 1; seed <= 8; seed++) {
        if (check_case("at random, %llu", seed)) {
            compare(&w, true, seed);
        }
    }
    m2s_cuda_stream_destroy(w.stream);
    m2s_cuda_free(w.data);
    m2s_cuda_free_host(w.host);
    return check_finish();
}
