/* SPDX-License-Identifier: Apache-2.0
 * The gradient of the multi-scale subtraction unit (MODELS.md 2.4), by planes:
 *   1. h = sum over channels of slope g, a plane for each call, and down the channels the gradients of gamma and beta;
 *   2. ds from h and its means, and the windows over it: what every channel of A' and of B gets;
 *   3. the gradients of A and B. */
#include "backends/cuda/columns.cuh"
#include "backends/cuda/subtract.cuh"
#include "backends/cuda/subtract_norm.cuh"

namespace
{

constexpr int THREADS = 256;
constexpr int MOST_LANE_SHIFT = 4;

int64_t pixels_of(m2s_shape shape)
{
    return shape.n * shape.h * shape.w;
}

/* What |max(0, za) - max(0, zb)| passes of diff to za and, negated, to zb. Signs and ReLU at 0 give 0; a NaN stays. */
M2S_HD inline void pass(float diff, float za, float zb, float *to_a, float *to_b)
{
    const float e = (za < 0.0f ? 0.0f : za) - (zb < 0.0f ? 0.0f : zb);
    const float g = diff * (e > 0.0f ? 1.0f : e < 0.0f ? -1.0f : e);

    *to_a = za <= 0.0f ? 0.0f : g;
    *to_b = zb <= 0.0f ? 0.0f : -g;
}

/* ---- 1a: h ---- */

template <class T, int WIDTH> struct common_body {
    static constexpr int phases = 2;

    m2s_unit_norm norm;
    const T *diff;
    const float *planes;
    float *common; /* (n, h, w, 2 scales) */
    int64_t pixels;
    int channels, lane_shift;

    M2S_HD void add_lane(int64_t at, int lane, int k, float *to_a, float *to_b) const
    {
        const float *s = planes + at * 2 * norm.scales + 2 * k;
        const float xa = m2s_unit_normal(norm, 2 * k, s[0]), xb = m2s_unit_normal(norm, 2 * k + 1, s[1]);
        float slope[WIDTH], mean[WIDTH], beta[WIDTH], g[WIDTH], sum_a = 0.0f, sum_b = 0.0f;

        for (int c = lane * WIDTH; c < channels; c += WIDTH << lane_shift) {
            m2s_load<WIDTH>(diff + at * channels + c, g);
            m2s_unit_channels<WIDTH>(norm, k, c, slope, mean, beta);
            for (int j = 0; j < WIDTH; j++) {
                float ga, gb;
                pass(g[j], m2s_unit_affine(xa, slope[j], mean[j], beta[j]),
                     m2s_unit_affine(xb, slope[j], mean[j], beta[j]), &ga, &gb);
                sum_a = fmaf(slope[j], ga, sum_a);
                sum_b = fmaf(slope[j], gb, sum_b);
            }
        }
        *to_a = sum_a;
        *to_b = sum_b;
    }

    M2S_HD void run(int phase, const m2s_thread &t, char *shared) const
    {
        float *part = reinterpret_cast<float *>(shared);
        const int lanes = 1 << lane_shift, each = THREADS >> lane_shift, pitch = each + 1, calls = 2 * norm.scales;
        const int64_t first = static_cast<int64_t>(t.block) * each;

        if (phase == 0) {
            const int lane = t.thread & (lanes - 1), pixel = t.thread >> lane_shift;
            for (int k = 0; k < norm.scales && first + pixel < pixels; k++) {
                float *to = part + 2 * k * lanes * pitch + lane * pitch + pixel;
                add_lane(first + pixel, lane, k, to, to + lanes * pitch);
            }
            return;
        }
        for (int i = t.thread; i < each * calls; i += t.threads) {
            const int pixel = i / calls, call = i - pixel * calls;
            if (first + pixel < pixels) {
                common[first * calls + i] = m2s_lane_total(part + call * lanes * pitch, pixel, pitch, lanes);
            }
        }
    }
};

template <class T, int WIDTH>
int launch_common(const m2s_cuda_call *call, const m2s_unit_norm &norm, m2s_shape fine, float *common)
{
    const m2s_ref_args *args = call->args;
    const int shift = m2s_lane_shift(fine.c, WIDTH, MOST_LANE_SHIFT), each = THREADS >> shift;
    const common_body<T, WIDTH> body = { norm,
                                         static_cast<const T *>(args->in[0]),
                                         static_cast<const float *>(args->in[4]),
                                         common,
                                         pixels_of(fine),
                                         static_cast<int>(fine.c),
                                         shift };
    const m2s_cuda_grid grid = { static_cast<int>((body.pixels + each - 1) / each), 1, 1 };

    return m2s_cuda_launch(call, body, grid, THREADS,
                           sizeof(float) * static_cast<size_t>(2 * norm.scales * (each + 1) << shift));
}

/* ---- 1b: gradients of gamma and beta, of one scale ---- */

/* Sums of g and of g x, for A' and for B. */
template <class T> struct affine_sums {
    static constexpr int sums = 4, constants = 3; /* slope, mean, beta */

    m2s_unit_norm norm;
    const T *diff;
    const float *planes;
    m2s_divisor channels;
    int k;

    M2S_HD void prepare(int, int channel, float *made) const
    {
        made[0] = norm.slope[k][channel];
        made[1] = norm.frozen ? norm.mean[k][channel] : 0.0f;
        made[2] = norm.beta[k][channel];
    }

    template <int WIDTH>
    M2S_HD void at(const float (&c)[constants][WIDTH], int64_t offset, double (&sum)[sums][WIDTH]) const
    {
        const float *s = planes + m2s_quotient(offset, channels) * 2 * norm.scales + 2 * k;
        const float xa = m2s_unit_normal(norm, 2 * k, s[0]), xb = m2s_unit_normal(norm, 2 * k + 1, s[1]);
        float g[WIDTH];

        m2s_load<WIDTH>(diff + offset, g);
        for (int j = 0; j < WIDTH; j++) {
            float ga, gb;
            pass(g[j], m2s_unit_affine(xa, c[0][j], c[1][j], c[2][j]), m2s_unit_affine(xb, c[0][j], c[1][j], c[2][j]),
                 &ga, &gb);
            sum[0][j] += static_cast<double>(ga);
            sum[1][j] += static_cast<double>(ga) * static_cast<double>(xa - c[1][j]);
            sum[2][j] += static_cast<double>(gb);
            sum[3][j] += static_cast<double>(gb) * static_cast<double>(xb - c[1][j]);
        }
    }
};

/* Also leaves the four sums, for the means of h and of h x: (4, channels). */
struct affine_finish {
    static constexpr int sums = 4;

