/* SPDX-License-Identifier: Apache-2.0
 * Pages that carry everything in themselves: style, charts, pictures as data addresses; no scripts, nothing fetched. */
#ifndef EXAMPLES_COMMON_HTML_H
#define EXAMPLES_COMMON_HTML_H

#include <stdbool.h>
#include <stdio.h>

#include "m2snet.h"

/* Text for an element or a quoted attribute, of HTML or SVG. Bytes that are not UTF-8, and control characters, become
 * U+FFFD. */
void html_text(FILE *stream, const char *text);

/* Everything up to the <h1> with the title. style is more CSS, or NULL. The page follows the reader's light or dark
 * scheme through the variables --paper, --ink, --soft, --line and --panel; charts may be put in. */
void html_begin(FILE *stream, const char *title, const char *style);
void html_end(FILE *stream);

/* <img> with the picture (GRAY8 or RGB8) as a PNG in it; alt says what it is. */
m2snet_status html_picture(FILE *stream, m2snet_context *context, const m2snet_image *image, const char *alt,
                           m2snet_error *error);

#endif
