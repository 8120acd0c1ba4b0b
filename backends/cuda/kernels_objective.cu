/* SPDX-License-Identifier: Apache-2.0
 * Objectives and their gradients. What an objective needs to know of a plane (an image's channel) are one or two sums
 * over its pixels, in double: m2s_column_sums makes them, in stages; a last block turns them into the value, or the
 * gradient's map begins by turning them into a plane's factors. Exponentials are in float. */
#include "backends/cuda/columns.cuh"
#include "backends/cuda/each.cuh"

namespace
{

/* ---- planes ---- */

/* Maps of one channel are read as a quarter of their pixels, of four channels, where this divides: wider loads. */
struct planes {
    m2s_columns cut;
    int width; /* of the vectors */
    int split; /* columns that are one plane */
};

/* What is summed apart: all of an image's pixels, channel by channel. */
struct plane_shape {
    int64_t images, pixels, channels;
};

planes plane_cut(const plane_shape &of, bool vectors)
{
    planes made;
    bool quarter = vectors && of.channels == 1 && of.pixels % 4 == 0;

    made.split = quarter ? 4 : 1;
    made.width = quarter || (vectors && of.channels % 4 == 0) ? 4 : 1;
    made.cut =
        m2s_columns_cut(of.images, of.pixels / made.split, of.channels * made.split, made.width, M2S_COLUMN_SUM_BLOCKS);
    return made;
}

/* As the call's maps are aligned. */
planes plane_cut(const plane_shape &of, const m2s_ref_args *args)
{
    bool vectors = m2s_is_aligned(args->out[0], 4, sizeof(float)) || m2s_shape_elements(args->out_shape[0]) == 1;

    for (int32_t i = 0; i < args->in_count; i++) {
        vectors =
            vectors && (m2s_is_aligned(args->in[i], 4, sizeof(float)) || m2s_shape_elements(args->in_shape[i]) == 1);
    }
    return plane_cut(of, vectors);
}

int64_t plane_count(const planes &of)
{
    return static_cast<int64_t>(of.cut.images) * of.cut.channels / of.split;
}

/* Partial sums, then totals. */
size_t plane_bytes(const planes &of, int sums)
{
    size_t totals = static_cast<size_t>(of.cut.images) * static_cast<size_t>(sums * of.cut.channels) * sizeof(double);

    return m2s_column_partial_bytes(of.cut, sums) + totals;
}

/* Room for either cut. */
size_t plane_bytes(const plane_shape &of, int sums)
{
    size_t vectors = plane_bytes(plane_cut(of, true), sums), plain = plane_bytes(plane_cut(of, false), sums);

    return vectors > plain ? vectors : plain;
}

/* Leaves (images, sums, columns) in *totals, which is in scratch. */
template <class Rule>
int launch_plane_sums(const m2s_cuda_call *call, const Rule &rule, const planes &of, const double **totals)
{
    double *partial = static_cast<double *>(call->args->scratch);
    double *made = partial + m2s_column_partial_bytes(of.cut, Rule::sums) / sizeof(double);
    m2s_column_store<Rule::sums> store = { made, of.cut.channels };
    int error = of.width == Rule::width ? m2s_launch_column_sums<Rule::width>(call, rule, of.cut, partial)
                                        : m2s_launch_column_sums<1>(call, rule, of.cut, partial);

    *totals = made;
    return error != 0 ? error : m2s_launch_column_totals(call, store, of.cut, partial);
}

/* The sums of the plane that a column belongs to. */
template <int SUMS>
M2S_HD inline void plane_sums(const double *totals, int columns, int split, int image, int column, double (&sum)[SUMS])
{
    int first = column - column % split;

    for (int k = 0; k < SUMS; k++) {
        sum[k] = 0.0;
        for (int i = 0; i < split; i++) {
            sum[k] += totals[(static_cast<int64_t>(image) * SUMS + k) * columns + first + i];
        }
    }
}

/* ---- the value: of all planes, by one block ---- */

template <class Rule> struct value_body {
    static constexpr int phases = 3;

    Rule rule;
    const double *totals;
    int64_t count;
    int columns, split;
    float *dst;

    M2S_HD void run(int phase, const m2s_thread &t, char *shared) const
    {
        double *stage = reinterpret_cast<double *>(shared), sum = 0.0;

        if (phase == 0) {
            int planes_each = columns / split;
            for (int64_t i = t.thread; i < count; i += t.threads) {
                double of_plane[Rule::sums];
                int image = static_cast<int>(i / planes_each), column = static_cast<int>(i % planes_each) * split;
                plane_sums(totals, columns, split, image, column, of_plane);
                sum += rule.term(of_plane, column);
            }
            stage[t.thread] = sum;
        } else if (phase == 1 && t.thread < M2S_COLUMN_FOLD) {
            for (int i = t.thread; i < t.threads; i += M2S_COLUMN_FOLD) {
                sum += stage[i];
            }
            stage[t.thread] = sum;
        } else if (phase == 2 && t.thread == 0) {
            for (int i = 0; i < M2S_COLUMN_FOLD; i++) {
                sum += stage[i];
            }
            dst[0] = static_cast<float>(rule.value(sum));
        }
    }
};

template <class Rule> int launch_value(const m2s_cuda_call *call, const Rule &rule, const planes &of)
{
    const double *totals;
    int error = launch_plane_sums(call, rule, of, &totals);
    value_body<Rule> body = {
        rule, totals, plane_count(of), of.cut.channels, of.split, static_cast<float *>(call->args->out[0])
    };

    return error != 0 ? error
                      : m2s_cuda_launch(call, body, m2s_cuda_grid{ 1, 1, 1 }, M2S_COLUMN_THREADS,
                                        M2S_COLUMN_THREADS * sizeof(double));
}

/* A gradient's map, over the same columns as the sums it reads. */
template <class Rule> int launch_gradient(const m2s_cuda_call *call, const Rule &rule, const planes &of)
{
    return of.width == 4 ? m2s_launch_column_map<4>(call, rule, of.cut.images, of.cut.pixels, of.cut.channels)
                         : m2s_launch_column_map<1>(call, rule, of.cut.images, of.cut.pixels, of.cut.channels);
}

const float *input(const m2s_cuda_call *call, int32_t index)
{
    return static_cast<const float *>(call->args->in[index]);
}

/* Of an objective whose first input is input `first` (1 in gradients: 0 is the gradient of the value). */
plane_shape shape_of(const m2s_ref_args *args, int first)
{
    m2s_shape shape = args->in_shape[first];

    return plane_shape{ shape.n, shape.h * shape.w, shape.c };
}

planes planes_of(const m2s_ref_args *args, int first)
{
    return plane_cut(shape_of(args, first), args);
}

template <int SUMS, int FIRST> size_t objective_bytes(const m2s_ref_args *args, m2snet_dtype)
{
    return plane_bytes(shape_of(args, FIRST), SUMS);
}

/* Without constants of columns. */
struct no_constants {
    static constexpr int constants = 1;
    static constexpr int width = 4; /* of the widest vectors */

