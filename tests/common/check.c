/* SPDX-License-Identifier: Apache-2.0 */
#include "common/check.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define MESSAGES_PER_CASE 5

static struct {
    char **filters;
    int filter_count;
    bool list, verbose;
    char name[512];
    bool open, skipped;
    int messages; /* of the open case: how often a check failed */
    int passed, failed, skips;
} run;

void check_start(int argc, char **argv)
{
    memset(&run, 0, sizeof run);
    while (argc > 1 && argv[1][0] == '-') {
        run.list = run.list || strcmp(argv[1], "-l") == 0;
        run.verbose = run.verbose || strcmp(argv[1], "-v") == 0;
        argc--;
        argv++;
    }
    run.filters = argv + 1;
    run.filter_count = argc - 1;
}

static void end_case(void)
{
    if (!run.open) {
        return;
    }
    if (run.messages > 0) {
        run.failed++;
        if (run.messages > MESSAGES_PER_CASE) {
            printf("FAIL %s: %d more checks failed\n", run.name, run.messages - MESSAGES_PER_CASE);
        }
    } else if (run.skipped) {
        run.skips++;
    } else {
        run.passed++;
    }
    if (run.verbose) {
        printf("%s %s\n", run.messages > 0 ? "fail" : run.skipped ? "skip" : "ok  ", run.name);
    }
    run.open = false;
    fflush(stdout); /* a crash in the next case must not swallow what was said about this one */
}

static bool selected(void)
{
    for (int i = 0; i < run.filter_count; i++) {
        if (strstr(run.name, run.filters[i]) != NULL) {
            return true;
        }
    }
    return run.filter_count == 0;
}

bool check_case(const char *format, ...)
{
    va_list arguments;

    end_case();
    va_start(arguments, format);
    vsnprintf(run.name, sizeof run.name, format, arguments);
    va_end(arguments);
    if (!selected()) {
        return false;
    }
    if (run.list) {
        puts(run.name);
        return false;
    }
    run.open = true;
    run.skipped = false;
    run.messages = 0;
    return true;
}

void check_skip(const char *format, ...)
{
    va_list arguments;

    run.skipped = true;
    printf("skip %s: ", run.name);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

int check_finish(void)
{
    end_case();
    if (run.list) {
        return 0;
    }
    printf("%d passed, %d failed, %d skipped\n", run.passed, run.failed, run.skips);
    if (run.failed == 0 && run.passed == 0 && run.skips > 0) {
        return 77;
    }
    return run.failed == 0 && run.passed > 0 ? 0 : 1;
}

/* True: the caller may print one more line about the failed check. */
static bool fail(const char *file, int line)
{
    if (!run.open) { /* a check outside any case is a case of its own */
        snprintf(run.name, sizeof run.name, "(no case)");
        run.open = true;
        run.skipped = false;
        run.messages = 0;
    }
    if (++run.messages > MESSAGES_PER_CASE) {
        return false;
    }
    printf("FAIL %s (%s:%d): ", run.name, file, line);
    return true;
}

bool check_that(bool held, const char *file, int line, const char *text, const char *format, ...)
{
    if (!held && fail(file, line)) {
        va_list arguments;
        printf("%s: ", text);
        va_start(arguments, format);
        vprintf(format, arguments);
        va_end(arguments);
        putchar('\n');
    }
    return held;
}

static bool near(double actual, double expected, double absolute, double relative)
{
    if (isnan(actual) || isnan(expected)) {
        return isnan(actual) && isnan(expected);
    }
    if (isinf(actual) || isinf(expected)) {
        return actual == expected;
    }
    return fabs(actual - expected) <= absolute + relative * fabs(expected);
}

bool check_near(double actual, double expected, double absolute, double relative, const char *file, int line,
                const char *text, const char *format, ...)
{
    bool held = near(actual, expected, absolute, relative);

    if (!held && fail(file, line)) {
        va_list arguments;
        printf("%s is %.17g, expected %.17g, differs by %.3g: ", text, actual, expected, fabs(actual - expected));
        va_start(arguments, format);
        vprintf(format, arguments);
        va_end(arguments);
        putchar('\n');
    }
    return held;
}

/* One of the two pairs is NULL. */
static bool check_array(const float *actual_f32, const float *expected_f32, const double *actual_f64,
                        const double *expected_f64, size_t count, double absolute, double relative, const char *file,
                        int line, const char *name)
{
    size_t wrong = 0, worst = 0;
    double worst_difference = -1, worst_actual = 0, worst_expected = 0;

    for (size_t i = 0; i < count; i++) {
        double actual = actual_f32 != NULL ? (double)actual_f32[i] : actual_f64[i];
        double expected = expected_f32 != NULL ? (double)expected_f32[i] : expected_f64[i];
        if (near(actual, expected, absolute, relative)) {
            continue;
        }
        double difference = fabs(actual - expected);
        if (wrong++ == 0 || isnan(difference) || difference > worst_difference) {
            worst = i;
            worst_difference = isnan(difference) ? INFINITY : difference;
            worst_actual = actual;
            worst_expected = expected;
        }
    }
    if (wrong > 0 && fail(file, line)) {
        printf(
            "%s: %zu of %zu elements differ, most at [%zu]: is %.9g, expected %.9g, tolerance %.3g + %.3g relative\n",
            name, wrong, count, worst, worst_actual, worst_expected, absolute, relative);
    }
    return wrong == 0;
}

bool check_near_f32(const float *actual, const float *expected, size_t count, double absolute, double relative,
                    const char *file, int line, const char *name)
{
    return check_array(actual, expected, NULL, NULL, count, absolute, relative, file, line, name);
}

bool check_near_f64(const double *actual, const double *expected, size_t count, double absolute, double relative,
                    const char *file, int line, const char *name)
{
    return check_array(NULL, NULL, actual, expected, count, absolute, relative, file, line, name);
}

bool check_bytes(const void *actual, const void *expected, size_t bytes, const char *file, int line, const char *name)
{
    const unsigned char *a = actual, *b = expected;

    if (bytes == 0 || memcmp(a, b, bytes) == 0) {
        return true;
    }
    size_t first = 0, wrong = 0;
    for (size_t i = bytes; i-- > 0;) {
        if (a[i] != b[i]) {
            first = i;
            wrong++;
        }
    }
    if (fail(file, line)) {
        printf("%s: %zu of %zu bytes differ, the first at [%zu]: 0x%02x, expected 0x%02x\n", name, wrong, bytes, first,
               a[first], b[first]);
    }
    return false;
}

double check_random(unsigned long long *state)
{
    /* splitmix64 */
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-52 - 1.0;
}
