/* SPDX-License-Identifier: Apache-2.0
 * conv2d_grad_weights: for each tap of the window, a sum over pixels of outer products of the result's gradient and
 * the source, which are read where they lie or, for 1x1 windows, from copies that the products read in order.
 *
 * Work is cut three ways: into parts of the pixels, each with sums of its own, added up in order at the end; and, where
 * weights are many, into blocks of rows and of columns of the matrix. A part goes through its pixels some rows of the
 * image at a time, so that what all taps and tiles of a block read stays in a core's caches. */
#include "backends/cpu/plan.h"

/* Pixels that are read by all tiles before the next ones. */
#define BLOCK_PIXELS 176
/* Sums of a chunk: they stay in a second-level cache. */
#define CHUNK_SUMS 32768
/* Sums of all parts together. */
#define MOST_SUMS (1024 * 1024)
/* Multiply-adds of a chunk: some 150 us on one core. */
#define CHUNK_WORK (8 * 1000 * 1000)

typedef struct grad_detail {
    bool packed; /* 1x1 windows: a chunk copies its part of both operands, pixel block by pixel block */
    bool turned; /* rows of the matrix are source channels, columns those of the gradient; else the other way */
    int64_t images, taps;
    int64_t rows, columns;            /* of a group's matrix */
    int64_t block_rows, image_blocks; /* rows of the image that are done at once; so many times an image */
    int64_t parts, row_cuts, column_cuts;
    int64_t row_panel, column_panel; /* numbers of a packed panel */
    int64_t row_panels;              /* most of a chunk */
} grad_detail;

static void free_detail(m2s_memory *memory, void *detail)
{
    m2s_free(memory, detail);
}

static int64_t sums_of(const m2s_step *step)
{
    return m2s_shape_elements(step->args.out_shape[0]);
}

/* Results 0..count-1 along one axis, `begin` first, whose source at tap offset `offset` is inside 0..size-1. */
static m2s_cut inside(m2s_cut results, int64_t offset, int64_t stride, int64_t size)
{
    int64_t first = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
    int64_t end = size - 1 - offset < 0 ? 0 : (size - 1 - offset) / stride + 1;

    first = first > results.begin ? first : results.begin;
    end = end < results.end ? end : results.end;
    return (m2s_cut){ first, end > first ? end : first };
}

typedef struct block {
    int64_t image;
    m2s_cut lines; /* rows of the gradient */
    int64_t group;
    m2s_cut rows, columns; /* of the matrix */
    bool first;            /* of its part */
} block;

/* Rows of wide tensors lie too far apart for the caches, and all tiles read them: once copied, they are read in order.
 */
static void pack_operands(const m2s_step *step, float *scratch, m2s_outer *outer)
{
    const grad_detail *detail = step->detail;
    m2s_outer_pack rows = {
        .rows = true,
        .count = outer->rows,
        .segments = outer->segments,
        .steps = outer->count,
        .src = outer->a,
        .step = outer->a_step,
        .segment = outer->a_segment,
        .dst = scratch,
        .panel = detail->row_panel,
    };
    m2s_outer_pack columns = {
        .count = outer->columns,
        .segments = outer->segments,
        .steps = outer->count,
        .src = outer->b,
        .step = outer->b_step,
        .segment = outer->b_segment,
        .dst = scratch + detail->row_panels * detail->row_panel,
        .panel = detail->column_panel,
    };

    step->kernels->outer_pack(&rows);
    step->kernels->outer_pack(&columns);
    outer->count *= outer->segments;
    outer->segments = 1;
    outer->a = rows.dst;
    outer->a_step = step->kernels->row_block;
    outer->a_panel = rows.panel;
    outer->b = columns.dst;
    outer->b_step = step->kernels->panel_columns;
    outer->b_panel = columns.panel;
}

