/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cuda/lower.h"

#include <stddef.h>

#include "backends/cuda/cast.h"
#include "backends/cuda/fork.h"
#include "backends/cuda/moves.h"

/* ---- which kernel ---- */

static const m2s_cuda_kernel *const kernels[M2S_OP_COUNT] = {
#define M2S_OP(name, min_in, max_in, out) [M2S_OP_##name] = &m2s_cuda_##name,
#include "graph/ops.def"
#undef M2S_OP
};

static bool is_conv(m2s_op op)
{
    return op == M2S_OP_conv2d || op == M2S_OP_conv2d_grad_src || op == M2S_OP_conv2d_grad_weights;
}

const char *m2s_cuda_missing(const m2s_graph *graph, const m2s_node *node)
{
    for (int32_t i = 0; i < node->in_count + node->out_count; i++) {
        m2s_value v = i < node->in_count ? node->in[i] : node->out[i - node->in_count];
        if (v != M2S_NONE && graph->values[v].dtype != M2SNET_DTYPE_F32) {
            return "graphs for this backend are F32";
        }
        if (v != M2S_NONE && (graph->values[v].shape.h > INT32_MAX || graph->values[v].shape.w > INT32_MAX ||
                              graph->values[v].shape.c > INT32_MAX || graph->values[v].shape.n > INT32_MAX)) {
            return "a side of a tensor is beyond 2^31";
        }
    }
    return m2s_cuda_wants_half(node->op) || kernels[node->op] != NULL ? NULL : "the operation has no kernel";
}

/* ---- which type ---- */

bool m2s_cuda_wants_half(m2s_op op)
{
    return is_conv(op) || op == M2S_OP_res2_groups;
}

bool m2s_cuda_has_half(m2s_op op)
{
    return m2s_cuda_wants_half(op) || (kernels[op] != NULL && kernels[op]->half);
}

bool m2s_cuda_input_is_stored(m2s_op op, int32_t input)
{
    switch (op) {
    case M2S_OP_conv2d:
    case M2S_OP_conv2d_grad_src:
        return input != 1;
    case M2S_OP_res2_groups:
        return input % 2 == 0;
    case M2S_OP_batch_norm:
    case M2S_OP_batch_norm_train:
    case M2S_OP_layer_norm:
    case M2S_OP_scale_c:
    case M2S_OP_drop_path:
    case M2S_OP_plane_affine_relu:
        return input == 0;
    case M2S_OP_window_attention:
        return input != 1;
    case M2S_OP_window_attention_grad:
        return input != 2;
    case M2S_OP_batch_norm_grad:
    case M2S_OP_layer_norm_grad:
    case M2S_OP_scale_c_grad:
    case M2S_OP_multi_scale_subtract:
    case M2S_OP_multi_scale_subtract_train:
        return input < 2;
    case M2S_OP_multi_scale_subtract_grad:
        return input < 3;
    default:
        return true;
    }
}

bool m2s_cuda_result_is_stored(m2s_op op, int32_t result)
{
    switch (op) {
    case M2S_OP_conv2d_grad_weights:
    case M2S_OP_sum_pixels:
        return false;
    case M2S_OP_batch_norm_train:
    case M2S_OP_batch_norm_grad:
    case M2S_OP_layer_norm_grad:
    case M2S_OP_scale_c_grad:
    case M2S_OP_window_attention_grad:
    case M2S_OP_multi_scale_subtract_train:
        return result == 0;
    case M2S_OP_multi_scale_subtract_grad:
        return result < 2;
    default:
        return true;
    }
}

static m2s_layout layout_of(m2s_op op, int32_t input)
{
    bool stored = m2s_cuda_input_is_stored(op, input);

    return stored                    ? M2S_LAYOUT_STORED
           : m2s_cuda_wants_half(op) ? M2S_LAYOUT_CONV /* weights */
                                     : M2S_LAYOUT_F32;
}

/* ---- parts of a step's scratch ---- */

