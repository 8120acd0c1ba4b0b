/* SPDX-License-Identifier: Apache-2.0
 * What ends a training step: sums of squares, and the updates, which may be in place. */
#include "backends/cuda/each.cuh"
#include "backends/cuda/updates.h"

namespace
{

int64_t numbers_of(m2s_shape shape)
{
    return shape.d[0] * shape.d[1] * shape.d[2] * shape.d[3];
}

const float *input(const m2s_cuda_call *call, int32_t index)
{
    return index < call->args->in_count ? static_cast<const float *>(call->args->in[index]) : nullptr;
}

float *output(const m2s_cuda_call *call, int32_t index)
{
    return static_cast<float *>(call->args->out[index]);
}

/* ---- sum_squares: every tensor in pieces of one size, a block a piece; then the sum of the pieces ---- */

constexpr int PIECE_NUMBERS = 16384;
constexpr int SUM_THREADS = 256;
constexpr int SUM_FOLD = 16;
constexpr int MOST_TENSORS = 32; /* ops.def */

int64_t pieces_of(m2s_shape shape)
{
    return (numbers_of(shape) + PIECE_NUMBERS - 1) / PIECE_NUMBERS;
}

/* Adds up one number a thread: phases `first` and the next. The sum is there for thread 0 in the phase after. */
M2S_HD inline void fold(double *stage, const m2s_thread &t, bool last)
{
    int from = last ? SUM_FOLD : t.threads, step = last ? 1 : SUM_FOLD;
    double sum = 0.0;

    if (t.thread >= step) {
        return;
    }
    for (int i = t.thread; i < from; i += step) {
        sum += stage[i];
    }
    stage[t.thread] = sum;
}

struct piece_squares {
    static constexpr int phases = 3;

    const float *tensor[MOST_TENSORS];
    int64_t count[MOST_TENSORS];
    int first_piece[MOST_TENSORS];
    int tensors;
    double *partial;

    M2S_HD double squares(int of, int64_t begin, int64_t end, const m2s_thread &t) const
    {
        double sum = 0.0;

        for (int64_t i = begin + t.thread; i < end; i += t.threads) {
            double x = static_cast<double>(tensor[of][i]);
            sum += x * x;
        }
        return sum;
    }

    M2S_HD void run(int phase, const m2s_thread &t, char *shared) const
    {
        double *stage = reinterpret_cast<double *>(shared);

        if (phase == 0) {
            int of = 0;
            while (of + 1 < tensors && first_piece[of + 1] <= t.block) {
                of++;
            }
            int64_t begin = static_cast<int64_t>(t.block - first_piece[of]) * PIECE_NUMBERS;
            int64_t end = begin + PIECE_NUMBERS < count[of] ? begin + PIECE_NUMBERS : count[of];
            stage[t.thread] = squares(of, begin, end, t);
            return;
        }
        fold(stage, t, phase == 2);
        if (phase == 2 && t.thread == 0) {
            partial[t.block] = stage[0];
        }
    }
};

struct piece_total {
    static constexpr int phases = 3;

    const double *partial;
    int64_t count;
    float *dst;

    M2S_HD void run(int phase, const m2s_thread &t, char *shared) const
    {
        double *stage = reinterpret_cast<double *>(shared);

        if (phase == 0) {
            double sum = 0.0;
            for (int64_t i = t.thread; i < count; i += t.threads) {
                sum += partial[i];
            }
            stage[t.thread] = sum;
            return;
        }
        fold(stage, t, phase == 2);
        if (phase == 2 && t.thread == 0) {
            dst[0] = static_cast<float>(stage[0]);
        }
    }
};

int64_t all_pieces(const m2s_ref_args *args)
{
    int64_t pieces = 0;

    for (int32_t i = 0; i < args->in_count; i++) {
        pieces += pieces_of(args->in_shape[i]);
    }
    return pieces;
}

size_t sum_squares_bytes(const m2s_ref_args *args, m2snet_dtype)
{
    return static_cast<size_t>(all_pieces(args)) * sizeof(double);
}

int launch_sum_squares(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    double *partial = static_cast<double *>(args->scratch);
    int64_t pieces = all_pieces(args), first = 0;
    piece_squares body = {};

    body.tensors = args->in_count;
    body.partial = partial;
    for (int32_t i = 0; i < args->in_count; i++) {
        body.tensor[i] = input(call, i);
        body.count[i] = numbers_of(args->in_shape[i]);
        body.first_piece[i] = static_cast<int>(first);
        first += pieces_of(args->in_shape[i]);
    }
    int error = m2s_cuda_launch(call, body, m2s_cuda_grid{ static_cast<int>(pieces), 1, 1 }, SUM_THREADS,
                                SUM_THREADS * sizeof(double));
    return error != 0 ? error
                      : m2s_cuda_launch(call, piece_total{ partial, pieces, output(call, 0) }, m2s_cuda_grid{ 1, 1, 1 },
                                        SUM_THREADS, SUM_THREADS * sizeof(double));
}

/* ---- scalars ---- */

struct finite_rule {
    static constexpr int phases = 1;

