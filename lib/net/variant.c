/* SPDX-License-Identifier: Apache-2.0 */
#include "net/variant.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* ---- the table of fields ---- */

static const char *const deep_inputs[] = { "own", "shared", "reducer" };

typedef enum kind { KIND_INTEGER, KIND_BOOL, KIND_CHOICE } kind;

typedef struct field {
    const char *key;
    size_t offset;
    kind kind;
    int32_t low, high;        /* KIND_INTEGER */
    const char *const *words; /* KIND_CHOICE, high + 1 of them */
} field;

#define FIELD(name) #name, offsetof(m2s_variant, name)

/* In this order: `given` counts bits by it. */
enum { LEVELS, DEPTH, REDUCE_X1, INCLUDE_MS1, CE4_CONV, DEM4, CE5, FIELDS };

static const field fields[FIELDS] = {
    [LEVELS] = { FIELD(levels), KIND_INTEGER, 4, 5, NULL },
    [DEPTH] = { FIELD(depth), KIND_INTEGER, 1, 5, NULL },
    [REDUCE_X1] = { FIELD(reduce_x1), KIND_BOOL, 0, 1, NULL },
    [INCLUDE_MS1] = { FIELD(include_ms1), KIND_BOOL, 0, 1, NULL },
    [CE4_CONV] = { FIELD(ce4_conv), KIND_BOOL, 0, 1, NULL },
    [DEM4] = { FIELD(dem4), KIND_BOOL, 0, 1, NULL },
    [CE5] = { FIELD(ce5), KIND_CHOICE, 0, M2S_DEEP_REDUCER, deep_inputs },
};

static int32_t *at(m2s_variant *variant, int i)
{
    return (int32_t *)(void *)((char *)variant + fields[i].offset);
}

static bool is_given(const m2s_variant *variant, int i)
{
    return (variant->given >> i & 1) != 0;
}

static void give(m2s_variant *variant, int i, int32_t value)
{
    *at(variant, i) = value;
    variant->given |= 1u << i;
}

/* Sets what was not given. Whoever says a depth means the pyramid of Eq. 3; four levels have neither of the two extra
 * convolutions. */
static void derive(m2s_variant *v)
{
    m2s_variant usual = { .levels = 5, .depth = 5, .dem4 = 1, .ce5 = M2S_DEEP_OWN };

    usual.levels = is_given(v, LEVELS) ? v->levels : usual.levels;
    usual.include_ms1 = usual.ce4_conv = is_given(v, DEPTH);
    if (usual.levels == 4) {
        usual.dem4 = 0;
        usual.ce5 = M2S_DEEP_REDUCER;
    }
    for (int i = 0; i < FIELDS; i++) {
        if (!is_given(v, i)) {
            *at(v, i) = *at(&usual, i);
        }
    }
}

void m2s_variant_default(m2s_variant *variant)
{
    memset(variant, 0, sizeof *variant);
    derive(variant);
}

int32_t m2s_variant_orders(const m2s_variant *variant)
{
    return variant->depth < variant->levels ? variant->depth : variant->levels;
}

/* ---- JSON ---- */

static m2snet_status check_keys(const m2s_json_source *source, const m2s_json *json, m2snet_error *error)
{
    const char *known[FIELDS];

    for (int i = 0; i < FIELDS; i++) {
        known[i] = fields[i].key;
    }
    const char *unknown = m2s_json_unknown_key(json, known, FIELDS);
    if (unknown != NULL) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                        "%s key \"variant\": \"%s\" is not known to this library (version %s)", source->name, unknown,
                        M2SNET_VERSION_STRING);
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status get(const m2s_json_source *source, const m2s_json *json, const field *f, int32_t *value,
                         m2snet_error *error)
{
    int64_t integer = 0;
    bool flag = false;
    size_t index = 0;
    m2snet_status status;

    switch (f->kind) {
    case KIND_INTEGER:
        status = m2s_json_get_integer(source, json, f->key, M2S_JSON_REQUIRED, f->low, f->high, &integer, error);
        *value = (int32_t)integer;
        break;
    case KIND_BOOL:
        status = m2s_json_get_bool(source, json, f->key, M2S_JSON_REQUIRED, &flag, error);
        *value = flag;
        break;
    default:
        status =
            m2s_json_get_choice(source, json, f->key, M2S_JSON_REQUIRED, f->words, (size_t)f->high + 1, &index, error);
        *value = (int32_t)index;
    }
    return status;
}

