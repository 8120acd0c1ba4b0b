/* SPDX-License-Identifier: Apache-2.0
 * The keys of encoders against tables made from the official files (tests/data/keys): every one of them is a parameter
 * of the network in the file's shape, the network has no others, and all key families are read: as a whole model, and
 * as a classifier's file that a new model begins with. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "net/encoder.h"
#include "net/names.h"
#include "net/network.h"
#include "run/fit.h"
#include "run/model.h"
#include "weights/safetensors.h"

#define MOST_COLUMNS 8

static const struct {
    const char *encoder;
    int families; /* columns of names: official, then others */
    int keys;     /* of the encoder, without the classifier */
    const char *classifier[2];
    const char *small; /* configuration of a small network of the family */
    const char *key;   /* one of its keys, whose other name is not the same, with its shape */
} encoders[] = {
    { "convnext_base",
      3,
      340,
      { "norm.", "head." },
      "{\"encoder\":\"convnext\",\"encoder_shape\":{\"blocks\":[2,1,2,1],\"channels\":[8,12,16,20]},"
      "\"pyramid_channels\":8,\"input_size\":64}",
      "encoder.stages.2.1.pwconv1.bias 64" },
    { "pvt_v2_b4",
      2,
      832,
      { "head." },
      "{\"encoder\":\"pvt_v2\",\"encoder_shape\":{\"blocks\":[2,1,2,1],\"channels\":[8,12,20,16],"
      "\"widening\":[2,3,2,1]},\"pyramid_channels\":8,\"input_size\":64}",
      "encoder.block3.1.mlp.dwconv.dwconv.bias 40" },
};

typedef struct key_table {
    int columns, families;
    int rows;
    char *text;
    char *cell[1000][MOST_COLUMNS];
} key_table;

static bool is_classifier(size_t e, const char *key)
{
    for (int i = 0; i < 2; i++) {
        const char *begin = encoders[e].classifier[i];
        if (begin != NULL && strncmp(key, begin, strlen(begin)) == 0) {
            return true;
        }
    }
    return false;
}

/* The rows of the encoder itself. */
static void read_table(size_t e, key_table *t)
{
    char path[512];

    *t = (key_table){ .families = encoders[e].families };
    snprintf(path, sizeof path, "%s/keys/%s.tsv", M2S_TEST_DATA, encoders[e].encoder);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    t->text = calloc(1, 1 << 20);
    assert_non_null(t->text);
    assert_true(fread(t->text, 1, (1 << 20) - 1, file) > 0);
    fclose(file);
    int line_number = 0;
    for (char *line = t->text, *next; line != NULL && *line != '\0'; line = next, line_number++) {
        next = strchr(line, '\n');
        if (next != NULL) {
            *next++ = '\0';
        }
        if (line_number == 0) {
            continue;
        }
        int columns = 0;
        for (char *cell = line; cell != NULL && columns < MOST_COLUMNS; columns++) {
            t->cell[t->rows][columns] = cell;
            cell = strchr(cell, '\t');
            if (cell != NULL) {
                *cell++ = '\0';
            }
        }
        t->columns = columns;
        t->rows += is_classifier(e, t->cell[t->rows][0]) ? 0 : 1;
    }
    assert_int_equal(t->rows, encoders[e].keys);
}

/* The shape of row r in family f: the last columns, as many as there are; the first stands for those that are not. */
static int32_t shape_of(const key_table *t, int r, int f, int64_t dims[4])
{
    int shapes = t->columns - t->families;
    int column = t->families + (f == 0 ? 0 : f < t->families - 1 || shapes == 1 ? 0 : shapes - 1);
    const char *text = t->cell[r][column];
    int32_t rank = 0;

    for (const char *p = text; rank < 4; p++) {
        char *end;
        dims[rank++] = strtoll(p, &end, 10);
        assert_true(end != p);
        p = end;
        if (*p != 'x') {
            break;
        }
    }
    return rank;
}

