/* SPDX-License-Identifier: Apache-2.0 */
#include "net/coding.h"

#include <string.h>

static const m2s_json_source source = { "configuration", M2SNET_STATUS_FORMAT };

m2snet_status m2s_coding_parse(m2s_coding *coding, const m2s_json *json, m2snet_error *error)
{
    const char *activation = NULL;
    int64_t labels[M2SNET_MAX_LABELS], background = -1;
    size_t count = 0;
    m2snet_status status;

    M2S_TRY(m2s_json_get_string(&source, json, "activation", M2S_JSON_OPTIONAL, &activation, error));
    if (activation != NULL) {
        coding->softmax = strcmp(activation, "softmax") == 0;
        if (!coding->softmax && strcmp(activation, "sigmoid") != 0) {
            return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                            "configuration key \"activation\": \"%s\" is not known; known are sigmoid and softmax",
                            activation);
        }
    }
    M2S_TRY(m2s_json_get_integers(&source, json, "labels", M2S_JSON_OPTIONAL, 0, M2SNET_MAX_LABELS, 0, 255, labels,
                                  &count, error));
    M2S_TRY(m2s_json_get_integer(&source, json, "background_label", M2S_JSON_OPTIONAL, 0, 255, &background, error));
    if (m2s_json_find(json, "labels") != NULL) {
        coding->label_count = (int32_t)count;
        for (size_t i = 0; i < count; i++) {
            coding->labels[i] = (uint8_t)labels[i];
        }
    }
    if (m2s_json_find(json, "labels") != NULL || background >= 0) {
        coding->background = m2s_coding_background(coding->labels, coding->label_count, (int32_t)background);
    }
fail:
    return status;
}

m2snet_status m2s_coding_check(const m2s_coding *coding, int32_t classes, m2snet_error *error)
{
    int32_t wanted = coding->softmax ? classes - 1 : classes;

    if (coding->softmax && classes < 2) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT,
                        "configuration: activation \"softmax\" wants two classes and more, the background first");
    }
    if (coding->label_count != 0 && coding->label_count != wanted) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT,
                        "configuration key \"labels\": expected %d gray levels for %d classes%s, got %d", wanted,
                        classes, coding->softmax ? ", the background among them" : "", coding->label_count);
    }
    for (int32_t i = 0; i < coding->label_count; i++) {
        bool again = coding->labels[i] == coding->background;
        for (int32_t k = 0; k < i; k++) {
            again = again || coding->labels[i] == coding->labels[k];
        }
        if (again) {
            return m2s_fail(error, M2SNET_STATUS_FORMAT,
                            "configuration: gray level %d stands for two classes, or a class and the background",
                            coding->labels[i]);
        }
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_coding_put(const m2s_coding *coding, m2s_json *json, m2snet_error *error)
{
    m2s_json *list;
    m2snet_status status = M2SNET_STATUS_OK;

    if (coding->softmax) {
        M2S_TRY(m2s_json_put_string(json, "activation", "softmax", error));
    }
    if (coding->label_count > 0) {
        M2S_TRY(m2s_json_put_child(json, "labels", M2S_JSON_ARRAY, &list, error));
        for (int32_t i = 0; i < coding->label_count; i++) {
            M2S_TRY(m2s_json_put_integer(list, NULL, coding->labels[i], error));
        }
        M2S_TRY(m2s_json_put_integer(json, "background_label", coding->background, error));
    }
fail:
    return status;
}

uint8_t m2s_coding_background(const uint8_t *labels, int32_t label_count, int32_t wanted)
{
    bool taken[256] = { false };
    uint8_t level = 255;

    if (wanted >= 0) {
        return (uint8_t)wanted;
    }
    for (int32_t i = 0; i < label_count; i++) {
        taken[labels[i]] = true;
    }
    while (taken[0] && taken[level]) { /* there are more levels than labels */
        level--;
    }
    return taken[0] ? level : 0;
}

uint8_t m2s_coding_level(const m2s_coding *coding, int32_t classes, int32_t class_index)
{
    int32_t index = coding->softmax ? class_index - 1 : class_index;

    if (index < 0) {
        return coding->background;
    }
    if (coding->label_count > 0) {
        return coding->labels[index];
    }
    return classes == 1 ? 255 : (uint8_t)(index + 1);
}
