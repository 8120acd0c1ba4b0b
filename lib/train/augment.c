/* SPDX-License-Identifier: Apache-2.0
 * What may be drawn, and drawing it. */
#include "train/augment.h"

#include <math.h>
#include <string.h>

#include "core/rng.h"

#define MAX_FIRST_SIZE_PX 8192
#define MIN_CROP          0.05
#define MIN_SCALE         0.1
#define MAX_BLUR_PX       16.0

/* ---- presets ---- */

static const double imagenet_mean[3] = { 0.485, 0.456, 0.406 };
static const double imagenet_std[3] = { 0.229, 0.224, 0.225 };
/* Of the released training code (MODELS.md 1.7, row 19), there in 0..255. */
static const double released_mean[3] = { 124.55 / 255.0, 118.90 / 255.0, 102.94 / 255.0 };
static const double released_std[3] = { 56.77 / 255.0, 55.97 / 255.0, 57.50 / 255.0 };

/* MODELS.md 3.11. */
static void preset_nnunet(m2snet_augment_options *o)
{
    o->order = M2SNET_AUGMENT_NNUNET;
    o->p_rotate = o->p_scale = 0.2;
    o->rotate_degrees = 180.0;
    o->scale_low = 0.7;
    o->scale_high = 1.4;
    o->p_noise = 0.1;
    o->noise_high = 0.1;
    o->p_blur = 0.2;
    o->blur_low_px = 0.5;
    o->blur_high_px = 1.0;
    o->p_brightness = o->p_contrast = 0.15;
    o->brightness = o->contrast = 0.25;
    o->p_low_resolution = 0.25;
    o->low_resolution = 0.5;
    o->p_gamma_inverted = 0.1;
    o->p_gamma = 0.3;
    o->gamma_low = 0.7;
    o->gamma_high = 1.5;
    o->p_flip_horizontal = o->p_flip_vertical = 0.5;
}

m2snet_status m2s_augment_preset(const char *name, m2snet_augment_options *options, m2snet_error *error)
{
    m2snet_augment_options o = { .struct_size = sizeof o,
                                 .crop_low = 1.0,
                                 .crop_high = 1.0,
                                 .scale_low = 1.0,
                                 .scale_high = 1.0,
                                 .low_resolution = 1.0,
                                 .gamma_low = 1.0,
                                 .gamma_high = 1.0 };
    bool is_released = strcmp(name, "released") == 0;

    memcpy(o.mean, is_released ? released_mean : imagenet_mean, sizeof o.mean);
    memcpy(o.std, is_released ? released_std : imagenet_std, sizeof o.std);
    if (is_released) {
        o.first_size_px = 352;
        o.rotate_about_index = 1;
        o.p_flip_horizontal = 0.5;
        o.p_rotate = 1.0;
        o.rotate_degrees = 10.0;
    } else if (strcmp(name, "compact") == 0) {
        o.p_flip_horizontal = o.p_flip_vertical = 0.5;
        o.p_quarter_turns = 0.75; /* each of the four positions alike */
        o.p_rotate = 1.0;
        o.rotate_degrees = 15.0;
        o.p_crop = 1.0;
        o.crop_low = 0.7;
        o.p_brightness = o.p_contrast = o.p_saturation = o.p_hue = 1.0;
        o.brightness = o.contrast = o.saturation = 0.2;
        o.hue = 0.02;
    } else if (strcmp(name, "nnunet") == 0) {
        preset_nnunet(&o);
    } else if (strcmp(name, "none") != 0) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                        "augmentation \"%s\": expected \"none\", \"released\", \"compact\" or \"nnunet\"", name);
    }
    *options = o;
    return M2SNET_STATUS_OK;
}

/* ---- checks ---- */

typedef struct range {
    const char *name;
    double value, low, high;
} range;

