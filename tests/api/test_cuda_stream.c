/* SPDX-License-Identifier: Apache-2.0
 * Runs on the caller's own stream, device memory from the caller's allocator, convolutions that are searched for, and a
 * device that is lost: on the module that runs without a device, whose late streams keep their work until somebody
 * waits for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/cuda_fixture.h"

/* ---- a network, its input and its logits ---- */

typedef struct net {
    m2snet_context *context;
    m2snet_model *model;
    m2snet_session *session;
} net;

/* *n as far as it got; allocator of device memory, NULL: the runtime's. */
static m2snet_status open_with(const m2snet_device_allocator *allocator, net *n, m2snet_error *error)
{
    m2snet_cuda_options cuda;
    m2snet_context_options options;
    m2snet_status status;

    *n = (net){ 0 };
    m2snet_cuda_options_init(&cuda);
    cuda.allocator = allocator;
    m2snet_context_options_init(&options);
    options.backend = "cuda";
    options.backend_path = cuda_host.module;
    options.cuda = &cuda;
    options.threads = 1;
    status = m2snet_context_create(&options, &n->context, error);
    if (status == M2SNET_STATUS_OK) {
        n->model = tiny_model(n->context);
        status = m2snet_session_create(n->model, NULL, &n->session, error);
    }
    return status;
}

static net open_net(m2snet_precision precision)
{
    m2snet_session_options options;
    net n = { 0 };
    m2snet_error error;

    OK(open_cuda(cuda_host.module, &n.context, &error));
    n.model = tiny_model(n.context);
    m2snet_session_options_init(&options);
    options.precision = precision;
    OK(m2snet_session_create(n.model, &options, &n.session, &error));
    return n;
}

/* The session's parents go with it: children keep them alive. */
static void close_net(net *n)
{
    m2snet_context_destroy(n->context);
    m2snet_model_destroy(n->model);
    m2snet_session_destroy(n->session);
}

/* One image of side x side pixels; memory of the host is the stand-in's memory of the device. */
typedef struct frame {
    int64_t side;
    size_t bytes;
    float *src, *dst, *truth;
} frame;

static float *numbers(size_t bytes)
{
    float *made = aligned_alloc(256, (bytes + 255) / 256 * 256);

    assert_non_null(made);
    memset(made, 0, bytes);
    return made;
}

static frame make_frame(int64_t side, unsigned seed)
{
    size_t pixels = (size_t)(side * side);
    frame f = { side, pixels * sizeof(float), numbers(3 * pixels * sizeof(float)), numbers(pixels * sizeof(float)),
                numbers(pixels * sizeof(float)) };

    for (size_t i = 0; i < 3 * pixels; i++) {
        seed = seed * 1664525u + 1013904223u;
        f.src[i] = (float)(seed >> 8) / 8388608.0f - 1.0f;
    }
    return f;
}

static void free_frame(frame *f)
{
    free(f->src);
    free(f->dst);
    free(f->truth);
}

/* What m2snet_session_run says of it. */
static void find_truth(const net *n, frame *f)
{
    m2snet_tensor_desc desc = { .dtype = M2SNET_DTYPE_F32, .n = 1, .h = f->side, .w = f->side, .c = 3 };
    m2snet_tensor *src, *dst;
    m2snet_error error;

    OK(m2snet_tensor_create(n->context, &desc, f->src, &src, &error));
    desc.c = 1;
    OK(m2snet_tensor_create(n->context, &desc, f->truth, &dst, &error));
    OK(m2snet_session_run(n->session, src, dst, NULL, &error));
    m2snet_tensor_destroy(src);
    m2snet_tensor_destroy(dst);
}

static m2snet_cuda_run run_of(const frame *f, void *stream)
{
    m2snet_cuda_run run;

    m2snet_cuda_run_init(&run);
    run.stream = stream;
    run.n = 1;
    run.h = run.w = f->side;
    run.src = f->src;
    run.dst = f->dst;
    return run;
}

static void enqueue(const net *n, frame *f, void *stream)
{
    m2snet_cuda_run run = run_of(f, stream);
    m2snet_error error;

    memset(f->dst, 0, f->bytes);
    OK(m2snet_session_enqueue(n->session, &run, &error));
}

static bool is_done(const frame *f)
{
    return memcmp(f->dst, f->truth, f->bytes) == 0;
}

static bool is_untouched(const frame *f)
{
    for (size_t i = 0; i < f->bytes / sizeof(float); i++) {
        if (f->dst[i] != 0.0f) {
            return false;
        }
    }
    return true;
}

