/* SPDX-License-Identifier: Apache-2.0
 *
 * Measuring a model: from the file to the first mask, then every phase of a prediction, then every step of the plan. */
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "common/paths.h"

#define STEP_RUNS 5

bool another_run(const settings *set, size_t runs, double start_ms)
{
    return set->iterations != 0 ? runs < (size_t)set->iterations
                                : runs < MIN_RUNS || now_ms() - start_ms < 1e3 * set->seconds;
}

m2snet_status make_batch(const settings *set, m2snet_context *context, int64_t h, int64_t w, int32_t classes,
                         m2snet_tensor **src, m2snet_tensor **dst, m2snet_error *error)
{
    m2snet_dtype dtype = set->run.precision == M2SNET_PRECISION_F64 ? M2SNET_DTYPE_F64 : M2SNET_DTYPE_F32;
    m2snet_tensor_desc desc = { .dtype = dtype, .n = set->batch, .h = h, .w = w, .c = 3 };
    m2snet_status status = m2snet_tensor_create(context, &desc, NULL, src, error);

    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    for (int64_t i = 0; i < desc.n * desc.h * desc.w * desc.c; i++) {
        double value = 0.015 * (double)(i % 257) - 2.0; /* about the range of normalised pixels */

        if (dtype == M2SNET_DTYPE_F64) {
            ((double *)m2snet_tensor_data(*src))[i] = value;
        } else {
            ((float *)m2snet_tensor_data(*src))[i] = (float)value;
        }
    }
    desc.c = classes;
    return m2snet_tensor_create(context, &desc, NULL, dst, error);
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
        double asked = now_ms();
        status = m2snet_result_receipt(result, &receipt, error);
        bench->receipt_ms = now_ms() - asked;
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
    bench->first_receipt_ms = bench->receipt_ms;
    bench->first_mask_ms += now_ms() - load_clock - bench->receipt_ms;
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

    while (status == M2SNET_STATUS_OK && another_run(set, bench->runs, start_ms)) {
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
        status = make_batch(set, bench->context, bench->input_height, bench->input_width, bench->model_info.classes,
                            &bench->src, &bench->dst, error);
        if (status == M2SNET_STATUS_OK) { /* to have run once before it counts */
            status = predict(set, bench, false, error);
        }
    }
    return status;
}

m2snet_status run_bench(const settings *set, bench_state *bench, m2snet_error *error)
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

void bench_free(bench_state *bench)
{
    free(bench->steps);
    time_series_free(&bench->decode);
    time_series_free(&bench->pre);
    time_series_free(&bench->network);
    time_series_free(&bench->post);
    time_series_free(&bench->total);
    m2snet_tensor_destroy(bench->src);
    m2snet_tensor_destroy(bench->dst);
    m2snet_image_release(&bench->image);
    m2snet_session_destroy(bench->session);
    m2snet_model_destroy(bench->model);
    m2snet_context_destroy(bench->context);
}
