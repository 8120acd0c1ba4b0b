/* SPDX-License-Identifier: Apache-2.0
 * Times the network alone, or a training step, or whole predictions of RGB pictures of 1920x1080 with inputs made by
 * the device where it can (predict) or by the host (predict-host), of M2SNet with weights from a formula, on the
 * backend that M2SNET_TEST_BACKEND names (else cpu). gpu-measure [--steps] [--search] [--row]
 * network|step|predict|predict-host f32|f16|bf16|tf32 BATCH SIZE [SECONDS] prints: what, precision, batch, size, the
 * median and the least milliseconds of a run, pictures a second; with --steps also where the time goes, for predictions
 * what a picture's parts take. A network's lines also say how many launches its graph has, and how many of them lie one
 * after the other.
 * --search: a network's convolutions are chosen by measurement. --row: its launches come one after the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/training_fixture.h"
#include "net/network.h"
#include "run/pack_cache.h"
#include "run/predict.h"

#define MOST_RUNS    1000
#define MOST_KERNELS 128

static struct {
    bool steps, search, row;
    const char *what;
    m2snet_precision number;
    const char *precision;
    int64_t batch, size;
    double seconds;
} job = { .seconds = 2.0 };

static void expect_ok(m2snet_status status, const m2snet_error *error)
{
    if (status != M2SNET_STATUS_OK) {
        fail_msg("%s", error->message);
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* ---- where the time goes ---- */

typedef struct kernel_time {
    char name[96];
    int count;
    double ms;
} kernel_time;

static int by_time(const void *a, const void *b)
{
    double x = ((const kernel_time *)a)->ms, y = ((const kernel_time *)b)->ms;

    return x > y ? -1 : x < y;
}

static void print_steps(const m2s_program *program)
{
    static kernel_time by_kernel[MOST_KERNELS], slowest[4096];
    int kernels = 0, count = 0;
    m2s_step_info info;

    for (int32_t i = 0; m2s_program_step(program, i, &info) && count < 4096; i++) {
        int k = 0;
        double ms = (double)info.nanoseconds * 1e-6;
        while (k < kernels && strcmp(by_kernel[k].name, info.kernel) != 0) {
            k++;
        }
        if (k == kernels && kernels < MOST_KERNELS) {
            snprintf(by_kernel[kernels++].name, sizeof by_kernel[0].name, "%s", info.kernel);
        }
        if (k < MOST_KERNELS) {
            by_kernel[k].count++;
            by_kernel[k].ms += ms;
        }
        slowest[count].ms = ms;
        snprintf(slowest[count++].name, sizeof slowest[0].name, "%.50s: %.32s", info.name, info.kernel);
    }
    qsort(by_kernel, (size_t)kernels, sizeof by_kernel[0], by_time);
    qsort(slowest, (size_t)count, sizeof slowest[0], by_time);
    for (int k = 0; k < kernels && k < 25; k++) {
        printf("    %9.3f ms  %4d x %s\n", by_kernel[k].ms, by_kernel[k].count, by_kernel[k].name);
    }
    for (int k = 0; k < count && k < 15; k++) {
        printf("    %9.3f ms  %s\n", slowest[k].ms, slowest[k].name);
    }
}

/* ---- runs ---- */

static void measure(m2s_program *program, m2s_buffer *arena)
{
    static double ms[MOST_RUNS];
    m2snet_error error;
    int runs = 0;

    for (int i = 0; i < 3; i++) { /* the first loads, the second captures */
        expect_ok(m2s_program_run(program, arena, false, NULL, &error), &error);
    }
    uint64_t begin = m2s_now_ns();
    while (runs < MOST_RUNS && (runs < 3 || (double)(m2s_now_ns() - begin) < job.seconds * 1e9)) {
        uint64_t from = m2s_now_ns();
        expect_ok(m2s_program_run(program, arena, false, NULL, &error), &error);
        ms[runs++] = (double)(m2s_now_ns() - from) * 1e-6;
    }
    qsort(ms, (size_t)runs, sizeof ms[0], by_size);
    printf("%s %s batch %lld at %lld: median %.3f ms, least %.3f ms, %.1f pictures/s (%d runs)\n", job.what,
           job.precision, (long long)job.batch, (long long)job.size, ms[runs / 2], ms[0],
           1000.0 * (double)job.batch / ms[runs / 2], runs);
    if (job.steps) {
        expect_ok(m2s_program_run(program, arena, true, NULL, &error), &error);
        expect_ok(m2s_program_run(program, arena, true, NULL, &error), &error);
        print_steps(program);
    }
}

