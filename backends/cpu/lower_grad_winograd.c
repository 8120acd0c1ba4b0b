/* SPDX-License-Identifier: Apache-2.0
 * conv2d_grad_weights of 3x3 windows, stride 1, padding 1, by the adjoint of Winograd's minimal filtering: a tile's
 * source and gradient are transformed, their products at each of the (m + 2)^2 points summed over all tiles, and the
 * sums transformed to the nine taps. F(4x4) takes 36 products a tile for 144.
 *
 * Tiles are cut into parts with sums of their own, added up in order at the end; where channels are many, the points'
 * matrices are cut as well. */
#include "backends/cpu/winograd.h"

/* Channels of either operand in a chunk. */
#define CHUNK_CHANNELS 128
/* Transformed numbers of a block of tiles: they stay in a last-level cache, a point's part in a second-level one. */
#define BLOCK_NUMBERS (640 * 1024)
#define MOST_TILES    160
/* Sums of all parts together. */
#define MOST_SUMS (2 * 1024 * 1024)
/* Multiply-adds of a chunk: some 110 us on one core. */
#define CHUNK_WORK (6 * 1000)

typedef struct grad_detail {
    int m;
    int64_t points, tiles; /* tiles: of an image */
    int64_t parts, row_cuts, column_cuts;
    int64_t block;                   /* tiles transformed at once */
    int64_t row_depth, column_depth; /* numbers from a tile to the next in transformed matrices */
} grad_detail;

static void free_detail(m2s_memory *memory, void *detail)
{
    m2s_free(memory, detail);
}

static int64_t sums_of(const m2s_step *step, const grad_detail *detail)
{
    m2s_shape weights = step->args.out_shape[0];

    return detail->points * weights.o * weights.i;
}

/* A line more than the matrix, so that points spread over cache sets. */
static int64_t point_stride(const grad_detail *detail, int64_t depth)
{
    return detail->block * depth + 16;
}

/* Transforms tiles begin..end, counted through all images, of one operand's channels. */
static void transform(m2s_shape shape, const float *data, m2s_cut channels, const grad_detail *detail, m2s_cut tiles,
                      void (*kernel)(const m2s_winograd_input *), int64_t depth, float *dst)
{
    for (int64_t tile = tiles.begin; tile < tiles.end;) {
        int64_t image = tile / detail->tiles, first = tile % detail->tiles;
        int64_t count = detail->tiles - first < tiles.end - tile ? detail->tiles - first : tiles.end - tile;
        m2s_winograd_input input = {
            .h = shape.h,
            .w = shape.w,
            .channels = channels.end - channels.begin,
            .src = data + image * shape.h * shape.w * shape.c + channels.begin,
            .src_pixel = shape.c,
            .tile_begin = first,
            .tile_end = first + count,
            .dst = dst + (tile - tiles.begin) * depth,
            .point_stride = point_stride(detail, depth),
            .row_stride = depth,
        };
        kernel(&input);
        tile += count;
    }
}

static void run_products(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const grad_detail *detail = step->detail;
    m2s_shape src = step->args.in_shape[0], diff = step->args.in_shape[1];
    int64_t cuts = detail->row_cuts * detail->column_cuts;
    m2s_cut all = m2s_cut_part(src.n * detail->tiles, detail->parts, chunk / cuts);
    m2s_cut rows = m2s_cut_part(diff.c, detail->row_cuts, chunk % cuts / detail->column_cuts);
    m2s_cut columns = m2s_cut_part(src.c, detail->column_cuts, chunk % detail->column_cuts);
    float *sums =
        (float *)step->args.scratch + chunk / cuts * sums_of(step, detail) + rows.begin * src.c + columns.begin;
    float *row_part = m2s_step_worker_scratch(step, worker);
    float *column_part = row_part + detail->points * point_stride(detail, detail->row_depth);

    (void)task;
    for (int64_t begin = all.begin; begin < all.end; begin += detail->block) {
        m2s_cut tiles = { begin, begin + detail->block < all.end ? begin + detail->block : all.end };
        transform(diff, step->args.in[1], rows, detail, tiles, step->kernels->winograd_diff[detail->m == 4],
                  detail->row_depth, row_part);
        transform(src, step->args.in[0], columns, detail, tiles, step->kernels->winograd_input[detail->m == 4],
                  detail->column_depth, column_part);
        for (int64_t p = 0; p < detail->points; p++) {
            m2s_outer outer = {
                .rows = rows.end - rows.begin,
                .columns = columns.end - columns.begin,
                .segments = 1,
                .count = tiles.end - tiles.begin,
                .a = row_part + p * point_stride(detail, detail->row_depth),
                .a_step = detail->row_depth,
                .b = column_part + p * point_stride(detail, detail->column_depth),
                .b_step = detail->column_depth,
                .c = sums + p * diff.c * src.c,
                .c_stride = src.c,
                .accumulate = begin > all.begin,
            };
            step->kernels->outer(&outer);
        }
    }
}