    M2S_HD void prepare(int, int, float *made) const
    {
        made[0] = 0.0f;
    }
};

/* ---- sigmoid and what goes with it ---- */

struct sigmoid_parts {
    float probability, slope; /* p, p (1 - p) */
    float tail;               /* exp(-|x|) */
};

M2S_HD inline sigmoid_parts sigmoid_of(float x)
{
    sigmoid_parts s;

    s.tail = expf(-fabsf(x));
    float inverse = 1.0f / (1.0f + s.tail);
    s.probability = x < 0.0f ? s.tail * inverse : inverse;
    s.slope = s.tail * inverse * inverse;
    return s;
}

/* ---- weighted_bce ---- */

/* NULL weights are 1. */
template <int WIDTH> M2S_HD void weights_at(const float *weights, int64_t i, float (&w)[WIDTH])
{
    if (weights != nullptr) {
        m2s_load<WIDTH>(weights + i, w);
        return;
    }
    for (int k = 0; k < WIDTH; k++) {
        w[k] = 1.0f;
    }
}

struct bce_value : no_constants {
    static constexpr int sums = 2; /* w bce, w */

    const float *logits, *mask, *weights;
    bool weighted;
    double planes_count;

    template <int WIDTH> M2S_HD void at(const float (&)[constants][WIDTH], int64_t i, double (&sum)[sums][WIDTH]) const
    {
        float x[WIDTH], m[WIDTH], w[WIDTH];

        m2s_load<WIDTH>(logits + i, x);
        m2s_load<WIDTH>(mask + i, m);
        weights_at<WIDTH>(weighted ? weights : nullptr, i, w);
        for (int k = 0; k < WIDTH; k++) {
            float entropy = (x[k] < 0.0f ? 0.0f : x[k]) - x[k] * m[k] + log1pf(expf(-fabsf(x[k])));
            sum[0][k] += static_cast<double>(w[k]) * static_cast<double>(entropy);
            sum[1][k] += static_cast<double>(w[k]);
        }
    }

