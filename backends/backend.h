/* SPDX-License-Identifier: Apache-2.0
 * The vtable: what a backend is. A backend compiles a graph to a plan and runs plans; nothing else.
 *
 * Buffers belong to a device; only buffer_write, buffer_prepare, buffer_augment and buffer_read cross. A plan needs one
 * arena (plan_info says how large), which the session owns and may share between plans that do not run at once.
 * Constants (values that depend on parameters alone) are evaluated and packed during plan_compile, into the model's
 * pack cache. */
#ifndef M2S_BACKENDS_BACKEND_H
#define M2S_BACKENDS_BACKEND_H

#include "core/host.h"
#include "graph/graph.h"

#define M2S_BACKEND_ABI 3u

typedef struct m2s_device m2s_device; /* each backend has its own */
typedef struct m2s_buffer m2s_buffer;
typedef struct m2s_plan m2s_plan;

typedef struct m2s_device_info {
    char name[128];           /* "AMD EPYC 9555 64-Core Processor" */
    char instruction_set[32]; /* of own kernels: "avx512" */
    char gemm_provider[64];   /* "oneDNN 2.6.3", "none" */
} m2s_device_info;

/* A parameter's numbers, as the store holds them: row-major, dims of the value's shape. */
typedef struct m2s_param_view {
    const void *data;
    m2snet_dtype dtype; /* F64 F32 F16 BF16 */
    uint64_t version;   /* grows when the numbers change */
} m2s_param_view;

/* ---- pack cache: packed constants, shared by all plans of a model on a device ---- */

typedef struct m2s_pack {
    void *data; /* 64-byte aligned */
    size_t bytes;
} m2s_pack;

/* Fills data (bytes long, uninitialised). Runs on the thread that compiles. */
typedef m2snet_status (*m2s_pack_fill)(void *argument, void *data, m2snet_error *error);

typedef struct m2s_pack_cache m2s_pack_cache;
struct m2s_pack_cache {
    /* The pack under key (which covers content, layout and weight versions), made by fill on the first call. Thread
     * safe; release what was acquired. */
    m2snet_status (*acquire)(m2s_pack_cache *cache, const char *key, size_t bytes, m2s_pack_fill fill, void *argument,
                             const m2s_pack **pack, m2snet_error *error);
    void (*release)(m2s_pack_cache *cache, const m2s_pack *pack);
};

/* ---- plans ---- */

typedef struct m2s_plan_request {
    const m2s_graph *graph;
    const m2s_param_view *params; /* indexed by value; only parameters are set */
    m2s_pack_cache *packs;
    m2s_control *control; /* polled for cancel and progress ("prepare"); may be NULL */
    m2snet_dtype storage; /* of activations, where it is not the graph's: F16, BF16 (backend cuda); 0 = the graph's */
    bool tf32;            /* factors of F32 convolutions may be rounded to 10 bits (backend cuda) */
} m2s_plan_request;

typedef struct m2s_plan_info {
    size_t arena_bytes;
    size_t packed_bytes;
    int32_t steps;
} m2s_plan_info;

typedef struct m2s_step_info {
    const char *name; /* of the value it makes; lives as long as the plan */
    const char *kernel;
    uint64_t multiply_adds;
    uint64_t nanoseconds; /* of the last timed run */
} m2s_step_info;

typedef struct m2s_binding {
    m2s_value value; /* a graph input, scalar, state or output; never one that replaces state */
    m2s_buffer *buffer;
    size_t offset_bytes;
} m2s_binding;

/* Where a run is only enqueued, and the caller's memory on the device that its inputs come from and its outputs go to,
 * dense. Only for backends with buffer_wait. */
typedef struct m2s_external {
    m2s_value value;
    void *data;
} m2s_external;

typedef struct m2s_queue {
    void *stream; /* backend cuda: a cudaStream_t; NULL is the default one */
    const m2s_external *external;
    int32_t external_count;
} m2s_queue;

