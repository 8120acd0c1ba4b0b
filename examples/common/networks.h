/* SPDX-License-Identifier: Apache-2.0
 * The networks that have a name: what m2snet-info --list and m2snet-bench --table show. */
#ifndef M2S_EXAMPLES_COMMON_NETWORKS_H
#define M2S_EXAMPLES_COMMON_NETWORKS_H

typedef struct named_network {
    const char *name;
    const char *config; /* JSON, for m2snet_model_create */
} named_network;

#define NAMED_NETWORKS_MAX 64

/* All of them, in the order of tables, ended by a row of NULL; fewer than NAMED_NETWORKS_MAX. */
extern const named_network named_networks[];

#endif