static m2snet_status check(const m2s_variant *variant, const m2s_json_source *source, m2snet_error *error)
{
    if (m2s_variant_orders(variant) == 1 && !variant->include_ms1) {
        return m2s_fail(error, source->status,
                        "%s key \"variant\": depth 1 has no units, so that include_ms1 must be true", source->name);
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_variant_parse(m2s_variant *variant, const m2s_json_source *source, const m2s_json *configuration,
                                m2snet_error *error)
{
    m2s_variant parsed = *variant;
    m2s_json *json = NULL;
    m2snet_status status;

    M2S_TRY(m2s_json_get_child(source, configuration, "variant", M2S_JSON_OPTIONAL, M2S_JSON_OBJECT, &json, error));
    if (json == NULL) {
        return M2SNET_STATUS_OK;
    }
    M2S_TRY(check_keys(source, json, error));
    for (int i = 0; i < FIELDS; i++) {
        if (m2s_json_find(json, fields[i].key) != NULL) {
            int32_t value;
            M2S_TRY(get(source, json, &fields[i], &value, error));
            give(&parsed, i, value);
        }
    }
    derive(&parsed);
    M2S_TRY(check(&parsed, source, error));
    *variant = parsed;
fail:
    return status;
}

m2snet_status m2s_variant_put(const m2s_variant *variant, m2s_json *configuration)
{
    m2s_variant copy = *variant;
    m2s_json *json;
    m2snet_status status = M2SNET_STATUS_OK;

    if (variant->given == 0) {
        return status;
    }
    M2S_TRY(m2s_json_put_child(configuration, "variant", M2S_JSON_OBJECT, &json, NULL));
    for (int i = 0; i < FIELDS; i++) {
        int32_t value = *at(&copy, i);
        if (!is_given(variant, i)) {
            continue;
        }
        switch (fields[i].kind) {
        case KIND_INTEGER:
            M2S_TRY(m2s_json_put_integer(json, fields[i].key, value, NULL));
            break;
        case KIND_BOOL:
            M2S_TRY(m2s_json_put_bool(json, fields[i].key, value != 0, NULL));
            break;
        default:
            M2S_TRY(m2s_json_put_string(json, fields[i].key, fields[i].words[value], NULL));
        }
    }
fail:
    return status;
}

/* ---- recognition ---- */

typedef struct keys {
    m2s_key_lookup lookup;
    void *user;
} keys;

typedef struct sizes {
    int64_t outputs, inputs; /* of a convolution; 0 when there is none */
} sizes;

__attribute__((format(printf, 2, 3))) static sizes conv(const keys *k, const char *format, ...)
{
    char key[96];
    int32_t rank = 0;
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(key, sizeof key, format, arguments);
    va_end(arguments);
    const int64_t *dims = k->lookup(k->user, key, &rank);
    return dims != NULL && rank == 4 ? (sizes){ dims[0], dims[1] } : (sizes){ 0, 0 };
}

/* A unit of every order up to the number of levels stands on level 1: "x2_x1", "x3_x2_x1", ... */
static int32_t orders_found(const keys *k, int32_t levels)
{
    static const char *const unit[] = { "x2_x1", "x3_x2_x1", "x4_x3_x2_x1", "x5_x4_x3_x2_x1" };
    int32_t orders = 1;

    while (orders < levels && conv(k, "%s.0.weight", unit[orders - 1]).outputs != 0) {
        orders++;
    }
    return orders;
}

static m2s_deep_input deep_input_found(const keys *k, int32_t levels)
{
    sizes reducer = conv(k, "x%d_dem_1.0.weight", levels), deep = conv(k, "x%d_dem_5.0.weight", levels);

    return deep.outputs == 0                                                  ? M2S_DEEP_REDUCER
           : deep.inputs == deep.outputs && reducer.inputs != reducer.outputs ? M2S_DEEP_SHARED
                                                                              : M2S_DEEP_OWN;
}

/* Said by the keys, unless it was said already or is what the rest implies. */
static void found(m2s_variant *variant, int i, int32_t value)
{
    derive(variant);
    if (!is_given(variant, i) && *at(variant, i) != value) {
        give(variant, i, value);
    }
}

void m2s_variant_recognise(m2s_variant *variant, m2s_key_lookup lookup, void *user)
{
    const keys k = { lookup, user };
    int32_t levels = 5;

    while (levels >= 4 && conv(&k, "x%d_dem_1.0.weight", levels).outputs == 0) {
        levels--;
    }
    if (levels < 4) { /* an encoder alone */
        return;
    }
    found(variant, LEVELS, levels);
    levels = variant->levels;
    int32_t orders = orders_found(&k, levels);
    found(variant, DEPTH, orders == levels ? variant->depth : orders);
    found(variant, REDUCE_X1, levels == 5 && conv(&k, "%s", "x1_dem_1.0.weight").outputs != 0);
    found(variant, CE4_CONV, conv(&k, "level%d.0.weight", levels - 1).outputs != 0);
    found(variant, DEM4, orders == levels ? conv(&k, "x%d_dem_4.0.weight", levels).outputs != 0 : variant->dem4);
    found(variant, CE5, (int32_t)deep_input_found(&k, levels));
    derive(variant);
}
