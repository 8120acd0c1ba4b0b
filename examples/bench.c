/* SPDX-License-Identifier: Apache-2.0
 *
 * m2snet-bench: how long a picture takes, phase by phase, next to what this machine can
 * do at most. */
#define _GNU_SOURCE 1
#include <getopt.h>
#include <stdio.h>

#include "bench.h"

const char *const program_name = "m2snet-bench";

static const char help[] =
    "Usage: m2snet-bench --model FILE [OPTION...]\n"
    "       m2snet-bench --table[=TEXT] [OPTION...]\n"
    "       m2snet-bench --train --model FILE [--lossnet FILE|random] [OPTION...]\n"
    "Times predictions: decode (the picture from memory), pre (resize, normalise), network, post (resize back,\n"
    "components), and the operations a second of the network next to the multiply-add peak of this machine,\n"
    "measured in the same process before and after.\n\n" RUN_OPTION_HELP
    "  --batch N           pictures in one run of the network, 1 to 64; default 1. Other times are of one picture\n"
    "  --image FILE        a PNG or JPEG picture; default: a synthetic one of 640x480\n"
    "  --seconds S         measure for at least S seconds and 3 runs; default 3\n"
    "  --iterations N      measure exactly N runs instead\n"
    "  --steps             also the time of every step of the plan\n"
    "  --table[=TEXT]      no file: parameters, multiply-adds and the network's time at 256 x 256 and 352 x 352 of "
    "every\n"
    "                      configuration that the library has a name for (those whose name holds TEXT), with drawn\n"
    "                      weights; --seconds and --iterations count for each row\n"
    "  --train             time training steps of --batch pictures instead (with --steps: by kernel)\n"
    "  --lossnet FILE      with --train: with the loss network's term; \"random\": VGG-16 with drawn weights,\n"
    "                      \"random:NAME\": another (resnet50, swin_t)\n"
    "  --json              one JSON object instead of text\n"
    "  --quiet             only errors (with --json: and the object)\n" COMMON_OPTION_HELP
    "Exit status: 0 done, 1 something failed, 2 the command line makes no sense.\n";

enum {
    OPTION_BATCH = 1,
    OPTION_IMAGE,
    OPTION_SECONDS,
    OPTION_ITERATIONS,
    OPTION_STEPS,
    OPTION_TABLE,
    OPTION_TRAIN,
    OPTION_LOSSNET,
    OPTION_JSON,
    OPTION_QUIET
};

static const struct option option_table[] = { { "batch", required_argument, NULL, OPTION_BATCH },
                                              { "image", required_argument, NULL, OPTION_IMAGE },
                                              { "seconds", required_argument, NULL, OPTION_SECONDS },
                                              { "iterations", required_argument, NULL, OPTION_ITERATIONS },
                                              { "steps", no_argument, NULL, OPTION_STEPS },
                                              { "table", optional_argument, NULL, OPTION_TABLE },
                                              { "train", no_argument, NULL, OPTION_TRAIN },
                                              { "lossnet", required_argument, NULL, OPTION_LOSSNET },
                                              { "json", no_argument, NULL, OPTION_JSON },
                                              { "quiet", no_argument, NULL, OPTION_QUIET },
                                              RUN_OPTION_ROWS,
                                              COMMON_OPTION_ROWS,
                                              { NULL, 0, NULL, 0 } };

#define MAX_BATCH 64

static bool parse_option(int option, settings *set)
{
    switch (option) {
    case OPTION_BATCH:
        return parse_integer("--batch", optarg, 1, MAX_BATCH, &set->batch);
    case OPTION_IMAGE:
        set->image = optarg;
        return true;
    case OPTION_SECONDS:
        set->seconds_given = true;
        return parse_number("--seconds", optarg, 0.0, 86400.0, &set->seconds);
    case OPTION_ITERATIONS:
        return parse_integer("--iterations", optarg, 1, 1000000, &set->iterations);
    case OPTION_STEPS:
        return set->steps = true;
    case OPTION_TABLE:
        set->table_part = optarg;
        return set->table = true;
    case OPTION_TRAIN:
        return set->train = true;
    case OPTION_LOSSNET:
        set->lossnet = optarg;
        return true;
    case OPTION_JSON:
        return set->json = true;
    case OPTION_QUIET:
        return set->quiet = true;
    default:
        return parse_run_option(option, optarg, &set->run);
    }
}

/* EXIT_DONE, or EXIT_USAGE after a complaint about options that do not go together. */
static int check(const settings *set)
{
    if (set->table && set->run.model != NULL) {
        return usage_error("--table has no use for --model: weights are drawn");
    }
    if (set->table && (set->run.width != 0 || set->image != NULL || set->steps)) {
        return usage_error("--table has sizes of its own, no picture and no steps");
    }
    if (set->train && (set->table || set->image != NULL)) {
        return usage_error("--train times steps of drawn pictures: it goes with neither --table nor --image");
    }
    if (set->lossnet != NULL && !set->train) {
        return usage_error("--lossnet is for --train");
    }
    if (set->seconds_given && set->iterations > 0) {
        return usage_error("--seconds and --iterations both say how long; take one");
    }
    if (!set->table && set->run.model == NULL) {
        return usage_error("--model is missing");
    }
    return EXIT_DONE;
}

static int bench_model(const settings *set)
{
    bench_state bench = { 0 };
    m2snet_error error;
    int code = EXIT_DONE;

    if (run_bench(set, &bench, &error) != M2SNET_STATUS_OK) {
        code = library_error(set->run.model, &error);
    } else if (set->json) {
        print_json(set, &bench);
    } else if (!set->quiet) {
        print_text(set, &bench);
    }
    bench_free(&bench);
    return code;
}

int main(int argc, char **argv)
{
    settings set = { .batch = 1, .seconds = 3.0 };
    int option;
    int code;

    m2snet_predict_options_init(&set.predict);
    while ((option = getopt_long(argc, argv, "", option_table, NULL)) != -1) {
        if (option == OPTION_HELP) {
            fputs(help, stdout);
            return finish(EXIT_DONE);
        }
        if (option == OPTION_VERSION) {
            print_version();
            return finish(EXIT_DONE);
        }
        if (!parse_option(option, &set)) {
            return usage_hint();
        }
    }
    code = check(&set);
    if (code != EXIT_DONE) {
        return code;
    }
    if (optind < argc) {
        return usage_error("%s: unexpected; a picture goes with --image", argv[optind]);
    }
    set.predict.control.cancel = interrupt_install();
    code = set.table ? run_table(&set) : set.train ? run_training(&set) : bench_model(&set);
    interrupt_remove(set.predict.control.cancel);
    return finish(code);
}
