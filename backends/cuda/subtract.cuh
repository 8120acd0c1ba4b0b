/* SPDX-License-Identifier: Apache-2.0
 * The planes of a multi-scale subtraction unit, s_k(A') and s_k(B) (MODELS.md 2.1), of one tile in shared memory: sums
 * over channels, of A where A is the smaller one (resizing and summing commute), then windows over them. */
#ifndef M2S_BACKENDS_CUDA_SUBTRACT_CUH
#define M2S_BACKENDS_CUDA_SUBTRACT_CUH

#include "backends/cuda/lanes.cuh"
#include "backends/cuda/resize.cuh"
#include "backends/cuda/tiles.cuh"

static constexpr int M2S_SUBTRACT_THREADS = 256;

/* A unit's shapes. */
struct m2s_subtract {
    m2s_axis rows, columns; /* of the resize from A to B */
    int channels, scales, reach;
    bool same;  /* A has B's size */
    bool grows; /* the sums of A' are made from those of A */
    m2s_window window[M2S_MAX_SCALES];
};

static inline m2s_subtract m2s_subtract_of(const m2s_attrs *attrs, m2s_shape coarse, m2s_shape fine)
{
    m2s_subtract unit = {};

    unit.rows = m2s_axis_of(coarse.h, fine.h);
    unit.columns = m2s_axis_of(coarse.w, fine.w);
    unit.channels = static_cast<int>(fine.c);
    unit.scales = attrs->scales;
    unit.same = coarse.h == fine.h && coarse.w == fine.w;
    unit.grows = coarse.h <= fine.h && coarse.w <= fine.w && !unit.same;
    for (int k = 0; k < unit.scales; k++) {
        unit.window[k] = m2s_window_of(attrs->scale[k], attrs->gaussian != 0, attrs->alpha);
        unit.reach = attrs->scale[k] / 2 > unit.reach ? attrs->scale[k] / 2 : unit.reach;
    }
    return unit;
}

/* Where things are in shared memory, in floats. Row sums and window sums take the place of what the lanes found. */
struct m2s_subtract_room {
    int lane_shift;
    int span_h; /* rows of A that a halo's pixels are made of, at most */
    m2s_divisor span_w;
    int span;              /* pixels of these */
    int a_pitch, b_pitch;  /* of what the lanes found */
    int planes, coarse;    /* places: A' and B of the halo; A */
    int part, sums, count; /* places: of lanes and of row sums; of window sums; numbers in all */
};

static inline int64_t m2s_span_of(int64_t in, int64_t out, int64_t halo)
{
    const int64_t span = ((halo - 1) * in + out - 1) / out + 2;

    return span < in ? span : in;
}

static inline m2s_subtract_room m2s_subtract_room_of(const m2s_subtract &unit, const m2s_tiles &tiles, int width)
{
    m2s_subtract_room room = {};
    const int halo_w = static_cast<int>(tiles.halo_columns.by), calls = 2 * unit.scales;

    /* Wide windows have large halos: one lane a pixel keeps what the lanes find small. */
    room.lane_shift = m2s_lane_shift(unit.channels, width, unit.reach <= 4 ? 3 : 0);
    room.span_h = static_cast<int>(m2s_span_of(unit.rows.in, unit.rows.out, tiles.halo / halo_w));
    room.span_w = m2s_divisor_of(m2s_span_of(unit.columns.in, unit.columns.out, halo_w));
    room.span = unit.grows ? room.span_h * static_cast<int>(room.span_w.by) : tiles.halo;
    room.a_pitch = m2s_lane_pitch(room.span, room.lane_shift);
    room.b_pitch = m2s_lane_pitch(tiles.halo, room.lane_shift);
    room.coarse = 2 * tiles.halo;
    room.part = room.coarse + (unit.grows ? room.span : 0);
    room.sums = room.part + calls * static_cast<int>(tiles.row_sums.by);
    const int lanes_end = room.part + ((room.a_pitch + room.b_pitch) << room.lane_shift);
    const int sums_end = room.sums + calls * m2s_tile_pixels(tiles);
    room.count = lanes_end > sums_end ? lanes_end : sums_end;
    return room;
}

/* Tiles and their room for a unit whose channels are read `width` at a time. */
static inline m2s_tiles m2s_subtract_tiles(const m2s_cuda_call *call, const m2s_subtract &unit, m2s_shape fine,
                                           int width)
{
    return m2s_choose_tiles(call, fine, unit.reach, [&](const m2s_tiles &tiles) {
        return sizeof(float) * static_cast<size_t>(m2s_subtract_room_of(unit, tiles, width).count);
    });
}

