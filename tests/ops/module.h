/* SPDX-License-Identifier: Apache-2.0
 * `--module FILE` as a test's first arguments: the test runs the backend of that module, and of the built-in ones only
 * what it needs as oracle. */
#ifndef M2S_TESTS_OPS_MODULE_H
#define M2S_TESTS_OPS_MODULE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/backend.h"

#include "ops/harness.h"

#if !defined(M2S_KERNELS_ONLY)
#include "run/module.h"
#endif

/* A plan with this operation is refused by the operation's name. */
static inline void module_check_refusal(const m2s_backend *backend, harness *h, m2s_op op, const m2s_shape *in,
                                        const m2s_attrs *attrs)
{
    m2s_value value[M2S_MAX_IN];
    m2s_graph *graph;
    m2snet_error error;
    harness_numbers numbers = { 0 };
    int count = 0;

    if (!check_case("%s: refused", m2s_op_get_info(op)->name) ||
        !CHECK(m2s_graph_create(&h->memory, M2SNET_DTYPE_F32, &graph, &error) == M2SNET_STATUS_OK, "%s",
               error.message)) {
        return;
    }
    for (; count < M2S_MAX_IN && in[count].n != 0; count++) {
        char name[16];
        snprintf(name, sizeof name, "in%d", count);
        value[count] = m2s_graph_input(graph, name, in[count]);
        harness_numbers_of(&numbers, graph, value[count]);
    }
    m2s_graph_mark_output(graph, m2s_graph_node(graph, op, value, count, attrs));
    harness_request request = { .backend = backend, .pool = h->pools[0], .graph = graph, .runs = 1 };
    CHECK(harness_run(h, &request, &numbers, &error) == M2SNET_STATUS_UNSUPPORTED &&
              strstr(error.message, m2s_op_get_info(op)->name) != NULL,
          "%s", error.message);
    harness_numbers_free(&numbers);
    m2s_graph_destroy(graph);
}

/* Takes the option off the arguments. NULL: it is not there. Ends the program when the module cannot be had: with 77 (a
 * skip) where it finds no device, else with 2. */
static inline const m2s_backend *module_option(int *argc, char ***argv)
{
    const m2s_backend *backend = NULL;

    if (*argc < 3 || strcmp((*argv)[1], "--module") != 0) {
        return NULL;
    }
#if !defined(M2S_KERNELS_ONLY)
    m2snet_error error;
    if (m2s_module_open((*argv)[2], &backend, &error) != M2SNET_STATUS_OK) {
        fprintf(stderr, "%s\n", error.message);
        exit(2);
    }
    if (backend->device_count() == 0) {
        fprintf(stderr, "%s: no device\n", (*argv)[2]);
        exit(77);
    }
#else
    fprintf(stderr, "--module: this build has no modules\n");
    exit(2);
#endif
    (*argv)[2] = (*argv)[0];
    *argv += 2;
    *argc -= 2;
    return backend;
}

#endif
