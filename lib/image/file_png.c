/* SPDX-License-Identifier: Apache-2.0 */
#include "image/file_png.h"

#include <png.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "image/exif.h"
#include "image/pixels.h"

#define PHASE_DECODE       "decode"
#define PHASE_ENCODE       "encode"
#define DEFLATE_MAX_RATIO  1032u /* bytes out of one byte in; no deflate stream does better */
#define ENCODE_FIRST_BYTES ((size_t)1 << 16)
#define MAX_CHUNK_CACHE    128
#define MAX_CHUNK_BYTES    ((size_t)1 << 20) /* of one metadata chunk; eXIf and palettes fit many times over */
#define MAX_BLOCK_BYTES    ((size_t)4 << 20) /* of one allocation of libpng; its longest row takes an eighth of that */
#define MESSAGE_BYTES      256

/* What libpng's callbacks and the function under setjmp share. It lives in the caller of that function, so nothing of
 * it is lost in a longjmp. */
typedef struct png_job {
    png_structp png;
    png_infop info;
    m2s_memory *memory;
    m2s_control *control;
    const uint8_t *input;
    size_t input_left;
    uint8_t *output;
    size_t output_size, output_capacity;
    size_t refused_bytes; /* the allocation that failed; 0 = none */
    bool cancelled;
    char message[MESSAGE_BYTES];
} png_job;

static void on_error(png_structp png, png_const_charp message)
{
    png_job *job = png_get_error_ptr(png);

    snprintf(job->message, sizeof job->message, "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static png_voidp on_alloc(png_structp png, png_alloc_size_t bytes)
{
    png_job *job = png_get_mem_ptr(png);

    /* Some chunks (eXIf in libpng 1.6.39) are allocated at the size they claim before a byte of them is read. */
    if (bytes > MAX_BLOCK_BYTES) {
        return NULL;
    }
    void *block = m2s_alloc(job->memory, bytes);
    if (block == NULL) {
        job->refused_bytes = bytes;
    }
    return block;
}

static void on_free(png_structp png, png_voidp block)
{
    png_job *job = png_get_mem_ptr(png);

    m2s_free(job->memory, block);
}

static m2snet_status fail_job(const png_job *job, const char *phase, m2snet_error *error)
{
    if (job->cancelled) {
        return m2s_fail_cancelled(error, phase);
    }
    if (job->refused_bytes != 0) {
        return m2s_fail_memory(error, "libpng", job->refused_bytes);
    }
    return m2s_fail(error, M2SNET_STATUS_FORMAT, "cannot %s the PNG: %s", phase, job->message);
}

bool m2s_png_recognise(const uint8_t *data, size_t size_bytes)
{
    static const uint8_t signature[M2S_PNG_SIGNATURE_BYTES] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };

    return size_bytes >= sizeof signature && memcmp(data, signature, sizeof signature) == 0;
}

const char *m2s_png_version(void)
{
    return png_get_libpng_ver(NULL);
}

/* ---- decode ---- */

static void on_read(png_structp png, png_bytep data, size_t bytes)
{
    png_job *job = png_get_io_ptr(png);

    /* libpng asks for a few KiB at a time, so metadata of any size is cancelled as soon as rows are. */
    if (m2s_control_stopped(job->control)) {
        job->cancelled = true;
        png_error(png, "cancelled");
    }
    if (bytes > job->input_left) {
        png_error(png, "the file ends too early");
    }
    memcpy(data, job->input, bytes);
    job->input += bytes;
    job->input_left -= bytes;
}

/* Metadata that could only cost time and memory. The transparency entry is here because alpha is dropped anyway. */
static void ignore_metadata(png_structp png)
{
    static const png_byte chunks[] = "bKGD\0cHRM\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0sBIT\0sCAL\0sPLT\0sRGB\0"
                                     "tEXt\0tIME\0tRNS\0zTXt";

    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, 0);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, chunks, (int)(sizeof chunks / 5));
}

static m2snet_pixel_format set_transforms(png_structp png, png_byte colour, png_byte depth)
{
    bool is_gray = (colour & PNG_COLOR_MASK_COLOR) == 0;

    if (colour == PNG_COLOR_TYPE_PALETTE) {
        png_set_palette_to_rgb(png);
    } else if (is_gray && depth < 8) {
        png_set_expand_gray_1_2_4_to_8(png);
    }
    if ((colour & PNG_COLOR_MASK_ALPHA) != 0) {
        png_set_strip_alpha(png);
    }
    if (depth == 16) {
        if (is_gray) {
            png_set_swap(png);
        } else {
            png_set_scale_16(png);
        }
    }
    return !is_gray ? M2SNET_PIXEL_RGB8 : depth == 16 ? M2SNET_PIXEL_GRAY16 : M2SNET_PIXEL_GRAY8;
}

