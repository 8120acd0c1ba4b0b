/* SPDX-License-Identifier: Apache-2.0
 * Pictures in, masks out: preparation, network, results at the picture's size, and the receipt. */
#ifndef M2S_RUN_PREDICT_H
#define M2S_RUN_PREDICT_H

#include "image/postprocess.h"
#include "run/views.h"

typedef struct m2s_result_feature {
    const m2s_feature_row *row; /* of the model */
    m2s_shape shape;            /* n is 1 */
    float *numbers;
} m2s_result_feature;

struct m2snet_result {
    m2snet_model *model; /* keeps the strings of the receipt alive */
    m2s_segmentation segmentation;
    uint8_t *labels; /* NULL unless asked for */
    m2snet_receipt receipt;
    char preprocessing[192];
    char views[160];
    char *ensemble; /* checksums of the other models */
    char *receipt_json;
    bool digest_later;            /* m2s_receipt_complete */
    m2s_result_feature *features; /* those asked for, in order */
    int32_t feature_count;
    float *gradcam; /* at the picture's size; NULL: not asked for */
};

void m2s_predict_options_default(m2snet_predict_options *options);

/* results[0..count) are set or, on failure, all NULL. The session must be entered. */
m2snet_status m2s_predict(m2snet_session *session, const m2snet_image *images, int32_t count,
                          const m2snet_predict_options *options, m2snet_result **results, m2snet_error *error);
void m2s_result_destroy(m2snet_result *result); /* NULL is fine */

#endif
