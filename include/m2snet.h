/* SPDX-License-Identifier: Apache-2.0
 *
 * m2snet.h: the whole public interface of libm2snet, and its manual.
 *
 * libm2snet runs M2SNet and MSNet, networks for medical image segmentation
 * (Zhao et al., "M2SNet: Multi-scale in Multi-scale Subtraction Network for
 * Medical Image Segmentation"). It is not a medical device: see README.md.
 *
 * A first program:
 *
 *     m2snet_error error;
 *     m2snet_context *context = NULL;
 *     m2snet_model *model = NULL;
 *     m2snet_session *session = NULL;
 *     m2snet_result *result = NULL;
 *     m2snet_image image = { 0 };
 *
 *     if (m2snet_context_create(NULL, &context, &error) ||
 *         m2snet_model_load_file(context, "polyp.safetensors", NULL, &model, &error) ||
 *         m2snet_session_create(model, NULL, &session, &error) ||
 *         m2snet_image_read_file(context, "frame.png", NULL, &image, &error) ||
 *         m2snet_predict(session, &image, NULL, &result, &error))
 *         fprintf(stderr, "%s\n", error.message);
 *     else
 *         use(m2snet_result_mask(result), image.width, image.height);
 *     m2snet_result_destroy(result);
 *     m2snet_image_release(&image);
 *     m2snet_session_destroy(session);
 *     m2snet_model_destroy(model);
 *     m2snet_context_destroy(context);
 *
 * Rules that hold everywhere
 *
 * Errors. A function that can fail returns m2snet_status and takes a nullable,
 *   caller-owned m2snet_error last. The message names the thing, what was
 *   expected and what came. After a failure every handle is as usable as
 *   before, output handles are NULL, and nothing has leaked.
 * Ownership. *_create, *_load and m2snet_predict give a handle that the matching
 *   *_destroy ends; destroying NULL is fine. Children keep their parents alive,
 *   so handles may be destroyed in any order. Strings and pointers that accessors
 *   return belong to the handle and live as long as it does.
 * Options. Structs begin with struct_size; fill them with their *_init function,
 *   then change fields. A NULL options pointer means the defaults. Structs only
 *   ever grow at the end.
 * Threads. A context and a model may be used from any number of threads at once.
 *   A session, a result and a tensor belong to one thread at a time; a session
 *   that is entered twice returns M2SNET_STATUS_BUSY. Many sessions may share a
 *   model. m2snet_cancel_request may be called from anywhere, signal handlers
 *   included. Callbacks run on the thread that called the library, except the log
 *   and allocator callbacks, which may run on any of its threads.
 * Determinism. With the same build, processor type and model, results are equal
 *   bit for bit for any number of threads, any repetition, any place in a batch.
 * fork. After fork() a child may only exec, _exit, or use contexts it creates
 *   itself; handles made before the fork must not be used in the child.
 * The host. The library does not print, exit, abort, or touch signals, locale,
 *   FPU flags, or any other library's global thread settings. It reads two environment
 *   variables, at context creation: M2SNET_DEBUG=1 raises log_level to DEBUG;
 *   M2SNET_BACKEND_PATH says where backend "cuda" is. It may be unloaded (dlclose)
 *   once every context has been destroyed.
 */
#ifndef M2SNET_H
#define M2SNET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(M2SNET_STATIC) || !defined(__GNUC__)
#define M2SNET_API
#else
#define M2SNET_API __attribute__((visibility("default")))
#endif

/* ---- Version ------------------------------------------------------------ */

#define M2SNET_VERSION_MAJOR  0
#define M2SNET_VERSION_MINOR  1
#define M2SNET_VERSION_PATCH  0
#define M2SNET_VERSION_STRING "0.1.0"
/* Grows whenever a program built against an older header could no longer run. */
#define M2SNET_ABI 0
/* Version of the model file's metadata that this library writes. */
#define M2SNET_FORMAT_VERSION 1

/* The library loaded at run time, as 10000 major + 100 minor + patch. */
M2SNET_API int32_t m2snet_version(void);
M2SNET_API const char *m2snet_version_string(void);
M2SNET_API int32_t m2snet_abi(void);
/* Bytes of a struct of this header as the library was compiled, by its name ("m2snet_image"); 0 for any other name. For
 * bindings that declare the structs in another language: they compare before they call. */
M2SNET_API size_t m2snet_struct_size(const char *name);

/* ---- Errors ------------------------------------------------------------- */

typedef enum m2snet_status {
    M2SNET_STATUS_OK = 0,
    M2SNET_STATUS_INVALID_ARGUMENT = 1, /* a parameter or option makes no sense */
    M2SNET_STATUS_OUT_OF_MEMORY = 2,    /* an allocation failed */
    M2SNET_STATUS_IO = 3,               /* a file cannot be opened, read or written */
    M2SNET_STATUS_FORMAT = 4,           /* a file or buffer is damaged, or not what it should be */
    M2SNET_STATUS_UNSUPPORTED = 5,      /* well formed, but this build or backend cannot do it */
    M2SNET_STATUS_MISMATCH = 6,         /* weights do not fit the network; shapes do not fit each other */
    M2SNET_STATUS_LIMIT = 7,            /* a cap (memory, image size, file size) would be exceeded */
    M2SNET_STATUS_CANCELLED = 8,        /* a progress callback or a cancel token asked to stop */
    M2SNET_STATUS_BACKEND = 9,          /* a device or the library that drives it failed */
    M2SNET_STATUS_BUSY = 10,            /* the handle is in use on another thread */
    M2SNET_STATUS_INTERNAL = 11,        /* a bug in libm2snet: please report the message */
    M2SNET_STATUS_DIVERGED = 12         /* training: too many losses in a row that are not finite */
} m2snet_status;

/* Caller-owned; written only on failure (and cut at the end of a UTF-8 character). */
typedef struct m2snet_error {
    m2snet_status status;
    char message[1020];
} m2snet_error;

/* A short constant such as "out of memory"; never NULL. */
M2SNET_API const char *m2snet_status_string(m2snet_status status);

/* ---- Progress and cancel ------------------------------------------------ */

/* A token that stops work from another thread or a signal handler. */
typedef struct m2snet_cancel m2snet_cancel;
M2SNET_API m2snet_status m2snet_cancel_create(m2snet_cancel **cancel, m2snet_error *error);
M2SNET_API void m2snet_cancel_request(m2snet_cancel *cancel);
M2SNET_API void m2snet_cancel_reset(m2snet_cancel *cancel);
M2SNET_API void m2snet_cancel_destroy(m2snet_cancel *cancel);

typedef struct m2snet_progress {
    const char *phase; /* "read", "write", "decode", "prepare", "network", "post", "score"; more may come */
    uint64_t done;     /* in units of the phase */
    uint64_t total;    /* 0 when unknown */
} m2snet_progress;

/* Non-zero cancels: the call returns M2SNET_STATUS_CANCELLED. Runs on the calling
 * thread, at most every few milliseconds. It must not call back into the same handle. */
typedef int (*m2snet_progress_fn)(void *user, const m2snet_progress *progress);

/* How a long call is watched and stopped; both members may be NULL. */
typedef struct m2snet_control {
    m2snet_progress_fn progress;
    void *progress_user;
    m2snet_cancel *cancel;
} m2snet_control;

/* ---- Context ------------------------------------------------------------ */

typedef struct m2snet_context m2snet_context;

typedef enum m2snet_log_level {
    M2SNET_LOG_ERROR = 0,
    M2SNET_LOG_WARNING = 1,
    M2SNET_LOG_INFO = 2,
    M2SNET_LOG_DEBUG = 3 /* dumps of graphs and plans */
} m2snet_log_level;
typedef void (*m2snet_log_fn)(void *user, m2snet_log_level level, const char *message);

/* A caller's allocator. alloc returns `bytes` bytes aligned to `alignment` (a power of two,
 * at most 4096) or NULL; free takes what alloc returned. Both must be thread safe.
 * Foreign libraries (libpng, libjpeg, libzip, jansson, oneDNN) keep using malloc; docs/design.md lists where. */
typedef struct m2snet_allocator {
    void *(*alloc)(void *user, size_t bytes, size_t alignment);
    void (*free)(void *user, void *pointer, size_t bytes);
    void *user;
} m2snet_allocator;

typedef struct m2snet_cuda_options m2snet_cuda_options; /* further down: CUDA */

typedef struct m2snet_context_options {
    size_t struct_size;
    const char *backend;               /* "auto" (the fastest built-in one), "cpu", "ref", "cuda"; NULL = "auto" */
    int32_t device;                    /* of a backend with several; 0 is the first */
    int32_t threads;                   /* 1..1024 worker threads; 0 = the processors this process may use */
    const m2snet_allocator *allocator; /* NULL = malloc; copied */
    m2snet_log_fn log;                 /* NULL = silent */
    void *log_user;
    m2snet_log_level log_level;  /* most detailed level delivered */
    uint64_t memory_limit_bytes; /* hard cap on what all children of this context hold; 0 = none */
    const char *instruction_set; /* upper bound, for tests: "baseline", "avx2", "avx512"; NULL = the best */
    /* For "cuda": the folder of m2snet-cuda.so, or its file. NULL = M2SNET_BACKEND_PATH, else beside this library. */
    const char *backend_path;
    const m2snet_cuda_options *cuda; /* for "cuda" alone; NULL = the defaults; copied */
} m2snet_context_options;

M2SNET_API void m2snet_context_options_init(m2snet_context_options *options);
M2SNET_API m2snet_status m2snet_context_create(const m2snet_context_options *options, m2snet_context **context,
                                               m2snet_error *error);
M2SNET_API void m2snet_context_destroy(m2snet_context *context);

/* What this context runs on. */
typedef struct m2snet_context_info {
    size_t struct_size;
    const char *backend;         /* "cpu" */
    const char *device;          /* "AMD EPYC 9555 64-Core Processor" */
    const char *instruction_set; /* of the library's own kernels: "avx512" */
    const char *gemm_provider;   /* "oneDNN 2.6.3", "OpenBLAS 0.3.21", "none" */
    int32_t threads;
    uint64_t memory_used_bytes; /* now, by this context and its children */
    uint64_t memory_peak_bytes; /* since creation */
} m2snet_context_info;
/* info->struct_size must be set; fields beyond it are not written. */
M2SNET_API m2snet_status m2snet_context_get_info(const m2snet_context *context, m2snet_context_info *info,
                                                 m2snet_error *error);

/* Backends compiled in or found beside the library, for lists and help texts: 0 <= index < count. */
typedef struct m2snet_backend_info {
    size_t struct_size;
    const char *name;        /* "cpu" */
    const char *description; /* "oneDNN 2.6.3, own kernels up to AVX-512" */
    int32_t devices;         /* 0 = cannot be used here */
} m2snet_backend_info;
M2SNET_API int32_t m2snet_backend_count(void);
M2SNET_API m2snet_status m2snet_backend_get_info(int32_t index, m2snet_backend_info *info, m2snet_error *error);

/* ---- Models -------------------------------------------------------------- */

/* A network with its weights: immutable, shared by any number of sessions and threads. */
typedef struct m2snet_model m2snet_model;

