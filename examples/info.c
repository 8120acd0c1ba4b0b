/* SPDX-License-Identifier: Apache-2.0
 *
 * m2snet-info: what is in a model file, and which backends this library has. */
#define _GNU_SOURCE 1
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/args.h"
#include "common/json_writer.h"
#include "common/networks.h"
#include "m2snet.h"

const char *const program_name = "m2snet-info";

static const char help[] =
    "Usage: m2snet-info [OPTION...] FILE\n"
    "       m2snet-info --list [--json]\n"
    "Prints what is in a model file (.safetensors, or a PyTorch checkpoint read as data): architecture,\n"
    "configuration, size, SHA-256, and what the file says about its origin and licence.\n\n"
    "  --size N or WxH     also count the multiply-adds for an input of that size\n"
    "  --tensors           also every tensor of the file\n"
    "  --features          also every named tensor inside the network, as m2snet-segment --gradcam takes them\n"
    "  --selftest          also run the test vector that the file carries and compare\n"
    "  --list              the backends instead, and every network that has a name with its parameters and "
    "multiply-adds\n"
    "  --json              one JSON object instead of text\n"
    "  --quiet             only errors: says by its exit status whether the file is a model\n" COMMON_OPTION_HELP
    "Exit status: 0 done, 1 the file is no model or fails its self-test, 2 the command line makes no sense.\n";

enum { OPTION_TENSORS = 1, OPTION_FEATURES, OPTION_SELFTEST, OPTION_LIST, OPTION_JSON, OPTION_QUIET };

static const struct option option_table[] = { { "size", required_argument, NULL, OPTION_SIZE },
                                              { "tensors", no_argument, NULL, OPTION_TENSORS },
                                              { "features", no_argument, NULL, OPTION_FEATURES },
                                              { "selftest", no_argument, NULL, OPTION_SELFTEST },
                                              { "list", no_argument, NULL, OPTION_LIST },
                                              { "json", no_argument, NULL, OPTION_JSON },
                                              { "quiet", no_argument, NULL, OPTION_QUIET },
                                              COMMON_OPTION_ROWS,
                                              { NULL, 0, NULL, 0 } };

typedef struct settings {
    run_options run; /* of which the size */
    const char *file;
    bool tensors, features, selftest, list, json, quiet;
} settings;

/* What a report is made from. */
typedef struct model_facts {
    m2snet_model *model;
    m2snet_model_info info;
    uint64_t multiply_adds; /* at --size */
    const char *selftest;   /* "passed", "failed", "none in the file", NULL when not run */
    double largest_difference;
} model_facts;

static const char *dtype_name(m2snet_dtype dtype)
{
    switch (dtype) {
    case M2SNET_DTYPE_F32:
        return "f32";
    case M2SNET_DTYPE_F64:
        return "f64";
    case M2SNET_DTYPE_F16:
        return "f16";
    case M2SNET_DTYPE_BF16:
        return "bf16";
    case M2SNET_DTYPE_I64:
        return "i64";
    case M2SNET_DTYPE_I32:
        return "i32";
    case M2SNET_DTYPE_I16:
        return "i16";
    case M2SNET_DTYPE_I8:
        return "i8";
    case M2SNET_DTYPE_U8:
        return "u8";
    case M2SNET_DTYPE_BOOL:
        return "bool";
    }
    return "unknown";
}

/* 27692585 as "27,692,585". */
static const char *grouped(uint64_t number, char text[static 32])
{
    char *at = text + 31;
    int digits = 0;

    *at = '\0';
    do {
        if (digits != 0 && digits % 3 == 0) {
            *--at = ',';
        }
        *--at = (char)('0' + number % 10);
        number /= 10;
        digits++;
    } while (number != 0);
    return at;
}

/* Text from a file: without the control characters that a terminal would obey, further lines indented. */
static void print_foreign(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n') {
            fputs("\n    ", stdout);
        } else {
            putchar((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
        }
    }
    putchar('\n');
}

static void print_tensors(const m2snet_model *model)
{
    m2snet_tensor_info tensor = { .struct_size = sizeof(tensor) };
    int32_t count = m2snet_model_tensor_count(model);

    printf("tensors (%" PRId32 ")\n", count);
    for (int32_t i = 0; i < count; i++) {
        if (m2snet_model_tensor_info(model, i, &tensor, NULL) != M2SNET_STATUS_OK) {
            continue;
        }
        printf("  %-4s ", dtype_name(tensor.dtype));
        for (int32_t k = 0; k < tensor.rank; k++) {
            printf("%s%" PRId64, k == 0 ? "" : "x", tensor.dims[k]);
        }
        printf("%s  ", tensor.rank == 0 ? "scalar" : "");
        print_foreign(tensor.name);
    }
}

