/* SPDX-License-Identifier: Apache-2.0
 * Elementwise operations (op_pointwise.c) and channels moved about. */
#include "backends/cuda/kernel.cuh"

#define THREADS 256

/* ---- a loop over all elements, four at a time where the count allows ---- */

/* Every element of out from the same element of up to 8 inputs. */
template <class T, class Function> struct elementwise {
    static constexpr int phases = 1;
    Function function;
    const T *in[8];
    T *out;
    int64_t count; /* of elements */
    bool fours;    /* count is a multiple of four */

    M2S_HD void run(int, const m2s_thread &t, char *) const
    {
        if (fours) {
            for (int64_t i = t.first(); i < count / 4; i += t.stride()) {
                float value[Function::inputs][4] = {};
                m2s_four<T> result;
                for (int k = 0; k < function.count(); k++) {
                    const m2s_four<T> four = reinterpret_cast<const m2s_four<T> *>(in[k])[i];
                    for (int j = 0; j < 4; j++) {
                        value[k][j] = m2s_to_float(four.v[j]);
                    }
                }
                for (int j = 0; j < 4; j++) {
                    result.v[j] = m2s_from_float<T>(function(value, j));
                }
                reinterpret_cast<m2s_four<T> *>(out)[i] = result;
            }
            return;
        }
        for (int64_t i = t.first(); i < count; i += t.stride()) {
            float value[Function::inputs][4] = {};
            for (int k = 0; k < function.count(); k++) {
                value[k][0] = m2s_to_float(in[k][i]);
            }
            out[i] = m2s_from_float<T>(function(value, 0));
        }
    }
};

template <class T, class Function> static int launch_elementwise(const m2s_cuda_call *call, const Function &function)
{
    const m2s_ref_args *args = call->args;
    elementwise<T, Function> body = {};

    body.function = function;
    for (int k = 0; k < function.count(); k++) {
        body.in[k] = static_cast<const T *>(args->in[k]);
    }
    body.out = static_cast<T *>(args->out[0]);
    body.count = m2s_shape_elements(args->out_shape[0]);
    body.fours = body.count % 4 == 0;
    return m2s_cuda_launch(call, body, m2s_cuda_blocks(call, body.fours ? body.count / 4 : body.count, THREADS),
                           THREADS, 0);
}

/* By the storage type of the call. */
template <class Function> static int launch_stored(const m2s_cuda_call *call, const Function &function)
{
    switch (call->storage) {
    case M2SNET_DTYPE_F16:
        return launch_elementwise<m2s_f16>(call, function);
    case M2SNET_DTYPE_BF16:
        return launch_elementwise<m2s_bf16>(call, function);
    default:
        return launch_elementwise<float>(call, function);
    }
}

/* ---- relu, add ---- */

/* A NaN stays a NaN. */
M2S_HD static inline float positive_part(float value)
{
    return value < 0.0f ? 0.0f : value;
}

struct sum_function {
    static constexpr int inputs = 8;
    int32_t terms;
    bool relu;

    M2S_HD int count() const
    {
        return terms;
    }
    M2S_HD float operator()(const float (&value)[8][4], int j) const
    {
        float sum = value[0][j];
        for (int k = 1; k < terms; k++) {
            sum += value[k][j];
        }
        return relu ? positive_part(sum) : sum;
    }
};

static int relu_launch(const m2s_cuda_call *call)
{
    return launch_stored(call, sum_function{ 1, true });
}

static int add_launch(const m2s_cuda_call *call)
{
    return launch_stored(call, sum_function{ call->args->in_count, call->args->attrs->relu != 0 });
}

extern "C" {
const m2s_cuda_kernel m2s_cuda_relu = { nullptr, relu_launch, true };
const m2s_cuda_kernel m2s_cuda_add = { nullptr, add_launch, true };
}
