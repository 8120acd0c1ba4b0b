/* SPDX-License-Identifier: Apache-2.0
 * The graph: a network as a list of operations on logical tensors.
 *
 * A graph is plain read-only data once it is built. Activations are (n, h, w, c), weights (o, i, kh, kw) as the
 * checkpoints store them, vectors (o, 1, 1, 1). Shapes are concrete: a graph is made for one (n, h, w). Nodes stand in
 * execution order. Passes (pass_*.h) make a new graph from an old one; backends compile a graph to a plan.
 *
 * Kinds of values: inputs are fed on each run, scalars (learning rate, loss scale) too; parameters come from the store
 * by name; state (in training: parameters, running statistics, momentum) lives in the caller's buffers from run to run;
 * all others are made by nodes. A value that depends on parameters alone is constant: a backend evaluates it once per
 * weight version and packs it.
 *
 * State is a chain: a value that replaces another names it in `replaces` and is written over it, element by element,
 * by the node that makes it (the updates of op_update.c). Nobody may read the older value later. Updates come last in a
 * graph, so that a run can be cancelled until the first of them and never leaves half a step behind. */
#ifndef M2S_GRAPH_GRAPH_H
#define M2S_GRAPH_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"

/* ---- values ---- */

typedef int32_t m2s_value; /* index into graph->values */
#define M2S_NONE ((m2s_value)-1)

typedef union m2s_shape {
    struct {
        int64_t n, h, w, c;
    };
    struct {
        int64_t o, i, kh, kw;
    };
    int64_t d[4];
} m2s_shape;

typedef enum m2s_value_kind {
    M2S_VALUE_INPUT,
    M2S_VALUE_SCALAR, /* shape 1 */
    M2S_VALUE_PARAM,
    M2S_VALUE_STATE, /* bound like an input; read and written */
    M2S_VALUE_NODE
} m2s_value_kind;

typedef struct m2s_value_info {
    m2s_value_kind kind;
    m2s_shape shape;
    m2snet_dtype dtype; /* of the numbers in a plan: F32 or F64 today */
    const char *name;   /* parameter, state: the checkpoint's key; else the module that makes it, or NULL */
    uint32_t name_hash; /* makes m2s_graph_find quick */
    int32_t node;       /* that makes it, for M2S_VALUE_NODE */
    bool constant;      /* depends on parameters alone */
    bool output;        /* leaves the plan; passes keep it */
    m2s_value replaces; /* state chain: the older value, or M2S_NONE */
    int32_t rank;       /* parameter: of its tensor in files; 0 = 1 for vectors, 4 for others */
} m2s_value_info;

/* ---- nodes ---- */

typedef enum m2s_op {
#define M2S_OP(name, min_in, max_in, out) M2S_OP_##name,
#include "graph/ops.def"
#undef M2S_OP
    M2S_OP_COUNT
} m2s_op;

#define M2S_MAX_IN     36
#define M2S_MAX_OUT    16
#define M2S_MAX_SCALES 7 /* filtered kernel sizes of one subtraction unit */

/* Attributes, zeroed where an op has no use for them, so that two nodes compare by memcmp. ops.def says which op
 * reads which. */
typedef struct m2s_attrs {
    int32_t kernel;                /* pools, filters: side of the window */
    int32_t stride;                /* convolutions, pools: both axes; 0 means 1 never occurs */
    int32_t pad;                   /* convolutions, pools: zeros (or -inf) on each side */
    int32_t dilation;              /* convolutions: 1 = dense */
    int32_t groups;                /* convolutions; attention: heads */
    int32_t relu;                  /* 1: max(0, .) on the result */
    int32_t count_include_pad;     /* avg_pool: 1 = divide by kernel^2 always */
    int32_t ceil_mode;             /* avg_pool: 1 = partial windows at the end count */
    int32_t stage;                 /* res2_groups: 1 = a stage block: no additions, last group pooled */
    int32_t gaussian;              /* filters: 1 = Gaussian window that sums to 1, 0 = ones */
    int32_t scales;                /* multi_scale_subtract: number of filtered scales */
    int32_t scale[M2S_MAX_SCALES]; /* multi_scale_subtract: their kernel sides, ascending */
    int32_t begin, count;          /* slice_c: channels [begin, begin + count); see ops.def for others */
    int32_t frozen;                /* norms and their gradients: 1 = mean and var are constants */
    int32_t form;                  /* which of two definitions: objectives, sgd; conv2d: 1 = see ops.def */
    int64_t h, w;                  /* resize: size of the result; gradients of windows and resize: of their src */
    double epsilon;                /* batch norm, dice, adamw */
    double alpha, beta;            /* see ops.def; filters: alpha = the Gaussian's sigma, 0 = by the kernel */
    double momentum, weight_decay; /* sgd, adamw */
    double mean[3], std[3];        /* normalise_rgb */
} m2s_attrs;

bool m2s_attrs_equal(const m2s_attrs *a, const m2s_attrs *b);

typedef struct m2s_node {
    m2s_op op;
    int32_t in_count, out_count;
    m2s_value in[M2S_MAX_IN]; /* optional inputs that are absent are M2S_NONE */
    m2s_value out[M2S_MAX_OUT];
    m2s_attrs attrs;
} m2s_node;

