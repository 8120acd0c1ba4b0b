/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/json_writer.h"
#include "common/paths.h"

#define RATE 1e-4 /* small, so that drawn weights stay finite however long it runs */

/* The plan's steps of one kernel together. */
typedef struct kernel_time {
    char kernel[64];
    double ms;
    uint64_t multiply_adds;
    int32_t count;
} kernel_time;

typedef struct training_bench {
    m2snet_context *context;
    m2snet_model *model;
    m2snet_lossnet *lossnet;
    m2snet_trainer *trainer;
    m2snet_tensor *images, *masks;
    m2snet_context_info context_info;
    m2snet_model_info model_info;
    m2snet_plan_info plan;
    int32_t width, height;
    double first_ms; /* compiles the plan */
    time_series step;
    fma_peak peak;
    kernel_time *kernels;
    int32_t kernel_count;
} training_bench;

/* Noise for pictures, a disc for masks: what a step takes does not depend on them. */
static void fill(training_bench *bench, int64_t batch)
{
    float *images = m2snet_tensor_data(bench->images), *masks = m2snet_tensor_data(bench->masks);
    uint32_t noise = 1;

    for (int64_t b = 0; b < batch; b++) {
        for (int32_t y = 0; y < bench->height; y++) {
            for (int32_t x = 0; x < bench->width; x++) {
                double u = (x - 0.4 * bench->width) / bench->width, v = (y - 0.5 * bench->height) / bench->height;
                *masks++ = u * u + v * v < 0.04 ? 1.0f : 0.0f;
                for (int c = 0; c < 3; c++) {
                    noise = 1664525u * noise + 1013904223u;
                    *images++ = (float)(noise >> 8) / 4194304.0f - 2.0f;
                }
            }
        }
    }
}

static m2snet_status make_tensors(const settings *set, training_bench *bench, m2snet_error *error)
{
    m2snet_tensor_desc desc = {
        .dtype = M2SNET_DTYPE_F32, .n = set->batch, .h = bench->height, .w = bench->width, .c = 3
    };
    m2snet_status status = m2snet_tensor_create(bench->context, &desc, NULL, &bench->images, error);

    if (status == M2SNET_STATUS_OK) {
        desc.c = bench->model_info.classes;
        status = m2snet_tensor_create(bench->context, &desc, NULL, &bench->masks, error);
    }
    if (status == M2SNET_STATUS_OK && desc.c == 1) {
        fill(bench, set->batch);
    }
    return status;
}

static m2snet_status open_lossnet(const settings *set, training_bench *bench, m2snet_error *error)
{
    if (set->lossnet == NULL) {
        return M2SNET_STATUS_OK;
    }
    bool drawn = strncmp(set->lossnet, "random", 6) == 0 && (set->lossnet[6] == '\0' || set->lossnet[6] == ':');
    return drawn ? m2snet_lossnet_create(bench->context, set->lossnet[6] == ':' ? set->lossnet + 7 : NULL, 1,
                                         &bench->lossnet, error)
                 : m2snet_lossnet_load_file(bench->context, set->lossnet, NULL, &bench->lossnet, error);
}

