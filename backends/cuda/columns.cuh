/* SPDX-License-Identifier: Apache-2.0
 * Activations as columns: the numbers of one channel, pixel by pixel, and what is done down all columns at once: sums
 * (m2s_column_sums, then m2s_column_totals) and maps that know their column's constants (m2s_column_map).
 *
 * A block covers `lanes` vectors of channels side by side and `rows` pixels, and goes down one chunk of the pixels of
 * one image. Chunks are cut from shapes alone: no sum depends on the device. Sums are in double throughout: three or
 * four operations for each number that is read. */
#ifndef M2S_BACKENDS_CUDA_COLUMNS_CUH
#define M2S_BACKENDS_CUDA_COLUMNS_CUH

#include "backends/cuda/pack.cuh"

struct m2s_columns {
    int images; /* cut apart; 1 where sums run over all of them */
    int channels;
    int64_t pixels; /* of an image */
    int lanes, rows;
    int blocks; /* side by side, for all channels */
    int chunks; /* of an image */
    int64_t chunk_pixels;
};

static constexpr int M2S_COLUMN_THREADS = 256;
static constexpr int M2S_COLUMN_LANES = 32;
static constexpr int M2S_COLUMN_FOLD = 16;        /* partial sums that one thread adds up at a time */
static constexpr int M2S_COLUMN_ROUNDS = 4;       /* pixels that a thread sees at least, where there are as many */
static constexpr int M2S_COLUMN_SUM_BLOCKS = 528; /* four for each multiprocessor of the largest devices */
static constexpr int M2S_COLUMN_MAP_BLOCKS = 4224;

/* Cut for vectors of `width` channels into about most_blocks blocks. */
static inline m2s_columns m2s_columns_cut(int64_t images, int64_t pixels, int64_t channels, int width, int most_blocks)
{
    m2s_columns cut = {};
    int64_t vectors = channels / width;

    cut.images = static_cast<int>(images);
    cut.channels = static_cast<int>(channels);
    cut.pixels = pixels;
    cut.blocks = static_cast<int>((vectors + M2S_COLUMN_LANES - 1) / M2S_COLUMN_LANES);
    cut.lanes = static_cast<int>((vectors + cut.blocks - 1) / cut.blocks);
    cut.rows = M2S_COLUMN_THREADS / cut.lanes;
    int64_t least = static_cast<int64_t>(cut.rows) * M2S_COLUMN_ROUNDS;
    int64_t chunks = (pixels + least - 1) / least, most = most_blocks / (images * cut.blocks);
    chunks = chunks < most ? chunks : most > 1 ? most : 1;
    cut.chunk_pixels = (pixels + chunks - 1) / chunks;
    cut.chunks = static_cast<int>((pixels + cut.chunk_pixels - 1) / cut.chunk_pixels);
    return cut;
}

static inline m2s_cuda_grid m2s_columns_grid(const m2s_columns &cut)
{
    return m2s_cuda_grid{ cut.chunks, cut.blocks, cut.images };
}

/* Where a thread stands. */
struct m2s_column_place {
    int lane, row;
    int channel; /* its first */
    bool works;
    int64_t begin, end; /* its chunk's pixels, counted through all images; it starts at begin + row */
};

template <int WIDTH> M2S_HD m2s_column_place m2s_column_place_of(const m2s_columns &cut, const m2s_thread &t)
{
    m2s_column_place place;
    int64_t first = static_cast<int64_t>(t.block_z) * cut.pixels, begin = t.block * cut.chunk_pixels;
    int64_t end = begin + cut.chunk_pixels;

    place.lane = t.thread % cut.lanes;
    place.row = t.thread / cut.lanes;
    place.channel = (t.block_y * cut.lanes + place.lane) * WIDTH;
    place.works = place.row < cut.rows && place.channel < cut.channels;
    place.begin = first + begin;
    place.end = first + (end < cut.pixels ? end : cut.pixels);
    return place;
}

/* The constants of the block's columns, by turns, into shared memory: what rule.prepare(image, channel, constants)
 * makes. One that a channel needs is made once a block, not by each thread. */
template <int WIDTH, class Rule>
M2S_HD void m2s_column_prepare(const Rule &rule, const m2s_columns &cut, const m2s_thread &t, float *shared)
{
    int wide = cut.lanes * WIDTH;

    M2S_NO_UNROLL
    for (int i = t.thread; i < wide; i += t.threads) {
        int channel = t.block_y * wide + i;
        if (channel < cut.channels) {
            float constants[Rule::constants];
            rule.prepare(t.block_z, channel, constants);
            for (int k = 0; k < Rule::constants; k++) {
                shared[k * wide + i] = constants[k];
            }
        }
    }
}

