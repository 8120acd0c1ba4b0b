/* SPDX-License-Identifier: Apache-2.0
 * New networks that take what fits from a weight file, and draw the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "run/model.h"
#include "weights/safetensors.h"

#define THREE_CLASSES "{" TINY_SHAPE ",\"classes\":[\"a\",\"b\",\"c\"]}"

static bool is_head(const char *name)
{
    return strncmp(name, "output1.0.", 10) == 0;
}

static bool is_encoder(const char *name)
{
    return strncmp(name, "resnet.", 7) == 0;
}

static void assert_same(const m2snet_model *a, const m2snet_model *b, const char *name)
{
    const m2s_weight *x = m2s_store_find(a->store, name), *y = m2s_store_find(b->store, name);

    assert_non_null(x);
    assert_non_null(y);
    assert_int_equal(x->bytes, y->bytes);
    if (memcmp(x->data, y->data, x->bytes) != 0) {
        fail_msg("%s differs", name);
    }
}

static void test_other_classes(void **state)
{
    m2snet_context *context = open_context(NULL, 1);
    m2snet_model *one, *drawn, *made;
    int32_t taken = 0, heads = 0;
    m2snet_error error;
    scratch files;

    (void)state;
    scratch_make(&files);
    const char *path = scratch_path(&files, "one.safetensors");
    OK(m2snet_model_create(context, TINY_CONFIG, 1, &one, &error));
    OK(m2snet_model_save_file(one, path, NULL, &error));
    OK(m2snet_model_create(context, THREE_CLASSES, 2, &drawn, &error));
    OK(m2snet_model_create_from(context, THREE_CLASSES, 2, path, &taken, &made, &error));
    int32_t count = (int32_t)m2s_store_count(made->store);
    assert_int_equal(made->config.classes, 3);
    for (int32_t i = 0; i < count; i++) {
        const char *name = m2s_store_at(made->store, (size_t)i)->name;
        assert_same(made, is_head(name) ? drawn : one, name);
        heads += is_head(name);
    }
    assert_int_equal(heads, 2);
    assert_int_equal(taken, count - 2);
    m2snet_model_destroy(made);
    OK(m2snet_model_create_from(context, TINY_CONFIG, 2, path, NULL, &made, &error));
    assert_same(made, one, "output1.0.weight");
    m2snet_model_destroy(made);
    m2snet_model_destroy(drawn);
    m2snet_model_destroy(one);
    m2snet_context_destroy(context);
    scratch_remove(&files);
}

/* As classifiers store it: no prefix, a last layer that nobody wants; here in half precision, too. */
static void write_encoder(const m2snet_model *model, const char *path, m2snet_dtype dtype)
{
    static const int64_t dims[2] = { 10, 16 };
    static const float classifier[160] = { 0 };
    m2s_memory *memory = &model->context->memory;
    m2s_safetensors_entry entries[400];
    size_t count = 0;
    m2s_store *store;
    m2snet_error error;

    OK(m2s_store_create(memory, "created", &store, &error));
    for (size_t i = 0; i < m2s_store_count(model->store); i++) {
        const m2s_weight *weight = m2s_store_at(model->store, i);
        m2s_weight_desc desc = { .name = weight->name + 7,
                                 .name_bytes = strlen(weight->name) - 7,
                                 .dtype = weight->dtype,
                                 .rank = weight->rank,
                                 .dims = weight->dims };
        if (is_encoder(weight->name)) {
            OK(m2s_store_add(store, &desc, weight->data, NULL, &error));
        }
    }
    m2s_weight_desc desc = { .name = "fc.weight", .name_bytes = 9, .dtype = M2SNET_DTYPE_F32, .rank = 2, .dims = dims };
    OK(m2s_store_add(store, &desc, classifier, NULL, &error));
    for (size_t i = 0; i < m2s_store_count(store); i++) {
        assert_true(count < COUNT(entries));
        entries[count++] = (m2s_safetensors_entry){ m2s_store_at(store, i), dtype };
    }
    OK(m2s_safetensors_write(memory, path, NULL, 0, entries, count, NULL, &error));
    m2s_store_destroy(store);
}