static void run_taps(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const grad_detail *detail = step->detail;
    m2s_shape weights = step->args.out_shape[0];
    m2s_cut outputs = m2s_cut_part(weights.o, step->tasks[task].chunks, chunk);

    (void)worker;
    for (int64_t o = outputs.begin; o < outputs.end; o++) {
        m2s_winograd_grad grad = {
            .columns = weights.i,
            .sums = (const float *)step->args.scratch + o * weights.i,
            .point_stride = weights.o * weights.i,
            .parts = detail->parts,
            .part_stride = sums_of(step, detail),
            .dst = (float *)step->args.out[0] + o * weights.i * 9,
        };
        step->kernels->winograd_grad[detail->m == 4](&grad);
    }
}

/* Rows of whole vectors, not 2 KiB apart. */
static int64_t depth_of(const m2s_cpu_kernels *kernels, int64_t channels)
{
    int64_t depth = m2s_gemm_packed_columns(kernels, channels);

    return depth + (depth % 512 == 0 ? 16 : 0);
}

static void choose_cuts(const m2s_step *step, grad_detail *detail)
{
    m2s_shape src = step->args.in_shape[0], diff = step->args.in_shape[1];
    int64_t all = src.n * detail->tiles;

    detail->row_cuts = (diff.c + CHUNK_CHANNELS - 1) / CHUNK_CHANNELS;
    detail->column_cuts = (src.c + CHUNK_CHANNELS - 1) / CHUNK_CHANNELS;
    int64_t rows = (diff.c + detail->row_cuts - 1) / detail->row_cuts;
    int64_t columns = (src.c + detail->column_cuts - 1) / detail->column_cuts;
    int64_t most = MOST_SUMS / sums_of(step, detail) < 1 ? 1 : MOST_SUMS / sums_of(step, detail);
    detail->parts = m2s_cut_count(all, detail->points * rows * columns, CHUNK_WORK);
    if (detail->parts > most) {
        detail->parts = most > 1 ? most / 2 * 2 : 1; /* so that two workers end together */
    }
    detail->row_depth = depth_of(step->kernels, rows);
    detail->column_depth = depth_of(step->kernels, columns);
    detail->block = BLOCK_NUMBERS / detail->points / (detail->row_depth + detail->column_depth);
    detail->block = detail->block < MOST_TILES ? detail->block : MOST_TILES;
    int64_t longest = (all + detail->parts - 1) / detail->parts;
    int64_t blocks = (longest + detail->block - 1) / detail->block;
    detail->block = (longest + blocks - 1) / blocks;
}

m2snet_status m2s_lower_grad_winograd(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_shape src = step->args.in_shape[0], weights = step->args.out_shape[0];
    int m = m2s_winograd_side(src.h, src.w, src.c, weights.o);
    m2snet_status status = M2SNET_STATUS_OK;
    grad_detail *detail;

    if (m == 0 || attrs->kernel != 3 || attrs->stride != 1 || attrs->pad != 1 || attrs->dilation != 1 ||
        attrs->groups != 1) {
        return M2SNET_STATUS_UNSUPPORTED;
    }
    detail = m2s_calloc(lowering->device->host->memory, 1, sizeof *detail);
    if (detail == NULL) {
        return m2s_fail_memory(error, step->name, sizeof *detail);
    }
    step->detail = detail;
    step->free_detail = free_detail;
    M2S_TRY(m2s_lowering_plain_constants(lowering, error));
    detail->m = m;
    detail->points = (int64_t)(m + 2) * (m + 2);
    detail->tiles = (src.h + m - 1) / m * ((src.w + m - 1) / m);
    choose_cuts(step, detail);
    step->scratch_bytes = (size_t)(detail->parts * sums_of(step, detail)) * sizeof(float);
    step->worker_bytes = (size_t)(detail->points * (point_stride(detail, detail->row_depth) +
                                                    point_stride(detail, detail->column_depth))) *
                         sizeof(float);
    m2s_step_set_kernel(step, "winograd f%dx%d %s", m, m, step->kernels->name);
    m2s_step_add_task(step, run_products, detail->parts * detail->row_cuts * detail->column_cuts);
    m2s_step_add_task(step, run_taps,
                      m2s_cut_count(weights.o, detail->parts * sums_of(step, detail) / weights.o, M2S_CHUNK_NUMBERS));
fail:
    return status;
}