static int orientation_of(png_structp png, png_infop info)
{
#ifdef PNG_eXIf_SUPPORTED
    png_bytep exif = NULL;
    png_uint_32 bytes = 0;

    if (png_get_eXIf_1(png, info, &bytes, &exif) != 0 && exif != NULL) {
        return m2s_exif_orientation(exif, bytes);
    }
#else
    (void)png;
    (void)info;
#endif
    return 1;
}

/* Errors of libpng come back through setjmp; everything needed afterwards is in *job and *bitmap. */
static m2snet_status decode_guarded(png_job *job, size_t size_bytes, uint64_t max_pixels, m2s_bitmap *bitmap,
                                    int *orientation, m2snet_error *error)
{
    png_structp png = job->png;

    if (setjmp(png_jmpbuf(png)) != 0) {
        return fail_job(job, PHASE_DECODE, error);
    }
    png_set_read_fn(png, job, on_read);
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* ours are checked below, with a better sentence */
    png_set_chunk_cache_max(png, MAX_CHUNK_CACHE);
    png_set_chunk_malloc_max(png, MAX_CHUNK_BYTES);
    ignore_metadata(png);
    png_read_info(png, job->info);

    uint64_t width = png_get_image_width(png, job->info);
    uint64_t height = png_get_image_height(png, job->info);
    m2snet_status checked = m2s_bitmap_check_size(width, height, max_pixels, error);
    if (checked != M2SNET_STATUS_OK) {
        return checked;
    }
    png_byte colour = png_get_color_type(png, job->info);
    png_byte depth = png_get_bit_depth(png, job->info);
    uint64_t raw_bytes = width * height * png_get_channels(png, job->info) * depth / 8;
    if (raw_bytes / DEFLATE_MAX_RATIO > size_bytes) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT,
                        "cannot decode the PNG: %zu bytes cannot hold the %d x %d px that it says it has", size_bytes,
                        (int)width, (int)height);
    }
    m2snet_pixel_format format = set_transforms(png, colour, depth);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, job->info);

    checked = m2s_bitmap_create(job->memory, (int32_t)width, (int32_t)height, format, bitmap, error);
    if (checked != M2SNET_STATUS_OK) {
        return checked;
    }
    size_t row_bytes = (size_t)width * (size_t)m2s_pixel_bytes(format);
    if (png_get_rowbytes(png, job->info) != row_bytes) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "libpng gives rows of %zu bytes where %zu were expected",
                        png_get_rowbytes(png, job->info), row_bytes);
    }
    for (int pass = 0; pass < passes; pass++) {
        for (uint64_t y = 0; y < height; y++) {
            if (m2s_control_report(job->control, PHASE_DECODE, (uint64_t)pass * height + y,
                                   (uint64_t)passes * height)) {
                return m2s_fail_cancelled(error, PHASE_DECODE);
            }
            png_read_row(png, bitmap->pixels + y * row_bytes, NULL);
        }
    }
    png_read_end(png, job->info);
    if (job->refused_bytes != 0) { /* libpng goes on without a chunk, and with eXIf the orientation would be lost */
        return fail_job(job, PHASE_DECODE, error);
    }
    *orientation = orientation_of(png, job->info);
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_png_decode(m2s_memory *memory, const uint8_t *data, size_t size_bytes, uint64_t max_pixels,
                             bool apply_exif, m2s_control *control, m2s_bitmap *bitmap, m2snet_error *error)
{
    m2snet_status status;
    png_job job = { .memory = memory, .control = control, .input = data, .input_left = size_bytes };
    int orientation = 1;

    *bitmap = (m2s_bitmap){ 0 };
    job.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &job, on_error, on_warning, &job, on_alloc, on_free);
    job.info = job.png != NULL ? png_create_info_struct(job.png) : NULL;
    if (job.info == NULL) {
        status = fail_job(&job, PHASE_DECODE, error);
        goto fail;
    }
    M2S_TRY(decode_guarded(&job, size_bytes, max_pixels, bitmap, &orientation, error));
    png_destroy_read_struct(&job.png, &job.info, NULL);
    if (apply_exif) {
        M2S_TRY(m2s_bitmap_orient(bitmap, orientation, control, error));
    }
    return M2SNET_STATUS_OK;

