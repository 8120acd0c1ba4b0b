/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "common/comma_locale.h"

#include <locale.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "comma"

/* The compiled form of LC_NUMERIC as glibc reads it: magic, count of items, where each lies, the items. */
static bool write_numeric(const char *path)
{
    enum { ITEMS = 6 };
    struct {
        uint32_t magic, count, place[ITEMS];
        char decimal_point[4], thousands[4], grouping[4];
        uint32_t decimal_point_wide, thousands_wide;
        char codeset[8];
    } file = { .magic = 0x20031115u ^ (uint32_t)LC_NUMERIC,
               .count = ITEMS,
               .place = { 32, 36, 40, 44, 48, 52 },
               .decimal_point = ",",
               .decimal_point_wide = L',',
               .codeset = "UTF-8" };
    FILE *out = fopen(path, "wb");

    if (out == NULL) {
        return false;
    }
    bool written = fwrite(&file, sizeof file, 1, out) == 1;
    return fclose(out) == 0 && written;
}

bool comma_locale_enter(void)
{
    char root[] = "/tmp/m2snet-locale-XXXXXX";
    char folder[64];
    char path[96];

    if (mkdtemp(root) == NULL) {
        return false;
    }
    snprintf(folder, sizeof folder, "%s/" NAME, root);
    snprintf(path, sizeof path, "%s/LC_NUMERIC", folder);
    bool made = mkdir(folder, 0700) == 0 && write_numeric(path) && setenv("LOCPATH", root, 1) == 0 &&
                setlocale(LC_NUMERIC, NAME) != NULL && strcmp(localeconv()->decimal_point, ",") == 0;
    unlink(path);
    rmdir(folder);
    rmdir(root);
    if (!made) {
        comma_locale_leave();
    }
    return made;
}

void comma_locale_leave(void)
{
    setlocale(LC_NUMERIC, "C");
    unsetenv("LOCPATH");
}