template <int WIDTH, int COUNT>
M2S_HD void m2s_column_constants(const m2s_columns &cut, int lane, const float *shared,
                                 float (&constants)[COUNT][WIDTH])
{
    for (int k = 0; k < COUNT; k++) {
        for (int i = 0; i < WIDTH; i++) {
            constants[k][i] = shared[(k * cut.lanes + lane) * WIDTH + i];
        }
    }
}

/* Bytes of shared memory that a block's constants take, in whole doubles. */
static inline size_t m2s_column_constant_bytes(const m2s_columns &cut, int width, int constants)
{
    return (static_cast<size_t>(cut.lanes * width * constants) * sizeof(float) + 7) / 8 * 8;
}

/* ---- sums ---- */

/* Rule: `sums` numbers are summed down each column; `constants` of a column are made by prepare; at(constants, offset,
 * sum) adds what the WIDTH numbers at this offset give. Result: (images, chunks, sums, channels). */
template <class Rule, int WIDTH> struct m2s_column_sums {
    static constexpr int phases = 4;
    static constexpr int values = Rule::sums * WIDTH;

    Rule rule;
    m2s_columns cut;
    double *partial;
    int constant_bytes;

    M2S_HD void add_pixels(const m2s_column_place &place, const float *constant, double *stage) const
    {
        float constants[Rule::constants][WIDTH];
        double sum[Rule::sums][WIDTH] = {};

        m2s_column_constants<WIDTH>(cut, place.lane, constant, constants);
        int64_t p = place.begin + place.row, step = static_cast<int64_t>(cut.rows) * cut.channels;
        for (; p + 3 * cut.rows < place.end; p += 4 * cut.rows) { /* four reads are under way at once */
            M2S_UNROLL
            for (int k = 0; k < 4; k++) {
                rule.template at<WIDTH>(constants, p * cut.channels + place.channel + k * step, sum);
            }
        }
        M2S_NO_UNROLL
        for (; p < place.end; p += cut.rows) {
            rule.template at<WIDTH>(constants, p * cut.channels + place.channel, sum);
        }
        for (int k = 0; k < values; k++) {
            stage[(place.row * values + k) * cut.lanes + place.lane] = sum[k / WIDTH][k % WIDTH];
        }
    }

    M2S_HD void run(int phase, const m2s_thread &t, char *shared) const
    {
        const m2s_column_place place = m2s_column_place_of<WIDTH>(cut, t);
        float *constant = reinterpret_cast<float *>(shared);
        double *stage = reinterpret_cast<double *>(shared + constant_bytes);

        if (phase == 0) {
            m2s_column_prepare<WIDTH>(rule, cut, t, constant);
        } else if (phase == 1 && place.works) {
            add_pixels(place, constant, stage);
        } else if (phase == 2 && place.works && place.row < M2S_COLUMN_FOLD) {
            for (int k = 0; k < values; k++) {
                double sum = 0.0;
                for (int row = place.row; row < cut.rows; row += M2S_COLUMN_FOLD) {
                    sum += stage[(row * values + k) * cut.lanes + place.lane];
                }
                stage[(place.row * values + k) * cut.lanes + place.lane] = sum;
            }
        } else if (phase == 3) {
            int rows = cut.rows < M2S_COLUMN_FOLD ? cut.rows : M2S_COLUMN_FOLD;
            for (int v = t.thread; v < values * cut.lanes; v += t.threads) {
                int k = v / cut.lanes, channel = (t.block_y * cut.lanes + v % cut.lanes) * WIDTH + k % WIDTH;
                double sum = 0.0;
                if (channel >= cut.channels) {
                    continue;
                }
                for (int row = 0; row < rows; row++) {
                    sum += stage[row * values * cut.lanes + v];
                }
                int64_t chunk = static_cast<int64_t>(t.block_z) * cut.chunks + t.block;
                partial[(chunk * Rule::sums + k / WIDTH) * cut.channels + channel] = sum;
            }
        }
    }
};