typedef struct m2snet_model_options {
    size_t struct_size;
    const char *config_json; /* overrides keys of the file's configuration (docs/file-format.md); NULL = none */
    int32_t memory_map;      /* 1: map the file instead of reading it. A mapped file that shrinks raises SIGBUS. */
    m2snet_control control;
} m2snet_model_options;
M2SNET_API void m2snet_model_options_init(m2snet_model_options *options);

/* Loads .safetensors, or a PyTorch checkpoint (.pth: zip or the older pickle stream) read as data: nothing in
 * it is executed. The architecture comes from the file's metadata or else from its keys and shapes. A file that
 * does not fit gives M2SNET_STATUS_MISMATCH and a table of missing, extra and differently shaped tensors.
 * path is UTF-8. The file is closed again before the function returns (unless mapped). */
M2SNET_API m2snet_status m2snet_model_load_file(m2snet_context *context, const char *path,
                                                const m2snet_model_options *options, m2snet_model **model,
                                                m2snet_error *error);
/* The same from memory; data is not needed after the call. */
M2SNET_API m2snet_status m2snet_model_load_memory(m2snet_context *context, const void *data, size_t size_bytes,
                                                  const m2snet_model_options *options, m2snet_model **model,
                                                  m2snet_error *error);
/* A network with freshly drawn weights (initialisation of the released code; docs/file-format.md has the
 * configuration's keys). The same seed gives the same weights everywhere. */
M2SNET_API m2snet_status m2snet_model_create(m2snet_context *context, const char *config_json, uint64_t seed,
                                             m2snet_model **model, m2snet_error *error);
/* The same, but what the weight file at path has under the same key and in the same shape is taken from it: a network
 * with other classes begins as a trained one, or with an encoder trained for ImageNet, whose keys lack the prefix and
 * may be those of other libraries (docs/file-format.md). taken (may be NULL): tensors taken; none at all gives
 * M2SNET_STATUS_MISMATCH. */
M2SNET_API m2snet_status m2snet_model_create_from(m2snet_context *context, const char *config_json, uint64_t seed,
                                                  const char *path, int32_t *taken, m2snet_model **model,
                                                  m2snet_error *error);
M2SNET_API void m2snet_model_destroy(m2snet_model *model);

typedef enum m2snet_dtype {
    M2SNET_DTYPE_F32 = 1,
    M2SNET_DTYPE_F64 = 2,
    M2SNET_DTYPE_F16 = 3,
    M2SNET_DTYPE_BF16 = 4,
    M2SNET_DTYPE_I64 = 5,
    M2SNET_DTYPE_I32 = 6,
    M2SNET_DTYPE_I16 = 7,
    M2SNET_DTYPE_I8 = 8,
    M2SNET_DTYPE_U8 = 9,
    M2SNET_DTYPE_BOOL = 10
} m2snet_dtype;

typedef struct m2snet_save_options {
    size_t struct_size;
    m2snet_dtype dtype;        /* of convolution weights: F32 (default), F16 or BF16; the rest stays F32 */
    const char *metadata_json; /* object of strings added to the file's metadata ("m2snet.license": ...); NULL = none.
                                * An empty string removes a key. "m2snet.config" is the library's own. */
    int32_t with_selftest;     /* 1: store a small input and this library's float64 result (m2snet_model_selftest) */
    m2snet_control control;
} m2snet_save_options;
M2SNET_API void m2snet_save_options_init(m2snet_save_options *options);
/* Writes .safetensors with all metadata, through a temporary file in the same folder, fsync and rename:
 * the file is either complete or not there. */
M2SNET_API m2snet_status m2snet_model_save_file(const m2snet_model *model, const char *path,
                                                const m2snet_save_options *options, m2snet_error *error);

typedef struct m2snet_model_info {
    size_t struct_size;
    const char *architecture; /* "m2snet", "msnet" */
    const char *encoder;      /* "res2net50_v1b_26w_4s", "convnext_base"; the family when the size has no name */
    int32_t pyramid_channels; /* 64 in the paper */
    int32_t classes;          /* channels of the logits */
    int32_t input_width;      /* default size of the network's input, px */
    int32_t input_height;
    double threshold;        /* probability at which a pixel belongs to the mask */
    uint64_t parameters;     /* trainable, without an unused classifier (fc) */
    uint64_t multiply_adds;  /* of convolutions for one default-sized image (rank-one filters not counted) */
    uint64_t weight_bytes;   /* held in memory */
    const char *sha256;      /* of the file or buffer, 64 hex digits, waits for it; "" for a created model */
    const char *config_json; /* complete configuration */
    const char *format;      /* "safetensors", "pytorch zip", "pytorch legacy", "created" */
    int32_t softmax; /* 1: classes exclude each other, the first is the background; 0: each is a mask of its own */
} m2snet_model_info;
M2SNET_API m2snet_status m2snet_model_get_info(const m2snet_model *model, m2snet_model_info *info, m2snet_error *error);
/* Multiply-adds of all convolutions for one image of that size. */
M2SNET_API m2snet_status m2snet_model_multiply_adds(const m2snet_model *model, int32_t width, int32_t height,
                                                    uint64_t *multiply_adds, m2snet_error *error);
/* What a configuration costs, without weights: trainable parameters, and multiply-adds for one image of that size. */
M2SNET_API m2snet_status m2snet_network_count(m2snet_context *context, const char *config_json, int32_t width,
                                              int32_t height, uint64_t *parameters, uint64_t *multiply_adds,
                                              m2snet_error *error);
/* Names that a configuration's "encoder" may have, family by family, each from small to large: 0 <= index; NULL past
 * the last. Static. */
M2SNET_API const char *m2snet_encoder_name(int32_t index);
/* Name of class 0 <= index < classes; NULL outside or when the file names none. */
M2SNET_API const char *m2snet_model_class_name(const m2snet_model *model, int32_t index);
/* Gray level of class 0 <= index < classes in label maps; of index -1: of what is no class. -1 outside. */
M2SNET_API int32_t m2snet_model_class_label(const m2snet_model *model, int32_t index);
/* Metadata entries of the file, known and unknown alike: 0 <= index < count. */
M2SNET_API int32_t m2snet_model_metadata_count(const m2snet_model *model);
M2SNET_API const char *m2snet_model_metadata_key(const m2snet_model *model, int32_t index);
M2SNET_API const char *m2snet_model_metadata_value(const m2snet_model *model, int32_t index);

typedef struct m2snet_tensor_info {
    size_t struct_size;
    const char *name;    /* the checkpoint's key, "x5_dem_1.0.weight" */
    m2snet_dtype dtype;  /* as stored in the file; 0 = one that the library cannot compute with */
    int32_t rank;        /* 0..8 */
    const int64_t *dims; /* rank of them, as the checkpoint orders them (o, i, kh, kw) */
} m2snet_tensor_info;
M2SNET_API int32_t m2snet_model_tensor_count(const m2snet_model *model);
M2SNET_API m2snet_status m2snet_model_tensor_info(const m2snet_model *model, int32_t index, m2snet_tensor_info *info,
                                                  m2snet_error *error);

/* The tensors inside the network that have a name, in the order in which they are computed: the encoder's levels
 * ("enc1" to "enc5") and blocks, the subtraction units ("x5_x4"), the decoder's inputs and outputs ("level1",
 * "output2"), "logits". */
typedef struct m2snet_feature_info {
    size_t struct_size;
    const char *name;
    int64_t h, w, c; /* rows, columns, channels for a picture of the model's default input size */
} m2snet_feature_info;
M2SNET_API int32_t m2snet_model_feature_count(const m2snet_model *model);
M2SNET_API m2snet_status m2snet_model_feature_info(const m2snet_model *model, int32_t index, m2snet_feature_info *info,
                                                   m2snet_error *error);

/* Runs the vector stored in the file and compares with its stored result: OK; MISMATCH with the largest
 * difference in the message; UNSUPPORTED when the file has none. largest_difference (logits) may be NULL. */
M2SNET_API m2snet_status m2snet_model_selftest(m2snet_model *model, double *largest_difference, m2snet_error *error);

/* ---- Tensors ------------------------------------------------------------- */

/* A view of, or storage for, n x h x w x c numbers with any strides. */
typedef struct m2snet_tensor m2snet_tensor;

typedef struct m2snet_tensor_desc {
    m2snet_dtype dtype;     /* F32 or F64 */
    int64_t n, h, w, c;     /* images, rows, columns, channels: each at least 1 */
    int64_t stride_n_bytes; /* distance of neighbours along each axis. All zero = dense, channels last. */
    int64_t stride_h_bytes; /* An (n, c, h, w) array of floats: 4chw, 4w, 4, 4hw. */
    int64_t stride_w_bytes;
    int64_t stride_c_bytes;
} m2snet_tensor_desc;
/* data NULL: the tensor owns zeroed storage, dense. Else it is a view and data must outlive it. */
M2SNET_API m2snet_status m2snet_tensor_create(m2snet_context *context, const m2snet_tensor_desc *desc, void *data,
                                              m2snet_tensor **tensor, m2snet_error *error);
M2SNET_API void m2snet_tensor_destroy(m2snet_tensor *tensor);
M2SNET_API void *m2snet_tensor_data(m2snet_tensor *tensor);
M2SNET_API void m2snet_tensor_get_desc(const m2snet_tensor *tensor, m2snet_tensor_desc *desc);

/* ---- Sessions ------------------------------------------------------------ */

/* Plans and scratch memory for running a model: one thread at a time. */
typedef struct m2snet_session m2snet_session;

typedef enum m2snet_precision {
    M2SNET_PRECISION_F32 = 0,
    M2SNET_PRECISION_F64 = 1,  /* backend "ref" only: the oracle */
    M2SNET_PRECISION_F16 = 2,  /* backend "cuda": activations and weights of convolutions are F16, */
    M2SNET_PRECISION_BF16 = 3, /* or BF16; sums are F32, as are input and logits and, in training, parameters, their
                                * gradients, statistics and losses */
    M2SNET_PRECISION_TF32 = 4  /* backend "cuda": F32, but factors of convolutions have 10 bits of fraction */
} m2snet_precision;

typedef struct m2snet_session_options {
    size_t struct_size;
    m2snet_precision precision;
    int32_t input_width; /* the network's input for predict, px; 0 = the model's; 33..8192 */
    int32_t input_height;
    int32_t max_plans;           /* compiled shapes kept; 1..64, default 4, least recently used go first */
    uint64_t memory_limit_bytes; /* hard cap on this session's scratch; 0 = none */
} m2snet_session_options;
M2SNET_API void m2snet_session_options_init(m2snet_session_options *options);
M2SNET_API m2snet_status m2snet_session_create(m2snet_model *model, const m2snet_session_options *options,
                                               m2snet_session **session, m2snet_error *error);
M2SNET_API void m2snet_session_destroy(m2snet_session *session);

/* Compiles the plan for n images of h x w now rather than in the first run. control may be NULL. */
M2SNET_API m2snet_status m2snet_session_prepare(m2snet_session *session, int64_t n, int64_t h, int64_t w,
                                                const m2snet_control *control, m2snet_error *error);

