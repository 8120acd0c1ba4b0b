/* SPDX-License-Identifier: Apache-2.0
 * Models on their way through files: created, saved, loaded, the same again; metadata, self test, versions. */
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/api_fixture.h"

#define COMPACT_SHA256 "f8a92e3cd96282881c9c0105d4804af76a2370de1eb4d23eed3976c4364f9def"
#define NAMED_CONFIG   "{" TINY_SHAPE ",\"classes\":[\"polyp\",\"ring\"],\"threshold\":0.25}"

typedef struct rig {
    m2snet_context *context;
    m2snet_model *model; /* tiny, two classes with names */
    scratch files;
} rig;

static int begin(void **state)
{
    static rig r;
    m2snet_error error;

    r.context = open_context("cpu", 2);
    OK(m2snet_model_create(r.context, NAMED_CONFIG, 11, &r.model, &error));
    scratch_make(&r.files);
    *state = &r;
    return 0;
}

static int end(void **state)
{
    rig *r = *state;

    m2snet_model_destroy(r->model);
    m2snet_context_destroy(r->context);
    scratch_remove(&r->files);
    return 0;
}

static m2snet_model *reload(rig *r, const char *path)
{
    m2snet_model *model;
    m2snet_error error;

    OK(m2snet_model_load_file(r->context, path, NULL, &model, &error));
    return model;
}

static const char *metadata(const m2snet_model *model, const char *key)
{
    for (int32_t i = 0; i < m2snet_model_metadata_count(model); i++) {
        if (strcmp(m2snet_model_metadata_key(model, i), key) == 0) {
            return m2snet_model_metadata_value(model, i);
        }
    }
    return NULL;
}

static m2snet_model_info info_of(const m2snet_model *model)
{
    m2snet_model_info info = { .struct_size = sizeof info };
    m2snet_error error;

    OK(m2snet_model_get_info(model, &info, &error));
    return info;
}

/* Same names, shapes and dtypes, in whatever order. */
static void assert_same_tensors(const m2snet_model *a, const m2snet_model *b, m2snet_dtype convolutions)
{
    assert_int_equal(m2snet_model_tensor_count(a), m2snet_model_tensor_count(b));
    for (int32_t i = 0; i < m2snet_model_tensor_count(a); i++) {
        m2snet_tensor_info left = { .struct_size = sizeof left }, right = { .struct_size = sizeof right };
        assert_int_equal(m2snet_model_tensor_info(a, i, &left, NULL), 0);
        int32_t k = 0;
        for (; k < m2snet_model_tensor_count(b); k++) {
            assert_int_equal(m2snet_model_tensor_info(b, k, &right, NULL), 0);
            if (strcmp(left.name, right.name) == 0) {
                break;
            }
        }
        if (k == m2snet_model_tensor_count(b)) {
            fail_msg("%s got lost", left.name);
        }
        assert_int_equal(left.rank, right.rank);
        assert_memory_equal(left.dims, right.dims, (size_t)left.rank * sizeof left.dims[0]);
        assert_int_equal(left.dtype, M2SNET_DTYPE_F32);
        assert_int_equal(right.dtype, right.rank >= 2 ? convolutions : M2SNET_DTYPE_F32);
    }
}

static float *logits_of(rig *r, m2snet_model *model, int32_t classes)
{
    m2snet_session *session = open_session(model);
    m2snet_tensor_desc desc = { .dtype = M2SNET_DTYPE_F32, .n = 1, .h = 50, .w = 40, .c = 3 };
    m2snet_tensor *src, *dst;
    m2snet_error error;

    OK(m2snet_tensor_create(r->context, &desc, NULL, &src, &error));
    for (size_t i = 0; i < 50 * 40 * 3; i++) {
        ((float *)m2snet_tensor_data(src))[i] = (float)(i * 7919 % 1009) / 252.0f - 2.0f;
    }
    desc.c = classes;
    float *logits = malloc(50 * 40 * (size_t)classes * sizeof *logits);
    OK(m2snet_tensor_create(r->context, &desc, logits, &dst, &error));
    OK(m2snet_session_run(session, src, dst, NULL, &error));
    m2snet_tensor_destroy(src);
    m2snet_tensor_destroy(dst);
    m2snet_session_destroy(session);
    return logits;
}

