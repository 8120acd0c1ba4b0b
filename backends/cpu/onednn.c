/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu/onednn.h"

#include <inttypes.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <string.h>
#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_OMP
#include <omp.h>
#elif DNNL_CPU_THREADING_RUNTIME != DNNL_RUNTIME_SEQ
#error "oneDNN must be built for OpenMP (as Debian's is) or without threads"
#endif

struct m2s_onednn {
    m2s_memory *memory;
    dnnl_engine_t engine;
    int threads;
    dnnl_status_t status; /* of making the streams */
    dnnl_stream_t streams[];
};

struct m2s_onednn_conv {
    m2s_onednn *onednn;
    m2s_onednn_conv_desc desc;
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t primitive;
};

/* For the calling thread alone: the setting is the thread's own, and pool threads run nothing else. */
static void use_one_thread(void)
{
#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_OMP
    omp_set_num_threads(1);
#endif
}

static const char *status_text(dnnl_status_t status)
{
    switch (status) {
    case dnnl_success:
        return "success";
    case dnnl_out_of_memory:
        return "out of memory";
    case dnnl_invalid_arguments:
        return "invalid arguments";
    case dnnl_unimplemented:
        return "unimplemented";
    case dnnl_runtime_error:
        return "run-time error";
    default:
        return "failure";
    }
}

static m2snet_status fail_dnnl(m2snet_error *error, dnnl_status_t status, const char *what)
{
    if (status == dnnl_out_of_memory) {
        return m2s_fail(error, M2SNET_STATUS_OUT_OF_MEMORY, "out of memory: oneDNN, %s", what);
    }
    return m2s_fail(error, M2SNET_STATUS_BACKEND, "oneDNN: %s: %s", what, status_text(status));
}

const char *m2s_onednn_version(char *text, size_t bytes)
{
    const dnnl_version_t *version = dnnl_version();

    snprintf(text, bytes, "oneDNN %d.%d.%d", version->major, version->minor, version->patch);
    return text;
}

/* ---- opening and closing, on a pool thread ---- */

static void open_chunk(void *argument, int64_t chunk, int worker)
{
    m2s_onednn *onednn = argument;

    (void)chunk;
    (void)worker;
    use_one_thread();
    onednn->status = dnnl_engine_create(&onednn->engine, dnnl_cpu, 0);
    for (int i = 0; i < onednn->threads && onednn->status == dnnl_success; i++) {
        onednn->status = dnnl_stream_create(&onednn->streams[i], onednn->engine, dnnl_stream_default_flags);
    }
}

m2snet_status m2s_onednn_open(const m2s_host *host, m2s_onednn **opened, m2snet_error *error)
{
    int threads = m2s_pool_threads(host->pool);
    size_t bytes = sizeof(m2s_onednn) + (size_t)threads * sizeof(dnnl_stream_t);
    m2s_onednn *onednn = m2s_calloc(host->memory, 1, bytes);
    m2s_task task = { .run = open_chunk, .argument = onednn, .chunks = 1 };
    m2snet_status status;

    *opened = NULL;
    if (onednn == NULL) {
        return m2s_fail_memory(error, "oneDNN's streams", bytes);
    }
    onednn->memory = host->memory;
    onednn->threads = threads;
    M2S_TRY(m2s_pool_run(host->pool, &task, 1, NULL, "open", error));
    if (onednn->status != dnnl_success) {
        status = fail_dnnl(error, onednn->status, "engine and streams");
        goto fail;
    }
    *opened = onednn;
    return M2SNET_STATUS_OK;
fail:
    m2s_onednn_close(onednn);
    return status;
}

void m2s_onednn_close(m2s_onednn *onednn)
{
    if (onednn == NULL) {
        return;
    }
    /* Freeing asks for no threads, so it may be done here. */
    for (int i = 0; i < onednn->threads; i++) {
        if (onednn->streams[i] != NULL) {
            dnnl_stream_destroy(onednn->streams[i]);
        }
    }
    if (onednn->engine != NULL) {
        dnnl_engine_destroy(onednn->engine);
    }
    m2s_free(onednn->memory, onednn);
}

