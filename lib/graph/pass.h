/* SPDX-License-Identifier: Apache-2.0
 * Passes: each makes a new graph from an old one by visiting its nodes in order. A rule either emits its own nodes
 * for a node's result or leaves it to be copied; what nobody uses afterwards disappears. Passes never look at
 * numbers: folded weights are constant nodes over parameters. */
#ifndef M2S_GRAPH_PASS_H
#define M2S_GRAPH_PASS_H

#include "graph/graph.h"

typedef struct m2s_pass {
    const m2s_graph *src;
    m2s_graph *dst;
    m2s_value *map;   /* old value -> new value, for everything visited so far */
    int32_t *uses;    /* of old values, outputs counted */
    m2s_value *memo;  /* old value -> what a rule wants to remember; M2S_NONE at first */
    const void *user; /* the rule's own */
} m2s_pass;

/* The new value of old node `node`'s first output, or M2S_NONE to have the node copied. */
typedef m2s_value (*m2s_pass_rule)(m2s_pass *pass, int32_t node);

m2snet_status m2s_pass_run(const m2s_graph *src, m2s_pass_rule rule, const void *user, m2s_graph **dst,
                           m2snet_error *error);

/* A copy without what nothing needs. */
m2snet_status m2s_pass_copy(const m2s_graph *src, m2s_graph **dst, m2snet_error *error);

/* The node of the old graph that makes `value`, if it is of kind op; else NULL. */
const m2s_node *m2s_pass_producer(const m2s_pass *pass, m2s_value value, m2s_op op);
/* Only one node reads value and it does not leave the graph: fusing its producer away costs nothing. */
bool m2s_pass_is_private(const m2s_pass *pass, m2s_value value);

/* The new value of an old constant, made now if its node has not been visited yet. */
m2s_value m2s_pass_constant(m2s_pass *pass, m2s_value value);

/* The passes, in the order in which inference runs them. */
m2snet_status m2s_pass_filters(const m2s_graph *src, m2s_graph **dst, m2snet_error *error); /* all-ones identity */
m2snet_status m2s_pass_fold(const m2s_graph *src, m2s_graph **dst, m2snet_error *error);    /* batch norm into conv */
m2snet_status m2s_pass_fuse(const m2s_graph *src, m2s_graph **dst, m2snet_error *error);    /* epilogues, blocks */

/* All of them: src stays as it is. */
m2snet_status m2s_pass_inference(const m2s_graph *src, m2s_graph **dst, m2snet_error *error);

/* The passes of training, in their order. */
/* Batch norm by the batch's own statistics, except where frozen says true of its gamma's name (NULL: nowhere). */
m2snet_status m2s_pass_batch_statistics(const m2s_graph *src, bool (*frozen)(const char *name), m2s_graph **dst,
                                        m2snet_error *error);
/* What can be fused and still be differentiated: ReLU into norms, convolutions and sums; the subtraction unit by its
 * rank-one identity. */
m2snet_status m2s_pass_fuse_training(const m2s_graph *src, m2s_graph **dst, m2snet_error *error);

#endif