static void test_round_trip(void **state)
{
    static const struct {
        m2snet_dtype dtype;
        double tolerance; /* of the logits, against F32: some units of the last place of a weight, through 30 layers */
    } cases[] = { { M2SNET_DTYPE_F32, 0.0 }, { M2SNET_DTYPE_F16, 0.05 }, { M2SNET_DTYPE_BF16, 0.4 } };
    rig *r = *state;
    float *truth = logits_of(r, r->model, 2);
    double scale = 1.0;
    off_t plain_bytes = 0;
    m2snet_error error;

    for (size_t i = 0; i < 50 * 40 * 2; i++) {
        scale = fabs((double)truth[i]) > scale ? fabs((double)truth[i]) : scale;
    }
    for (size_t c = 0; c < COUNT(cases); c++) {
        const char *path = scratch_path(&r->files, "trip.safetensors");
        m2snet_save_options options;
        struct stat file;
        m2snet_save_options_init(&options);
        options.dtype = cases[c].dtype;
        OK(m2snet_model_save_file(r->model, path, &options, &error));
        assert_int_equal(stat(path, &file), 0);
        m2snet_model *loaded = reload(r, path);
        m2snet_model_info was = info_of(r->model), is = info_of(loaded);
        assert_string_equal(is.config_json, was.config_json);
        assert_string_equal(is.architecture, "m2snet");
        assert_string_equal(is.encoder, "res2net");
        assert_string_equal(is.format, "safetensors");
        assert_string_equal(was.format, "created");
        assert_string_equal(was.sha256, "");
        assert_int_equal(strlen(is.sha256), 64);
        assert_true(is.parameters == was.parameters && is.multiply_adds == was.multiply_adds);
        assert_true(is.classes == 2 && is.threshold == 0.25 && is.pyramid_channels == 8);
        assert_true(is.input_width == 64 && is.input_height == 64);
        assert_string_equal(m2snet_model_class_name(loaded, 0), "polyp");
        assert_string_equal(m2snet_model_class_name(loaded, 1), "ring");
        assert_same_tensors(r->model, loaded, cases[c].dtype);
        plain_bytes = c == 0 ? file.st_size : plain_bytes;
        assert_true(c == 0 || file.st_size < plain_bytes);
        float *logits = logits_of(r, loaded, 2);
        double worst = 0.0;
        for (size_t i = 0; i < 50 * 40 * 2; i++) {
            double difference = fabs((double)logits[i] - (double)truth[i]);
            worst = !(difference <= worst) ? difference : worst;
        }
        if (!(worst <= cases[c].tolerance * scale)) {
            fail_msg("dtype %d: logits differ by %g of %g", (int)cases[c].dtype, worst, scale);
        }
        free(logits);
        /* The same model saved twice is the same file. */
        const char *again = scratch_path(&r->files, "again.safetensors");
        OK(m2snet_model_save_file(loaded, again, &options, &error));
        size_t bytes[2];
        unsigned char *files[2] = { read_whole(path, &bytes[0]), read_whole(again, &bytes[1]) };
        assert_int_equal(bytes[0], bytes[1]);
        assert_memory_equal(files[0], files[1], bytes[0]);
        free(files[0]);
        free(files[1]);
        m2snet_model_destroy(loaded);
        unlink(path);
        unlink(again);
    }
    free(truth);
}

