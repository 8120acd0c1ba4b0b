/* SPDX-License-Identifier: Apache-2.0
 * Files of the programs: which pictures an argument names, where their results go, that no result replaces an input,
 * and whole files read and written (written through a temporary file and rename). Failures are complained about. */
#ifndef EXAMPLES_COMMON_PATHS_H
#define EXAMPLES_COMMON_PATHS_H

#include <stdbool.h>
#include <stddef.h>

/* A growing list of strings it owns; zero-initialise, end with path_list_free. */
typedef struct path_list {
    char **items;
    size_t count;
    size_t capacity;
} path_list;

/* Takes over path (from malloc; NULL is a failed allocation). Ends the program when there is no memory. */
void path_list_add(path_list *list, char *path);
void path_list_free(path_list *list);

/* malloc, or a message and the end of the program. */
void *must_alloc(size_t bytes);
/* A formatted string from malloc; ends the program when there is no memory. */
char *format_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Adds a file as it is, or the PNG and JPEG files of a folder (told by suffix, hidden ones left out) sorted by name.
 * False when there is no such thing, the folder cannot be read or has no picture. */
bool collect_pictures(const char *argument, path_list *pictures);

/* The last component of a path: "in/frame.01.png" gives "frame.01.png". */
const char *file_name(const char *path);
/* DIR/STEM plus suffix for the picture at path: "out/frame.01" + "_mask.png". */
char *output_path(const char *folder, const char *path, const char *suffix);
/* The file in folder with the stem of path and a picture suffix, or NULL. */
char *find_same_stem(const char *folder, const char *path);

/* What will be written, and for which input. */
typedef struct output_list {
    path_list paths;
    size_t *inputs; /* index of the input that each belongs to */
} output_list;
void output_list_add(output_list *list, char *path, size_t input);
void output_list_free(output_list *list);
/* False, with the names, when two inputs would write one file, or a file to be written is one of the inputs (by
 * device and inode, so through links and other spellings too). */
bool check_outputs(const path_list *inputs, const output_list *outputs);

/* Makes the folder and its parents where missing. */
bool make_folder(const char *path);
/* The whole file with a zero byte behind it, from malloc; NULL after a complaint. */
void *read_whole_file(const char *path, size_t *size_bytes);
/* Complete or not there at all. head may be NULL. */
bool write_whole_file(const char *path, const void *head, size_t head_bytes, const void *data, size_t size_bytes);

#endif
