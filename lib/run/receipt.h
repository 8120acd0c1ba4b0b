/* SPDX-License-Identifier: Apache-2.0
 * The inference receipt: what was run on what, as a struct and as JSON. */
#ifndef M2S_RUN_RECEIPT_H
#define M2S_RUN_RECEIPT_H

#include "run/predict.h"

/* Fills result->receipt (times are set already) and result->receipt_json, but for the digest of a model that is still
 * being worked out. */
m2snet_status m2s_receipt_write(m2snet_result *result, const m2s_views *views, double threshold,
                                const m2snet_image *image, m2snet_error *error);

/* Waits for that digest and writes it into both; whoever reads them calls this first. For readers it changes nothing,
 * so the public functions, whose result is const, may. */
void m2s_receipt_complete(m2snet_result *result);

#endif
