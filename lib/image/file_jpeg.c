/* SPDX-License-Identifier: Apache-2.0 */
#include "image/file_jpeg.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h> /* needs stdio.h before it */

#include <jerror.h>

#include "image/exif.h"

#define PHASE            "decode"
#define MARKER_APP1      (JPEG_APP0 + 1)
#define EXIF_NAME        "Exif\0" /* and the literal's own zero byte */
#define EXIF_NAME_BYTES  6u
#define MAX_MARKER_BYTES 0xffffu

#define TEXT_OF(value) #value
#define TEXT(value)    TEXT_OF(value)

/* What libjpeg's callbacks and the function under setjmp share. It lives in the caller of that function, so nothing of
 * it is lost in a longjmp. */
typedef struct jpeg_job {
    struct jpeg_decompress_struct decoder; /* its err points at errors, its progress at progress */
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    m2s_memory *memory;
    m2s_control *control;
    uint8_t *cmyk_row;
    int code; /* libjpeg's number of the message */
    bool cancelled;
    bool too_many_scans;
    char message[JMSG_LENGTH_MAX];
} jpeg_job;

_Noreturn static void give_up(j_common_ptr decoder)
{
    jpeg_job *job = decoder->client_data;

    job->code = decoder->err->msg_code;
    decoder->err->format_message(decoder, job->message);
    longjmp(job->jump, 1);
}

/* Warnings are about data that libjpeg fills in by guessing. A guess about pixels is refused; these are not. */
static bool is_harmless(int code)
{
    return code == JWRN_EXTRANEOUS_DATA || code == JWRN_NOT_SEQUENTIAL || code == JWRN_ADOBE_XFORM ||
           code == JWRN_TOO_MUCH_DATA || code == JWRN_BOGUS_ICC;
}

static void on_message(j_common_ptr decoder, int level)
{
    if (level < 0 && !is_harmless(decoder->err->msg_code)) {
        give_up(decoder);
    }
}

static void on_output(j_common_ptr decoder)
{
    (void)decoder;
}

/* Called at least once a row of blocks, also while a progressive file is read scan by scan. */
static void on_progress(j_common_ptr decoder)
{
    jpeg_job *job = decoder->client_data;
    const struct jpeg_progress_mgr *progress = decoder->progress;

    if (job->decoder.input_scan_number > M2S_JPEG_MAX_SCANS) {
        job->too_many_scans = true;
        longjmp(job->jump, 1);
    }
    if (m2s_control_report(job->control, PHASE, (uint64_t)progress->pass_counter, (uint64_t)progress->pass_limit)) {
        job->cancelled = true;
        longjmp(job->jump, 1);
    }
}

static m2snet_status fail_job(const jpeg_job *job, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_FORMAT;

    if (job->cancelled) {
        return m2s_fail_cancelled(error, PHASE);
    }
    if (job->too_many_scans) {
        return m2s_fail(error, M2SNET_STATUS_LIMIT, "cannot decode the JPEG: it has more than %d scans",
                        M2S_JPEG_MAX_SCANS);
    }
    switch (job->code) {
    case JERR_OUT_OF_MEMORY:
        return m2s_fail(error, M2SNET_STATUS_OUT_OF_MEMORY, "out of memory: libjpeg (%s)", job->message);
    case JERR_BAD_PRECISION:
    case JERR_SOF_UNSUPPORTED:
    case JERR_ARITH_NOTIMPL:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_CCIR601_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL:
        status = M2SNET_STATUS_UNSUPPORTED;
        break;
    default:
        break;
    }
    return m2s_fail(error, status, "cannot decode the JPEG: %s", job->message);
}

bool m2s_jpeg_recognise(const uint8_t *data, size_t size_bytes)
{
    return size_bytes >= 3 && data[0] == 0xff && data[1] == 0xd8 && data[2] == 0xff;
}

const char *m2s_jpeg_version(void)
{
#ifdef LIBJPEG_TURBO_VERSION
    return "libjpeg-turbo " TEXT(LIBJPEG_TURBO_VERSION);
#else
    return "libjpeg " TEXT(JPEG_LIB_VERSION);
#endif
}

static int orientation_of(const struct jpeg_decompress_struct *decoder)
{
    for (jpeg_saved_marker_ptr marker = decoder->marker_list; marker != NULL; marker = marker->next) {
        if (marker->marker == MARKER_APP1 && marker->data_length >= EXIF_NAME_BYTES &&
            memcmp(marker->data, EXIF_NAME, EXIF_NAME_BYTES) == 0) {
            return m2s_exif_orientation(marker->data + EXIF_NAME_BYTES, marker->data_length - EXIF_NAME_BYTES);
        }
    }
    return 1;
}

