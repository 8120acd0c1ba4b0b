/* SPDX-License-Identifier: Apache-2.0
 *
 * m2snet-bench: how long a picture takes, phase by phase, next to what this machine can
 * do at most. */
#define _GNU_SOURCE 1
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/args.h"
#include "common/fma_peak.h"
#include "common/json_writer.h"
#include "common/paths.h"
#include "common/timing.h"
#include "m2snet.h"

const char *const program_name = "m2snet-bench";

static const char help[] =
    "Usage: m2snet-bench --model FILE [OPTION...]\n"
    "Times predictions: decode (the picture from memory), pre (resize, normalise), network, post (resize back,\n"
    "components), and the operations a second of the network next to the multiply-add peak of this machine,\n"
    "measured in the same process before and after.\n\n" RUN_OPTION_HELP
    "  --batch N           pictures in one run of the network, 1 to 64; default 1. Other times are of one picture\n"
    "  --image FILE        a PNG or JPEG picture; default: a synthetic one of 640x480\n"
    "  --seconds S         measure for at least S seconds and 3 runs; default 3\n"
    "  --iterations N      measure exactly N runs instead\n"
    "  --steps             also the time of every step of the plan\n"
    "  --json              one JSON object instead of text\n"
    "  --quiet             only errors (with --json: and the object)\n" COMMON_OPTION_HELP
    "Exit status: 0 done, 1 something failed, 2 the command line makes no sense.\n";

enum { OPTION_BATCH = 1, OPTION_IMAGE, OPTION_SECONDS, OPTION_ITERATIONS, OPTION_STEPS, OPTION_JSON, OPTION_QUIET };

static const struct option option_table[] = { { "batch", required_argument, NULL, OPTION_BATCH },
                                              { "image", required_argument, NULL, OPTION_IMAGE },
                                              { "seconds", required_argument, NULL, OPTION_SECONDS },
                                              { "iterations", required_argument, NULL, OPTION_ITERATIONS },
                                              { "steps", no_argument, NULL, OPTION_STEPS },
                                              { "json", no_argument, NULL, OPTION_JSON },
                                              { "quiet", no_argument, NULL, OPTION_QUIET },
                                              RUN_OPTION_ROWS,
                                              COMMON_OPTION_ROWS,
                                              { NULL, 0, NULL, 0 } };

#define MAX_BATCH       64
#define MIN_RUNS        3
#define DECODE_RUNS     15
#define STEP_RUNS       5
#define SYNTHETIC_WIDTH 640
#define SYNTHETIC_ROWS  480

typedef struct settings {
    run_options run;
    int64_t batch, iterations;
    double seconds;
    const char *image;
    bool steps, json, quiet;
    m2snet_predict_options predict;
} settings;

typedef struct step_times {
    m2snet_step_info info; /* its strings belong to the session */
    time_summary time;
} step_times;

/* All that is measured. */
typedef struct bench_state {
    m2snet_context *context;
    m2snet_model *model;
    m2snet_session *session;
    m2snet_image image;
    m2snet_tensor *src, *dst; /* of batches */
    m2snet_context_info context_info;
    m2snet_model_info model_info;
    m2snet_plan_info plan;
    int32_t input_width, input_height;
    double load_ms;       /* of the model file */
    double first_mask_ms; /* context, model, session, plan and the first prediction */
    double second_ms;     /* the prediction after that */
    time_series decode, pre, network, post, total;
    size_t runs;
    fma_peak peak_before, peak_after;
    step_times *steps;
    int32_t step_count;
} bench_state;

/* ---- The picture --------------------------------------------------------- */

/* Something like an endoscopic picture to a decoder and to the network: smooth shading, a bright blob, some noise. */
static void paint(uint8_t *pixels)
{
    uint32_t noise = 1;

    for (int y = 0; y < SYNTHETIC_ROWS; y++) {
        for (int x = 0; x < SYNTHETIC_WIDTH; x++) {
            double u = (x - 0.6 * SYNTHETIC_WIDTH) / 90.0;
            double v = (y - 0.5 * SYNTHETIC_ROWS) / 70.0;
            double blob = 60.0 * exp(-u * u - v * v);
            double shade = 110.0 + 40.0 * sin(0.011 * x) * cos(0.013 * y);
            uint8_t *pixel = pixels + 3 * ((size_t)y * SYNTHETIC_WIDTH + (size_t)x);

            noise = 1664525u * noise + 1013904223u;
            pixel[0] = (uint8_t)(shade + blob + (noise >> 29));
            pixel[1] = (uint8_t)(0.6 * shade + 0.8 * blob + (noise >> 27 & 3));
            pixel[2] = (uint8_t)(0.45 * shade + 0.5 * blob);
        }
    }
}