    M2S_HD double term(const double (&of)[sums], int) const
    {
        return of[0] / of[1];
    }

    M2S_HD double value(double sum) const
    {
        return sum / planes_count;
    }
};

int launch_bce(const m2s_cuda_call *call)
{
    planes of = planes_of(call->args, 0);
    bce_value rule = { {},
                       input(call, 0),
                       input(call, 1),
                       input(call, 2),
                       call->args->attrs->form == 0,
                       static_cast<double>(plane_count(of)) };

    return launch_value(call, rule, of);
}

struct weight_sums : no_constants {
    static constexpr int sums = 1;

    const float *weights;

    template <int WIDTH> M2S_HD void at(const float (&)[constants][WIDTH], int64_t i, double (&sum)[sums][WIDTH]) const
    {
        float w[WIDTH];

        m2s_load<WIDTH>(weights + i, w);
        for (int k = 0; k < WIDTH; k++) {
            sum[0][k] += static_cast<double>(w[k]);
        }
    }
};

struct bce_grad {
    static constexpr int constants = 1; /* diff over the plane's weight */

    const float *diff, *logits, *mask, *weights;
    const double *totals;
    float *dst;
    int columns, split;
    bool weighted;
    double pixels, planes_count;

    M2S_HD void prepare(int image, int column, float *made) const
    {
        double sum[1] = { pixels };

        if (weighted) {
            plane_sums(totals, columns, split, image, column, sum);
        }
        made[0] = static_cast<float>(static_cast<double>(diff[0]) / planes_count / sum[0]);
    }

    template <int WIDTH> M2S_HD void at(const float (&factor)[constants][WIDTH], int64_t i) const
    {
        float x[WIDTH], m[WIDTH], w[WIDTH];

        m2s_load<WIDTH>(logits + i, x);
        m2s_load<WIDTH>(mask + i, m);
        weights_at<WIDTH>(weighted ? weights : nullptr, i, w);
        for (int k = 0; k < WIDTH; k++) {
            x[k] = factor[0][k] * w[k] * (sigmoid_of(x[k]).probability - m[k]);
        }
        m2s_store<WIDTH>(dst + i, x);
    }
};

int launch_bce_grad(const m2s_cuda_call *call)
{
    planes of = planes_of(call->args, 1);
    bool weighted = call->args->attrs->form == 0;
    const double *totals = nullptr;
    int error = weighted ? launch_plane_sums(call, weight_sums{ {}, input(call, 3) }, of, &totals) : 0;
    bce_grad rule = { input(call, 0),
                      input(call, 1),
                      input(call, 2),
                      input(call, 3),
                      totals,
                      static_cast<float *>(call->args->out[0]),
                      of.cut.channels,
                      of.split,
                      weighted,
                      static_cast<double>(of.cut.pixels * of.split),
                      static_cast<double>(plane_count(of)) };

    return error != 0 ? error : launch_gradient(call, rule, of);
}

/* ---- weighted_iou ---- */

struct iou_value : no_constants {
    static constexpr int sums = 2; /* I, S */