    const float *scalar[MOST_TENSORS];
    int count;
    float *dst;

    M2S_HD void run(int, const m2s_thread &, char *) const
    {
        float finite = 1.0f;

        for (int i = 0; i < count; i++) {
            finite = fabsf(scalar[i][0]) <= 3.402823466e38f ? finite : 0.0f;
        }
        dst[0] = finite;
    }
};

int launch_all_finite(const m2s_cuda_call *call)
{
    finite_rule body = {};

    body.count = call->args->in_count;
    body.dst = output(call, 0);
    for (int32_t i = 0; i < call->args->in_count; i++) {
        body.scalar[i] = input(call, i);
    }
    return m2s_cuda_launch(call, body, m2s_cuda_grid{ 1, 1, 1 }, 1, 0);
}

struct clip_rule {
    static constexpr int phases = 1;

    const float *src;
    float *dst;
    double alpha;

    M2S_HD void run(int, const m2s_thread &, char *) const
    {
        double factor = alpha / (sqrt(static_cast<double>(src[0])) + 1e-6);

        dst[0] = static_cast<float>(factor > 1.0 ? 1.0 : factor); /* a NaN stays one */
    }
};

int launch_clip_factor(const m2s_cuda_call *call)
{
    clip_rule body = { input(call, 0), output(call, 0), call->args->attrs->alpha };

    return m2s_cuda_launch(call, body, m2s_cuda_grid{ 1, 1, 1 }, 1, 0);
}

/* ---- updates: what is not committed keeps its old numbers ---- */

template <int WIDTH> M2S_HD void keep(const float *old, float *made, int64_t i)
{
    if (made != old) {
        float x[WIDTH];
        m2s_load<WIDTH>(old + i, x);
        m2s_store<WIDTH>(made + i, x);
    }
}

struct average_rule {
    const float *old, *fresh, *commit;
    float *made;
    float of_old, of_fresh;
    bool one; /* fresh is one number for all */

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        float x[WIDTH], y[WIDTH];

        if (commit[0] == 0.0f) {
            keep<WIDTH>(old, made, i);
            return;
        }
        m2s_load<WIDTH>(old + i, x);
        if (one) {
            for (int k = 0; k < WIDTH; k++) {
                y[k] = fresh[0];
            }
        } else {
            m2s_load<WIDTH>(fresh + i, y);
        }
        for (int k = 0; k < WIDTH; k++) {
            x[k] = fmaf(of_fresh, y[k], of_old * x[k]);
        }
        m2s_store<WIDTH>(made + i, x);
    }
};

int launch_running_average(const m2s_cuda_call *call)
{
    const m2s_attrs *attrs = call->args->attrs;
    bool one = attrs->count == 1;
    average_rule rule = { input(call, 0),
                          input(call, 1) + (one ? attrs->begin : 0),
                          input(call, 2),
                          output(call, 0),
                          static_cast<float>(1.0 - attrs->alpha),
                          static_cast<float>(attrs->alpha * attrs->beta),
                          one };
    const void *places[] = { rule.old, rule.made, one ? nullptr : rule.fresh };

    return m2s_launch_each_of(call, rule, numbers_of(call->args->out_shape[0]), places, 3, sizeof(float));
}

struct accumulate_rule {
    const float *sum, *diff, *keeps, *finite;
    float *made;

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        float x[WIDTH] = {}, y[WIDTH];
        float kept = keeps[0];

        if (kept != 0.0f) { /* 0 times a NaN would be one */
            m2s_load<WIDTH>(sum + i, x);
        }
        for (int k = 0; k < WIDTH; k++) {
            x[k] *= kept;
        }
        if (finite[0] != 0.0f) {
            m2s_load<WIDTH>(diff + i, y);
            for (int k = 0; k < WIDTH; k++) {
                x[k] += y[k];
            }
        }
        m2s_store<WIDTH>(made + i, x);
    }
};