/* Adds up the chunks: finish.column(image, channel, totals) gets each column's. */
template <class Finish> struct m2s_column_totals {
    static constexpr int phases = 2;
    static constexpr int sums = Finish::sums;

    Finish finish;
    m2s_columns cut;
    const double *partial;

    M2S_HD void run(int phase, const m2s_thread &t, char *shared) const
    {
        double *stage = reinterpret_cast<double *>(shared);
        int lane = t.thread % M2S_COLUMN_FOLD, part = t.thread / M2S_COLUMN_FOLD;
        int channel = t.block * M2S_COLUMN_FOLD + lane;
        double total[sums] = {};

        if (channel >= cut.channels || (phase == 1 && part != 0)) {
            return;
        }
        if (phase == 0) {
            const double *image = partial + static_cast<int64_t>(t.block_y) * cut.chunks * sums * cut.channels;
            for (int chunk = part; chunk < cut.chunks; chunk += M2S_COLUMN_FOLD) {
                for (int k = 0; k < sums; k++) {
                    total[k] += image[(static_cast<int64_t>(chunk) * sums + k) * cut.channels + channel];
                }
            }
            for (int k = 0; k < sums; k++) {
                stage[(part * sums + k) * M2S_COLUMN_FOLD + lane] = total[k];
            }
            return;
        }
        for (int i = 0; i < M2S_COLUMN_FOLD; i++) {
            for (int k = 0; k < sums; k++) {
                total[k] += stage[(i * sums + k) * M2S_COLUMN_FOLD + lane];
            }
        }
        finish.column(t.block_y, channel, total);
    }
};

/* Writes the totals themselves: (images, sums, channels). */
template <int SUMS> struct m2s_column_store {
    static constexpr int sums = SUMS;
    double *totals;
    int channels;

    M2S_HD void column(int image, int channel, const double (&total)[SUMS]) const
    {
        for (int k = 0; k < SUMS; k++) {
            totals[(static_cast<int64_t>(image) * SUMS + k) * channels + channel] = total[k];
        }
    }
};

template <int WIDTH, class Rule>
int m2s_launch_column_sums(const m2s_cuda_call *call, const Rule &rule, const m2s_columns &cut, double *partial)
{
    size_t constant_bytes = m2s_column_constant_bytes(cut, WIDTH, Rule::constants);
    m2s_column_sums<Rule, WIDTH> body = { rule, cut, partial, static_cast<int>(constant_bytes) };
    size_t stage_bytes = static_cast<size_t>(cut.rows * cut.lanes * body.values) * sizeof(double);

    return m2s_cuda_launch(call, body, m2s_columns_grid(cut), M2S_COLUMN_THREADS, constant_bytes + stage_bytes);
}

template <class Finish>
int m2s_launch_column_totals(const m2s_cuda_call *call, const Finish &finish, const m2s_columns &cut,
                             const double *partial)
{
    m2s_column_totals<Finish> body = { finish, cut, partial };
    m2s_cuda_grid grid = { (cut.channels + M2S_COLUMN_FOLD - 1) / M2S_COLUMN_FOLD, cut.images, 1 };

    return m2s_cuda_launch(call, body, grid, M2S_COLUMN_THREADS,
                           static_cast<size_t>(M2S_COLUMN_THREADS * Finish::sums) * sizeof(double));
}

static inline size_t m2s_column_partial_bytes(const m2s_columns &cut, int sums)
{
    return static_cast<size_t>(cut.images) * static_cast<size_t>(cut.chunks) * static_cast<size_t>(sums) *
           static_cast<size_t>(cut.channels) * sizeof(double);
}

/* ---- maps ---- */

/* Rule: `constants` of a column are made by prepare; at(constants, offset) makes the WIDTH numbers at this offset. */
template <class Rule, int WIDTH> struct m2s_column_map {
    static constexpr int phases = 2;

    Rule rule;
    m2s_columns cut;

    M2S_HD void run(int phase, const m2s_thread &t, char *shared) const
    {
        float *constant = reinterpret_cast<float *>(shared);
        float constants[Rule::constants][WIDTH];

        if (phase == 0) {
            m2s_column_prepare<WIDTH>(rule, cut, t, constant);
            return;
        }
        const m2s_column_place place = m2s_column_place_of<WIDTH>(cut, t);
        if (!place.works) {
            return;
        }
        m2s_column_constants<WIDTH>(cut, place.lane, constant, constants);
        for (int64_t p = place.begin + place.row; p < place.end; p += cut.rows) {
            rule.template at<WIDTH>(constants, p * cut.channels + place.channel);
        }
    }
};

template <int WIDTH, class Rule>
int m2s_launch_column_map(const m2s_cuda_call *call, const Rule &rule, int64_t images, int64_t pixels, int64_t channels)
{
    m2s_columns cut = m2s_columns_cut(images, pixels, channels, WIDTH, M2S_COLUMN_MAP_BLOCKS);
    m2s_column_map<Rule, WIDTH> body = { rule, cut };

    return m2s_cuda_launch(call, body, m2s_columns_grid(cut), M2S_COLUMN_THREADS,
                           m2s_column_constant_bytes(cut, WIDTH, Rule::constants));
}

#endif
