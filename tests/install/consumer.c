/* SPDX-License-Identifier: Apache-2.0
 * The smallest program of a user: built against the installed library in three ways by test_install.sh. */
#include <m2snet.h>
#include <stdio.h>

int main(void)
{
    m2snet_error error;
    m2snet_context *context = NULL;
    m2snet_context_options options;

    m2snet_context_options_init(&options);
    options.threads = 1;
    if (m2snet_context_create(&options, &context, &error) != M2SNET_STATUS_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    m2snet_context_destroy(context);
    printf("%s\n", m2snet_version_string());
    return 0;
}
