/* SPDX-License-Identifier: Apache-2.0
 * Attention of pixels to pixels of a smaller map, and its gradient. */
#include "backends/cuda/attention_grad.cuh"
#include "backends/cuda/each.cuh"

namespace
{

/* Images are units. Channels of keys come before those of values. */
template <class T> struct map_places {
    int queries, keys, heads, width;
    bool vectors;
    float alpha;
    const T *query_map, *key_map, *diff_map;
    T *result;     /* or the queries' gradient */
    float *pieces; /* gradients of keys and values: (image, part, key, 2 channels) */
    int parts;

    struct place {
        int64_t image;
        int first; /* channel */
    };

    M2S_HD place at(int64_t unit, int head) const
    {
        return place{ unit, head * width };
    }

    M2S_HD int channels() const
    {
        return heads * width;
    }

    M2S_HD const T *query(const place &p, int i) const
    {
        return query_map + (p.image * queries + i) * channels() + p.first;
    }

    M2S_HD const T *key(const place &p, int j) const
    {
        return key_map + (p.image * keys + j) * 2 * channels() + p.first;
    }

    M2S_HD const T *value(const place &p, int j) const
    {
        return key(p, j) + channels();
    }

    M2S_HD const T *diff(const place &p, int i) const
    {
        return diff_map + (p.image * queries + i) * channels() + p.first;
    }

    M2S_HD float score(const place &, int, int, float dot) const
    {
        return alpha * dot;
    }

    template <int EACH>
    M2S_HD void put(m2s_attention_what what, const place &p, int part, int i, int channel,
                    const float (&values)[EACH]) const
    {
        if (what == M2S_ATTENTION_RESULT || what == M2S_ATTENTION_QUERY) {
            m2s_put_channels<EACH>(result + (p.image * queries + i) * channels() + p.first, channel, width, values);
        } else {
            float *to = pieces + ((p.image * parts + part) * keys + i) * 2 * channels() + p.first;
            m2s_put_channels<EACH>(to + (what == M2S_ATTENTION_VALUE ? channels() : 0), channel, width, values);
        }
    }
};

int pixels_of(m2s_shape shape)
{
    return static_cast<int>(shape.h * shape.w);
}

template <class T> map_places<T> places_of(const m2s_ref_args *args, int32_t query, void *result)
{
    const m2s_shape shape = args->in_shape[query], other = args->in_shape[query + 1];
    const void *diff = query > 0 ? args->in[0] : nullptr;
    map_places<T> of = {};

    of.queries = pixels_of(shape);
    of.keys = pixels_of(other);
    of.heads = args->attrs->groups;
    of.width = static_cast<int>(shape.c) / of.heads;
    of.vectors = of.width % 4 == 0 && m2s_is_aligned(args->in[query], 4, sizeof(T)) &&
                 m2s_is_aligned(args->in[query + 1], 4, sizeof(T)) && m2s_is_aligned(diff, 4, sizeof(T));
    of.alpha = static_cast<float>(args->attrs->alpha);
    of.query_map = static_cast<const T *>(args->in[query]);
    of.key_map = static_cast<const T *>(args->in[query + 1]);
    of.diff_map = static_cast<const T *>(diff);
    of.result = static_cast<T *>(result);
    of.parts = 1;
    return of;
}

int launch_attention(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;

    return m2s_with_storage(call, [&](auto zero) {
        const auto of = places_of<decltype(zero)>(args, 0, args->out[0]);
        const int64_t images = args->in_shape[0].n;
        return of.width <= 32 ? m2s_launch_attention<32>(call, of, images) : m2s_launch_attention<64>(call, of, images);
    });
}

/* ---- gradient. Scratch: softmaxes, then the pieces of keys' and values' gradients, which are then added up ---- */

/* Parts of the queries: so many that blocks fill a device although there are few keys. */
int parts_of(const m2s_ref_args *args)
{
    const m2s_shape shape = args->in_shape[1];
    const int64_t heads = args->attrs->groups, width = shape.c / heads;
    const int64_t chunks = width <= 32 ? 1 : (width + 63) / 64;
    const int64_t tiles = (pixels_of(shape) + M2S_ATTENTION_ROWS - 1) / M2S_ATTENTION_ROWS;
    const int64_t blocks =
        shape.n * heads * chunks * ((pixels_of(args->in_shape[2]) + M2S_ATTENTION_ROWS - 1) / M2S_ATTENTION_ROWS);
    const int64_t most = blocks < M2S_ATTENTION_BLOCKS ? M2S_ATTENTION_BLOCKS / blocks : 1;
    const int64_t parts = most < tiles ? most : tiles, each = (tiles + parts - 1) / parts;

    return static_cast<int>((tiles + each - 1) / each);
}

size_t softmax_bytes(const m2s_ref_args *args)
{
    return m2s_softmax_bytes(args->in_shape[1].n, args->attrs->groups, pixels_of(args->in_shape[1]));
}

size_t attention_grad_bytes(const m2s_ref_args *args, m2snet_dtype storage)
{
    (void)storage;
    return softmax_bytes(args) + static_cast<size_t>(parts_of(args)) *
                                     static_cast<size_t>(m2s_shape_elements(args->in_shape[2])) * sizeof(float);
}

template <class T> struct pieces_rule {
    const float *pieces;
    T *dst;
    m2s_divisor numbers; /* of an image */
    int parts;

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        const int64_t image = m2s_quotient(i, numbers);
        const float *from = pieces + image * (parts - 1) * numbers.by + i;
        float sum[WIDTH] = {};

        for (int p = 0; p < parts; p++) {
            float piece[WIDTH];
            m2s_load<WIDTH>(from + static_cast<int64_t>(p) * numbers.by, piece);
            for (int k = 0; k < WIDTH; k++) {
                sum[k] += piece[k];
            }
        }
        m2s_store<WIDTH>(dst + i, sum);
    }
};