/* Over a file that exists, over itself, mapped and from memory. */
static void test_ways_to_load(void **state)
{
    rig *r = *state;
    const char *path = scratch_path(&r->files, "ways.safetensors");
    m2snet_model_options options;
    m2snet_model *models[3];
    size_t bytes;
    m2snet_error error;

    write_whole(path, "not a model", 11);
    OK(m2snet_model_save_file(r->model, path, NULL, &error));
    models[0] = reload(r, path);
    m2snet_model_options_init(&options);
    options.memory_map = 1;
    OK(m2snet_model_load_file(r->context, path, &options, &models[1], &error));
    unsigned char *data = read_whole(path, &bytes);
    OK(m2snet_model_load_memory(r->context, data, bytes, NULL, &models[2], &error));
    memset(data, 0, bytes); /* not needed after the call */
    free(data);
    OK(m2snet_model_save_file(models[1], path, NULL, &error)); /* the file that is mapped: rename keeps the old one */
    float *truth = logits_of(r, r->model, 2);
    char sha256[65];
    snprintf(sha256, sizeof sha256, "%s", info_of(models[0]).sha256);
    for (size_t i = 0; i < COUNT(models); i++) {
        float *logits = logits_of(r, models[i], 2);
        assert_memory_equal(logits, truth, 50 * 40 * 2 * sizeof *truth);
        assert_string_equal(info_of(models[i]).sha256, sha256);
        free(logits);
        m2snet_model_destroy(models[i]);
    }
    free(truth);
    unlink(path);
}

static void test_metadata(void **state)
{
    rig *r = *state;
    const char *path = scratch_path(&r->files, "meta.safetensors");
    m2snet_save_options options;
    m2snet_error error;

    assert_null(m2snet_model_metadata_key(r->model, 0));
    m2snet_save_options_init(&options);
    options.metadata_json = "{\"m2snet.license\":\"CC BY 4.0\",\"unknown to all\":\"\\u00e4 \\\"quoted\\\" \\n line\","
                            "\"m2snet.provenance\":\"drawn\"}";
    OK(m2snet_model_save_file(r->model, path, &options, &error));
    m2snet_model *first = reload(r, path);
    assert_string_equal(metadata(first, "m2snet.license"), "CC BY 4.0");
    assert_string_equal(metadata(first, "unknown to all"), "\xc3\xa4 \"quoted\" \n line");
    assert_non_null(metadata(first, "m2snet.config"));

    /* Through a second save: what was there stays, one is changed, one is removed, one is new. */
    options.metadata_json = "{\"m2snet.license\":\"other\",\"m2snet.provenance\":\"\",\"new\":\"entry\",\"none\":\"\"}";
    OK(m2snet_model_save_file(first, path, &options, &error));
    m2snet_model *second = reload(r, path);
    assert_string_equal(metadata(second, "m2snet.license"), "other");
    assert_string_equal(metadata(second, "unknown to all"), "\xc3\xa4 \"quoted\" \n line");
    assert_string_equal(metadata(second, "new"), "entry");
    assert_null(metadata(second, "m2snet.provenance"));
    assert_null(metadata(second, "none"));
    assert_int_equal(m2snet_model_metadata_count(second), 4);
    m2snet_model_destroy(first);
    m2snet_model_destroy(second);
    unlink(path);
}