    const float *var; /* where frozen */
    double epsilon;
    float *diff_gamma, *diff_beta;
    double *totals;
    int channels;

    M2S_HD void column(int, int channel, const double (&total)[sums]) const
    {
        const double inverse = var != nullptr ? 1.0 / sqrt(static_cast<double>(var[channel]) + epsilon) : 1.0;

        diff_beta[channel] = static_cast<float>(total[0] + total[2]);
        diff_gamma[channel] = static_cast<float>((total[1] + total[3]) * inverse);
        for (int i = 0; i < sums; i++) {
            totals[i * channels + channel] = total[i];
        }
    }
};

m2s_columns cut_affine(m2s_shape fine, int width)
{
    return m2s_columns_cut(1, pixels_of(fine), fine.c, width, M2S_COLUMN_SUM_BLOCKS);
}

template <class T>
int launch_affine(const m2s_cuda_call *call, const m2s_unit_norm &norm, m2s_shape fine, int k, int width,
                  double *partial, double *totals)
{
    const m2s_ref_args *args = call->args;
    const m2s_columns cut = cut_affine(fine, width);
    const affine_sums<T> rule = { norm, static_cast<const T *>(args->in[0]), static_cast<const float *>(args->in[4]),
                                  m2s_divisor_of(fine.c), k };
    const affine_finish finish = { norm.frozen ? norm.var[k] : nullptr,
                                   norm.epsilon,
                                   static_cast<float *>(args->out[2 + 2 * k]),
                                   static_cast<float *>(args->out[3 + 2 * k]),
                                   totals + 4 * k * fine.c,
                                   static_cast<int>(fine.c) };
    int error = width == 4 ? m2s_launch_column_sums<4>(call, rule, cut, partial)
                           : m2s_launch_column_sums<1>(call, rule, cut, partial);

    return error != 0 ? error : m2s_launch_column_totals(call, finish, cut, partial);
}

/* ---- 2: through batch norm and the windows ---- */

/* For scales first to first + count - 1. Shared memory: doubles of means, then ds of the halo and row sums, a plane for
 * each call. */
struct window_body {
    static constexpr int phases = 5;

    m2s_unit_norm norm;
    m2s_tiles tiles;
    m2s_window window[M2S_MAX_SCALES];
    const float *planes, *common;
    const double *totals; /* (scales, 4, channels) */
    float *passed;        /* two planes of all images: what A' and B get */
    int64_t pixels;       /* of all images */
    int channels, first, count;