/* ---- the caller's stream ---- */

/* Launched, captured, replayed: each time nothing has happened when the call returns, and the logits are those of
 * m2snet_session_run to the bit when the stream has been waited for. */
static void test_enqueue(void **state)
{
    const m2snet_precision precisions[] = { M2SNET_PRECISION_F32, M2SNET_PRECISION_BF16 };

    (void)state;
    for (size_t p = 0; p < COUNT(precisions); p++) {
        net n = open_net(precisions[p]);
        frame f = make_frame(64, 1u), other = make_frame(64, 2u);
        void *stream = cuda_host.stream();
        m2snet_error error;
        find_truth(&n, &f);
        find_truth(&n, &other);
        assert_true(memcmp(f.truth, other.truth, f.bytes) != 0);
        m2snet_session_trim(n.session, &error);
        for (int i = 0; i < 4; i++) {
            frame *now = i % 2 == 0 ? &f : &other; /* other memory each time: the graphs do not mind */
            enqueue(&n, now, stream);
            assert_true(is_untouched(now));
            cuda_host.finish(stream);
            assert_true(is_done(now));
        }
        /* The default stream, which the stand-in does at once. */
        enqueue(&n, &f, NULL);
        assert_true(is_done(&f));
        OK(m2snet_session_wait(n.session, &error));
        cuda_host.end(stream);
        close_net(&n);
        free_frame(&f);
        free_frame(&other);
        assert_int_equal(cuda_host.held(), 0);
    }
}

/* One after the other, or side by side: the same bits, and the arena of the first is no larger. */
static void test_in_a_row(void **state)
{
    const m2snet_precision precisions[] = { M2SNET_PRECISION_F32, M2SNET_PRECISION_F16 };

    (void)state;
    for (size_t p = 0; p < COUNT(precisions); p++) {
        frame f = make_frame(64, 1u);
        uint64_t arena[2];
        for (int row = 0; row < 2; row++) {
            m2snet_cuda_options cuda;
            m2snet_context_options options;
            m2snet_session_options session;
            m2snet_plan_info info = { .struct_size = sizeof info };
            net n = { 0 };
            m2snet_error error;
            m2snet_cuda_options_init(&cuda);
            cuda.in_a_row = row;
            m2snet_context_options_init(&options);
            options.backend = "cuda";
            options.backend_path = cuda_host.module;
            options.cuda = &cuda;
            options.threads = 1;
            OK(m2snet_context_create(&options, &n.context, &error));
            n.model = tiny_model(n.context);
            m2snet_session_options_init(&session);
            session.precision = precisions[p];
            OK(m2snet_session_create(n.model, &session, &n.session, &error));
            OK(m2snet_session_plan_info(n.session, 1, f.side, f.side, &info, &error));
            arena[row] = info.arena_bytes;
            for (int i = 0; i < 3; i++) {
                enqueue(&n, &f, NULL);
                if (row == 0 && i == 0) { /* launched one by one */
                    memcpy(f.truth, f.dst, f.bytes);
                    assert_true(!is_untouched(&f));
                }
                assert_true(is_done(&f));
            }
            close_net(&n);
        }
        assert_true(arena[1] < arena[0]);
        free_frame(&f);
    }
}

typedef struct heard {
    int graphs, rows, launches; /* lines of the log: a graph of branches, a row in its place, launches one by one */
} heard;

static void hear(void *user, m2snet_log_level level, const char *message)
{
    heard *h = user;

    (void)level;
    h->graphs += strstr(message, "a graph of") != NULL;
    h->rows += strstr(message, "steps go in a row") != NULL;
    h->launches += strstr(message, "launches go one by one") != NULL;
}

/* A call that fails while branches are captured: the row takes their place, and nothing else is different. All calls
 * from there on: the run fails, and the next one does not. */
