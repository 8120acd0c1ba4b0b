/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "common/cuda_fixture.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/train_fixture.h"

stand_in cuda_host;

static bool find(void *opened, const char *name, void *function)
{
    void *symbol = dlsym(opened, name);

    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

int find_stand_in(void)
{
    const char *folder = getenv("M2SNET_LIB_DIR");
    stand_in *s = &cuda_host;

    folder = folder != NULL ? folder : ".";
    snprintf(s->module, sizeof s->module, "%s/m2snet-cuda-simulated.so", folder);
    snprintf(s->library, sizeof s->library, "%s/libm2snet.so", folder);
    snprintf(s->device_module, sizeof s->device_module, "%s/m2snet-cuda.so", folder);
    void *opened = access(s->module, R_OK) == 0 ? dlopen(s->module, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) : NULL;
    if (opened == NULL) {
        printf("skipped: this build has no %s\n", s->module);
        return 77;
    }
    return find(opened, "m2s_cuda_host_calls", &s->calls) && find(opened, "m2s_cuda_host_held", &s->held) &&
                   find(opened, "m2s_cuda_host_stream", &s->stream) &&
                   find(opened, "m2s_cuda_host_stream_finish", &s->finish) &&
                   find(opened, "m2s_cuda_host_stream_end", &s->end) &&
                   find(opened, "m2s_cuda_host_stream_capture", &s->capture)
               ? 0
               : 1;
}

m2snet_status open_cuda(const char *path, m2snet_context **context, m2snet_error *error)
{
    m2snet_context_options options;

    m2snet_context_options_init(&options);
    options.backend = "cuda";
    options.backend_path = path;
    options.threads = 1;
    return m2snet_context_create(&options, context, error);
}

m2snet_status train_from_nothing(m2snet_precision precision, m2snet_error *error)
{
    m2snet_context *context = NULL;
    m2snet_trainer_options options;
    m2snet_trainer *trainer = NULL;
    m2snet_status status = open_cuda(cuda_host.module, &context, error);

    if (status == M2SNET_STATUS_OK) {
        tiny_trainer_options(&options);
        options.precision = precision;
        m2snet_model *model = tiny_model(context);
        train_batch batch = make_batch(context, 1, 40, 40, 1, 0);
        status = m2snet_trainer_create(model, &options, &trainer, error);
        for (int i = 0; i < 3 && status == M2SNET_STATUS_OK; i++) {
            status = m2snet_trainer_step(trainer, batch.images, batch.masks, 0.01, NULL, NULL, error);
        }
        free_batch(&batch);
        m2snet_model_destroy(model);
    }
    m2snet_trainer_destroy(trainer);
    m2snet_context_destroy(context);
    return status;
}

void fail_in_turn(m2snet_status (*run)(m2snet_error *error), long first, long stride)
{
    m2snet_error error;
    long all, refused = 0, tried = 0;

    cuda_host.calls(true);
    OK(run(&error));
    all = cuda_host.calls(true);
    assert_int_equal(cuda_host.held(), 0);
    assert_true(all > first);
    for (long at = 1; at <= all; at += at < first ? 1 : stride) {
        for (int sign = 1; sign >= -1; sign -= 2) { /* this one; this one and all that follow */
            char text[32];
            snprintf(text, sizeof text, "%ld", sign * at);
            setenv(FAIL_AT, text, 1);
            cuda_host.calls(true);
            error.message[0] = '\0';
            m2snet_status status = run(&error);
            unsetenv(FAIL_AT);
            if (status != M2SNET_STATUS_OK && status != M2SNET_STATUS_OUT_OF_MEMORY &&
                status != M2SNET_STATUS_BACKEND) {
                fail_msg("call %ld fails: status %d, %s", at, (int)status, error.message);
            }
            /* What frees may fail unheard, and a capture that fails is done without. */
            assert_true(status == M2SNET_STATUS_OK || error.message[0] != '\0');
            if (cuda_host.held() != 0) {
                fail_msg("call %ld fails: %ld blocks are left", at, cuda_host.held());
            }
            refused += status != M2SNET_STATUS_OK;
            tried++;
        }
    }
    print_message("%ld calls, %ld runs with a failure, %ld of them refused\n", all, tried, refused);
    assert_true(refused > tried / 2);
    OK(run(&error));
}
