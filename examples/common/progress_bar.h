/* SPDX-License-Identifier: Apache-2.0
 * How far a program is: a bar on standard error when that is a terminal; lines on standard output; neither when
 * quiet. */
#ifndef EXAMPLES_COMMON_PROGRESS_BAR_H
#define EXAMPLES_COMMON_PROGRESS_BAR_H

#include <stdbool.h>
#include <stddef.h>

#include "m2snet.h"

typedef struct progress_bar {
    bool quiet;
    bool terminal;
    size_t done;
    size_t total;
} progress_bar;

void progress_bar_start(progress_bar *bar, bool quiet, size_t total);
/* Another one of total is done. */
void progress_bar_step(progress_bar *bar);
/* Draws a share (0..1) and text of the caller's, cut to the terminal's width; nothing without a terminal. */
void progress_bar_show(const progress_bar *bar, double share, const char *text);
/* Takes the bar off the screen, before a message. */
void progress_bar_clear(const progress_bar *bar);
/* A line on standard output, above the bar. */
void progress_bar_line(const progress_bar *bar, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* An m2snet_progress_fn: draws the phase of a library call; user is the progress_bar. Never cancels. */
int progress_bar_phase(void *user, const m2snet_progress *progress);

#endif
