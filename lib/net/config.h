/* SPDX-License-Identifier: Apache-2.0
 * A model's description: which network, and how its pictures are prepared. JSON in and out (docs/file-format.md). */
#ifndef M2S_NET_CONFIG_H
#define M2S_NET_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "core/memory.h"
#include "net/coding.h"
#include "net/variant.h"

#define M2S_MAX_CLASSES   64
#define M2S_CONFIG_SCALES 6 /* kernel sides of a subtraction unit, 1 included */
#define M2S_MIN_INPUT_PX  33
#define M2S_MAX_INPUT_PX  8192

/* Of an encoder; what a family has no use for is 0. */
typedef struct m2s_encoder_stage {
    int32_t blocks;
    int32_t width;    /* the family's own meaning; res2net: channels of one of the four groups */
    int32_t channels; /* of the stage's output */
} m2s_encoder_stage;

typedef struct m2s_config {
    char encoder[32]; /* a named size, "res2net_compact", or the family's name for any other: "res2net" */
    int32_t stem[3];  /* the family's own meaning; res2net: output channels of the stem's three convolutions */
    m2s_encoder_stage stage[4];
    double drop_path; /* of a training step alone, neither read nor written: branches dropped, at most this often */
    int32_t pyramid_channels;
    int32_t scale[M2S_CONFIG_SCALES]; /* odd, ascending, the first is 1 */
    int32_t scales;                   /* how many; 1 = MSNet */
    bool gaussian;                    /* filters are Gaussian windows rather than ones */
    m2s_variant variant;              /* of the pyramid's structure */
    int32_t classes;                  /* channels of the logits */
    int32_t input_width, input_height;
    float mean[3], std[3]; /* of RGB in 0..1 */
    double threshold;
    char class_name[M2S_MAX_CLASSES][64]; /* "" = none */
    m2s_coding coding;
} m2s_config;

/* M2SNet with Res2Net-50 v1b 26w4s, 352 x 352, ImageNet normalisation, threshold 0.5. */
void m2s_config_default(m2s_config *config);
/* Sets stem, stages and encoder by a named size of any family; false when there is none of that name. */
bool m2s_config_set_encoder(m2s_config *config, const char *name);
/* Names config->encoder after the named size of its family that has these shapes, after the family when none has. */
void m2s_config_name_encoder(m2s_config *config);
/* "msnet" with one scale, else "m2snet". */
const char *m2s_config_architecture(const m2s_config *config);

/* Overlays the keys of a JSON object on config. Unknown keys are ignored unless they begin with "required_" or belong
 * into "variant"; those of "encoder_shape" and "variant" are refused, as is a newer format_version. classes may be 0 in
 * config: not said yet. sets_encoder, sets_scales (each may be NULL) tell whether the text says them. */
m2snet_status m2s_config_parse(m2s_config *config, const char *json, size_t length, bool *sets_encoder,
                               bool *sets_scales, m2snet_error *error);
/* Refuses what makes no network or no label map, of a configuration whose parts came from several places: texts, and a
 * checkpoint's keys. */
m2snet_status m2s_config_check(const m2s_config *config, m2snet_error *error);
/* The complete configuration as compact JSON; m2s_free it. NULL = out of memory. */
char *m2s_config_dump(const m2s_config *config, m2s_memory *memory);

#endif