typedef struct m2snet_plan_info {
    size_t struct_size;
    uint64_t arena_bytes;         /* activations and scratch, shared by all plans of the session */
    uint64_t packed_weight_bytes; /* shared by all sessions of the model */
    uint64_t multiply_adds;
    int32_t steps;
    int32_t compiled; /* 1: already in the session's cache */
} m2snet_plan_info;
/* What a run of that shape needs, before it runs (compiles the plan, allocates no arena). */
M2SNET_API m2snet_status m2snet_session_plan_info(m2snet_session *session, int64_t n, int64_t h, int64_t w,
                                                  m2snet_plan_info *info, m2snet_error *error);
/* Frees the arena and all plans; the next run makes them again. */
M2SNET_API m2snet_status m2snet_session_trim(m2snet_session *session, m2snet_error *error);

/* The network alone: src (n, h, w, 3) normalised pixels -> dst (n, h, w, classes) logits.
 * Both may have any strides; dtypes F32 or F64 are converted. Sizes of at least 33 x 33. */
M2SNET_API m2snet_status m2snet_session_run(m2snet_session *session, const m2snet_tensor *src, m2snet_tensor *dst,
                                            const m2snet_control *control, m2snet_error *error);

/* Time per plan step of the next runs: enable, run, then read. */
typedef struct m2snet_step_info {
    size_t struct_size;
    const char *name;   /* the value it makes: "x5_x4_x3" */
    const char *kernel; /* "conv onednn brgconv:avx512_core" */
    uint64_t multiply_adds;
    double milliseconds; /* of the last run; 0 when timing was off */
} m2snet_step_info;
M2SNET_API m2snet_status m2snet_session_time_steps(m2snet_session *session, int32_t enable, m2snet_error *error);
M2SNET_API int32_t m2snet_session_step_count(const m2snet_session *session); /* of the plan that ran last */
M2SNET_API m2snet_status m2snet_session_step_info(const m2snet_session *session, int32_t index, m2snet_step_info *info,
                                                  m2snet_error *error);

/* ---- CUDA ----------------------------------------------------------------- */

/* Device memory from the caller: `bytes` bytes of the context's device, aligned to 256, or NULL; free takes what alloc
 * returned, when the device has finished with it. Both run with the device current, on threads that use the context,
 * several at once, and must not call this library. */
typedef struct m2snet_device_allocator {
    void *(*alloc)(void *user, size_t bytes);
    void (*free)(void *user, void *pointer, size_t bytes);
    void *user;
} m2snet_device_allocator;

/* What a context of backend "cuda" does in its own way. */
struct m2snet_cuda_options {
    size_t struct_size;
    const m2snet_device_allocator *allocator; /* NULL = the CUDA runtime's; copied */
    /* 1: what compiles a plan (m2snet_session_prepare, or the first run of a size) measures every way to make each of
     * its convolutions and takes the fastest; what was found is kept for the context. It takes seconds, and the last
     * digits of results may then differ from one context to the next. 0 (default): the libraries' own advice. */
    int32_t search;
    uint64_t workspace_limit_bytes; /* of a convolution's scratch; 0 = 256 MiB */
    /* 1: the launches of a run come one after the other, and the arena is as small as that allows. 0 (default): side by
     * side where they need nothing of each other, which a small batch leaves room for. The same bits either way. */
    int32_t in_a_row;
};
M2SNET_API void m2snet_cuda_options_init(m2snet_cuda_options *options);

/* A run of the network on a stream of the caller's, from and to memory of the context's device: dense, channels last,
 * aligned to 16 bytes. */
typedef struct m2snet_cuda_run {
    size_t struct_size;
    void *stream;     /* a cudaStream_t (or CUstream) of the device; NULL = its default stream */
    int64_t n, h, w;  /* images, rows, columns: at least 33 x 33 */
    const float *src; /* n x h x w x 3 normalised pixels */
    float *dst;       /* n x h x w x classes logits */
} m2snet_cuda_run;
M2SNET_API void m2snet_cuda_run_init(m2snet_cuda_run *run);

/* Puts the run on the stream and returns without waiting for the device: dst is there when the stream has come so far.
 * Work that the caller put on the stream before (the copy that makes src) comes before it, work after it (that reads
 * dst) after it. Until then src and dst must stay, and so must the stream; the session may be destroyed, which waits.
 *
 * Runs of one session follow each other, whatever their streams; sessions of one model may run side by side. The first
 * call for a size compiles its plan, which waits for the device: m2snet_session_prepare does that ahead.
 * Every other use of the session waits for what has been enqueued.
 *
 * Errors. What cannot be enqueued is refused here; the call has then waited for the stream, and what dst holds is
 * undefined. What fails on the device later is returned by the next call on the session (m2snet_session_wait is one)
 * or by the caller's own synchronisation. A stream that is being captured is M2SNET_STATUS_UNSUPPORTED: runs are CUDA
 * graphs already. Other backends than "cuda" refuse with the same. */
M2SNET_API m2snet_status m2snet_session_enqueue(m2snet_session *session, const m2snet_cuda_run *run,
                                                m2snet_error *error);
/* Waits for all that has been enqueued; OK when nothing is. */
M2SNET_API m2snet_status m2snet_session_wait(m2snet_session *session, m2snet_error *error);

/* ---- Images -------------------------------------------------------------- */

typedef enum m2snet_pixel_format {
    M2SNET_PIXEL_RGB8 = 1,
    M2SNET_PIXEL_BGR8 = 2,
    M2SNET_PIXEL_RGBA8 = 3, /* alpha ignored */
    M2SNET_PIXEL_BGRA8 = 4,
    M2SNET_PIXEL_GRAY8 = 5,
    M2SNET_PIXEL_GRAY16 = 6, /* native byte order; mapped to 0..255 through the window */
    M2SNET_PIXEL_F32 = 7     /* one float a pixel; mapped through the window */
} m2snet_pixel_format;

/* Pixels in the caller's memory, or read from a file (then `owner` is set and m2snet_image_release frees them). */
typedef struct m2snet_image {
    const void *data;           /* row 0 is the top row */
    int32_t width, height;      /* px, 1..65535 each, at most 2^28 pixels */
    ptrdiff_t row_stride_bytes; /* from one row to the next; 0 = dense; may be negative */
    m2snet_pixel_format format;
    float window_low;  /* GRAY16, F32: value shown as 0 ... */
    float window_high; /* ... and as 255; both 0 = the full range (GRAY16 0..65535, F32 0..1) */
    void *owner;       /* the library's; keep NULL in images of your own */
} m2snet_image;

typedef struct m2snet_image_read_options {
    size_t struct_size;
    uint64_t max_pixels; /* refuse larger pictures before decoding; default 2^26 (67 million) */
    int32_t apply_exif;  /* 1 (default): turn the picture as its EXIF orientation says; 0: as stored */
    m2snet_control control;
} m2snet_image_read_options;
M2SNET_API void m2snet_image_read_options_init(m2snet_image_read_options *options);
/* PNG or JPEG, told by content: gives RGB8, GRAY8 or GRAY16. Alpha is dropped, palettes are expanded, CMYK JPEG is
 * converted, 1-, 2- and 4-bit gray is scaled to 8. 16-bit colour is reduced to 8 bits. */
M2SNET_API m2snet_status m2snet_image_read_file(m2snet_context *context, const char *path,
                                                const m2snet_image_read_options *options, m2snet_image *image,
                                                m2snet_error *error);
M2SNET_API m2snet_status m2snet_image_read_memory(m2snet_context *context, const void *data, size_t size_bytes,
                                                  const m2snet_image_read_options *options, m2snet_image *image,
                                                  m2snet_error *error);
/* Frees what read_* gave and clears the struct; fine on a zeroed one. */
M2SNET_API void m2snet_image_release(m2snet_image *image);
/* Writes GRAY8, GRAY16 or RGB8 as PNG, through a temporary file and rename. */
M2SNET_API m2snet_status m2snet_image_write_png(m2snet_context *context, const char *path, const m2snet_image *image,
                                                m2snet_error *error);
/* Pillow's BILINEAR for 8-bit images, bit for bit: RGB8 -> RGB8 or GRAY8 -> GRAY8 (dst->width, height, data and
 * stride are the caller's). */
M2SNET_API m2snet_status m2snet_image_resize(m2snet_context *context, const m2snet_image *src, const m2snet_image *dst,
                                             m2snet_error *error);
/* The picture as RGB8 with the mask's outline drawn into it; release the result. mask is GRAY8 of the same size,
 * inside where not 0. rgb is 0xRRGGBB. */
M2SNET_API m2snet_status m2snet_image_overlay(m2snet_context *context, const m2snet_image *image,
                                              const m2snet_image *mask, uint32_t rgb, int32_t line_width_px,
                                              m2snet_image *overlay, m2snet_error *error);

/* ---- Prediction ---------------------------------------------------------- */

typedef struct m2snet_result m2snet_result;

/* Which mirror images of the input a prediction is the mean of, besides the input itself; bits. */
typedef enum m2snet_mirror {
    M2SNET_MIRROR_NONE = 0,
    M2SNET_MIRROR_HORIZONTAL = 1, /* left and right exchanged */
    M2SNET_MIRROR_VERTICAL = 2,   /* top and bottom exchanged */
    M2SNET_MIRROR_BOTH = 3        /* each, and both at once: four inputs */
} m2snet_mirror;

#define M2SNET_MAX_ENSEMBLE 31

typedef struct m2snet_predict_options {
    size_t struct_size;
    double threshold;              /* 0..1; negative (default) = the model's. mask = map >= ceil(255 threshold) */
    int32_t class_index;           /* channel of a model with several classes; 0, with softmax the background */
    int32_t roi_x, roi_y;          /* region of interest, px; the network sees only it, results are 0 outside. */
    int32_t roi_width, roi_height; /* 0 x 0 (default) = the whole image */
    int32_t largest_component;     /* 1: keep only the largest component of the mask */
    int32_t fill_holes;            /* 1: fill background enclosed by the mask */
    double min_area_px;            /* components smaller than this leave the mask; default 0 */
    double presence_min_area_px;   /* smallest component that counts as "found"; default 0.0005 of the image */
    double spacing_y_mm;           /* pixel spacing for areas in mm2; 0 (default) = unknown */
    double spacing_x_mm;
    float *probability;                 /* caller's buffers at the image's size, each may be NULL */
    ptrdiff_t probability_stride_bytes; /* 0 = dense */
    uint8_t *map;                       /* 8-bit probability map */
    ptrdiff_t map_stride_bytes;
    uint8_t *mask; /* 0 or 255 */
    ptrdiff_t mask_stride_bytes;
    m2snet_control control;
    int32_t label_map; /* 1: also m2snet_result_labels */
    uint8_t *labels;   /* caller's buffer for it; may be NULL */
    ptrdiff_t labels_stride_bytes;
    int32_t tiles;    /* 1: the picture (or region) keeps its size, and the session's input is a window that slides over
                       * it. A picture smaller than the window lies in the middle of zeros (the mean colour) */
    double tile_step; /* largest distance of neighbouring windows, a share of their sides, 0.05..1; 0.5 */
    m2snet_mirror mirror;
    m2snet_session *const
        *ensemble;               /* more sessions, of models of the same classes and with the same input size; all */
    int32_t ensemble_count;      /* are in use during the call. 0 (default) .. M2SNET_MAX_ENSEMBLE */
    const char *const *features; /* names of tensors inside the network to copy into the result; */
    int32_t feature_count;       /* default 0 */
    const char *gradcam; /* name of a tensor whose Grad-CAM map the result gets; NULL = none. Both look into one run of
                          * one network: not with tiles, mirror or an ensemble */
} m2snet_predict_options;
M2SNET_API void m2snet_predict_options_init(m2snet_predict_options *options);