    M2S_HD double *means(char *shared) const
    {
        return reinterpret_cast<double *>(shared);
    }

    M2S_HD float *halos(char *shared) const
    {
        return reinterpret_cast<float *>(means(shared) + 4 * M2S_MAX_SCALES + THREADS);
    }

    /* Mean i of a scale's four is the sum over channels of gamma times a total, over the pixels. */
    M2S_HD void add_means(const m2s_thread &t, double *parts) const
    {
        const int each = t.threads / (4 * count), i = t.thread / each;
        double sum = 0.0;

        if (i < 4 * count) {
            const int k = first + i / 4;
            for (int c = t.thread - i * each; c < channels; c += each) {
                sum += static_cast<double>(norm.gamma[k][c]) * totals[(4 * k + i % 4) * channels + c];
            }
            parts[t.thread] = sum;
        }
    }

    M2S_HD float source(const m2s_tile &tile, const double *mean, int call, int i) const
    {
        int y, x;

        if (!m2s_halo_pixel(tiles, tile, i, &y, &x)) {
            return 0.0f;
        }
        const int of_all = 2 * first + call;
        const int64_t at = ((tile.image * tiles.h + y) * tiles.w + x) * 2 * norm.scales + of_all;
        if (norm.frozen) {
            return common[at];
        }
        const float normal = m2s_unit_normal(norm, of_all, planes[at]);
        const float away = fmaf(normal, static_cast<float>(mean[2 * call + 1]), static_cast<float>(mean[2 * call]));
        return (common[at] - away) * norm.spread[2 * of_all + 1];
    }

    M2S_HD void write(const m2s_tile &tile, const float *row_sums, int side, int i) const
    {
        const int sums = static_cast<int>(tiles.row_sums.by);
        float sum = 0.0f;
        int y, x;

        if (!m2s_tile_pixel(tiles, tile, i, &y, &x)) {
            return;
        }
        float *to = passed + side * pixels + (tile.image * tiles.h + y) * tiles.w + x;
        for (int k = 0; k < count; k++) {
            sum += m2s_window_sum(tiles, window[first + k], row_sums + (2 * k + side) * sums, i);
        }
        *to = first == 0 ? sum : *to + sum;
    }

    M2S_HD void run(int phase, const m2s_thread &t, char *shared) const
    {
        const m2s_tile tile = m2s_tile_at(tiles, t.block);
        const int calls = 2 * count, sums = static_cast<int>(tiles.row_sums.by);
        double *mean = means(shared), *parts = mean + 4 * M2S_MAX_SCALES;
        float *halo = halos(shared), *row_sums = halo + calls * tiles.halo;

        if (phase == 0 && !norm.frozen) {
            add_means(t, parts);
        } else if (phase == 1 && !norm.frozen && t.thread < 4 * count) {
            const int each = t.threads / (4 * count);
            double sum = 0.0;
            for (int i = 0; i < each; i++) {
                sum += parts[t.thread * each + i];
            }
            mean[t.thread] = sum / static_cast<double>(pixels);
        } else if (phase == 2) {
            for (int call = 0; call < calls; call++) {
                for (int i = t.thread; i < tiles.halo; i += t.threads) {
                    halo[call * tiles.halo + i] = source(tile, mean, call, i);
                }
            }
        } else if (phase == 3) {
            for (int i = t.thread; i < calls * sums; i += t.threads) {
                const int call = static_cast<int>(m2s_quotient(i, tiles.row_sums));
                row_sums[i] = m2s_row_sum(tiles, window[first + call / 2], halo + call * tiles.halo, i - call * sums);
            }
        } else if (phase == 4) {
            for (int i = t.thread; i < 2 * m2s_tile_pixels(tiles); i += t.threads) {
                const int side = i >= m2s_tile_pixels(tiles);
                write(tile, row_sums, side, i - side * m2s_tile_pixels(tiles));
            }
        }
    }
};

size_t window_bytes(const m2s_tiles &tiles, int count)
{
    return sizeof(double) * (4 * M2S_MAX_SCALES + THREADS) +
           sizeof(float) * 2 * static_cast<size_t>(count) * (static_cast<size_t>(tiles.halo) + tiles.row_sums.by);
}

/* As many scales at a time as shared memory has room for. */
int launch_windows(const m2s_cuda_call *call, const m2s_unit_norm &norm, const m2s_subtract &unit, m2s_shape fine,
                   const double *totals, const float *common, float *passed)
{
    window_body body = {};
    int error = 0;

    body.norm = norm;
    body.planes = static_cast<const float *>(call->args->in[4]);
    body.common = common;
    body.totals = totals;
    body.passed = passed;
    body.pixels = pixels_of(fine);
    body.channels = unit.channels;
    for (int k = 0; k < unit.scales; k++) {
        body.window[k] = unit.window[k];
    }
    for (body.first = 0; body.first < unit.scales && error == 0; body.first += body.count) {
        body.count = unit.scales - body.first;
        while (body.count > 1 && window_bytes(m2s_tiles_of(fine, unit.reach, 4, 2), body.count) > M2S_CUDA_MAX_SHARED) {
            body.count--;
        }
        body.tiles = m2s_choose_tiles(call, fine, unit.reach,
                                      [&](const m2s_tiles &tiles) { return window_bytes(tiles, body.count); });
        error = m2s_cuda_launch(call, body, m2s_cuda_grid{ static_cast<int>(body.tiles.blocks), 1, 1 }, THREADS,
                                window_bytes(body.tiles, body.count));
    }
    return error;
}

/* ---- 3: the gradients of A and B ---- */

M2S_HD inline float signed_by(float diff, float beyond)
{
    return diff * (beyond > 0.0f ? 1.0f : beyond < 0.0f ? -1.0f : beyond);
}

/* Where A has B's size. */
template <class T> struct same_rule {
    const T *diff, *a, *b;
    const float *passed;
    T *diff_a, *diff_b;
    int64_t pixels;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        const float of_a = passed[p.pixel], of_b = passed[pixels + p.pixel];
        float g[WIDTH], x[WIDTH], y[WIDTH];

        m2s_load<WIDTH>(diff + p.at, g);
        m2s_load<WIDTH>(a + p.at, x);
        m2s_load<WIDTH>(b + p.at, y);
        for (int j = 0; j < WIDTH; j++) {
            const float through = signed_by(g[j], x[j] - y[j]);
            x[j] = of_a + through;
            y[j] = of_b - through;
        }
        m2s_store<WIDTH>(diff_a + p.at, x);
        m2s_store<WIDTH>(diff_b + p.at, y);
    }
};

