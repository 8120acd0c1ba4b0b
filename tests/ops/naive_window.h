/* SPDX-License-Identifier: Apache-2.0
 * naive.h for attention within windows: the map is padded, rolled and cut as it is written down, and softmax goes back
 * by its whole Jacobian. */
#ifndef M2S_TESTS_OPS_NAIVE_WINDOW_H
#define M2S_TESTS_OPS_NAIVE_WINDOW_H

#include "ops/naive.h"

typedef struct naive_windows {
    int64_t side, h, w, sy, sx; /* of the padded map; how far it is rolled */
} naive_windows;

static inline naive_windows naive_windows_of(naive qkv, const m2s_attrs *a)
{
    naive_windows g = { .side = a->kernel };

    g.h = (qkv.shape.h + g.side - 1) / g.side * g.side;
    g.w = (qkv.shape.w + g.side - 1) / g.side * g.side;
    g.sy = g.h > g.side ? a->begin : 0;
    g.sx = g.w > g.side ? a->begin : 0;
    return g;
}

/* Padded with pad (absent: zeros) and rolled up and left. */
static inline naive naive_rolled(naive map, naive pad, naive_windows g)
{
    naive rolled = naive_new(map.shape.n, g.h, g.w, map.shape.c);

    NAIVE_EACH(rolled, n, y, x, c)
    {
        int64_t from_y = (y + g.sy) % g.h, from_x = (x + g.sx) % g.w;
        *naive_at(rolled, n, y, x, c) = naive_inside(map, from_y, from_x) ? *naive_at(map, n, from_y, from_x, c)
                                        : pad.shape.o != 0                ? pad.data[c]
                                                                          : 0.0;
    }
    return rolled;
}

/* 0, 1 or 2: above the last window, above what was rolled in, rolled in. */
static inline int naive_piece(int64_t at, int64_t size, int64_t side, int64_t shift)
{
    return shift == 0 || at < size - side ? 0 : at < size - shift ? 1 : 2;
}

/* Pixels i and j of a window as places of the rolled map. */
#define NAIVE_EACH_PAIR(g, wy, wx, y, x, v, u)                                                                         \
    for (int64_t y = (wy); y < (wy) + (g).side; y++)                                                                   \
        for (int64_t x = (wx); x < (wx) + (g).side; x++)                                                               \
            for (int64_t v = (wy); v < (wy) + (g).side; v++)                                                           \
                for (int64_t u = (wx); u < (wx) + (g).side; u++)

/* Shares of one window and head, pixels x pixels. */
static inline naive naive_shares(naive rolled, naive table, const m2s_attrs *a, naive_windows g, int64_t n, int64_t wy,
                                 int64_t wx, int64_t head)
{
    int64_t depth = rolled.shape.c / 3 / a->groups, pixels = g.side * g.side;
    naive shares = naive_new(pixels, pixels, 1, 1);

    NAIVE_EACH_PAIR(g, wy, wx, y, x, v, u)
    {
        int64_t i = (y - wy) * g.side + x - wx, j = (v - wy) * g.side + u - wx;
        int64_t row = (y - v + g.side - 1) * (2 * g.side - 1) + x - u + g.side - 1;
        double score = *naive_at(table, row, head, 0, 0);
        for (int64_t k = 0; k < depth; k++) {
            score += a->alpha * *naive_at(rolled, n, y, x, head * depth + k) *
                     *naive_at(rolled, n, v, u, rolled.shape.c / 3 + head * depth + k);
        }
        bool apart = naive_piece(y, g.h, g.side, g.sy) != naive_piece(v, g.h, g.side, g.sy) ||
                     naive_piece(x, g.w, g.side, g.sx) != naive_piece(u, g.w, g.side, g.sx);
        *naive_at(shares, i, j, 0, 0) = exp(score - (apart ? 100.0 : 0.0));
    }
    for (int64_t i = 0; i < pixels; i++) {
        double sum = 0.0;
        for (int64_t j = 0; j < pixels; j++) {
            sum += *naive_at(shares, i, j, 0, 0);
        }
        for (int64_t j = 0; j < pixels; j++) {
            *naive_at(shares, i, j, 0, 0) /= sum;
        }
    }
    return shares;
}

