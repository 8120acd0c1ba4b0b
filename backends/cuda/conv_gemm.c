/* SPDX-License-Identifier: Apache-2.0
 * Convolutions as matrix products: of the windows with the weights, of the results with the weights' transpose, of the
 * results' transpose with the windows. Windows of one pixel are the input itself; others are written out, some images
 * at a time. */
#include "backends/cuda/cast.h"
#include "backends/cuda/gemm.h"
#include "backends/cuda/runtime.h"
#include "backends/cuda/unfold.h"

#define USUAL_COLUMNS_BYTES ((size_t)64 << 20) /* windows written out at a time, where an image has fewer */
#define RANKS               3                  /* ways of a product to choose from */

typedef struct gemm_conv {
    m2s_prepared_conv base; /* first */
    m2s_gemm *whole, *rest; /* of `images` images, and of those that are left in the end */
    int32_t images;
    bool plain; /* windows are pixels */
    /* Parts of the workspace: windows; the weights' gradient in F32, where it is stored in 16 bits; the product's. */
    size_t columns_bytes, sums_bytes;
} gemm_conv;

static bool is_plain(const m2s_conv_problem *p)
{
    return p->kh == 1 && p->kw == 1 && p->stride == 1 && p->pad == 0;
}

static size_t round_up(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* ---- launching ---- */

static size_t weight_count(const m2s_conv_problem *p)
{
    return (size_t)p->oc * (size_t)p->kh * (size_t)p->kw * (size_t)p->c;
}

/* Where the weights' gradient is summed up. */
static void *sums_of(const gemm_conv *g, const m2s_conv_data *data)
{
    return g->sums_bytes != 0 ? (unsigned char *)data->workspace + g->columns_bytes : data->weights;
}

static void *at_image(const void *data, int64_t image, int64_t numbers, m2snet_dtype dtype)
{
    return data != NULL ? (unsigned char *)(uintptr_t)data + (size_t)(image * numbers) * m2s_dtype_bytes(dtype) : NULL;
}

/* Some images from `first` on. */
static int launch_images(const gemm_conv *g, const m2s_cuda_call *call, const m2s_conv_data *data, int32_t first,
                         int32_t images)
{
    const m2s_conv_problem *p = &g->base.problem;
    void *x = at_image(data->x, first, (int64_t)p->h * p->w * p->c, p->storage);
    void *y = at_image(data->y, first, (int64_t)p->oh * p->ow * p->oc, p->storage);
    void *columns = g->plain ? x : data->workspace;
    m2s_gemm *gemm = images == g->images ? g->whole : g->rest;
    m2s_gemm_data of = { .workspace = (unsigned char *)data->workspace + g->columns_bytes + g->sums_bytes };
    int error = 0;

    if (p->kind != M2S_CONV_GRAD_X && !g->plain) {
        error = m2s_cuda_unfold(call, p, images, columns, x);
    }
    if (error != 0) {
        return error;
    }
    switch (p->kind) {
    case M2S_CONV_FORWARD:
        of.a = columns;
        of.b = data->weights;
        of.d = y;
        of.bias = data->bias;
        of.addend = at_image(data->residual, first, (int64_t)p->oh * p->ow * p->oc, p->storage);
        return m2s_gemm_launch(gemm, call->stream, &of);
    case M2S_CONV_GRAD_X:
        of.a = y;
        of.b = data->weights;
        of.d = columns;
        error = m2s_gemm_launch(gemm, call->stream, &of);
        return error == 0 && !g->plain ? m2s_cuda_fold(call, p, images, x, columns) : error;
    default:
        of.a = y;
        of.b = columns;
        of.addend = of.d = sums_of(g, data);
        return m2s_gemm_launch(gemm, call->stream, &of);
    }
}

static int launch(const m2s_prepared_conv *conv, const m2s_cuda_call *call, const m2s_conv_data *data)
{
    const gemm_conv *g = (const gemm_conv *)(const void *)conv;
    const m2s_conv_problem *p = &conv->problem;
    int error = 0;

    if (p->kind == M2S_CONV_GRAD_WEIGHTS && g->images < p->n) { /* then all of them add to it */
        error = m2s_cuda_fill(call->stream, sums_of(g, data), 0, weight_count(p) * sizeof(float));
    }
    for (int32_t first = 0; first < p->n && error == 0; first += g->images) {
        error = launch_images(g, call, data, first, p->n - first < g->images ? p->n - first : g->images);
    }
    if (error == 0 && g->sums_bytes != 0) {
        error = m2s_cuda_cast(call, data->weights, p->storage, sums_of(g, data), M2SNET_DTYPE_F32,
                              (int64_t)weight_count(p));
    }
    return error;
}

/* ---- making one ---- */

static void destroy(m2s_memory *memory, m2s_prepared_conv *conv)
{
    gemm_conv *g = (gemm_conv *)(void *)conv;

    m2s_gemm_destroy(g->whole);
    m2s_gemm_destroy(g->rest);
    m2s_free(memory, g);
}

static m2s_gemm_problem product_of(const gemm_conv *g, int32_t images)
{
    const m2s_conv_problem *p = &g->base.problem;
    int64_t pixels = (int64_t)images * p->oh * p->ow, window = (int64_t)p->kh * p->kw * p->c;
    m2s_gemm_problem product = { .factors = p->storage, .sum = p->storage, .tf32 = p->tf32 };

    switch (p->kind) {
    case M2S_CONV_FORWARD:
        product.m = pixels;
        product.n = p->oc;
        product.k = window;
        product.transpose_b = true;
        product.addend = p->residual;
        product.bias = p->bias;
        product.relu = p->relu;
        break;
    case M2S_CONV_GRAD_X:
        product.m = pixels;
        product.n = window;
        product.k = p->oc;
        product.sum = g->plain ? p->storage : M2SNET_DTYPE_F32; /* a pixel is summed over its windows */
        break;
    default:
        product.m = p->oc;
        product.n = window;
        product.k = pixels;
        product.transpose_a = true;
        product.sum = M2SNET_DTYPE_F32;
        product.addend = g->images < p->n;
        break;
    }
    return product;
}

int32_t m2s_conv_gemm_list(const m2s_conv_problem *problem, m2s_conv_choice *list, int32_t most)
{
    int32_t count = 0;

    while (problem->groups == 1 && count < RANKS && count < most) {
        list[count] = (m2s_conv_choice){ .provider = M2S_CONV_GEMM, .algorithm = count };
        count++;
    }
    return count;
}

/* How many images at a time, and room for their windows. False: not even one fits. */
static bool cut(gemm_conv *g, size_t most_bytes)
{
    const m2s_conv_problem *p = &g->base.problem;
    size_t element = p->kind == M2S_CONV_GRAD_X ? sizeof(float) : m2s_dtype_bytes(p->storage);
    size_t window = (size_t)p->kh * (size_t)p->kw * (size_t)p->c;
    size_t image = (size_t)p->oh * (size_t)p->ow * window * element;
    size_t usual = USUAL_COLUMNS_BYTES < most_bytes ? USUAL_COLUMNS_BYTES : most_bytes;

    g->images = p->n;
    if (!g->plain) {
        if (image > most_bytes) {
            return false;
        }
        g->images = (size_t)p->n * image <= usual ? p->n : image < usual ? (int32_t)(usual / image) : 1;
        g->columns_bytes = round_up((size_t)g->images * image);
    }
    return true;
}

m2snet_status m2s_conv_gemm_make(m2s_memory *memory, m2s_gemm_library *library, size_t most_workspace_bytes,
                                 const m2s_conv_problem *problem, const m2s_conv_choice *choice,
                                 m2s_prepared_conv **made, m2snet_error *error)
{
    static const char *const names[] = { "product", "product grad x", "product grad weights" };
    size_t most = most_workspace_bytes / 2, workspace = 0; /* a half for windows, a half for the product's own */
    gemm_conv *g = m2s_calloc(memory, 1, sizeof *g);
    m2snet_status status = M2SNET_STATUS_OK;

    *made = NULL;
    if (g == NULL) {
        return m2s_fail_memory(error, "a convolution", sizeof *g);
    }
    g->base = (m2s_prepared_conv){ *problem, names[problem->kind], 0, launch, destroy };
    g->plain = is_plain(problem);
    if (problem->kind == M2S_CONV_GRAD_WEIGHTS && problem->storage != M2SNET_DTYPE_F32) {
        g->sums_bytes = round_up(weight_count(problem) * sizeof(float));
    }
    if (cut(g, most)) {
        const m2s_gemm_problem whole = product_of(g, g->images);
        M2S_TRY(m2s_gemm_create(library, &whole, choice->algorithm, most, &g->whole, error));
        workspace = g->whole != NULL ? m2s_gemm_workspace_bytes(g->whole) : 0;
        if (g->whole != NULL && problem->n % g->images != 0) {
            const m2s_gemm_problem rest = product_of(g, problem->n % g->images);
            M2S_TRY(m2s_gemm_create(library, &rest, 0, most, &g->rest, error));
            size_t bytes = g->rest != NULL ? m2s_gemm_workspace_bytes(g->rest) : 0;
            workspace = bytes > workspace ? bytes : workspace;
        }
    }
    if (g->whole != NULL && (g->rest != NULL || problem->n % g->images == 0)) {
        g->base.workspace_bytes = g->columns_bytes + g->sums_bytes + round_up(workspace);
        *made = &g->base;
        return status;
    }
fail:
    destroy(memory, &g->base);
    return status;
}
