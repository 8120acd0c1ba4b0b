/* SPDX-License-Identifier: Apache-2.0 */
#include "train/dataset_names.h"

#include <string.h>

const char *m2s_name_of_path(const char *path, size_t *stem_length)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(name, '.');

    *stem_length = dot != NULL && dot != name ? (size_t)(dot - name) : strlen(name);
    return name;
}

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); /* tolower would ask the locale */
}

bool m2s_name_same(const char *a, const char *b)
{
    while (*a != '\0' && lower(*a) == lower(*b)) {
        a++;
        b++;
    }
    return lower(*a) == lower(*b);
}

bool m2s_name_is_picture(const char *name)
{
    const char *dot = strrchr(name, '.');

    return name[0] != '.' && dot != NULL &&
           (m2s_name_same(dot, ".png") || m2s_name_same(dot, ".jpg") || m2s_name_same(dot, ".jpeg"));
}

char *m2s_name_join(m2s_pile *pile, const char *folder, const char *name)
{
    size_t length = strlen(folder);

    if (length == 0 || name[0] == '/') {
        return m2s_pile_strdup(pile, name);
    }
    return m2s_pile_printf(pile, "%s%s%s", folder, folder[length - 1] == '/' ? "" : "/", name);
}

char *m2s_name_group(m2s_pile *pile, const char *name, const char *separator)
{
    const char *at = separator != NULL ? strstr(name, separator) : NULL;

    return m2s_pile_printf(pile, "%.*s", at != NULL ? (int)(at - name) : 0, name);
}
