/* SPDX-License-Identifier: Apache-2.0
 * Changing pictures at random while training: what is drawn, and how it is applied.
 *
 * Draws are counted: a picture's numbers depend on (seed, epoch, position in the epoch) alone, never on threads or on
 * what was drawn before. Every quantity has its own number, so switching one off leaves the others as they were.
 *
 * Geometry. The picture is cropped, mirrored, turned by quarters and rotated, in this order. Without first_size_px all
 * of it and the change of size are one affine map and one bilinear sample (half-pixel centres; inside the picture's
 * area edge pixels continue, outside it the picture is 0 after normalising, the mask 0). With first_size_px, as in the
 * released code (MODELS.md 4.3): bilinear resize to that size, edges continued; then the map, neighbours outside
 * counting 0; then bilinear resize to the output's size: each a step of its own, in float.
 *
 * Scaling is about the centre, with the rotation. A patch is a window of the output's size in the picture's own pixels,
 * which is then turned and scaled; what is cropped, mirrored and so on is the patch.
 *
 * Colour, before normalising, v in 0..1, factors f = U(1 - range, 1 + range), in this order: brightness v f; contrast
 * m + f (v - m), m the mean gray of the whole picture after brightness; saturation g + f (v - g), g the pixel's gray
 * (0.299, 0.587, 0.114); hue: the I, Q plane of YIQ rotated by U(-range, range) turns; then clipped to 0..1. All of it
 * is one affine map of R, G, B. Blur (Gaussian, edges mirrored) and noise (sum of four uniforms) work on the finished
 * picture. With order NNUNET all of this is train/augment_levels.h's instead. */
#ifndef M2S_TRAIN_AUGMENT_H
#define M2S_TRAIN_AUGMENT_H

#include "core/memory.h"

/* "none": picture and mask as they are, ImageNet's normalisation. "released": MODELS.md 4.3. "compact": what
 * polyp-compact was trained with. "nnunet": MODELS.md 3.11. INVALID_ARGUMENT: no such preset. */
m2snet_status m2s_augment_preset(const char *name, m2snet_augment_options *options, m2snet_error *error);
/* INVALID_ARGUMENT names the member that makes no sense. */
m2snet_status m2s_augment_check(const m2snet_augment_options *options, m2snet_error *error);
/* Whether the picture's geometry may change, apart from its size. */
bool m2s_augment_moves(const m2snet_augment_options *options);

/* What gray levels of a mask mean. */
typedef enum m2s_mask_kind {
    M2S_MASK_GRAY = 0,    /* one channel, level / 255, soft */
    M2S_MASK_SIGMOID = 1, /* a channel for each of labels[], each soft (bilinear); other levels are background */
    M2S_MASK_SOFTMAX = 2  /* channel 0 = background, then labels[]; one-hot, nearest (order NNUNET: the label that has
                           * most of the bilinear weights) */
} m2s_mask_kind;

typedef struct m2s_mask_coding {
    m2s_mask_kind kind;
    int32_t threshold; /* GRAY: 0 = soft; 1..255: levels from here on become 255, others 0, before interpolation */
    bool binarize;     /* GRAY and SIGMOID: the finished mask's values become 1 from 0.5 on, else 0 */
    uint8_t labels[M2SNET_MAX_LABELS]; /* distinct */
    int32_t label_count;               /* SIGMOID and SOFTMAX: 1..M2SNET_MAX_LABELS */
} m2s_mask_coding;
m2snet_status m2s_mask_coding_check(const m2s_mask_coding *coding, m2snet_error *error);
int32_t m2s_mask_channels(const m2s_mask_coding *coding);

/* A decoded picture: R, G, B and the mask's byte (GRAY: the level; else 0 = background, i + 1 = labels[i]), dense. */
typedef struct m2s_picture {
    int32_t width, height;
    float mean_rgb[3]; /* of all pixels, 0..1 */
    uint8_t rgbm[];
} m2s_picture;
#define M2S_PICTURE_BYTES(width, height) (sizeof(m2s_picture) + 4 * (size_t)(width) * (size_t)(height))

/* What was drawn for the levels of one picture in nnU-Net's way; R, G and B have numbers of their own. */
typedef struct m2s_levels_draw {
    double noise_std; /* 0 = none, as everywhere here */
    double blur_sigma_px[3];
    double brightness[3];
    double contrast[3];
    double low_resolution[3]; /* share of the sides that stays */
    double gamma_inverted[3];
    double gamma[3];
} m2s_levels_draw;

/* What was drawn for one picture. */
typedef struct m2s_draw {
    bool flip_horizontal, flip_vertical;
    int32_t quarter_turns;                   /* 0..3, counter-clockwise */
    double rotate_degrees;                   /* counter-clockwise */
    double crop_side;                        /* share of each side; 1 = no crop */
    double crop_x, crop_y;                   /* left and top of the window, shares of the picture's sides */
    double brightness, contrast, saturation; /* factors; 1 = unchanged */
    double hue;                              /* turns; 0 = unchanged */
    double blur_sigma_px;                    /* 0 = none */
    double noise_std;                        /* 0 = none */
    uint64_t noise_stream;
    double scale; /* of the sides of what is shown; 1 = unchanged */
    bool is_patch;
    int32_t patch_x, patch_y; /* left and top of the patch, px of the picture; may lie outside */
    m2s_levels_draw levels;   /* order NNUNET */
} m2s_draw;
#define M2S_DRAW_NONE                                                                                                  \
    ((m2s_draw){ .crop_side = 1.0, .brightness = 1.0, .contrast = 1.0, .saturation = 1.0, .scale = 1.0 })

/* A picture whose draw is still to be applied: all that m2s_augment_apply needs beside its bytes. */
typedef struct m2s_unfinished {
    int32_t width, height; /* 0: it is finished */
    float mean_rgb[3];
    m2s_draw draw;
} m2s_unfinished;

void m2s_augment_draw(const m2snet_augment_options *options, uint64_t seed, uint64_t epoch, uint64_t position,
                      m2s_draw *draw);

#define M2S_AUGMENT_PLANES 4

/* Memory that one thread reuses from picture to picture; starts zeroed, ended by m2s_augment_scratch_release. */
typedef struct m2s_augment_scratch {
    m2s_memory *memory;
    float *planes[M2S_AUGMENT_PLANES];
    size_t bytes[M2S_AUGMENT_PLANES];
} m2s_augment_scratch;
void m2s_augment_scratch_release(m2s_augment_scratch *scratch);

/* Picture and draw -> image (height, width, 3) normalised and mask (height, width, m2s_mask_channels), dense floats.
 * Only options' normalisation, first_size_px and rotate_about_index are read. Fails for want of memory alone. */
m2snet_status m2s_augment_apply(const m2snet_augment_options *options, const m2s_draw *draw, const m2s_picture *picture,
                                const m2s_mask_coding *coding, int32_t height, int32_t width,
                                m2s_augment_scratch *scratch, float *image, float *mask, m2snet_error *error);

#endif