static void test_branches_fail(void **state)
{
    frame f = make_frame(64, 1u);

    (void)state;
    for (int way = 0; way < 3; way++) {
        heard h = { 0 };
        m2snet_context_options options;
        net n = { 0 };
        m2snet_error error;
        m2snet_context_options_init(&options);
        options.backend = "cuda";
        options.backend_path = cuda_host.module;
        options.threads = 1;
        options.log = hear;
        options.log_user = &h;
        options.log_level = M2SNET_LOG_DEBUG;
        OK(m2snet_context_create(&options, &n.context, &error));
        n.model = tiny_model(n.context);
        OK(m2snet_session_create(n.model, NULL, &n.session, &error));
        enqueue(&n, &f, NULL); /* launched one by one */
        memcpy(f.truth, f.dst, f.bytes);
        m2snet_cuda_run run = run_of(&f, NULL);
        cuda_host.calls(true);
        if (way > 0) { /* some launches after the capture's begin */
            setenv(FAIL_AT, way == 1 ? "20" : "-20", 1);
        }
        memset(f.dst, 0, f.bytes);
        m2snet_status status = m2snet_session_enqueue(n.session, &run, &error);
        unsetenv(FAIL_AT);
        assert_true((status == M2SNET_STATUS_OK) == (way < 2));
        assert_true(way == 2 || is_done(&f));
        assert_int_equal(h.graphs, way == 0);
        assert_int_equal(h.rows, way > 0);
        assert_int_equal(h.launches, way == 2);
        for (int i = 0; i < 2; i++) {
            enqueue(&n, &f, NULL);
            assert_true(is_done(&f));
        }
        close_net(&n);
        assert_int_equal(cuda_host.held(), 0);
    }
    free_frame(&f);
}

/* Plans share the arena: what is enqueued later waits for what was before, even on a stream that is waited for first.
 */
static void test_order(void **state)
{
    net n = open_net(M2SNET_PRECISION_F32);
    frame f[] = { make_frame(96, 1u), make_frame(64, 2u), make_frame(96, 3u), make_frame(64, 4u) };
    void *streams[] = { cuda_host.stream(), cuda_host.stream() };
    m2snet_error error;

    (void)state;
    for (size_t i = 0; i < COUNT(f); i++) {
        find_truth(&n, &f[i]);
    }
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT(f); i++) {
            enqueue(&n, &f[i], streams[i % 2]);
        }
        assert_true(is_untouched(&f[0]) && is_untouched(&f[3]));
        cuda_host.finish(streams[1]);
        for (size_t i = 0; i < COUNT(f); i++) {
            assert_true(is_done(&f[i]));
        }
        cuda_host.finish(streams[0]);
    }
    /* Every other use waits. */
    enqueue(&n, &f[0], streams[0]);
    OK(m2snet_session_wait(n.session, &error));
    assert_true(is_done(&f[0]));
    enqueue(&n, &f[1], streams[0]);
    find_truth(&n, &f[2]);
    assert_true(is_done(&f[1]));
    enqueue(&n, &f[1], streams[0]);
    frame large = make_frame(128, 5u); /* a larger arena */
    enqueue(&n, &large, streams[1]);
    assert_true(is_done(&f[1]) && is_untouched(&large));
    close_net(&n);
    assert_true(!is_untouched(&large));
    cuda_host.end(streams[0]);
    cuda_host.end(streams[1]);
    for (size_t i = 0; i < COUNT(f); i++) {
        free_frame(&f[i]);
    }
    free_frame(&large);
    assert_int_equal(cuda_host.held(), 0);
}

static void test_refusals(void **state)
{
    net n = open_net(M2SNET_PRECISION_F32), cpu = { 0 };
    frame f = make_frame(64, 1u);
    m2snet_cuda_run run = run_of(&f, NULL);
    const m2snet_status wrong = M2SNET_STATUS_INVALID_ARGUMENT, unsupported = M2SNET_STATUS_UNSUPPORTED;
    void *stream = cuda_host.stream();
    m2snet_error error;

    (void)state;
    REFUSE(m2snet_session_enqueue(NULL, &run, &error), wrong, "session is NULL");
    REFUSE(m2snet_session_enqueue(n.session, NULL, &error), wrong, "run is NULL");
    REFUSE(m2snet_session_wait(NULL, &error), wrong, "session is NULL");
    run.src = NULL;
    REFUSE(m2snet_session_enqueue(n.session, &run, &error), wrong, "src is NULL");
    run.src = f.src + 1;
    REFUSE(m2snet_session_enqueue(n.session, &run, &error), wrong, "src is not aligned");
    run.src = f.src;
    run.dst = f.dst + 2;
    REFUSE(m2snet_session_enqueue(n.session, &run, &error), wrong, "dst is not aligned");
    run.dst = f.dst;
    run.struct_size = 3;
    REFUSE(m2snet_session_enqueue(n.session, &run, &error), wrong, "m2snet_cuda_run.struct_size is 3");
    run.struct_size = sizeof run;
    run.h = 32;
    REFUSE(m2snet_session_enqueue(n.session, &run, &error), wrong, "32");
    run.h = 64;
    run.n = 0;
    REFUSE(m2snet_session_enqueue(n.session, &run, &error), wrong, "0");
    run.n = 1;
    run.stream = stream;
    assert_int_equal(cuda_host.capture(stream, true), 0);
    REFUSE(m2snet_session_enqueue(n.session, &run, &error), unsupported, "captured");
    assert_int_equal(cuda_host.capture(stream, false), 0);
    OK(m2snet_session_enqueue(n.session, &run, &error));

    OK(m2snet_session_wait(n.session, &error));
    close_net(&n);
    cpu.context = open_context("cpu", 1);
    cpu.model = tiny_model(cpu.context);
    cpu.session = open_session(cpu.model);
    REFUSE(m2snet_session_enqueue(cpu.session, &run, &error), unsupported, "backend \"cuda\" only");
    OK(m2snet_session_wait(cpu.session, &error));
    close_net(&cpu);
    cuda_host.end(stream);
    free_frame(&f);
}