static void print_features(const m2snet_model *model)
{
    m2snet_feature_info feature = { .struct_size = sizeof(feature) };
    int32_t count = m2snet_model_feature_count(model);

    printf("features (%" PRId32 "), rows x columns x channels for the default input\n", count);
    for (int32_t i = 0; i < count; i++) {
        if (m2snet_model_feature_info(model, i, &feature, NULL) == M2SNET_STATUS_OK) {
            printf("  %" PRId64 "x%" PRId64 "x%" PRId64 "  %s\n", feature.h, feature.w, feature.c, feature.name);
        }
    }
}

static void print_text(const settings *set, const model_facts *facts)
{
    const m2snet_model_info *info = &facts->info;
    char text[32];

    printf("%s\n", set->file);
    printf("  format         %s\n", info->format);
    printf("  sha256         %s\n", info->sha256);
    printf("  architecture   %s, encoder %s, %" PRId32 " pyramid channels\n", info->architecture, info->encoder,
           info->pyramid_channels);
    printf("  input          %" PRId32 " x %" PRId32 " px\n", info->input_width, info->input_height);
    printf("  threshold      %g\n", info->threshold);
    printf("  parameters     %s\n", grouped(info->parameters, text));
    printf("  multiply-adds  %s at %" PRId32 " x %" PRId32 "\n", grouped(info->multiply_adds, text), info->input_width,
           info->input_height);
    if (set->run.width != 0) {
        printf("                 %s at %" PRId32 " x %" PRId32 "\n", grouped(facts->multiply_adds, text),
               set->run.width, set->run.height);
    }
    printf("  weights        %s bytes in memory\n", grouped(info->weight_bytes, text));
    for (int32_t i = 0; i < info->classes; i++) {
        const char *name = m2snet_model_class_name(facts->model, i);

        printf("  class %-8" PRId32 " ", i);
        if (info->classes > 1) {
            printf("%s, gray level %" PRId32 " in label maps: ", info->softmax ? "exclusive" : "a mask of its own",
                   m2snet_model_class_label(facts->model, i));
        }
        print_foreign(name != NULL ? name : "(no name)");
    }
    if (facts->selftest != NULL) {
        printf("  self-test      %s", facts->selftest);
        printf(facts->largest_difference >= 0.0 ? ", largest difference of logits %.2e\n" : "\n",
               facts->largest_difference);
    }
    printf("configuration\n  ");
    print_foreign(info->config_json);
    printf("metadata of the file (%" PRId32 ")\n", m2snet_model_metadata_count(facts->model));
    for (int32_t i = 0; i < m2snet_model_metadata_count(facts->model); i++) {
        printf("  ");
        print_foreign(m2snet_model_metadata_key(facts->model, i));
        printf("    ");
        print_foreign(m2snet_model_metadata_value(facts->model, i));
    }
    if (set->tensors) {
        print_tensors(facts->model);
    }
    if (set->features) {
        print_features(facts->model);
    }
}

static void json_features(json_writer *json, const m2snet_model *model)
{
    m2snet_feature_info feature = { .struct_size = sizeof(feature) };

    json_open(json, "features", '[');
    for (int32_t i = 0; i < m2snet_model_feature_count(model); i++) {
        if (m2snet_model_feature_info(model, i, &feature, NULL) == M2SNET_STATUS_OK) {
            json_open(json, NULL, '{');
            json_string(json, "name", feature.name);
            json_integer(json, "h", feature.h);
            json_integer(json, "w", feature.w);
            json_integer(json, "c", feature.c);
            json_close(json, '}');
        }
    }
    json_close(json, ']');
}

