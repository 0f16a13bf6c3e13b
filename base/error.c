// SPDX-License-Identifier: Apache-2.0
// Errors as values: formatting and wrapping.
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void error_fill(struct error *err, enum exit_status status, int code, const char *format, ...)
{
    if (!err)
        return;
    err->code = code;
    err->status = status;
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(err->text, sizeof(err->text), format, arguments);
    va_end(arguments);
    if (code && used >= 0 && (size_t)used < sizeof(err->text))
        snprintf(err->text + used, sizeof(err->text) - (size_t)used, ": %s", strerror(code));
}

void error_prefix(struct error *err, const char *format, ...)
{
    if (!err)
        return;
    char context[sizeof(err->text)];
    char inner[sizeof(err->text)];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context, sizeof(context), format, arguments);
    va_end(arguments);
    memcpy(inner, err->text, sizeof(inner));
    size_t used = strnlen(context, sizeof(context) - 1);
    memcpy(err->text, context, used);
    snprintf(err->text + used, sizeof(err->text) - used, ": %s", inner);
}