int launch_accumulate(const m2s_cuda_call *call)
{
    accumulate_rule rule = { input(call, 0), input(call, 1), input(call, 2), input(call, 3), output(call, 0) };
    const void *places[] = { rule.sum, rule.diff, rule.made };

    return m2s_launch_each_of(call, rule, numbers_of(call->args->out_shape[0]), places, 3, sizeof(float));
}

struct sgd_rule {
    const float *param, *diff, *momentum, *rate, *commit, *factor; /* factor nullptr: 1 */
    float *new_param, *new_momentum;
    float share, of_momentum, decay;
    bool nesterov;

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        float p[WIDTH], g[WIDTH], v[WIDTH];

        if (commit[0] == 0.0f) {
            keep<WIDTH>(param, new_param, i);
            keep<WIDTH>(momentum, new_momentum, i);
            return;
        }
        float step = share * rate[0], times = factor != nullptr ? factor[0] : 1.0f;
        m2s_load<WIDTH>(param + i, p);
        m2s_load<WIDTH>(diff + i, g);
        m2s_load<WIDTH>(momentum + i, v);
        for (int k = 0; k < WIDTH; k++) {
            float gradient = fmaf(times, g[k], decay * p[k]);
            v[k] = fmaf(of_momentum, v[k], gradient);
            p[k] = fmaf(-step, nesterov ? fmaf(of_momentum, v[k], gradient) : v[k], p[k]);
        }
        m2s_store<WIDTH>(new_param + i, p);
        m2s_store<WIDTH>(new_momentum + i, v);
    }
};

int launch_sgd(const m2s_cuda_call *call)
{
    const m2s_attrs *attrs = call->args->attrs;
    sgd_rule rule = { input(call, 0),
                      input(call, 1),
                      input(call, 2),
                      input(call, 3),
                      input(call, 4),
                      input(call, 5),
                      output(call, 0),
                      output(call, 1),
                      static_cast<float>(attrs->alpha),
                      static_cast<float>(attrs->momentum),
                      static_cast<float>(attrs->weight_decay),
                      attrs->form != 0 };
    const void *places[] = { rule.param, rule.diff, rule.momentum, rule.new_param, rule.new_momentum };

    return m2s_launch_each_of(call, rule, numbers_of(call->args->out_shape[0]), places, 5, sizeof(float));
}

struct adamw_rule {
    const float *param, *diff, *first, *second, *rate, *commit, *correction1, *correction2, *factor;
    float *new_param, *new_first, *new_second;
    float share, of_first, old_second, of_second, decay, epsilon;

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        float p[WIDTH], g[WIDTH], m[WIDTH], v[WIDTH];

        if (commit[0] == 0.0f) {
            keep<WIDTH>(param, new_param, i);
            keep<WIDTH>(first, new_first, i);
            keep<WIDTH>(second, new_second, i);
            return;
        }
        float step = share * rate[0], times = factor != nullptr ? factor[0] : 1.0f;
        m2s_load<WIDTH>(param + i, p);
        m2s_load<WIDTH>(diff + i, g);
        m2s_load<WIDTH>(first + i, m);
        m2s_load<WIDTH>(second + i, v);
        for (int k = 0; k < WIDTH; k++) {
            float gradient = times * g[k];
            m[k] = fmaf(of_first, gradient - m[k], m[k]);
            v[k] = fmaf(of_second * gradient, gradient, old_second * v[k]);
            float move = (m[k] / correction1[0]) / (sqrtf(v[k] / correction2[0]) + epsilon);
            p[k] = fmaf(-step, fmaf(decay, p[k], move), p[k]);
        }
        m2s_store<WIDTH>(new_param + i, p);
        m2s_store<WIDTH>(new_first + i, m);
        m2s_store<WIDTH>(new_second + i, v);
    }
};

int launch_adamw(const m2s_cuda_call *call)
{
    const m2s_attrs *attrs = call->args->attrs;
    adamw_rule rule = { input(call, 0),
                        input(call, 1),
                        input(call, 2),
                        input(call, 3),
                        input(call, 4),
                        input(call, 5),
                        input(call, 6),
                        input(call, 7),
                        input(call, 8),
                        output(call, 0),
                        output(call, 1),
                        output(call, 2),
                        static_cast<float>(attrs->alpha),
                        static_cast<float>(1.0 - attrs->momentum),
                        static_cast<float>(attrs->beta),
                        static_cast<float>(1.0 - attrs->beta),
                        static_cast<float>(attrs->weight_decay),
                        static_cast<float>(attrs->epsilon) };
    const void *places[] = { rule.param,     rule.diff,      rule.first,     rule.second,
                             rule.new_param, rule.new_first, rule.new_second };

    return m2s_launch_each_of(call, rule, numbers_of(call->args->out_shape[0]), places, 7, sizeof(float));
}

