// SPDX-License-Identifier: Apache-2.0
// Memory that nobody changes any more, for other processes to map.
#ifndef MONITOR_CONSTANT_MEMORY_H
#define MONITOR_CONSTANT_MEMORY_H

#include <stddef.h>

#include "error.h"

// Makes a sealed memfd with a copy of `length` bytes; 0 is fine. Returns it, or -1.
int constant_memory_make(const char *name, const void *bytes, size_t length, struct error *err);

#endif
