/* SPDX-License-Identifier: Apache-2.0
 * What m2snet-train tells while it runs: a bar, lines, two CSV files. A run that goes on continues the files: rows of
 * steps that are taken again are replaced. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/timing.h"
#include "train.h"

#define LINE_EVERY_MS 30000.0
#define MOST_STEPS    2000 /* that the page draws; beyond, every second, fourth, ... is kept */

static const char steps_header[] =
    "step,epoch,batch,updates,loss,bce,iou,dice,cross_entropy,lossnet,grad_norm,rate,finite,images,height,width,"
    "milliseconds,waiting_milliseconds,loss_scale\n";
static const char epochs_header[] =
    "epoch,step,updates,loss,bce,iou,dice,cross_entropy,lossnet,rate,images,bad_steps,unreadable,seconds,"
    "waiting_seconds,validation_dice,validation_iou,validation_images,validation_seconds,is_best\n";

void duration_text(double seconds, char *text, size_t bytes)
{
    long whole = seconds > 0.0 && seconds < 1e9 ? lround(seconds) : 0;

    if (whole >= 3600) {
        snprintf(text, bytes, "%ld h %02ld min", whole / 3600, whole / 60 % 60);
    } else if (whole >= 60) {
        snprintf(text, bytes, "%ld min %02ld s", whole / 60, whole % 60);
    } else {
        snprintf(text, bytes, "%ld s", whole);
    }
}

void log_begin(train_log *log, const settings *set, progress_bar *bar)
{
    *log = (train_log){ .set = set, .bar = bar, .first_step = -1, .step_stride = 1 };
    log->steps_path = format_text("%s/steps.csv", set->output);
    log->epochs_path = format_text("%s/epochs.csv", set->output);
    log->started_ms = log->last_line_ms = now_ms();
}

void log_end(train_log *log)
{
    if (log->steps != NULL) {
        fclose(log->steps);
    }
    free(log->steps_path);
    free(log->epochs_path);
    free(log->step_list);
    free(log->epoch_list);
}

static void failed(train_log *log, const char *path)
{
    if (!log->failed) {
        progress_bar_clear(log->bar);
        complain("%s: cannot write it: %s; the training goes on", path, strerror(errno));
    }
    log->failed = true;
}

/* ---- what is kept ---- */

static void keep_step(train_log *log, double step, double loss, double rate)
{
    if ((size_t)step % log->step_stride != 0) {
        return;
    }
    if (log->step_count == MOST_STEPS) {
        log->step_stride *= 2;
        size_t kept = 0;
        for (size_t i = 0; i < log->step_count; i++) {
            if ((size_t)log->step_list[i].step % log->step_stride == 0) {
                log->step_list[kept++] = log->step_list[i];
            }
        }
        log->step_count = kept;
    }
    if (log->step_list == NULL) {
        log->step_list = must_alloc(MOST_STEPS * sizeof *log->step_list);
    }
    if (log->step_count < MOST_STEPS) {
        log->step_list[log->step_count++] = (step_entry){ step, loss, rate };
    }
}

static void keep_epoch(train_log *log, const epoch_entry *entry)
{
    if (log->epoch_count == log->epoch_capacity) {
        size_t capacity = log->epoch_capacity == 0 ? 64 : 2 * log->epoch_capacity;
        epoch_entry *list = must_alloc(capacity * sizeof *list);
        if (log->epoch_count > 0) {
            memcpy(list, log->epoch_list, log->epoch_count * sizeof *list);
        }
        free(log->epoch_list);
        log->epoch_list = list;
        log->epoch_capacity = capacity;
    }
    log->epoch_list[log->epoch_count++] = *entry;
}

/* ---- files that go on ---- */

/* The number in column index of a line; NaN when there is none. */
static double column(const char *line, int index)
{
    char *end;

    while (index-- > 0) {
        line = strchr(line, ',');
        if (line == NULL) {
            return NAN;
        }
        line++;
    }
    double value = strtod(line, &end);
    return end != line ? value : NAN;
}

