/* SPDX-License-Identifier: Apache-2.0
 * m2snet-segment: what the network computed inside, as pictures for people. */
#ifndef EXAMPLES_SEGMENT_SHEET_H
#define EXAMPLES_SEGMENT_SHEET_H

#include "m2snet.h"

#define SHEET_MOST 40 /* tensors of a sheet */

/* Names of the tensors that a sheet shows and the model has: encoder, reducers, units, sums, decoder. Returns how many;
 * the strings are static. */
int32_t sheet_names(const m2snet_model *model, const char *names[SHEET_MOST]);

/* One PNG: the picture with its outcome on top, below it the tensors, a row for each kind and a column for each level;
 * every map shows the mean over channels of the absolute value, scaled to its own maximum. result holds the tensors.
 * gradcam: name of the tensor of the result's Grad-CAM map, or NULL. */
m2snet_status write_sheet(m2snet_context *context, const char *path, const char *title, const m2snet_model_info *model,
                          const m2snet_image *image, const m2snet_result *result, const char *gradcam,
                          m2snet_error *error);

/* The picture under its Grad-CAM map, at its own size. */
m2snet_status write_gradcam(m2snet_context *context, const char *path, const m2snet_image *image,
                            const m2snet_result *result, m2snet_error *error);

#endif
