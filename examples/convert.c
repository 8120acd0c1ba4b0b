/* SPDX-License-Identifier: Apache-2.0
 *
 * m2snet-convert: a PyTorch checkpoint, or any other model file the library reads, as .safetensors with all that a
 * host needs to know about the model in its metadata. */
#define _GNU_SOURCE 1
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/args.h"
#include "common/json_writer.h"
#include "common/paths.h"
#include "common/progress_bar.h"
#include "m2snet.h"

const char *const program_name = "m2snet-convert";

static const char help[] =
    "Usage: m2snet-convert [OPTION...] INPUT OUTPUT.safetensors\n"
    "Reads a PyTorch checkpoint (as data: nothing in it is executed) or a .safetensors file and writes\n"
    ".safetensors with configuration, preprocessing and class names in its metadata.\n\n"
    "  --dtype TYPE        convolution weights as f32 (default), f16 or bf16; the rest stays f32\n"
    "  --config FILE       a JSON object whose keys replace those of the configuration (docs/file-format.md)\n"
    "  --meta KEY=VALUE    add text to the metadata (\"m2snet.license=...\"); an empty VALUE removes KEY; repeatable\n"
    "  --selftest          store a small input and its float64 result, and run that test on the new file\n"
    "  --force             replace OUTPUT where it exists\n"
    "  --quiet             only errors\n" COMMON_OPTION_HELP
    "Exit status: 0 done, 1 something failed, 2 the command line makes no sense.\n";

enum { OPTION_DTYPE = 1, OPTION_CONFIG, OPTION_META, OPTION_SELFTEST, OPTION_FORCE, OPTION_QUIET };

static const struct option option_table[] = { { "dtype", required_argument, NULL, OPTION_DTYPE },
                                              { "config", required_argument, NULL, OPTION_CONFIG },
                                              { "meta", required_argument, NULL, OPTION_META },
                                              { "selftest", no_argument, NULL, OPTION_SELFTEST },
                                              { "force", no_argument, NULL, OPTION_FORCE },
                                              { "quiet", no_argument, NULL, OPTION_QUIET },
                                              COMMON_OPTION_ROWS,
                                              { NULL, 0, NULL, 0 } };

#define MAX_METADATA 64

typedef struct settings {
    const char *input, *output, *config_file;
    const char *metadata[MAX_METADATA]; /* KEY=VALUE */
    size_t metadata_count;
    m2snet_save_options save;
    bool force, quiet;
} settings;

static bool parse_dtype(const char *text, m2snet_dtype *dtype)
{
    if (strcmp(text, "f32") == 0) {
        *dtype = M2SNET_DTYPE_F32;
    } else if (strcmp(text, "f16") == 0) {
        *dtype = M2SNET_DTYPE_F16;
    } else if (strcmp(text, "bf16") == 0) {
        *dtype = M2SNET_DTYPE_BF16;
    } else {
        complain("--dtype: expected f32, f16 or bf16, got \"%s\"", text);
        return false;
    }
    return true;
}

/* The KEY=VALUE texts as a JSON object, from malloc; NULL when there is none. */
static char *metadata_json(const settings *set)
{
    char *text = NULL;
    size_t bytes;
    FILE *stream = set->metadata_count != 0 ? open_memstream(&text, &bytes) : NULL;
    json_writer json;

    if (stream == NULL) {
        return NULL;
    }
    json_start(&json, stream);
    json_open(&json, NULL, '{');
    for (size_t i = 0; i < set->metadata_count; i++) {
        const char *equals = strchr(set->metadata[i], '=');
        char *key = format_text("%.*s", (int)(equals - set->metadata[i]), set->metadata[i]);

        json_string(&json, key, equals + 1);
        free(key);
    }
    json_close(&json, '}');
    fclose(stream);
    return text;
}

static bool add_metadata(settings *set, const char *text)
{
    if (strchr(text, '=') == NULL || text[0] == '=') {
        complain("--meta: expected KEY=VALUE, got \"%s\"", text);
        return false;
    }
    if (set->metadata_count == MAX_METADATA) {
        complain("--meta: at most %d of them", MAX_METADATA);
        return false;
    }
    set->metadata[set->metadata_count++] = text;
    return true;
}

static void print_model(const char *path, const m2snet_model_info *info)
{
    printf("%s: %s, %s with %s, %" PRIu64 " parameters, sha256 %s\n", path, info->format, info->architecture,
           info->encoder, info->parameters, info->sha256);
}

