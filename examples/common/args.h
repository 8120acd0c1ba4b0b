/* SPDX-License-Identifier: Apache-2.0
 * What the programs share of their command lines: exit codes, messages, whole-string checks of numbers, and the
 * options that choose where and how a network runs. */
#ifndef EXAMPLES_COMMON_ARGS_H
#define EXAMPLES_COMMON_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "m2snet.h"

enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1, /* something failed; what could be done was done */
    EXIT_USAGE = 2   /* the command line makes no sense; nothing was done */
};

/* Each program defines its own: "m2snet-segment". */
extern const char *const program_name;

/* "m2snet-segment: text" on standard error. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Points to --help and returns EXIT_USAGE: after a complaint. */
int usage_hint(void);
/* Complains, points to --help and returns EXIT_USAGE. */
int usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Complains about a library call, naming subject (may be NULL) unless the message does. Returns EXIT_USAGE for a
 * parameter that makes no sense, else EXIT_FAILED. */
int library_error(const char *subject, const m2snet_error *error);
/* Prints the program's and the loaded library's version. */
void print_version(void);
/* Flushes standard output; EXIT_FAILED with a message instead of code when that does not work (a full disk). */
int finish(int code);

/* Each reads the whole of text into *value; outside low..high or with anything left over it complains, naming the
 * option, and returns false. */
bool parse_integer(const char *option, const char *text, int64_t low, int64_t high, int64_t *value);
bool parse_number(const char *option, const char *text, double low, double high, double *value);
/* "352" or "384x288" (width x height). */
bool parse_size(const char *option, const char *text, int32_t *width, int32_t *height);
/* "0.12,0.1": two positive numbers. */
bool parse_pair(const char *option, const char *text, double *first, double *second);

/* The options of every program that runs a network. */
typedef struct run_options {
    const char *model;
    const char *backend; /* NULL: "auto", or "ref" with float64, which no other backend computes */
    int32_t threads;
    int32_t width, height; /* of the network's input; 0: the model's */
    m2snet_precision precision;
    bool cuda_search; /* of backend "cuda": convolutions chosen by measurement */
} run_options;

/* By m2snet_precision: "f32", ... */
#define PRECISION_COUNT 5
extern const char *const run_precision_words[PRECISION_COUNT];

enum {
    OPTION_MODEL = 1000,
    OPTION_BACKEND,
    OPTION_THREADS,
    OPTION_SIZE,
    OPTION_PRECISION,
    OPTION_CUDA_SEARCH,
    OPTION_HELP,
    OPTION_VERSION
};

/* Rows of a struct option table for getopt_long. */
/* clang-format off */
#define RUN_OPTION_ROWS                                      \
    { "model", required_argument, NULL, OPTION_MODEL },       \
    { "backend", required_argument, NULL, OPTION_BACKEND },   \
    { "threads", required_argument, NULL, OPTION_THREADS },   \
    { "size", required_argument, NULL, OPTION_SIZE },         \
    { "precision", required_argument, NULL, OPTION_PRECISION }, \
    { "cuda-search", no_argument, NULL, OPTION_CUDA_SEARCH }
#define COMMON_OPTION_ROWS                                   \
    { "help", no_argument, NULL, OPTION_HELP },               \
    { "version", no_argument, NULL, OPTION_VERSION }
/* clang-format on */
#define RUN_OPTION_HELP                                                                                                \
    "  --model FILE        weights: .safetensors, or a PyTorch checkpoint read as data\n"                              \
    "  --backend NAME      auto (default), cpu, ref or cuda; with --precision f64 the default is ref\n"                \
    "  --threads N         worker threads; default: the processors this process may use\n"                             \
    "  --size N or WxH     the network's input in pixels; default: the model's\n"                                      \
    "  --precision P       f32 (default), f64 (ref), f16, bf16 or tf32 (cuda)\n"                                       \
    "  --cuda-search       with --backend cuda: measure every way to make each convolution, keep the fastest\n"
#define COMMON_OPTION_HELP                                                                                             \
    "  --help              this text\n"                                                                                \
    "  --version           versions of the program and of the library\n"

/* Takes one option of RUN_OPTION_ROWS; false after a complaint. */
bool parse_run_option(int option, const char *text, run_options *options);
/* INVALID_ARGUMENT where cuda_search is asked of another backend than "cuda" (NULL: the default one). */
m2snet_status check_cuda_search(bool cuda_search, const char *backend, m2snet_error *error);
/* A context as the options say: cuda_search with another backend than "cuda" is refused. */
m2snet_status open_context(const run_options *options, m2snet_context **context, m2snet_error *error);
/* A session as the options say. */
m2snet_status open_session(const run_options *options, m2snet_model *model, m2snet_session **session,
                           m2snet_error *error);

/* A token that SIGINT and SIGTERM request; a second signal ends the program at once. NULL when there is no memory. */
m2snet_cancel *interrupt_install(void);
void interrupt_remove(m2snet_cancel *cancel);

#endif