/* Begins the file anew with the header and those rows of the old one whose first column is below limit. */
static FILE *go_on(train_log *log, const char *path, const char *header, double limit, bool keeps,
                   void (*row)(train_log *log, const char *line))
{
    size_t bytes = 0;
    FILE *old = keeps ? fopen(path, "r") : NULL;
    char *text = NULL, *line = NULL;
    size_t room = 0;
    FILE *made = open_memstream(&text, &bytes);

    if (made == NULL) {
        if (old != NULL) {
            fclose(old);
        }
        return NULL;
    }
    fputs(header, made);
    while (old != NULL && getline(&line, &room, old) > 0) {
        if (strchr(line, '\n') != NULL && column(line, 0) < limit) { /* a last line that was cut off is left out */
            fputs(line, made);
            row(log, line);
        }
    }
    free(line);
    if (old != NULL) {
        fclose(old);
    }
    fclose(made);
    bool written = write_whole_file(path, NULL, 0, text, bytes);
    free(text);
    return written ? fopen(path, "a") : NULL;
}

static void old_step(train_log *log, const char *line)
{
    keep_step(log, column(line, 0), column(line, 4), column(line, 11));
}

static void old_epoch(train_log *log, const char *line)
{
    epoch_entry entry = { .epoch = column(line, 0),
                          .step = column(line, 1),
                          .loss = column(line, 3),
                          .bce = column(line, 4),
                          .iou = column(line, 5),
                          .dice = column(line, 6),
                          .cross_entropy = column(line, 7),
                          .lossnet = column(line, 8),
                          .rate = column(line, 9),
                          .seconds = column(line, 13),
                          .validation_dice = column(line, 15),
                          .validation_iou = column(line, 16) };

    keep_epoch(log, &entry);
}

/* ---- a step ---- */

static void put_number(FILE *stream, double value)
{
    if (isfinite(value)) {
        fprintf(stream, ",%.9g", value);
    } else {
        fputs(",", stream); /* no CSV reader agrees on how to spell it */
    }
}

static void write_step(train_log *log, const m2snet_train_row *row)
{
    const double numbers[] = { row->loss,          row->bce,     row->iou,       row->dice,
                               row->cross_entropy, row->lossnet, row->grad_norm, row->rate };

    if (log->steps == NULL && !log->failed) {
        log->steps = go_on(log, log->steps_path, steps_header, (double)row->step, log->set->resume != 0, old_step);
        if (log->steps == NULL) {
            failed(log, log->steps_path);
        }
    }
    if (log->steps == NULL) {
        return;
    }
    fprintf(log->steps, "%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64, row->step, row->epoch, row->batch,
            row->updates);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        put_number(log->steps, numbers[i]);
    }
    fprintf(log->steps, ",%d,%d,%d,%d,%.3f,%.3f,%.0f\n", (int)row->finite, (int)row->images, (int)row->height,
            (int)row->width, row->milliseconds, row->waiting_milliseconds, row->loss_scale);
    if (fflush(log->steps) != 0) {
        failed(log, log->steps_path);
    }
}

/* "loss 0.8123 (bce 0.3012 iou 0.5111)" */
static void loss_text(double loss, const double terms[5], char *text, size_t bytes)
{
    static const char *const names[] = { "bce", "iou", "dice", "ce", "lossnet" };
    size_t used = (size_t)snprintf(text, bytes, "loss %.4f (", loss);
    bool first = true;

    for (int i = 0; i < 5 && used < bytes; i++) {
        if (terms[i] != 0.0) {
            used += (size_t)snprintf(text + used, bytes - used, "%s%s %.4f", first ? "" : " ", names[i], terms[i]);
            first = false;
        }
    }
    if (used < bytes) {
        snprintf(text + used, bytes - used, ")");
    }
}

static void status_text(const train_log *log, const m2snet_train_row *row, char *text, size_t bytes)
{
    const double terms[5] = { row->bce, row->iou, row->dice, row->cross_entropy, row->lossnet };
    double done = (double)(row->step - log->first_step) + 1.0;
    double left = log->planned_steps > row->step ? (double)(log->planned_steps - row->step) : 0.0;
    double per_step = (now_ms() - log->started_ms) / done;
    char loss[160], time[32];

    loss_text(row->loss, terms, loss, sizeof loss);
    duration_text(left * per_step * 1e-3, time, sizeof time);
    snprintf(text, bytes, "epoch %" PRId64 "/%" PRId64 ", %" PRId64 "/%" PRId64 ", %s, %.1f images/s, %s left",
             row->epoch + 1, log->set->fit.epochs, row->batch + 1, row->batches, loss,
             log->seen_ms > 0.0 ? 1e3 * log->seen_images / log->seen_ms : 0.0, time);
}

static void show_step(train_log *log, const m2snet_train_row *row)
{
    double now = now_ms();
    char text[400];

    status_text(log, row, text, sizeof text);
    if (log->bar->terminal) {
        progress_bar_show(log->bar, (double)(row->batch + 1) / (double)row->batches, text);
    } else if (now - log->last_line_ms > LINE_EVERY_MS) {
        progress_bar_line(log->bar, "%s", text);
        log->last_line_ms = now;
    }
}