/* Reads the new file back: it must be a model of the same size, and pass the test it carries. */
static m2snet_status verify(m2snet_context *context, const settings *set, const m2snet_model_info *source,
                            m2snet_error *error)
{
    m2snet_model_info info = { .struct_size = sizeof(info) };
    m2snet_model *model = NULL;
    double difference = 0.0;
    m2snet_status status = m2snet_model_load_file(context, set->output, NULL, &model, error);

    if (status == M2SNET_STATUS_OK) {
        status = m2snet_model_get_info(model, &info, error);
    }
    if (status == M2SNET_STATUS_OK && info.parameters != source->parameters) {
        status = M2SNET_STATUS_MISMATCH;
        *error = (m2snet_error){ .status = status, .message = "it reads back with another number of parameters" };
    }
    if (status == M2SNET_STATUS_OK && set->save.with_selftest) {
        status = m2snet_model_selftest(model, &difference, error);
    }
    if (status == M2SNET_STATUS_OK && !set->quiet) {
        print_model(set->output, &info);
        if (set->save.with_selftest) {
            printf("self-test passed, largest difference of logits %.2e\n", difference);
        }
    }
    m2snet_model_destroy(model);
    return status;
}

static int convert(m2snet_context *context, settings *set, const char *config, m2snet_cancel *cancel)
{
    m2snet_model_info info = { .struct_size = sizeof(info) };
    m2snet_model_options loading;
    m2snet_model *model = NULL;
    const char *subject = set->input;
    progress_bar bar;
    m2snet_error error;
    m2snet_status status;

    progress_bar_start(&bar, set->quiet, 0);
    m2snet_model_options_init(&loading);
    loading.config_json = config;
    loading.control = (m2snet_control){ .progress = progress_bar_phase, .progress_user = &bar, .cancel = cancel };
    set->save.control = loading.control;
    status = m2snet_model_load_file(context, set->input, &loading, &model, &error);
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_model_get_info(model, &info, &error);
    }
    progress_bar_clear(&bar);
    if (status == M2SNET_STATUS_OK) {
        if (!set->quiet) {
            print_model(set->input, &info);
        }
        subject = set->output;
        status = m2snet_model_save_file(model, set->output, &set->save, &error);
        progress_bar_clear(&bar);
    }
    if (status == M2SNET_STATUS_OK) {
        status = verify(context, set, &info, &error);
    }
    if (status != M2SNET_STATUS_OK) {
        library_error(subject, &error);
    }
    m2snet_model_destroy(model);
    return status == M2SNET_STATUS_OK ? EXIT_DONE : EXIT_FAILED;
}

static bool output_is_safe(const settings *set)
{
    path_list inputs = { 0 };
    output_list outputs = { 0 };
    bool safe;

    path_list_add(&inputs, format_text("%s", set->input));
    if (set->config_file != NULL) {
        path_list_add(&inputs, format_text("%s", set->config_file));
    }
    output_list_add(&outputs, format_text("%s", set->output), 0);
    safe = check_outputs(&inputs, &outputs);
    path_list_free(&inputs);
    output_list_free(&outputs);
    return safe;
}

int main(int argc, char **argv)
{
    settings set = { 0 };
    m2snet_context *context = NULL;
    m2snet_cancel *cancel;
    m2snet_error error;
    char *config = NULL;
    char *metadata;
    size_t config_bytes;
    int option;
    int code;

    m2snet_save_options_init(&set.save);
    while ((option = getopt_long(argc, argv, "", option_table, NULL)) != -1) {
        switch (option) {
        case OPTION_DTYPE:
            if (!parse_dtype(optarg, &set.save.dtype)) {
                return usage_hint();
            }
            break;
        case OPTION_CONFIG:
            set.config_file = optarg;
            break;
        case OPTION_META:
            if (!add_metadata(&set, optarg)) {
                return usage_hint();
            }
            break;
        case OPTION_SELFTEST:
            set.save.with_selftest = 1;
            break;
        case OPTION_FORCE:
            set.force = true;
            break;
        case OPTION_QUIET:
            set.quiet = true;
            break;
        case OPTION_HELP:
            fputs(help, stdout);
            return finish(EXIT_DONE);
        case OPTION_VERSION:
            print_version();
            return finish(EXIT_DONE);
        default:
            return usage_hint();
        }
    }
    if (argc - optind != 2) {
        return usage_error("expected an input and an output file, got %d", argc - optind);
    }
    set.input = argv[optind];
    set.output = argv[optind + 1];
    if (!output_is_safe(&set)) {
        return usage_hint();
    }
    if (!set.force && access(set.output, F_OK) == 0) {
        return usage_error("%s exists: --force replaces it", set.output);
    }
    if (set.config_file != NULL && (config = read_whole_file(set.config_file, &config_bytes)) == NULL) {
        return EXIT_FAILED;
    }
    if (m2snet_context_create(NULL, &context, &error) != M2SNET_STATUS_OK) {
        free(config);
        return library_error(NULL, &error);
    }
    metadata = metadata_json(&set);
    set.save.metadata_json = metadata;
    cancel = interrupt_install();
    code = convert(context, &set, config, cancel);
    interrupt_remove(cancel);
    m2snet_context_destroy(context);
    free(metadata);
    free(config);
    return finish(code);
}