static m2snet_status start(const settings *set, training_bench *bench, m2snet_error *error)
{
    m2snet_objective_options objective;
    m2snet_trainer_options trainer;
    m2snet_status status = open_context(&set->run, &bench->context, error);

    bench->context_info.struct_size = sizeof bench->context_info;
    bench->model_info.struct_size = sizeof bench->model_info;
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_model_load_file(bench->context, set->run.model, NULL, &bench->model, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_model_get_info(bench->model, &bench->model_info, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = open_lossnet(set, bench, error);
    }
    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    bench->width = set->run.width > 0 ? set->run.width : bench->model_info.input_width;
    bench->height = set->run.height > 0 ? set->run.height : bench->model_info.input_height;
    m2snet_objective_options_init(&objective);
    m2snet_trainer_options_init(&trainer);
    objective.lossnet = bench->lossnet;
    trainer.objective = &objective;
    trainer.precision = set->run.precision;
    status = m2snet_trainer_create(bench->model, &trainer, &bench->trainer, error);
    return status == M2SNET_STATUS_OK ? make_tensors(set, bench, error) : status;
}

static m2snet_status step(const settings *set, training_bench *bench, double *ms, m2snet_error *error)
{
    m2snet_control control = { .cancel = set->predict.control.cancel };
    double begin = now_ms();
    m2snet_status status =
        m2snet_trainer_step(bench->trainer, bench->images, bench->masks, RATE, NULL, &control, error);

    *ms = now_ms() - begin;
    return status;
}

static void add_kernel(training_bench *bench, const m2snet_step_info *info)
{
    int32_t k = 0;

    while (k < bench->kernel_count && strcmp(bench->kernels[k].kernel, info->kernel) != 0) {
        k++;
    }
    kernel_time *kernel = &bench->kernels[k];
    if (k == bench->kernel_count) {
        *kernel = (kernel_time){ 0 };
        snprintf(kernel->kernel, sizeof kernel->kernel, "%s", info->kernel);
        bench->kernel_count++;
    }
    kernel->ms += info->milliseconds;
    kernel->multiply_adds += info->multiply_adds;
    kernel->count++;
}

static int dearer(const void *a, const void *b)
{
    double p = ((const kernel_time *)a)->ms, q = ((const kernel_time *)b)->ms;

    return p < q ? 1 : p > q ? -1 : 0;
}

/* One more step, with the time of each of its plan's steps. */
static m2snet_status measure_kernels(const settings *set, training_bench *bench, m2snet_error *error)
{
    double ms;
    m2snet_status status = m2snet_trainer_time_steps(bench->trainer, 1, error);

    if (status == M2SNET_STATUS_OK) {
        status = step(set, bench, &ms, error);
    }
    int32_t count = m2snet_trainer_step_count(bench->trainer);
    bench->kernels = must_alloc(((size_t)count + 1) * sizeof *bench->kernels);
    for (int32_t i = 0; i < count && status == M2SNET_STATUS_OK; i++) {
        m2snet_step_info info = { .struct_size = sizeof info };
        status = m2snet_trainer_step_info(bench->trainer, i, &info, error);
        if (status == M2SNET_STATUS_OK) {
            add_kernel(bench, &info);
        }
    }
    qsort(bench->kernels, (size_t)bench->kernel_count, sizeof *bench->kernels, dearer);
    return status;
}

static m2snet_status measure(const settings *set, training_bench *bench, m2snet_error *error)
{
    double ms;
    m2snet_status status = start(set, bench, error);

    if (status == M2SNET_STATUS_OK) {
        status = step(set, bench, &bench->first_ms, error);
    }
    double begin = now_ms();
    while (status == M2SNET_STATUS_OK && another_run(set, bench->step.count, begin)) {
        status = step(set, bench, &ms, error);
        if (status == M2SNET_STATUS_OK) {
            time_series_add(&bench->step, ms);
        }
    }
    bench->plan.struct_size = sizeof bench->plan;
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_trainer_plan_info(bench->trainer, set->batch, bench->height, bench->width, &bench->plan, error);
    }
    if (status == M2SNET_STATUS_OK && set->steps) {
        status = measure_kernels(set, bench, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_context_get_info(bench->context, &bench->context_info, error);
        bench->peak = fma_peak_measure(bench->context_info.threads, set->run.precision == M2SNET_PRECISION_F64);
    }
    return status;
}

/* ---- report ---- */

typedef struct training_figures {
    time_summary step;
    double images_per_second, gflops, share, process_peak_bytes;
} training_figures;

static training_figures summarise(const settings *set, training_bench *bench)
{
    training_figures f = { .step = time_series_summary(&bench->step) };
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    f.images_per_second = f.step.median_ms > 0.0 ? 1e3 * (double)set->batch / f.step.median_ms : 0.0;
    f.gflops = f.step.median_ms > 0.0 ? 2e-6 * (double)bench->plan.multiply_adds / f.step.median_ms : 0.0;
    f.share = bench->peak.gflops > 0.0 ? f.gflops / bench->peak.gflops : 0.0;
    f.process_peak_bytes = 1024.0 * (double)usage.ru_maxrss;
    return f;
}

static void print_training(const settings *set, training_bench *bench)
{
    training_figures f = summarise(set, bench);
    double sum_ms = 0.0;

    printf("training %s: %s, %s, %" PRId32 " x %" PRId32 ", batch %" PRId64 ", loss network %s\n", set->run.model,
           bench->model_info.architecture, bench->model_info.encoder, bench->width, bench->height, set->batch,
           set->lossnet != NULL ? set->lossnet : "none");
    printf("%s on %s, %s, %s, %" PRId32 " threads; %zu steps\n\n", bench->context_info.backend,
           bench->context_info.device, bench->context_info.instruction_set, bench->context_info.gemm_provider,
           bench->context_info.threads, bench->step.count);
    printf("  step %.1f ms median, %.1f min, %.1f p95; %.2f images/s; the first step, which compiles, %.1f ms\n",
           f.step.median_ms, f.step.min_ms, f.step.p95_ms, f.images_per_second, bench->first_ms);
    printf("  %.1f GFLOP/s (%.1f GFLOP of convolutions), %.1f %% of the multiply-add peak of %.1f GFLOP/s\n", f.gflops,
           2e-9 * (double)bench->plan.multiply_adds, 100.0 * f.share, bench->peak.gflops);
    printf("  memory: arena %.1f MB; peak of the context %.1f MB, of the process %.1f MB\n",
           1e-6 * (double)bench->plan.arena_bytes, 1e-6 * (double)bench->context_info.memory_peak_bytes,
           1e-6 * f.process_peak_bytes);
    for (int32_t k = 0; k < bench->kernel_count; k++) {
        sum_ms += bench->kernels[k].ms;
    }
    for (int32_t k = 0; k < bench->kernel_count; k++) {
        const kernel_time *kernel = &bench->kernels[k];
        printf("  %9.2f ms %5.1f %% %5" PRId32 " x %8.1f GFLOP/s  %s\n", kernel->ms, 100.0 * kernel->ms / sum_ms,
               kernel->count, kernel->ms > 0.0 ? 2e-6 * (double)kernel->multiply_adds / kernel->ms : 0.0,
               kernel->kernel);
    }
}

static void print_training_json(const settings *set, training_bench *bench)
{
    training_figures f = summarise(set, bench);
    json_writer json;

    json_start(&json, stdout);
    json_open(&json, NULL, '{');
    json_string(&json, "library_version", m2snet_version_string());
    json_string(&json, "model", set->run.model);
    json_string(&json, "encoder", bench->model_info.encoder);
    json_string(&json, "lossnet", set->lossnet);
    json_string(&json, "device", bench->context_info.device);
    json_string(&json, "instruction_set", bench->context_info.instruction_set);
    json_integer(&json, "threads", bench->context_info.threads);
    json_integer(&json, "batch", set->batch);
    json_integer(&json, "width", bench->width);
    json_integer(&json, "height", bench->height);
    json_integer(&json, "steps", (int64_t)bench->step.count);
    json_number(&json, "images_per_second", f.images_per_second);
    json_number(&json, "step_median_ms", f.step.median_ms);
    json_number(&json, "step_min_ms", f.step.min_ms);
    json_number(&json, "first_step_ms", bench->first_ms);
    json_number(&json, "gflops", f.gflops);
    json_number(&json, "peak_gflops", bench->peak.gflops);
    json_number(&json, "arena_bytes", (double)bench->plan.arena_bytes);
    json_number(&json, "context_peak_bytes", (double)bench->context_info.memory_peak_bytes);
    json_number(&json, "process_peak_bytes", f.process_peak_bytes);
    json_open(&json, "kernels", '[');
    for (int32_t k = 0; k < bench->kernel_count; k++) {
        json_open(&json, NULL, '{');
        json_string(&json, "kernel", bench->kernels[k].kernel);
        json_integer(&json, "count", bench->kernels[k].count);
        json_number(&json, "ms", bench->kernels[k].ms);
        json_integer(&json, "multiply_adds", (int64_t)bench->kernels[k].multiply_adds);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_close(&json, '}');
}

int run_training(const settings *set)
{
    training_bench bench = { 0 };
    m2snet_error error;
    int code = EXIT_DONE;

    if (measure(set, &bench, &error) != M2SNET_STATUS_OK) {
        code = library_error(set->run.model, &error);
    } else if (set->json) {
        print_training_json(set, &bench);
    } else if (!set->quiet) {
        print_training(set, &bench);
    }
    free(bench.kernels);
    time_series_free(&bench.step);
    m2snet_tensor_destroy(bench.images);
    m2snet_tensor_destroy(bench.masks);
    m2snet_trainer_destroy(bench.trainer);
    m2snet_lossnet_destroy(bench.lossnet);
    m2snet_model_destroy(bench.model);
    m2snet_context_destroy(bench.context);
    return code;
}