static m2s_graph *network(size_t e, m2s_memory *memory, m2s_config *config)
{
    m2s_graph *graph;
    m2snet_error error;

    m2s_memory_init(memory, NULL, 0);
    m2s_config_default(config);
    assert_true(m2s_config_set_encoder(config, encoders[e].encoder));
    OK(m2s_net_build(memory, config, 1, 64, 64, M2SNET_DTYPE_F32, &graph, &error));
    return graph;
}

static void test_keys(void **state)
{
    (void)state;
    for (size_t e = 0; e < COUNT(encoders); e++) {
        m2s_memory memory;
        m2s_config config;
        key_table *t = malloc(sizeof *t);
        m2s_graph *graph = network(e, &memory, &config);
        int parameters = 0;

        read_table(e, t);
        for (int r = 0; r < t->rows; r++) {
            char key[256];
            int64_t dims[4];
            snprintf(key, sizeof key, "%s.%s", m2s_encoder_of(&config)->prefix, t->cell[r][0]);
            m2s_value v = m2s_graph_find(graph, key);
            if (v == M2S_NONE) {
                fail_msg("%s is no parameter", key);
            }
            int32_t rank = shape_of(t, r, 0, dims);
            assert_int_equal(m2s_fit_file_rank(&graph->values[v]), rank);
            for (int32_t i = 0; i < 4; i++) {
                assert_int_equal(graph->values[v].shape.d[i], i < rank ? dims[i] : 1);
            }
        }
        for (m2s_value v = 0; v < graph->value_count; v++) {
            const m2s_value_info *info = &graph->values[v];
            parameters += info->kind == M2S_VALUE_PARAM && m2s_name_encoder_prefix(info->name) > 0;
        }
        assert_int_equal(parameters, t->rows);
        m2s_graph_destroy(graph);
        free(t->text);
        free(t);
    }
}

/* ---- other names ---- */

typedef struct family_lookup {
    const key_table *table;
    int family;
    const char *prefix;
    int64_t dims[8];
} family_lookup;

static const int64_t *look(void *user, const char *key, int32_t *rank)
{
    family_lookup *f = user;
    size_t skip = strlen(f->prefix);

    for (int r = 0; r < f->table->rows; r++) {
        if (strncmp(key, f->prefix, skip) == 0 && strcmp(key + skip, f->table->cell[r][f->family]) == 0) {
            *rank = shape_of(f->table, r, f->family, f->dims);
            return f->dims;
        }
    }
    return NULL;
}

static void test_recognised(void **state)
{
    static const char *const prefixes[] = { "encoder.", "", "resnet.", "backbone." };

    (void)state;
    for (size_t e = 0; e < COUNT(encoders); e++) {
        key_table *t = malloc(sizeof *t);
        read_table(e, t);
        for (int f = 0; f < t->families; f++) {
            for (size_t p = 0; p < COUNT(prefixes); p++) {
                family_lookup user = { t, f, prefixes[p], { 0 } };
                m2s_config config;
                m2s_config_default(&config);
                assert_true(m2s_config_recognise(&config, look, &user, false, false));
                assert_string_equal(config.encoder, encoders[e].encoder);
            }
        }
        free(t->text);
        free(t);
    }
}

/* Every name of every family leads to its key. */
static void test_other_names(void **state)
{
    (void)state;
    for (size_t e = 0; e < COUNT(encoders); e++) {
        key_table *t = malloc(sizeof *t);
        const m2s_encoder *encoder = m2s_encoder_named(encoders[e].encoder);
        read_table(e, t);
        for (int r = 0; r < t->rows; r++) {
            char key[256], name[M2S_ENCODER_KEY_BYTES];
            snprintf(key, sizeof key, "%s.%s", encoder->prefix, t->cell[r][0]);
            for (int f = 0; f < t->families; f++) {
                bool found = false;
                for (int32_t i = 0; m2s_encoder_other_name(encoder, key, i, name); i++) {
                    assert_true(i < 100);
                    found = found || strcmp(name, t->cell[r][f]) == 0;
                }
                if (!found) {
                    fail_msg("%s does not lead to %s", key, t->cell[r][f]);
                }
            }
        }
        free(t->text);
        free(t);
    }
}