/* Four numbers of one image of A around a pixel of B, as offsets of their first channel, and how they are weighed. */
struct m2s_upsampling {
    m2s_axis_tap y, x;
    int64_t v00, v01, v10, v11;
};

M2S_HD inline m2s_upsampling m2s_upsampling_at(const m2s_subtract &unit, int y, int x)
{
    m2s_upsampling up;

    up.y = m2s_axis_tap_at(unit.rows, y);
    up.x = m2s_axis_tap_at(unit.columns, x);
    const int64_t low = static_cast<int64_t>(up.y.low) * unit.columns.in;
    const int64_t high = static_cast<int64_t>(up.y.high) * unit.columns.in;
    up.v00 = (low + up.x.low) * unit.channels;
    up.v01 = (low + up.x.high) * unit.channels;
    up.v10 = (high + up.x.low) * unit.channels;
    up.v11 = (high + up.x.high) * unit.channels;
    return up;
}

/* WIDTH channels of A' at pixel (y, x) of B; image: their first one at A's first pixel. */
template <int WIDTH, class T>
M2S_HD void m2s_upsampled(const m2s_subtract &unit, const T *image, int y, int x, float (&value)[WIDTH])
{
    float v00[WIDTH], v01[WIDTH], v10[WIDTH], v11[WIDTH];

    if (unit.same) {
        m2s_load<WIDTH>(image + (static_cast<int64_t>(y) * unit.columns.in + x) * unit.channels, value);
        return;
    }
    const m2s_upsampling up = m2s_upsampling_at(unit, y, x);

    m2s_load<WIDTH>(image + up.v00, v00);
    m2s_load<WIDTH>(image + up.v01, v01);
    m2s_load<WIDTH>(image + up.v10, v10);
    m2s_load<WIDTH>(image + up.v11, v11);
    for (int j = 0; j < WIDTH; j++) {
        value[j] = m2s_bilinear(up.y, up.x, v00[j], v01[j], v10[j], v11[j]);
    }
}

/* Makes a block's window sums in five phases. Afterwards sum(shared, call)[i] is that of pixel i of the tile; call 2k
 * is s_k(A'), 2k + 1 is s_k(B). */