void log_step(train_log *log, const m2snet_train_row *row)
{
    if (log->first_step < 0) {
        log->first_step = row->step;
        log->started_ms = now_ms() - row->milliseconds;
        log->planned_steps = row->step + (log->set->fit.epochs - row->epoch) * row->batches - row->batch - 1;
    }
    /* Speed of about the last hundred steps. */
    log->seen_images = 0.99 * log->seen_images + row->images;
    log->seen_ms = 0.99 * log->seen_ms + row->milliseconds + row->waiting_milliseconds;
    write_step(log, row);
    keep_step(log, (double)row->step, row->finite ? row->loss : NAN, row->rate);
    if (!row->finite && isfinite(row->loss) &&
        row->loss_scale > 1.0) { /* a step or two, now and then: as it should be */
        progress_bar_line(log->bar, "step %" PRId64 ": a gradient is beyond F16 at loss scale %.0f: skipped, now %.0f",
                          row->step, row->loss_scale, 0.5 * row->loss_scale);
    } else if (!row->finite) {
        progress_bar_clear(log->bar);
        complain("step %" PRId64 " (epoch %" PRId64 ", batch %" PRId64
                 "): loss or gradient is not finite (learning rate "
                 "%g): skipped, %d in a row",
                 row->step, row->epoch + 1, row->batch + 1, row->rate, (int)row->bad_steps);
    }
    show_step(log, row);
}

/* ---- an epoch ---- */

static void write_epoch(train_log *log, const m2snet_epoch_row *row)
{
    const double numbers[] = { row->loss, row->bce, row->iou, row->dice, row->cross_entropy, row->lossnet, row->rate };
    bool keeps = log->set->resume != 0 || log->epochs_begun;

    log->epoch_count = 0; /* they come back from the file */
    FILE *file = go_on(log, log->epochs_path, epochs_header, (double)row->epoch, keeps, old_epoch);
    if (file == NULL) {
        failed(log, log->epochs_path);
        return;
    }
    log->epochs_begun = true;
    fprintf(file, "%" PRId64 ",%" PRId64 ",%" PRId64, row->epoch, row->step, row->updates);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        put_number(file, numbers[i]);
    }
    fprintf(file, ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%.3f,%.3f", row->images, row->bad_steps, row->unreadable,
            row->seconds, row->waiting_seconds);
    if (row->validated) {
        fprintf(file, ",%.9g,%.9g,%d,%.3f,%d\n", row->validation_dice, row->validation_iou, (int)row->validation_images,
                row->validation_seconds, (int)row->is_best);
    } else {
        fputs(",,,,,\n", file);
    }
    if (fclose(file) != 0) {
        failed(log, log->epochs_path);
    }
}

void log_epoch(train_log *log, const m2snet_epoch_row *row)
{
    const double terms[5] = { row->bce, row->iou, row->dice, row->cross_entropy, row->lossnet };
    epoch_entry entry = { .epoch = (double)row->epoch,
                          .step = (double)row->step,
                          .loss = row->loss,
                          .bce = row->bce,
                          .iou = row->iou,
                          .dice = row->dice,
                          .cross_entropy = row->cross_entropy,
                          .lossnet = row->lossnet,
                          .rate = row->rate,
                          .seconds = row->seconds,
                          .validation_dice = row->validated ? row->validation_dice : NAN,
                          .validation_iou = row->validated ? row->validation_iou : NAN };
    char loss[160], time[32], score[120] = "";

    write_epoch(log, row);
    keep_epoch(log, &entry);
    loss_text(row->loss, terms, loss, sizeof loss);
    duration_text(row->seconds, time, sizeof time);
    if (row->validated) {
        snprintf(score, sizeof score, ", validation Dice %.4f IoU %.4f%s", row->validation_dice, row->validation_iou,
                 row->is_best ? ", the best so far" : "");
    }
    progress_bar_line(log->bar, "epoch %" PRId64 "/%" PRId64 ": %s%s, %.1f images/s, %s", row->epoch + 1, row->epochs,
                      loss, score, row->seconds > 0.0 ? (double)row->images / row->seconds : 0.0, time);
    if (row->bad_steps > 0) {
        progress_bar_line(log->bar, "  %" PRId64 " steps were skipped: loss or gradient not finite", row->bad_steps);
    }
    log->last_line_ms = now_ms();
}