/* The synthetic picture as the bytes of a PNG file. */
static void *synthetic_png(m2snet_context *context, size_t *size_bytes)
{
    const char *temporary = getenv("TMPDIR");
    char *folder = format_text("%s/m2snet-bench-XXXXXX", temporary != NULL ? temporary : "/tmp");
    uint8_t *pixels = must_alloc(3u * SYNTHETIC_WIDTH * SYNTHETIC_ROWS);
    m2snet_image image = {
        .data = pixels, .width = SYNTHETIC_WIDTH, .height = SYNTHETIC_ROWS, .format = M2SNET_PIXEL_RGB8
    };
    m2snet_error error;
    void *png = NULL;

    paint(pixels);
    if (mkdtemp(folder) == NULL) {
        complain("%s: cannot make a temporary folder", folder);
    } else {
        char *path = format_text("%s/picture.png", folder);

        if (m2snet_image_write_png(context, path, &image, &error) != M2SNET_STATUS_OK) {
            library_error(path, &error);
        } else {
            png = read_whole_file(path, size_bytes);
        }
        unlink(path);
        rmdir(folder);
        free(path);
    }
    free(pixels);
    free(folder);
    return png;
}

/* Leaves the decoded picture in bench->image, and the times of decoding it. */
static bool load_picture(const settings *set, bench_state *bench)
{
    m2snet_image_read_options reading;
    size_t size_bytes = 0;
    m2snet_error error;
    bool fine;
    void *file =
        set->image != NULL ? read_whole_file(set->image, &size_bytes) : synthetic_png(bench->context, &size_bytes);

    if (file == NULL) {
        return false;
    }
    m2snet_image_read_options_init(&reading);
    reading.control = set->predict.control;
    fine = true;
    for (int i = 0; i < DECODE_RUNS && fine; i++) {
        double start = now_ms();

        m2snet_image_release(&bench->image);
        fine = m2snet_image_read_memory(bench->context, file, size_bytes, &reading, &bench->image, &error) ==
               M2SNET_STATUS_OK;
        time_series_add(&bench->decode, now_ms() - start);
    }
    if (!fine) {
        library_error(set->image, &error);
    }
    free(file);
    return fine;
}

/* ---- Measuring ----------------------------------------------------------- */

/* A batch for the network alone: normalised pixels in, logits out, both owned by the tensors. */
static m2snet_status make_batch(const settings *set, bench_state *bench, m2snet_error *error)
{
    m2snet_dtype dtype = set->run.precision == M2SNET_PRECISION_F64 ? M2SNET_DTYPE_F64 : M2SNET_DTYPE_F32;
    m2snet_tensor_desc desc = {
        .dtype = dtype, .n = set->batch, .h = bench->input_height, .w = bench->input_width, .c = 3
    };
    m2snet_status status = m2snet_tensor_create(bench->context, &desc, NULL, &bench->src, error);

    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    for (int64_t i = 0; i < desc.n * desc.h * desc.w * desc.c; i++) {
        double value = 0.015 * (double)(i % 257) - 2.0; /* about the range of normalised pixels */

        if (dtype == M2SNET_DTYPE_F64) {
            ((double *)m2snet_tensor_data(bench->src))[i] = value;
        } else {
            ((float *)m2snet_tensor_data(bench->src))[i] = (float)value;
        }
    }
    desc.c = bench->model_info.classes;
    return m2snet_tensor_create(bench->context, &desc, NULL, &bench->dst, error);
}

