/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of all configurations, as papers compare networks: parameters, multiply-adds, time, images a second.
 * Weights are drawn, since no time depends on them; parameters and multiply-adds leave out an ImageNet classifier and
 * the all-ones filters, which cost next to nothing by their rank-one identity. */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "common/json_writer.h"
#include "common/networks.h"

static const int32_t sides[] = { 256, 352 };

#define SIDES ((int)(sizeof sides / sizeof sides[0]))

typedef struct cell {
    uint64_t multiply_adds; /* of one image */
    size_t runs;
    time_summary time; /* of a batch */
} cell;

typedef struct table_row {
    named_network network;
    uint64_t parameters;
    cell cells[SIDES];
} table_row;

typedef struct table {
    m2snet_context_info context;
    fma_peak peak;
    table_row rows[NAMED_NETWORKS_MAX];
    int row_count;
} table;

static m2snet_status measure_cell(const settings *set, m2snet_context *context, m2snet_model *model, int32_t side,
                                  int32_t classes, cell *c, m2snet_error *error)
{
    m2snet_session *session = NULL;
    m2snet_tensor *src = NULL, *dst = NULL;
    time_series times = { 0 };
    m2snet_status status = m2snet_model_multiply_adds(model, side, side, &c->multiply_adds, error);

    if (status == M2SNET_STATUS_OK) {
        status = open_session(&set->run, model, &session, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = make_batch(set, context, side, side, classes, &src, &dst, error);
    }
    if (status == M2SNET_STATUS_OK) { /* the first run makes the plan */
        status = m2snet_session_run(session, src, dst, &set->predict.control, error);
    }
    for (double begin = now_ms(); status == M2SNET_STATUS_OK && another_run(set, c->runs, begin); c->runs++) {
        double start = now_ms();

        status = m2snet_session_run(session, src, dst, &set->predict.control, error);
        time_series_add(&times, now_ms() - start);
    }
    c->time = time_series_summary(&times);
    time_series_free(&times);
    m2snet_tensor_destroy(src);
    m2snet_tensor_destroy(dst);
    m2snet_session_destroy(session);
    return status;
}

static m2snet_status measure_row(const settings *set, m2snet_context *context, table_row *row, m2snet_error *error)
{
    m2snet_model *model = NULL;
    m2snet_model_info info = { .struct_size = sizeof(info) };
    m2snet_status status = m2snet_model_create(context, row->network.config, 1, &model, error);

    if (status == M2SNET_STATUS_OK) {
        status = m2snet_model_get_info(model, &info, error);
    }
    row->parameters = info.parameters;
    for (int i = 0; i < SIDES && status == M2SNET_STATUS_OK; i++) {
        status = measure_cell(set, context, model, sides[i], info.classes, &row->cells[i], error);
    }
    m2snet_model_destroy(model);
    return status;
}

/* ---- What is said of it ---- */

static double images_per_second(const settings *set, const cell *c)
{
    return c->time.median_ms > 0.0 ? 1e3 * (double)set->batch / c->time.median_ms : 0.0;
}

static double gflops(const settings *set, const cell *c)
{
    return 2e-9 * (double)c->multiply_adds * images_per_second(set, c);
}

static double share(const settings *set, const table *t, const cell *c)
{
    return t->peak.gflops > 0.0 ? gflops(set, c) / t->peak.gflops : (double)NAN;
}

static void print_head(const settings *set, const table *t)
{
    printf("%s on %s, %s, %s, %" PRId32 " threads, batch %" PRId64 ", %s; median of the network's runs\n",
           t->context.backend, t->context.device, t->context.instruction_set, t->context.gemm_provider,
           t->context.threads, set->batch, precision_name(set));
    if (t->peak.gflops > 0.0) {
        printf("multiply-add peak: %.1f GFLOP/s (%s)\n", t->peak.gflops, t->peak.instruction_set);
    }
    printf("\n%-30s %9s", "", "");
    for (int i = 0; i < SIDES; i++) {
        printf(" | %16s%3" PRId32 " x %-3" PRId32 "%12s", "", sides[i], sides[i], "");
    }
    printf("\n%-30s %9s", "network, encoder", "params M");
    for (int i = 0; i < SIDES; i++) {
        printf(" | %8s %9s %9s %7s", "GMAC", "ms", "images/s", "of peak");
    }
    printf("\n");
}

static void print_table(const settings *set, const table *t)
{
    print_head(set, t);
    for (int r = 0; r < t->row_count; r++) {
        const table_row *row = &t->rows[r];

        printf("%-30s %9.3f", row->network.name, 1e-6 * (double)row->parameters);
        for (int i = 0; i < SIDES; i++) {
            const cell *c = &row->cells[i];

            printf(" | %8.3f %9.2f %9.1f", 1e-9 * (double)c->multiply_adds, c->time.median_ms,
                   images_per_second(set, c));
            if (t->peak.gflops > 0.0) {
                printf(" %6.1f%%", 100.0 * share(set, t, c));
            } else {
                printf(" %7s", "-");
            }
        }
        printf("\n");
    }
}

static void json_cell(json_writer *json, const settings *set, const table *t, int32_t side, const cell *c)
{
    json_open(json, NULL, '{');
    json_integer(json, "width", side);
    json_integer(json, "height", side);
    json_integer(json, "multiply_adds", (int64_t)c->multiply_adds);
    json_integer(json, "iterations", (int64_t)c->runs);
    json_number(json, "median_ms", c->time.median_ms);
    json_number(json, "min_ms", c->time.min_ms);
    json_number(json, "p95_ms", c->time.p95_ms);
    json_number(json, "images_per_second", images_per_second(set, c));
    json_number(json, "gflops", gflops(set, c));
    json_number(json, "share", share(set, t, c));
    json_close(json, '}');
}

static void print_table_json(const settings *set, const table *t)
{
    json_writer json;

    json_start(&json, stdout);
    json_open(&json, NULL, '{');
    json_string(&json, "library_version", m2snet_version_string());
    json_string(&json, "backend", t->context.backend);
    json_string(&json, "device", t->context.device);
    json_string(&json, "instruction_set", t->context.instruction_set);
    json_string(&json, "gemm_provider", t->context.gemm_provider);
    json_string(&json, "precision", precision_name(set));
    json_integer(&json, "threads", t->context.threads);
    json_integer(&json, "batch", set->batch);
    json_open(&json, "peak", '{');
    json_string(&json, "instruction_set", t->peak.instruction_set);
    json_number(&json, "gflops", t->peak.gflops);
    json_close(&json, '}');
    json_open(&json, "table", '[');
    for (int r = 0; r < t->row_count; r++) {
        const table_row *row = &t->rows[r];

        json_open(&json, NULL, '{');
        json_string(&json, "name", row->network.name);
        json_integer(&json, "parameters", (int64_t)row->parameters);
        json_open(&json, "sizes", '[');
        for (int i = 0; i < SIDES; i++) {
            json_cell(&json, set, t, sides[i], &row->cells[i]);
        }
        json_close(&json, ']');
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_close(&json, '}');
}

/* ---- All of it ---- */

/* The better of two measurements is the peak: one before the rows, one after them. */
static void measure_peak(const settings *set, table *t)
{
    fma_peak peak = fma_peak_measure(t->context.threads, set->run.precision == M2SNET_PRECISION_F64);

    t->peak = peak.gflops > t->peak.gflops || t->peak.instruction_set == NULL ? peak : t->peak;
}

int run_table(const settings *set)
{
    table t = { .context = { .struct_size = sizeof(t.context) } };
    m2snet_context *context = NULL;
    m2snet_error error;
    int code = EXIT_DONE;
    m2snet_status status = open_context(&set->run, &context, &error);

    if (status == M2SNET_STATUS_OK) {
        status = m2snet_context_get_info(context, &t.context, &error);
    }
    if (status == M2SNET_STATUS_OK) {
        measure_peak(set, &t);
    }
    for (int n = 0; status == M2SNET_STATUS_OK && named_network_at(n, &t.rows[t.row_count].network); n++) {
        if (set->table_part == NULL || strstr(t.rows[t.row_count].network.name, set->table_part) != NULL) {
            status = measure_row(set, context, &t.rows[t.row_count], &error);
            t.row_count++;
        }
    }
    if (status == M2SNET_STATUS_OK) {
        measure_peak(set, &t);
    }
    if (status != M2SNET_STATUS_OK) {
        code = library_error(NULL, &error);
    } else if (t.row_count == 0) {
        code = usage_error("--table=%s: no configuration has that in its name", set->table_part);
    } else if (set->json) {
        print_table_json(set, &t);
    } else if (!set->quiet) {
        print_table(set, &t);
    }
    m2snet_context_destroy(context);
    return code;
}
