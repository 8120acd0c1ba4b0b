/* SPDX-License-Identifier: Apache-2.0 */
#include "net/lossnet.h"

#include <string.h>

static const m2s_lossnet_family vgg16 = { "vgg16", m2s_lossnet_vgg16, "features.0.weight", NULL };
static const m2s_lossnet_family resnet50 = { "resnet50", m2s_lossnet_resnet50, "layer1.0.downsample.0.weight", NULL };
static const m2s_lossnet_family resnet50_stem = { "resnet50-stem", m2s_lossnet_resnet50_stem, NULL, NULL };
static const m2s_lossnet_family swin_t = { "swin_t", m2s_lossnet_swin_t, "features.1.0.attn.qkv.weight",
                                           m2s_lossnet_swin_t_alias };
static const m2s_lossnet_family *const families[] = { &vgg16, &resnet50, &resnet50_stem, &swin_t, NULL };

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