/* ---- memory descriptors: a struct in 2.x, a handle in 3.x ---- */

#if DNNL_VERSION_MAJOR >= 3

typedef dnnl_memory_desc_t md_owned; /* destroyed by md_free */
typedef const_dnnl_memory_desc_t md_view;

static dnnl_status_t md_make(md_owned *md, int ndims, const dnnl_dims_t dims, dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_create_with_tag(md, ndims, dims, dnnl_f32, tag);
}
static md_view md_use(const md_owned *md)
{
    return *md;
}
static void md_free(md_owned *md)
{
    if (*md != NULL) {
        dnnl_memory_desc_destroy(*md);
    }
}

#else

typedef dnnl_memory_desc_t md_owned;
typedef const dnnl_memory_desc_t *md_view;

static dnnl_status_t md_make(md_owned *md, int ndims, const dnnl_dims_t dims, dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_init_by_tag(md, ndims, dims, dnnl_f32, tag);
}
static md_view md_use(const md_owned *md)
{
    return md;
}
static void md_free(md_owned *md)
{
    (void)md;
}

#endif

static dnnl_status_t make_weights_md(const m2s_onednn_conv_desc *d, bool plain, md_owned *md)
{
    if (d->groups > 1) {
        dnnl_dims_t dims = { d->groups, d->out / d->groups, d->in / d->groups, d->kh, d->kw };
        return md_make(md, 5, dims, plain ? dnnl_goihw : dnnl_format_tag_any);
    }
    dnnl_dims_t dims = { d->out, d->in, d->kh, d->kw };
    return md_make(md, 4, dims, plain ? dnnl_oihw : dnnl_format_tag_any);
}

/* ---- a convolution ---- */

/* What the far side must be padded with so that the last window fits; negative where it does not reach the end. */
static int64_t far_pad(int64_t size, int64_t results, int64_t kernel, int64_t stride, int64_t dilation, int64_t near)
{
    return (results - 1) * stride + (kernel - 1) * dilation + 1 - size - near;
}

static dnnl_status_t make_post_ops(const m2s_onednn_conv_desc *d, const md_owned *dst, dnnl_primitive_attr_t attr)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status = dnnl_post_ops_create(&ops);

    if (status == dnnl_success && d->residual) {
        status = dnnl_post_ops_append_binary(ops, dnnl_binary_add, md_use(dst));
    }
    if (status == dnnl_success && d->relu) {
#if DNNL_VERSION_MAJOR >= 3
        status = dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_relu, 0.0f, 0.0f);
#else
        status = dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_relu, 0.0f, 0.0f);
#endif
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_set_post_ops(attr, ops);
    }
    if (ops != NULL) {
        dnnl_post_ops_destroy(ops);
    }
    return status;
}

static dnnl_status_t make_pd(const m2s_onednn *onednn, const m2s_onednn_conv_desc *d, dnnl_primitive_desc_t *pd)
{
    dnnl_dims_t src_dims = { 1, d->in, d->h, d->w }, dst_dims = { 1, d->out, d->oh, d->ow }, bias_dims = { d->out };
    dnnl_dims_t strides = { d->stride, d->stride }, dilates = { d->dilation - 1, d->dilation - 1 };
    dnnl_dims_t near = { d->pad_top, d->pad_left };
    dnnl_dims_t far = { far_pad(d->h, d->oh, d->kh, d->stride, d->dilation, d->pad_top),
                        far_pad(d->w, d->ow, d->kw, d->stride, d->dilation, d->pad_left) };
    dnnl_primitive_attr_t attr = NULL;
    md_owned src, dst, weights, bias;
    dnnl_status_t status;

    memset(&src, 0, sizeof src);
    memset(&dst, 0, sizeof dst);
    memset(&weights, 0, sizeof weights);
    memset(&bias, 0, sizeof bias);
    if ((status = md_make(&src, 4, src_dims, dnnl_nhwc)) != dnnl_success ||
        (status = md_make(&dst, 4, dst_dims, dnnl_nhwc)) != dnnl_success ||
        (status = md_make(&bias, 1, bias_dims, dnnl_a)) != dnnl_success ||
        (status = make_weights_md(d, false, &weights)) != dnnl_success ||
        (status = dnnl_primitive_attr_create(&attr)) != dnnl_success ||
        (status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user)) != dnnl_success ||
        (status = make_post_ops(d, &dst, attr)) != dnnl_success) {
        goto done;
    }
