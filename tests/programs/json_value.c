/* SPDX-License-Identifier: Apache-2.0
 * json_value FILE [PATH...]: exits with 0 when FILE is exactly one value of RFC 8259 (no member twice, numbers finite)
 * and has a member at every PATH ("network.median_ms", "steps.0.name"); prints those as they stand in the file. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct parser {
    const char *at;
    const char *wanted; /* path that is looked for; NULL: none */
    const char *found;
    size_t found_bytes;
} parser;

static bool parse_value(parser *p, const char *path, int depth);

static void skip_space(parser *p)
{
    p->at += strspn(p->at, " \t\r\n");
}

static bool parse_string(parser *p)
{
    if (*p->at++ != '"') {
        return false;
    }
    for (; *p->at != '"'; p->at++) {
        unsigned char c = (unsigned char)*p->at;

        if (c < 0x20) {
            return false;
        }
        if (c == '\\') {
            p->at++;
            if (*p->at == 'u') {
                if (strspn(p->at + 1, "0123456789abcdefABCDEF") < 4) {
                    return false;
                }
                p->at += 4;
            } else if (*p->at == '\0' || strchr("\"\\/bfnrt", *p->at) == NULL) {
                return false;
            }
        } else if (c >= 0x80) {
            int more = c >= 0xf0 && c < 0xf5 ? 3 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xc2 && c < 0xe0 ? 1 : 0;

            if (more == 0) {
                return false;
            }
            for (; more > 0; more--) {
                if (((unsigned char)*++p->at & 0xc0) != 0x80) {
                    return false;
                }
            }
        }
    }
    p->at++;
    return true;
}

static size_t digits(parser *p)
{
    size_t count = strspn(p->at, "0123456789");

    p->at += count;
    return count;
}

static bool parse_number(parser *p)
{
    const char *start;

    p->at += *p->at == '-';
    start = p->at;
    if (digits(p) == 0 || (*start == '0' && p->at - start > 1)) {
        return false;
    }
    if (*p->at == '.') {
        p->at++;
        if (digits(p) == 0) {
            return false;
        }
    }
    if (*p->at == 'e' || *p->at == 'E') {
        p->at++;
        p->at += *p->at == '+' || *p->at == '-';
        if (digits(p) == 0) {
            return false;
        }
    }
    return true;
}

static bool parse_members(parser *p, const char *path, int depth, char close)
{
    char *keys[1024];
    size_t count = 0;
    bool fine = true;

    p->at++;
    skip_space(p);
    if (*p->at == close) {
        p->at++;
        return true;
    }
    for (;;) {
        char inner[1024];
        char key[512];

        snprintf(key, sizeof(key), "%zu", count);
        skip_space(p);
        if (close == '}') {
            const char *start = p->at + 1;

            if (!parse_string(p) || p->at - start > 500) {
                fine = false;
                break;
            }
            snprintf(key, sizeof(key), "%.*s", (int)(p->at - start - 1), start);
            skip_space(p);
            for (size_t i = 0; i < count && i < 1024; i++) {
                fine = fine && strcmp(keys[i], key) != 0;
            }
            if (*p->at++ != ':' || !fine) {
                fine = false;
                break;
            }
        }
        snprintf(inner, sizeof(inner), "%s%s%s", path, *path != '\0' ? "." : "", key);
        if (count < 1024) {
            keys[count] = strdup(key);
        }
        count++;
        if (!parse_value(p, inner, depth + 1)) {
            fine = false;
            break;
        }
        skip_space(p);
        if (*p->at == close) {
            p->at++;
            break;
        }
        if (*p->at++ != ',') {
            fine = false;
            break;
        }
    }
    for (size_t i = 0; i < count && i < 1024; i++) {
        free(keys[i]);
    }
    return fine;
}

static bool parse_value(parser *p, const char *path, int depth)
{
    const char *start;
    bool fine;

    skip_space(p);
    start = p->at;
    if (depth > 32) {
        return false;
    }
    if (*p->at == '{' || *p->at == '[') {
        fine = parse_members(p, path, depth, *p->at == '{' ? '}' : ']');
    } else if (*p->at == '"') {
        fine = parse_string(p);
    } else if (strncmp(p->at, "true", 4) == 0 || strncmp(p->at, "null", 4) == 0) {
        p->at += 4;
        fine = true;
    } else if (strncmp(p->at, "false", 5) == 0) {
        p->at += 5;
        fine = true;
    } else {
        fine = parse_number(p);
    }
    if (fine && p->wanted != NULL && strcmp(path, p->wanted) == 0) {
        p->found = start;
        p->found_bytes = (size_t)(p->at - start);
    }
    return fine;
}

int main(int argc, char **argv)
{
    static char text[16 << 20];
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    int code = 0;

    if (file == NULL || fread(text, 1, sizeof(text) - 1, file) == 0) {
        return 2;
    }
    fclose(file);
    for (int i = argc > 2 ? 2 : 1; i < argc; i++) {
        parser p = { .at = text, .wanted = argc > 2 ? argv[i] : NULL };

        if (!parse_value(&p, "", 0) || (skip_space(&p), *p.at != '\0')) {
            fprintf(stderr, "%s: not JSON at byte %td\n", argv[1], p.at - text);
            return 1;
        }
        if (p.wanted != NULL && p.found == NULL) {
            fprintf(stderr, "%s: no %s\n", argv[1], p.wanted);
            code = 1;
        } else if (p.wanted != NULL) {
            printf("%.*s\n", (int)p.found_bytes, p.found);
        }
    }
    return code;
}