typedef struct m2s_run_request {
    m2s_buffer *arena;           /* at least plan_info.arena_bytes */
    const m2s_binding *bindings; /* every input, state and output, dense, channels last, in the graph's dtype */
    int32_t binding_count;
    bool time_steps;
    m2s_control *control; /* may be NULL */
    /* NULL: returns when the outputs are there. Else when all is enqueued, behind what else was with this arena, which
     * stays busy meanwhile (buffer_wait); times no steps and polls nothing. */
    const m2s_queue *queue;
} m2s_run_request;

/* ---- pictures ---- */

/* A part of a picture on its way into an input. */
typedef struct m2s_prepare_view {
    /* Row y, width * channels bytes, in place or written to scratch. Called in order, once for each row. */
    const uint8_t *(*row)(const void *user, int32_t y, uint8_t *scratch);
    const void *user;
    int32_t width, height, channels;     /* channels: 3, R G B, or 1, which stands for all three */
    int32_t x, y, dst_width, dst_height; /* where it lies in the input, which is 0 around it */
} m2s_prepare_view;

#define M2S_MAX_WAYS 4

/* Makes (count * ways, height, width, 3) numbers in F32, each view in each way: its bytes resized to dst_width x
 * dst_height (image/resample.h, bit for bit), then (v / 255 - mean) / std, each rounded to float. */
typedef struct m2s_prepare_request {
    const m2s_prepare_view *views;
    int32_t count;
    int32_t width, height; /* of an input */
    float mean[3], std[3];
    int32_t way[M2S_MAX_WAYS]; /* m2snet_mirror: over which axes the input is turned */
    int32_t ways;
} m2s_prepare_request;

/* Source place of a result's pixel: x' = xx x + xy y + x0, y' = yx x + yy y + y0 (train/augment_map.h). */
typedef struct m2s_picture_map {
    double xx, xy, x0, yx, yy, y0;
} m2s_picture_map;

typedef enum m2s_picture_border {
    M2S_PICTURE_EDGE, /* edge pixels go on for ever */
    M2S_PICTURE_AREA, /* they end with the picture's area; then 0 */
    M2S_PICTURE_ZERO  /* every neighbour outside is 0; only of what an earlier step made */
} m2s_picture_border;

/* One bilinear sampling, rounded to float. */
typedef struct m2s_picture_step {
    m2s_picture_map map;
    m2s_picture_border border;
    int32_t width, height; /* of its result */
} m2s_picture_step;

#define M2S_PICTURE_STEPS     3
#define M2S_PICTURE_MAX_SIGMA 16

/* A picture of a training batch and what changes it: all that was drawn or decided (train/augment_job.h). */
typedef struct m2s_augment_job {
    const uint8_t *rgbm; /* R, G, B, mask: dense. NULL: it is finished */
    int32_t width, height;
    m2s_picture_step step[M2S_PICTURE_STEPS]; /* the last makes the result */
    int32_t steps;
    /* The finished colour: clip(matrix (r, g, b) + offset) when has_colour, then normalised. Before the second step. */
    bool has_colour;
    float matrix[3][3], offset[3], mean[3], std[3];
    int32_t labels;        /* 0: a soft mask of one channel; else channels of a mask of labels */
    bool one_hot;          /* labels: the nearest, channel 0 the background; else each label soft, 1 in channel 0 */
    m2s_picture_map whole; /* labels: from result to rgbm */
    bool binarize;         /* 1 from 0.5 on, else 0 */
    double blur_sigma_px;  /* 0 = none; at most M2S_PICTURE_MAX_SIGMA */
    float noise_std[3];    /* 0 = none; of the normalised picture */
    uint64_t noise_stream;
    float *image; /* (height, width, 3) of the last step */
    float *mask;  /* (height, width, labels or 1) */
} m2s_augment_job;