/* One prediction and, of batches, one run of the network; the times are added when record is set. */
static m2snet_status predict(const settings *set, bench_state *bench, bool record, m2snet_error *error)
{
    m2snet_result *result = NULL;
    m2snet_receipt receipt = { .struct_size = sizeof(receipt) };
    double start = now_ms();
    double total_ms;
    m2snet_status status = m2snet_predict(bench->session, &bench->image, &set->predict, &result, error);

    total_ms = now_ms() - start;
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_result_receipt(result, &receipt, error);
    }
    if (status == M2SNET_STATUS_OK && bench->src != NULL) {
        start = now_ms();
        status = m2snet_session_run(bench->session, bench->src, bench->dst, &set->predict.control, error);
        receipt.milliseconds_network = now_ms() - start;
    }
    if (status == M2SNET_STATUS_OK && record) {
        time_series_add(&bench->pre, receipt.milliseconds_pre);
        time_series_add(&bench->network, receipt.milliseconds_network);
        time_series_add(&bench->post, receipt.milliseconds_post);
        time_series_add(&bench->total, total_ms);
        bench->runs++;
    }
    m2snet_result_destroy(result);
    return status;
}

/* Context, model, session and the first masks. The picture is decoded in between, off the clock. */
static m2snet_status start(const settings *set, bench_state *bench, m2snet_error *error)
{
    m2snet_model_options loading;
    double clock = now_ms();
    double load_clock;
    m2snet_status status = open_context(&set->run, &bench->context, error);

    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    bench->first_mask_ms = now_ms() - clock;
    if (!load_picture(set, bench)) {
        *error = (m2snet_error){ .status = M2SNET_STATUS_IO, .message = "there is no picture to measure with" };
        return error->status;
    }
    m2snet_model_options_init(&loading);
    loading.control = set->predict.control;
    load_clock = now_ms();
    status = m2snet_model_load_file(bench->context, set->run.model, &loading, &bench->model, error);
    bench->load_ms = now_ms() - load_clock;
    if (status == M2SNET_STATUS_OK) {
        status = open_session(&set->run, bench->model, &bench->session, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = predict(set, bench, false, error);
    }
    bench->first_mask_ms += now_ms() - load_clock;
    if (status == M2SNET_STATUS_OK) {
        double second_clock = now_ms();

        status = predict(set, bench, false, error);
        bench->second_ms = now_ms() - second_clock;
    }
    return status;
}

static m2snet_status measure(const settings *set, bench_state *bench, m2snet_error *error)
{
    double start_ms = now_ms();
    m2snet_status status = M2SNET_STATUS_OK;

    while (status == M2SNET_STATUS_OK &&
           (set->iterations != 0 ? bench->runs < (size_t)set->iterations
                                 : bench->runs < MIN_RUNS || now_ms() - start_ms < 1e3 * set->seconds)) {
        status = predict(set, bench, true, error);
    }
    return status;
}

/* The plan's steps, each with its times over a few runs that are not part of the other figures: looking at the clock
 * between steps costs something too. */
static m2snet_status measure_steps(const settings *set, bench_state *bench, m2snet_error *error)
{
    time_series *times = NULL;
    m2snet_status status = m2snet_session_time_steps(bench->session, 1, error);

    for (int run = 0; run < STEP_RUNS && status == M2SNET_STATUS_OK; run++) {
        status = predict(set, bench, false, error);
        if (status == M2SNET_STATUS_OK && run == 0) {
            bench->step_count = m2snet_session_step_count(bench->session);
            bench->steps = must_alloc((size_t)bench->step_count * sizeof(*bench->steps));
            times = must_alloc((size_t)bench->step_count * sizeof(*times));
            memset(times, 0, (size_t)bench->step_count * sizeof(*times));
        }
        for (int32_t i = 0; i < bench->step_count && status == M2SNET_STATUS_OK; i++) {
            bench->steps[i].info.struct_size = sizeof(bench->steps[i].info);
            status = m2snet_session_step_info(bench->session, i, &bench->steps[i].info, error);
            time_series_add(&times[i], bench->steps[i].info.milliseconds);
        }
    }
    for (int32_t i = 0; i < bench->step_count; i++) {
        bench->steps[i].time = time_series_summary(&times[i]);
        time_series_free(&times[i]);
    }
    free(times);
    return status;
}

static m2snet_status describe(const settings *set, bench_state *bench, m2snet_error *error)
{
    m2snet_status status;

    bench->context_info.struct_size = sizeof(bench->context_info);
    bench->model_info.struct_size = sizeof(bench->model_info);
    bench->plan.struct_size = sizeof(bench->plan);
    status = m2snet_context_get_info(bench->context, &bench->context_info, error);
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_model_get_info(bench->model, &bench->model_info, error);
    }
    bench->input_width = set->run.width != 0 ? set->run.width : bench->model_info.input_width;
    bench->input_height = set->run.height != 0 ? set->run.height : bench->model_info.input_height;
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_session_plan_info(bench->session, set->batch, bench->input_height, bench->input_width,
                                          &bench->plan, error);
    }
    if (status == M2SNET_STATUS_OK && set->batch > 1) {
        status = make_batch(set, bench, error);
        if (status == M2SNET_STATUS_OK) { /* to have run once before it counts */
            status = predict(set, bench, false, error);
        }
    }
    return status;
}