static void test_selftest(void **state)
{
    rig *r = *state;
    const char *path = scratch_path(&r->files, "selftest.safetensors");
    static const m2snet_dtype dtypes[] = { M2SNET_DTYPE_F32, M2SNET_DTYPE_F16, M2SNET_DTYPE_BF16 };
    m2snet_save_options options;
    double difference = -1.0;
    m2snet_error error;

    REFUSE(m2snet_model_selftest(r->model, &difference, &error), M2SNET_STATUS_UNSUPPORTED, "self test");
    for (size_t i = 0; i < COUNT(dtypes); i++) { /* the stored result is that of the rounded weights */
        m2snet_save_options_init(&options);
        options.dtype = dtypes[i];
        options.with_selftest = 1;
        OK(m2snet_model_save_file(r->model, path, &options, &error));
        m2snet_model *model = reload(r, path);
        OK(m2snet_model_selftest(model, &difference, &error));
        assert_true(difference >= 0.0 && isfinite(difference)); /* logits of drawn weights are in the thousands */
        OK(m2snet_model_selftest(model, NULL, &error));
        assert_string_equal(info_of(model).config_json, info_of(r->model).config_json);

        /* A later save without the option has none: the weights might have become others. */
        const char *plain = scratch_path(&r->files, "plain.safetensors");
        OK(m2snet_model_save_file(model, plain, NULL, &error));
        m2snet_model *without = reload(r, plain);
        REFUSE(m2snet_model_selftest(without, NULL, &error), M2SNET_STATUS_UNSUPPORTED, "self test");
        m2snet_model_destroy(without);
        unlink(plain);
        m2snet_model_destroy(model);
    }

    /* One weight of another value: a convolution's, found in the bytes by the file's own table. */
    m2snet_save_options_init(&options);
    options.with_selftest = 1;
    OK(m2snet_model_save_file(r->model, path, &options, &error));
    size_t bytes;
    uint64_t header;
    unsigned char *file = read_whole(path, &bytes);
    memcpy(&header, file, sizeof header);
    const char *entry = strstr((const char *)file + 8, "\"output1.0.weight\":");
    assert_non_null(entry);
    unsigned long offset = strtoul(strchr(strstr(entry, "data_offsets"), '[') + 1, NULL, 10);
    float weight;
    memcpy(&weight, file + 8 + header + offset, sizeof weight);
    weight += 0.5f;
    memcpy(file + 8 + header + offset, &weight, sizeof weight);
    m2snet_model *changed;
    OK(m2snet_model_load_memory(r->context, file, bytes, NULL, &changed, &error));
    difference = 0.0;
    REFUSE(m2snet_model_selftest(changed, &difference, &error), M2SNET_STATUS_MISMATCH, "self test failed");
    assert_true(difference > 1e-4);
    m2snet_model_destroy(changed);
    free(file);

    /* On the reference backend too, whatever the backend that made it. */
    m2snet_context *reference = open_context("ref", 1);
    m2snet_model *model;
    OK(m2snet_model_load_file(reference, path, NULL, &model, &error));
    OK(m2snet_model_selftest(model, &difference, &error));
    m2snet_model_destroy(model);
    m2snet_context_destroy(reference);
    unlink(path);
}

/* A file with the tiny model's weights and any configuration text. */
static void save_with_config(rig *r, const char *path, const char *config)
{
    size_t bytes, length = strlen(config);
    uint64_t header;
    m2snet_error error;

    OK(m2snet_model_save_file(r->model, path, NULL, &error));
    unsigned char *file = read_whole(path, &bytes);
    memcpy(&header, file, sizeof header);
    char *start = strstr((char *)file + 8, "\"m2snet.config\":");
    assert_non_null(start);
    start = strchr(start, ':') + 1;
    start += strspn(start, " ");
    char *after = start + 1;
    while (*after != '"') {
        after += *after == '\\' ? 2 : 1;
    }
    after++;
    /* The old value out, the new one in, quotes escaped. */
    size_t room = bytes + 2 * length + 16, used = (size_t)(start - (char *)file);
    char *changed = malloc(room);
    assert_non_null(changed);
    memcpy(changed, file, used);
    changed[used++] = '"';
    for (size_t i = 0; i < length; i++) {
        if (config[i] == '"') {
            changed[used++] = '\\';
        }
        changed[used++] = config[i];
    }
    changed[used++] = '"';
    size_t rest = bytes - (size_t)(after - (char *)file);
    uint64_t new_header = header + used - (size_t)(after - (char *)file);
    memcpy(changed + used, after, rest);
    memcpy(changed, &new_header, sizeof new_header);
    write_whole(path, changed, used + rest);
    free(changed);
    free(file);
}

