// SPDX-License-Identifier: Apache-2.0
// Entry points of glibc's fortified calls, for libraries of the distribution that are linked
// statically with musl. musl has the calls but not these names; the checks are kept.
#include <features.h>

#ifndef __GLIBC__
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

int __vsnprintf_chk(char *target, size_t size, int flag, size_t object, const char *format,
                    va_list arguments);
int __snprintf_chk(char *target, size_t size, int flag, size_t object, const char *format, ...);
int __vfprintf_chk(FILE *file, int flag, const char *format, va_list arguments);
int __fprintf_chk(FILE *file, int flag, const char *format, ...);
int __vasprintf_chk(char **target, int flag, const char *format, va_list arguments);
void __vsyslog_chk(int priority, int flag, const char *format, va_list arguments);
char *__strcat_chk(char *target, const char *source, size_t object);
void *__memcpy_chk(void *target, const void *source, size_t length, size_t object);
void __explicit_bzero_chk(void *target, size_t length, size_t object);

#pragma GCC diagnostic ignored "-Wformat-nonliteral"

int __vsnprintf_chk(char *target, size_t size, int flag, size_t object, const char *format,
                    va_list arguments)
{
    (void)flag;
    if (size > object)
        abort();
    return vsnprintf(target, size, format, arguments);
}

int __snprintf_chk(char *target, size_t size, int flag, size_t object, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = __vsnprintf_chk(target, size, flag, object, format, arguments);
    va_end(arguments);
    return length;
}

int __vfprintf_chk(FILE *file, int flag, const char *format, va_list arguments)
{
    (void)flag;
    return vfprintf(file, format, arguments);
}

int __fprintf_chk(FILE *file, int flag, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = __vfprintf_chk(file, flag, format, arguments);
    va_end(arguments);
    return length;
}

int __vasprintf_chk(char **target, int flag, const char *format, va_list arguments)
{
    (void)flag;
    return vasprintf(target, format, arguments);
}

void __vsyslog_chk(int priority, int flag, const char *format, va_list arguments)
{
    (void)flag;
    vsyslog(priority, format, arguments);
}

void *__memcpy_chk(void *target, const void *source, size_t length, size_t object)
{
    if (length > object)
        abort();
    return memcpy(target, source, length);
}

char *__strcat_chk(char *target, const char *source, size_t object)
{
    size_t used = strlen(target);
    if (used + strlen(source) >= object)
        abort();
    return strcat(target, source);
}

void __explicit_bzero_chk(void *target, size_t length, size_t object)
{
    if (length > object)
        abort();
    explicit_bzero(target, length);
}
#else
// glibc has them.
typedef int base_fortify_is_empty;
#endif
