/* SPDX-License-Identifier: Apache-2.0
 * The checkpoints' key names: the only place that knows them. */
#ifndef M2S_NET_NAMES_H
#define M2S_NET_NAMES_H

#include "graph/graph.h"

#define M2S_NAME_IMAGE       "image"   /* the graph's input, (n, h, w, 3) normalised */
#define M2S_NAME_LOGITS      "logits"  /* its output, (n, h, w, classes) */
#define M2S_NAME_ENCODER     "encoder" /* prefix of encoders but for Res2Net */
#define M2S_NAME_DRAW        "draw"    /* a training step's scalar that chance is counted from */
#define M2S_NAME_HEAD        "output1.0"
#define M2S_NAME_HEAD_RESULT "output1"

/* Reducer of level 1..5: "x5_dem_1". */
const char *m2s_name_reducer(m2s_graph *graph, int level);
/* The extra CBR in front of the last unit of so many levels: "x5_dem_4". */
const char *m2s_name_deep_unit(m2s_graph *graph, int levels);
/* The decoder's convolution of the deepest level: "x5_dem_5". */
const char *m2s_name_deep_reducer(m2s_graph *graph, int levels);
/* Subtraction unit MS_order^level: order 2, level 4 is "x5_x4". */
const char *m2s_name_unit(m2s_graph *graph, int order, int level);
const char *m2s_name_level(m2s_graph *graph, int level);      /* "level3" */
const char *m2s_name_output(m2s_graph *graph, int level);     /* "output3" */
const char *m2s_name_filter(m2s_graph *graph, int kernel);    /* "conv_3": its batch norm is "conv_3.norm" */
const char *m2s_name_supervised(m2s_graph *graph, int level); /* "ds3": the head that training has on "output3" */

/* Length of the prefix, dot included, that an encoder's key begins with; 0: it is not an encoder's. */
size_t m2s_name_encoder_prefix(const char *key);
/* Keys that checkpoints may have and inference has no use for: the classifier, batch counters, training's heads. */
bool m2s_name_is_ignored(const char *key);
bool m2s_name_is_supervised(const char *key); /* "ds3.weight": of a head that training alone has */
/* "conv_3.weight", "conv_3.bias": the fixed filters, which some files store. Sets the kernel and whether it is the
 * bias. */
bool m2s_name_is_fixed_filter(const char *key, int *kernel, bool *bias);

#endif