/* ---- updates of many nodes at once ---- */

struct grouped_average {
    static M2S_HD average_rule rule(const m2s_update_group &group, const m2s_update_item &item)
    {
        return average_rule{
            item.state[0], item.diff, group.scalar[0], item.state[0], item.share, item.decay, item.one
        };
    }
};

struct grouped_accumulate {
    static M2S_HD accumulate_rule rule(const m2s_update_group &group, const m2s_update_item &item)
    {
        return accumulate_rule{ item.state[0], item.diff, group.scalar[0], group.scalar[1], item.state[0] };
    }
};

struct grouped_sgd {
    static M2S_HD sgd_rule rule(const m2s_update_group &group, const m2s_update_item &item)
    {
        return sgd_rule{
            item.state[0], item.diff,     item.state[1], group.scalar[0], group.scalar[1], group.scalar[2],
            item.state[0], item.state[1], item.share,    group.momentum,  item.decay,      group.form != 0
        };
    }
};

struct grouped_adamw {
    static M2S_HD adamw_rule rule(const m2s_update_group &group, const m2s_update_item &item)
    {
        return adamw_rule{ item.state[0],   item.diff,       item.state[1],   item.state[2],   group.scalar[0],
                           group.scalar[1], group.scalar[2], group.scalar[3], group.scalar[4], item.state[0],
                           item.state[1],   item.state[2],   item.share,      group.of_first,  group.beta,
                           group.of_second, item.decay,      group.epsilon };
    }
};

/* A block makes one piece of one item. */
template <class Kind> struct grouped_updates {
    static constexpr int phases = 1;

    m2s_update_group group;

    M2S_HD int item_of(int block) const
    {
        int low = 0, high = group.items - 1;

        while (low < high) {
            int middle = (low + high + 1) / 2;
            if (group.item[middle].first_block <= block) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        return low;
    }

    M2S_HD void run(int, const m2s_thread &t, char *) const
    {
        const m2s_update_item &item = group.item[item_of(t.block)];
        auto rule = Kind::rule(group, item);
        int begin = (t.block - item.first_block) * M2S_UPDATE_PIECE;
        int count = item.count - begin < M2S_UPDATE_PIECE ? item.count - begin : M2S_UPDATE_PIECE;
        int whole = item.vectors ? count / 4 : 0;

        for (int v = t.thread; v < whole; v += t.threads) {
            rule.template at<4>(begin + 4 * v);
        }
        for (int i = 4 * whole + t.thread; i < count; i += t.threads) {
            rule.template at<1>(begin + i);
        }
    }
};

template <class Kind> int launch_group(const m2s_cuda_call *call, const m2s_update_group &group)
{
    return m2s_cuda_launch(call, grouped_updates<Kind>{ group }, m2s_cuda_grid{ group.blocks, 1, 1 }, M2S_EACH_THREADS,
                           0);
}

} // namespace

extern "C" {
int m2s_cuda_update_group_launch(const m2s_cuda_call *call, const m2s_update_group *group)
{
    switch (group->op) {
    case M2S_OP_sgd:
        return launch_group<grouped_sgd>(call, *group);
    case M2S_OP_adamw:
        return launch_group<grouped_adamw>(call, *group);
    case M2S_OP_accumulate:
        return launch_group<grouped_accumulate>(call, *group);
    default:
        return launch_group<grouped_average>(call, *group);
    }
}

const m2s_cuda_kernel m2s_cuda_sum_squares = { sum_squares_bytes, launch_sum_squares, false };
const m2s_cuda_kernel m2s_cuda_all_finite = { nullptr, launch_all_finite, false };
const m2s_cuda_kernel m2s_cuda_clip_factor = { nullptr, launch_clip_factor, false };
const m2s_cuda_kernel m2s_cuda_running_average = { nullptr, launch_running_average, false };
const m2s_cuda_kernel m2s_cuda_accumulate = { nullptr, launch_accumulate, false };
const m2s_cuda_kernel m2s_cuda_sgd = { nullptr, launch_sgd, false };
const m2s_cuda_kernel m2s_cuda_adamw = { nullptr, launch_adamw, false };
}