static size_t round_up(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

static void add_part(m2s_step *step, int32_t part, size_t bytes)
{
    step->part[part] = step->scratch_bytes;
    step->scratch_bytes += round_up(bytes);
}

static void *part_at(const m2s_step *step, const m2s_cuda_call *call, int32_t part)
{
    return (unsigned char *)call->args->scratch + step->part[part];
}

static size_t stored_bytes(m2s_shape shape, m2snet_dtype storage)
{
    return (size_t)m2s_shape_elements(shape) * m2s_dtype_bytes(storage);
}

/* ---- convolutions ---- */

/* libraries: no own kernels; then *conv may be NULL, with OK. */
static m2snet_status choose(m2s_device *device, const m2s_conv_problem *problem, bool libraries,
                            m2s_prepared_conv **conv, m2snet_error *error)
{
    m2snet_status status;

    pthread_mutex_lock(&device->launching);
    status = m2s_conv_choose(device->convs, problem, libraries, conv, error);
    pthread_mutex_unlock(&device->launching);
    return status;
}

/* may_widen: what no library has in 16 bits may be made in F32, which with its casts is faster than own convolutions;
 * the convolution's problem says so. */
static m2snet_status prepare(m2s_device *device, const m2s_conv_problem *problem, bool may_widen,
                             m2s_prepared_conv **conv, m2snet_error *error)
{
    bool widen = may_widen && problem->storage != M2SNET_DTYPE_F32;
    m2snet_status status;

    M2S_TRY(m2s_conv_depthwise_create(device->host.memory, problem, conv, error));
    if (*conv == NULL && widen) {
        m2s_conv_problem wide = *problem;
        wide.storage = M2SNET_DTYPE_F32;
        wide.tf32 = true;
        M2S_TRY(choose(device, problem, true, conv, error));
        if (*conv == NULL) {
            M2S_TRY(choose(device, &wide, true, conv, error));
        }
    }
    if (*conv == NULL) {
        M2S_TRY(choose(device, problem, false, conv, error));
    }
fail:
    return status;
}

static m2s_conv_problem problem_of(const m2s_attrs *attrs, m2s_conv_kind kind, m2s_shape x, m2s_shape y,
                                   m2s_shape weights, const m2s_products *products)
{
    return (m2s_conv_problem){ .kind = kind,
                               .storage = products->storage,
                               .tf32 = products->tf32,
                               .n = (int32_t)x.n,
                               .h = (int32_t)x.h,
                               .w = (int32_t)x.w,
                               .c = (int32_t)x.c,
                               .oh = (int32_t)y.h,
                               .ow = (int32_t)y.w,
                               .oc = (int32_t)y.c,
                               .kh = (int32_t)weights.kh,
                               .kw = (int32_t)weights.kw,
                               .stride = attrs->stride,
                               .pad = attrs->pad,
                               .dilation = attrs->dilation,
                               .groups = attrs->groups };
}

/* Parts of a convolution's scratch: packed weights, workspace. */
static int launch_conv(const m2s_step *step, const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const m2s_prepared_conv *conv = step->conv[0];
    m2s_conv_data data = { .workspace = part_at(step, call, 1) };
    const void *weights = args->in[1];
    int error = 0;

    if (step->packs_weights) {
        error = m2s_cuda_pack_weights(call, part_at(step, call, 0), args->in[1], args->in_shape[1]);
        weights = part_at(step, call, 0);
    }
    data.weights = (void *)(uintptr_t)weights;
    if (conv->problem.kind == M2S_CONV_FORWARD) {
        data.x = (void *)(uintptr_t)args->in[0];
        data.y = args->out[0];
        data.bias = args->in_count > 2 ? args->in[2] : NULL;
        data.residual = args->in_count > 3 ? args->in[3] : NULL;
    } else {
        data.y = (void *)(uintptr_t)args->in[0];
        data.x = args->out[0];
    }
    return error != 0 ? error : conv->launch(conv, call, &data);
}

static int launch_grad_weights(const m2s_step *step, const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const m2s_prepared_conv *conv = step->conv[0];
    void *packed = step->packs_weights ? part_at(step, call, 0) : args->out[0];
    m2s_conv_data data = { .x = (void *)(uintptr_t)args->in[0],
                           .y = (void *)(uintptr_t)args->in[1],
                           .weights = packed,
                           .workspace = part_at(step, call, 1) };
    int error = conv->launch(conv, call, &data);

    return error != 0 || !step->packs_weights ? error
                                              : m2s_cuda_unpack_weights(call, args->out[0], packed, args->out_shape[0]);
}

static m2snet_status lower_conv(m2s_device *device, const m2s_graph *graph, const m2s_node *node,
                                const m2s_products *products, m2s_step *step, m2snet_error *error)
{
    const m2s_ref_args *args = &step->args;
    m2s_shape weights = args->in_shape[1];
    m2s_conv_problem problem;
    m2snet_status status;

    if (node->op == M2S_OP_conv2d) {
        problem = problem_of(&step->attrs, M2S_CONV_FORWARD, args->in_shape[0], args->out_shape[0], weights, products);
        problem.bias = node->in_count > 2 && node->in[2] != M2S_NONE;
        problem.residual = node->in_count > 3 && node->in[3] != M2S_NONE;
        problem.relu = step->attrs.relu != 0;
    } else if (node->op == M2S_OP_conv2d_grad_src) {
        problem = problem_of(&step->attrs, M2S_CONV_GRAD_X, args->out_shape[0], args->in_shape[0], weights, products);
    } else {
        weights = args->out_shape[0];
        problem =
            problem_of(&step->attrs, M2S_CONV_GRAD_WEIGHTS, args->in_shape[0], args->in_shape[1], weights, products);
    }
    step->launch = problem.kind == M2S_CONV_GRAD_WEIGHTS ? launch_grad_weights : launch_conv;
    M2S_TRY(prepare(device, &problem, true, &step->conv[0], error));
    step->storage = step->conv[0]->problem.storage;
    bool constant = problem.kind != M2S_CONV_GRAD_WEIGHTS && graph->values[node->in[1]].constant;
    bool same =
        (weights.kh * weights.kw == 1 || weights.i == 1) && step->storage == M2SNET_DTYPE_F32; /* both orders are one */
    step->packs_weights = !constant && !same;
    step->kernel_name = step->conv[0]->name;
    add_part(step, 0, step->packs_weights ? stored_bytes(weights, step->storage) : 0);
    add_part(step, 1, step->conv[0]->workspace_bytes);
fail:
    return status;
}

/* ---- a Res2Net block's groups: each through dense tensors, so that every provider can make the convolutions ---- */

/* Group g of a wider tensor. */
static void *group_of(const void *data, int32_t g, int32_t width, m2snet_dtype storage)
{
    return (unsigned char *)(uintptr_t)data + (size_t)(g * width) * m2s_dtype_bytes(storage);
}

/* A group's own piece of a part, or all groups' where they come one after the other. */
static void *part_of_group(const m2s_step *step, const m2s_cuda_call *call, int32_t part, int32_t g)
{
    return (unsigned char *)part_at(step, call, part) + (size_t)g * step->next_part[part - 2];
}

static int launch_res2_conv(const m2s_step *step, const m2s_cuda_call *call, int32_t g, void *y, void *s)
{
    const m2s_ref_args *args = call->args;
    m2s_conv_data data = { .x = y,
                           .y = s,
                           .weights = (void *)(uintptr_t)args->in[1 + 2 * g],
                           .bias = args->in[2 + 2 * g],
                           .workspace = part_of_group(step, call, 2, g) };
    int error = 0;

    if (step->packs_weights) {
        data.weights = part_of_group(step, call, 3, g);
        error = m2s_cuda_pack_weights(call, data.weights, args->in[1 + 2 * g], args->in_shape[1 + 2 * g]);
    }
    return error == 0 ? step->conv[g]->launch(step->conv[g], call, &data) : error;
}

/* A group's dense tensor, `wide` channels, of a tensor of this shape. */
static size_t group_bytes(m2s_shape shape, int32_t wide, m2snet_dtype storage)
{
    shape.c = wide;
    return round_up(stored_bytes(shape, storage));
}

/* How many channels fill a group up. They are zeros: times the weights' zeros they count for nothing, which noise may
 * not. */
static int32_t filling_of(const m2s_step *step)
{
    return step->wide - (int32_t)step->args.in_shape[0].c / 4;
}

/* Parts of its scratch: a group's input, its result, workspace, packed weights. Between two convolutions one launch
 * moves a result to its place and makes the next input. */
static int launch_res2(const m2s_step *step, const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const void *src = args->in[0];
    m2s_shape out = args->out_shape[0];
    int32_t width = (int32_t)out.c / 4, all = (int32_t)out.c, wide = step->wide;
    void *y = part_at(step, call, 0), *s = part_at(step, call, 1);
    m2s_channel_moves moves = {
        .n = out.n, .h = out.h, .w = out.w, .channels = width, .filling = filling_of(step), .count = 1
    };

    moves.move[0] =
        (m2s_channel_move){ .dst = y, .src = src, .dst_pixel = wide, .src_pixel = all, .filled = moves.filling };
    int error = m2s_cuda_move_channels(call, &moves);
    moves.filling = 0; /* it stays */
    moves.count = 2;
    for (int32_t g = 0; g < M2S_STEP_CONVS && error == 0; g++) {
        bool last = g == M2S_STEP_CONVS - 1;
        void *next = group_of(src, g + 1, width, call->storage), *dst = group_of(args->out[0], g, width, call->storage);
        moves.move[0] = (m2s_channel_move){ .dst = dst, .src = s, .dst_pixel = all, .src_pixel = wide };
        moves.move[1] =
            last ? (m2s_channel_move){ .dst = group_of(args->out[0], 3, width, call->storage),
                                       .src = next,
                                       .dst_pixel = all,
                                       .src_pixel = all }
                 : (m2s_channel_move){
                       .dst = y, .src = next, .addend = s, .dst_pixel = wide, .src_pixel = all, .addend_pixel = wide
                   };
        error = launch_res2_conv(step, call, g, y, s);
        error = error == 0 ? m2s_cuda_move_channels(call, &moves) : error;
    }
    return error;
}

/* A stage's first block: three groups that know nothing of each other, and one that is averaged. As many inputs and
 * results. */
static int launch_res2_stage(const m2s_step *step, const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const void *src = args->in[0];
    m2s_shape in = args->in_shape[0], out = args->out_shape[0];
    int32_t width = (int32_t)out.c / 4, all = (int32_t)out.c, wide = step->wide;
    size_t y_bytes = group_bytes(in, wide, call->storage), s_bytes = group_bytes(out, wide, call->storage);
    m2s_channel_moves before = {
        .n = in.n, .h = in.h, .w = in.w, .channels = width, .filling = filling_of(step), .count = M2S_STEP_CONVS
    };
    m2s_channel_moves after = { .n = out.n,
                                .h = out.h,
                                .w = out.w,
                                .channels = width,
                                .count = 4,
                                .src_h = (int32_t)in.h,
                                .src_w = (int32_t)in.w,
                                .stride = step->attrs.stride };
    unsigned char *y = part_at(step, call, 0), *s = part_at(step, call, 1);
    m2s_fork fork;
    int error;

    for (int32_t g = 0; g < M2S_STEP_CONVS; g++) {
        before.move[g] = (m2s_channel_move){ .dst = y + (size_t)g * y_bytes,
                                             .src = group_of(src, g, width, call->storage),
                                             .dst_pixel = wide,
                                             .src_pixel = all,
                                             .filled = before.filling };
        after.move[g] = (m2s_channel_move){ .dst = group_of(args->out[0], g, width, call->storage),
                                            .src = s + (size_t)g * s_bytes,
                                            .dst_pixel = all,
                                            .src_pixel = wide };
    }
    after.move[3] = (m2s_channel_move){ .dst = group_of(args->out[0], 3, width, call->storage),
                                        .src = group_of(src, 3, width, call->storage),
                                        .dst_pixel = all,
                                        .src_pixel = all,
                                        .averaged = true };
    error = m2s_cuda_move_channels(call, &before);
    error = error == 0 ? m2s_cuda_fork(call, &fork) : error;
    for (int32_t g = 0; g < M2S_STEP_CONVS && error == 0; g++) {
        error = g > 0 ? m2s_cuda_fork_next(call, &fork) : 0;
        error = error == 0 ? launch_res2_conv(step, call, g, y + (size_t)g * y_bytes, s + (size_t)g * s_bytes) : error;
    }
    error = error == 0 ? m2s_cuda_fork_join(call, &fork) : error;
    return error == 0 ? m2s_cuda_move_channels(call, &after) : error;
}

static m2snet_status lower_res2(m2s_device *device, const m2s_graph *graph, const m2s_node *node,
                                const m2s_products *products, m2s_step *step, m2snet_error *error)
{
    m2snet_dtype storage = products->storage;
    m2s_shape in = step->args.in_shape[0], out = step->args.out_shape[0];
    m2s_attrs conv = step->attrs;
    size_t workspace = 0, weights_bytes = 0;
    m2snet_status status = M2SNET_STATUS_OK;

    bool constant = true;
    for (int32_t g = 0; g < M2S_STEP_CONVS; g++) {
        constant =
            constant && graph->values[node->in[1 + 2 * g]].constant && graph->values[node->in[2 + 2 * g]].constant;
    }
    /* Tensor cores take eight channels at a time. Zeros fill a group up; weights that are packed once can have them. */
    bool fill = constant && storage != M2SNET_DTYPE_F32;
    step->wide = (int32_t)(fill ? (in.c / 4 + 7) / 8 * 8 : in.c / 4);
    for (int32_t i = 1; i < 7 && fill; i++) {
        step->layout[i] = i % 2 == 1 ? M2S_LAYOUT_CONV_FILLED : M2S_LAYOUT_FILLED;
    }
    in.c = out.c = step->wide;
    conv.pad = conv.dilation = conv.groups = 1;
    step->launch = step->attrs.stage != 0 ? launch_res2_stage : launch_res2;
    for (int32_t g = 0; g < M2S_STEP_CONVS; g++) {
        m2s_shape weights = step->args.in_shape[1 + 2 * g];
        m2s_conv_problem problem = problem_of(&conv, M2S_CONV_FORWARD, in, out, weights, products);
        problem.bias = problem.relu = true;
        M2S_TRY(prepare(device, &problem, false, &step->conv[g], error));
        workspace = step->conv[g]->workspace_bytes > workspace ? step->conv[g]->workspace_bytes : workspace;
        weights_bytes = stored_bytes(weights, storage);
    }
    step->packs_weights = !constant;
    if (!constant) { /* all three, then */
        for (int32_t g = 0; g < M2S_STEP_CONVS; g++) {
            step->layout[1 + 2 * g] = M2S_LAYOUT_F32;
        }
    }
    step->kernel_name = step->conv[0]->name;
    size_t groups = step->attrs.stage != 0 ? M2S_STEP_CONVS : 1;
    add_part(step, 0, groups * round_up(stored_bytes(in, storage)));
    add_part(step, 1, groups * round_up(stored_bytes(out, storage)));
    workspace = round_up(workspace);
    weights_bytes = step->packs_weights ? round_up(weights_bytes) : 0;
    add_part(step, 2, groups * workspace);
    add_part(step, 3, groups * weights_bytes);
    step->next_part[0] = groups > 1 ? workspace : 0;
    step->next_part[1] = groups > 1 ? weights_bytes : 0;
fail:
    return status;
}

/* ---- all others ---- */

static int launch_kernel(const m2s_step *step, const m2s_cuda_call *call)
{
    return step->kernel->launch(call);
}

m2snet_status m2s_cuda_lower(m2s_device *device, const m2s_graph *graph, const m2s_node *node,
                             const m2s_products *products, m2s_step *step, m2snet_error *error)
{
    step->op = node->op;
    step->storage = products->storage;
    step->attrs = node->attrs;
    m2s_ref_args_init(&step->args, graph, node);
    step->args.attrs = &step->attrs;
    for (int32_t i = 0; i < node->in_count; i++) {
        step->layout[i] = layout_of(node->op, i);
    }
    if (is_conv(node->op)) {
        return lower_conv(device, graph, node, products, step, error);
    }
    if (node->op == M2S_OP_res2_groups) {
        return lower_res2(device, graph, node, products, step, error);
    }
    step->kernel = kernels[node->op];
    step->kernel_name = "own kernel";
    step->launch = launch_kernel;
    step->scratch_bytes =
        step->kernel->scratch_bytes != NULL ? step->kernel->scratch_bytes(&step->args, products->storage) : 0;
    return M2SNET_STATUS_OK;
}

static int launch_cast(const m2s_step *step, const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;

    return m2s_cuda_cast(call, args->out[0], step->storage, args->in[0], step->cast_from,
                         m2s_shape_elements(args->out_shape[0]));
}

void m2s_cuda_lower_cast(m2s_shape shape, m2snet_dtype from, m2snet_dtype to, m2s_step *step)
{
    step->op = M2S_OP_COUNT;
    step->storage = to;
    step->cast_from = from;
    step->args.attrs = &step->attrs;
    step->args.in_count = step->args.out_count = 1;
    step->args.in_shape[0] = step->args.out_shape[0] = shape;
    step->kernel_name = "own cast";
    step->launch = launch_cast;
}

void m2s_step_free(m2s_memory *memory, m2s_step *step)
{
    for (int32_t c = 0; c < M2S_STEP_CONVS; c++) {
        if (step->conv[c] != NULL) {
            step->conv[c]->destroy(memory, step->conv[c]);
        }
    }
}