static void test_configurations(void **state)
{
    rig *r = *state;
    const char *path = scratch_path(&r->files, "config.safetensors");
    m2snet_model *model;
    m2snet_error error;

    static const struct {
        const char *config;
        m2snet_status status;
        const char *part;
    } refused[] = {
        { "{\"format_version\":2," TINY_SHAPE "}", M2SNET_STATUS_UNSUPPORTED, "format version 2" },
        { "{\"format_version\":\"2\"," TINY_SHAPE "}", M2SNET_STATUS_UNSUPPORTED, "format version 2" },
        { "{\"format_version\":0," TINY_SHAPE "}", M2SNET_STATUS_FORMAT, "format_version" },
        { "{\"format_version\":[]," TINY_SHAPE "}", M2SNET_STATUS_FORMAT, "format_version" },
        { "{\"required_attention\":true," TINY_SHAPE "}", M2SNET_STATUS_UNSUPPORTED, "required_attention" },
        { "{" TINY_SHAPE ",\"classes\":[\"one\"]}", M2SNET_STATUS_MISMATCH, "classes" },
        { "{" TINY_SHAPE ",\"architecture\":\"msnet\",\"scales\":[1,3,5]}", M2SNET_STATUS_FORMAT, "msnet" },
        { "no json", M2SNET_STATUS_FORMAT, "configuration" },
        { "", M2SNET_STATUS_FORMAT, "configuration" },
    };
    for (size_t i = 0; i < COUNT(refused); i++) {
        save_with_config(r, path, refused[i].config);
        REFUSE(m2snet_model_load_file(r->context, path, NULL, &model, &error), refused[i].status, refused[i].part);
        assert_null(model);
    }

    /* Unknown keys are ignored; what is not said is read off the weights. */
    static const char *const accepted[] = {
        "{\"future\":[1,{\"a\":null}]," TINY_SHAPE "}",
        "{\"format_version\":\"1\"," TINY_SHAPE "}",
        "{\"input_size\":64}",
        "{}",
    };
    for (size_t i = 0; i < COUNT(accepted); i++) {
        save_with_config(r, path, accepted[i]);
        model = reload(r, path);
        m2snet_model_info info = info_of(model);
        assert_string_equal(info.encoder, "res2net");
        assert_true(info.classes == 2 && info.pyramid_channels == 8);
        assert_int_equal(info.input_width, i < 3 ? 64 : 352);
        assert_string_equal(info.architecture, "m2snet");
        float *logits = logits_of(r, model, 2), *truth = logits_of(r, r->model, 2);
        assert_memory_equal(logits, truth, 50 * 40 * 2 * sizeof *truth);
        free(logits);
        free(truth);
        m2snet_model_destroy(model);
    }

    /* What the caller overlays goes before what the file says, and into what is saved next. */
    m2snet_model_options options;
    m2snet_model_options_init(&options);
    options.config_json = "{\"threshold\":0.75,\"input_size\":[96,80],\"classes\":[\"x\",\"y\"]}";
    save_with_config(r, path, NAMED_CONFIG);
    OK(m2snet_model_load_file(r->context, path, &options, &model, &error));
    OK(m2snet_model_save_file(model, path, NULL, &error));
    m2snet_model_destroy(model);
    model = reload(r, path);
    m2snet_model_info info = info_of(model);
    assert_true(info.threshold == 0.75 && info.input_width == 96 && info.input_height == 80);
    assert_string_equal(m2snet_model_class_name(model, 1), "y");
    m2snet_model_destroy(model);
    unlink(path);
}

