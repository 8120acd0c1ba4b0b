/* SPDX-License-Identifier: Apache-2.0
 * A locale whose decimal point is a comma, made on the spot: no language package needs to be installed. */
#ifndef M2S_TESTS_COMMON_COMMA_LOCALE_H
#define M2S_TESTS_COMMON_COMMA_LOCALE_H

#include <stdbool.h>

/* Switches the process's LC_NUMERIC over; false where the C library does not take the made locale (then nothing has
 * changed). Back to "C" with comma_locale_leave. */
bool comma_locale_enter(void);
void comma_locale_leave(void);

#endif