/* Pixels in, mask out. The picture is resized to the session's input size (Pillow BILINEAR), normalised, run, and
 * the probabilities are resized back: as float (triangle filter) and as the 8-bit map of the released code (255 p
 * truncated, then Pillow BILINEAR), never stretched.
 * With tiles, mirror or an ensemble the logits are means: over windows, weighted with a Gaussian around each window's
 * centre (sigma an eighth of its side), over mirrored inputs, turned back, and over models. A single window's are taken
 * as they are; a symmetric input gives a symmetric mean, bit for bit. The receipt says what was done. */
M2SNET_API m2snet_status m2snet_predict(m2snet_session *session, const m2snet_image *image,
                                        const m2snet_predict_options *options, m2snet_result **result,
                                        m2snet_error *error);
/* count images of any sizes, computed several at a time; results[0..count) are set or, on failure, all NULL. The
 * buffers, region and spacing of options apply to every image, so the caller's buffers must be NULL when count > 1. */
M2SNET_API m2snet_status m2snet_predict_batch(m2snet_session *session, const m2snet_image *images, int32_t count,
                                              const m2snet_predict_options *options, m2snet_result **results,
                                              m2snet_error *error);
M2SNET_API void m2snet_result_destroy(m2snet_result *result);

M2SNET_API int32_t m2snet_result_width(const m2snet_result *result);
M2SNET_API int32_t m2snet_result_height(const m2snet_result *result);
/* Dense maps of width x height at the picture's size; always there. */
M2SNET_API const float *m2snet_result_probability(const m2snet_result *result);
M2SNET_API const uint8_t *m2snet_result_map(const m2snet_result *result);
M2SNET_API const uint8_t *m2snet_result_mask(const m2snet_result *result);
/* All classes in one map: of each pixel the gray level (m2snet_model_class_label) of the class with the largest
 * probability at the picture's size, and the background's level where none is above the threshold; classes that exclude
 * each other need no threshold. NULL unless options asked for it. */
M2SNET_API const uint8_t *m2snet_result_labels(const m2snet_result *result);
/* "Nothing found" is a result of its own: found is 1 when the mask, before largest_component and min_area_px take
 * from it, has a component of at least presence_min_area_px. presence is the mean probability of the largest such
 * component, 0 when there is none. */
M2SNET_API int32_t m2snet_result_found(const m2snet_result *result);
M2SNET_API double m2snet_result_presence(const m2snet_result *result);

typedef struct m2snet_component { /* 8-connected, largest first */
    size_t struct_size;
    int64_t area_px;
    double area_mm2;             /* -1 without a spacing */
    int32_t x, y, width, height; /* bounding box */
    double mean_probability;
    double centroid_x, centroid_y; /* px, centre of the top left pixel is (0.5, 0.5) */
} m2snet_component;
M2SNET_API int32_t m2snet_result_component_count(const m2snet_result *result);
M2SNET_API m2snet_status m2snet_result_component(const m2snet_result *result, int32_t index,
                                                 m2snet_component *component, m2snet_error *error);
/* Outer contour of a component as a closed polygon along pixel edges, clockwise on the screen: count points,
 * points[2i], points[2i+1] = x, y in px (0,0 = outer corner of the top left pixel). */
M2SNET_API m2snet_status m2snet_result_contour(m2snet_result *result, int32_t index, const int32_t **points,
                                               int32_t *count, m2snet_error *error);

/* A tensor inside the network, as m2snet_predict_options.features asked for it. */
typedef struct m2snet_feature {
    size_t struct_size;
    const char *name;
    int64_t h, w, c;   /* rows, columns, channels: at the network's scale, not the picture's */
    const float *data; /* dense, channels last */
} m2snet_feature;
M2SNET_API int32_t m2snet_result_feature_count(const m2snet_result *result);
M2SNET_API m2snet_status m2snet_result_feature(const m2snet_result *result, int32_t index, m2snet_feature *feature,
                                               m2snet_error *error);
/* The Grad-CAM map (Selvaraju et al. 2017) of the tensor that m2snet_predict_options.gradcam names: where that tensor
 * speaks for the mask. y is the mean logit inside the mask (of the whole input, where the mask is empty); each
 * channel's weight is the mean of y's gradient in it; the map is the weighted sum of the channels, 0 where negative,
 * resized to the picture (triangle filter), 0 outside the region. Dense, width x height, in y's unit: not scaled to
 * 0..1. NULL when it was not asked for. */
M2SNET_API const float *m2snet_result_gradcam(const m2snet_result *result);

/* The inference receipt: what was run on what. The first one of a model waits for the SHA-256 of its file, which is
 * worked out while the context has nothing else to do (0.65 ms a MB, once). */
typedef struct m2snet_receipt {
    size_t struct_size;
    const char *model_sha256;
    const char *architecture;
    const char *encoder;
    const char *library_version;
    const char *dependencies; /* "oneDNN 2.6.3, libpng 1.6.39, ..." */
    const char *backend;
    const char *device;
    const char *instruction_set;
    const char *precision;     /* "f32" */
    const char *preprocessing; /* "pillow-bilinear 352x352, mean 0.485,0.456,0.406, std 0.229,0.224,0.225" */
    int32_t threads;
    int32_t image_width, image_height;
    int32_t input_width, input_height;
    double threshold;
    int32_t found;
    double presence;
    double milliseconds_pre, milliseconds_network, milliseconds_post; /* network: of the whole batch */
    const char *views;    /* "whole picture", "35 windows, step 0.50, Gaussian weights, mirrored both ways, 5 models" */
    int32_t windows;      /* 1: the whole picture, or a single window */
    int32_t models;       /* 1 + ensemble_count */
    const char *ensemble; /* SHA-256 of the ensemble's other models, one a line; "" for none */
} m2snet_receipt;
M2SNET_API m2snet_status m2snet_result_receipt(const m2snet_result *result, m2snet_receipt *receipt,
                                               m2snet_error *error);
/* The same as JSON, with the components. */
M2SNET_API const char *m2snet_result_receipt_json(const m2snet_result *result);

/* ---- Evaluation ---------------------------------------------------------- */

/* Scores of predictions against masks, from any tool: 8-bit maps or masks of equal size. docs/metrics.md has every
 * definition; the names here are the keys of the JSON. A number that is not defined (a distance to an empty mask) is
 * NaN in structs and null in JSON; it enters no mean, and how many there were is counted. */

/* Whose arithmetic. It chooses what is computed on top of the default's numbers, which are always there. */
typedef enum m2snet_profile {
    M2SNET_PROFILE_DEFAULT = 0, /* PySODMetrics' arithmetic, means as in the PraNet protocol, medpy's distances */
    M2SNET_PROFILE_AUTHORS = 1, /* also authors_*: the test script published with M2SNet and MSNet */
    M2SNET_PROFILE_PRANET = 2   /* also an object "pranet" in the JSON: what the PraNet protocol's program prints */
} m2snet_profile;

/* Images whose mask is empty. */
typedef enum m2snet_empty {
    M2SNET_EMPTY_ZERO = 0, /* overlap, F and weighted F are 0 (default) */
    M2SNET_EMPTY_SKIP = 1, /* left out of every mean */
    M2SNET_EMPTY_ONE = 2   /* 1 wherever the prediction is empty too, 0 otherwise */
} m2snet_empty;

#define M2SNET_MAX_SPACINGS 8
#define M2SNET_MAX_LABELS   64

typedef struct m2snet_evaluator_options {
    size_t struct_size;
    m2snet_profile profile;
    m2snet_empty empty;
    const double *spacings_mm; /* row, column, row, column, ...: surface distances are measured with each; copied */
    int32_t spacing_count;     /* 1..M2SNET_MAX_SPACINGS pairs; 0 (default): one, 1 x 1 */
    int32_t connectivity;      /* of borders: 1 (default, four neighbours) or 2 (eight) */
    int32_t without_surface;   /* 1: no surface distances */
    int32_t surface_penalty;   /* 1: distances are the image's diagonal where exactly one side is empty, 0 where both
                                * are; 0 (default): undefined */
    int32_t resize_prediction; /* 1: a prediction of another size is brought to the mask's (Pillow BILINEAR), with a
                                * warning; 0 (default): refused */
    const uint8_t *labels;     /* not NULL: pictures are label maps; label_count gray values to score, each its own
                                * class; copied */
    int32_t label_count;       /* 0..M2SNET_MAX_LABELS */
    const char *const *label_names; /* NULL: "0", "80", ...; copied */
} m2snet_evaluator_options;
M2SNET_API void m2snet_evaluator_options_init(m2snet_evaluator_options *options);

typedef struct m2snet_surface_scores { /* mm, or pixels with spacing 1 x 1 */
    double hd;                         /* Hausdorff distance */
    double hd95;                       /* 95th percentile of both directions together */
    double assd;                       /* mean of both directions together */
    double asd_pred_to_gt;
    double asd_gt_to_pred;
    double hd95_maxdir; /* the larger one of the two directed 95th percentiles */
} m2snet_surface_scores;

/* Of one image, or of a set. Of a set: tp to tn are sums, curves are averaged over images before their mean and maximum
 * are taken, everything else is the mean over images. */
typedef struct m2snet_scores {
    size_t struct_size;
    int32_t height, width;  /* px; 0 for a set */
    int64_t tp, fp, fn, tn; /* at x > 0.5, x being the prediction stretched to 0..1 */
    double mae, sm, sm_matlab_rounding, wfm;
    double em_mean, em_max, pre_mean, pre_max, rec_mean, rec_max, spec_mean, spec_max; /* over 256 thresholds */
    double spec_pranet_mean, spec_pranet_max;
    double dice_mean, dice_max, iou_mean, iou_max; /* mDice, maxDice, mIoU, maxIoU */
    double fm_mean, fm_max, f1_mean, f1_max;       /* beta^2 = 0.3, and 1 */
    double em_adp, fm_adp;                         /* at twice the prediction's mean */
    double dice, iou, precision, recall, specificity, accuracy, iou_bg, f1, miou, ber;       /* at x > 0.5 */
    double authors_mae, authors_fm_max, authors_fm_adp, authors_sm, authors_em, authors_wfm; /* PROFILE_AUTHORS, */
    double authors_dice_soft, authors_iou, authors_ber, authors_acc;                         /* else NaN */
    int32_t mask_empty;        /* 1: no pixel above 128; of a set: how many */
    int32_t prediction_empty;  /* 1: no pixel above 0.5; of a set: how many */
    int32_t surface_count;     /* of surface[] */
    int32_t surface_undefined; /* 1: no distances; of a set: how many */
    m2snet_surface_scores surface[M2SNET_MAX_SPACINGS];
} m2snet_scores;

