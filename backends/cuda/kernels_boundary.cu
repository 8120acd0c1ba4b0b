/* SPDX-License-Identifier: Apache-2.0
 * boundary_weights: 1 + alpha |box(mask) / kernel^2 - mask|. A block makes a tile of one channel in two steps, each by
 * running sums: down the columns of the tile and of what the window reaches on both sides, then along its rows. A
 * window costs two loads and two reads of shared memory a pixel, however wide it is. */
#include "backends/cuda/kernel.cuh"

namespace
{

constexpr int THREADS = 256;
constexpr int TILE_ROWS = 16;
constexpr int TILE_COLUMNS = 256; /* with what the window reaches, where it is not too wide for that */
constexpr int RUN = 7;            /* neighbours that a thread makes from one running sum; odd, so that threads read
                                     different banks */

struct boundary_body {
    static constexpr int phases = 2;

    const float *mask;
    float *dst;
    int h, w, c;
    int radius;
    int columns; /* of a tile; shared memory has radius more on both sides */
    int rows;
    double inverse; /* 1 / kernel^2 */
    float alpha;

    /* Sums of columns [x - radius ...] of the tile, over the window of each of its rows. */
    M2S_HD void add_columns(const float *plane, int top, int left, const m2s_thread &t, float *sums) const
    {
        int wide = columns + 2 * radius, bottom = top + rows < h ? top + rows : h;

        for (int i = t.thread; i < wide; i += t.threads) {
            int x = left - radius + i, first = top - radius > 0 ? top - radius : 0;
            double sum = 0.0;
            if (x < 0 || x >= w) {
                for (int y = top; y < bottom; y++) {
                    sums[(y - top) * wide + i] = 0.0f;
                }
                continue;
            }
            const float *column = plane + static_cast<int64_t>(x) * c;
            for (int y = first; y < top + radius && y < h; y++) {
                sum += static_cast<double>(column[static_cast<int64_t>(y) * w * c]);
            }
            for (int y = top; y < bottom; y++) {
                if (y + radius < h) {
                    sum += static_cast<double>(column[static_cast<int64_t>(y + radius) * w * c]);
                }
                sums[(y - top) * wide + i] = static_cast<float>(sum);
                if (y - radius >= 0) {
                    sum -= static_cast<double>(column[static_cast<int64_t>(y - radius) * w * c]);
                }
            }
        }
    }

    M2S_HD void run(int phase, const m2s_thread &t, char *shared) const
    {
        float *sums = reinterpret_cast<float *>(shared);
        int64_t image = static_cast<int64_t>(t.block_z / c) * h * w * c + t.block_z % c;
        int top = t.block_y * rows, left = t.block * columns, wide = columns + 2 * radius;
        int runs = (columns + RUN - 1) / RUN;

        if (phase == 0) {
            add_columns(mask + image, top, left, t, sums);
            return;
        }
        for (int i = t.thread; i < runs * rows; i += t.threads) {
            int y = i / runs, x = i % runs * RUN;
            const float *row = sums + y * wide;
            double sum = 0.0;
            if (top + y >= h) {
                return;
            }
            for (int k = x; k < x + 2 * radius; k++) {
                sum += static_cast<double>(row[k]);
            }
            for (int end = x + RUN; x < end && x < columns && left + x < w; x++) {
                int64_t at = image + (static_cast<int64_t>(top + y) * w + left + x) * c;
                sum += static_cast<double>(row[x + 2 * radius]);
                dst[at] = 1.0f + alpha * fabsf(static_cast<float>(sum * inverse - static_cast<double>(mask[at])));
                sum -= static_cast<double>(row[x]);
            }
        }
    }
};

int launch_boundary(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const m2s_attrs *attrs = args->attrs;
    m2s_shape shape = args->out_shape[0];
    double kernel = static_cast<double>(attrs->kernel);
    boundary_body body = {};
    int64_t most = shape.h > shape.w ? shape.h : shape.w;

    body.mask = static_cast<const float *>(args->in[0]);
    body.dst = static_cast<float *>(args->out[0]);
    body.h = static_cast<int>(shape.h);
    body.w = static_cast<int>(shape.w);
    body.c = static_cast<int>(shape.c);
    /* A wider window reaches nothing else. */
    body.radius = attrs->kernel / 2 < most ? attrs->kernel / 2 : static_cast<int>(most);
    body.inverse = 1.0 / (kernel * kernel);
    body.alpha = static_cast<float>(attrs->alpha);

    int room = TILE_COLUMNS - 2 * body.radius > TILE_COLUMNS / 4 ? TILE_COLUMNS - 2 * body.radius : TILE_COLUMNS / 4;
    int tiles = (body.w + room - 1) / room;
    body.columns = (body.w + tiles - 1) / tiles;
    int64_t row_bytes = static_cast<int64_t>(body.columns + 2 * body.radius) * static_cast<int64_t>(sizeof(float));
    int64_t rows = M2S_CUDA_MAX_SHARED / row_bytes;
    body.rows = rows < TILE_ROWS ? static_cast<int>(rows) : TILE_ROWS;
    if (body.rows == 0) {
        return M2S_CUDA_ERROR_CONFIGURATION;
    }
    m2s_cuda_grid grid = { tiles, (body.h + body.rows - 1) / body.rows, static_cast<int>(shape.n * shape.c) };
    return m2s_cuda_launch(call, body, grid, THREADS, static_cast<size_t>(body.rows * row_bytes));
}

} // namespace

extern "C" {
const m2s_cuda_kernel m2s_cuda_boundary_weights = { nullptr, launch_boundary, false };
}
