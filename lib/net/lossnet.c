/* SPDX-License-Identifier: Apache-2.0 */
#include "net/lossnet.h"

#include <string.h>

static const m2s_lossnet_family vgg16 = { "vgg16", m2s_lossnet_vgg16, "features.0.weight" };
static const m2s_lossnet_family *const families[] = { &vgg16, NULL };

const m2s_lossnet_family *const *m2s_lossnet_families(void)
{
    return families;
}

const m2s_lossnet_family *m2s_lossnet_family_of(const char *name)
{
    for (const m2s_lossnet_family *const *family = families; *family != NULL; family++) {
        if (strcmp((*family)->name, name) == 0) {
            return *family;
        }
    }
    return NULL;
}