static m2snet_status run_enqueued(m2snet_error *error)
{
    net n;
    frame f = make_frame(64, 1u), g = make_frame(96, 2u);
    void *stream = cuda_host.stream();
    m2snet_status status = open_with(NULL, &n, error);

    for (int i = 0; i < 6 && status == M2SNET_STATUS_OK; i++) {
        m2snet_cuda_run run = run_of(i % 2 == 0 ? &f : &g, i < 4 ? stream : NULL);
        status = m2snet_session_enqueue(n.session, &run, error);
    }
    status = status == M2SNET_STATUS_OK ? m2snet_session_wait(n.session, error) : status;
    close_net(&n);
    cuda_host.end(stream);
    free_frame(&f);
    free_frame(&g);
    return status;
}

static void test_failing_enqueue(void **state)
{
    (void)state;
    fail_in_turn(run_enqueued, 24, 61);
}

/* ---- device memory from the caller ---- */

typedef struct pool {
    atomic_long live, calls;
    atomic_size_t bytes;
    long fail_at;
    size_t shift; /* off the alignment */
} pool;

static void *pool_alloc(void *user, size_t bytes)
{
    pool *p = user;
    char *block = atomic_fetch_add(&p->calls, 1) + 1 == p->fail_at ? NULL : malloc(bytes + 512);

    if (block == NULL) {
        return NULL;
    }
    char *data = block + (256 - (size_t)block % 256) + p->shift;
    atomic_fetch_add(&p->live, 1);
    atomic_fetch_add(&p->bytes, bytes);
    memset(data, 0xff, bytes);
    memcpy(data - p->shift - sizeof block, &block, sizeof block);
    return data;
}

static void pool_free(void *user, void *pointer, size_t bytes)
{
    pool *p = user;
    char *block;

    memcpy(&block, (char *)pointer - p->shift - sizeof block, sizeof block);
    memset(pointer, 0xff, bytes); /* what still ran would see it */
    free(block);
    atomic_fetch_sub(&p->live, 1);
    atomic_fetch_sub(&p->bytes, bytes);
}

/* *n as far as it got. */
static m2snet_status open_in_pool(pool *p, net *n, m2snet_error *error)
{
    const m2snet_device_allocator allocator = { pool_alloc, pool_free, p };

    return open_with(&allocator, n, error);
}

static m2snet_status run_in_pool(pool *p, m2snet_error *error)
{
    net n;
    frame f = make_frame(64, 1u);
    void *stream = cuda_host.stream();
    m2snet_status status = open_in_pool(p, &n, error);

    m2snet_cuda_run run = run_of(&f, stream);
    status = status == M2SNET_STATUS_OK ? m2snet_session_enqueue(n.session, &run, error) : status;
    if (status == M2SNET_STATUS_OK) {
        /* Weights, the arena, input and output: all of it is the caller's. What the runtime holds are four streams, an
         * event and pinned memory. */
        m2snet_plan_info info = { .struct_size = sizeof info };
        assert_int_equal(cuda_host.held(), 6);
        assert_true(is_untouched(&f));
        assert_int_equal(m2snet_session_plan_info(n.session, 1, 64, 64, &info, error), M2SNET_STATUS_OK); /* waits */
        assert_true(atomic_load(&p->bytes) >= info.arena_bytes + 4 * f.bytes);
        find_truth(&n, &f);
        assert_true(is_done(&f));
        status = m2snet_session_enqueue(n.session, &run, error); /* under way while all is destroyed */
    }
    close_net(&n);
    assert_true(status != M2SNET_STATUS_OK || is_done(&f));
    cuda_host.end(stream);
    free_frame(&f);
    return status;
}