/* What |A' - B| passes to B, for the two rules after it. */
template <class T> struct through_rule {
    m2s_subtract unit;
    const T *diff, *a, *b;
    T *diff_b;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        const T *image = a + p.image * unit.rows.in * unit.columns.in * unit.channels + p.channel;
        float g[WIDTH], x[WIDTH], y[WIDTH];

        m2s_load<WIDTH>(diff + p.at, g);
        m2s_load<WIDTH>(b + p.at, y);
        m2s_upsampled<WIDTH>(unit, image, p.y, p.x, x);
        for (int j = 0; j < WIDTH; j++) {
            y[j] = -signed_by(g[j], x[j] - y[j]);
        }
        m2s_store<WIDTH>(diff_b + p.at, y);
    }
};

/* The adjoint of the resize, over what A' gets: its plane less what B got of |A' - B|. */
template <class T> struct gather_rule {
    m2s_subtract unit;
    const T *through;
    const float *passed;
    T *diff_a;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        const int64_t first = p.image * unit.rows.out * unit.columns.out;
        float sum[WIDTH] = {};
        int top, bottom, left, right;

        m2s_axis_reach(unit.rows, p.y, &top, &bottom);
        m2s_axis_reach(unit.columns, p.x, &left, &right);
        for (int y = top; y < bottom; y++) {
            const float down = m2s_axis_weight(m2s_axis_tap_at(unit.rows, y), p.y);
            for (int x = left; x < right; x++) {
                const float weight = down * m2s_axis_weight(m2s_axis_tap_at(unit.columns, x), p.x);
                const int64_t at = first + static_cast<int64_t>(y) * unit.columns.out + x;
                const float plane = passed[at];
                float g[WIDTH];
                m2s_load<WIDTH>(through + at * unit.channels + p.channel, g);
                for (int j = 0; j < WIDTH; j++) {
                    sum[j] = weight > 0.0f ? fmaf(weight, plane - g[j], sum[j]) : sum[j];
                }
            }
        }
        m2s_store<WIDTH>(diff_a + p.at, sum);
    }
};

template <class T> struct add_plane_rule {
    const float *plane;
    T *dst;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        const float more = plane[p.pixel];
        float x[WIDTH];

        m2s_load<WIDTH>(dst + p.at, x);
        for (int j = 0; j < WIDTH; j++) {
            x[j] += more;
        }
        m2s_store<WIDTH>(dst + p.at, x);
    }
};