/* One pair, without an evaluator. options may be NULL; labels are not allowed here. */
M2SNET_API m2snet_status m2snet_score(m2snet_context *context, const m2snet_image *prediction, const m2snet_image *mask,
                                      const m2snet_evaluator_options *options, m2snet_scores *scores,
                                      m2snet_error *error);

/* One class of a label map, or the layer of an OCT picture. Of a set: counts are sums, the rest means over images. */
typedef struct m2snet_label_scores {
    size_t struct_size;
    int64_t tp, n_pred, n_gt;
    double dice, iou;        /* 0 where neither has the label, or as the empty policy says */
    int64_t columns_both;    /* picture columns where both have the label, ... */
    int64_t columns_gt_only; /* ... where only one has it: counted, not scored */
    int64_t columns_pred_only;
    int32_t surface_count;
    int32_t boundary_undefined; /* 1: no column has the label in both; of a set: how many */
    int32_t surface_undefined;  /* 1: one side lacks the label; of a set: how many */
    struct {
        double med_top, med_bottom, med; /* mean distance of the upper and lower boundaries along columns, mm */
        m2snet_surface_scores surface;
    } spacing[M2SNET_MAX_SPACINGS];
} m2snet_label_scores;

/* The same for label maps: scores[0..options->label_count), each with its struct_size set. */
M2SNET_API m2snet_status m2snet_score_labels(m2snet_context *context, const m2snet_image *prediction,
                                             const m2snet_image *mask, const m2snet_evaluator_options *options,
                                             m2snet_label_scores *scores, m2snet_error *error);

/* Collects pairs and their scores. One thread at a time, like a session; results do not depend on the number of the
 * context's threads. */
typedef struct m2snet_evaluator m2snet_evaluator;
M2SNET_API m2snet_status m2snet_evaluator_create(m2snet_context *context, const m2snet_evaluator_options *options,
                                                 m2snet_evaluator **evaluator, m2snet_error *error);
M2SNET_API void m2snet_evaluator_destroy(m2snet_evaluator *evaluator);

/* Scores one pair and appends it; the pictures are not needed after the call. On failure nothing is appended. */
M2SNET_API m2snet_status m2snet_evaluator_add(m2snet_evaluator *evaluator, const char *name,
                                              const m2snet_image *prediction, const m2snet_image *mask,
                                              m2snet_error *error);

typedef struct m2snet_file_pair {
    const char *name; /* UTF-8 */
    const char *prediction_path;
    const char *mask_path;
} m2snet_file_pair;
/* Scores count pairs of PNG or JPEG files on all threads of the context and appends them in order. A pair that cannot
 * be scored (a file missing or damaged, different sizes) is appended too, with its error, and does not stop the others:
 * *failed (nullable) says how many. Phase "score", unit pairs. Cancelled or out of memory: nothing is appended. */
M2SNET_API m2snet_status m2snet_evaluator_add_files(m2snet_evaluator *evaluator, const m2snet_file_pair *pairs,
                                                    int32_t count, const m2snet_control *control, int32_t *failed,
                                                    m2snet_error *error);
/* Appends a pair that could not get as far as scores (its picture could not be segmented, it has no partner), so that
 * it is counted and named as a failure. failure: any status but OK. */
M2SNET_API m2snet_status m2snet_evaluator_add_failure(m2snet_evaluator *evaluator, const char *name,
                                                      m2snet_status failure, const char *message, m2snet_error *error);

M2SNET_API int32_t m2snet_evaluator_count(const m2snet_evaluator *evaluator); /* failed ones included */
M2SNET_API const char *m2snet_evaluator_name(const m2snet_evaluator *evaluator, int32_t index);
/* NULL, or what is suspicious about the pair: a mask coded 0 and 1, a nearly empty prediction that was stretched, ...
 */
M2SNET_API const char *m2snet_evaluator_warning(const m2snet_evaluator *evaluator, int32_t index);
/* Of a pair that failed: its own status and message. An evaluator with labels: UNSUPPORTED. */
M2SNET_API m2snet_status m2snet_evaluator_image_scores(const m2snet_evaluator *evaluator, int32_t index,
                                                       m2snet_scores *scores, m2snet_error *error);
M2SNET_API m2snet_status m2snet_evaluator_image_label(const m2snet_evaluator *evaluator, int32_t index, int32_t label,
                                                      m2snet_label_scores *scores, m2snet_error *error);

typedef struct m2snet_set_info {
    size_t struct_size;
    int32_t scored, failed;
    int32_t counted; /* in the means: scored less the ones skipped for an empty mask */
    int32_t empty_masks, empty_predictions, both_empty; /* of the scored */
    int32_t warned;
    double pooled_dice, pooled_iou, pooled_precision, pooled_recall, pooled_specificity; /* from the sums tp to tn */
    double mean_of_image_em_max; /* NOT the set's em_max, which is the maximum of the mean curve */
} m2snet_set_info;
M2SNET_API m2snet_status m2snet_evaluator_set_info(const m2snet_evaluator *evaluator, m2snet_set_info *info,
                                                   m2snet_error *error);
/* MISMATCH when no image counts. */
M2SNET_API m2snet_status m2snet_evaluator_set_scores(const m2snet_evaluator *evaluator, m2snet_scores *scores,
                                                     m2snet_error *error);
M2SNET_API m2snet_status m2snet_evaluator_set_label(const m2snet_evaluator *evaluator, int32_t label,
                                                    m2snet_label_scores *scores, m2snet_error *error);

/* Cross-validation: image i of those that count belongs to fold i mod folds. Mean and standard deviation of the folds'
 * set scores with divisor folds - ddof (0 or 1); a number undefined in a fold is undefined here. Counts are 0. */
M2SNET_API m2snet_status m2snet_evaluator_folds(const m2snet_evaluator *evaluator, int32_t folds, int32_t ddof,
                                                m2snet_scores *mean, m2snet_scores *deviation, m2snet_error *error);
/* Scores of fold number index alone. */
M2SNET_API m2snet_status m2snet_evaluator_fold_scores(const m2snet_evaluator *evaluator, int32_t folds, int32_t index,
                                                      m2snet_scores *scores, m2snet_error *error);

/* The set's scores over some of its images alone, such as the frames of one clip: count indices, each once. */
M2SNET_API m2snet_status m2snet_evaluator_subset_scores(const m2snet_evaluator *evaluator, const int32_t *indices,
                                                        int32_t count, m2snet_scores *scores, m2snet_error *error);

typedef enum m2snet_curve {
    M2SNET_CURVE_E = 0,
    M2SNET_CURVE_PRECISION = 1,
    M2SNET_CURVE_RECALL = 2,
    M2SNET_CURVE_SPECIFICITY = 3,
    M2SNET_CURVE_SPECIFICITY_PRANET = 4,
    M2SNET_CURVE_DICE = 5,
    M2SNET_CURVE_IOU = 6,
    M2SNET_CURVE_F = 7,
    M2SNET_CURVE_F1 = 8
} m2snet_curve;
/* values[t]: the prediction is foreground where floor(255 x) >= t. index -1: of the set. */
M2SNET_API m2snet_status m2snet_evaluator_curve(const m2snet_evaluator *evaluator, int32_t index, m2snet_curve curve,
                                                double values[256], m2snet_error *error);

/* Everything as one JSON object: "images", "dataset", counts, failures and warnings (docs/metrics.md). folds 0: without
 * cross-validation. The text belongs to the evaluator until the next call of this function or its end. */
M2SNET_API m2snet_status m2snet_evaluator_json(m2snet_evaluator *evaluator, int32_t folds, const char **json,
                                               m2snet_error *error);

/* Whether probabilities mean what they say: the pixels of a picture, or of all pictures that count together, in bins of
 * the predicted probability gray / 255 (not stretched), and how many of each bin lie inside the mask. */
#define M2SNET_MAX_CALIBRATION_BINS 64
typedef struct m2snet_calibration {
    size_t struct_size;
    int32_t bin_count;
    int64_t pixels;
    double ece;   /* sum over bins of (share of the pixels) |probability - observed| */
    double mce;   /* largest |probability - observed| of a bin that has pixels */
    double brier; /* mean of (gray / 255 - inside)^2 */
    struct {
        int64_t pixels;
        double probability;              /* mean prediction of the bin; NaN where it has no pixel */
        double observed;                 /* share of its pixels inside the mask; NaN where it has no pixel */
    } bins[M2SNET_MAX_CALIBRATION_BINS]; /* bin i: i <= bin_count gray / 255 < i + 1; 255 is in the last */
} m2snet_calibration;
/* bin_count: 1..M2SNET_MAX_CALIBRATION_BINS. index -1: of the set. */
M2SNET_API m2snet_status m2snet_evaluator_calibration(const m2snet_evaluator *evaluator, int32_t index,
                                                      int32_t bin_count, m2snet_calibration *calibration,
                                                      m2snet_error *error);

/* Bland and Altman's numbers of the areas: prediction (x > 0.5) less mask, over the images that count. In mm2 with the
 * first spacing; pixels with spacing 1 x 1. */
typedef struct m2snet_area_agreement {
    size_t struct_size;
    int32_t count;
    double bias;         /* mean of the differences */
    double deviation;    /* their standard deviation, divisor count - 1; NaN for one image, and so are the limits */
    double lower, upper; /* limits of agreement: bias -+ 1.96 deviation */
} m2snet_area_agreement;
M2SNET_API m2snet_status m2snet_evaluator_area_agreement(const m2snet_evaluator *evaluator,
                                                         m2snet_area_agreement *agreement, m2snet_error *error);

typedef struct m2snet_compare_options {
    size_t struct_size;
    int32_t resamples;      /* 100..1000000; default 10000 */
    double level;           /* of the interval: 0.5..0.999; default 0.95 */
    uint64_t seed;          /* default 0 */
    m2snet_control control; /* phase "bootstrap" */
} m2snet_compare_options;
M2SNET_API void m2snet_compare_options_init(m2snet_compare_options *options);

typedef struct m2snet_difference {
    size_t struct_size;
    int32_t pairs;        /* images that count in both evaluators, with the number defined in both */
    double first, second; /* the set's number over these images alone */
    double difference;    /* second - first */
    double low, high;     /* percentile interval of the difference; NaN for a single image */
    double share_above;   /* of the resamples with a difference above 0, those at 0 counted half */
} m2snet_difference;
/* Paired bootstrap of one number of the set, by its JSON key ("dice_mean", "em_max", "hd95" of the first spacing, ...;
 * not "authors_fm_max"): images, matched by name, are drawn with replacement, the same ones for both sides, and the
 * set's number is taken anew. The same seed gives the same draws for every key; results do not depend on the number of
 * threads. MISMATCH when the evaluators score in different ways (empty policy, spacing, connectivity, penalty) or no
 * image is in both; UNSUPPORTED with labels. */
M2SNET_API m2snet_status m2snet_evaluator_compare(const m2snet_evaluator *first, const m2snet_evaluator *second,
                                                  const char *key, const m2snet_compare_options *options,
                                                  m2snet_difference *difference, m2snet_error *error);

/* ---- Datasets ------------------------------------------------------------ */

/* Pairs of a picture's file and its mask's file, for training: from folders and lists, several sets joined, each pair
 * in a part. Only names are held; adding opens no picture. One thread at a time, like a session. */
typedef struct m2snet_dataset m2snet_dataset;