static void test_allocator(void **state)
{
    const m2snet_device_allocator half = { pool_alloc, NULL, NULL };
    m2snet_cuda_options cuda;
    m2snet_context_options options;
    m2snet_context *context;
    pool p = { 0 };
    m2snet_error error;

    (void)state;
    OK(run_in_pool(&p, &error));
    long all = p.calls;
    assert_true(all > 20 && p.live == 0 && p.bytes == 0);
    for (long at = 1; at <= all; at++) {
        pool failing = { .fail_at = at };
        m2snet_status status = run_in_pool(&failing, &error);
        if (status != M2SNET_STATUS_OUT_OF_MEMORY) {
            fail_msg("allocation %ld fails: status %d", at, (int)status);
        }
        assert_true(failing.live == 0 && failing.bytes == 0);
        assert_int_equal(cuda_host.held(), 0);
    }
    pool shifted = { .shift = 16 };
    REFUSE(run_in_pool(&shifted, &error), M2SNET_STATUS_INVALID_ARGUMENT, "not aligned to 256");
    assert_true(shifted.live == 0);

    m2snet_context_options_init(&options);
    options.backend = "cuda";
    options.backend_path = cuda_host.module;
    options.cuda = &cuda;
    m2snet_cuda_options_init(&cuda);
    cuda.allocator = &half;
    REFUSE(m2snet_context_create(&options, &context, &error), M2SNET_STATUS_INVALID_ARGUMENT, "cuda.allocator");
    cuda.struct_size = 0;
    REFUSE(m2snet_context_create(&options, &context, &error), M2SNET_STATUS_INVALID_ARGUMENT,
           "m2snet_cuda_options.struct_size is 0");
}

/* What a picture needs on the device is in the session's arena: it grows once for the largest, and stays. */
static void test_pictures(void **state)
{
    m2snet_image small = noise_picture(70, 66), large = noise_picture(1000, 700);
    const size_t large_bytes = 1000 * 700 * 3;
    m2snet_result *first, *result;
    pool p = { 0 };
    net n;
    m2snet_error error;

    (void)state;
    OK(open_in_pool(&p, &n, &error));
    OK(m2snet_predict(n.session, &small, NULL, &first, &error));
    long calls = atomic_load(&p.calls);
    size_t bytes = atomic_load(&p.bytes);
    p.fail_at = calls + 1;
    REFUSE(m2snet_predict(n.session, &large, NULL, &result, &error), M2SNET_STATUS_OUT_OF_MEMORY, "device");
    assert_true(atomic_load(&p.bytes) < bytes); /* two arenas never exist together */
    for (int i = 0; i < 6; i++) {
        OK(m2snet_predict(n.session, i % 2 == 0 ? &small : &large, NULL, &result, &error));
        if (i % 2 == 0) {
            assert_same_result(first, result);
        }
        m2snet_result_destroy(result);
        assert_int_equal(atomic_load(&p.calls), i == 0 ? calls + 2 : calls + 3);
        assert_true((atomic_load(&p.bytes) >= large_bytes) == (i > 0));
    }
    m2snet_result_destroy(first);
    close_net(&n);
    assert_true(p.live == 0 && p.bytes == 0);
    assert_int_equal(cuda_host.held(), 0);
    free_picture(&small);
    free_picture(&large);
}

/* ---- the choice of convolutions ---- */

/* products: how many steps of the plan are made as a matrix product. */
static m2snet_status search_convolutions(bool search, uint64_t workspace_limit_bytes, frame *f, int *products,
                                         m2snet_error *error)
{
    m2snet_cuda_options cuda;
    m2snet_context_options options;
    net n = { 0 };
    m2snet_status status;

    m2snet_cuda_options_init(&cuda);
    cuda.search = search;
    cuda.workspace_limit_bytes = workspace_limit_bytes;
    m2snet_context_options_init(&options);
    options.backend = "cuda";
    options.backend_path = cuda_host.module;
    options.cuda = &cuda;
    options.threads = 1;
    status = m2snet_context_create(&options, &n.context, error);
    if (status == M2SNET_STATUS_OK) {
        n.model = tiny_model(n.context);
        status = m2snet_session_create(n.model, NULL, &n.session, error);
    }
    for (int64_t i = 0; i < 2 && status == M2SNET_STATUS_OK; i++) { /* the second plan finds most of them chosen */
        status = m2snet_session_prepare(n.session, 1, f->side + 32 * (1 - i), f->side, NULL, error);
    }
    m2snet_cuda_run run = run_of(f, NULL);
    status = status == M2SNET_STATUS_OK ? m2snet_session_enqueue(n.session, &run, error) : status;
    *products = 0;
    for (int32_t i = 0; status == M2SNET_STATUS_OK && i < m2snet_session_step_count(n.session); i++) {
        m2snet_step_info info = { .struct_size = sizeof info };
        assert_int_equal(m2snet_session_step_info(n.session, i, &info, error), M2SNET_STATUS_OK);
        *products += strcmp(info.kernel, "product") == 0;
    }
    close_net(&n);
    return status;
}