/* ---- operations ---- */

typedef struct m2s_graph m2s_graph;

/* Checks a node's inputs and attributes and sets the shapes of its outputs; outputs at the end whose shape stays zero
 * do not exist (an op's number of outputs is the most it can have). On failure it says what is wrong
 * ("conv2d: 52 input channels, weights expect 26"); the graph adds the node's name. */
typedef m2snet_status (*m2s_shape_rule)(const m2s_graph *graph, const m2s_node *node, m2s_shape *out,
                                        m2snet_error *error);
/* Appends the nodes that take the gradients of a node's outputs (M2S_NONE: zero) to those of its inputs: sets
 * diff_in[i], M2S_NONE at first, where wanted[i]. The node is a copy, since appending moves the graph's own. Failures
 * are the builder's. */
typedef void (*m2s_gradient_rule)(m2s_graph *graph, const m2s_node *node, const m2s_value *diff_out, const bool *wanted,
                                  m2s_value *diff_in);
/* Multiply-adds of a node (convolutions and matrix products; 0 for the rest). */
typedef uint64_t (*m2s_cost_rule)(const m2s_graph *graph, const m2s_node *node);

typedef struct m2s_op_info {
    const char *name;
    int32_t min_in, max_in, out;
    m2s_shape_rule shape;
    m2s_gradient_rule gradient; /* NULL: not differentiable (inference-only or a constant's op) */
    m2s_cost_rule cost;         /* NULL: 0 */
} m2s_op_info;

const m2s_op_info *m2s_op_get_info(m2s_op op);

/* ---- the graph ---- */

struct m2s_graph {
    m2s_memory *memory;
    m2s_pile *pile;     /* owns names */
    m2snet_dtype dtype; /* of activations and constants made by the builder */
    m2s_value_info *values;
    int32_t value_count, value_capacity;
    m2s_node *nodes;
    int32_t node_count, node_capacity;
    m2snet_status status; /* first failure of the builder; later calls then do nothing */
    m2snet_error error;   /* its message */
};

m2snet_status m2s_graph_create(m2s_memory *memory, m2snet_dtype dtype, m2s_graph **graph, m2snet_error *error);
void m2s_graph_destroy(m2s_graph *graph); /* NULL is fine */

/* Builder calls return M2S_NONE after the first failure, which m2s_graph_finish reports: networks are plain lists
 * of calls. Names are copied; NULL = nameless. */
m2s_value m2s_graph_input(m2s_graph *graph, const char *name, m2s_shape shape);
m2s_value m2s_graph_scalar(m2s_graph *graph, const char *name);
/* The same name twice gives the same value; the shapes must agree. */
m2s_value m2s_graph_param(m2s_graph *graph, const char *name, m2s_shape shape);
/* The same, of this rank in files (m2s_value_info). */
m2s_value m2s_graph_param_of_rank(m2s_graph *graph, const char *name, m2s_shape shape, int32_t rank);
/* The same for state. */
m2s_value m2s_graph_state(m2s_graph *graph, const char *name, m2s_shape shape);
/* A parameter from now on is state. Nodes made before still count as constant: run a pass afterwards. */
void m2s_graph_make_state(m2s_graph *graph, m2s_value param);
/* value, of old's shape, is written over `old`, which is state or replaces state. */
void m2s_graph_replace(m2s_graph *graph, m2s_value value, m2s_value old);
/* The state that value is or replaces, through the whole chain; M2S_NONE when it has nothing to do with state. */
m2s_value m2s_graph_state_root(const m2s_graph *graph, m2s_value value);
/* Index of the first node that writes state; node_count when none does. INTERNAL when a node reads a value after it has
 * been written over, or when an output is one. */
m2snet_status m2s_graph_first_update(const m2s_graph *graph, int32_t *node, m2snet_error *error);
/* Generic node; the functions below are the usual way. Returns its first output; m2s_graph_out gives the others. */
m2s_value m2s_graph_node(m2s_graph *graph, m2s_op op, const m2s_value *in, int32_t in_count, const m2s_attrs *attrs);
/* Output `index` of the node that made `value`; M2S_NONE after a failure. */
m2s_value m2s_graph_out(const m2s_graph *graph, m2s_value value, int32_t index);
m2s_value m2s_graph_name(m2s_graph *graph, m2s_value value, const char *name); /* returns value */
void m2s_graph_mark_output(m2s_graph *graph, m2s_value value);
/* M2S_NONE when there is none; parameters and other values share one name space. */
m2s_value m2s_graph_find(const m2s_graph *graph, const char *name);
/* The builder's first failure, or OK. */
m2snet_status m2s_graph_finish(const m2s_graph *graph, m2snet_error *error);

