/* SPDX-License-Identifier: Apache-2.0 */
#include "common/training_vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CASE "train_m2snet_2x3x96x96.bin"

bool training_vectors_load(const char *what, double *numbers, int64_t count)
{
    char path[512], line[512], file[128], name[128];
    long offset = 0, bytes = 0;
    bool found = false;
    float *read = malloc((size_t)count * sizeof *read);

    snprintf(path, sizeof path, "%s/parity/index_training.tsv", M2S_TEST_DATA);
    FILE *index = fopen(path, "r");
    while (index != NULL && !found && fgets(line, sizeof line, index) != NULL) {
        found = sscanf(line, "%127s %127s %*s %*s %ld %ld", file, name, &offset, &bytes) == 4 &&
                strcmp(file, CASE) == 0 && strcmp(name, what) == 0;
    }
    if (index != NULL) {
        fclose(index);
    }
    snprintf(path, sizeof path, "%s/parity/%s", M2S_TEST_DATA, CASE);
    FILE *stream = fopen(path, "rb");
    found = found && read != NULL && stream != NULL && bytes == count * (long)sizeof *read &&
            fseek(stream, offset, SEEK_SET) == 0 && fread(read, sizeof *read, (size_t)count, stream) == (size_t)count;
    if (stream != NULL) {
        fclose(stream);
    }
    for (int64_t i = 0; found && i < count; i++) {
        numbers[i] = (double)read[i];
    }
    free(read);
    return found;
}
