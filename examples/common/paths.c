/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE 1
#include "paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "args.h"

void *must_alloc(size_t bytes)
{
    void *memory = malloc(bytes != 0 ? bytes : 1);

    if (memory == NULL) {
        complain("out of memory: %zu bytes wanted", bytes);
        exit(EXIT_FAILED);
    }
    return memory;
}

char *format_text(const char *format, ...)
{
    va_list arguments;
    char *text = NULL;

    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0) {
        complain("out of memory");
        exit(EXIT_FAILED);
    }
    va_end(arguments);
    return text;
}

void path_list_add(path_list *list, char *path)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        char **items = realloc(list->items, capacity * sizeof(*items));

        if (items == NULL) {
            complain("out of memory");
            exit(EXIT_FAILED);
        }
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = path;
}

void path_list_free(path_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i]);
    }
    free(list->items);
    *list = (path_list){ 0 };
}

static bool has_picture_suffix(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot != NULL && dot != name &&
           (strcasecmp(dot, ".png") == 0 || strcasecmp(dot, ".jpg") == 0 || strcasecmp(dot, ".jpeg") == 0);
}

static int compare_strings(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

bool collect_pictures(const char *argument, path_list *pictures)
{
    size_t before = pictures->count;
    size_t length = strlen(argument);
    struct stat status;
    struct dirent *entry;
    DIR *folder;

    if (stat(argument, &status) != 0) {
        complain("%s: %s", argument, strerror(errno));
        return false;
    }
    if (!S_ISDIR(status.st_mode)) {
        path_list_add(pictures, format_text("%s", argument));
        return true;
    }
    folder = opendir(argument);
    if (folder == NULL) {
        complain("%s: %s", argument, strerror(errno));
        return false;
    }
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] != '.' && has_picture_suffix(entry->d_name)) {
            path_list_add(pictures,
                          format_text("%s%s%s", argument, argument[length - 1] == '/' ? "" : "/", entry->d_name));
        }
    }
    closedir(folder);
    if (pictures->count == before) {
        complain("%s: no PNG or JPEG file in this folder", argument);
        return false;
    }
    qsort(pictures->items + before, pictures->count - before, sizeof(char *), compare_strings);
    return true;
}

const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

static int stem_length(const char *name)
{
    const char *dot = strrchr(name, '.');

    return (int)(dot != NULL && dot != name ? (size_t)(dot - name) : strlen(name));
}

char *output_path(const char *folder, const char *path, const char *suffix)
{
    const char *name = file_name(path);

    return format_text("%s/%.*s%s", folder, stem_length(name), name, suffix);
}

char *find_same_stem(const char *folder, const char *path)
{
    static const char *const suffixes[] = { ".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG" };

    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        char *candidate = output_path(folder, path, suffixes[i]);

        if (access(candidate, F_OK) == 0) {
            return candidate;
        }
        free(candidate);
    }
    return NULL;
}

void output_list_add(output_list *list, char *path, size_t input)
{
    size_t count = list->paths.count;

    path_list_add(&list->paths, path);
    list->inputs = realloc(list->inputs, list->paths.capacity * sizeof(*list->inputs));
    if (list->inputs == NULL) {
        complain("out of memory");
        exit(EXIT_FAILED);
    }
    list->inputs[count] = input;
}

void output_list_free(output_list *list)
{
    path_list_free(&list->paths);
    free(list->inputs);
    list->inputs = NULL;
}

typedef struct named_output {
    const char *path;
    size_t input;
} named_output;

static int compare_outputs(const void *left, const void *right)
{
    return strcmp(((const named_output *)left)->path, ((const named_output *)right)->path);
}

typedef struct file_identity {
    dev_t device;
    ino_t inode;
    const char *path;
} file_identity;

static int compare_identities(const void *left, const void *right)
{
    const file_identity *a = left;
    const file_identity *b = right;

    if (a->device != b->device) {
        return a->device < b->device ? -1 : 1;
    }
    return a->inode < b->inode ? -1 : a->inode > b->inode;
}

static bool identify(const char *path, file_identity *identity)
{
    struct stat status;

    if (stat(path, &status) != 0) {
        return false;
    }
    *identity = (file_identity){ status.st_dev, status.st_ino, path };
    return true;
}

