/* SPDX-License-Identifier: Apache-2.0 */
#include "net/names.h"

#include <stdio.h>
#include <string.h>

#include "net/layers.h"

const char *m2s_name_reducer(m2s_graph *graph, int level)
{
    return m2s_key(graph, "x%d_dem_1", level);
}

const char *m2s_name_deep_unit(m2s_graph *graph, int levels)
{
    return m2s_key(graph, "x%d_dem_4", levels);
}

const char *m2s_name_deep_reducer(m2s_graph *graph, int levels)
{
    return m2s_key(graph, "x%d_dem_5", levels);
}

const char *m2s_name_unit(m2s_graph *graph, int order, int level)
{
    char name[32] = "";
    size_t used = 0;

    for (int i = level + order - 1; i >= level; i--) {
        used += (size_t)snprintf(name + used, sizeof name - used, "%sx%d", used > 0 ? "_" : "", i);
    }
    return m2s_key(graph, "%s", name);
}

const char *m2s_name_level(m2s_graph *graph, int level)
{
    return m2s_key(graph, "level%d", level);
}

const char *m2s_name_output(m2s_graph *graph, int level)
{
    return m2s_key(graph, "output%d", level);
}

const char *m2s_name_filter(m2s_graph *graph, int kernel)
{
    return m2s_key(graph, "conv_%d", kernel);
}

const char *m2s_name_supervised(m2s_graph *graph, int level)
{
    return m2s_key(graph, "ds%d", level);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

bool m2s_name_is_supervised(const char *key)
{
    return strncmp(key, "ds", 2) == 0 && key[2] >= '2' && key[2] <= '4' && key[3] == '.';
}

size_t m2s_name_encoder_prefix(const char *key)
{
    static const char *const prefixes[] = { "resnet.", M2S_NAME_ENCODER "." };

    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (strncmp(key, prefixes[i], strlen(prefixes[i])) == 0) {
            return strlen(prefixes[i]);
        }
    }
    return 0;
}

/* A classifier's, behind the prefix: linear layers, and the norm in front of ConvNeXt's. */
static bool is_classifier(const char *key)
{
    static const char *const begins[] = { "fc.", "head.", "classifier.", "norm.weight", "norm.bias" };

    for (size_t i = 0; i < sizeof begins / sizeof begins[0]; i++) {
        if (strncmp(key, begins[i], strlen(begins[i])) == 0) {
            return true;
        }
    }
    return false;
}

bool m2s_name_is_ignored(const char *key)
{
    return m2s_name_is_supervised(key) || ends_with(key, ".num_batches_tracked") ||
           is_classifier(key + m2s_name_encoder_prefix(key));
}

bool m2s_name_is_fixed_filter(const char *key, int *kernel, bool *bias)
{
    char canonical[32];

    for (int k = 1; k <= 31; k += 2) {
        for (int b = 0; b < 2; b++) {
            snprintf(canonical, sizeof canonical, "conv_%d.%s", k, b ? "bias" : "weight");
            if (strcmp(key, canonical) == 0) {
                *kernel = k;
                *bias = b != 0;
                return true;
            }
        }
    }
    return false;
}
