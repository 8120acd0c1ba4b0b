/* SPDX-License-Identifier: Apache-2.0 */
#include "train/augment_job.h"

#include "train/augment_colour.h"
#include "train/augment_map.h"

static m2s_picture_map map_of(m2s_map m)
{
    return (m2s_picture_map){ m.xx, m.xy, m.x0, m.yx, m.yy, m.y0 };
}

static void add_step(m2s_augment_job *job, m2s_map map, m2s_picture_border border, int32_t width, int32_t height)
{
    job->step[job->steps++] = (m2s_picture_step){ map_of(map), border, width, height };
}

/* A step that changes nothing is left out. */
static void add_steps(m2s_augment_job *job, const m2snet_augment_options *o, const m2s_draw *draw, m2s_map whole,
                      int32_t height, int32_t width)
{
    int32_t side = o->first_size_px;

    if (side == 0) {
        add_step(job, whole, M2S_PICTURE_AREA, width, height);
        return;
    }
    m2s_map move = m2s_map_move(draw, o->rotate_about_index != 0, side, side, side, side);
    add_step(job, m2s_map_resize(side, side, job->width, job->height), M2S_PICTURE_EDGE, side, side);
    if (!m2s_map_is_identity(&move)) {
        add_step(job, move, M2S_PICTURE_ZERO, side, side);
    }
    if (width != side || height != side) {
        add_step(job, m2s_map_resize(width, height, side, side), M2S_PICTURE_EDGE, width, height);
    }
}

void m2s_augment_job_make(m2s_augment_job *job, const m2snet_augment_options *o, const m2s_unfinished *picture,
                          const m2s_mask_coding *coding, int32_t height, int32_t width)
{
    const m2s_draw *draw = &picture->draw;
    m2s_map whole = m2s_map_whole(o, draw, width, height, picture->width, picture->height);
    m2s_colour colour;

    *job = (m2s_augment_job){ .width = picture->width,
                              .height = picture->height,
                              .labels = coding->kind == M2S_MASK_GRAY ? 0 : m2s_mask_channels(coding),
                              .one_hot = coding->kind == M2S_MASK_SOFTMAX,
                              .whole = map_of(whole),
                              .binarize = coding->binarize && coding->kind != M2S_MASK_SOFTMAX,
                              .blur_sigma_px = draw->blur_sigma_px,
                              .noise_stream = draw->noise_stream,
                              .has_colour = m2s_colour_map(draw, picture->mean_rgb, &colour) };
    add_steps(job, o, draw, whole, height, width);
    for (int c = 0; c < 3; c++) {
        for (int k = 0; k < 3 && job->has_colour; k++) {
            job->matrix[c][k] = (float)colour.matrix[c][k];
        }
        job->offset[c] = job->has_colour ? (float)colour.offset[c] : 0.0f;
        job->mean[c] = (float)o->mean[c];
        job->std[c] = (float)o->std[c];
        job->noise_std[c] = (float)(draw->noise_std / o->std[c]);
    }
}