static m2snet_status check_ranges(const range *ranges, size_t count, m2snet_error *error)
{
    for (size_t i = 0; i < count; i++) {
        const range *r = &ranges[i];
        if (!(r->value >= r->low && r->value <= r->high)) { /* also not a NaN */
            return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "augmentation: %s is %g, expected %g to %g", r->name,
                            r->value, r->low, r->high);
        }
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_augment_check(const m2snet_augment_options *o, m2snet_error *error)
{
    const range ranges[] = {
        { "mean[0]", o->mean[0], -1e3, 1e3 },
        { "mean[1]", o->mean[1], -1e3, 1e3 },
        { "mean[2]", o->mean[2], -1e3, 1e3 },
        { "std[0]", o->std[0], 1e-6, 1e3 },
        { "std[1]", o->std[1], 1e-6, 1e3 },
        { "std[2]", o->std[2], 1e-6, 1e3 },
        { "first_size_px", o->first_size_px, 0, MAX_FIRST_SIZE_PX },
        { "rotate_about_index", o->rotate_about_index, 0, 1 },
        { "p_flip_horizontal", o->p_flip_horizontal, 0, 1 },
        { "p_flip_vertical", o->p_flip_vertical, 0, 1 },
        { "p_quarter_turns", o->p_quarter_turns, 0, 1 },
        { "p_rotate", o->p_rotate, 0, 1 },
        { "rotate_degrees", o->rotate_degrees, 0, 180 },
        { "p_crop", o->p_crop, 0, 1 },
        { "crop_high", o->crop_high, MIN_CROP, 1 },
        { "crop_low", o->crop_low, MIN_CROP, o->crop_high },
        { "p_brightness", o->p_brightness, 0, 1 },
        { "brightness", o->brightness, 0, 1 },
        { "p_contrast", o->p_contrast, 0, 1 },
        { "contrast", o->contrast, 0, 1 },
        { "p_saturation", o->p_saturation, 0, 1 },
        { "saturation", o->saturation, 0, 1 },
        { "p_hue", o->p_hue, 0, 1 },
        { "hue", o->hue, 0, 0.5 },
        { "p_blur", o->p_blur, 0, 1 },
        { "blur_high_px", o->blur_high_px, 0, MAX_BLUR_PX },
        { "blur_low_px", o->blur_low_px, 0, o->blur_high_px },
        { "p_noise", o->p_noise, 0, 1 },
        { "noise_high", o->noise_high, 0, 1 },
        { "noise_low", o->noise_low, 0, o->noise_high },
        { "order", o->order, M2SNET_AUGMENT_COLOUR, M2SNET_AUGMENT_NNUNET },
        { "p_scale", o->p_scale, 0, 1 },
        { "scale_high", o->scale_high, MIN_SCALE, 1 / MIN_SCALE },
        { "scale_low", o->scale_low, MIN_SCALE, o->scale_high },
        { "p_low_resolution", o->p_low_resolution, 0, 1 },
        { "low_resolution", o->low_resolution, MIN_CROP, 1 },
        { "p_gamma_inverted", o->p_gamma_inverted, 0, 1 },
        { "p_gamma", o->p_gamma, 0, 1 },
        { "gamma_low", o->gamma_low, MIN_SCALE, 1 },
        { "gamma_high", o->gamma_high, 1, 1 / MIN_SCALE },
    };

    return check_ranges(ranges, sizeof ranges / sizeof ranges[0], error);
}

bool m2s_augment_moves(const m2snet_augment_options *o)
{
    return o->p_flip_horizontal > 0.0 || o->p_flip_vertical > 0.0 || o->p_quarter_turns > 0.0 ||
           (o->p_rotate > 0.0 && o->rotate_degrees > 0.0) || o->p_scale > 0.0 || (o->p_crop > 0.0 && o->crop_low < 1.0);
}

m2snet_status m2s_mask_coding_check(const m2s_mask_coding *c, m2snet_error *error)
{
    if (c->kind != M2S_MASK_GRAY && c->kind != M2S_MASK_SIGMOID && c->kind != M2S_MASK_SOFTMAX) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "mask: kind is %d, expected 0 to 2", (int)c->kind);
    }
    if (c->threshold < 0 || c->threshold > 255) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "mask: threshold is %d, expected 0 to 255",
                        c->threshold);
    }
    if (c->kind == M2S_MASK_GRAY) {
        return M2SNET_STATUS_OK;
    }
    if (c->label_count < 1 || c->label_count > M2SNET_MAX_LABELS) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "mask: label_count is %d, expected 1 to %d",
                        c->label_count, M2SNET_MAX_LABELS);
    }
    for (int32_t i = 0; i < c->label_count; i++) {
        for (int32_t k = 0; k < i; k++) {
            if (c->labels[i] == c->labels[k]) {
                return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "mask: label %d is listed twice", c->labels[i]);
            }
        }
    }
    return M2SNET_STATUS_OK;
}