/* Networks of other kinds: one scale, more scales, Gaussian windows, one channel. */
static void test_kinds(void **state)
{
    static const struct {
        const char *config, *architecture;
    } kinds[] = {
        { "{" TINY_SHAPE ",\"architecture\":\"msnet\"}", "msnet" },
        { "{" TINY_SHAPE ",\"scales\":[1]}", "msnet" },
        { "{" TINY_SHAPE ",\"scales\":[1,3,5,7]}", "m2snet" },
        { "{" TINY_SHAPE ",\"scales\":[1,9]}", "m2snet" },
        { "{" TINY_SHAPE ",\"gaussian\":true}", "m2snet" },
        { "{\"encoder_shape\":{\"stem\":[1,1,1],\"blocks\":[1,1,1,1],\"width\":[1,1,1,1],\"channels\":[1,1,1,1]},"
          "\"pyramid_channels\":1,\"input_size\":[48,40]}",
          "m2snet" },
    };
    rig *r = *state;
    const char *path = scratch_path(&r->files, "kind.safetensors");
    m2snet_error error;

    for (size_t i = 0; i < COUNT(kinds); i++) {
        m2snet_model *model;
        OK(m2snet_model_create(r->context, kinds[i].config, 3, &model, &error));
        assert_string_equal(info_of(model).architecture, kinds[i].architecture);
        OK(m2snet_model_save_file(model, path, NULL, &error));
        m2snet_model *loaded = reload(r, path);
        assert_string_equal(info_of(loaded).config_json, info_of(model).config_json);
        float *a = logits_of(r, model, 1), *b = logits_of(r, loaded, 1);
        assert_memory_equal(a, b, 50 * 40 * sizeof *a);
        free(a);
        free(b);
        m2snet_model_destroy(loaded);
        m2snet_model_destroy(model);
    }
    unlink(path);
}

/* The file's configuration under a key that means nothing: keys and shapes have to tell. */
static void forget_config(const char *path)
{
    size_t bytes;
    unsigned char *file = read_whole(path, &bytes);
    unsigned char *key = memmem(file, bytes, "m2snet.config", 13);

    assert_non_null(key);
    memcpy(key, "nobody.config", 13);
    write_whole(path, file, bytes);
    free(file);
}

/* What a file's keys tell and what is said of it besides make a model together, or are refused: whatever loads can be
 * saved, and loads again. */
static void test_keys_and_words(void **state)
{
    static const struct {
        const char *made, *said, *refused; /* NULL: it goes together */
    } cases[] = {
        { "{" TINY_SHAPE ",\"variant\":{\"unit\":\"aspp\"}}", NULL, NULL },
        { "{" TINY_SHAPE ",\"variant\":{\"unit\":\"aspp\"}}", "{\"scales\":[1,3]}", "have the scales [1, 3, 5]" },
        { "{" TINY_SHAPE ",\"variant\":{\"unit\":\"aspp\"}}", "{\"gaussian\":true}", "no Gaussian" },
        { "{" TINY_SHAPE ",\"variant\":{\"unit\":\"dense\"}}", "{\"variant\":{\"msu_bn\":\"none\"}}", "no msu_bn" },
        { "{" TINY_SHAPE ",\"variant\":{\"depth\":1}}", NULL, NULL },
        { "{" TINY_SHAPE ",\"variant\":{\"depth\":1}}", "{\"variant\":{\"include_ms1\":false}}",
          "depth 1 has no units" },
        { "{" TINY_SHAPE ",\"classes\":[\"a\",\"b\",\"c\"]}", "{\"labels\":[0,80,160]}", NULL },
        { "{" TINY_SHAPE ",\"classes\":[\"a\",\"b\",\"c\"]}", "{\"activation\":\"softmax\",\"labels\":[80,160]}",
          NULL },
        { "{" TINY_SHAPE ",\"classes\":[\"a\",\"b\",\"c\"]}", "{\"labels\":[80,160]}", "3 gray levels for 3 classes" },
        { TINY_CONFIG, "{\"activation\":\"softmax\"}", "two classes and more" },
    };
    rig *r = *state;
    const char *path = scratch_path(&r->files, "keys.safetensors");
    m2snet_model_options options;
    m2snet_model *model;
    m2snet_error error;

    m2snet_model_options_init(&options);
    for (size_t i = 0; i < COUNT(cases); i++) {
        OK(m2snet_model_create(r->context, cases[i].made, 3, &model, &error));
        OK(m2snet_model_save_file(model, path, NULL, &error));
        m2snet_model_destroy(model);
        forget_config(path);
        options.config_json = cases[i].said;
        if (cases[i].refused != NULL) {
            REFUSE(m2snet_model_load_file(r->context, path, &options, &model, &error), M2SNET_STATUS_FORMAT,
                   cases[i].refused);
            assert_null(model);
            continue;
        }
        OK(m2snet_model_load_file(r->context, path, &options, &model, &error));
        OK(m2snet_model_save_file(model, path, NULL, &error));
        m2snet_model *again = reload(r, path);
        assert_string_equal(info_of(again).config_json, info_of(model).config_json);
        m2snet_model_destroy(again);
        m2snet_model_destroy(model);
    }
    unlink(path);
}