/* a * b / 255, rounded to nearest. */
static uint8_t scaled(uint32_t a, uint32_t b)
{
    uint32_t product = a * b + 128;

    return (uint8_t)((product + (product >> 8)) >> 8);
}

/* Stored inverted: 255 is no ink. Light left by an ink is what the ink leaves of what black leaves. */
static void cmyk_to_rgb(const uint8_t *cmyk, uint8_t *rgb, int32_t width)
{
    for (ptrdiff_t i = 0; i < width; i++) {
        uint32_t black = cmyk[4 * i + 3];
        for (ptrdiff_t c = 0; c < 3; c++) {
            rgb[3 * i + c] = (uint8_t)(black - scaled(255u - cmyk[4 * i + c], black));
        }
    }
}

/* Errors of libjpeg come back through setjmp; everything needed afterwards is in *job and *bitmap. */
static m2snet_status decode_guarded(jpeg_job *job, const uint8_t *data, size_t size_bytes, uint64_t max_pixels,
                                    m2s_bitmap *bitmap, int *orientation, m2snet_error *error)
{
    struct jpeg_decompress_struct *decoder = &job->decoder;

    if (setjmp(job->jump) != 0) {
        return fail_job(job, error);
    }
    jpeg_create_decompress(decoder);
    decoder->progress = &job->progress;
    jpeg_mem_src(decoder, data, (unsigned long)size_bytes);
    jpeg_save_markers(decoder, MARKER_APP1, MAX_MARKER_BYTES);
    jpeg_read_header(decoder, TRUE);

    m2snet_status status = m2s_bitmap_check_size(decoder->image_width, decoder->image_height, max_pixels, error);
    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    *orientation = orientation_of(decoder);
    bool is_gray = decoder->jpeg_color_space == JCS_GRAYSCALE;
    bool is_cmyk = decoder->jpeg_color_space == JCS_CMYK || decoder->jpeg_color_space == JCS_YCCK;
    decoder->out_color_space = is_gray ? JCS_GRAYSCALE : is_cmyk ? JCS_CMYK : JCS_RGB;
    decoder->dct_method = JDCT_ISLOW;
    decoder->do_fancy_upsampling = TRUE;

    int32_t width = (int32_t)decoder->image_width;
    status = m2s_bitmap_create(job->memory, width, (int32_t)decoder->image_height,
                               is_gray ? M2SNET_PIXEL_GRAY8 : M2SNET_PIXEL_RGB8, bitmap, error);
    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    if (is_cmyk && (job->cmyk_row = m2s_alloc_array(job->memory, (size_t)width, 4)) == NULL) {
        return m2s_fail_memory(error, "a row of CMYK pixels", (size_t)width * 4);
    }
    jpeg_start_decompress(decoder);
    size_t row_bytes = (size_t)width * (is_gray ? 1u : 3u);
    while (decoder->output_scanline < decoder->output_height) {
        uint8_t *row = bitmap->pixels + decoder->output_scanline * row_bytes;
        JSAMPROW target = is_cmyk ? job->cmyk_row : row;
        if (jpeg_read_scanlines(decoder, &target, 1) != 1) {
            return m2s_fail(error, M2SNET_STATUS_INTERNAL, "libjpeg gave no row where one was expected");
        }
        if (is_cmyk) {
            cmyk_to_rgb(job->cmyk_row, row, width);
        }
    }
    jpeg_finish_decompress(decoder);
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_jpeg_decode(m2s_memory *memory, const uint8_t *data, size_t size_bytes, uint64_t max_pixels,
                              bool apply_exif, m2s_control *control, m2s_bitmap *bitmap, m2snet_error *error)
{
    m2snet_status status;
    jpeg_job job = { .memory = memory, .control = control };
    int orientation = 1;

    *bitmap = (m2s_bitmap){ 0 };
    job.decoder.err = jpeg_std_error(&job.errors);
    job.decoder.client_data = &job;
    job.errors.error_exit = give_up;
    job.errors.emit_message = on_message;
    job.errors.output_message = on_output;
    job.progress.progress_monitor = on_progress;
    M2S_TRY(decode_guarded(&job, data, size_bytes, max_pixels, bitmap, &orientation, error));
    jpeg_destroy_decompress(&job.decoder);
    m2s_free(memory, job.cmyk_row);
    if (apply_exif) {
        job.cmyk_row = NULL;
        m2snet_status turned = m2s_bitmap_orient(bitmap, orientation, control, error);
        if (turned != M2SNET_STATUS_OK) {
            m2s_bitmap_release(bitmap);
            return turned;
        }
    }
    return M2SNET_STATUS_OK;

fail:
    jpeg_destroy_decompress(&job.decoder);
    m2s_free(memory, job.cmyk_row);
    m2s_bitmap_release(bitmap);
    return status;
}