/* The products of one tap over the pixels of a block. */
static void add_tap(const m2s_step *step, const block *at, int64_t tap, float *sums, float *scratch)
{
    const grad_detail *detail = step->detail;
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_shape src = step->args.in_shape[0], diff = step->args.in_shape[1];
    int64_t dy = tap / attrs->kernel * attrs->dilation - attrs->pad;
    int64_t dx = tap % attrs->kernel * attrs->dilation - attrs->pad;
    m2s_cut y = inside(at->lines, dy, attrs->stride, src.h);
    m2s_cut x = inside((m2s_cut){ 0, diff.w }, dx, attrs->stride, src.w);
    int64_t src_channel = at->group * (src.c / attrs->groups), diff_channel = at->group * (diff.c / attrs->groups);
    const float *s =
        (const float *)step->args.in[0] + src_channel +
        ((at->image * src.h + y.begin * attrs->stride + dy) * src.w + x.begin * attrs->stride + dx) * src.c;
    const float *d =
        (const float *)step->args.in[1] + diff_channel + ((at->image * diff.h + y.begin) * diff.w + x.begin) * diff.c;
    m2s_outer outer = {
        .rows = at->rows.end - at->rows.begin,
        .columns = at->columns.end - at->columns.begin,
        .segments = x.end > x.begin ? y.end - y.begin : 0,
        .count = x.end - x.begin,
        .a = d,
        .a_step = diff.c,
        .a_segment = diff.w * diff.c,
        .b = s,
        .b_step = attrs->stride * src.c,
        .b_segment = attrs->stride * src.w * src.c,
        .c = sums + ((at->group * detail->taps + tap) * detail->rows + at->rows.begin) * detail->columns +
             at->columns.begin,
        .c_stride = detail->columns,
        .accumulate = !at->first,
    };

    if (detail->turned) {
        outer.a = s;
        outer.a_step = attrs->stride * src.c;
        outer.a_segment = attrs->stride * src.w * src.c;
        outer.b = d;
        outer.b_step = diff.c;
        outer.b_segment = diff.w * diff.c;
    }
    outer.a += at->rows.begin;
    outer.b += at->columns.begin;
    if (outer.a_segment == outer.count * outer.a_step && outer.b_segment == outer.count * outer.b_step) {
        outer.count *= outer.segments;
        outer.segments = 1;
    }
    if (detail->packed) {
        pack_operands(step, scratch, &outer);
    }
    step->kernels->outer(&outer);
}

static void run_products(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const grad_detail *detail = step->detail;
    int64_t cuts = detail->row_cuts * detail->column_cuts, groups = step->node.attrs.groups;
    int64_t panel = step->kernels->panel_columns, h = step->args.in_shape[1].h;
    int64_t part = chunk / (cuts * groups), cut = chunk % cuts;
    m2s_cut blocks = m2s_cut_part(detail->images * detail->image_blocks, detail->parts, part);
    m2s_cut panels =
        m2s_cut_part((detail->columns + panel - 1) / panel, detail->column_cuts, cut % detail->column_cuts);
    float *sums = (float *)(step->scratch_bytes > 0 ? step->args.scratch : step->args.out[0]) + part * sums_of(step);
    block at = {
        .group = chunk / cuts % groups,
        .rows = m2s_cut_part(detail->rows, detail->row_cuts, cut / detail->column_cuts),
        .columns = { panels.begin * panel,
                     panels.end * panel < detail->columns ? panels.end * panel : detail->columns },
    };

    float *scratch = detail->packed ? m2s_step_worker_scratch(step, worker) : NULL;

    (void)task;
    for (int64_t i = blocks.begin; i < blocks.end; i++) {
        at.image = i / detail->image_blocks;
        at.lines.begin = i % detail->image_blocks * detail->block_rows;
        at.lines.end = at.lines.begin + detail->block_rows < h ? at.lines.begin + detail->block_rows : h;
        at.first = i == blocks.begin;
        for (int64_t tap = 0; tap < detail->taps; tap++) {
            add_tap(step, &at, tap, sums, scratch);
        }
    }
}

/* Adds up the parts and brings the sums into the weights' order, for some of the outputs. */
static void run_reduce(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const grad_detail *detail = step->detail;
    m2s_shape weights = step->args.out_shape[0];
    m2s_cut outputs = m2s_cut_part(weights.o, step->tasks[task].chunks, chunk);
    int64_t group_out = weights.o / step->node.attrs.groups, all = sums_of(step);
    float *dst = step->args.out[0];

    (void)worker;
    for (int64_t o = outputs.begin; o < outputs.end; o++) {
        int64_t group = o / group_out, at = o % group_out;
        for (int64_t tap = 0; tap < detail->taps; tap++) {
            const float *sums =
                (const float *)step->args.scratch + (group * detail->taps + tap) * weights.i * group_out;
            int64_t step_i = detail->turned ? group_out : 1;
            sums += detail->turned ? at : at * weights.i;
            for (int64_t i = 0; i < weights.i; i++) {
                float sum = sums[i * step_i];
                for (int64_t part = 1; part < detail->parts; part++) {
                    sum += sums[part * all + i * step_i];
                }
                dst[(o * weights.i + i) * detail->taps + tap] = sum;
            }
        }
    }
}