static void test_compact(void **state)
{
    rig *r = *state;
    m2snet_model *model = reload(r, COMPACT_MODEL);
    m2snet_model_info info = info_of(model);

    assert_string_equal(info.sha256, COMPACT_SHA256);
    assert_string_equal(info.architecture, "m2snet");
    assert_string_equal(info.encoder, "res2net_compact");
    assert_int_equal(info.parameters, 4477955); /* as its card says */
    assert_true(info.classes == 1 && info.pyramid_channels == 32 && info.input_width == 256);
    assert_string_equal(m2snet_model_class_name(model, 0), "polyp");
    assert_string_equal(info.format, "safetensors");
    assert_true(info.weight_bytes > 8000000 && info.weight_bytes < 40000000);
    assert_non_null(metadata(model, "m2snet.card"));
    m2snet_model_destroy(model);
}

/* A receipt has the digest of the file whether its text or its struct is asked for first; a mask does not wait for it.
 */
static void test_receipts(void **state)
{
    rig *r = *state;
    m2snet_image picture = noise_picture(48, 40);

    for (int text_first = 0; text_first < 2; text_first++) {
        m2snet_model *model = reload(r, COMPACT_MODEL);
        m2snet_session *session = open_session(model);
        m2snet_receipt receipt = { .struct_size = sizeof receipt };
        m2snet_result *result;
        m2snet_error error;
        OK(m2snet_predict(session, &picture, NULL, &result, &error));
        const char *text = text_first ? m2snet_result_receipt_json(result) : NULL;
        OK(m2snet_result_receipt(result, &receipt, &error));
        text = text_first ? text : m2snet_result_receipt_json(result);
        assert_string_equal(receipt.model_sha256, COMPACT_SHA256);
        assert_non_null(strstr(text, "\"model_sha256\": \"" COMPACT_SHA256 "\",\n"));
        assert_non_null(strstr(text, "\"architecture\": \"m2snet\""));
        m2snet_result_destroy(result);
        m2snet_session_destroy(session);
        m2snet_model_destroy(model);
    }
    free_picture(&picture);
}

/* A save through a symbolic link goes to the file behind it; rights of a file that is there stay. */
static void test_links_and_rights(void **state)
{
    rig *r = *state;
    const char *path = scratch_path(&r->files, "target.safetensors"), *link = scratch_path(&r->files, "link");
    struct stat file;
    m2snet_error error;

    OK(m2snet_model_save_file(r->model, path, NULL, &error));
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(symlink(path, link), 0);
    OK(m2snet_model_save_file(r->model, link, NULL, &error));
    assert_int_equal(lstat(link, &file), 0);
    assert_true(S_ISLNK(file.st_mode));
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0640);
    m2snet_model *model = reload(r, link);
    m2snet_model_destroy(model);
    unlink(link);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_ways_to_load),
        cmocka_unit_test(test_metadata),       cmocka_unit_test(test_selftest),
        cmocka_unit_test(test_configurations), cmocka_unit_test(test_keys_and_words),
        cmocka_unit_test(test_kinds),          cmocka_unit_test(test_compact),
        cmocka_unit_test(test_receipts),       cmocka_unit_test(test_links_and_rights),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
