/* SPDX-License-Identifier: Apache-2.0
 * Variants of the pyramid: where the paper and the released code differ (MODELS.md 1.7), depth and levels (3.3, 3.7),
 * and other units than the multi-scale subtraction (3.1 to 3.4). JSON in and out, under the configuration's key
 * "variant"; recognition from a checkpoint's keys. */
#ifndef M2S_NET_VARIANT_H
#define M2S_NET_VARIANT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/json.h"

/* Looks a checkpoint's tensor up by key: its rank and dims (row-major, 8 at most), or NULL when it has none. */
typedef const int64_t *(*m2s_key_lookup)(void *user, const char *key, int32_t *rank);

#define M2S_MAX_LEVELS 5

/* What a unit does with its inputs: |A - B|, A + B (paper, table 10: AU), or |.| of branches (net/aspp.h). */
typedef enum m2s_unit {
    M2S_UNIT_SUBTRACTION,
    M2S_UNIT_ADDITION,
    M2S_UNIT_ASPP,
    M2S_UNIT_DENSE,
    M2S_UNIT_DENSE_SHARED
} m2s_unit;

typedef enum m2s_filter_channels { M2S_FILTER_FULL, M2S_FILTER_DEPTHWISE } m2s_filter_channels;
typedef enum m2s_filter_norm { M2S_NORM_SHARED, M2S_NORM_PER_UNIT, M2S_NORM_NONE } m2s_filter_norm;
typedef enum m2s_filter_one { M2S_FILTER1_IDENTITY, M2S_FILTER1_ONES } m2s_filter_one;
typedef enum m2s_deep_input { M2S_DEEP_OWN, M2S_DEEP_SHARED, M2S_DEEP_REDUCER } m2s_deep_input;

/* int32_t throughout, so that one table describes all fields; bools are 0 or 1. */
typedef struct m2s_variant {
    uint32_t given;      /* bit i: field i of variant.c's table was said by a text or by keys; others are derived */
    int32_t levels;      /* 5, or 4: without the encoder's stem */
    int32_t depth;       /* highest order of the units, 1 (none: a feature pyramid) to 5; more than levels = levels */
    int32_t reduce_x1;   /* the finest level has a reducer, too, where it could do without */
    int32_t include_ms1; /* aggregation takes the level's own feature, too (Eq. 3) */
    int32_t ce4_conv;    /* a convolution behind the deepest aggregation */
    int32_t dem4;        /* a CBR in front of the unit of the highest order */
    int32_t ce5;         /* m2s_deep_input: the decoder begins with its own reducer of the deepest level, with a CBR of
                            the pyramid's reduced level, or with that itself */
    int32_t unit;        /* m2s_unit */
    int32_t msu_filter;  /* m2s_filter_channels: a window over the sum of all channels, or over each channel */
    int32_t msu_bn;      /* m2s_filter_norm: batch norm and ReLU behind the filters, for all units, for each, or not */
    int32_t filter1;     /* m2s_filter_one: the scale 1 is taken as it is, or goes the way of the others */
    double sigma;        /* of Gaussian filters, px; 0 = by the kernel (graph.h) */
} m2s_variant;

/* What the released networks have. */
void m2s_variant_default(m2s_variant *variant);
/* Overlays "variant" of a configuration; its "recipe", "paper" or "released", comes before its other keys. Unknown keys
 * are refused: a variant that is not understood is another network; and so are its keys beside "variant". */
m2snet_status m2s_variant_parse(m2s_variant *variant, const m2s_json_source *source, const m2s_json *configuration,
                                m2snet_error *error);
/* Refuses combinations that make no network. scale and gaussian: the configuration's. */
m2snet_status m2s_variant_check(const m2s_variant *variant, const m2s_json_source *source, const int32_t *scale,
                                int32_t scales, bool gaussian, m2snet_error *error);
/* Writes "variant" with what was given; nothing when nothing was. */
m2snet_status m2s_variant_put(const m2s_variant *variant, m2s_json *configuration);

/* Sets what was not given from a checkpoint's keys and shapes. What leaves no trace in them stays: addition,
 * depthwise filters, none behind the filters, sigma, and include_ms1, which is as the depth has it. */
void m2s_variant_recognise(m2s_variant *variant, m2s_key_lookup lookup, void *user);

/* Whether a checkpoint has batch norm behind the filter of this kernel; the variant is known already. */
bool m2s_variant_has_filter(const m2s_variant *variant, int32_t kernel, m2s_key_lookup lookup, void *user);
/* Whether the units have branches rather than filters. */
bool m2s_variant_is_aspp(const m2s_variant *variant);
/* Highest order of the units: depth, or levels when that is less. */
int32_t m2s_variant_orders(const m2s_variant *variant);

#endif