static m2snet_status run_bench(const settings *set, bench_state *bench, m2snet_error *error)
{
    bool float64 = set->run.precision == M2SNET_PRECISION_F64;
    m2snet_status status = start(set, bench, error);

    if (status == M2SNET_STATUS_OK) {
        status = describe(set, bench, error);
    }
    if (status == M2SNET_STATUS_OK) {
        bench->peak_before = fma_peak_measure(bench->context_info.threads, float64);
        status = measure(set, bench, error);
        bench->peak_after = fma_peak_measure(bench->context_info.threads, float64);
    }
    if (status == M2SNET_STATUS_OK && set->steps) {
        status = measure_steps(set, bench, error);
    }
    if (status == M2SNET_STATUS_OK) { /* once more, for the memory peak */
        status = m2snet_context_get_info(bench->context, &bench->context_info, error);
    }
    return status;
}

/* ---- Report -------------------------------------------------------------- */

typedef struct figures {
    time_summary decode, pre, network, post, total;
    double gflops; /* of the network, 10^9 operations a second */
    fma_peak peak; /* the better of both measurements */
    double share;  /* NaN without a peak */
    double process_peak_bytes;
} figures;

static figures summarise(bench_state *bench)
{
    figures f = { .decode = time_series_summary(&bench->decode),
                  .pre = time_series_summary(&bench->pre),
                  .network = time_series_summary(&bench->network),
                  .post = time_series_summary(&bench->post),
                  .total = time_series_summary(&bench->total) };
    struct rusage usage;

    f.gflops = f.network.median_ms > 0.0 ? 2e-6 * (double)bench->plan.multiply_adds / f.network.median_ms : 0.0;
    f.peak = bench->peak_after.gflops > bench->peak_before.gflops ? bench->peak_after : bench->peak_before;
    f.share = f.peak.gflops > 0.0 ? f.gflops / f.peak.gflops : (double)NAN;
    getrusage(RUSAGE_SELF, &usage);
    f.process_peak_bytes = 1024.0 * (double)usage.ru_maxrss;
    return f;
}

static double step_total_ms(const bench_state *bench)
{
    double sum = 0.0;

    for (int32_t i = 0; i < bench->step_count; i++) {
        sum += bench->steps[i].time.median_ms;
    }
    return sum;
}

static void print_row(const char *name, time_summary time)
{
    printf("  %-10s %10.2f %10.2f %10.2f\n", name, time.median_ms, time.min_ms, time.p95_ms);
}

