/* SPDX-License-Identifier: Apache-2.0
 * attention and its gradient for naive_train.h, a query pixel and head at a time, weights through the logarithm of
 * their sum. */
#ifndef M2S_TESTS_OPS_NAIVE_ATTENTION_H
#define M2S_TESTS_OPS_NAIVE_ATTENTION_H

#include "ops/naive.h"

typedef struct naive_attention_head {
    naive query, keys_values;
    int64_t n, first, width, keys;
    double alpha;
} naive_attention_head;

/* What key j says of channel c: of keys, or of values (second half). */
static inline double *naive_key(const naive_attention_head *at, naive t, int64_t j, int64_t c, bool value)
{
    int64_t w = t.shape.w;

    return naive_at(t, at->n, j / w, j % w, (value ? t.shape.c / 2 : 0) + at->first + c);
}

/* weights[j] = exp(s_j - log sum_i exp(s_i)) for the query at (y, x); scores are below 700. */
static inline void naive_attention_weights(const naive_attention_head *at, int64_t y, int64_t x, double *weights)
{
    double *score = calloc((size_t)at->keys, sizeof *score), sum = 0.0;

    for (int64_t j = 0; j < at->keys; j++) {
        for (int64_t c = 0; c < at->width; c++) {
            score[j] += at->alpha * *naive_at(at->query, at->n, y, x, at->first + c) *
                        *naive_key(at, at->keys_values, j, c, false);
        }
        sum += exp(score[j]);
    }
    for (int64_t j = 0; j < at->keys; j++) {
        weights[j] = exp(score[j] - log(sum));
    }
    free(score);
}

/* The result, or with diff the gradients, by softmax's Jacobian: dp_i / ds_j = p_i (delta_ij - p_j). */
static inline void naive_attention(naive query, naive keys_values, const m2s_attrs *a, naive diff, naive *out)
{
    int64_t keys = keys_values.shape.h * keys_values.shape.w, width = query.shape.c / a->groups;
    double *weights = calloc((size_t)keys, sizeof *weights);

    out[0] = naive_new(query.shape.n, query.shape.h, query.shape.w, query.shape.c);
    out[1] = diff.data != NULL
                 ? naive_new(keys_values.shape.n, keys_values.shape.h, keys_values.shape.w, keys_values.shape.c)
                 : out[1];
    NAIVE_EACH(query, n, y, x, channel)
    {
        naive_attention_head at = { query, keys_values, n, channel, width, keys, a->alpha };
        if (channel % width != 0) {
            continue;
        }
        naive_attention_weights(&at, y, x, weights);
        double mean = 0.0;
        for (int pass = diff.data != NULL ? 0 : 1; pass < 2; pass++) {
            for (int64_t j = 0; j < keys; j++) {
                double back = 0.0;
                for (int64_t c = 0; c < width; c++) {
                    if (diff.data == NULL) {
                        *naive_at(out[0], n, y, x, channel + c) +=
                            weights[j] * *naive_key(&at, keys_values, j, c, true);
                    } else {
                        back += *naive_at(diff, n, y, x, channel + c) * *naive_key(&at, keys_values, j, c, true);
                    }
                }
                mean += pass == 0 ? weights[j] * back : 0.0;
                for (int64_t c = 0; diff.data != NULL && pass == 1 && c < width; c++) {
                    double slope = a->alpha * weights[j] * (back - mean);
                    *naive_at(out[0], n, y, x, channel + c) += slope * *naive_key(&at, keys_values, j, c, false);
                    *naive_key(&at, out[1], j, c, false) += slope * *naive_at(query, n, y, x, channel + c);
                    *naive_key(&at, out[1], j, c, true) += weights[j] * *naive_at(diff, n, y, x, channel + c);
                }
            }
        }
    }
    free(weights);
}

#endif
