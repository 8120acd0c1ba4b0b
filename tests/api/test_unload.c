/* SPDX-License-Identifier: Apache-2.0
 * The library comes and goes: opened and closed a hundred times with a context and a prediction each time; two copies
 * in one process; the fork rule. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/api_fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ROUNDS 10
#else
#define ROUNDS 100
#endif

/* Where the library that this test is linked to lies. */
static const char *library_path(void)
{
    static char path[4096];
    Dl_info info;
    void *function;

    m2snet_status (*create)(const m2snet_context_options *, m2snet_context **, m2snet_error *) = m2snet_context_create;
    memcpy(&function, &create, sizeof function);
    assert_true(dladdr(function, &info) != 0);
    assert_non_null(realpath(info.dli_fname, path));
    return path;
}

/* A loaded copy and what is called in it. */
typedef struct library {
    void *handle;
    m2snet_status (*context_create)(const m2snet_context_options *, m2snet_context **, m2snet_error *);
    m2snet_status (*model_create)(m2snet_context *, const char *, uint64_t, m2snet_model **, m2snet_error *);
    m2snet_status (*session_create)(m2snet_model *, const m2snet_session_options *, m2snet_session **, m2snet_error *);
    m2snet_status (*predict)(m2snet_session *, const m2snet_image *, const m2snet_predict_options *, m2snet_result **,
                             m2snet_error *);
    const float *(*probability)(const m2snet_result *);
    void (*result_destroy)(m2snet_result *);
    void (*session_destroy)(m2snet_session *);
    void (*model_destroy)(m2snet_model *);
    void (*context_destroy)(m2snet_context *);
} library;

static void find(void *handle, const char *name, void *function)
{
    void *symbol = dlsym(handle, name);

    if (symbol == NULL) {
        fail_msg("%s: %s", name, dlerror());
    }
    memcpy(function, &symbol, sizeof symbol);
}

static library open_library(const char *path)
{
    library l = { .handle = dlopen(path, RTLD_NOW | RTLD_LOCAL) };

    if (l.handle == NULL) {
        fail_msg("%s", dlerror());
    }
    find(l.handle, "m2snet_context_create", &l.context_create);
    find(l.handle, "m2snet_model_create", &l.model_create);
    find(l.handle, "m2snet_session_create", &l.session_create);
    find(l.handle, "m2snet_predict", &l.predict);
    find(l.handle, "m2snet_result_probability", &l.probability);
    find(l.handle, "m2snet_result_destroy", &l.result_destroy);
    find(l.handle, "m2snet_session_destroy", &l.session_destroy);
    find(l.handle, "m2snet_model_destroy", &l.model_destroy);
    find(l.handle, "m2snet_context_destroy", &l.context_destroy);
    return l;
}

typedef struct handles {
    m2snet_context *context;
    m2snet_model *model;
    m2snet_session *session;
} handles;

static void make(const library *l, handles *h)
{
    m2snet_error error;

    OK(l->context_create(NULL, &h->context, &error));
    OK(l->model_create(h->context, TINY_CONFIG, TINY_SEED, &h->model, &error));
    OK(l->session_create(h->model, NULL, &h->session, &error));
}

static void predict(const library *l, const handles *h, const m2snet_image *picture, float *probability)
{
    m2snet_result *result;
    m2snet_error error;

    OK(l->predict(h->session, picture, NULL, &result, &error));
    memcpy(probability, l->probability(result), (size_t)picture->width * (size_t)picture->height * sizeof *probability);
    l->result_destroy(result);
}

static void end(const library *l, handles *h)
{
    l->session_destroy(h->session);
    l->model_destroy(h->model);
    l->context_destroy(h->context);
}

static int count_entries(const char *folder)
{
    DIR *directory = opendir(folder);
    int count = 0;

    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    closedir(directory);
    return count;
}

/* A thread that was joined may take the kernel a moment to remove. */
static int count_threads(int wanted)
{
    int count = count_entries("/proc/self/task");

    for (int i = 0; i < 200 && count > wanted; i++) {
        nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
        count = count_entries("/proc/self/task");
    }
    return count;
}

static int count_one(struct dl_phdr_info *info, size_t size, void *count)
{
    (void)info;
    (void)size;
    ++*(int *)count;
    return 0;
}

static int count_libraries(void)
{
    int count = 0;

    dl_iterate_phdr(count_one, &count);
    return count;
}

static long resident_kib(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &pages, &resident), 2);
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/* A copy of the file is a library of its own to the linker, which the program's own link does not keep. */
static const char *copy_library(scratch *files, const char *name)
{
    size_t bytes;
    unsigned char *data = read_whole(library_path(), &bytes);
    const char *path = scratch_path(files, name);

    write_whole(path, data, bytes);
    free(data);
    return path;
}

