/* SPDX-License-Identifier: Apache-2.0
 * Planes (one number a pixel) cut into tiles, a block each, and the filters' windows over them in shared memory. What a
 * tile's windows reach beyond it is its margin; both together are the halo. */
#ifndef M2S_BACKENDS_CUDA_TILES_CUH
#define M2S_BACKENDS_CUDA_TILES_CUH

#include "backends/cuda/pixels.cuh"
#include "backends/cuda/window.cuh"

struct m2s_tiles {
    int h, w; /* of an image */
    int reach;
    int tile_h, tile_shift; /* tile_w is 1 << tile_shift */
    m2s_divisor across, down;
    m2s_divisor halo_columns; /* by halo_w */
    int halo;                 /* pixels of it */
    m2s_divisor row_sums;     /* by the numbers of one plane's row sums: halo_h * tile_w */
    int64_t blocks;
};

static inline m2s_tiles m2s_tiles_of(m2s_shape shape, int reach, int tile_h, int tile_shift)
{
    const int64_t tile_w = int64_t{ 1 } << tile_shift, across = (shape.w + tile_w - 1) / tile_w;
    const int64_t down = (shape.h + tile_h - 1) / tile_h, halo_h = tile_h + 2 * reach, halo_w = tile_w + 2 * reach;

    return m2s_tiles{ static_cast<int>(shape.h),
                      static_cast<int>(shape.w),
                      reach,
                      tile_h,
                      tile_shift,
                      m2s_divisor_of(across),
                      m2s_divisor_of(down),
                      m2s_divisor_of(halo_w),
                      static_cast<int>(halo_h * halo_w),
                      m2s_divisor_of(halo_h * tile_w),
                      shape.n * across * down };
}

/* The largest tiles that fill the device, of those for which bytes(tiles) of shared memory can be had; the smallest of
 * these when none does. How planes are cut changes no number. */
template <class Bytes>
m2s_tiles m2s_choose_tiles(const m2s_cuda_call *call, m2s_shape shape, int reach, const Bytes &bytes)
{
    static const int sides[][2] = { { 16, 4 }, { 8, 4 }, { 8, 3 }, { 4, 3 }, { 4, 2 } };
    m2s_tiles tiles = {};

    for (const int(&side)[2] : sides) {
        tiles = m2s_tiles_of(shape, reach, side[0], side[1]);
        if (bytes(tiles) <= M2S_CUDA_MAX_SHARED &&
            2 * tiles.blocks >= 3 * static_cast<int64_t>(call->multiprocessors)) {
            break;
        }
    }
    return tiles;
}

/* Where a block stands: its image, and the halo's upper left corner. */
struct m2s_tile {
    int64_t image;
    int top, left;
};

M2S_HD inline m2s_tile m2s_tile_at(const m2s_tiles &tiles, int block)
{
    const int64_t row = m2s_quotient(block, tiles.across), image = m2s_quotient(row, tiles.down);

    return m2s_tile{ image, static_cast<int>(row - image * tiles.down.by) * tiles.tile_h - tiles.reach,
                     (static_cast<int>(block - row * tiles.across.by) << tiles.tile_shift) - tiles.reach };
}

/* Pixel i of the halo; false: it is not in the image. */
M2S_HD inline bool m2s_halo_pixel(const m2s_tiles &tiles, const m2s_tile &tile, int i, int *y, int *x)
{
    const int row = static_cast<int>(m2s_quotient(i, tiles.halo_columns));

    *y = tile.top + row;
    *x = tile.left + i - row * static_cast<int>(tiles.halo_columns.by);
    return *y >= 0 && *y < tiles.h && *x >= 0 && *x < tiles.w;
}

/* Pixel i of the tile itself. */
M2S_HD inline bool m2s_tile_pixel(const m2s_tiles &tiles, const m2s_tile &tile, int i, int *y, int *x)
{
    *y = tile.top + tiles.reach + (i >> tiles.tile_shift);
    *x = tile.left + tiles.reach + (i & ((1 << tiles.tile_shift) - 1));
    return *y < tiles.h && *x < tiles.w;
}

M2S_HD inline int m2s_tile_pixels(const m2s_tiles &tiles)
{
    return tiles.tile_h << tiles.tile_shift;
}

/* Number i of a halo's row sums: `kernel` neighbours of one row of the plane. */
M2S_HD inline float m2s_row_sum(const m2s_tiles &tiles, const m2s_window &window, const float *halo, int i)
{
    const int row = i >> tiles.tile_shift, column = i & ((1 << tiles.tile_shift) - 1);
    const float *at = halo + row * static_cast<int>(tiles.halo_columns.by) + column + tiles.reach - window.kernel / 2;
    float sum = 0.0f;

    for (int k = 0; k < window.kernel; k++) {
        sum = fmaf(window.weight[k], at[k], sum);
    }
    return sum;
}

/* Number i of a tile's window sums: `kernel` row sums, one below the other. */
M2S_HD inline float m2s_window_sum(const m2s_tiles &tiles, const m2s_window &window, const float *row_sums, int i)
{
    const float *at = row_sums + i + ((tiles.reach - window.kernel / 2) << tiles.tile_shift);
    float sum = 0.0f;

    for (int k = 0; k < window.kernel; k++) {
        sum = fmaf(window.weight[k], at[k << tiles.tile_shift], sum);
    }
    return sum;
}

#endif