typedef enum m2snet_part {
    M2SNET_PART_NONE = 0, /* left out */
    M2SNET_PART_TRAIN = 1,
    M2SNET_PART_VALIDATION = 2,
    M2SNET_PART_TEST = 3
} m2snet_part;

/* A picture without a mask file. */
typedef enum m2snet_missing {
    M2SNET_MISSING_REFUSE = 0, /* the call fails and names it (default) */
    M2SNET_MISSING_SKIP = 1,   /* left out; the lint names it */
    M2SNET_MISSING_EMPTY = 2   /* its mask is empty: there is nothing to find */
} m2snet_missing;

typedef struct m2snet_source_options {
    size_t struct_size;
    const char *name;            /* of the set, for reports; NULL: the folder or list as given */
    double weight;               /* of the set when batches are drawn; more than 0, default 1 */
    m2snet_missing missing;      /* folders; in a list: rows whose mask column is empty */
    const char *mask_suffix;     /* folders: "_mask" pairs a.jpg with a_mask.png; NULL = none */
    const char *group_column;    /* lists; NULL: the first there is of "group", "patient", "sequence" */
    const char *group_separator; /* the part of a name in front of it is the group (patient, sequence) of items that
                                  * have none from a list; NULL = none. "-" : p12-003.png belongs to "p12" */
} m2snet_source_options;

typedef enum m2snet_split_kind {
    M2SNET_SPLIT_COLUMN = 0,   /* as the lists say: train, val or valid or validation, test, or nothing (left out);
                                * items of sets without the column train */
    M2SNET_SPLIT_FOLDS = 1,    /* k-fold cross-validation: one fold validates, the others train */
    M2SNET_SPLIT_FRACTIONS = 2 /* so much of the items validates, so much tests, the rest trains */
} m2snet_split_kind;

typedef struct m2snet_split_options {
    size_t struct_size;
    m2snet_split_kind kind;
    uint64_t seed;
    int32_t folds;                /* 2..1000; default 5 */
    int32_t fold;                 /* the one that validates, from 0 */
    double validation, test;      /* fractions; default 0.1 and 0 */
    int32_t ignore_groups;        /* 1: every item on its own */
    int32_t keep_near_duplicates; /* 1: pictures that m2snet_dataset_find_duplicates found are one group, too */
} m2snet_split_options;

typedef enum m2snet_finding_kind {
    M2SNET_FINDING_UNREADABLE = 1,      /* a file is missing, damaged or of no kind that can be read */
    M2SNET_FINDING_NO_MASK = 2,         /* a picture without a partner */
    M2SNET_FINDING_NO_IMAGE = 3,        /* a mask without a partner */
    M2SNET_FINDING_SIZE_DIFFERS = 4,    /* picture and mask */
    M2SNET_FINDING_MASK_NOT_BINARY = 5, /* levels other than 0 and 255: how many, and the most frequent */
    M2SNET_FINDING_MASK_CODED_01 = 6,   /* levels 0 and 1: would be read as nearly black */
    M2SNET_FINDING_MASK_EMPTY = 7,
    M2SNET_FINDING_MASK_FULL = 8,   /* no background */
    M2SNET_FINDING_MASK_COLOUR = 9, /* a mask in colour: read as its luminance */
    M2SNET_FINDING_MASK_LABEL = 10, /* levels that are none of the given labels */
    M2SNET_FINDING_DUPLICATE = 11,  /* the same pixels as another item's picture */
    M2SNET_FINDING_NAME_TWICE = 12  /* the same file, or the same name in one folder, twice */
} m2snet_finding_kind;

typedef enum m2snet_augment_order {
    M2SNET_AUGMENT_COLOUR = 0, /* geometry; brightness, contrast, saturation and hue as one map; blur; noise */
    M2SNET_AUGMENT_NNUNET = 1  /* nnU-Net's: geometry; noise; blur, brightness, contrast, low resolution, inverted gamma
                                * and gamma, each channel with its own number; no saturation and hue */
} m2snet_augment_order;

/* How pictures are changed at random while training; docs/training-data.md has the order and the formulas. p_* are
 * probabilities, 0..1. */
typedef struct m2snet_augment_options {
    size_t struct_size;
    double mean[3], std[3];     /* R, G, B: the network sees (v / 255 - mean) / std */
    int32_t first_size_px;      /* 0: one interpolation from file to network. Else, as in the released code: resize to
                                 * this first, then move, then resize to the batch's size */
    int32_t rotate_about_index; /* 1: about (width/2, height/2) in pixel indices, as released; 0: the true centre */
    double p_flip_horizontal, p_flip_vertical;
    double p_quarter_turns;             /* a turn by 90, 180 or 270 degrees */
    double p_rotate, rotate_degrees;    /* angle U(-rotate_degrees, rotate_degrees); 0..180 */
    double p_crop, crop_low, crop_high; /* window of U(crop_low, crop_high) of each side, anywhere; 0.05..1 */
    double p_brightness, brightness;    /* factor U(1 - brightness, 1 + brightness); ranges 0..1 */
    double p_contrast, contrast;
    double p_saturation, saturation;
    double p_hue, hue;                        /* turns U(-hue, hue); 0..0.5 */
    double p_blur, blur_low_px, blur_high_px; /* sigma at the network's size; 0..16 */
    double p_noise, noise_low, noise_high;    /* standard deviation, the full range of levels being 1; 0..1 */
    m2snet_augment_order order;               /* COLOUR */
    double p_scale, scale_low, scale_high;    /* sides of what is shown, 0.1..10; more than 1 shows more */
    double p_low_resolution, low_resolution;  /* NNUNET: sides shrunk by U(low_resolution, 1), then enlarged; 0.05..1 */
    double p_gamma_inverted, p_gamma; /* NNUNET: exponent with equal chance U(gamma_low, 1), U(1, gamma_high); */
    double gamma_low, gamma_high;     /* gamma_low 0.1..1, gamma_high 1..10 */
} m2snet_augment_options;

M2SNET_API m2snet_status m2snet_dataset_create(m2snet_context *context, m2snet_dataset **dataset, m2snet_error *error);
M2SNET_API void m2snet_dataset_destroy(m2snet_dataset *dataset);

M2SNET_API void m2snet_source_options_init(m2snet_source_options *options);
/* Appends a set: the PNG and JPEG files of folder/images, each with the file of folder/masks that has its name (without
 * ending), in order of names. On failure nothing is appended. */
M2SNET_API m2snet_status m2snet_dataset_add_folder(m2snet_dataset *dataset, const char *folder,
                                                   const m2snet_source_options *options, m2snet_error *error);
/* The same from two folders; one for both when options have a mask_suffix. */
M2SNET_API m2snet_status m2snet_dataset_add_folders(m2snet_dataset *dataset, const char *images, const char *masks,
                                                    const m2snet_source_options *options, m2snet_error *error);
/* Appends a set from a CSV list (RFC 4180, UTF-8). Its header names the columns: image and mask, perhaps split and
 * group; others are ignored. Paths are relative to the list's folder. */
M2SNET_API m2snet_status m2snet_dataset_add_csv(m2snet_dataset *dataset, const char *path,
                                                const m2snet_source_options *options, m2snet_error *error);

typedef struct m2snet_dataset_item {
    size_t struct_size;
    const char *name; /* of the picture's file, without ending */
    const char *image_path;
    const char *mask_path; /* NULL: no file, the mask is empty */
    const char *group;     /* "" = on its own */
    int32_t set;
    int32_t fold;     /* of the last split by folds, else -1 */
    m2snet_part part; /* M2SNET_PART_TRAIN before any split */
} m2snet_dataset_item;
M2SNET_API int32_t m2snet_dataset_count(const m2snet_dataset *dataset);
M2SNET_API m2snet_status m2snet_dataset_get_item(const m2snet_dataset *dataset, int32_t index,
                                                 m2snet_dataset_item *item, m2snet_error *error);
/* How many items are in a part. */
M2SNET_API int32_t m2snet_dataset_part_count(const m2snet_dataset *dataset, m2snet_part part);
/* Puts one item where the caller wants it. */
M2SNET_API m2snet_status m2snet_dataset_set_part(m2snet_dataset *dataset, int32_t index, m2snet_part part,
                                                 m2snet_error *error);

typedef struct m2snet_dataset_set {
    size_t struct_size;
    const char *name;
    double weight;
    int32_t count; /* items */
} m2snet_dataset_set;
M2SNET_API int32_t m2snet_dataset_set_count(const m2snet_dataset *dataset);
M2SNET_API m2snet_status m2snet_dataset_get_set(const m2snet_dataset *dataset, int32_t index, m2snet_dataset_set *set,
                                                m2snet_error *error);

M2SNET_API void m2snet_split_options_init(m2snet_split_options *options);
/* Puts every item into a part; groups stay together. The same data set, options and seed give the same parts
 * everywhere. On failure all parts are as before. MISMATCH: too few groups, or a column that parts a group. */
M2SNET_API m2snet_status m2snet_dataset_split(m2snet_dataset *dataset, const m2snet_split_options *options,
                                              m2snet_error *error);

typedef struct m2snet_lint_options {
    size_t struct_size;
    const uint8_t *labels; /* not NULL: masks are label maps of these gray levels and background_label */
    int32_t label_count;   /* 0..M2SNET_MAX_LABELS */
    m2snet_control control;
    int32_t background_label; /* -1 (default): as m2snet_fit_options */
} m2snet_lint_options;
M2SNET_API void m2snet_lint_options_init(m2snet_lint_options *options);

typedef struct m2snet_finding {
    size_t struct_size;
    m2snet_finding_kind kind;
    int32_t item;  /* -1: a file that is no item's */
    int32_t other; /* DUPLICATE, NAME_TWICE: the item that came first; else -1 */
    const char *path;
    const char *reason; /* a sentence, without the path */
} m2snet_finding;
/* Reads every file, on all threads of the context, and lists what would harm a training; phase "lint", unit items.
 * Findings do not make it fail. Findings of files come first, then those of items in order; they live until the next
 * lint or until items are added. */
M2SNET_API m2snet_status m2snet_dataset_lint(m2snet_dataset *dataset, const m2snet_lint_options *options,
                                             m2snet_error *error);
M2SNET_API int32_t m2snet_dataset_finding_count(const m2snet_dataset *dataset);
M2SNET_API m2snet_status m2snet_dataset_get_finding(const m2snet_dataset *dataset, int32_t index,
                                                    m2snet_finding *finding, m2snet_error *error);
M2SNET_API const char *m2snet_finding_kind_name(m2snet_finding_kind kind); /* "mask not binary"; never NULL */

typedef struct m2snet_duplicates_options {
    size_t struct_size;
    int32_t distance; /* of 128 bits, that two pictures may differ in; 0..64, default 12 */
    m2snet_control control;
} m2snet_duplicates_options;
M2SNET_API void m2snet_duplicates_options_init(m2snet_duplicates_options *options);

typedef struct m2snet_near_pair {
    size_t struct_size;
    int32_t a, b;     /* items, a < b */
    int32_t distance; /* 0 = as good as equal */
    int32_t
        across; /* 1: they are in two different parts now (neither left out): what is learned leaks into the score */
} m2snet_near_pair;
/* Compares all pictures by perceptual hash (docs/training-data.md), on all threads; phase "hash", unit items. Nearest
 * pairs first. Pictures that cannot be read are passed over: the lint names them. */
