/* SPDX-License-Identifier: Apache-2.0
 *
 * What is said of a measured model, as text or as JSON. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <sys/resource.h>

#include "bench.h"
#include "common/json_writer.h"

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

const char *precision_name(const settings *set)
{
    return run_precision_words[set->run.precision];
}

static void print_row(const char *name, time_summary time)
{
    printf("  %-10s %10.2f %10.2f %10.2f\n", name, time.median_ms, time.min_ms, time.p95_ms);
}

void print_text(const settings *set, bench_state *bench)
{
    figures f = summarise(bench);
    double sum_ms = step_total_ms(bench);

    printf("%s: %s, %s, input %" PRId32 " x %" PRId32 ", batch %" PRId64 ", %s\n", set->run.model,
           bench->model_info.architecture, bench->model_info.encoder, bench->input_width, bench->input_height,
           set->batch, precision_name(set));
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
    printf("\n  model load %.1f ms, load to first mask %.1f ms, its receipt %.1f ms later, second prediction %.1f ms\n",
           bench->load_ms, bench->first_mask_ms, bench->first_receipt_ms, bench->second_ms);
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

void print_json(const settings *set, bench_state *bench)
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
    json_string(&json, "precision", precision_name(set));
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
    json_number(&json, "first_receipt_ms", bench->first_receipt_ms);
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
