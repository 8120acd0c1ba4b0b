/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a JSON document. One that is accepted must survive being written and read again, to the same text. */
#include <stdlib.h>
#include <string.h>

#include "core/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const m2s_json_source source = { "document", M2SNET_STATUS_FORMAT };

static void probe(const m2s_json *json)
{
    m2s_json_cursor cursor = { 0 };
    m2snet_error error;

    while (m2s_json_next(json, &cursor)) {
        static const char *const words[] = { "m2snet", "msnet" };
        int64_t integers[4];
        double numbers[4];
        size_t count = 0;
        bool truth = false;
        const char *text = NULL;
        m2s_json_get_integer(&source, json, cursor.key, M2S_JSON_REQUIRED, 0, 9, integers, &error);
        m2s_json_get_number(&source, json, cursor.key, M2S_JSON_REQUIRED, 0, 9, numbers, &error);
        m2s_json_get_bool(&source, json, cursor.key, M2S_JSON_REQUIRED, &truth, &error);
        m2s_json_get_string(&source, json, cursor.key, M2S_JSON_REQUIRED, &text, &error);
        m2s_json_get_choice(&source, json, cursor.key, M2S_JSON_REQUIRED, words, 2, &count, &error);
        m2s_json_get_integers(&source, json, cursor.key, M2S_JSON_REQUIRED, 0, 4, 0, 9, integers, &count, &error);
        m2s_json_get_numbers(&source, json, cursor.key, M2S_JSON_REQUIRED, 0, 4, 0, 9, numbers, &count, &error);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    m2s_memory memory;
    m2snet_error error;
    m2s_json *json = NULL;
    m2s_json *back = NULL;
    char *text = NULL;
    char *again = NULL;
    size_t bytes = 0;

    m2s_memory_init(&memory, NULL, 0);
    if (m2s_json_parse(&source, (const char *)data, size, &json, &error) != M2SNET_STATUS_OK) {
        return 0;
    }
    if (m2s_json_kind_of(json) == M2S_JSON_OBJECT) {
        probe(json);
    }
    int style = size > 0 ? data[size - 1] % 2 : 0;
    if (m2s_json_write(&memory, json, style, &text, &bytes, &error) != M2SNET_STATUS_OK ||
        m2s_json_parse(&source, text, bytes, &back, &error) != M2SNET_STATUS_OK ||
        m2s_json_write(&memory, back, style, &again, NULL, &error) != M2SNET_STATUS_OK || strcmp(text, again) != 0) {
        abort();
    }
    m2s_free(&memory, text);
    m2s_free(&memory, again);
    m2s_json_free(json);
    m2s_json_free(back);
    return 0;
}