#if DNNL_VERSION_MAJOR >= 3
    status = dnnl_convolution_forward_primitive_desc_create(
        pd, onednn->engine, dnnl_forward_inference, dnnl_convolution_direct, md_use(&src), md_use(&weights),
        d->bias ? md_use(&bias) : NULL, md_use(&dst), strides, dilates, near, far, attr);
#else
    dnnl_convolution_desc_t conv;
    status = dnnl_dilated_convolution_forward_desc_init(&conv, dnnl_forward_inference, dnnl_convolution_direct,
                                                        md_use(&src), md_use(&weights), d->bias ? md_use(&bias) : NULL,
                                                        md_use(&dst), strides, dilates, near, far);
    if (status == dnnl_success) {
        status = dnnl_primitive_desc_create(pd, &conv, attr, onednn->engine, NULL);
    }
#endif
done:
    if (attr != NULL) {
        dnnl_primitive_attr_destroy(attr);
    }
    md_free(&src);
    md_free(&dst);
    md_free(&weights);
    md_free(&bias);
    return status;
}

/* Reference loops are hundreds of times slower than anything else. Its generic matrix form ("x64:gemm:jit") is no
 * faster than the backend's own, and in 2.6.3 adds a binary post-op's numbers at wrong places. */
static bool is_slow_or_wrong(const char *name)
{
    const char *gemm = strstr(name, "gemm:");

    return strstr(name, "ref") != NULL || (gemm != NULL && (gemm == name || gemm[-1] == ':'));
}

m2snet_status m2s_onednn_conv_create(m2s_onednn *onednn, const m2s_onednn_conv_desc *desc, m2s_onednn_conv **created,
                                     m2snet_error *error)
{
    m2s_onednn_conv *conv = m2s_calloc(onednn->memory, 1, sizeof *conv);
    dnnl_status_t result;
    m2snet_status status;

    *created = NULL;
    if (conv == NULL) {
        return m2s_fail_memory(error, "a oneDNN primitive", sizeof *conv);
    }
    use_one_thread();
    conv->onednn = onednn;
    conv->desc = *desc;
    result = make_pd(onednn, desc, &conv->pd);
    if (result != dnnl_success) {
        status = result == dnnl_out_of_memory
                     ? fail_dnnl(error, result, "a convolution")
                     : m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                                "oneDNN refuses a convolution of F32 %" PRId64 "x%" PRId64 "x%" PRId64
                                ", window %" PRId64 "x%" PRId64 ", stride %" PRId64 ", to %" PRId64 " channels: %s",
                                desc->h, desc->w, desc->in, desc->kh, desc->kw, desc->stride, desc->out,
                                status_text(result));
        goto fail;
    }
    if (is_slow_or_wrong(m2s_onednn_conv_name(conv))) {
        status = m2s_fail(error, M2SNET_STATUS_UNSUPPORTED, "oneDNN has only %s here", m2s_onednn_conv_name(conv));
        goto fail;
    }
    result = dnnl_primitive_create(&conv->primitive, conv->pd);
    if (result != dnnl_success) {
        status = fail_dnnl(error, result, "a convolution");
        goto fail;
    }
    *created = conv;
    return M2SNET_STATUS_OK;
fail:
    m2s_onednn_conv_destroy(conv);
    return status;
}

void m2s_onednn_conv_destroy(m2s_onednn_conv *conv)
{
    if (conv == NULL) {
        return;
    }
    if (conv->primitive != NULL) {
        dnnl_primitive_destroy(conv->primitive);
    }
    if (conv->pd != NULL) {
        dnnl_primitive_desc_destroy(conv->pd);
    }
    m2s_free(conv->onednn->memory, conv);
}