    const float *logits, *mask, *weights;
    double planes_count;

    template <int WIDTH> M2S_HD void at(const float (&)[constants][WIDTH], int64_t i, double (&sum)[sums][WIDTH]) const
    {
        float x[WIDTH], m[WIDTH], w[WIDTH];

        m2s_load<WIDTH>(logits + i, x);
        m2s_load<WIDTH>(mask + i, m);
        m2s_load<WIDTH>(weights + i, w);
        for (int k = 0; k < WIDTH; k++) {
            float p = sigmoid_of(x[k]).probability;
            sum[0][k] += static_cast<double>(p * m[k] * w[k]);
            sum[1][k] += static_cast<double>((p + m[k]) * w[k]);
        }
    }

    M2S_HD double term(const double (&of)[sums], int) const
    {
        return 1.0 - (of[0] + 1.0) / (of[1] - of[0] + 1.0);
    }

    M2S_HD double value(double sum) const
    {
        return sum / planes_count;
    }
};

iou_value iou_of(const m2s_cuda_call *call, int first, const planes &of)
{
    return iou_value{
        {}, input(call, first), input(call, first + 1), input(call, first + 2), static_cast<double>(plane_count(of))
    };
}

int launch_iou(const m2s_cuda_call *call)
{
    planes of = planes_of(call->args, 0);

    return launch_value(call, iou_of(call, 0, of), of);
}

/* With J = S - I + 1, the slope in a pixel's p is -w (m J - (I + 1) (1 - m)) / J^2 = w (base - m span). */
struct iou_grad {
    static constexpr int constants = 2; /* base, span, both times diff */

    const float *diff, *logits, *mask, *weights;
    const double *totals;
    float *dst;
    int columns, split;
    double planes_count;

    M2S_HD void prepare(int image, int column, float *made) const
    {
        double sum[2];

        plane_sums(totals, columns, split, image, column, sum);
        double joint = sum[1] - sum[0] + 1.0, each = static_cast<double>(diff[0]) / planes_count;
        made[0] = static_cast<float>(each * (sum[0] + 1.0) / (joint * joint));
        made[1] = static_cast<float>(each * (joint + sum[0] + 1.0) / (joint * joint));
    }

    template <int WIDTH> M2S_HD void at(const float (&c)[constants][WIDTH], int64_t i) const
    {
        float x[WIDTH], m[WIDTH], w[WIDTH];

        m2s_load<WIDTH>(logits + i, x);
        m2s_load<WIDTH>(mask + i, m);
        m2s_load<WIDTH>(weights + i, w);
        for (int k = 0; k < WIDTH; k++) {
            x[k] = w[k] * (c[0][k] - m[k] * c[1][k]) * sigmoid_of(x[k]).slope;
        }
        m2s_store<WIDTH>(dst + i, x);
    }
};

int launch_iou_grad(const m2s_cuda_call *call)
{
    planes of = planes_of(call->args, 1);
    const double *totals;
    int error = launch_plane_sums(call, iou_of(call, 1, of), of, &totals);
    iou_grad rule = { input(call, 0),  input(call, 1), input(call, 2),
                      input(call, 3),  totals,         static_cast<float *>(call->args->out[0]),
                      of.cut.channels, of.split,       static_cast<double>(plane_count(of)) };

    return error != 0 ? error : launch_gradient(call, rule, of);
}

/* ---- dice ---- */

struct dice_value : no_constants {
    static constexpr int sums = 2; /* p m, p + m */

    const float *probability, *mask;
    double epsilon, planes_count;
    int begin; /* the first column that counts */

