// SPDX-License-Identifier: Apache-2.0
// Models split into several files, NAME-00001-of-00003.gguf and so on.

#ifndef MONITOR_WEIGHTS_PARTS_H
#define MONITOR_WEIGHTS_PARTS_H

#include "error.h"
#include "vm_file.h"

// If `path` is the name of a part of a model in several files, returns how many there are, at least
// 2, and stores the part's number, at least 1, in *part. Otherwise, also for numbers that make no
// sense, returns 0. Only the name is looked at. Names: GGUF's convention for split files.
unsigned weights_parts_count(const char *path, unsigned *part);

// Returns the path of another part, `part` from 1 to the count, of the model that has a part at
// `path`; the caller frees it. NULL if memory is short.
char *weights_parts_path(const char *path, unsigned part);

// Adds the parts 2 and so on after every weights file of the VM that is the first part of a model
// and is not followed by the second. Whether the files exist, and belong together, is not looked
// at. Returns 0, or -1 if they are too many for a VM or memory is short.
int weights_parts_complete(struct vm_description *vm, struct error *err);

#endif