static inline m2s_shape m2s_shape_of(const m2s_graph *graph, m2s_value value)
{
    return graph->values[value].shape;
}
/* Whether a value's numbers are the caller's in a run: inputs, scalars, state and outputs. */
static inline bool m2s_value_is_bound(const m2s_value_info *info)
{
    return info->output || info->kind == M2S_VALUE_INPUT || info->kind == M2S_VALUE_SCALAR ||
           info->kind == M2S_VALUE_STATE;
}
int64_t m2s_shape_elements(m2s_shape shape);
size_t m2s_dtype_bytes(m2snet_dtype dtype);
const char *m2s_dtype_name(m2snet_dtype dtype); /* "F32" */
uint64_t m2s_node_multiply_adds(const m2s_graph *graph, const m2s_node *node);
uint64_t m2s_graph_multiply_adds(const m2s_graph *graph);
/* The name of a node's first output, or "op#index" written into buffer (64 bytes). */
const char *m2s_node_label(const m2s_graph *graph, int32_t node, char buffer[64]);
/* Hash of structure, shapes, attributes and parameter names. */
uint64_t m2s_graph_hash(const m2s_graph *graph);
/* One line a node, at DEBUG level. */
void m2s_graph_dump(const m2s_graph *graph, const m2s_log *log, const char *title);

/* ---- builder, one function an op ---- */

typedef struct m2s_conv {
    int32_t stride, pad;      /* stride 0 is read as 1 */
    int32_t dilation, groups; /* 0 is read as 1 */
} m2s_conv;
m2s_value m2s_conv2d(m2s_graph *graph, m2s_value src, m2s_value weights, m2s_value bias, m2s_conv conv);
/* Inference form: gamma (x - mean) / sqrt(var + epsilon) + beta, per channel. */
m2s_value m2s_batch_norm(m2s_graph *graph, m2s_value src, m2s_value gamma, m2s_value beta, m2s_value mean,
                         m2s_value var, double epsilon);
/* Over the channels of each pixel, by their own mean and variance. */
m2s_value m2s_layer_norm(m2s_graph *graph, m2s_value src, m2s_value gamma, m2s_value beta, double epsilon);
m2s_value m2s_relu(m2s_graph *graph, m2s_value src);
m2s_value m2s_gelu(m2s_graph *graph, m2s_value src);                     /* by erf, not the tanh that comes near it */
m2s_value m2s_scale_c(m2s_graph *graph, m2s_value src, m2s_value gamma); /* gamma_c src */
/* A branch left out for some images of a batch, as draw says, with this probability; layer tells branches apart. */
m2s_value m2s_drop_path(m2s_graph *graph, m2s_value src, m2s_value draw, double probability, int32_t layer);
m2s_value m2s_sum(m2s_graph *graph, const m2s_value *src, int32_t count); /* 2..8 of one shape */
m2s_value m2s_abs_diff(m2s_graph *graph, m2s_value a, m2s_value b);
m2s_value m2s_max_pool(m2s_graph *graph, m2s_value src, int32_t kernel, int32_t stride, int32_t pad);
m2s_value m2s_avg_pool(m2s_graph *graph, m2s_value src, int32_t kernel, int32_t stride, int32_t pad,
                       bool count_include_pad, bool ceil_mode);
/* src itself when the size is h x w already. */
m2s_value m2s_resize(m2s_graph *graph, m2s_value src, int64_t h, int64_t w);
m2s_value m2s_slice_c(m2s_graph *graph, m2s_value src, int64_t begin, int64_t count);
m2s_value m2s_concat_c(m2s_graph *graph, const m2s_value *src, int32_t count);
/* A filter's window, kernel x kernel: ones, or a Gaussian that sums to 1. */
typedef struct m2s_filter_window {
    int32_t kernel;
    bool gaussian;
    double sigma; /* of the Gaussian in pixels; 0 = by the kernel: 0.3 ((kernel - 1) / 2 - 1) + 0.8 */
} m2s_filter_window;
/* The released code's filter: the same window over the sum of all channels, in every channel. */
m2s_value m2s_full_filter(m2s_graph *graph, m2s_value src, m2s_filter_window window);
/* The same channel by channel. */
m2s_value m2s_box_filter(m2s_graph *graph, m2s_value src, m2s_filter_window window);
m2s_value m2s_scale(m2s_graph *graph, m2s_value src, double alpha); /* alpha src */
m2s_value m2s_multiply(m2s_graph *graph, m2s_value a, m2s_value b);
m2s_value m2s_sigmoid(m2s_graph *graph, m2s_value src);
m2s_value m2s_softmax_c(m2s_graph *graph, m2s_value src);
/* softmax(alpha q k) v in each of `heads` heads; keys_values has the query's channels twice, keys first (ops.def). */
m2s_value m2s_attention(m2s_graph *graph, m2s_value query, m2s_value keys_values, int32_t heads, double alpha);

typedef struct m2s_windows {
    int32_t side, shift; /* px; shift below side */
    int32_t heads;
    double scale; /* of queries' products with keys */
} m2s_windows;
#define M2S_MAX_ATTENTION_WINDOW 16
/* Attention within windows (ops.def); pad may be M2S_NONE. */
m2s_value m2s_window_attention(m2s_graph *graph, m2s_value qkv, m2s_value table, m2s_value pad, m2s_windows windows);
/* Each 2 x 2 pixels as one, column by column. */
m2s_value m2s_merge_patches(m2s_graph *graph, m2s_value src);

#endif