static void test_encoder(void **state)
{
    m2snet_context *context = open_context(NULL, 1);
    m2snet_model *trained, *drawn, *made, *half;
    int32_t taken = 0, encoder = 0, differ = 0;
    m2snet_error error;
    scratch files;

    (void)state;
    scratch_make(&files);
    const char *path = scratch_path(&files, "encoder.safetensors");
    OK(m2snet_model_create(context, TINY_CONFIG, 1, &trained, &error));
    OK(m2snet_model_create(context, TINY_CONFIG, 2, &drawn, &error));
    write_encoder(trained, path, M2SNET_DTYPE_F32);
    OK(m2snet_model_create_from(context, TINY_CONFIG, 2, path, &taken, &made, &error));
    write_encoder(trained, path, M2SNET_DTYPE_F16);
    OK(m2snet_model_create_from(context, TINY_CONFIG, 2, path, NULL, &half, &error));
    for (size_t i = 0; i < m2s_store_count(made->store); i++) {
        const m2s_weight *weight = m2s_store_at(made->store, i);
        const m2s_weight *rounded = m2s_store_find(half->store, weight->name);
        assert_same(made, is_encoder(weight->name) ? trained : drawn, weight->name);
        encoder += is_encoder(weight->name);
        for (size_t k = 0; k < weight->count; k++) { /* eleven bits */
            float exact = ((const float *)weight->data)[k], near = ((const float *)rounded->data)[k];
            float off = exact > near ? exact - near : near - exact, size = exact < 0.0f ? -exact : exact;
            assert_true(off <= size / 2048.0f + 1e-7f);
            differ += off != 0.0f;
        }
        if (is_encoder(weight->name) && weight->rank == 4) { /* what is the same for any seed proves nothing */
            assert_true(memcmp(weight->data, m2s_store_find(drawn->store, weight->name)->data, weight->bytes) != 0);
        }
    }
    assert_int_equal(taken, encoder);
    assert_true(encoder > 100 && differ > 1000);
    m2snet_model_destroy(trained);
    m2snet_model_destroy(drawn);
    m2snet_model_destroy(made);
    m2snet_model_destroy(half);
    m2snet_context_destroy(context);
    scratch_remove(&files);
}

static void test_refusals(void **state)
{
    m2snet_context *context = open_context(NULL, 1);
    m2snet_model *model = (m2snet_model *)1;
    int32_t taken = 7;
    m2snet_error error;
    scratch files;

    (void)state;
    scratch_make(&files);
    const char *path = scratch_path(&files, "file.safetensors");
    REFUSE(m2snet_model_create_from(context, TINY_CONFIG, 1, path, &taken, &model, &error), M2SNET_STATUS_IO, path);
    assert_null(model);
    assert_int_equal(taken, 0);
    write_whole(path, "no weights", 10);
    REFUSE(m2snet_model_create_from(context, TINY_CONFIG, 1, path, &taken, &model, &error), M2SNET_STATUS_FORMAT, path);
    OK(m2snet_model_create(context, TINY_CONFIG, 1, &model, &error));
    write_encoder(model, path, M2SNET_DTYPE_F32);
    m2snet_model_destroy(model);
    REFUSE(m2snet_model_create_from(context, "{\"encoder\":\"no such\"}", 1, path, &taken, &model, &error),
           M2SNET_STATUS_UNSUPPORTED, "no such");
    REFUSE(m2snet_model_create_from(context, NULL, 1, path, &taken, &model, &error), M2SNET_STATUS_MISMATCH,
           "none of its");
    assert_null(model);
    REFUSE(m2snet_model_create_from(context, NULL, 1, NULL, &taken, &model, &error), M2SNET_STATUS_INVALID_ARGUMENT,
           "path");
    m2snet_context_destroy(context);
    scratch_remove(&files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_classes),
        cmocka_unit_test(test_encoder),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
