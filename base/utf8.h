// SPDX-License-Identifier: Apache-2.0
// UTF-8 (RFC 3629).
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

// Length, 1 to 4, of the well-formed character that the bytes, at least one, begin with (RFC 3629,
// section 4); 0: none.
size_t utf8_length(const void *bytes, size_t length);

#endif
