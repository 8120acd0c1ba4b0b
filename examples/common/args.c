/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE 1
#include "args.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static m2snet_cancel *volatile interrupted; /* what the signal handler requests */

static void complain_list(const char *format, va_list arguments)
{
    fprintf(stderr, "%s: ", program_name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

void complain(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    complain_list(format, arguments);
    va_end(arguments);
}

int usage_hint(void)
{
    fprintf(stderr, "Try '%s --help'.\n", program_name);
    return EXIT_USAGE;
}

int usage_error(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    complain_list(format, arguments);
    va_end(arguments);
    return usage_hint();
}

int library_error(const char *subject, const m2snet_error *error)
{
    if (subject != NULL && strstr(error->message, subject) == NULL) {
        complain("%s: %s", subject, error->message);
    } else {
        complain("%s", error->message);
    }
    return error->status == M2SNET_STATUS_INVALID_ARGUMENT ? EXIT_USAGE : EXIT_FAILED;
}

void print_version(void)
{
    printf("%s %s (libm2snet %s)\n", program_name, M2SNET_VERSION_STRING, m2snet_version_string());
}

int finish(int code)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        complain("cannot write to standard output: %s", strerror(errno));
        return EXIT_FAILED;
    }
    return code;
}

bool parse_integer(const char *option, const char *text, int64_t low, int64_t high, int64_t *value)
{
    char *end = NULL;
    long long number;

    errno = 0;
    number = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || isspace((unsigned char)text[0]) || errno != 0 || number < low || number > high) {
        complain("%s: expected a whole number from %lld to %lld, got \"%s\"", option, (long long)low, (long long)high,
                 text);
        return false;
    }
    *value = number;
    return true;
}

bool parse_number(const char *option, const char *text, double low, double high, double *value)
{
    char *end = NULL;
    double number = strtod(text, &end);

    /* Written so that NaN fails. */
    if (end == text || *end != '\0' || isspace((unsigned char)text[0]) || !(number >= low && number <= high)) {
        complain("%s: expected a number from %g to %g, got \"%s\"", option, low, high, text);
        return false;
    }
    *value = number;
    return true;
}

bool parse_size(const char *option, const char *text, int32_t *width, int32_t *height)
{
    const char *cross = strchr(text, 'x');
    char first[24] = "";
    int64_t w;
    int64_t h;

    if (cross != NULL && (size_t)(cross - text) < sizeof(first)) {
        memcpy(first, text, (size_t)(cross - text));
    }
    if (!parse_integer(option, cross != NULL ? first : text, 33, 8192, &w)) {
        return false;
    }
    h = w;
    if (cross != NULL && !parse_integer(option, cross + 1, 33, 8192, &h)) {
        return false;
    }
    *width = (int32_t)w;
    *height = (int32_t)h;
    return true;
}

bool parse_pair(const char *option, const char *text, double *first, double *second)
{
    const char *comma = strchr(text, ',');
    char head[64] = "";

    if (comma == NULL || (size_t)(comma - text) >= sizeof(head)) {
        complain("%s: expected two numbers Y,X, got \"%s\"", option, text);
        return false;
    }
    memcpy(head, text, (size_t)(comma - text));
    return parse_number(option, head, 1e-9, 1e9, first) && parse_number(option, comma + 1, 1e-9, 1e9, second);
}

const char *const run_precision_words[PRECISION_COUNT] = { "f32", "f64", "f16", "bf16", "tf32" };

bool parse_run_option(int option, const char *text, run_options *options)
{
    int64_t number;

    switch (option) {
    case OPTION_MODEL:
        options->model = text;
        return true;
    case OPTION_BACKEND:
        options->backend = text;
        return true;
    case OPTION_THREADS:
        if (!parse_integer("--threads", text, 1, 1024, &number)) {
            return false;
        }
        options->threads = (int32_t)number;
        return true;
    case OPTION_SIZE:
        return parse_size("--size", text, &options->width, &options->height);
    case OPTION_PRECISION:
        for (int i = 0; i < PRECISION_COUNT; i++) {
            if (strcmp(text, run_precision_words[i]) == 0) {
                options->precision = (m2snet_precision)i;
                return true;
            }
        }
        complain("--precision: expected f32, f64, f16, bf16 or tf32, got \"%s\"", text);
        return false;
    case OPTION_CUDA_SEARCH:
        return options->cuda_search = true;
    default:
        return false; /* getopt_long has named the unknown option */
    }
}

m2snet_status check_cuda_search(bool cuda_search, const char *backend, m2snet_error *error)
{
    if (!cuda_search || (backend != NULL && strcmp(backend, "cuda") == 0)) {
        return M2SNET_STATUS_OK;
    }
    *error = (m2snet_error){ .status = M2SNET_STATUS_INVALID_ARGUMENT,
                             .message = "--cuda-search is of --backend cuda: no other measures its convolutions" };
    return error->status;
}

m2snet_status open_context(const run_options *options, m2snet_context **context, m2snet_error *error)
{
    m2snet_status status = check_cuda_search(options->cuda_search, options->backend, error);
    m2snet_context_options settings;
    m2snet_cuda_options cuda;

    if (status != M2SNET_STATUS_OK) {
        return status;
    }

    m2snet_context_options_init(&settings);
    settings.backend = options->backend;
    if (options->backend == NULL && options->precision == M2SNET_PRECISION_F64) {
        settings.backend = "ref";
    }
    settings.threads = options->threads;
    m2snet_cuda_options_init(&cuda);
    cuda.search = options->cuda_search;
    settings.cuda = &cuda;
    return m2snet_context_create(&settings, context, error);
}

m2snet_status open_session(const run_options *options, m2snet_model *model, m2snet_session **session,
                           m2snet_error *error)
{
    m2snet_session_options settings;

    m2snet_session_options_init(&settings);
    settings.precision = options->precision;
    settings.input_width = options->width;
    settings.input_height = options->height;
    return m2snet_session_create(model, &settings, session, error);
}

static void on_signal(int number)
{
    (void)number;
    m2snet_cancel_request(interrupted);
}

m2snet_cancel *interrupt_install(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };
    m2snet_cancel *cancel = NULL;

    if (m2snet_cancel_create(&cancel, NULL) != M2SNET_STATUS_OK) {
        return NULL;
    }
    interrupted = cancel;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return cancel;
}

void interrupt_remove(m2snet_cancel *cancel)
{
    if (cancel != NULL) {
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        interrupted = NULL;
        m2snet_cancel_destroy(cancel);
    }
}