const char *m2s_onednn_conv_name(const m2s_onednn_conv *conv)
{
    const char *name = NULL;

    if (dnnl_primitive_desc_query(conv->pd, dnnl_query_impl_info_str, 0, (void *)&name) != dnnl_success ||
        name == NULL) {
        return "unnamed";
    }
    return name;
}

static md_view query_md(const m2s_onednn_conv *conv, dnnl_query_t what)
{
    return dnnl_primitive_desc_query_md(conv->pd, what, 0);
}

size_t m2s_onednn_conv_weights_bytes(const m2s_onednn_conv *conv)
{
    return dnnl_memory_desc_get_size(query_md(conv, dnnl_query_weights_md));
}

size_t m2s_onednn_conv_scratch_bytes(const m2s_onednn_conv *conv)
{
    return dnnl_memory_desc_get_size(query_md(conv, dnnl_query_scratchpad_md));
}

static uint64_t mix(uint64_t hash, int64_t number)
{
    for (int i = 0; i < 8; i++) {
        hash = (hash ^ (uint64_t)(number >> (8 * i) & 0xff)) * 0x100000001b3u;
    }
    return hash;
}

uint64_t m2s_onednn_conv_layout(const m2s_onednn_conv *conv)
{
    md_view md = query_md(conv, dnnl_query_weights_md);
    uint64_t hash = 0xcbf29ce484222325u;

#if DNNL_VERSION_MAJOR >= 3
    /* Every field that tells two layouts apart can be asked for. */
    dnnl_dims_t strides, padded, blocks, inner;
    int ndims = 0, block_count = 0;
    dnnl_memory_desc_query(md, dnnl_query_ndims_s32, &ndims);
    dnnl_dims_t *at = NULL;
    memset(strides, 0, sizeof strides);
    memset(padded, 0, sizeof padded);
    memset(blocks, 0, sizeof blocks);
    memset(inner, 0, sizeof inner);
    if (dnnl_memory_desc_query(md, dnnl_query_strides, &at) == dnnl_success && at != NULL) {
        memcpy(strides, *at, sizeof strides);
    }
    if (dnnl_memory_desc_query(md, dnnl_query_padded_dims, &at) == dnnl_success && at != NULL) {
        memcpy(padded, *at, sizeof padded);
    }
    dnnl_memory_desc_query(md, dnnl_query_inner_nblks_s32, &block_count);
    if (dnnl_memory_desc_query(md, dnnl_query_inner_blks, &at) == dnnl_success && at != NULL) {
        memcpy(blocks, *at, sizeof blocks);
    }
    if (dnnl_memory_desc_query(md, dnnl_query_inner_idxs, &at) == dnnl_success && at != NULL) {
        memcpy(inner, *at, sizeof inner);
    }
    const dnnl_dim_t *strides_at = strides, *padded_at = padded, *blocks_at = blocks, *inner_at = inner;
#else
    int ndims = md->ndims, block_count = md->format_desc.blocking.inner_nblks;
    const dnnl_dim_t *strides_at = md->format_desc.blocking.strides, *padded_at = md->padded_dims;
    const dnnl_dim_t *blocks_at = md->format_desc.blocking.inner_blks;
    const dnnl_dim_t *inner_at = md->format_desc.blocking.inner_idxs;
#endif
    for (int i = 0; i < ndims; i++) {
        hash = mix(mix(hash, strides_at[i]), padded_at[i]);
    }
    for (int i = 0; i < block_count; i++) {
        hash = mix(mix(hash, blocks_at[i]), inner_at[i]);
    }
    return mix(hash, (int64_t)dnnl_memory_desc_get_size(md));
}

