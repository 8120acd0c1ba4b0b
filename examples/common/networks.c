/* SPDX-License-Identifier: Apache-2.0 */
#include "common/networks.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "m2snet.h"

/* What an encoder is shown as: the first row that its name begins with. */
static const struct {
    const char *encoder, *rest; /* of its configuration */
    bool msnet;                 /* also as MSNet, which its authors built on Res2Net */
} families[] = {
    { "res2net_compact", ", \"pyramid_channels\": 32", true },
    { "res2net", "", true },
    { "", "", false },
};

#define VARIANT(text) "{\"variant\": {" text "}}"
/* The pyramid's depth is counted on MSNet, as the paper does. */
#define DEPTH(number) "{\"scales\": [1], \"variant\": {\"depth\": " number "}}"

/* Of Res2Net-50. */
static const struct {
    const char *name, *config;
} variants[] = { { "scales 1,3", "{\"scales\": [1, 3]}" },
                 { "scales 1,3,7", "{\"scales\": [1, 3, 7]}" },
                 { "scales 1,5,9", "{\"scales\": [1, 5, 9]}" },
                 { "scales 1,3,5,7", "{\"scales\": [1, 3, 5, 7]}" },
                 { "gaussian", "{\"gaussian\": true}" },
                 { "addition", "{\"scales\": [1], \"variant\": {\"unit\": \"addition\"}}" },
                 { "aspp", VARIANT("\"unit\": \"aspp\"") },
                 { "dense", VARIANT("\"unit\": \"dense\"") },
                 { "dense_shared", VARIANT("\"unit\": \"dense_shared\"") },
                 { "recipe paper", VARIANT("\"recipe\": \"paper\"") },
                 { "reduce_x1", VARIANT("\"reduce_x1\": true") },
                 { "depth 1", DEPTH("1") },
                 { "depth 2", DEPTH("2") },
                 { "depth 3", DEPTH("3") },
                 { "depth 4", DEPTH("4") },
                 { "depth 5", DEPTH("5") },
                 { "levels 4", VARIANT("\"levels\": 4") },
                 { "classes 3", "{\"classes\": [\"a\", \"b\", \"c\"]}" },
                 { "classes 4", "{\"classes\": [\"a\", \"b\", \"c\", \"d\"]}" } };

/* Row number index of an encoder's one or two; index counts down over those of the encoders before. */
static bool encoder_row(const char *encoder, int *index, named_network *network)
{
    int f = 0;

    while (strncmp(encoder, families[f].encoder, strlen(families[f].encoder)) != 0) {
        f++;
    }
    const int rows = families[f].msnet ? 2 : 1;
    if (*index >= rows) {
        *index -= rows;
        return false;
    }
    bool msnet = families[f].msnet && *index == 0;
    (void)snprintf(network->name, sizeof network->name, "%s %s", msnet ? "msnet" : "m2snet", encoder);
    (void)snprintf(network->config, sizeof network->config, "{\"encoder\": \"%s\"%s%s}", encoder, families[f].rest,
                   msnet ? ", \"scales\": [1]" : "");
    return true;
}

bool named_network_at(int index, named_network *network)
{
    for (int32_t e = 0; m2snet_encoder_name(e) != NULL; e++) {
        if (encoder_row(m2snet_encoder_name(e), &index, network)) {
            return true;
        }
    }
    if (index >= (int)(sizeof variants / sizeof variants[0])) {
        return false;
    }
    (void)snprintf(network->name, sizeof network->name, "%s", variants[index].name);
    (void)snprintf(network->config, sizeof network->config, "%s", variants[index].config);
    return true;
}