static bool outputs_differ(const path_list *inputs, const output_list *outputs)
{
    named_output *sorted = must_alloc(outputs->paths.count * sizeof(*sorted));
    bool fine = true;

    for (size_t i = 0; i < outputs->paths.count; i++) {
        sorted[i] = (named_output){ outputs->paths.items[i], outputs->inputs[i] };
    }
    qsort(sorted, outputs->paths.count, sizeof(*sorted), compare_outputs);
    for (size_t i = 1; i < outputs->paths.count && fine; i++) {
        if (compare_outputs(&sorted[i - 1], &sorted[i]) == 0) {
            complain("%s and %s would both be written to %s", inputs->items[sorted[i - 1].input],
                     inputs->items[sorted[i].input], sorted[i].path);
            fine = false;
        }
    }
    free(sorted);
    return fine;
}

bool check_outputs(const path_list *inputs, const output_list *outputs)
{
    file_identity *sorted;
    size_t count = 0;
    bool fine = outputs_differ(inputs, outputs);

    sorted = must_alloc(inputs->count * sizeof(*sorted));
    for (size_t i = 0; i < inputs->count; i++) {
        if (identify(inputs->items[i], &sorted[count])) {
            count++;
        }
    }
    qsort(sorted, count, sizeof(*sorted), compare_identities);
    for (size_t i = 0; i < outputs->paths.count && fine; i++) {
        file_identity output;
        const file_identity *same = NULL;

        if (identify(outputs->paths.items[i], &output)) {
            same = bsearch(&output, sorted, count, sizeof(*sorted), compare_identities);
        }
        if (same != NULL) {
            complain("%s would overwrite the input %s: choose another output", output.path, same->path);
            fine = false;
        }
    }
    free(sorted);
    return fine;
}

bool make_folder(const char *path)
{
    char *copy = format_text("%s", path);
    struct stat status;
    bool fine = true;

    for (char *slash = strchr(copy + (copy[0] == '/'), '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(copy, 0777); /* whether it worked shows at the last one */
        *slash = '/';
    }
    if (mkdir(copy, 0777) != 0 && errno != EEXIST) {
        complain("%s: cannot make this folder: %s", path, strerror(errno));
        fine = false;
    } else if (stat(copy, &status) != 0 || !S_ISDIR(status.st_mode)) {
        complain("%s: expected a folder, this is a file", path);
        fine = false;
    }
    free(copy);
    return fine;
}

void *read_whole_file(const char *path, size_t *size_bytes)
{
    FILE *file = fopen(path, "rb");
    unsigned char *data = NULL;
    size_t capacity = 1u << 16;
    size_t size = 0;
    struct stat status;

    if (file == NULL) {
        complain("%s: %s", path, strerror(errno));
        return NULL;
    }
    if (fstat(fileno(file), &status) == 0 && S_ISREG(status.st_mode)) {
        capacity = (size_t)status.st_size + 2; /* one more than the end, so that reading finds it */
    }
    errno = 0;
    for (;;) {
        unsigned char *larger = realloc(data, capacity);

        if (larger == NULL) {
            break;
        }
        data = larger;
        size += fread(data + size, 1, capacity - 1 - size, file);
        if (size < capacity - 1 || capacity > SIZE_MAX / 2) {
            break;
        }
        capacity *= 2;
    }
    if (data == NULL || !feof(file)) {
        complain("%s: cannot read it: %s", path, errno != 0 ? strerror(errno) : "too large");
        free(data);
        fclose(file);
        return NULL;
    }
    fclose(file);
    data[size] = 0;
    *size_bytes = size;
    return data;
}

bool write_whole_file(const char *path, const void *head, size_t head_bytes, const void *data, size_t size_bytes)
{
    char *temporary = format_text("%s.XXXXXX", path);
    int descriptor = mkstemp(temporary);
    FILE *file = descriptor >= 0 ? fdopen(descriptor, "wb") : NULL;
    mode_t mask = umask(0);
    int problem = 0;

    umask(mask);
    if (file == NULL) {
        problem = errno;
        if (descriptor >= 0) {
            close(descriptor);
        }
    } else {
        if ((head_bytes != 0 && fwrite(head, 1, head_bytes, file) != head_bytes) ||
            (size_bytes != 0 && fwrite(data, 1, size_bytes, file) != size_bytes) || fflush(file) != 0 ||
            fchmod(descriptor, 0666 & ~mask) != 0 || fsync(descriptor) != 0) {
            problem = errno;
        }
        if (fclose(file) != 0 && problem == 0) {
            problem = errno;
        }
        if (problem == 0 && rename(temporary, path) != 0) {
            problem = errno;
        }
    }
    if (problem != 0) {
        complain("%s: cannot write it: %s", path, strerror(problem));
        if (descriptor >= 0) {
            unlink(temporary);
        }
    }
    free(temporary);
    return problem == 0;
}
