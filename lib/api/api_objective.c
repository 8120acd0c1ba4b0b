/* SPDX-License-Identifier: Apache-2.0
 * Loss networks and objectives. */
#include "api/api.h"
#include "train/objective_value.h"

void m2snet_lossnet_options_init(m2snet_lossnet_options *options)
{
    if (options != NULL) {
        m2s_lossnet_options_default(options);
    }
}

m2snet_status m2snet_lossnet_load_file(m2snet_context *context, const char *path, const m2snet_lossnet_options *options,
                                       m2snet_lossnet **lossnet, m2snet_error *error)
{
    M2S_REQUIRE(lossnet);
    *lossnet = NULL;
    M2S_REQUIRE(context);
    M2S_REQUIRE(path);
    return m2s_memory_explain(&context->memory, m2s_lossnet_load_file(context, path, options, lossnet, error), error);
}

m2snet_status m2snet_lossnet_create(m2snet_context *context, const char *family, uint64_t seed,
                                    m2snet_lossnet **lossnet, m2snet_error *error)
{
    M2S_REQUIRE(lossnet);
    *lossnet = NULL;
    M2S_REQUIRE(context);
    return m2s_memory_explain(&context->memory, m2s_lossnet_create(context, family, seed, lossnet, error), error);
}

void m2snet_lossnet_destroy(m2snet_lossnet *lossnet)
{
    m2s_lossnet_release(lossnet);
}

void m2snet_objective_options_init(m2snet_objective_options *options)
{
    if (options != NULL) {
        m2s_objective_options_default(options);
    }
}

m2snet_status m2snet_objective_options_preset(m2snet_objective_options *options, const char *name, m2snet_error *error)
{
    M2S_REQUIRE(options);
    M2S_REQUIRE(name);
    return m2s_objective_options_preset(options, name, error);
}

m2snet_status m2snet_objective_evaluate(m2snet_context *context, const m2snet_objective_options *options,
                                        const m2snet_tensor *logits, const m2snet_tensor *mask,
                                        m2snet_objective_values *values, m2snet_tensor *gradient,
                                        const m2snet_control *user, m2snet_error *error)
{
    m2s_control control;

    M2S_REQUIRE(context);
    M2S_REQUIRE(logits);
    M2S_REQUIRE(mask);
    M2S_REQUIRE(values);
    m2s_control_init(&control, user);
    return m2s_memory_explain(&context->memory,
                              m2s_objective_evaluate(context, options, logits, mask, values, gradient, &control, error),
                              error);
}