template <class T> int add_pieces(const m2s_cuda_call *call, const float *pieces, int parts)
{
    const m2s_ref_args *args = call->args;
    const m2s_shape shape = args->out_shape[1];
    const int64_t numbers = shape.h * shape.w * shape.c, count = shape.n * numbers;
    const pieces_rule<T> rule = { pieces, static_cast<T *>(args->out[1]), m2s_divisor_of(numbers), parts };

    return numbers % 4 == 0 && m2s_is_aligned(args->out[1], 4, sizeof(T)) ? m2s_launch_each<4>(call, rule, count)
                                                                          : m2s_launch_each<1>(call, rule, count);
}

template <int D, class T> int launch_grad_as(const m2s_cuda_call *call, map_places<T> of)
{
    const m2s_ref_args *args = call->args;
    const int64_t images = args->in_shape[1].n;
    m2s_softmax *softmax = static_cast<m2s_softmax *>(args->scratch);

    of.pieces = reinterpret_cast<float *>(static_cast<char *>(args->scratch) + softmax_bytes(args));
    of.parts = parts_of(args);
    int error = m2s_launch_attention_statistics<D>(call, of, images, softmax);
    error = error != 0 ? error : m2s_launch_attention_back<D>(call, of, images, of.parts, softmax);
    return error != 0 ? error : add_pieces<T>(call, of.pieces, of.parts);
}

int launch_attention_grad(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;

    return m2s_with_storage(call, [&](auto zero) {
        const auto of = places_of<decltype(zero)>(args, 1, args->out[0]);
        return of.width <= 32 ? launch_grad_as<32>(call, of) : launch_grad_as<64>(call, of);
    });
}

} // namespace

extern "C" {
const m2s_cuda_kernel m2s_cuda_attention = { nullptr, launch_attention, true };
const m2s_cuda_kernel m2s_cuda_attention_grad = { attention_grad_bytes, launch_attention_grad, true };
}
