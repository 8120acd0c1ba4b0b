/* SPDX-License-Identifier: Apache-2.0
 * Parts of paths, for data sets. */
#ifndef M2S_TRAIN_DATASET_NAMES_H
#define M2S_TRAIN_DATASET_NAMES_H

#include "core/memory.h"

/* The file name in a path, and its length without the last ending (".jpg"). */
const char *m2s_name_of_path(const char *path, size_t *stem_length);
/* png, jpg or jpeg in any case, and not hidden. */
bool m2s_name_is_picture(const char *name);
/* folder/name, or name alone when it is absolute or folder is "". NULL = out of memory. */
char *m2s_name_join(m2s_pile *pile, const char *folder, const char *name);
/* Of a name in front of separator; "" when that is not in it, or nothing is in front. NULL = out of memory. */
char *m2s_name_group(m2s_pile *pile, const char *name, const char *separator);
/* Equal but for the case of A to Z. */
bool m2s_name_same(const char *a, const char *b);

#endif
