/* SPDX-License-Identifier: Apache-2.0
 * m2snet-evaluate: the main numbers, and how two sets differ in them. */
#include <math.h>
#include <string.h>

#include "evaluate.h"

const main_number main_numbers[MAIN_NUMBERS] = {
    { "mDice", "dice_mean", false, false }, { "mIoU", "iou_mean", false, false }, { "wFm", "wfm", false, false },
    { "Sm", "sm", false, false },           { "maxEm", "em_max", false, false },  { "MAE", "mae", true, false },
    { "Dice", "dice", false, false },       { "IoU", "iou", false, false },       { "HD95", "hd95", true, true },
    { "ASD", "assd", true, true }
};

double main_number_of(const m2snet_scores *s, int index)
{
    const double values[MAIN_NUMBERS] = { s->dice_mean,
                                          s->iou_mean,
                                          s->wfm,
                                          s->sm,
                                          s->em_max,
                                          s->mae,
                                          s->dice,
                                          s->iou,
                                          s->surface_count > 0 ? s->surface[0].hd95 : (double)NAN,
                                          s->surface_count > 0 ? s->surface[0].assd : (double)NAN };

    return values[index];
}

int main_number_decimals(int index)
{
    return main_numbers[index].distance ? 2 : 4;
}

static m2snet_status compare_two(const evaluation *all, comparison *c, m2snet_error *error)
{
    m2snet_compare_options options = all->set->compare;

    options.control.cancel = all->cancel;
    for (int k = 0; k < MAIN_NUMBERS; k++) {
        m2snet_difference *d = &c->differences[k];
        m2snet_status status;

        *d = (m2snet_difference){ .struct_size = sizeof(*d) };
        if (main_numbers[k].distance && all->set->options.without_surface) {
            continue;
        }
        status = m2snet_evaluator_compare(all->sets[c->first].evaluator, all->sets[c->second].evaluator,
                                          main_numbers[k].key, &options, d, error);
        if (status != M2SNET_STATUS_OK && status != M2SNET_STATUS_MISMATCH) { /* MISMATCH: nothing is in both */
            return status;
        }
    }
    return M2SNET_STATUS_OK;
}

m2snet_status compare_sets(const evaluation *all, comparison_list *list, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    list->count = 0;
    for (int second = 1; second < all->count; second++) {
        for (int first = 0; first < second && status == M2SNET_STATUS_OK; first++) {
            comparison *c = &list->items[list->count++];

            c->first = first;
            c->second = second;
            status = compare_two(all, c, error);
        }
    }
    return status;
}
