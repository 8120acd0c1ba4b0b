/* SPDX-License-Identifier: Apache-2.0
 * The parts of m2snet-bench: the picture (bench_picture.c), measuring a model (bench_measure.c) and what is said of it
 * (bench_report.c), the table of all configurations (bench_table.c), and steps of training (bench_training.c). */
#ifndef EXAMPLES_BENCH_H
#define EXAMPLES_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/args.h"
#include "common/fma_peak.h"
#include "common/timing.h"
#include "m2snet.h"

#define MIN_RUNS 3 /* of whatever is timed, unless --iterations says how many */

typedef struct settings {
    run_options run;
    int64_t batch, iterations; /* iterations 0: as many as seconds allow */
    double seconds;
    bool seconds_given;
    const char *image;
    bool steps, json, quiet;
    bool table;
    const char *table_part; /* only configurations whose name holds this; NULL = all */
    bool train;
    const char *lossnet; /* of training: NULL = none, "random[:FAMILY]" = drawn weights, else a file */
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
    double receipt_ms;    /* of the last prediction's receipt */
    double first_receipt_ms;
    double second_ms; /* the prediction after that */
    time_series decode, pre, network, post, total;
    size_t runs;
    fma_peak peak_before, peak_after;
    step_times *steps;
    int32_t step_count;
} bench_state;

/* ---- bench_picture.c ---- */

/* Leaves the decoded picture in bench->image, and the times of decoding it. False after a complaint. */
bool load_picture(const settings *set, bench_state *bench);

/* ---- bench_measure.c ---- */

/* Fills in bench, which the caller frees, also after a failure. */
m2snet_status run_bench(const settings *set, bench_state *bench, m2snet_error *error);
void bench_free(bench_state *bench);

/* Whether another run is due after `runs` of them since start_ms. */
bool another_run(const settings *set, size_t runs, double start_ms);
/* A batch for the network alone: normalised pixels in (h x w x 3), room for logits out (h x w x classes). */
m2snet_status make_batch(const settings *set, m2snet_context *context, int64_t h, int64_t w, int32_t classes,
                         m2snet_tensor **src, m2snet_tensor **dst, m2snet_error *error);

/* ---- bench_report.c ---- */

void print_text(const settings *set, bench_state *bench);
void print_json(const settings *set, bench_state *bench);
const char *precision_name(const settings *set);

/* ---- bench_table.c ---- */

/* Measures and prints every configuration. Returns an exit code. */
int run_table(const settings *set);

/* ---- bench_training.c ---- */

/* Measures and reports training steps. Returns an exit code. */
int run_training(const settings *set);

#endif