template <class T, int WIDTH> struct m2s_subtract_planes {
    static constexpr int phases = 5;

    m2s_subtract unit;
    m2s_tiles tiles;
    m2s_subtract_room room;
    const T *a, *b;

    M2S_HD const T *image_of_a(const m2s_tile &tile) const
    {
        return a + tile.image * unit.rows.in * unit.columns.in * unit.channels;
    }

    M2S_HD const T *image_of_b(const m2s_tile &tile) const
    {
        return b + tile.image * tiles.h * tiles.w * unit.channels;
    }

    M2S_HD const float *sum(const char *shared, int call) const
    {
        return reinterpret_cast<const float *>(shared) + room.sums + call * m2s_tile_pixels(tiles);
    }

    /* The first row and column of A that the halo's pixels are made of. */
    M2S_HD void first_of_a(const m2s_tile &tile, int *y, int *x) const
    {
        *y = m2s_axis_tap_at(unit.rows, tile.top < 0 ? 0 : tile.top).low;
        *x = m2s_axis_tap_at(unit.columns, tile.left < 0 ? 0 : tile.left).low;
    }

    /* One lane's part of the sum of A, or where that is not summed apart, of A'. */
    M2S_HD float lane_of_a(const m2s_tile &tile, int pixel, int lane) const
    {
        const int lanes = 1 << room.lane_shift, channels = unit.channels;
        const T *image = image_of_a(tile);
        int y, x;

        if (unit.grows) {
            const int row = static_cast<int>(m2s_quotient(pixel, room.span_w));
            first_of_a(tile, &y, &x);
            y += row;
            x += pixel - row * static_cast<int>(room.span_w.by);
            return y < unit.rows.in && x < unit.columns.in
                       ? m2s_lane_sum<WIDTH>(image + (static_cast<int64_t>(y) * unit.columns.in + x) * channels,
                                             channels, lane, lanes)
                       : 0.0f;
        }
        if (!m2s_halo_pixel(tiles, tile, pixel, &y, &x)) {
            return 0.0f;
        }
        if (unit.same) {
            return m2s_lane_sum<WIDTH>(image + (static_cast<int64_t>(y) * unit.columns.in + x) * channels, channels,
                                       lane, lanes);
        }
        const m2s_upsampling up = m2s_upsampling_at(unit, y, x);
        return m2s_bilinear(up.y, up.x, m2s_lane_sum<WIDTH>(image + up.v00, channels, lane, lanes),
                            m2s_lane_sum<WIDTH>(image + up.v01, channels, lane, lanes),
                            m2s_lane_sum<WIDTH>(image + up.v10, channels, lane, lanes),
                            m2s_lane_sum<WIDTH>(image + up.v11, channels, lane, lanes));
    }

    M2S_HD float lane_of_b(const m2s_tile &tile, int pixel, int lane) const
    {
        int y, x;

        return m2s_halo_pixel(tiles, tile, pixel, &y, &x)
                   ? m2s_lane_sum<WIDTH>(image_of_b(tile) + (static_cast<int64_t>(y) * tiles.w + x) * unit.channels,
                                         unit.channels, lane, 1 << room.lane_shift)
                   : 0.0f;
    }

    /* The sum of A' at pixel i of the halo, from those of A. */
    M2S_HD float resized(const m2s_tile &tile, const float *coarse, int i) const
    {
        int y, x, first_y, first_x;

        if (!m2s_halo_pixel(tiles, tile, i, &y, &x)) {
            return 0.0f;
        }
        const m2s_axis_tap ty = m2s_axis_tap_at(unit.rows, y), tx = m2s_axis_tap_at(unit.columns, x);
        const int step = static_cast<int>(room.span_w.by);
        first_of_a(tile, &first_y, &first_x);
        const float *low = coarse + (ty.low - first_y) * step - first_x;
        const float *high = coarse + (ty.high - first_y) * step - first_x;
        return m2s_bilinear(ty, tx, low[tx.low], low[tx.high], high[tx.low], high[tx.high]);
    }

    M2S_HD void run(int phase, const m2s_thread &t, char *shared) const
    {
        float *at = reinterpret_cast<float *>(shared);
        float *up = at, *plane = at + tiles.halo, *coarse = at + room.coarse;
        float *part_a = at + room.part, *part_b = part_a + (room.a_pitch << room.lane_shift);
        const m2s_tile tile = m2s_tile_at(tiles, t.block);
        const int lanes = 1 << room.lane_shift, calls = 2 * unit.scales, sums = static_cast<int>(tiles.row_sums.by);

        if (phase == 0) {
            for (int i = t.thread; i < (tiles.halo + room.span) << room.lane_shift; i += t.threads) {
                const int pixel = i >> room.lane_shift, lane = i & (lanes - 1);
                if (pixel < tiles.halo) {
                    part_b[lane * room.b_pitch + pixel] = lane_of_b(tile, pixel, lane);
                } else {
                    part_a[lane * room.a_pitch + pixel - tiles.halo] = lane_of_a(tile, pixel - tiles.halo, lane);
                }
            }
        } else if (phase == 1) {
            for (int i = t.thread; i < tiles.halo + room.span; i += t.threads) {
                if (i < tiles.halo) {
                    plane[i] = m2s_lane_total(part_b, i, room.b_pitch, lanes);
                } else {
                    (unit.grows ? coarse : up)[i - tiles.halo] =
                        m2s_lane_total(part_a, i - tiles.halo, room.a_pitch, lanes);
                }
            }
        } else if (phase == 2) {
            for (int i = t.thread; unit.grows && i < tiles.halo; i += t.threads) {
                up[i] = resized(tile, coarse, i);
            }
        } else if (phase == 3) {
            for (int i = t.thread; i < calls * sums; i += t.threads) {
                const int call = static_cast<int>(m2s_quotient(i, tiles.row_sums));
                at[room.part + i] =
                    m2s_row_sum(tiles, unit.window[call / 2], call % 2 == 0 ? up : plane, i - call * sums);
            }
        } else {
            const int pixels = m2s_tile_pixels(tiles);
            for (int call = 0; call < calls; call++) {
                for (int i = t.thread; i < pixels; i += t.threads) {
                    at[room.sums + call * pixels + i] =
                        m2s_window_sum(tiles, unit.window[call / 2], at + room.part + call * sums, i);
                }
            }
        }
    }
};

#endif