/* What the backend says of its graphs. */
static void print_line(void *user, m2snet_log_level level, const char *text)
{
    (void)user;
    (void)level;
    if (strstr(text, "graph of") != NULL || strstr(text, "in a row") != NULL || strstr(text, "no graph") != NULL) {
        printf("    %s\n", text);
    }
}

static void measure_network(void)
{
    m2snet_context_options options;
    m2snet_cuda_options cuda;
    m2snet_context *context;
    m2snet_error error;
    m2s_config config;
    m2s_graph *graph;
    m2s_program *program;
    m2s_pack_cache *packs;
    m2s_plan_info info;
    m2s_buffer *arena;

    m2s_config_default(&config);
    m2s_context_options_default(&options);
    m2s_cuda_options_default(&cuda);
    cuda.search = job.search;
    cuda.in_a_row = job.row;
    options.cuda = &cuda;
    options.log = print_line;
    options.log_level = M2SNET_LOG_DEBUG;
    options.backend = network_backend("cpu");
    expect_ok(m2s_context_create(&options, &context, &error), &error);
    m2s_store *store = network_weights(&context->memory, &config, RECIPE_PARITY);
    expect_ok(m2s_net_build(&context->memory, &config, job.batch, job.size, job.size, M2SNET_DTYPE_F32, &graph, &error),
              &error);
    expect_ok(m2s_pack_cache_create(&context->memory, &packs, &error), &error);
    uint64_t from = m2s_now_ns();
    expect_ok(m2s_program_create(context, graph, job.number, store, packs, NULL, &program, &error), &error);
    double seconds = (double)(m2s_now_ns() - from) * 1e-9;
    m2s_graph_destroy(graph);
    m2s_program_info(program, &info);
    printf("    %s, %s: %d steps, arena %.1f MB, weights %.1f MB, compiled in %.1f s\n", context->device_info.name,
           context->device_info.gemm_provider, (int)info.steps, (double)info.arena_bytes * 1e-6,
           (double)info.packed_bytes * 1e-6, seconds);
    expect_ok(context->backend->buffer_alloc(context->device, info.arena_bytes, &arena, &error), &error);
    void *image = network_input(&context->memory, RECIPE_PARITY, job.batch, job.size, job.size, M2SNET_DTYPE_F32);
    expect_ok(m2s_program_write(program, "image", image, &error), &error);
    m2s_free(&context->memory, image);
    measure(program, arena);
    context->backend->buffer_free(context->device, arena);
    m2s_program_destroy(program);
    m2s_pack_cache_destroy(packs);
    m2s_store_destroy(store);
    m2s_context_release(context);
}

static void measure_step(void)
{
    training_run run;
    m2s_config config;
    m2s_recipe recipe;

    m2s_config_default(&config);
    m2s_recipe_default(&recipe);
    recipe.scaled = job.number == M2SNET_PRECISION_F16;
    training_run_make(&run, "cpu", 8, M2SNET_DTYPE_F32, &config, RECIPE_PARITY, &recipe, job.batch, job.size, job.size);
    measure(run.program, run.arena);
    training_run_release(&run);
}

#define PICTURE_WIDTH  1920
#define PICTURE_HEIGHT 1080
#define MOST_PICTURES  64

static void predict_once(m2snet_session *session, const m2snet_image *images, m2snet_receipt *receipt)
{
    m2snet_result *results[MOST_PICTURES];
    m2snet_error error;

    expect_ok(m2s_session_enter(session, &error), &error);
    expect_ok(m2s_predict(session, images, (int32_t)job.batch, NULL, results, &error), &error);
    m2s_session_leave(session);
    *receipt = results[0]->receipt;
    for (int64_t i = 0; i < job.batch; i++) {
        m2s_result_destroy(results[i]);
    }
}