static void test_again_and_again(void **state)
{
    m2snet_image picture = noise_picture(40, 30);
    static float first[40 * 30], now[40 * 30];
    int threads = count_threads(1), libraries = 0, files_open = 0;
    long settled_kib = 0;
    scratch files;

    (void)state;
    scratch_make(&files);
    const char *path = copy_library(&files, "copy.so");
    for (int round = 0; round < ROUNDS; round++) {
        handles h;
        library l = open_library(path);
        make(&l, &h);
        predict(&l, &h, &picture, round == 0 ? first : now);
        end(&l, &h);
        assert_int_equal(dlclose(l.handle), 0);
        assert_true(round == 0 || memcmp(first, now, sizeof first) == 0);
        assert_int_equal(count_threads(threads), threads);
        if (round == ROUNDS / 5) {
            libraries = count_libraries();
            files_open = count_entries("/proc/self/fd");
            settled_kib = resident_kib();
        } else if (round > ROUNDS / 5) {
            assert_int_equal(count_libraries(), libraries);
            assert_int_equal(count_entries("/proc/self/fd"), files_open);
        }
    }
    long grown = resident_kib() - settled_kib;
    print_message("  %d rounds: %d threads, %d libraries, %ld KiB more than after a fifth of them\n", ROUNDS, threads,
                  libraries, grown);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(grown < 8192);                         /* a leaked model alone would be ten times that */
    assert_null(dlopen(path, RTLD_NOW | RTLD_NOLOAD)); /* it is really gone */
#endif
    free_picture(&picture);
    scratch_remove(&files);
}

static void test_two_copies(void **state)
{
    m2snet_image picture = noise_picture(40, 30);
    static float a[40 * 30], b[40 * 30], own[40 * 30];
    handles first, second, mine;
    library linked = { NULL,
                       m2snet_context_create,
                       m2snet_model_create,
                       m2snet_session_create,
                       m2snet_predict,
                       m2snet_result_probability,
                       m2snet_result_destroy,
                       m2snet_session_destroy,
                       m2snet_model_destroy,
                       m2snet_context_destroy };
    scratch files;

    (void)state;
    scratch_make(&files);
    library left = open_library(copy_library(&files, "left.so")),
            right = open_library(copy_library(&files, "right.so"));
    assert_true(left.predict != right.predict && left.predict != linked.predict);
    make(&left, &first);
    make(&right, &second);
    make(&linked, &mine);
    for (int i = 0; i < 3; i++) {
        predict(&left, &first, &picture, a);
        predict(&right, &second, &picture, b);
        predict(&linked, &mine, &picture, own);
        assert_memory_equal(a, b, sizeof a);
        assert_memory_equal(a, own, sizeof a);
    }
    end(&left, &first);
    assert_int_equal(dlclose(left.handle), 0);
    predict(&right, &second, &picture, b); /* the other does not mind */
    assert_memory_equal(b, own, sizeof b);
    end(&right, &second);
    assert_int_equal(dlclose(right.handle), 0);
    end(&linked, &mine);
    free_picture(&picture);
    scratch_remove(&files);
}

/* A child may leave by _exit, or use a context that it makes itself, while the parent's handles are alive. */
static void test_fork(void **state)
{
    m2snet_image picture = noise_picture(40, 30);
    m2snet_context *context = open_context("cpu", 2);
    m2snet_model *model = tiny_model(context);
    m2snet_session *session = open_session(model);
    m2snet_result *before, *after;
    int status;
    m2snet_error error;

    (void)state;
    OK(m2snet_predict(session, &picture, NULL, &before, &error));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(7);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);

#if !defined(__SANITIZE_THREAD__) /* which does not follow a fork of a process with threads */
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        m2snet_context_options options;
        m2snet_context *own = NULL;
        m2snet_model *own_model = NULL;
        m2snet_session *own_session = NULL;
        m2snet_result *result = NULL;
        alarm(120); /* a child that hangs is a failure, not a test that never ends */
        m2snet_context_options_init(&options);
        options.backend = "cpu";
        options.threads = 2;
        bool same =
            m2snet_context_create(&options, &own, NULL) == M2SNET_STATUS_OK &&
            m2snet_model_create(own, TINY_CONFIG, TINY_SEED, &own_model, NULL) == M2SNET_STATUS_OK &&
            m2snet_session_create(own_model, NULL, &own_session, NULL) == M2SNET_STATUS_OK &&
            m2snet_predict(own_session, &picture, NULL, &result, NULL) == M2SNET_STATUS_OK &&
            memcmp(m2snet_result_probability(result), m2snet_result_probability(before), 40 * 30 * sizeof(float)) == 0;
        m2snet_result_destroy(result);
        m2snet_session_destroy(own_session);
        m2snet_model_destroy(own_model);
        m2snet_context_destroy(own);
        _exit(same ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#endif

    OK(m2snet_predict(session, &picture, NULL, &after, &error)); /* the parent did not notice */
    assert_same_result(before, after);
    m2snet_result_destroy(before);
    m2snet_result_destroy(after);
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
    free_picture(&picture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_again_and_again),
        cmocka_unit_test(test_two_copies),
        cmocka_unit_test(test_fork),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
