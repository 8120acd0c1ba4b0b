/* SPDX-License-Identifier: Apache-2.0 */
#include "common/golden_gradients.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/encoder.h"
#include "net/names.h"

#define MOST_ROWS 1000

static golden_row rows[MOST_ROWS];
static int row_count;

void golden_read(const char *network)
{
    char path[512], line[4096];

    row_count = 0;
    snprintf(path, sizeof path, "%s/golden/%s_training.tsv", M2S_TEST_DATA, network);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        golden_row *r = &rows[row_count];
        int used = 0;
        if (sscanf(line, "%95s %*s %lf %lf %lf%n", r->tag, &r->sum, &r->sum_sq, &r->deviation, &used) != 4) {
            continue;
        }
        const char *p = line + used;
        int more = 0;
        for (r->samples = 0; r->samples < GOLDEN_SAMPLES; r->samples++, p += more) {
            if (sscanf(p, " %ld:%lf%n", &r->index[r->samples], &r->value[r->samples], &more) != 2) {
                break;
            }
        }
        assert_true(r->samples >= 1);
        assert_true(++row_count < MOST_ROWS);
    }
    fclose(file);
}

const golden_row *golden_find(const char *tag)
{
    for (int i = 0; i < row_count; i++) {
        if (strcmp(rows[i].tag, tag) == 0) {
            return &rows[i];
        }
    }
    fail_msg("there is no row %s", tag);
    return NULL;
}

const golden_row *golden_row_at(int i)
{
    return i < row_count ? &rows[i] : NULL;
}

/* Relative L2 distance as far as a row tells: of its samples against numbers of average size, and of the norm. */
static double distance_to(const golden_row *r, const double *numbers, int64_t count)
{
    double sum_sq = 0.0, difference = 0.0;

    for (int64_t i = 0; i < count; i++) {
        sum_sq += numbers[i] * numbers[i];
    }
    for (int i = 0; i < r->samples; i++) {
        assert_true(r->index[i] < count);
        double d = numbers[r->index[i]] - r->value[i];
        difference += d * d;
    }
    double rms = sqrt(r->sum_sq / (double)count) + 1e-300;
    double few = sqrt(difference / (double)r->samples) / rms;
    double whole = fabs(sqrt(sum_sq) - sqrt(r->sum_sq)) / (sqrt(r->sum_sq) + 1e-300);
    return few > whole ? few : whole;
}

static double allowed(const golden_row *r, golden_bound b)
{
    return b.relative + b.deviations * r->deviation + (b.deviations > 0.0 ? 1e-6 : 0.0);
}

/* Returns whether the row is within its golden_bound but for a kink. */
bool golden_expect(const char *network, const golden_row *r, const double *numbers, int64_t count, golden_bound b,
                   double *worst)
{
    double distance = distance_to(r, numbers, count), most = allowed(r, b);

    if (!(distance <= (most > b.kinked ? most : b.kinked))) {
        fail_msg("%s %s: relative distance %.3e, allowed %.3e", network, r->tag, distance, most);
    }
    *worst = distance > *worst ? distance : *worst;
    return distance <= most;
}

int golden_compare(const char *network, const char *encoder, const training_run *run, const char *mode, golden_bound b,
                   int *kinked)
{
    char prefix[32];
    double worst = 0.0;
    int gradients = 0, beyond = 0;

    snprintf(prefix, sizeof prefix, "%s.grad.", mode);
    for (int i = 0; i < row_count; i++) {
        if (strncmp(rows[i].tag, prefix, strlen(prefix)) == 0) {
            char name[128];
            int64_t count;
            const char *key = rows[i].tag + strlen(prefix);
            size_t skip = m2s_name_encoder_prefix(key); /* "resnet." in the files of every encoder */
            snprintf(name, sizeof name, M2S_GRADIENT "%s%s%s", skip > 0 ? encoder : "", skip > 0 ? "." : "",
                     key + skip);
            double *gradient = training_run_output(run, name, &count);
            beyond += golden_expect(network, &rows[i], gradient, count, b, &worst) ? 0 : 1;
            free(gradient);
            gradients++;
        }
    }
    printf("    %s, %s: %d gradients, worst relative distance %.2e, %d show a kink\n", network, mode, gradients, worst,
           beyond);
    *kinked += beyond;
    return gradients;
}

void golden_compare_scalar(const char *network, const training_run *run, const char *name, const char *tag,
                           golden_bound b)
{
    double value = training_run_scalar(run, name), worst = 0.0;

    b.kinked = 0.0;
    golden_expect(network, golden_find(tag), &value, 1, b, &worst);
}

void golden_start(training_run *run, const char *backend, m2snet_dtype dtype, const m2s_config *config, bool frozen,
                  bool lossnet)
{
    m2s_recipe recipe;

    m2s_recipe_default(&recipe);
    recipe.freeze_batch_norm = frozen;
    recipe.keep_gradients = true;
    recipe.encoder_rate = 1.0;
    if (lossnet) {
        recipe.objective.lossnet = m2s_lossnet_family_of("vgg16");
        recipe.objective.weight[M2S_TERM_LOSSNET] = 0.1;
    }
    training_run_make(run, backend, 2, dtype, config, RECIPE_GOLDEN, &recipe, 2, 128, 128);
    training_run_step(run);
}

void golden_configure(m2s_config *config, const golden_network *network)
{
    m2snet_error error;

    m2s_config_default(config);
    if (m2s_config_parse(config, network->json, strlen(network->json), NULL, NULL, &error) != M2SNET_STATUS_OK) {
        fail_msg("%s: %s", network->name, error.message);
    }
}

int golden_compare_frozen(const golden_network *network, const char *backend, m2snet_dtype dtype, golden_bound b)
{
    m2s_config config;
    training_run run;
    int kinked = 0;

    golden_read(network->name);
    golden_configure(&config, network);
    golden_start(&run, backend, dtype, &config, true, false);
    golden_compare_scalar(network->name, &run, "loss", "eval.structure_loss.fixed", b);
    assert_int_equal(golden_compare(network->name, m2s_encoder_of(&config)->prefix, &run, "eval", b, &kinked),
                     network->gradients);
    training_run_release(&run);
    return kinked;
}
