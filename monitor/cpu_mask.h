// SPDX-License-Identifier: Apache-2.0
// CPU masks as some files of the kernel have them: "ff", "00000001,00000000".
#ifndef MONITOR_CPU_MASK_H
#define MONITOR_CPU_MASK_H

#include <stdbool.h>
#include <stddef.h>

#include "number.h"

// Characters of the longest mask, with its terminator.
#define CPU_MASK_SIZE (CPU_LIST_MAX / 32 * 9 + 1)

bool cpu_mask_parse(const char *text, struct cpu_list *cpus);

// Groups of 32 bits, the highest first, none of them left out that has a CPU.
void cpu_mask_format(const struct cpu_list *cpus, char text[CPU_MASK_SIZE]);

#endif