static void choose_cuts(const m2s_step *step, grad_detail *detail)
{
    m2s_shape diff = step->args.in_shape[1];
    int64_t panel = step->kernels->panel_columns, panels = (detail->columns + panel - 1) / panel;
    int64_t groups = step->node.attrs.groups, sums = sums_of(step);

    detail->block_rows = diff.w < BLOCK_PIXELS ? BLOCK_PIXELS / diff.w : 1;
    detail->image_blocks = (diff.h + detail->block_rows - 1) / detail->block_rows;
    detail->block_rows = (diff.h + detail->image_blocks - 1) / detail->image_blocks;
    detail->image_blocks = (diff.h + detail->block_rows - 1) / detail->block_rows;
    detail->row_cuts = detail->column_cuts = 1;
    for (;;) {
        int64_t rows = (detail->rows + detail->row_cuts - 1) / detail->row_cuts;
        int64_t columns = (panels + detail->column_cuts - 1) / detail->column_cuts * panel;
        if (rows * columns * detail->taps <= CHUNK_SUMS || (rows == 1 && columns <= panel)) {
            break;
        }
        if (rows > columns || columns <= panel) {
            detail->row_cuts *= 2;
        } else {
            detail->column_cuts *= 2;
        }
    }
    int64_t blocks = detail->images * detail->image_blocks, chunks = groups * detail->row_cuts * detail->column_cuts;
    int64_t most = MOST_SUMS / sums < 1 ? 1 : MOST_SUMS / sums;
    detail->parts = m2s_cut_count(blocks, diff.h * diff.w * sums / detail->image_blocks / chunks, CHUNK_WORK);
    if (detail->parts > most) {
        detail->parts = most > 1 ? most / 2 * 2 : 1; /* so that two workers end together */
    }
}

static void choose_panels(m2s_step *step, grad_detail *detail)
{
    const m2s_cpu_kernels *kernels = step->kernels;
    int64_t pixels = detail->block_rows * step->args.in_shape[1].w;
    int64_t rows = (detail->rows + detail->row_cuts - 1) / detail->row_cuts;
    int64_t panels = (detail->columns + kernels->panel_columns - 1) / kernels->panel_columns;

    panels = (panels + detail->column_cuts - 1) / detail->column_cuts;
    detail->row_panel = pixels * kernels->row_block + kernels->vector;
    detail->column_panel = pixels * kernels->panel_columns + kernels->vector;
    detail->row_panels = (rows + kernels->row_block - 1) / kernels->row_block;
    step->worker_bytes =
        (size_t)(detail->row_panels * detail->row_panel + panels * detail->column_panel) * sizeof(float);
}

m2snet_status m2s_lower_grad_weights(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_shape src = step->args.in_shape[0], weights = step->args.out_shape[0];
    grad_detail *detail = m2s_calloc(lowering->device->host->memory, 1, sizeof *detail);
    m2snet_status status = M2SNET_STATUS_OK;

    if (detail == NULL) {
        return m2s_fail_memory(error, step->name, sizeof *detail);
    }
    step->detail = detail;
    step->free_detail = free_detail;
    M2S_TRY(m2s_lowering_plain_constants(lowering, error));
    detail->images = src.n;
    detail->taps = weights.kh * weights.kw;
    detail->rows = weights.o / step->node.attrs.groups;
    detail->columns = weights.i;
    detail->turned = detail->columns < step->kernels->vector && detail->rows > detail->columns;
    if (detail->turned) {
        detail->columns = detail->rows;
        detail->rows = weights.i;
    }
    choose_cuts(step, detail);
    detail->packed = detail->taps == 1 && !detail->turned;
    if (detail->packed) {
        choose_panels(step, detail);
    }
    m2s_step_set_kernel(step, "outer %s", step->kernels->name);
    m2s_step_add_task(step, run_products,
                      detail->parts * step->node.attrs.groups * detail->row_cuts * detail->column_cuts);
    if (detail->parts > 1 || detail->taps > 1 || detail->turned) {
        step->scratch_bytes = (size_t)(detail->parts * sums_of(step)) * sizeof(float);
        m2s_step_add_task(step, run_reduce,
                          m2s_cut_count(weights.o, detail->parts * sums_of(step) / weights.o, M2S_CHUNK_NUMBERS));
    }
fail:
    return status;
}