    template <int WIDTH> M2S_HD void at(const float (&)[constants][WIDTH], int64_t i, double (&sum)[sums][WIDTH]) const
    {
        float p[WIDTH], m[WIDTH];

        m2s_load<WIDTH>(probability + i, p);
        m2s_load<WIDTH>(mask + i, m);
        for (int k = 0; k < WIDTH; k++) {
            sum[0][k] += static_cast<double>(p[k]) * static_cast<double>(m[k]);
            sum[1][k] += static_cast<double>(p[k]) + static_cast<double>(m[k]);
        }
    }

    M2S_HD double term(const double (&of)[sums], int column) const
    {
        return column < begin ? 0.0 : (2.0 * of[0] + epsilon) / (of[1] + epsilon);
    }

    M2S_HD double value(double sum) const
    {
        return 1.0 - sum / planes_count;
    }
};

/* In form 1 a batch is one image. */
plane_shape dice_shape(const m2s_ref_args *args, int first)
{
    plane_shape of = shape_of(args, first);

    return args->attrs->form == 0 ? of : plane_shape{ 1, of.images * of.pixels, of.channels };
}

dice_value dice_of(const m2s_cuda_call *call, int first, const planes &of)
{
    const m2s_attrs *attrs = call->args->attrs;
    int64_t counted = call->args->in_shape[first].c - attrs->begin;

    return dice_value{ {},
                       input(call, first),
                       input(call, first + 1),
                       attrs->epsilon,
                       static_cast<double>(of.cut.images * counted),
                       attrs->begin };
}

size_t dice_bytes(const m2s_ref_args *args, m2snet_dtype)
{
    return plane_bytes(dice_shape(args, 0), 2);
}

size_t dice_grad_bytes(const m2s_ref_args *args, m2snet_dtype)
{
    return plane_bytes(dice_shape(args, 1), 2);
}

int launch_dice(const m2s_cuda_call *call)
{
    planes of = plane_cut(dice_shape(call->args, 0), call->args);

    return launch_value(call, dice_of(call, 0, of), of);
}

struct dice_grad {
    static constexpr int constants = 2; /* overlap / areas^2, 2 / areas, both times diff */

    const float *diff, *mask;
    const double *totals;
    float *dst;
    int columns, split;
    dice_value of;

    M2S_HD void prepare(int image, int column, float *made) const
    {
        double sum[2];

        plane_sums(totals, columns, split, image, column, sum);
        double areas = sum[1] + of.epsilon;
        double each = column < of.begin ? 0.0 : static_cast<double>(diff[0]) / of.planes_count / areas;
        made[0] = column < of.begin ? 0.0f : static_cast<float>(each * (2.0 * sum[0] + of.epsilon) / areas);
        made[1] = static_cast<float>(2.0 * each);
    }

    template <int WIDTH> M2S_HD void at(const float (&c)[constants][WIDTH], int64_t i) const
    {
        float m[WIDTH];

        m2s_load<WIDTH>(mask + i, m);
        for (int k = 0; k < WIDTH; k++) {
            m[k] = c[0][k] - m[k] * c[1][k];
        }
        m2s_store<WIDTH>(dst + i, m);
    }
};

int launch_dice_grad(const m2s_cuda_call *call)
{
    planes of = plane_cut(dice_shape(call->args, 1), call->args);
    dice_value value = dice_of(call, 1, of);
    const double *totals;
    int error = launch_plane_sums(call, value, of, &totals);
    dice_grad rule = { input(call, 0),  input(call, 2), totals, static_cast<float *>(call->args->out[0]),
                       of.cut.channels, of.split,       value };

    return error != 0 ? error : launch_gradient(call, rule, of);
}

/* ---- cross_entropy: a thread a pixel ---- */

/* The greatest of a pixel's logits, and the sum of exp(logit - greatest). A NaN makes the sum a NaN. */
M2S_HD inline float exponential_sum(const float *logits, int channels, float *greatest)
{
    float sum = 0.0f;

    *greatest = logits[0];
    for (int c = 1; c < channels; c++) {
        *greatest = logits[c] > *greatest ? logits[c] : *greatest;
    }
    for (int c = 0; c < channels; c++) {
        sum += expf(logits[c] - *greatest);
    }
    return sum;
}

struct entropy_value : no_constants {
    static constexpr int sums = 1;
    static constexpr int width = 1;