M2SNET_API m2snet_status m2snet_dataset_find_duplicates(m2snet_dataset *dataset,
                                                        const m2snet_duplicates_options *options, m2snet_error *error);
M2SNET_API int32_t m2snet_dataset_near_pair_count(const m2snet_dataset *dataset);
M2SNET_API m2snet_status m2snet_dataset_get_near_pair(const m2snet_dataset *dataset, int32_t index,
                                                      m2snet_near_pair *pair, m2snet_error *error);

/* preset: "none", "released" (as the published training code), "compact" (as polyp-compact was trained), "nnunet" (as
 * nnU-Net trains). */
M2SNET_API m2snet_status m2snet_augment_options_init(m2snet_augment_options *options, const char *preset,
                                                     m2snet_error *error);

/* ---- Objectives ---------------------------------------------------------- */

/* A frozen classifier whose features measure how far a prediction is from its mask (the paper's loss network).
 * Immutable; any number of threads, objectives and trainers may share it. */
typedef struct m2snet_lossnet m2snet_lossnet;

typedef struct m2snet_lossnet_options {
    size_t struct_size;
    const char *family; /* "vgg16", "resnet50", "resnet50-stem", "swin_t"; NULL: told by the file's keys */
    m2snet_control control;
} m2snet_lossnet_options;
M2SNET_API void m2snet_lossnet_options_init(m2snet_lossnet_options *options);

/* Loads torchvision's checkpoint of the classifier (.pth or .safetensors) by its own keys ("features.0.weight"), Swin-T
 * also by its authors' or timm's; its last layers are not needed and ignored. A file that does not fit gives
 * M2SNET_STATUS_MISMATCH and a table. What is compared: "vgg16": the last ReLU of its first four blocks; "resnet50" and
 * "swin_t": the results of their four stages; "resnet50-stem" (only when it is asked for): the stem's ReLU and the
 * first three stages. */
M2SNET_API m2snet_status m2snet_lossnet_load_file(m2snet_context *context, const char *path,
                                                  const m2snet_lossnet_options *options, m2snet_lossnet **lossnet,
                                                  m2snet_error *error);
/* One with drawn weights, for tests. family NULL: "vgg16". */
M2SNET_API m2snet_status m2snet_lossnet_create(m2snet_context *context, const char *family, uint64_t seed,
                                               m2snet_lossnet **lossnet, m2snet_error *error);
M2SNET_API void m2snet_lossnet_destroy(m2snet_lossnet *lossnet);

typedef enum m2snet_bce_form {
    M2SNET_BCE_WEIGHTED = 0, /* the paper's: pixels near the mask's border count more */
    M2SNET_BCE_MEAN = 1      /* the released code's: the mean over all pixels */
} m2snet_bce_form;

typedef enum m2snet_lossnet_distance {
    M2SNET_LOSSNET_MSE = 0, /* mean of squares of each tap */
    M2SNET_LOSSNET_L2 = 1   /* Euclidean norm of each picture's tap, mean over pictures */
} m2snet_lossnet_distance;

/* What training makes small: a weighted sum of terms. A term of weight 0 is not computed. docs/training.md has the
 * formulas. */
typedef struct m2snet_objective_options {
    size_t struct_size;
    double bce_weight; /* binary cross-entropy; 1 */
    double iou_weight; /* weighted intersection over union; 1 */
    double dice_weight;
    double cross_entropy_weight; /* of classes that exclude each other: wants softmax */
    double lossnet_weight;       /* 0.1; counts only with a lossnet */
    m2snet_bce_form bce_form;
    int32_t softmax;                          /* 1: classes exclude each other. 0: each channel is a mask of its own */
    int32_t batch_dice;                       /* 1: Dice of the whole batch; 0: of each picture */
    m2snet_lossnet *lossnet;                  /* NULL: no such term */
    m2snet_lossnet_distance lossnet_distance; /* MSE */
    int32_t lossnet_size_px;                  /* side of its input, 224; 0: the picture's own size */
} m2snet_objective_options;
M2SNET_API void m2snet_objective_options_init(m2snet_objective_options *options);
/* "paper" (the defaults), "released", "softmax" (cross-entropy and Dice), "nnunet" (the same of masks that are each its
 * own: plain binary cross-entropy and Dice of the batch). Keeps lossnet. INVALID_ARGUMENT: any other
 * name. */
M2SNET_API m2snet_status m2snet_objective_options_preset(m2snet_objective_options *options, const char *name,
                                                         m2snet_error *error);

typedef struct m2snet_objective_values {
    size_t struct_size;
    double loss;                                   /* the weighted sum */
    double bce, iou, dice, cross_entropy, lossnet; /* before weighting; 0 for a term that is not computed */
} m2snet_objective_values;

/* The objective of logits (n, h, w, c) against a mask of the same shape (0..1), and its gradient with respect to the
 * logits (nullable). Computed in F64 when logits are F64 (backend "ref"), else in F32. Tensors of any strides.
 * control may be NULL. */
M2SNET_API m2snet_status m2snet_objective_evaluate(m2snet_context *context, const m2snet_objective_options *options,
                                                   const m2snet_tensor *logits, const m2snet_tensor *mask,
                                                   m2snet_objective_values *values, m2snet_tensor *gradient,
                                                   const m2snet_control *control, m2snet_error *error);

/* ---- Training ------------------------------------------------------------ */

/* Trains a copy of a model's weights. One thread at a time, like a session; the model it was made from stays as it is.
 * A step is taken as a whole or not at all: after a failure or a cancel the weights are those before it. */
typedef struct m2snet_trainer m2snet_trainer;

typedef enum m2snet_optimiser { M2SNET_OPTIMISER_SGD = 0, M2SNET_OPTIMISER_ADAMW = 1 } m2snet_optimiser;

/* Which maps the objective sees. EQUAL and HALVING add a head on each coarser level of the decoder (paper, table 11),
 * "ds2" to "ds4": what the model has under that name, else drawn from the seed. Prediction has no use for them: states
 * keep them, models made keep those that were there. */
typedef enum m2snet_supervision {
    M2SNET_SUPERVISION_FINAL = 0,  /* the logits alone */
    M2SNET_SUPERVISION_EQUAL = 1,  /* the sum over all four maps; the loss network sees the logits alone */
    M2SNET_SUPERVISION_HALVING = 2 /* weights 1, 1/2, 1/4, 1/8, divided by their sum, from the finest on */
} m2snet_supervision;

/* The learning rate's course, as a factor of learning_rate. e of E epochs; t = share of all steps that are done. */
typedef enum m2snet_schedule {
    M2SNET_SCHEDULE_TRIANGLE = 0,      /* 1 - |2 (e + 1) / (E + 1) - 1|: constant within an epoch */
    M2SNET_SCHEDULE_WARMUP_LINEAR = 1, /* rises to 1 over the share `warmup` of the steps, then falls to 0 */
    M2SNET_SCHEDULE_POLY = 2,          /* after the warm-up: (1 - t)^power */
    M2SNET_SCHEDULE_COSINE = 3,        /* after the warm-up: (1 + cos(pi t)) / 2 */
    M2SNET_SCHEDULE_CONSTANT = 4       /* after the warm-up: 1 */
} m2snet_schedule;

typedef struct m2snet_trainer_options {
    size_t struct_size;
    const m2snet_objective_options *objective; /* NULL: the defaults; copied, its lossnet is kept alive */
    m2snet_optimiser optimiser;                /* SGD */
    double learning_rate;                      /* of the head; 0.05 */
    double encoder_rate;                       /* the encoder's share of it; 0.1 */
    double momentum;                           /* SGD; AdamW: beta1. 0.9 */
    double beta2;                              /* AdamW; 0.999 */
    double epsilon;                            /* AdamW; 1e-8 */
    double weight_decay;                       /* 5e-4, of every parameter */
    int32_t nesterov;                          /* SGD; 1 */
    m2snet_schedule schedule;                  /* TRIANGLE */
    double warmup;                             /* share of all steps, 0..1; 0.05. Not TRIANGLE */
    double power;                              /* POLY; 0.9 */
    int64_t epochs;                            /* what the schedule spans when steps are the caller's; 50 ... */
    int64_t steps_per_epoch;        /* ... 0: unknown, every epoch is one step. m2snet_trainer_fit knows both */
    double clip_norm;               /* of all gradients together; 0: none */
    int32_t accumulate;             /* steps for each update; gradients are averaged. 1 */
    int32_t freeze_encoder;         /* 1: the encoder stays as it is */
    int32_t freeze_batch_norm;      /* 1: running statistics normalise, and stay */
    double ema_decay;               /* of averaged weights; 0: none are kept */
    int32_t recompute;              /* 1: less memory, more time: cheap results are made again for the gradients, not
                                     * kept. The same numbers bit for bit, so a state is good for either */
    int32_t max_bad_steps;          /* a step whose loss or gradient is not finite changes nothing; so many of them
                                     * in a row end the training with DIVERGED. 10; at least 1 */
    uint64_t seed;                  /* of batches and augmentation */
    m2snet_precision precision;     /* F32; F64 on backend "ref"; F16, BF16 and TF32 on "cuda". In F16 gradients are
                                     * made times a loss scale, 65536 at first: a step whose gradients overflow
                                     * although its loss is finite is skipped, and halves it; 2000 others in a row
                                     * double it. Only at 1 does such a step count as one of max_bad_steps */
    int32_t max_plans;              /* compiled shapes kept, 1..64; 8 */
    uint64_t memory_limit_bytes;    /* cap on the scratch of a step; 0: none */
    m2snet_supervision supervision; /* FINAL */
    int32_t rate_per_epoch;         /* 1: the schedule's rate is constant within an epoch, that of its first step */
    double drop_path;               /* ConvNeXt, PVTv2: how often a block, or one of its two branches, is left out for
                                     * a picture, rising from 0 in the first to this in the last one; 0, at most 0.9.
                                     * More than 0 with another encoder is refused */
} m2snet_trainer_options;
M2SNET_API void m2snet_trainer_options_init(m2snet_trainer_options *options);
/* "paper" (the defaults), "released" (one rate for all), "compact" (from random weights, polyp-compact's), "finetune"
 * (a few pictures, gentle), "nnunet" (nnU-Net's). Leaves objective, seed, precision, max_plans and memory_limit_bytes
 * alone. */
M2SNET_API m2snet_status m2snet_trainer_options_preset(m2snet_trainer_options *options, const char *name,
                                                       m2snet_error *error);

M2SNET_API m2snet_status m2snet_trainer_create(m2snet_model *model, const m2snet_trainer_options *options,
                                               m2snet_trainer **trainer, m2snet_error *error);
M2SNET_API void m2snet_trainer_destroy(m2snet_trainer *trainer);

