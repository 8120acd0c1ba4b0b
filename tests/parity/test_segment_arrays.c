/* SPDX-License-Identifier: Apache-2.0
 * The parity vectors through the program: m2snet-segment --input-npy --logits-npy, in float32 and in float64. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/network_fixture.h"
#include "weights/safetensors.h"

#define IMAGES 2
#define H      96
#define W      160
#define LOGITS (IMAGES * H * W)

static char folder[] = "/tmp/m2snet-arrays-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[4][256];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static void write_model(void)
{
    m2s_memory memory;
    m2s_config config;
    static m2s_safetensors_entry entries[1024];
    size_t count = 0;

    m2s_memory_init(&memory, NULL, 0);
    m2s_config_default(&config);
    m2s_store *store = network_weights(&memory, &config, RECIPE_PARITY);
    for (; count < m2s_store_count(store); count++) {
        entries[count] = (m2s_safetensors_entry){ m2s_store_at(store, count), M2SNET_DTYPE_F32 };
    }
    assert_int_equal(
        m2s_safetensors_write(&memory, in_folder("model.safetensors"), NULL, 0, entries, count, NULL, NULL),
        M2SNET_STATUS_OK);
    m2s_store_destroy(store);
}

static void write_input(void)
{
    static float data[IMAGES * 3 * H * W];
    char header[128];

    for (size_t i = 0; i < sizeof data / sizeof data[0]; i++) {
        data[i] = (float)(4.0 * network_uniform("input", i) - 2.0);
    }
    memset(header, ' ', sizeof header);
    memcpy(header, "\x93NUMPY\x01\x00\x76\x00", 10); /* version 1.0, 118 bytes of header follow */
    int length = snprintf(header + 10, 118, "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, 3, %d, %d), }",
                          IMAGES, H, W);
    header[10 + length] = ' ';
    header[127] = '\n';
    FILE *file = fopen(in_folder("in.npy"), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(header, 1, sizeof header, file), sizeof header);
    assert_int_equal(fwrite(data, sizeof data[0], sizeof data / sizeof data[0], file), sizeof data / sizeof data[0]);
    fclose(file);
}

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    write_model();
    write_input();
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = { "model.safetensors", "in.npy", "out.npy" };

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        unlink(in_folder(names[i]));
    }
    return rmdir(folder);
}

static void run_program(const char *options)
{
    const char *bin = getenv("M2SNET_BIN_DIR");
    char command[1024];

    assert_non_null(bin);
    snprintf(command, sizeof command,
             "'%s/m2snet-segment' --quiet --model '%s' --input-npy '%s' --logits-npy '%s' --threads 2 %s", bin,
             in_folder("model.safetensors"), in_folder("in.npy"), in_folder("out.npy"), options);
    assert_int_equal(system(command), 0);
}

/* The array's bytes start after its header; its type and shape must be as expected. */
static void read_result(const char *type, size_t size, void *data)
{
    unsigned char head[10];
    char header[512], shape[64];

    FILE *file = fopen(in_folder("out.npy"), "rb");
    assert_non_null(file);
    assert_int_equal(fread(head, 1, sizeof head, file), sizeof head);
    assert_memory_equal(head, "\x93NUMPY\x01", 7);
    size_t length = (size_t)head[8] + 256u * head[9];
    assert_true(length < sizeof header);
    assert_int_equal(fread(header, 1, length, file), length);
    header[length] = '\0';
    assert_non_null(strstr(header, type));
    snprintf(shape, sizeof shape, "(%d, 1, %d, %d)", IMAGES, H, W);
    assert_non_null(strstr(header, shape));
    assert_int_equal(fread(data, size, LOGITS, file), LOGITS);
    assert_int_equal(fgetc(file), EOF);
    fclose(file);
}

/* The logits are the first entry of their file. */
static void read_truth(float *truth)
{
    FILE *file = fopen(M2S_TEST_DATA "/parity/eval_m2snet_2x3x96x160.bin", "rb");

    assert_non_null(file);
    assert_int_equal(fread(truth, sizeof *truth, LOGITS, file), LOGITS);
    fclose(file);
}

static void test_float32(void **state)
{
    static float truth[LOGITS], logits[LOGITS];
    float largest = 0.0f;

    (void)state;
    read_truth(truth);
    run_program("--backend cpu");
    read_result("'<f4'", sizeof(float), logits);
    for (size_t i = 0; i < LOGITS; i++) {
        float d = fabsf(logits[i] - truth[i]);
        largest = d > largest || isnan(d) ? d : largest;
    }
    assert_true(largest <= 2e-5f); /* the bound of docs/numerics.md */
}

static void test_float64(void **state)
{
    static float truth[LOGITS];
    static double logits[LOGITS];
    double difference = 0.0, norm = 0.0;

    (void)state;
    read_truth(truth);
    run_program("--backend ref --precision f64");
    read_result("'<f8'", sizeof(double), logits);
    for (size_t i = 0; i < LOGITS; i++) {
        double t = (double)truth[i];
        difference += (logits[i] - t) * (logits[i] - t);
        norm += t * t;
    }
    assert_true(sqrt(difference) <= 2e-7 * sqrt(norm) + 1e-7); /* the truth is stored in float32 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float32),
        cmocka_unit_test(test_float64),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
