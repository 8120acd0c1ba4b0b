/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE 1
#include "progress_bar.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WIDTH 32

static void draw(const progress_bar *bar, double share, const char *text)
{
    char cells[WIDTH + 1];
    int filled = (int)(share * WIDTH);

    memset(cells, ' ', WIDTH);
    memset(cells, '#', (size_t)(filled < 0 ? 0 : filled > WIDTH ? WIDTH : filled));
    cells[WIDTH] = '\0';
    if (bar->terminal) {
        fprintf(stderr, "\r[%s] %s\033[K", cells, text);
        fflush(stderr);
    }
}

static void draw_count(const progress_bar *bar)
{
    char text[64];

    if (bar->total != 0 && bar->done < bar->total) {
        snprintf(text, sizeof(text), "%zu/%zu", bar->done, bar->total);
        draw(bar, (double)bar->done / (double)bar->total, text);
    }
}

void progress_bar_start(progress_bar *bar, bool quiet, size_t total)
{
    const char *terminal = getenv("TERM");

    *bar = (progress_bar){ .quiet = quiet, .total = total };
    bar->terminal = !quiet && isatty(STDERR_FILENO) && terminal != NULL && strcmp(terminal, "dumb") != 0;
    draw_count(bar);
}

void progress_bar_step(progress_bar *bar)
{
    bar->done++;
    if (bar->done == bar->total) {
        progress_bar_clear(bar);
    } else {
        draw_count(bar);
    }
}

void progress_bar_show(const progress_bar *bar, double share, const char *text)
{
    struct winsize size = { 0 };
    int room = 80;
    char cut[400];

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        room = size.ws_col;
    }
    room -= WIDTH + 4;
    snprintf(cut, sizeof(cut), "%.*s", room > 0 ? room : 0, text);
    draw(bar, share, cut);
}

void progress_bar_clear(const progress_bar *bar)
{
    if (bar->terminal) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
}

void progress_bar_line(const progress_bar *bar, const char *format, ...)
{
    va_list arguments;

    if (bar->quiet) {
        return;
    }
    progress_bar_clear(bar);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout); /* lines appear as they come, in a pipe too */
    draw_count(bar);
}

int progress_bar_phase(void *user, const m2snet_progress *progress)
{
    const progress_bar *bar = user;

    draw(bar, progress->total != 0 ? (double)progress->done / (double)progress->total : 0.0, progress->phase);
    return 0;
}
