/* SPDX-License-Identifier: Apache-2.0
 * Loss networks against what is known of the classifiers: every parameter that is read is a tensor of torchvision's
 * file in its shape, every tensor of the file is read or of the last layers; parameters and multiply-adds at 224 px. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/lossnet.h"
#include "run/fit.h"

static const struct {
    const char *family, *keys; /* of the file; NULL: another row has it */
    const char *ignored[4];    /* parts of names that inference of the taps has no use for */
    uint64_t parameters;       /* without running statistics */
    int thousandths;           /* of 10^9 multiply-adds at 224 x 224 */
} networks[] = {
    { "vgg16", NULL, { NULL }, 7635264, 13959 },
    { "resnet50", "resnet50.tsv", { "fc.", "num_batches_tracked" }, 23508032, 4087 },
    { "resnet50-stem", NULL, { NULL }, 8543296, 3278 },
    { "swin_t", "swin_t.tsv", { "norm.", "head.", "relative_position_index" }, 27517818, 4490 },
};

typedef struct built {
    m2s_memory memory;
    m2s_graph *graph;
} built;

static void build(const char *family, int64_t side, built *b)
{
    m2s_value tap[M2S_LOSSNET_TAPS];

    m2s_memory_init(&b->memory, NULL, 0);
    assert_int_equal(m2s_graph_create(&b->memory, M2SNET_DTYPE_F32, &b->graph, NULL), M2SNET_STATUS_OK);
    m2s_value src = m2s_graph_input(b->graph, "x", (m2s_shape){ .d = { 1, side, side, 3 } });
    m2s_lossnet_family_of(family)->taps(b->graph, src, tap);
    assert_int_equal(m2s_graph_finish(b->graph, NULL), M2SNET_STATUS_OK);
    for (int i = 0; i < M2S_LOSSNET_TAPS; i++) {
        assert_int_equal(m2s_shape_of(b->graph, tap[i]).n, 1);
    }
}

static void counts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++) {
        built b;
        build(networks[i].family, 224, &b);
        print_message("%s\n", networks[i].family);
        assert_int_equal(m2s_fit_parameters(b.graph), networks[i].parameters);
        assert_int_equal((m2s_graph_multiply_adds(b.graph) + 500000) / 1000000, networks[i].thousandths);
        m2s_graph_destroy(b.graph);
    }
}

/* "64x3x7x7" */
static bool same_shape(const char *text, m2s_shape shape)
{
    for (int i = 0; i < 4; i++) {
        char *end;
        if (strtoll(text, &end, 10) != shape.d[i]) {
            return false;
        }
        text = end + (*end == 'x');
        if (*end == '\0' || *end == '\t') {
            return (i > 2 || shape.d[3] == 1) && (i > 1 || shape.d[2] == 1) && (i > 0 || shape.d[1] == 1);
        }
    }
    return false;
}

static bool is_ignored(const char *name, const char *const *ignored)
{
    for (; *ignored != NULL; ignored++) {
        if (strstr(name, *ignored) != NULL) {
            return true;
        }
    }
    return false;
}

static void compare_keys(const char *keys, const m2s_graph *graph, const char *const *ignored)
{
    char line[256], path[256], name[160], shape[64], key[200];
    int read = 0, parameters = 0;

    snprintf(path, sizeof path, M2S_TEST_DATA "/lossnets/%s", keys);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file)); /* the heading */
    while (fgets(line, sizeof line, file) != NULL) {
        assert_int_equal(sscanf(line, "%159s %63s", name, shape), 2);
        snprintf(key, sizeof key, M2S_LOSSNET_PREFIX "%s", name);
        m2s_value value = m2s_graph_find(graph, key);
        if (value == M2S_NONE ? !is_ignored(name, ignored) : !same_shape(shape, m2s_shape_of(graph, value))) {
            fail_msg("%s %s", name, shape);
        }
        read += value != M2S_NONE;
    }
    fclose(file);
    for (m2s_value v = 0; v < graph->value_count; v++) {
        parameters += graph->values[v].kind == M2S_VALUE_PARAM;
    }
    assert_true(read > 100);
    assert_int_equal(read, parameters);
}

static void keys_are_torchvisions(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++) {
        if (networks[i].keys != NULL) {
            built b;
            build(networks[i].family, 64, &b);
            compare_keys(networks[i].keys, b.graph, networks[i].ignored);
            m2s_graph_destroy(b.graph);
        }
    }
}

typedef struct tensor {
    char name[128], shape[32];
    bool taken;
} tensor;

/* Every parameter finds its tensor among those that are left, by its names in their order; what is left then is of the
 * last layers. */
static void take(const m2s_graph *graph, tensor *tensors, int count)
{
    const m2s_lossnet_family *family = m2s_lossnet_family_of("swin_t");
    int taken = 0, parameters = 0;

    for (m2s_value v = 0; v < graph->value_count; v++) {
        const m2s_value_info *info = &graph->values[v];
        char name[160];
        bool found = false;
        if (info->kind != M2S_VALUE_PARAM) {
            continue;
        }
        for (int32_t which = 0;
             !found && family->alias(info->name + sizeof M2S_LOSSNET_PREFIX - 1, which, name, sizeof name); which++) {
            for (int i = 0; i < count && !found; i++) {
                found = !tensors[i].taken && strcmp(tensors[i].name, name) == 0;
                tensors[i].taken = tensors[i].taken || found;
                if (found && !same_shape(tensors[i].shape, info->shape)) {
                    fail_msg("%s is %s", name, tensors[i].shape);
                }
            }
        }
        if (!found) {
            fail_msg("%s has no tensor", info->name);
        }
        parameters++;
    }
    for (int i = 0; i < count; i++) {
        taken += tensors[i].taken;
        assert_true(tensors[i].taken || strncmp(tensors[i].name, "norm.", 5) == 0 ||
                    strncmp(tensors[i].name, "head.", 5) == 0);
    }
    assert_int_equal(taken, parameters);
}

/* timm's names; and its authors', who count a merging of patches to the stage in front of it. */
static void swin_has_other_names(void **state)
{
    static tensor tensors[200], authors[200];
    char line[256];
    int count = 0;
    built b;

    (void)state;
    FILE *file = fopen(M2S_TEST_DATA "/lossnets/swin_t_timm.tsv", "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    while (fgets(line, sizeof line, file) != NULL) {
        assert_true(count < 200);
        assert_int_equal(sscanf(line, "%127s %31s", tensors[count].name, tensors[count].shape), 2);
        authors[count] = tensors[count];
        char *number = authors[count].name + strlen("layers.");
        if (strncmp(number + 1, ".downsample", 11) == 0) {
            --*number;
        }
        count++;
    }
    fclose(file);
    assert_true(count > 150);
    build("swin_t", 64, &b);
    take(b.graph, tensors, count);
    take(b.graph, authors, count);
    m2s_graph_destroy(b.graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(counts), cmocka_unit_test(keys_are_torchvisions),
                                        cmocka_unit_test(swin_has_other_names) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
