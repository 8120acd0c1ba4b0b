/* SPDX-License-Identifier: Apache-2.0 */
#include "net/variant.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* ---- the table of fields ---- */

static const char *const deep_inputs[] = { "own", "shared", "reducer" };
static const char *const units[] = { "subtraction", "addition", "aspp", "dense", "dense_shared" };
static const char *const filter_channels[] = { "full", "depthwise" };
static const char *const filter_norms[] = { "shared", "per_unit", "none" };
static const char *const filter_ones[] = { "identity", "ones" };

#define LEAST_SIGMA 0.1
#define MOST_SIGMA  31.0

typedef enum kind { KIND_INTEGER, KIND_BOOL, KIND_CHOICE, KIND_SIGMA } kind;

typedef struct field {
    const char *key;
    size_t offset;
    kind kind;
    int32_t low, high;        /* KIND_INTEGER */
    const char *const *words; /* KIND_CHOICE, high + 1 of them */
} field;

#define FIELD(name) #name, offsetof(m2s_variant, name)

/* In this order: `given` counts bits by it. */
enum { LEVELS, DEPTH, REDUCE_X1, INCLUDE_MS1, CE4_CONV, DEM4, CE5, UNIT, MSU_FILTER, MSU_BN, FILTER1, SIGMA, FIELDS };

static const field fields[FIELDS] = {
    [LEVELS] = { FIELD(levels), KIND_INTEGER, 4, 5, NULL },
    [DEPTH] = { FIELD(depth), KIND_INTEGER, 1, 5, NULL },
    [REDUCE_X1] = { FIELD(reduce_x1), KIND_BOOL, 0, 1, NULL },
    [INCLUDE_MS1] = { FIELD(include_ms1), KIND_BOOL, 0, 1, NULL },
    [CE4_CONV] = { FIELD(ce4_conv), KIND_BOOL, 0, 1, NULL },
    [DEM4] = { FIELD(dem4), KIND_BOOL, 0, 1, NULL },
    [CE5] = { FIELD(ce5), KIND_CHOICE, 0, M2S_DEEP_REDUCER, deep_inputs },
    [UNIT] = { FIELD(unit), KIND_CHOICE, 0, M2S_UNIT_DENSE_SHARED, units },
    [MSU_FILTER] = { FIELD(msu_filter), KIND_CHOICE, 0, M2S_FILTER_DEPTHWISE, filter_channels },
    [MSU_BN] = { FIELD(msu_bn), KIND_CHOICE, 0, M2S_NORM_NONE, filter_norms },
    [FILTER1] = { FIELD(filter1), KIND_CHOICE, 0, M2S_FILTER1_ONES, filter_ones },
    [SIGMA] = { FIELD(sigma), KIND_SIGMA, 0, 0, NULL },
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
    for (int i = 0; i < SIGMA; i++) {
        if (!is_given(v, i)) {
            *at(v, i) = *at(&usual, i);
        }
    }
}

