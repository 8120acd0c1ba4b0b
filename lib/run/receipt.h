/* SPDX-License-Identifier: Apache-2.0
 * The inference receipt: what was run on what, as a struct and as JSON. */
#ifndef M2S_RUN_RECEIPT_H
#define M2S_RUN_RECEIPT_H

#include "run/predict.h"

/* Fills result->receipt (times are set already) and result->receipt_json. */
m2snet_status m2s_receipt_write(m2snet_result *result, const m2s_views *views, double threshold,
                                const m2snet_image *image, m2snet_error *error);

#endif