static void print_text(const settings *set, bench_state *bench)
{
    figures f = summarise(bench);
    double sum_ms = step_total_ms(bench);

    printf("%s: %s, %s, input %" PRId32 " x %" PRId32 ", batch %" PRId64 ", %s\n", set->run.model,
           bench->model_info.architecture, bench->model_info.encoder, bench->input_width, bench->input_height,
           set->batch, set->run.precision == M2SNET_PRECISION_F64 ? "f64" : "f32");
    printf("%s on %s, %s, %s, %" PRId32 " threads; picture %" PRId32 " x %" PRId32 "; %zu runs\n\n",
           bench->context_info.backend, bench->context_info.device, bench->context_info.instruction_set,
           bench->context_info.gemm_provider, bench->context_info.threads, bench->image.width, bench->image.height,
           bench->runs);
    printf("  ms             median        min        p95\n");
    print_row("decode", f.decode);
    print_row("pre", f.pre);
    print_row("network", f.network);
    print_row("post", f.post);
    print_row("predict", f.total);
    printf("\n  model load %.1f ms, load to first mask %.1f ms, second prediction %.1f ms\n", bench->load_ms,
           bench->first_mask_ms, bench->second_ms);
    printf("  network %.1f GFLOP/s (%.2f GFLOP of convolutions)", f.gflops, 2e-9 * (double)bench->plan.multiply_adds);
    if (f.peak.gflops > 0.0) {
        printf(", %.1f %% of the multiply-add peak of %.1f GFLOP/s (%s; %.1f before, %.1f after)", 100.0 * f.share,
               f.peak.gflops, f.peak.instruction_set, bench->peak_before.gflops, bench->peak_after.gflops);
    }
    printf("\n  memory: weights %.1f MB, packed weights %.1f MB, arena %.1f MB; peak of the context %.1f MB, of the "
           "process %.1f MB\n",
           1e-6 * (double)bench->model_info.weight_bytes, 1e-6 * (double)bench->plan.packed_weight_bytes,
           1e-6 * (double)bench->plan.arena_bytes, 1e-6 * (double)bench->context_info.memory_peak_bytes,
           1e-6 * f.process_peak_bytes);
    if (bench->step_count > 0) {
        printf("\n  %9s %6s %9s  %-28s %s\n", "ms", "share", "GFLOP/s", "step", "kernel");
    }
    for (int32_t i = 0; i < bench->step_count; i++) {
        const step_times *step = &bench->steps[i];
        double ms = step->time.median_ms;

        printf("  %9.3f %5.1f%% %9.1f  %-28s %s\n", ms, sum_ms > 0.0 ? 100.0 * ms / sum_ms : 0.0,
               ms > 0.0 ? 2e-6 * (double)step->info.multiply_adds / ms : 0.0, step->info.name, step->info.kernel);
    }
    if (bench->step_count > 0) {
        printf("  %9.3f        sum of %" PRId32 " steps\n", sum_ms, bench->step_count);
    }
}

static void json_times(json_writer *json, const char *key, time_summary time)
{
    json_open(json, key, '{');
    json_number(json, "median_ms", time.median_ms);
    json_number(json, "min_ms", time.min_ms);
    json_number(json, "p95_ms", time.p95_ms);
    json_close(json, '}');
}