int32_t m2s_mask_channels(const m2s_mask_coding *coding)
{
    switch (coding->kind) {
    case M2S_MASK_SIGMOID:
        return coding->label_count;
    case M2S_MASK_SOFTMAX:
        return coding->label_count + 1;
    default:
        return 1;
    }
}

/* ---- drawing ---- */

/* The number each quantity has in a picture's stream. Append only: seeds in model cards depend on it. */
enum {
    DRAW_FLIP_HORIZONTAL,
    DRAW_FLIP_VERTICAL,
    DRAW_QUARTER,
    DRAW_QUARTER_COUNT,
    DRAW_ROTATE,
    DRAW_ROTATE_ANGLE,
    DRAW_CROP,
    DRAW_CROP_SIDE,
    DRAW_CROP_X,
    DRAW_CROP_Y,
    DRAW_BRIGHTNESS,
    DRAW_BRIGHTNESS_FACTOR,
    DRAW_CONTRAST,
    DRAW_CONTRAST_FACTOR,
    DRAW_SATURATION,
    DRAW_SATURATION_FACTOR,
    DRAW_HUE,
    DRAW_HUE_TURNS,
    DRAW_BLUR,
    DRAW_BLUR_SIGMA,
    DRAW_NOISE,
    DRAW_NOISE_STD,
    DRAW_NOISE_STREAM,
    DRAW_SCALE,
    DRAW_SCALE_SIDE,
    DRAW_LOW_RESOLUTION,
    DRAW_GAMMA_INVERTED,
    DRAW_GAMMA,
    DRAW_CHANNELS /* numbers of R, G and B of one quantity have a stream of their own */
};

static double between(uint64_t stream, uint64_t number, double low, double high)
{
    return low + (high - low) * m2s_rng_uniform(stream, number);
}

static bool chance(uint64_t stream, uint64_t number, double probability)
{
    return m2s_rng_uniform(stream, number) < probability;
}

static double factor(uint64_t stream, uint64_t number, double probability, double width)
{
    return chance(stream, number, probability) ? between(stream, number + 1, 1.0 - width, 1.0 + width) : 1.0;
}

/* Numbers of the three channels for one quantity: of each, whether it takes part, and two more. */
static uint64_t channel_stream(uint64_t stream, uint64_t quantity, int channel)
{
    return m2s_rng_bits(m2s_rng_bits(m2s_rng_bits(stream, DRAW_CHANNELS), quantity), (uint64_t)channel);
}

/* Below or above 1 with equal chance. */
static double around_one(uint64_t stream, double low, double high)
{
    return chance(stream, 0, 0.5) ? between(stream, 1, low, 1.0) : between(stream, 1, 1.0, high);
}

