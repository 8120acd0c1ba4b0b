/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE 1
#include "common/html.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/chart.h"
#include "common/paths.h"

/* ---- Text ------------------------------------------------------------------ */

/* Bytes of the character at text that HTML and XML may hold: 1 to 4, or 0. */
static size_t character_bytes(const char *text)
{
    const unsigned char *b = (const unsigned char *)text;
    uint32_t code;
    size_t bytes;

    if (b[0] < 0x80) {
        return b[0] >= 0x20 || b[0] == '\t' || b[0] == '\n' ? 1 : 0;
    }
    bytes = b[0] >= 0xf0 && b[0] <= 0xf4 ? 4 : b[0] >= 0xe0 && b[0] < 0xf0 ? 3 : b[0] >= 0xc2 && b[0] < 0xe0 ? 2 : 0;
    code = bytes == 4 ? b[0] & 0x07u : bytes == 3 ? b[0] & 0x0fu : b[0] & 0x1fu;
    for (size_t i = 1; i < bytes; i++) {
        if ((b[i] & 0xc0u) != 0x80u) {
            return 0;
        }
        code = code << 6 | (b[i] & 0x3fu);
    }
    if ((bytes == 3 && (code < 0x800 || (code >= 0xd800 && code < 0xe000) || code >= 0xfffe)) ||
        (bytes == 4 && (code < 0x10000 || code > 0x10ffff)) || (bytes == 2 && code < 0xa0)) {
        return 0;
    }
    return bytes;
}

void html_text(FILE *stream, const char *text)
{
    while (*text != '\0') {
        size_t bytes = character_bytes(text);

        if (bytes == 0) {
            fputs("\xef\xbf\xbd", stream);
            text++;
        } else if (*text == '&' || *text == '<' || *text == '>' || *text == '"') {
            fputs(*text == '&' ? "&amp;" : *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : "&quot;", stream);
            text++;
        } else {
            fwrite(text, 1, bytes, stream);
            text += bytes;
        }
    }
}

/* ---- Page ------------------------------------------------------------------ */

static const char page_style[] =
    ":root { color-scheme: light dark; --paper: #ffffff; --ink: #1c2127; --soft: #5c6570; --line: #dfe3e8;\n"
    "        --panel: #f6f7f9; }\n"
    "@media (prefers-color-scheme: dark) { :root { --paper: #16191e; --ink: #e6e9ed; --soft: #a3abb6;\n"
    "        --line: #323842; --panel: #1e2229; } }\n"
    "* { box-sizing: border-box; }\n"
    "body { margin: 2rem auto; max-width: 76rem; padding: 0 1.25rem; background: var(--paper); color: var(--ink);\n"
    "       font: 16px/1.5 system-ui, sans-serif; }\n"
    "h1 { font-size: 1.6rem; margin: 0 0 .25rem; }\n"
    "h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--line); }\n"
    "p { margin: .4rem 0; max-width: 60rem; }\n"
    ".soft { color: var(--soft); font-size: .9rem; }\n"
    ".scroll { overflow-x: auto; }\n"
    "table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .95rem; }\n"
    "th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }\n"
    "th { font-weight: 600; color: var(--soft); }\n"
    "th:first-child, td:first-child { text-align: left; padding-left: 0; }\n"
    ".charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)); gap: 1.25rem; }\n"
    "@media (max-width: 26rem) { .charts { grid-template-columns: 1fr; } }\n"
    ".charts > * { background: var(--panel); border-radius: 8px; padding: .75rem; margin: 0; min-width: 0; }\n"
    "img { display: block; max-width: 100%; height: auto; border-radius: 4px; }\n"
    "figure { margin: 0; }\nfigcaption { color: var(--soft); font-size: .85rem; }\n"
    "footer { margin-top: 3rem; padding-top: .75rem; border-top: 1px solid var(--line); color: var(--soft);\n"
    "         font-size: .85rem; }\n";

void html_begin(FILE *stream, const char *title, const char *style)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
          stream);
    html_text(stream, title);
    fprintf(stream, "</title>\n<style>\n%s%s%s</style>\n</head>\n<body>\n<h1>", page_style, chart_style,
            style != NULL ? style : "");
    html_text(stream, title);
    fputs("</h1>\n", stream);
}

void html_end(FILE *stream)
{
    fputs("</body>\n</html>\n", stream);
}

/* ---- Pictures -------------------------------------------------------------- */

static void write_base64(FILE *stream, const unsigned char *bytes, size_t count)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < count; i += 3) {
        uint32_t group = (uint32_t)bytes[i] << 16;

        group |= i + 1 < count ? (uint32_t)bytes[i + 1] << 8 : 0;
        group |= i + 2 < count ? bytes[i + 2] : 0;
        fputc(digits[group >> 18], stream);
        fputc(digits[group >> 12 & 63], stream);
        fputc(i + 1 < count ? digits[group >> 6 & 63] : '=', stream);
        fputc(i + 2 < count ? digits[group & 63] : '=', stream);
    }
}

/* The library writes PNG to files only: one of its own in a folder of its own carries the bytes. */
m2snet_status html_picture(FILE *stream, m2snet_context *context, const m2snet_image *image, const char *alt,
                           m2snet_error *error)
{
    const char *place = getenv("TMPDIR");
    char *folder = format_text("%s/m2snet-XXXXXX", place != NULL && *place != '\0' ? place : "/tmp");
    char *path = NULL;
    unsigned char *png = NULL;
    size_t size_bytes = 0;
    m2snet_status status = M2SNET_STATUS_IO;

    if (mkdtemp(folder) == NULL) {
        if (error != NULL) {
            error->status = status;
            snprintf(error->message, sizeof(error->message), "%s: cannot make a temporary folder", folder);
        }
        free(folder);
        return status;
    }
    path = format_text("%s/picture.png", folder);
    status = m2snet_image_write_png(context, path, image, error);
    if (status == M2SNET_STATUS_OK) {
        png = read_whole_file(path, &size_bytes);
        if (png == NULL) {
            status = M2SNET_STATUS_IO; /* complained about */
            if (error != NULL) {
                error->status = status;
                snprintf(error->message, sizeof(error->message), "%s: cannot be read back", path);
            }
        }
        unlink(path);
    }
    rmdir(folder);
    if (status == M2SNET_STATUS_OK) {
        fprintf(stream, "<img width=\"%d\" height=\"%d\" alt=\"", image->width, image->height);
        html_text(stream, alt);
        fputs("\" src=\"data:image/png;base64,", stream);
        write_base64(stream, png, size_bytes);
        fputs("\">", stream);
    }
    free(png);
    free(path);
    free(folder);
    return status;
}
