/* SPDX-License-Identifier: Apache-2.0
 * Pictures go up as bytes through the pinned memory, and kernels make inputs of them. The host waits
 * when the pinned memory is full, and once at the end: scratch and stream see to it that pictures follow one another.
 */
#include <string.h>

#include "backends/cuda/device.h"
#include "backends/cuda/pictures.h"

#define ALIGNMENT   256
#define PIECE_BYTES ((size_t)1 << 20) /* of one copy, which goes on while the next rows come */

static m2s_prepare_job job_of(const m2s_prepare_request *request, const m2s_prepare_view *view)
{
    m2s_prepare_job job = { .row_stride_bytes = (ptrdiff_t)view->width * view->channels,
                            .width = view->width,
                            .height = view->height,
                            .channels = view->channels,
                            .x = view->x,
                            .y = view->y,
                            .dst_width = view->dst_width,
                            .dst_height = view->dst_height,
                            .input_width = request->width,
                            .input_height = request->height,
                            .ways = request->ways };

    memcpy(job.mean, request->mean, sizeof job.mean);
    memcpy(job.std, request->std, sizeof job.std);
    memcpy(job.way, request->way, sizeof job.way);
    return job;
}

/* Where the kernels' scratch begins: behind the picture. */
static size_t picture_room(int32_t width, int32_t height, int32_t channels)
{
    size_t bytes = (size_t)width * (size_t)height * (size_t)channels;

    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t view_room(const m2s_prepare_view *view)
{
    return picture_room(view->width, view->height, view->channels);
}

static m2s_cuda_call call_of(const m2s_device *device)
{
    return (m2s_cuda_call){ .stream = device->stream,
                            .storage = M2SNET_DTYPE_F32,
                            .multiprocessors = device->properties.multiprocessors };
}

/* The pinned memory is free after it. */
static m2snet_status wait(m2s_device *device, m2snet_error *error)
{
    return m2s_cuda_fail(error, m2s_cuda_synchronize(device->stream), "making a picture ready");
}

/* What was under way when something failed still reads the pinned memory, which the next copy has. */
static void leave_staging(m2s_device *device, m2snet_status status)
{
    if (status != M2SNET_STATUS_OK) {
        (void)m2s_cuda_synchronize(device->stream);
    }
    pthread_mutex_unlock(&device->copying);
}

size_t m2s_cuda_prepare_bytes(const m2s_device *device, const m2s_prepare_request *request)
{
    size_t most = 0;

    (void)device;
    for (int32_t i = 0; i < request->count; i++) {
        const m2s_prepare_view *view = &request->views[i];
        m2s_prepare_job job = job_of(request, view);
        size_t bytes = view_room(view) + m2s_cuda_prepare_scratch_bytes(&job);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* *staged: bytes of the pinned memory that are on their way. */
static m2snet_status upload_rows(m2s_device *device, const m2s_prepare_view *view, unsigned char *dst, size_t *staged,
                                 m2snet_error *error)
{
    size_t row_bytes = (size_t)view->width * (size_t)view->channels;
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t y = 0; y < view->height;) {
        if (M2S_STAGING_BYTES - *staged < row_bytes) {
            M2S_TRY(wait(device, error));
            *staged = 0;
        }
        unsigned char *from = device->staging + *staged, *to = from;
        for (; y < view->height && M2S_STAGING_BYTES - *staged >= row_bytes && (size_t)(to - from) < PIECE_BYTES; y++) {
            const uint8_t *row = view->row(view->user, y, to);
            if (row != to) {
                memcpy(to, row, row_bytes);
            }
            to += row_bytes;
            *staged += row_bytes;
        }
        M2S_TRY(m2s_cuda_fail(error, m2s_cuda_copy_in(device->stream, dst, from, (size_t)(to - from)),
                              "a picture's copy to the device"));
        dst += to - from;
    }
fail:
    return status;
}

m2snet_status m2s_cuda_prepare_inputs(m2s_device *device, float *inputs, const m2s_prepare_request *request,
                                      unsigned char *scratch, m2snet_error *error)
{
    const m2s_cuda_call call = call_of(device);
    size_t numbers = 3 * (size_t)request->ways * (size_t)request->width * (size_t)request->height, staged = 0;
    m2snet_status status = M2SNET_STATUS_OK;

    pthread_mutex_lock(&device->copying);
    for (int32_t i = 0; i < request->count; i++) {
        const m2s_prepare_view *view = &request->views[i];
        m2s_prepare_job job = job_of(request, view);
        M2S_TRY(upload_rows(device, view, scratch, &staged, error));
        job.pixels = scratch;
        job.dst = inputs + (size_t)i * numbers;
        M2S_TRY(m2s_cuda_fail(error, m2s_cuda_prepare(&call, &job, scratch + view_room(view)), "preparing a picture"));
    }
    status = wait(device, error);
fail:
    leave_staging(device, status);
    return status;
}

/* ---- training ---- */

static size_t job_room(const m2s_augment_job *job)
{
    return picture_room(job->width, job->height, 4);
}

size_t m2s_cuda_augment_bytes(const m2s_device *device, const m2s_augment_request *request)
{
    size_t most = 0;

    (void)device;
    for (int32_t i = 0; i < request->count; i++) {
        const m2s_augment_job *job = &request->jobs[i];
        size_t bytes = job->rgbm != NULL ? job_room(job) + m2s_cuda_augment_scratch_bytes(job) : 0;
        most = bytes > most ? bytes : most;
    }
    return most;
}

static m2snet_status upload(m2s_device *device, const void *src, void *dst, size_t bytes, size_t *staged,
                            m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    for (size_t done = 0, piece; done < bytes; done += piece) {
        if (*staged == M2S_STAGING_BYTES) {
            M2S_TRY(wait(device, error));
            *staged = 0;
        }
        piece = bytes - done < PIECE_BYTES ? bytes - done : PIECE_BYTES;
        piece = piece < M2S_STAGING_BYTES - *staged ? piece : M2S_STAGING_BYTES - *staged;
        memcpy(device->staging + *staged, (const char *)src + done, piece);
        M2S_TRY(m2s_cuda_fail(error,
                              m2s_cuda_copy_in(device->stream, (char *)dst + done, device->staging + *staged, piece),
                              "a picture's copy to the device"));
        *staged += piece;
    }
fail:
    return status;
}

m2snet_status m2s_cuda_augment_batch(m2s_device *device, float *images, float *masks,
                                     const m2s_augment_request *request, unsigned char *scratch, m2snet_error *error)
{
    const m2s_cuda_call call = call_of(device);
    const size_t pixels = (size_t)request->height * (size_t)request->width;
    const size_t numbers[2] = { 3 * pixels, (size_t)request->classes * pixels };
    size_t staged = 0;
    m2snet_status status = M2SNET_STATUS_OK;

    pthread_mutex_lock(&device->copying);
    for (size_t i = 0; i < (size_t)request->count; i++) {
        m2s_augment_job job = request->jobs[i];
        job.image = images + i * numbers[0];
        job.mask = masks + i * numbers[1];
        if (job.rgbm == NULL) {
            M2S_TRY(upload(device, request->images + i * numbers[0], job.image, numbers[0] * sizeof(float), &staged,
                           error));
            M2S_TRY(
                upload(device, request->masks + i * numbers[1], job.mask, numbers[1] * sizeof(float), &staged, error));
            continue;
        }
        M2S_TRY(upload(device, job.rgbm, scratch, 4 * (size_t)job.width * (size_t)job.height, &staged, error));
        job.rgbm = scratch;
        M2S_TRY(m2s_cuda_fail(error, m2s_cuda_augment(&call, &job, scratch + job_room(&job)), "changing a picture"));
    }
    status = wait(device, error);
fail:
    leave_staging(device, status);
    return status;
}
