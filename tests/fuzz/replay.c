/* SPDX-License-Identifier: Apache-2.0
 * Runs a fuzz target over files and folders named on the command line, for compilers without libFuzzer. */
#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    struct stat facts;
    FILE *file = fopen(path, "rb");

    if (file == NULL || fstat(fileno(file), &facts) != 0) {
        fprintf(stderr, "%s: cannot be read\n", path);
        if (file != NULL) {
            fclose(file);
        }
        return -1;
    }
    /* A block of exactly this size, so that a sanitizer sees the first byte read beyond it. */
    size_t size = (size_t)facts.st_size;
    uint8_t *data = malloc(size > 0 ? size : 1);
    int result = -1;
    if (data != NULL && fread(data, 1, size, file) == size) {
        LLVMFuzzerTestOneInput(data, size);
        result = 1;
    } else {
        fprintf(stderr, "%s: cannot be read whole\n", path);
    }
    free(data);
    fclose(file);
    return result;
}

/* Returns how many files ran, or -1. */
static int replay(const char *path)
{
    struct stat facts;

    if (stat(path, &facts) != 0) {
        fprintf(stderr, "%s: no such file or folder\n", path);
        return -1;
    }
    if (!S_ISDIR(facts.st_mode)) {
        return replay_file(path);
    }
    int count = 0;
    struct dirent **entries = NULL;
    int found = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < found; i++) {
        char inner[4096];
        int length = snprintf(inner, sizeof inner, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && length > 0 && (size_t)length < sizeof inner && count >= 0) {
            int result = replay_file(inner);
            count = result < 0 ? -1 : count + result;
        }
        free(entries[i]);
    }
    free(entries);
    return found < 0 ? -1 : count;
}

int main(int argc, char **argv)
{
    int total = 0;

    for (int i = 1; i < argc; i++) {
        int count = replay(argv[i]);
        if (count < 0) {
            return 1;
        }
        total += count;
    }
    printf("%d files replayed\n", total);
    return total > 0 ? 0 : 1; /* an empty corpus proves nothing */
}
