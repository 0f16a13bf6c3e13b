// SPDX-License-Identifier: Apache-2.0
// Finds the symbol that covers an address in a cell's image, for reports.
#ifndef MONITOR_ELF_SYMBOLS_H
#define MONITOR_ELF_SYMBOLS_H

#include <stddef.h>
#include <stdint.h>

// Writes "name+0x12" for `address` to `text`, escaped; empty if the image has no symbol there. The
// image is hostile: every offset is checked, and work is bounded.
void elf_symbol_name(const char *image, uint64_t address, char *text, size_t size);

#endif
