/* SPDX-License-Identifier: Apache-2.0 */
#include "common/networks.h"

#include <stddef.h>

#define VARIANT(text) "{\"variant\": {" text "}}"
/* The pyramid's depth is counted on MSNet, as the paper does. */
#define DEPTH(number) "{\"scales\": [1], \"variant\": {\"depth\": " number "}}"

const named_network named_networks[] = {
    { "msnet res2net50_v1b_26w_4s", "{\"encoder\": \"res2net50_v1b_26w_4s\", \"scales\": [1]}" },
    { "m2snet res2net50_v1b_26w_4s", "{\"encoder\": \"res2net50_v1b_26w_4s\"}" },
    { "msnet res2net101_v1b_26w_4s", "{\"encoder\": \"res2net101_v1b_26w_4s\", \"scales\": [1]}" },
    { "m2snet res2net101_v1b_26w_4s", "{\"encoder\": \"res2net101_v1b_26w_4s\"}" },
    { "msnet res2net_compact", "{\"encoder\": \"res2net_compact\", \"pyramid_channels\": 32, \"scales\": [1]}" },
    { "m2snet res2net_compact", "{\"encoder\": \"res2net_compact\", \"pyramid_channels\": 32}" },
    { "m2snet convnext_tiny", "{\"encoder\": \"convnext_tiny\"}" },
    { "m2snet convnext_small", "{\"encoder\": \"convnext_small\"}" },
    { "m2snet convnext_base", "{\"encoder\": \"convnext_base\"}" },
    { "m2snet convnext_large", "{\"encoder\": \"convnext_large\"}" },
    /* Variants, of Res2Net-50. */
    { "scales 1,3", "{\"scales\": [1, 3]}" },
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
    { "classes 4", "{\"classes\": [\"a\", \"b\", \"c\", \"d\"]}" },
    { NULL, NULL },
};