/* ---- files: a small network of the family ---- */

/* The model's weights with the encoder's under another family's names: torchvision's with its (c, 1, 1). */
static void write_renamed(const m2snet_model *model, const char *path, int family, const char *prefix,
                          bool encoder_only, const char *leave_out)
{
    const m2s_encoder *encoder = m2s_encoder_of(&model->config);
    m2s_memory *memory = &model->context->memory;
    m2s_safetensors_entry entries[400];
    size_t count = 0;
    m2s_store *store;
    m2snet_error error;

    OK(m2s_store_create(memory, "created", &store, &error));
    for (size_t i = 0; i < m2s_store_count(model->store); i++) {
        const m2s_weight *weight = m2s_store_at(model->store, i);
        size_t skip = m2s_name_encoder_prefix(weight->name);
        int64_t dims[8] = { 0 };
        char alias[M2S_ENCODER_KEY_BYTES], name[2 * M2S_ENCODER_KEY_BYTES];
        memcpy(dims, weight->dims, sizeof dims);
        snprintf(name, sizeof name, "%s", weight->name);
        int32_t rank = weight->rank;
        if ((skip == 0 && encoder_only) || (leave_out != NULL && strcmp(weight->name, leave_out) == 0)) {
            continue;
        }
        if (skip > 0) {
            snprintf(alias, sizeof alias, "%s", weight->name + skip);
            if (family > 0) {
                assert_true(encoder->alias(weight->name + skip, family - 1, alias, sizeof alias));
            }
            snprintf(name, sizeof name, "%s%s", prefix, alias);
            if (family == 2 && strstr(name, "layer_scale") != NULL) {
                dims[1] = dims[2] = 1;
                rank = 3;
            }
        }
        m2s_weight_desc desc = {
            .name = name, .name_bytes = strlen(name), .dtype = weight->dtype, .rank = rank, .dims = dims
        };
        OK(m2s_store_add(store, &desc, weight->data, NULL, &error));
    }
    for (size_t i = 0; i < m2s_store_count(store); i++) {
        assert_true(count < COUNT(entries));
        entries[count++] = (m2s_safetensors_entry){ m2s_store_at(store, i), M2SNET_DTYPE_F32 };
    }
    OK(m2s_safetensors_write(memory, path, NULL, 0, entries, count, NULL, &error));
    m2s_store_destroy(store);
}

static void assert_same_weights(const m2snet_model *a, const m2snet_model *b, bool encoder_only)
{
    int compared = 0;

    for (size_t i = 0; i < m2s_store_count(a->store); i++) {
        const m2s_weight *x = m2s_store_at(a->store, i), *y = m2s_store_find(b->store, x->name);
        if (encoder_only && m2s_name_encoder_prefix(x->name) == 0) {
            continue;
        }
        assert_non_null(y);
        assert_int_equal(x->bytes, y->bytes);
        assert_memory_equal(x->data, y->data, x->bytes);
        compared++;
    }
    assert_true(compared > 50);
}