/* One window and head: dst += shares V; or, with a gradient of the result, what goes back. */
static inline void naive_head(naive rolled, naive table, const m2s_attrs *a, naive_windows g, int64_t n, int64_t wy,
                              int64_t wx, int64_t head, naive dst, naive diff, naive diff_rolled, naive diff_table)
{
    int64_t part = rolled.shape.c / 3, depth = part / a->groups, pixels = g.side * g.side;
    naive shares = naive_shares(rolled, table, a, g, n, wy, wx, head);
    naive diff_shares = naive_new(pixels, pixels, 1, 1);

    NAIVE_EACH_PAIR(g, wy, wx, y, x, v, u)
    {
        int64_t i = (y - wy) * g.side + x - wx, j = (v - wy) * g.side + u - wx;
        for (int64_t k = 2 * part + head * depth; k < 2 * part + (head + 1) * depth; k++) {
            if (diff.shape.n == 0) {
                *naive_at(dst, n, y, x, k - 2 * part) += *naive_at(shares, i, j, 0, 0) * *naive_at(rolled, n, v, u, k);
                continue;
            }
            double d = *naive_at(diff, n, y, x, k - 2 * part);
            *naive_at(diff_rolled, n, v, u, k) += *naive_at(shares, i, j, 0, 0) * d;
            *naive_at(diff_shares, i, j, 0, 0) += d * *naive_at(rolled, n, v, u, k);
        }
    }
    NAIVE_EACH_PAIR(g, wy, wx, y, x, v, u)
    {
        int64_t i = (y - wy) * g.side + x - wx, j = (v - wy) * g.side + u - wx;
        double d = 0.0;
        for (int64_t l = 0; l < pixels && diff.shape.n != 0; l++) { /* d share_l / d score_j */
            double slope = *naive_at(shares, i, l, 0, 0) * ((j == l ? 1.0 : 0.0) - *naive_at(shares, i, j, 0, 0));
            d += *naive_at(diff_shares, i, l, 0, 0) * slope;
        }
        for (int64_t k = head * depth; k < (head + 1) * depth && diff.shape.n != 0; k++) {
            *naive_at(diff_rolled, n, y, x, k) += a->alpha * d * *naive_at(rolled, n, v, u, part + k);
            *naive_at(diff_rolled, n, v, u, part + k) += a->alpha * d * *naive_at(rolled, n, y, x, k);
        }
        if (diff.shape.n != 0) {
            *naive_at(diff_table, (y - v + g.side - 1) * (2 * g.side - 1) + x - u + g.side - 1, head, 0, 0) += d;
        }
    }
    naive_free(&shares);
    naive_free(&diff_shares);
}

/* in: qkv, table, [pad] */
static inline naive naive_window_attention(const naive *in, int count, const m2s_attrs *a)
{
    naive none = { .shape = { .n = 0 } }, pad = count > 2 ? in[2] : none;
    naive_windows g = naive_windows_of(in[0], a);
    naive rolled = naive_rolled(in[0], pad, g);
    naive all = naive_new(in[0].shape.n, g.h, g.w, in[0].shape.c / 3);
    naive dst = naive_new(in[0].shape.n, in[0].shape.h, in[0].shape.w, in[0].shape.c / 3);

    for (int64_t at = 0; at < in[0].shape.n * a->groups * (g.h / g.side) * (g.w / g.side); at++) {
        int64_t head = at % a->groups, column = at / a->groups % (g.w / g.side);
        int64_t row = at / a->groups / (g.w / g.side) % (g.h / g.side);
        naive_head(rolled, in[1], a, g, at / a->groups / (g.w / g.side) / (g.h / g.side), row * g.side, column * g.side,
                   head, all, none, none, none);
    }
    NAIVE_EACH(dst, n, y, x, c)
    {
        *naive_at(dst, n, y, x, c) = *naive_at(all, n, (y - g.sy + g.h) % g.h, (x - g.sx + g.w) % g.w, c);
    }
    naive_free(&rolled);
    naive_free(&all);
    return dst;
}

/* in: diff, qkv, table, [pad]; out as the operation's. Returns how many. */
static inline int naive_window_attention_back(const naive *in, int count, const m2s_attrs *a, naive *out)
{
    naive none = { .shape = { .n = 0 } }, pad = count > 3 ? in[3] : none;
    naive_windows g = naive_windows_of(in[1], a);
    naive rolled = naive_rolled(in[1], pad, g), diff = naive_rolled(in[0], none, g);
    naive back = naive_new(rolled.shape.n, g.h, g.w, rolled.shape.c);
    naive table = naive_new(in[2].shape.o, in[2].shape.i, 1, 1), padding = naive_new(rolled.shape.c, 1, 1, 1);

    for (int64_t at = 0; at < in[1].shape.n * a->groups * (g.h / g.side) * (g.w / g.side); at++) {
        int64_t head = at % a->groups, column = at / a->groups % (g.w / g.side);
        int64_t row = at / a->groups / (g.w / g.side) % (g.h / g.side);
        naive_head(rolled, in[2], a, g, at / a->groups / (g.w / g.side) / (g.h / g.side), row * g.side, column * g.side,
                   head, none, diff, back, table);
    }
    out[0] = naive_new(in[1].shape.n, in[1].shape.h, in[1].shape.w, in[1].shape.c);
    NAIVE_EACH(back, n, y, x, c)
    {
        int64_t to_y = (y + g.sy) % g.h, to_x = (x + g.sx) % g.w;
        bool inside = naive_inside(out[0], to_y, to_x);
        *(inside ? naive_at(out[0], n, to_y, to_x, c) : &padding.data[c]) += *naive_at(back, n, y, x, c);
    }
    naive_free(&rolled);
    naive_free(&diff);
    naive_free(&back);
    out[1] = table;
    out[2] = padding;
    if (pad.shape.o == 0 || a->frozen) {
        naive_free(&out[2]);
    }
    if (a->frozen) {
        naive_free(&out[1]);
    }
    return a->frozen ? 1 : pad.shape.o == 0 ? 2 : 3;
}

#endif