    const float *logits, *mask;
    int channels;
    double pixels;

    template <int WIDTH>
    M2S_HD void at(const float (&)[constants][WIDTH], int64_t pixel, double (&sum)[sums][WIDTH]) const
    {
        const float *x = logits + pixel * channels, *m = mask + pixel * channels;
        float greatest, of_all = logf(exponential_sum(x, channels, &greatest));

        static_assert(WIDTH == 1, "pixels one by one");
        for (int c = 0; c < channels; c++) {
            sum[0][0] -= static_cast<double>(m[c] * (x[c] - greatest - of_all));
        }
    }

    M2S_HD double term(const double (&of)[sums], int) const
    {
        return of[0];
    }

    M2S_HD double value(double sum) const
    {
        return sum / pixels;
    }
};

/* A column of pixels, not of numbers. */
plane_shape pixel_shape(m2s_shape shape)
{
    return plane_shape{ 1, shape.n * shape.h * shape.w, 1 };
}

size_t entropy_bytes(const m2s_ref_args *args, m2snet_dtype)
{
    return plane_bytes(plane_cut(pixel_shape(args->in_shape[0]), false), 1);
}

int launch_entropy(const m2s_cuda_call *call)
{
    m2s_shape shape = call->args->in_shape[0];
    planes of = plane_cut(pixel_shape(shape), false);
    entropy_value rule = {
        {}, input(call, 0), input(call, 1), static_cast<int>(shape.c), static_cast<double>(of.cut.pixels)
    };

    return launch_value(call, rule, of);
}

struct entropy_grad {
    const float *diff, *logits, *mask;
    float *dst;
    int channels;
    float inverse; /* 1 / pixels */

    template <int WIDTH> M2S_HD void at(int64_t pixel) const
    {
        const float *x = logits + pixel * channels, *m = mask + pixel * channels;
        float greatest, sum = exponential_sum(x, channels, &greatest), mass = 0.0f, each = diff[0] * inverse;

        static_assert(WIDTH == 1, "pixels one by one");
        for (int c = 0; c < channels; c++) {
            mass += m[c];
        }
        for (int c = 0; c < channels; c++) {
            dst[pixel * channels + c] = each * (mass * (expf(x[c] - greatest) / sum) - m[c]);
        }
    }
};

int launch_entropy_grad(const m2s_cuda_call *call)
{
    m2s_shape shape = call->args->out_shape[0];
    int64_t pixels = shape.n * shape.h * shape.w;
    entropy_grad rule = { input(call, 0),
                          input(call, 1),
                          input(call, 2),
                          static_cast<float *>(call->args->out[0]),
                          static_cast<int>(shape.c),
                          static_cast<float>(1.0 / static_cast<double>(pixels)) };

    return m2s_launch_each<1>(call, rule, pixels);
}

/* ---- feature_distance: an image's numbers are one plane ---- */

struct distance_value : no_constants {
    static constexpr int sums = 1;

    const float *a, *target;
    bool rooted;
    double images, each;

    template <int WIDTH> M2S_HD void at(const float (&)[constants][WIDTH], int64_t i, double (&sum)[sums][WIDTH]) const
    {
        float x[WIDTH], y[WIDTH];

        m2s_load<WIDTH>(a + i, x);
        m2s_load<WIDTH>(target + i, y);
        for (int k = 0; k < WIDTH; k++) {
            double off = static_cast<double>(x[k]) - static_cast<double>(y[k]);
            sum[0][k] += off * off;
        }
    }

    M2S_HD double term(const double (&of)[sums], int) const
    {
        return rooted ? sqrt(of[0]) : of[0] / each;
    }