/* The columns of MODELS.md 1.7, rows 1 to 8. */
static void give_recipe(m2s_variant *v, bool paper)
{
    give(v, REDUCE_X1, paper);
    give(v, INCLUDE_MS1, paper);
    give(v, CE4_CONV, paper);
    give(v, CE5, paper ? M2S_DEEP_SHARED : M2S_DEEP_OWN);
    give(v, DEM4, !paper);
    give(v, MSU_FILTER, paper ? M2S_FILTER_DEPTHWISE : M2S_FILTER_FULL);
    give(v, MSU_BN, paper ? M2S_NORM_NONE : M2S_NORM_SHARED);
    give(v, FILTER1, paper ? M2S_FILTER1_ONES : M2S_FILTER1_IDENTITY);
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

bool m2s_variant_is_aspp(const m2s_variant *variant)
{
    return variant->unit >= M2S_UNIT_ASPP;
}

/* ---- JSON ---- */

static m2snet_status check_keys(const m2s_json_source *source, const m2s_json *json, m2snet_error *error)
{
    const char *known[FIELDS + 1];

    for (int i = 0; i < FIELDS; i++) {
        known[i] = fields[i].key;
    }
    known[FIELDS] = "recipe";
    const char *unknown = m2s_json_unknown_key(json, known, FIELDS + 1);
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

m2snet_status m2s_variant_check(const m2s_variant *variant, const m2s_json_source *source, const int32_t *scale,
                                int32_t scales, bool gaussian, m2snet_error *error)
{
    static const int filter_options[] = { MSU_FILTER, MSU_BN, FILTER1, SIGMA };

    if (m2s_variant_is_aspp(variant)) {
        for (size_t i = 0; i < sizeof filter_options / sizeof filter_options[0]; i++) {
            const field *f = &fields[filter_options[i]];
            if (is_given(variant, filter_options[i])) {
                return m2s_fail(error, source->status, "%s key \"variant\": units \"%s\" have no filters, thus no %s",
                                source->name, units[variant->unit], f->key);
            }
        }
        if (gaussian || scales != 3 || scale[1] != 3 || scale[2] != 5) {
            return m2s_fail(error, source->status,
                            "%s key \"variant\": units \"%s\" have the scales [1, 3, 5] and no Gaussian", source->name,
                            units[variant->unit]);
        }
    }
    if (is_given(variant, SIGMA) && !gaussian) {
        return m2s_fail(error, source->status, "%s key \"variant\": sigma is of Gaussian filters (\"gaussian\": true)",
                        source->name);
    }
    if (m2s_variant_orders(variant) == 1 && !variant->include_ms1) {
        return m2s_fail(error, source->status,
                        "%s key \"variant\": depth 1 has no units, so that include_ms1 must be true", source->name);
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status refuse_misplaced(const m2s_json_source *source, const m2s_json *configuration, m2snet_error *error)
{
    for (int i = 0; i <= FIELDS; i++) {
        const char *key = i < FIELDS ? fields[i].key : "recipe";
        if (m2s_json_find(configuration, key) != NULL) {
            return m2s_fail(error, source->status, "%s key \"%s\" belongs into \"variant\"", source->name, key);
        }
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_variant_parse(m2s_variant *variant, const m2s_json_source *source, const m2s_json *configuration,
                                m2snet_error *error)
{
    static const char *const recipes[] = { "released", "paper" };
    m2s_variant parsed = *variant;
    m2s_json *json = NULL;
    size_t recipe = 0;
    m2snet_status status;

    M2S_TRY(refuse_misplaced(source, configuration, error)); /* to pass over it would make another network */
    M2S_TRY(m2s_json_get_child(source, configuration, "variant", M2S_JSON_OPTIONAL, M2S_JSON_OBJECT, &json, error));
    if (json == NULL) {
        return M2SNET_STATUS_OK;
    }
    M2S_TRY(check_keys(source, json, error));
    M2S_TRY(m2s_json_get_choice(source, json, "recipe", M2S_JSON_OPTIONAL, recipes, 2, &recipe, error));
    if (m2s_json_find(json, "recipe") != NULL) {
        give_recipe(&parsed, recipe == 1);
    }
    for (int i = 0; i < SIGMA; i++) {
        if (m2s_json_find(json, fields[i].key) != NULL) {
            int32_t value;
            M2S_TRY(get(source, json, &fields[i], &value, error));
            give(&parsed, i, value);
        }
    }
    if (m2s_json_find(json, fields[SIGMA].key) != NULL) {
        M2S_TRY(m2s_json_get_number(source, json, fields[SIGMA].key, M2S_JSON_REQUIRED, LEAST_SIGMA, MOST_SIGMA,
                                    &parsed.sigma, error));
        parsed.given |= 1u << SIGMA;
    }
    derive(&parsed);
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
        int32_t value = fields[i].kind == KIND_SIGMA ? 0 : *at(&copy, i);
        if (!is_given(variant, i)) {
            continue;
        }
        switch (fields[i].kind) {
        case KIND_SIGMA:
            M2S_TRY(m2s_json_put_number(json, fields[i].key, variant->sigma, NULL));
            break;
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

static bool has_norm(const keys *k, const char *prefix, int32_t kernel)
{
    char key[64];
    int32_t rank;

    snprintf(key, sizeof key, "%sconv_%d.norm.weight", prefix, (int)kernel);
    return k->lookup(k->user, key, &rank) != NULL;
}

/* In every pyramid that has units. */
#define FIRST_UNIT "x2_x1"

bool m2s_variant_has_filter(const m2s_variant *variant, int32_t kernel, m2s_key_lookup lookup, void *user)
{
    const keys k = { lookup, user };

    return has_norm(&k, variant->msu_bn == M2S_NORM_PER_UNIT ? FIRST_UNIT "_" : "", kernel);
}

static bool has_norm_per_unit(const keys *k)
{
    bool any = false;

    for (int32_t kernel = 1; kernel <= 31 && !any; kernel += 2) {
        any = has_norm(k, FIRST_UNIT "_", kernel);
    }
    return any;
}

static int32_t unit_found(const keys *k, int32_t otherwise)
{
    if (conv(k, "%s", FIRST_UNIT "_ab.b.0.0.weight").outputs != 0) {
        return M2S_UNIT_DENSE_SHARED;
    }
    if (conv(k, "%s", FIRST_UNIT "_a.b.0.0.weight").outputs != 0) {
        return conv(k, "%s", FIRST_UNIT "_a.r.0.0.weight").outputs != 0 ? M2S_UNIT_DENSE : M2S_UNIT_ASPP;
    }
    return otherwise;
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
    found(variant, UNIT, unit_found(&k, variant->unit));
    found(variant, MSU_BN, has_norm_per_unit(&k) ? M2S_NORM_PER_UNIT : variant->msu_bn);
    found(variant, FILTER1, m2s_variant_has_filter(variant, 1, lookup, user) ? M2S_FILTER1_ONES : variant->filter1);
    derive(variant);
}