template <class T>
int launch_sources(const m2s_cuda_call *call, const m2s_subtract &unit, m2s_shape coarse, m2s_shape fine,
                   const float *passed)
{
    const m2s_ref_args *args = call->args;
    const T *diff = static_cast<const T *>(args->in[0]);
    const T *a = static_cast<const T *>(args->in[1]), *b = static_cast<const T *>(args->in[2]);
    T *diff_a = static_cast<T *>(args->out[0]), *diff_b = static_cast<T *>(args->out[1]);
    const void *places[] = { diff, a, b, diff_a, diff_b };
    const int64_t pixels = pixels_of(fine);

    if (unit.same) {
        return m2s_launch_pixels_of<T>(call, same_rule<T>{ diff, a, b, passed, diff_a, diff_b, pixels }, fine, places,
                                       5);
    }
    int error = m2s_launch_pixels_of<T>(call, through_rule<T>{ unit, diff, a, b, diff_b }, fine, places, 5);
    error = error != 0
                ? error
                : m2s_launch_pixels_of<T>(call, gather_rule<T>{ unit, diff_b, passed, diff_a }, coarse, places, 5);
    return error != 0 ? error
                      : m2s_launch_pixels_of<T>(call, add_plane_rule<T>{ passed + pixels, diff_b }, fine, places, 5);
}

/* ---- all of it ---- */

/* Parts of the scratch, in bytes: partial sums, totals, h, what A' and B get, norms. */
struct grad_room {
    size_t totals, common, passed, norm, bytes;
};

grad_room room_of(const m2s_ref_args *args)
{
    const m2s_shape fine = args->in_shape[2];
    const size_t scales = static_cast<size_t>(args->attrs->scales), pixels = static_cast<size_t>(pixels_of(fine));
    const size_t wide = fine.c % 4 == 0 ? m2s_column_partial_bytes(cut_affine(fine, 4), 4) : 0;
    const size_t narrow = m2s_column_partial_bytes(cut_affine(fine, 1), 4);
    grad_room room = {};

    room.totals = wide > narrow ? wide : narrow;
    room.common = room.totals + scales * 4 * static_cast<size_t>(fine.c) * sizeof(double);
    room.passed = room.common + pixels * 2 * scales * sizeof(float);
    room.norm = room.passed + pixels * 2 * sizeof(float);
    room.bytes =
        room.norm + sizeof(float) * static_cast<size_t>(m2s_unit_norm_floats(args->attrs, args->in_shape[2].c));
    return room;
}

size_t subtract_grad_bytes(const m2s_ref_args *args, m2snet_dtype storage)
{
    (void)storage;
    return room_of(args).bytes;
}

template <class T> int launch_subtract_grad_as(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const m2s_shape coarse = args->in_shape[1], fine = args->in_shape[2];
    const grad_room room = room_of(args);
    char *scratch = static_cast<char *>(args->scratch);
    double *partial = reinterpret_cast<double *>(scratch), *totals = reinterpret_cast<double *>(scratch + room.totals);
    float *common = reinterpret_cast<float *>(scratch + room.common);
    float *passed = reinterpret_cast<float *>(scratch + room.passed);
    float *spread = reinterpret_cast<float *>(scratch + room.norm);
    const m2s_unit_norm norm = m2s_unit_norm_of(args->attrs, args->in + 5, fine.c, spread);
    const m2s_subtract unit = m2s_subtract_of(args->attrs, coarse, fine);
    const bool wide = m2s_unit_width(norm, fine.c, sizeof(T), args->in, 1) == 4;
    int error = m2s_launch_unit_prepare(call, norm, static_cast<const float *>(args->in[3]), nullptr, fine.c, spread);

    if (error == 0) {
        error = wide ? launch_common<T, 4>(call, norm, fine, common) : launch_common<T, 1>(call, norm, fine, common);
    }
    for (int k = 0; k < norm.scales && error == 0; k++) {
        error = launch_affine<T>(call, norm, fine, k, wide ? 4 : 1, partial, totals);
    }
    error = error != 0 ? error : launch_windows(call, norm, unit, fine, totals, common, passed);
    return error != 0 ? error : launch_sources<T>(call, unit, coarse, fine, passed);
}

int launch_subtract_grad(const m2s_cuda_call *call)
{
    return m2s_with_storage(call, [&](auto zero) { return launch_subtract_grad_as<decltype(zero)>(call); });
}

} // namespace

extern "C" {
const m2s_cuda_kernel m2s_cuda_multi_scale_subtract_grad = { subtract_grad_bytes, launch_subtract_grad, true };
}