static void draw_levels(const m2snet_augment_options *o, uint64_t s, m2s_levels_draw *d)
{
    bool blur = chance(s, DRAW_BLUR, o->p_blur), brightness = chance(s, DRAW_BRIGHTNESS, o->p_brightness);
    bool contrast = chance(s, DRAW_CONTRAST, o->p_contrast);
    bool low_resolution = chance(s, DRAW_LOW_RESOLUTION, o->p_low_resolution);
    bool inverted = chance(s, DRAW_GAMMA_INVERTED, o->p_gamma_inverted), gamma = chance(s, DRAW_GAMMA, o->p_gamma);

    if (chance(s, DRAW_NOISE, o->p_noise)) {
        d->noise_std = between(s, DRAW_NOISE_STD, o->noise_low, o->noise_high);
    }
    for (int c = 0; c < 3; c++) {
        uint64_t b = channel_stream(s, DRAW_BLUR, c), r = channel_stream(s, DRAW_LOW_RESOLUTION, c);
        d->blur_sigma_px[c] = blur && chance(b, 0, 0.5) ? between(b, 1, o->blur_low_px, o->blur_high_px) : 0.0;
        d->low_resolution[c] = low_resolution && chance(r, 0, 0.5) ? between(r, 1, o->low_resolution, 1.0) : 0.0;
        if (brightness) {
            d->brightness[c] =
                around_one(channel_stream(s, DRAW_BRIGHTNESS, c), 1.0 - o->brightness, 1.0 + o->brightness);
        }
        if (contrast) {
            d->contrast[c] = around_one(channel_stream(s, DRAW_CONTRAST, c), 1.0 - o->contrast, 1.0 + o->contrast);
        }
        if (inverted) {
            d->gamma_inverted[c] = around_one(channel_stream(s, DRAW_GAMMA_INVERTED, c), o->gamma_low, o->gamma_high);
        }
        if (gamma) {
            d->gamma[c] = around_one(channel_stream(s, DRAW_GAMMA, c), o->gamma_low, o->gamma_high);
        }
    }
}

void m2s_augment_draw(const m2snet_augment_options *o, uint64_t seed, uint64_t epoch, uint64_t position, m2s_draw *draw)
{
    uint64_t s = m2s_rng_bits(m2s_rng_bits(m2s_rng_stream(seed, "augment"), epoch), position);
    m2s_draw d = M2S_DRAW_NONE;

    d.flip_horizontal = chance(s, DRAW_FLIP_HORIZONTAL, o->p_flip_horizontal);
    d.flip_vertical = chance(s, DRAW_FLIP_VERTICAL, o->p_flip_vertical);
    if (chance(s, DRAW_QUARTER, o->p_quarter_turns)) {
        d.quarter_turns = 1 + (int32_t)(3.0 * m2s_rng_uniform(s, DRAW_QUARTER_COUNT));
    }
    if (chance(s, DRAW_ROTATE, o->p_rotate)) {
        d.rotate_degrees = between(s, DRAW_ROTATE_ANGLE, -o->rotate_degrees, o->rotate_degrees);
    }
    if (chance(s, DRAW_CROP, o->p_crop)) {
        d.crop_side = between(s, DRAW_CROP_SIDE, o->crop_low, o->crop_high);
        d.crop_x = between(s, DRAW_CROP_X, 0.0, 1.0 - d.crop_side);
        d.crop_y = between(s, DRAW_CROP_Y, 0.0, 1.0 - d.crop_side);
    }
    if (chance(s, DRAW_SCALE, o->p_scale)) {
        d.scale = between(s, DRAW_SCALE_SIDE, o->scale_low, o->scale_high);
    }
    d.noise_stream = m2s_rng_bits(s, DRAW_NOISE_STREAM);
    if (o->order == M2SNET_AUGMENT_NNUNET) {
        draw_levels(o, s, &d.levels);
        *draw = d;
        return;
    }
    d.brightness = factor(s, DRAW_BRIGHTNESS, o->p_brightness, o->brightness);
    d.contrast = factor(s, DRAW_CONTRAST, o->p_contrast, o->contrast);
    d.saturation = factor(s, DRAW_SATURATION, o->p_saturation, o->saturation);
    if (chance(s, DRAW_HUE, o->p_hue)) {
        d.hue = between(s, DRAW_HUE_TURNS, -o->hue, o->hue);
    }
    if (chance(s, DRAW_BLUR, o->p_blur)) {
        d.blur_sigma_px = between(s, DRAW_BLUR_SIGMA, o->blur_low_px, o->blur_high_px);
    }
    if (chance(s, DRAW_NOISE, o->p_noise)) {
        d.noise_std = between(s, DRAW_NOISE_STD, o->noise_low, o->noise_high);
    }
    *draw = d;
}