static void check_files(m2snet_context *context, size_t e, const char *path)
{
    static const char *const prefixes[] = { "encoder.", "resnet.", "backbone." };
    m2snet_model *model, *loaded;
    char key[128], row[160];
    int32_t taken;
    m2snet_error error;

    OK(m2snet_model_create(context, encoders[e].small, 1, &model, &error));
    for (int family = 0; family < encoders[e].families; family++) {
        write_renamed(model, path, family, prefixes[family], false, NULL);
        OK(m2snet_model_load_file(context, path, NULL, &loaded, &error));
        assert_string_equal(loaded->config.encoder, model->config.encoder);
        assert_memory_equal(loaded->config.stage, model->config.stage, sizeof model->config.stage);
        assert_same_weights(model, loaded, false);
        m2snet_model_destroy(loaded);
        write_renamed(model, path, family, "", true, NULL);
        OK(m2snet_model_create_from(context, encoders[e].small, 2, path, &taken, &loaded, &error));
        assert_same_weights(model, loaded, true);
        m2snet_model_destroy(loaded);
    }
    /* A missing key is named, under the network's own name. */
    snprintf(key, sizeof key, "%.*s", (int)strcspn(encoders[e].key, " "), encoders[e].key);
    snprintf(row, sizeof row, "missing  %s", encoders[e].key);
    write_renamed(model, path, 1, "encoder.", false, key);
    REFUSE(m2snet_model_load_file(context, path, NULL, &loaded, &error), M2SNET_STATUS_MISMATCH, row);
    m2snet_model_destroy(model);
}

static void test_files(void **state)
{
    m2snet_context *context = open_context(NULL, 1);
    scratch files;

    (void)state;
    scratch_make(&files);
    for (size_t e = 0; e < COUNT(encoders); e++) {
        check_files(context, e, scratch_path(&files, "model.safetensors"));
    }
    m2snet_context_destroy(context);
    scratch_remove(&files);
}

/* What a weight is drawn with: 0.02; in PVTv2 a convolution's has sqrt(2 groups / (window outputs)). */
static double expected_deviation(size_t e, const m2s_weight *weight)
{
    const int64_t *d = weight->dims;

    if (strcmp(encoders[e].encoder, "pvt_v2_b4") != 0 || weight->rank == 2) {
        return 0.02;
    }
    double groups = strstr(weight->name, "dwconv") != NULL ? (double)d[0] : 1.0;
    return sqrt(2.0 * groups / (double)(d[0] * d[2] * d[3]));
}

/* Official initialisation: what is drawn, zeros, ones, and layer scale 1e-6. */
static void check_drawn(m2snet_context *context, size_t e, int drawn_expected, int scales_expected)
{
    m2snet_model *model;
    m2snet_error error;
    int scales = 0, drawn = 0;

    OK(m2snet_model_create(context, encoders[e].small, 1, &model, &error));
    for (size_t i = 0; i < m2s_store_count(model->store); i++) {
        const m2s_weight *weight = m2s_store_at(model->store, i);
        const float *numbers = weight->data;
        double square = 0.0;
        if (m2s_name_encoder_prefix(weight->name) == 0) {
            continue;
        }
        for (size_t k = 0; k < weight->count; k++) {
            square += (double)numbers[k] * (double)numbers[k];
        }
        square /= (double)weight->count;
        if (weight->rank > 1) {
            /* the mean of `count` squares is off by sqrt(2 / count) of itself; five times that is far from chance */
            double off = square / pow(expected_deviation(e, weight), 2.0) - 1.0;
            assert_true(off * off <= 25.0 * 2.0 / (double)weight->count);
            drawn++;
            continue;
        }
        size_t length = strlen(weight->name);
        bool scale = strcmp(weight->name + length - 6, ".gamma") == 0;
        bool bias = strcmp(weight->name + length - 5, ".bias") == 0;
        for (size_t k = 0; k < weight->count; k++) {
            assert_true(numbers[k] == (scale ? 1e-6f : bias ? 0.0f : 1.0f));
        }
        scales += scale;
    }
    assert_int_equal(scales, scales_expected);
    assert_int_equal(drawn, drawn_expected);
    m2snet_model_destroy(model);
}

static void test_drawn(void **state)
{
    m2snet_context *context = open_context(NULL, 1);

    (void)state;
    check_drawn(context, 0, 4 + 3 * 6, 6);
    check_drawn(context, 1, 4 + 6 * 6 + 5, 0); /* patches; q, kv, proj, fc1, dwconv, fc2; sr in three stages */
    m2snet_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),  cmocka_unit_test(test_recognised), cmocka_unit_test(test_other_names),
        cmocka_unit_test(test_files), cmocka_unit_test(test_drawn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