fail:
    png_destroy_read_struct(&job.png, &job.info, NULL);
    m2s_bitmap_release(bitmap);
    return status;
}

/* ---- encode ---- */

static void on_write(png_structp png, png_bytep data, size_t bytes)
{
    png_job *job = png_get_io_ptr(png);
    size_t needed;

    if (!m2s_add(job->output_size, bytes, &needed)) {
        png_error(png, "the file would be too large");
    }
    if (needed > job->output_capacity) {
        size_t larger = job->output_capacity < ENCODE_FIRST_BYTES ? ENCODE_FIRST_BYTES : 2 * job->output_capacity;
        larger = larger < needed ? needed : larger;
        uint8_t *moved = m2s_realloc(job->memory, job->output, larger);
        if (moved == NULL) {
            job->refused_bytes = larger;
            png_error(png, "out of memory");
        }
        job->output = moved;
        job->output_capacity = larger;
    }
    memcpy(job->output + job->output_size, data, bytes);
    job->output_size = needed;
}

static void on_flush(png_structp png)
{
    (void)png;
}

static m2snet_status encode_guarded(png_job *job, const m2snet_image *image, m2snet_error *error)
{
    png_structp png = job->png;

    if (setjmp(png_jmpbuf(png)) != 0) {
        return fail_job(job, PHASE_ENCODE, error);
    }
    png_set_write_fn(png, job, on_write, on_flush);
    png_set_IHDR(png, job->info, (png_uint_32)image->width, (png_uint_32)image->height,
                 image->format == M2SNET_PIXEL_GRAY16 ? 16 : 8,
                 image->format == M2SNET_PIXEL_RGB8 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, job->info);
    if (image->format == M2SNET_PIXEL_GRAY16) {
        png_set_swap(png);
    }
    for (int32_t y = 0; y < image->height; y++) {
        if (m2s_control_report(job->control, PHASE_ENCODE, (uint64_t)y, (uint64_t)image->height)) {
            return m2s_fail_cancelled(error, PHASE_ENCODE);
        }
        png_write_row(png, m2s_image_row(image, y));
    }
    png_write_end(png, NULL);
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_png_encode(m2s_memory *memory, const m2snet_image *image, m2s_control *control, uint8_t **data,
                             size_t *size_bytes, m2snet_error *error)
{
    m2snet_status status;
    png_job job = { .memory = memory, .control = control };

    *data = NULL;
    *size_bytes = 0;
    M2S_TRY(m2s_image_check(image, "the picture to write", error));
    if (image->format != M2SNET_PIXEL_GRAY8 && image->format != M2SNET_PIXEL_GRAY16 &&
        image->format != M2SNET_PIXEL_RGB8) {
        status = m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                          "PNG files are written from GRAY8, GRAY16 and RGB8 pixels, not from format %s",
                          m2s_pixel_format_name(image->format));
        goto fail;
    }
    job.png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &job, on_error, on_warning, &job, on_alloc, on_free);
    job.info = job.png != NULL ? png_create_info_struct(job.png) : NULL;
    if (job.info == NULL) {
        status = fail_job(&job, PHASE_ENCODE, error);
        goto fail;
    }
    M2S_TRY(encode_guarded(&job, image, error));
    png_destroy_write_struct(&job.png, &job.info);
    *data = job.output;
    *size_bytes = job.output_size;
    return M2SNET_STATUS_OK;

fail:
    png_destroy_write_struct(&job.png, &job.info);
    m2s_free(memory, job.output);
    return status;
}

m2snet_status m2s_png_write_file(m2s_memory *memory, const char *path, const m2snet_image *image, m2s_control *control,
                                 m2snet_error *error)
{
    m2snet_status status;
    uint8_t *data = NULL;
    size_t size_bytes;
    m2s_file_writer writer = M2S_FILE_WRITER_NONE;

    M2S_TRY(m2s_png_encode(memory, image, control, &data, &size_bytes, error));
    M2S_TRY(m2s_file_write_begin(memory, path, &writer, error));
    M2S_TRY(m2s_file_write(&writer, data, size_bytes, control, error));
    M2S_TRY(m2s_file_write_commit(&writer, error));
    m2s_free(memory, data);
    return M2SNET_STATUS_OK;

fail:
    m2s_file_write_abort(&writer);
    m2s_free(memory, data);
    return status;
}
