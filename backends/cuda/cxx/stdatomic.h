/* SPDX-License-Identifier: Apache-2.0
 * C's atomic types for the C++ files of this backend: C++17 has them under std, with the same layout. Only types are
 * named there; nothing of core is called. */
#ifndef M2S_BACKENDS_CUDA_CXX_STDATOMIC_H
#define M2S_BACKENDS_CUDA_CXX_STDATOMIC_H

#include <atomic>

using std::atomic_bool;
using std::atomic_int;
using std::atomic_uint_fast64_t;

#endif