m2snet_status m2s_onednn_conv_pack(const m2s_onednn_conv *conv, const float *plain, void *packed, m2snet_error *error)
{
    const m2s_onednn *onednn = conv->onednn;
    md_view wanted = query_md(conv, dnnl_query_weights_md);
    md_owned given;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t reorder = NULL;
    dnnl_memory_t src = NULL, dst = NULL;
    dnnl_stream_t stream = NULL;
    dnnl_status_t status;

    use_one_thread();
    memset(&given, 0, sizeof given);
    if ((status = make_weights_md(&conv->desc, true, &given)) == dnnl_success &&
        (status = dnnl_reorder_primitive_desc_create(&pd, md_use(&given), onednn->engine, wanted, onednn->engine,
                                                     NULL)) == dnnl_success &&
        (status = dnnl_primitive_create(&reorder, pd)) == dnnl_success &&
        (status = dnnl_memory_create(&src, md_use(&given), onednn->engine, (void *)(uintptr_t)plain)) == dnnl_success &&
        (status = dnnl_memory_create(&dst, wanted, onednn->engine, packed)) == dnnl_success &&
        (status = dnnl_stream_create(&stream, onednn->engine, dnnl_stream_default_flags)) == dnnl_success) {
        dnnl_exec_arg_t args[] = { { DNNL_ARG_FROM, src }, { DNNL_ARG_TO, dst } };
        status = dnnl_primitive_execute(reorder, stream, 2, args);
        if (status == dnnl_success) {
            status = dnnl_stream_wait(stream);
        }
    }
    if (stream != NULL) {
        dnnl_stream_destroy(stream);
    }
    if (src != NULL) {
        dnnl_memory_destroy(src);
    }
    if (dst != NULL) {
        dnnl_memory_destroy(dst);
    }
    if (reorder != NULL) {
        dnnl_primitive_destroy(reorder);
    }
    if (pd != NULL) {
        dnnl_primitive_desc_destroy(pd);
    }
    md_free(&given);
    return status == dnnl_success ? M2SNET_STATUS_OK : fail_dnnl(error, status, "packing weights");
}

#define MOST_ARGUMENTS 6

m2snet_status m2s_onednn_conv_run(const m2s_onednn_conv *conv, int worker, const float *src, const void *weights,
                                  const float *bias, const float *residual, float *dst, void *scratch,
                                  m2snet_error *error)
{
    const m2s_onednn *onednn = conv->onednn;
    dnnl_exec_arg_t args[MOST_ARGUMENTS];
    const struct {
        int argument;
        dnnl_query_t md;
        const void *data;
        bool used;
    } operands[MOST_ARGUMENTS] = {
        { DNNL_ARG_SRC, dnnl_query_src_md, src, true },
        { DNNL_ARG_WEIGHTS, dnnl_query_weights_md, weights, true },
        { DNNL_ARG_DST, dnnl_query_dst_md, dst, true },
        { DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md, scratch, true },
        { DNNL_ARG_BIAS, dnnl_query_weights_md, bias, conv->desc.bias },
        { DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, dnnl_query_dst_md, residual, conv->desc.residual },
    };
    dnnl_status_t status = dnnl_success;
    int count = 0;

    use_one_thread();
    for (int i = 0; i < MOST_ARGUMENTS && status == dnnl_success; i++) {
        if (operands[i].used) {
            int index = operands[i].argument == DNNL_ARG_BIAS ? 1 : 0;
            md_view md = dnnl_primitive_desc_query_md(conv->pd, operands[i].md, index);
            args[count].arg = operands[i].argument;
            args[count].memory = NULL;
            status = dnnl_memory_create(&args[count].memory, md, onednn->engine, (void *)(uintptr_t)operands[i].data);
            count++;
        }
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_execute(conv->primitive, onednn->streams[worker], count, args);
    }
    if (status == dnnl_success) {
        status = dnnl_stream_wait(onednn->streams[worker]);
    }
    for (int i = 0; i < count; i++) {
        if (args[i].memory != NULL) {
            dnnl_memory_destroy(args[i].memory);
        }
    }
    return status == dnnl_success ? M2SNET_STATUS_OK : fail_dnnl(error, status, "a convolution");
}