static void measure_predictions(bool on_host)
{
    static double ms[MOST_RUNS];
    const size_t bytes = (size_t)PICTURE_WIDTH * PICTURE_HEIGHT * 3;
    m2snet_context_options options;
    m2snet_session_options session_options;
    m2snet_context *context;
    m2snet_session *session;
    m2snet_model *model;
    m2snet_image images[MOST_PICTURES];
    m2snet_receipt receipt;
    m2snet_error error;
    m2s_backend changed;
    uint8_t *pixels = malloc(bytes);
    int runs = 0;

    assert_true(pixels != NULL && job.batch >= 1 && job.batch <= MOST_PICTURES);
    for (size_t i = 0; i < bytes; i++) {
        pixels[i] = (uint8_t)(i * 2654435761u >> 24);
    }
    for (int64_t i = 0; i < job.batch; i++) {
        images[i] = (m2snet_image){
            .data = pixels, .width = PICTURE_WIDTH, .height = PICTURE_HEIGHT, .format = M2SNET_PIXEL_RGB8
        };
    }
    m2s_context_options_default(&options);
    options.backend = network_backend("cpu");
    expect_ok(m2s_context_create(&options, &context, &error), &error);
    changed = *context->backend;
    changed.buffer_prepare = on_host ? NULL : changed.buffer_prepare;
    context->backend = &changed;
    expect_ok(m2s_model_create(context, "{}", 1, &model, &error), &error);
    m2s_session_options_default(&session_options);
    session_options.precision = job.number;
    session_options.input_width = session_options.input_height = (int32_t)job.size;
    expect_ok(m2s_session_create(model, &session_options, &session, &error), &error);
    for (int i = 0; i < 3; i++) {
        predict_once(session, images, &receipt);
    }
    uint64_t begin = m2s_now_ns();
    while (runs < MOST_RUNS && (runs < 3 || (double)(m2s_now_ns() - begin) < job.seconds * 1e9)) {
        uint64_t from = m2s_now_ns();
        predict_once(session, images, &receipt);
        ms[runs++] = (double)(m2s_now_ns() - from) * 1e-6;
    }
    qsort(ms, (size_t)runs, sizeof ms[0], by_size);
    if (job.steps) {
        printf("    the last run's first picture: preparation %.3f ms, network (of its run) %.3f ms, result %.3f ms\n",
               receipt.milliseconds_pre, receipt.milliseconds_network, receipt.milliseconds_post);
    }
    printf("%s %s batch %lld at %lld: median %.3f ms, least %.3f ms, %.1f pictures/s (%d runs)\n", job.what,
           job.precision, (long long)job.batch, (long long)job.size, ms[runs / 2], ms[0],
           1000.0 * (double)job.batch / ms[runs / 2], runs);
    m2s_session_destroy(session);
    m2s_model_release(model);
    m2s_context_release(context);
    free(pixels);
}

static void test_measure(void **state)
{
    (void)state;
    if (strncmp(job.what, "predict", 7) == 0) {
        measure_predictions(strcmp(job.what, "predict-host") == 0);
        return;
    }
    if (strcmp(job.what, "step") == 0) {
        measure_step();
    } else {
        measure_network();
    }
}

int main(int argc, char **argv)
{
    static const char *const words[] = { "f32", "f64", "f16", "bf16", "tf32" };
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_measure) };

    for (; argc > 1 && strncmp(argv[1], "--", 2) == 0; argv++, argc--) {
        job.steps = job.steps || strcmp(argv[1], "--steps") == 0;
        job.search = job.search || strcmp(argv[1], "--search") == 0;
        job.row = job.row || strcmp(argv[1], "--row") == 0;
    }
    if (argc < 5) {
        fprintf(stderr,
                "gpu-measure [--steps] [--search] [--row] network|step|predict|predict-host f32|f16|bf16|tf32 BATCH "
                "SIZE [SECONDS]\n");
        return 2;
    }
    job.what = argv[1];
    job.precision = argv[2];
    for (int i = 0; i < (int)(sizeof words / sizeof words[0]); i++) {
        job.number = strcmp(argv[2], words[i]) == 0 ? (m2snet_precision)i : job.number;
    }
    training_precision = job.number;
    job.batch = atoll(argv[3]);
    job.size = atoll(argv[4]);
    job.seconds = argc > 5 ? atof(argv[5]) : job.seconds;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