static void json_steps(json_writer *json, const bench_state *bench)
{
    double sum_ms = step_total_ms(bench);

    json_open(json, "steps", '[');
    for (int32_t i = 0; i < bench->step_count; i++) {
        const step_times *step = &bench->steps[i];

        json_open(json, NULL, '{');
        json_string(json, "name", step->info.name);
        json_string(json, "kernel", step->info.kernel);
        json_integer(json, "multiply_adds", (int64_t)step->info.multiply_adds);
        json_number(json, "median_ms", step->time.median_ms);
        json_number(json, "share", step->time.median_ms / sum_ms);
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void print_json(const settings *set, bench_state *bench)
{
    figures f = summarise(bench);
    json_writer json;

    json_start(&json, stdout);
    json_open(&json, NULL, '{');
    json_string(&json, "library_version", m2snet_version_string());
    json_string(&json, "model", set->run.model);
    json_string(&json, "model_sha256", bench->model_info.sha256);
    json_string(&json, "architecture", bench->model_info.architecture);
    json_string(&json, "encoder", bench->model_info.encoder);
    json_integer(&json, "parameters", (int64_t)bench->model_info.parameters);
    json_string(&json, "backend", bench->context_info.backend);
    json_string(&json, "device", bench->context_info.device);
    json_string(&json, "instruction_set", bench->context_info.instruction_set);
    json_string(&json, "gemm_provider", bench->context_info.gemm_provider);
    json_string(&json, "precision", set->run.precision == M2SNET_PRECISION_F64 ? "f64" : "f32");
    json_integer(&json, "threads", bench->context_info.threads);
    json_integer(&json, "batch", set->batch);
    json_integer(&json, "input_width", bench->input_width);
    json_integer(&json, "input_height", bench->input_height);
    json_integer(&json, "image_width", bench->image.width);
    json_integer(&json, "image_height", bench->image.height);
    json_integer(&json, "iterations", (int64_t)bench->runs);
    json_open(&json, "load", '{');
    json_number(&json, "ms", bench->load_ms);
    json_close(&json, '}');
    json_number(&json, "first_mask_ms", bench->first_mask_ms);
    json_number(&json, "second_predict_ms", bench->second_ms);
    json_times(&json, "decode", f.decode);
    json_times(&json, "pre", f.pre);
    json_times(&json, "network", f.network);
    json_times(&json, "post", f.post);
    json_times(&json, "predict", f.total);
    json_integer(&json, "multiply_adds", (int64_t)bench->plan.multiply_adds);
    json_number(&json, "gflops", f.gflops);
    json_open(&json, "peak", '{');
    json_string(&json, "instruction_set", f.peak.instruction_set);
    json_number(&json, "gflops", f.peak.gflops);
    json_number(&json, "before_gflops", bench->peak_before.gflops);
    json_number(&json, "after_gflops", bench->peak_after.gflops);
    json_number(&json, "share", f.share);
    json_close(&json, '}');
    json_open(&json, "memory", '{');
    json_integer(&json, "weight_bytes", (int64_t)bench->model_info.weight_bytes);
    json_integer(&json, "packed_weight_bytes", (int64_t)bench->plan.packed_weight_bytes);
    json_integer(&json, "arena_bytes", (int64_t)bench->plan.arena_bytes);
    json_integer(&json, "context_peak_bytes", (int64_t)bench->context_info.memory_peak_bytes);
    json_integer(&json, "process_peak_bytes", (int64_t)f.process_peak_bytes);
    json_close(&json, '}');
    if (set->steps) {
        json_steps(&json, bench);
    }
    json_close(&json, '}');
}

/* ---- Command line -------------------------------------------------------- */

static bool parse_option(int option, settings *set)
{
    switch (option) {
    case OPTION_BATCH:
        return parse_integer("--batch", optarg, 1, MAX_BATCH, &set->batch);
    case OPTION_IMAGE:
        set->image = optarg;
        return true;
    case OPTION_SECONDS:
        return parse_number("--seconds", optarg, 0.0, 86400.0, &set->seconds);
    case OPTION_ITERATIONS:
        return parse_integer("--iterations", optarg, 1, 1000000, &set->iterations);
    case OPTION_STEPS:
        return set->steps = true;
    case OPTION_JSON:
        return set->json = true;
    case OPTION_QUIET:
        return set->quiet = true;
    default:
        return parse_run_option(option, optarg, &set->run);
    }
}

int main(int argc, char **argv)
{
    settings set = { .batch = 1, .seconds = 3.0 };
    bench_state bench = { 0 };
    m2snet_error error;
    int option;
    int code = EXIT_DONE;

    m2snet_predict_options_init(&set.predict);
    while ((option = getopt_long(argc, argv, "", option_table, NULL)) != -1) {
        if (option == OPTION_HELP) {
            fputs(help, stdout);
            return finish(EXIT_DONE);
        }
        if (option == OPTION_VERSION) {
            print_version();
            return finish(EXIT_DONE);
        }
        if (!parse_option(option, &set)) {
            return usage_hint();
        }
    }
    if (set.run.model == NULL) {
        return usage_error("--model is missing");
    }
    if (optind < argc) {
        return usage_error("%s: unexpected; a picture goes with --image", argv[optind]);
    }
    set.predict.control.cancel = interrupt_install();
    if (run_bench(&set, &bench, &error) != M2SNET_STATUS_OK) {
        code = library_error(set.run.model, &error);
    } else if (set.json) {
        print_json(&set, &bench);
    } else if (!set.quiet) {
        print_text(&set, &bench);
    }
    free(bench.steps);
    time_series_free(&bench.decode);
    time_series_free(&bench.pre);
    time_series_free(&bench.network);
    time_series_free(&bench.post);
    time_series_free(&bench.total);
    m2snet_tensor_destroy(bench.src);
    m2snet_tensor_destroy(bench.dst);
    m2snet_image_release(&bench.image);
    m2snet_session_destroy(bench.session);
    m2snet_model_destroy(bench.model);
    m2snet_context_destroy(bench.context);
    interrupt_remove(set.predict.control.cancel);
    return finish(code);
}