/* A batch: (count, height, width, 3) and (count, height, width, classes) numbers in F32, of rgbm by what
 * train/augment.h says, within a few roundings, or of finished pictures as they are. */
typedef struct m2s_augment_request {
    const m2s_augment_job *jobs; /* image and mask are not read */
    int32_t count, height, width, classes;
    const float *images, *masks; /* dense, of the whole batch: where finished pictures are */
} m2s_augment_request;

typedef struct m2s_backend {
    uint32_t abi;                     /* M2S_BACKEND_ABI */
    const char *name;                 /* "cpu" */
    bool literal;                     /* wants the network as it is defined, without the inference passes */
    bool reduced;                     /* knows m2s_plan_request.storage and tf32 */
    const char *(*description)(void); /* for lists: "oneDNN 2.6.3, own kernels up to AVX-512" */

    int (*device_count)(void); /* 0: cannot be used here */
    m2snet_status (*open)(const m2s_host *host, int device, m2s_device **opened, m2snet_error *error);
    void (*close)(m2s_device *device);
    void (*device_info)(const m2s_device *device, m2s_device_info *info);

    m2snet_status (*buffer_alloc)(m2s_device *device, size_t bytes, m2s_buffer **buffer, m2snet_error *error);
    void (*buffer_free)(m2s_device *device, m2s_buffer *buffer); /* waits for what was enqueued with it */
    m2snet_status (*buffer_write)(m2s_device *device, m2s_buffer *buffer, size_t offset, const void *src, size_t bytes,
                                  m2snet_error *error);
    m2snet_status (*buffer_read)(m2s_device *device, const m2s_buffer *buffer, size_t offset, void *dst, size_t bytes,
                                 m2snet_error *error);
    /* NULL: this backend leaves pictures to the host. prepare_bytes is how much scratch a request needs, a buffer
     * that no run under way uses: an arena between two runs will do. buffer_prepare fills buffer from its beginning and
     * returns when that is done, or undefined after a failure. */
    size_t (*prepare_bytes)(const m2s_device *device, const m2s_prepare_request *request);
    m2snet_status (*buffer_prepare)(m2s_device *device, m2s_buffer *buffer, const m2s_prepare_request *request,
                                    m2s_buffer *scratch, m2snet_error *error);
    /* The same for a training batch. */
    size_t (*augment_bytes)(const m2s_device *device, const m2s_augment_request *request);
    m2snet_status (*buffer_augment)(m2s_device *device, m2s_buffer *images, m2s_buffer *masks,
                                    const m2s_augment_request *request, m2s_buffer *scratch, m2snet_error *error);
    /* Waits for the runs that were enqueued with this arena. NULL: this backend has no queues. */
    m2snet_status (*buffer_wait)(m2s_device *device, m2s_buffer *buffer, m2snet_error *error);

    /* Whether plan_compile could place this node; why (128 bytes, may be NULL) says what is missing. */
    bool (*supports)(const m2s_device *device, const m2s_graph *graph, const m2s_node *node, char *why);
    /* Never moves a node to another device in silence: fails and names the node. */
    m2snet_status (*plan_compile)(m2s_device *device, const m2s_plan_request *request, m2s_plan **plan,
                                  m2snet_error *error);
    void (*plan_info)(const m2s_plan *plan, m2s_plan_info *info);
    bool (*plan_step)(const m2s_plan *plan, int32_t index, m2s_step_info *info); /* false: no such step */
    /* One run of a plan at a time. Returns when the outputs are there. Once the first update of state has begun
     * (m2s_graph_first_update), the run is no longer cancelled: a step is taken as a whole or not at all. */
    m2snet_status (*plan_run)(m2s_device *device, m2s_plan *plan, const m2s_run_request *request, m2snet_error *error);
    void (*plan_free)(m2s_device *device, m2s_plan *plan);
} m2s_backend;

/* Built in. */
const m2s_backend *m2s_backend_ref(void);
const m2s_backend *m2s_backend_cpu(void);

#endif