static m2snet_status run_searched(m2snet_error *error)
{
    frame f = make_frame(64, 1u);
    int products;
    m2snet_status status = search_convolutions(true, 0, &f, &products, error);

    free_frame(&f);
    return status;
}

/* By own kernels, as matrix products, as what measuring finds, and by own kernels again where no product's workspace is
 * allowed: the same logits but for the order of sums. */
static void test_search(void **state)
{
    frame f = make_frame(64, 1u);
    size_t count = f.bytes / sizeof(float);
    int products;
    m2snet_error error;

    (void)state;
    OK(search_convolutions(false, 0, &f, &products, &error));
    assert_int_equal(products, 0);
    memcpy(f.truth, f.dst, f.bytes);
    assert_true(!is_untouched(&f));
    setenv("M2SNET_CUDA_PRODUCTS", "1", 1);
    for (int way = 0; way < 3; way++) {
        memset(f.dst, 0, f.bytes);
        OK(search_convolutions(way == 1, way == 2 ? 1024 : 0, &f, &products, &error));
        assert_true(way == 2 ? products == 0 : products > 20);
        for (size_t i = 0; i < count; i++) {
            assert_true(f.dst[i] - f.truth[i] < 1e-4f && f.truth[i] - f.dst[i] < 1e-4f);
        }
    }
    fail_in_turn(run_searched, 24, 307);
    unsetenv("M2SNET_CUDA_PRODUCTS");
    free_frame(&f);
}

/* ---- a lost device ---- */

/* The call in which it is lost says what happened; every later one, that it is lost; all ends without a leak. */
static void test_lost(void **state)
{
    const m2snet_status broken = M2SNET_STATUS_BACKEND;
    m2snet_image picture = noise_picture(70, 66);
    m2snet_error error;

    (void)state;
    for (int way = 0; way < 3; way++) {
        net n = open_net(M2SNET_PRECISION_F32);
        frame f = make_frame(64, 1u);
        void *stream = cuda_host.stream();
        m2snet_result *result = NULL;
        if (way > 0) {
            enqueue(&n, &f, stream);
        }
        cuda_host.calls(true);
        setenv(LOSE_AT, way == 1 ? "1" : "3", 1);
        if (way == 0) {
            REFUSE(m2snet_predict(n.session, &picture, NULL, &result, &error), broken, "lost to this process");
        } else if (way == 1) {
            REFUSE(m2snet_session_wait(n.session, &error), broken, "lost to this process");
        } else {
            m2snet_cuda_run run = run_of(&f, stream);
            REFUSE(m2snet_session_enqueue(n.session, &run, &error), broken, "lost to this process");
        }
        REFUSE(m2snet_predict(n.session, &picture, NULL, &result, &error), broken, "lost to this process");
        if (way != 1) { /* known by the device itself: it asks the runtime no more */
            unsetenv(LOSE_AT);
            REFUSE(m2snet_session_prepare(n.session, 1, 64, 96, NULL, &error), broken, "only a new process");
        }
        unsetenv(LOSE_AT);
        close_net(&n);
        cuda_host.end(stream);
        free_frame(&f);
        assert_int_equal(cuda_host.held(), 0);
    }
    free_picture(&picture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_a_row), cmocka_unit_test(test_branches_fail), cmocka_unit_test(test_enqueue),
        cmocka_unit_test(test_order),    cmocka_unit_test(test_refusals),      cmocka_unit_test(test_allocator),
        cmocka_unit_test(test_pictures), cmocka_unit_test(test_lost),          cmocka_unit_test(test_failing_enqueue),
        cmocka_unit_test(test_search),
    };
    int missing = find_stand_in();

    return missing != 0 ? missing : cmocka_run_group_tests(tests, NULL, NULL);
}
