/* SPDX-License-Identifier: Apache-2.0
 * The networks that have a name: what m2snet-info --list and m2snet-bench --table show. */
#ifndef M2S_EXAMPLES_COMMON_NETWORKS_H
#define M2S_EXAMPLES_COMMON_NETWORKS_H

#include <stdbool.h>

typedef struct named_network {
    char name[40];
    char config[120]; /* JSON, for m2snet_model_create */
} named_network;

#define NAMED_NETWORKS_MAX 64

/* Number index of them, in the order of tables: every encoder that the library knows, then variants of Res2Net-50.
 * False past the last, of which there are fewer than NAMED_NETWORKS_MAX. */
bool named_network_at(int index, named_network *network);

#endif