    M2S_HD double value(double sum) const
    {
        return sum / images;
    }
};

plane_shape distance_shape(m2s_shape shape)
{
    return plane_shape{ shape.n, shape.h * shape.w * shape.c, 1 };
}

template <int FIRST> size_t distance_bytes(const m2s_ref_args *args, m2snet_dtype)
{
    return plane_bytes(distance_shape(args->in_shape[FIRST]), 1);
}

distance_value distance_of(const m2s_cuda_call *call, int first)
{
    m2s_shape shape = call->args->in_shape[first];

    return distance_value{ {},
                           input(call, first),
                           input(call, first + 1),
                           call->args->attrs->form != 0,
                           static_cast<double>(shape.n),
                           static_cast<double>(shape.h * shape.w * shape.c) };
}

int launch_distance(const m2s_cuda_call *call)
{
    return launch_value(call, distance_of(call, 0), plane_cut(distance_shape(call->args->in_shape[0]), call->args));
}

struct distance_grad {
    static constexpr int constants = 1;

    const float *diff;
    const double *totals;
    float *dst;
    int columns, split;
    distance_value of;

    M2S_HD void prepare(int image, int column, float *made) const
    {
        double sum[1], factor = static_cast<double>(diff[0]) / of.images;

        if (of.rooted) {
            plane_sums(totals, columns, split, image, column, sum);
            double norm = sqrt(sum[0]);
            factor = norm == 0.0 ? 0.0 : factor / norm;
        } else {
            factor *= 2.0 / of.each;
        }
        made[0] = static_cast<float>(factor);
    }

    template <int WIDTH> M2S_HD void at(const float (&factor)[constants][WIDTH], int64_t i) const
    {
        float x[WIDTH], y[WIDTH];

        m2s_load<WIDTH>(of.a + i, x);
        m2s_load<WIDTH>(of.target + i, y);
        for (int k = 0; k < WIDTH; k++) {
            x[k] = factor[0][k] * (x[k] - y[k]);
        }
        m2s_store<WIDTH>(dst + i, x);
    }
};

int launch_distance_grad(const m2s_cuda_call *call)
{
    planes of = plane_cut(distance_shape(call->args->in_shape[1]), call->args);
    distance_value value = distance_of(call, 1);
    const double *totals = nullptr;
    int error = value.rooted ? launch_plane_sums(call, value, of, &totals) : 0;
    distance_grad rule = { input(call, 0),  totals,   static_cast<float *>(call->args->out[0]),
                           of.cut.channels, of.split, value };

    return error != 0 ? error : launch_gradient(call, rule, of);
}

} // namespace

extern "C" {
const m2s_cuda_kernel m2s_cuda_weighted_bce = { objective_bytes<2, 0>, launch_bce, false };
const m2s_cuda_kernel m2s_cuda_weighted_bce_grad = { objective_bytes<1, 1>, launch_bce_grad, false };
const m2s_cuda_kernel m2s_cuda_weighted_iou = { objective_bytes<2, 0>, launch_iou, false };
const m2s_cuda_kernel m2s_cuda_weighted_iou_grad = { objective_bytes<2, 1>, launch_iou_grad, false };
const m2s_cuda_kernel m2s_cuda_dice = { dice_bytes, launch_dice, false };
const m2s_cuda_kernel m2s_cuda_dice_grad = { dice_grad_bytes, launch_dice_grad, false };
const m2s_cuda_kernel m2s_cuda_cross_entropy = { entropy_bytes, launch_entropy, false };
const m2s_cuda_kernel m2s_cuda_cross_entropy_grad = { nullptr, launch_entropy_grad, false };
const m2s_cuda_kernel m2s_cuda_feature_distance = { distance_bytes<0>, launch_distance, false };
const m2s_cuda_kernel m2s_cuda_feature_distance_grad = { distance_bytes<1>, launch_distance_grad, false };
}
