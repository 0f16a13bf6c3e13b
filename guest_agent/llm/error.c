// SPDX-License-Identifier: Apache-2.0
// One-line error messages, handed up to the caller that can show them.

#include "error.h"

#include <stdarg.h>
#include <stdio.h>

int llm_fail(struct llm_error *err, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(err->text, sizeof(err->text), format, arguments);
    va_end(arguments);

    /* Names come from the model file; on a terminal they must not act as escape sequences. */
    for (char *character = err->text; *character != '\0'; character++) {
        if (*character < ' ' || *character > '~') {
            *character = '?';
        }
    }
    return -1;
}