static void json_tensors(json_writer *json, const m2snet_model *model)
{
    m2snet_tensor_info tensor = { .struct_size = sizeof(tensor) };

    json_open(json, "tensors", '[');
    for (int32_t i = 0; i < m2snet_model_tensor_count(model); i++) {
        if (m2snet_model_tensor_info(model, i, &tensor, NULL) != M2SNET_STATUS_OK) {
            continue;
        }
        json_open(json, NULL, '{');
        json_string(json, "name", tensor.name);
        json_string(json, "dtype", dtype_name(tensor.dtype));
        json_open(json, "shape", '[');
        for (int32_t k = 0; k < tensor.rank; k++) {
            json_integer(json, NULL, tensor.dims[k]);
        }
        json_close(json, ']');
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void print_json(const settings *set, const model_facts *facts)
{
    const m2snet_model_info *info = &facts->info;
    json_writer json;

    json_start(&json, stdout);
    json_open(&json, NULL, '{');
    json_string(&json, "file", set->file);
    json_string(&json, "format", info->format);
    json_string(&json, "sha256", info->sha256);
    json_string(&json, "architecture", info->architecture);
    json_string(&json, "encoder", info->encoder);
    json_integer(&json, "pyramid_channels", info->pyramid_channels);
    json_integer(&json, "input_width", info->input_width);
    json_integer(&json, "input_height", info->input_height);
    json_number(&json, "threshold", info->threshold);
    json_integer(&json, "parameters", (int64_t)info->parameters);
    json_integer(&json, "multiply_adds", (int64_t)info->multiply_adds);
    json_integer(&json, "weight_bytes", (int64_t)info->weight_bytes);
    if (set->run.width != 0) {
        json_open(&json, "at_size", '{');
        json_integer(&json, "input_width", set->run.width);
        json_integer(&json, "input_height", set->run.height);
        json_integer(&json, "multiply_adds", (int64_t)facts->multiply_adds);
        json_close(&json, '}');
    }
    if (facts->selftest != NULL) {
        json_open(&json, "selftest", '{');
        json_string(&json, "result", facts->selftest);
        if (facts->largest_difference >= 0.0) {
            json_number(&json, "largest_difference", facts->largest_difference);
        }
        json_close(&json, '}');
    }
    json_open(&json, "classes", '[');
    for (int32_t i = 0; i < info->classes; i++) {
        json_string(&json, NULL, m2snet_model_class_name(facts->model, i));
    }
    json_close(&json, ']');
    json_open(&json, "class_labels", '[');
    for (int32_t i = 0; i < info->classes; i++) {
        json_integer(&json, NULL, m2snet_model_class_label(facts->model, i));
    }
    json_close(&json, ']');
    json_verbatim(&json, "config", info->config_json);
    json_open(&json, "metadata", '{');
    for (int32_t i = 0; i < m2snet_model_metadata_count(facts->model); i++) {
        json_string(&json, m2snet_model_metadata_key(facts->model, i), m2snet_model_metadata_value(facts->model, i));
    }
    json_close(&json, '}');
    if (set->tensors) {
        json_tensors(&json, facts->model);
    }
    if (set->features) {
        json_features(&json, facts->model);
    }
    json_close(&json, '}');
}

/* Sides of the paper: 352 is what it trains and tests at, 256 what its table of efficiency is counted at. */
static const int32_t sides[] = { 352, 256 };

/* json: NULL for text. */
static m2snet_status list_networks(m2snet_context *context, json_writer *json, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    if (json != NULL) {
        json_open(json, "networks", '[');
    } else {
        printf("\n%-30s %14s %10s %10s\n", "network, encoder or variant", "parameters", "GMAC 352", "GMAC 256");
    }
    named_network n;
    for (int row = 0; status == M2SNET_STATUS_OK && named_network_at(row, &n); row++) {
        uint64_t parameters = 0, multiply_adds[2] = { 0, 0 };
        char text[32];
        for (int i = 0; i < 2 && status == M2SNET_STATUS_OK; i++) {
            status = m2snet_network_count(context, n.config, sides[i], sides[i], &parameters, &multiply_adds[i], error);
        }
        if (json != NULL) {
            json_open(json, NULL, '{');
            json_string(json, "name", n.name);
            json_verbatim(json, "config", n.config);
            json_integer(json, "parameters", (int64_t)parameters);
            json_integer(json, "multiply_adds_352", (int64_t)multiply_adds[0]);
            json_integer(json, "multiply_adds_256", (int64_t)multiply_adds[1]);
            json_close(json, '}');
        } else {
            printf("%-30s %14s %10.3f %10.3f\n", n.name, grouped(parameters, text), 1e-9 * (double)multiply_adds[0],
                   1e-9 * (double)multiply_adds[1]);
        }
    }
    if (json != NULL) {
        json_close(json, ']');
    }
    return status;
}

static int list_all(const settings *set)
{
    json_writer json;
    m2snet_context *context = NULL;
    m2snet_backend_info backend = { .struct_size = sizeof(backend) };
    m2snet_error error;

    json_start(&json, stdout);
    if (set->json) {
        json_open(&json, NULL, '{');
        json_string(&json, "library_version", m2snet_version_string());
        json_open(&json, "backends", '[');
    }
    for (int32_t i = 0; i < m2snet_backend_count(); i++) {
        if (m2snet_backend_get_info(i, &backend, &error) != M2SNET_STATUS_OK) {
            return library_error("backend", &error);
        }
        if (set->json) {
            json_open(&json, NULL, '{');
            json_string(&json, "name", backend.name);
            json_string(&json, "description", backend.description);
            json_integer(&json, "devices", backend.devices);
            json_close(&json, '}');
        } else {
            printf("%-6s %s%s\n", backend.name, backend.description,
                   backend.devices == 0 ? " (cannot be used here)" : "");
        }
    }
    if (set->json) {
        json_close(&json, ']');
    }
    m2snet_status status = m2snet_context_create(NULL, &context, &error);
    if (status == M2SNET_STATUS_OK) {
        status = list_networks(context, set->json ? &json : NULL, &error);
    }
    m2snet_context_destroy(context);
    if (status != M2SNET_STATUS_OK) {
        return library_error("networks", &error);
    }
    if (set->json) {
        json_close(&json, '}');
    }
    return EXIT_DONE;
}

static int run_selftest(const settings *set, model_facts *facts)
{
    m2snet_error error;

    switch (m2snet_model_selftest(facts->model, &facts->largest_difference, &error)) {
    case M2SNET_STATUS_OK:
        facts->selftest = "passed";
        return EXIT_DONE;
    case M2SNET_STATUS_UNSUPPORTED:
        facts->selftest = "none in the file";
        break;
    default:
        facts->selftest = "failed";
    }
    return library_error(set->file, &error);
}

static int report(const settings *set, m2snet_context *context)
{
    model_facts facts = { .info.struct_size = sizeof(facts.info), .largest_difference = -1.0 };
    m2snet_error error;
    int code = EXIT_DONE;

    if (m2snet_model_load_file(context, set->file, NULL, &facts.model, &error) != M2SNET_STATUS_OK ||
        m2snet_model_get_info(facts.model, &facts.info, &error) != M2SNET_STATUS_OK ||
        (set->run.width != 0 && m2snet_model_multiply_adds(facts.model, set->run.width, set->run.height,
                                                           &facts.multiply_adds, &error) != M2SNET_STATUS_OK)) {
        library_error(set->file, &error);
        code = EXIT_FAILED;
    } else {
        if (set->selftest) {
            code = run_selftest(set, &facts);
        }
        if (set->json) {
            print_json(set, &facts);
        } else if (!set->quiet) {
            print_text(set, &facts);
        }
    }
    m2snet_model_destroy(facts.model);
    return code;
}

int main(int argc, char **argv)
{
    settings set = { .run.threads = 1 };
    m2snet_context *context = NULL;
    m2snet_error error;
    int option;
    int code;

    while ((option = getopt_long(argc, argv, "", option_table, NULL)) != -1) {
        switch (option) {
        case OPTION_TENSORS:
            set.tensors = true;
            break;
        case OPTION_FEATURES:
            set.features = true;
            break;
        case OPTION_SELFTEST:
            set.selftest = true;
            set.run.threads = 0;
            break;
        case OPTION_LIST:
            set.list = true;
            break;
        case OPTION_JSON:
            set.json = true;
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
            if (!parse_run_option(option, optarg, &set.run)) {
                return usage_hint();
            }
        }
    }
    if (set.list && (set.tensors || set.features || set.selftest || set.quiet || set.run.width != 0)) {
        return usage_error("--list goes with --json alone: the other options are of a file");
    }
    if (argc - optind != (set.list ? 0 : 1)) {
        return usage_error(set.list ? "--list takes no file" : "expected one model file");
    }
    if (set.list) {
        return finish(list_all(&set));
    }
    set.file = argv[optind];
    if (open_context(&set.run, &context, &error) != M2SNET_STATUS_OK) {
        return library_error(NULL, &error);
    }
    code = report(&set, context);
    m2snet_context_destroy(context);
    return finish(code);
}
