/* SPDX-License-Identifier: Apache-2.0
 * Maps of numbers that stand alone: each result depends on the numbers of its own index. */
#ifndef M2S_BACKENDS_CUDA_EACH_CUH
#define M2S_BACKENDS_CUDA_EACH_CUH

#include "backends/cuda/pack.cuh"

static constexpr int M2S_EACH_THREADS = 256;
static constexpr int M2S_EACH_BLOCKS = 4224; /* eight for each multiprocessor of the largest devices, four times over */

/* rule.at<WIDTH>(i) makes the numbers i to i + WIDTH - 1. What is left of count at the end is made one by one. */
template <class Rule, int WIDTH> struct m2s_each {
    static constexpr int phases = 1;

    Rule rule;
    int64_t count;

    M2S_HD void run(int, const m2s_thread &t, char *) const
    {
        int64_t first = t.first(), whole = count / WIDTH;

        for (int64_t v = first; v < whole; v += t.stride()) {
            rule.template at<WIDTH>(v * WIDTH);
        }
        if (WIDTH > 1 && first < count - whole * WIDTH) {
            rule.template at<1>(whole * WIDTH + first);
        }
    }
};

template <int WIDTH, class Rule> int m2s_launch_each(const m2s_cuda_call *call, const Rule &rule, int64_t count)
{
    int64_t blocks = (count / WIDTH + M2S_EACH_THREADS - 1) / M2S_EACH_THREADS;

    blocks = blocks < 1 ? 1 : blocks < M2S_EACH_BLOCKS ? blocks : M2S_EACH_BLOCKS;
    return m2s_cuda_launch(call, m2s_each<Rule, WIDTH>{ rule, count }, m2s_cuda_grid{ static_cast<int>(blocks), 1, 1 },
                           M2S_EACH_THREADS, 0);
}

/* Four at a time where all of these places, of numbers of `size` bytes, allow it. */
template <class Rule>
int m2s_launch_each_of(const m2s_cuda_call *call, const Rule &rule, int64_t count, const void *const *places,
                       int place_count, size_t size)
{
    bool aligned = true;

    for (int i = 0; i < place_count; i++) {
        aligned = aligned && m2s_is_aligned(places[i], 4, size);
    }
    return aligned ? m2s_launch_each<4>(call, rule, count) : m2s_launch_each<1>(call, rule, count);
}

#endif
