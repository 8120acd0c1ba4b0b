/* SPDX-License-Identifier: Apache-2.0 */
#include "train/augment_map.h"

#include <math.h>

#define RADIANS_PER_DEGREE (3.14159265358979323846 / 180.0)

m2s_map m2s_map_resize(int32_t width, int32_t height, int32_t src_width, int32_t src_height)
{
    double sx = (double)src_width / width;
    double sy = (double)src_height / height;

    return (m2s_map){ .xx = sx, .x0 = 0.5 * sx - 0.5, .yy = sy, .y0 = 0.5 * sy - 0.5 };
}

m2s_map m2s_map_chain(const m2s_map *outer, const m2s_map *inner)
{
    return (m2s_map){
        .xx = inner->xx * outer->xx + inner->xy * outer->yx,
        .xy = inner->xx * outer->xy + inner->xy * outer->yy,
        .x0 = inner->xx * outer->x0 + inner->xy * outer->y0 + inner->x0,
        .yx = inner->yx * outer->xx + inner->yy * outer->yx,
        .yy = inner->yx * outer->xy + inner->yy * outer->yy,
        .y0 = inner->yx * outer->x0 + inner->yy * outer->y0 + inner->y0,
    };
}

m2s_map m2s_map_move(const m2s_draw *d, bool about_index, int32_t width, int32_t height, int32_t src_width,
                     int32_t src_height)
{
    static const double quarter_cos[4] = { 1.0, 0.0, -1.0, 0.0 };
    static const double quarter_sin[4] = { 0.0, 1.0, 0.0, -1.0 };
    double w = width, h = height;
    double shift = about_index ? 0.0 : -0.5; /* of the centre of rotation from (w/2, h/2) */

    /* Undo the rotation: centre to origin, turn back, origin to the picture's true centre. */
    double angle = d->rotate_degrees * RADIANS_PER_DEGREE;
    double a = d->rotate_degrees == 0.0 ? 1.0 : cos(angle);
    double b = d->rotate_degrees == 0.0 ? 0.0 : sin(angle);
    m2s_map to_centre = { .xx = 1.0, .x0 = -(w / 2.0 + shift), .yy = 1.0, .y0 = -(h / 2.0 + shift) };
    a *= d->scale;
    b *= d->scale;
    m2s_map rotate = { .xx = a, .xy = -b, .x0 = shift + 0.5, .yx = b, .yy = a, .y0 = shift + 0.5 };

    /* Undo the quarter turns, in which sides change places, and the mirrors. */
    double qa = quarter_cos[d->quarter_turns & 3];
    double qb = quarter_sin[d->quarter_turns & 3];
    double mx = d->flip_horizontal ? -1.0 : 1.0;
    double my = d->flip_vertical ? -1.0 : 1.0;
    m2s_map turn = { .xx = mx * qa, .xy = mx * -qb * (w / h), .yx = my * qb * (h / w), .yy = my * qa };

    /* Into the window. */
    m2s_map window = { .xx = d->crop_side * src_width / w,
                       .x0 = (d->crop_x + 0.5 * d->crop_side) * src_width - 0.5,
                       .yy = d->crop_side * src_height / h,
                       .y0 = (d->crop_y + 0.5 * d->crop_side) * src_height - 0.5 };
    if (d->is_patch) { /* of the result's size, in the picture's own pixels */
        window = (m2s_map){ .xx = d->crop_side,
                            .x0 = d->patch_x + (d->crop_x + 0.5 * d->crop_side) * w - 0.5,
                            .yy = d->crop_side,
                            .y0 = d->patch_y + (d->crop_y + 0.5 * d->crop_side) * h - 0.5 };
    }

    m2s_map map = m2s_map_chain(&to_centre, &rotate);
    map = m2s_map_chain(&map, &turn);
    return m2s_map_chain(&map, &window);
}

m2s_map m2s_map_whole(const m2snet_augment_options *o, const m2s_draw *draw, int32_t width, int32_t height,
                      int32_t src_width, int32_t src_height)
{
    int32_t side = o->first_size_px;

    if (side == 0) {
        return m2s_map_move(draw, o->rotate_about_index != 0, width, height, src_width, src_height);
    }
    m2s_map last = m2s_map_resize(width, height, side, side);
    m2s_map move = m2s_map_move(draw, o->rotate_about_index != 0, side, side, side, side);
    m2s_map first = m2s_map_resize(side, side, src_width, src_height);
    move = m2s_map_chain(&last, &move);
    return m2s_map_chain(&move, &first);
}

bool m2s_map_is_identity(const m2s_map *m)
{
    return m->xx == 1.0 && m->xy == 0.0 && m->x0 == 0.0 && m->yx == 0.0 && m->yy == 1.0 && m->y0 == 0.0;
}
