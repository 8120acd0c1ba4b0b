/* SPDX-License-Identifier: Apache-2.0
 * A test harness for tables of cases, with no foreign library: builds and runs wherever the kernels do.
 *
 *     int main(int argc, char **argv)
 *     {
 *         check_start(argc, argv);
 *         for (size_t i = 0; i < COUNT(shapes); i++) {
 *             if (check_case("conv %dx%d", shapes[i].h, shapes[i].w)) {
 *                 CHECK(run(&shapes[i]) == 0, "status %d", status);
 *                 CHECK_NEAR(dst[0], 1.5, 1e-6, 0.0, "dst[0]");
 *             }
 *         }
 *         return check_finish();
 *     }
 *
 * Arguments on the command line select the cases whose name contains one of them; -l lists names; -v names every case.
 * Main thread only. */
#ifndef M2S_TESTS_COMMON_CHECK_H
#define M2S_TESTS_COMMON_CHECK_H

#include <stdbool.h>
#include <stddef.h>

void check_start(int argc, char **argv);

/* Ends the case before and begins the next; false: not selected, leave it out. */
__attribute__((format(printf, 1, 2))) bool check_case(const char *format, ...);

/* Says that the current case cannot run here, and why. It counts neither as passed nor as failed. */
__attribute__((format(printf, 1, 2))) void check_skip(const char *format, ...);

/* Prints "N passed, M failed, K skipped"; the exit code of main: 0 only when something passed and nothing failed
 * (77, a skip for ctest, when all cases were skipped). */
int check_finish(void);

/* Both return whether the check held, so that a test can leave what would only fail as well. */
__attribute__((format(printf, 5, 6))) bool check_that(bool held, const char *file, int line, const char *text,
                                                      const char *format, ...);
/* |actual - expected| <= absolute + relative * |expected|; two NaNs, or equal infinities, are near. */
__attribute__((format(printf, 8, 9))) bool check_near(double actual, double expected, double absolute, double relative,
                                                      const char *file, int line, const char *text, const char *format,
                                                      ...);
/* Every element near as above, and in the message the worst one's index. floats and doubles. */
bool check_near_f32(const float *actual, const float *expected, size_t count, double absolute, double relative,
                    const char *file, int line, const char *name);
bool check_near_f64(const double *actual, const double *expected, size_t count, double absolute, double relative,
                    const char *file, int line, const char *name);
/* Equal bit for bit. */
bool check_bytes(const void *actual, const void *expected, size_t bytes, const char *file, int line, const char *name);

/* After the condition or the tolerances: a printf format with what helps to understand a failure. */
#define CHECK(condition, ...) check_that((condition), __FILE__, __LINE__, #condition, __VA_ARGS__)
#define CHECK_NEAR(actual, expected, absolute, relative, ...)                                                          \
    check_near((double)(actual), (double)(expected), (absolute), (relative), __FILE__, __LINE__, #actual, __VA_ARGS__)
#define CHECK_NEAR_F32(actual, expected, count, absolute, relative, name)                                              \
    check_near_f32((actual), (expected), (count), (absolute), (relative), __FILE__, __LINE__, (name))
#define CHECK_NEAR_F64(actual, expected, count, absolute, relative, name)                                              \
    check_near_f64((actual), (expected), (count), (absolute), (relative), __FILE__, __LINE__, (name))
#define CHECK_BYTES(actual, expected, bytes, name)                                                                     \
    check_bytes((actual), (expected), (bytes), __FILE__, __LINE__, (name))

/* Numbers for test data: the same on every machine. state starts at any seed. */
double check_random(unsigned long long *state); /* uniform in [-1, 1) */

#endif