/* The numbers of one step. */
typedef struct m2snet_train_row {
    size_t struct_size;
    int64_t epoch;   /* from 0 */
    int64_t batch;   /* in the epoch, from 0 */
    int64_t batches; /* of an epoch; 0: unknown */
    int64_t step;    /* steps taken so far, this one included */
    int64_t updates; /* of the parameters so far */
    double loss, bce, iou, dice, cross_entropy, lossnet;
    double grad_norm; /* of all gradients together, before clipping */
    double rate;
    int32_t finite;    /* 0: loss or gradient was not finite, and the step was skipped */
    int32_t bad_steps; /* of those, in a row */
    int32_t images, height, width;
    double milliseconds;         /* of the step */
    double waiting_milliseconds; /* for its pictures */
    double loss_scale;           /* that this step's gradients were made with; 1 but for F16 */
} m2snet_train_row;

/* One step with the caller's batch: images (n, h, w, 3) normalised, masks (n, h, w, classes) 0..1, any strides. rate:
 * the head's learning rate; negative: the schedule's. row and control may be NULL. A step that is not finite is
 * skipped, with OK and row->finite 0; the last of max_bad_steps in a row gives DIVERGED. In F16 the loss scale is to
 * blame (and halved, and bad_steps stays) where row->loss is finite and row->loss_scale above 1. */
M2SNET_API m2snet_status m2snet_trainer_step(m2snet_trainer *trainer, const m2snet_tensor *images,
                                             const m2snet_tensor *masks, double rate, m2snet_train_row *row,
                                             const m2snet_control *control, m2snet_error *error);

typedef enum m2snet_sampler {
    M2SNET_SAMPLER_CONCAT = 0,   /* the union of all sets, a set of weight w as w copies, shuffled */
    M2SNET_SAMPLER_BALANCED = 1, /* every batch is split over the sets in proportion to their weights */
    M2SNET_SAMPLER_RANDOM = 2    /* every picture is drawn anew from the union, with replacement; a set's pictures have
                                  * chances in proportion to its weight */
} m2snet_sampler;

typedef enum m2snet_unreadable {
    M2SNET_UNREADABLE_STOP = 0, /* a picture that cannot be read ends the run */
    M2SNET_UNREADABLE_SKIP = 1  /* the next one takes its place; logged, and counted */
} m2snet_unreadable;

typedef enum m2snet_best { M2SNET_BEST_DICE = 0, M2SNET_BEST_IOU = 1 } m2snet_best;

/* The numbers of one epoch, and of its validation. */
typedef struct m2snet_epoch_row {
    size_t struct_size;
    int64_t epoch, epochs; /* epoch from 0 */
    int64_t step, updates;
    double loss, bce, iou, dice, cross_entropy, lossnet; /* means over the epoch's finite steps */
    double rate;                                         /* of the last step */
    int64_t images;                                      /* seen in this epoch */
    int64_t bad_steps;                                   /* skipped in this epoch */
    int64_t unreadable;                                  /* pictures skipped in this run */
    double seconds, validation_seconds, waiting_seconds; /* of the epoch's part in this run */
    int32_t validated;                                   /* 0: the rest is not set */
    double validation_dice, validation_iou;
    int32_t validation_images;
    int32_t is_best;
    double best_score;
    int64_t best_epoch; /* -1: none yet */
} m2snet_epoch_row;

/* Both run on the calling thread. A row's callback must not use the trainer; an epoch's may, but for _step, _fit and
 * _load_state. */
typedef void (*m2snet_train_row_fn)(void *user, const m2snet_train_row *row);
typedef void (*m2snet_epoch_row_fn)(void *user, const m2snet_epoch_row *row);

typedef struct m2snet_fit_options {
    size_t struct_size;
    int64_t epochs;          /* 50 */
    int32_t batch;           /* 16 pictures */
    const int32_t *sizes_px; /* sides of the (square) input, one drawn for each batch; NULL: 224, 256, 288, 320, 352 */
    int32_t size_count;      /* 0..32 */
    const m2snet_augment_options *augment; /* NULL: the preset "released" */
    int32_t mask_threshold; /* one class: gray levels from here on are foreground; 0 (default): level / 255, soft */
    int32_t mask_binarize;  /* 1: values become 0 or 1 after interpolation; 0 (default): they stay soft */
    const uint8_t *labels;  /* several classes: the gray level of each (with softmax: of each but the background); NULL:
                             * those that the model knows */
    int32_t label_count;
    m2snet_sampler sampler;
    int32_t balanced_longest; /* BALANCED: 1: an epoch ends when every set has been seen; 0: when the first has */
    int32_t drop_last;        /* 1: leave out the epoch's last, partial batch */
    m2snet_unreadable unreadable;
    int32_t workers;         /* threads that read and change pictures, 0..64; 0: as many as the context has */
    uint64_t prefetch_bytes; /* cap on pictures prepared ahead; 0: three batches */
    uint64_t cache_bytes;    /* cap on decoded pictures that are kept; 0 (default): none */
    int32_t shrink_px;       /* larger pictures are brought to this once; 0: what the sizes need; -1: never */
    uint64_t max_pixels;     /* refuse larger pictures; 0: 2^26 */
    int64_t max_steps;       /* stop after so many steps of this call, saving; 0: none */
    int32_t validate_every;  /* epochs; 1. 0: at the end only */
    int32_t validation_width, validation_height; /* of the network's input, px; 0: the model's */
    int32_t validate_averaged;                   /* 1 (default): the averaged weights, where there are any */
    m2snet_best best;
    int32_t patience;            /* stop when so many validations in a row were no best one; 0: none */
    const char *checkpoint_path; /* the whole state; NULL: none is written */
    int64_t checkpoint_every;    /* steps; 0: at the end of every epoch only */
    int32_t resume;              /* 1: go on from checkpoint_path where there is such a file; a run that patience or
                                  * the last epoch ended has nothing left to do */
    const char *best_path;       /* model file of the best validation; NULL: none is written */
    const char *last_path;       /* model file of every epoch's end; NULL: none is written */
    const char *metadata_json;   /* object of strings for the model files ("m2snet.license": ...); NULL: none */
    m2snet_train_row_fn row;
    m2snet_epoch_row_fn epoch_row;
    void *user;
    m2snet_control control;   /* phases "load", "train", "validate", "write"; a cancel saves the checkpoint first */
    int32_t background_label; /* gray level of what is no class; the model files keep it with the labels. -1 (default):
                               * 0 or, where 0 is a label, the highest level that is none */
    int32_t patches;         /* 1: sizes_px are those of windows that are cut out of pictures at their own size. Without
                              * sizes: the pictures' median sides rounded to multiples of 32, 64..512. Validation slides
                              * the largest over whole pictures, and is the input size of the model files */
    double foreground_share; /* patches: share of a batch, its last pictures, centred on something to find; 0.33 */
    int64_t epoch_batches;   /* RANDOM: batches of an epoch; 0: as many as the pictures fill */
} m2snet_fit_options;
M2SNET_API void m2snet_fit_options_init(m2snet_fit_options *options);

typedef enum m2snet_fit_end {
    M2SNET_FIT_DONE = 0,     /* all epochs */
    M2SNET_FIT_PATIENCE = 1, /* no better validation for long enough */
    M2SNET_FIT_STEPS = 2     /* max_steps */
} m2snet_fit_end;

/* Trains on the items of train in part TRAIN and validates on those of validation (which may be the same data set, or
 * NULL) in part VALIDATION. end may be NULL. A cancel gives CANCELLED with the checkpoint written, so that a later call
 * with resume goes on bit for bit as if nothing had happened. */
M2SNET_API m2snet_status m2snet_trainer_fit(m2snet_trainer *trainer, m2snet_dataset *train, m2snet_dataset *validation,
                                            const m2snet_fit_options *options, m2snet_fit_end *end,
                                            m2snet_error *error);

typedef struct m2snet_validation_options {
    size_t struct_size;
    m2snet_part part;                  /* VALIDATION */
    int32_t averaged;                  /* 1 (default): the averaged weights, where there are any */
    int32_t input_width, input_height; /* 0: the model's */
    int32_t mask_threshold;            /* as m2snet_fit_options; 0: 128 */
    const uint8_t *labels;
    int32_t label_count;
    uint64_t max_pixels;
    m2snet_unreadable unreadable;
    m2snet_control control;
    int32_t tiles; /* 1: in windows of the input's size, as m2snet_predict_options */
} m2snet_validation_options;
M2SNET_API void m2snet_validation_options_init(m2snet_validation_options *options);

typedef struct m2snet_validation {
    size_t struct_size;
    int32_t images, unreadable;
    double dice, iou; /* mean over pictures (and classes) at the pictures' own size, of the masks that m2snet_predict
                       * gives at the model's threshold; 1 where prediction and mask are both empty */
    double seconds;
} m2snet_validation;
M2SNET_API m2snet_status m2snet_trainer_evaluate(m2snet_trainer *trainer, m2snet_dataset *dataset,
                                                 const m2snet_validation_options *options, m2snet_validation *result,
                                                 m2snet_error *error);

/* The weights as they are now, as an ordinary model: to predict with, to save. averaged 1: the averaged ones
 * (UNSUPPORTED without ema_decay). */
M2SNET_API m2snet_status m2snet_trainer_model(m2snet_trainer *trainer, int32_t averaged, m2snet_model **model,
                                              m2snet_error *error);

/* The whole state: weights, running statistics, momentum, averages, sums, counters, best score and place in the data;
 * exact. Written through a temporary file, fsync and rename: the file is complete, or the old one. control may be NULL.
 */
M2SNET_API m2snet_status m2snet_trainer_save_state(m2snet_trainer *trainer, const char *path,
                                                   const m2snet_control *control, m2snet_error *error);
/* MISMATCH names what differs when the file is of another network or of a run with other options. On failure the
 * trainer is as before. */
M2SNET_API m2snet_status m2snet_trainer_load_state(m2snet_trainer *trainer, const char *path,
                                                   const m2snet_control *control, m2snet_error *error);

typedef struct m2snet_trainer_info {
    size_t struct_size;
    int64_t epoch, batch; /* of the next step in m2snet_trainer_fit */
    int64_t step, updates;
    uint64_t parameters;     /* elements that learn */
    uint64_t state_bytes;    /* weights, statistics, momentum, ... */
    uint64_t arena_bytes;    /* scratch, now */
    int32_t plans;           /* compiled */
    double best_score;       /* of the best validation so far */
    int64_t best_epoch;      /* -1: none */
    const char *recipe_json; /* everything that determines the run's numbers */
} m2snet_trainer_info;
M2SNET_API m2snet_status m2snet_trainer_get_info(const m2snet_trainer *trainer, m2snet_trainer_info *info,
                                                 m2snet_error *error);
/* What a step of n pictures of h x w needs, before it runs (compiles its plan). */
M2SNET_API m2snet_status m2snet_trainer_plan_info(m2snet_trainer *trainer, int64_t n, int64_t h, int64_t w,
                                                  m2snet_plan_info *info, m2snet_error *error);
/* Time per plan step of the next steps, as m2snet_session_time_steps. */
M2SNET_API m2snet_status m2snet_trainer_time_steps(m2snet_trainer *trainer, int32_t enable, m2snet_error *error);
M2SNET_API int32_t m2snet_trainer_step_count(const m2snet_trainer *trainer);
M2SNET_API m2snet_status m2snet_trainer_step_info(const m2snet_trainer *trainer, int32_t index, m2snet_step_info *info,
                                                  m2snet_error *error);

#ifdef __cplusplus
}
#endif
#endif
