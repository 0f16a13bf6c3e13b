// SPDX-License-Identifier: Apache-2.0
// Settings of the host that were changed, with what they were before: so that they can be put back
// by whoever comes next, also after a crash.
//
// A file below run/guillotine/host, which the next boot empties together with what it describes.
// Whoever calls these holds the lock of host_cores.h.
#ifndef MONITOR_HOST_ORIGINALS_H
#define MONITOR_HOST_ORIGINALS_H

#include "host_root.h"

#define HOST_STATE_FOLDER "run/guillotine/host"

// The longest setting that can be kept, with its terminator.
#define HOST_SETTING_MAX 4096u

// Sets a one-line file to `value` and keeps what it was, unless that is kept already. Kept before
// it is changed. Returns 0; 1 if the host does not let it be changed, which then is as it was.
int host_setting_change(const struct host_root *root, const char *path, const char *value,
                        struct error *err);

// What a setting was before the first change, or what it is. Returns its length, -1: there is none.
int host_setting_original(const struct host_root *root, const char *path, char *value, size_t size);

// Puts back every setting for which `wanted` returns true, the last change first, and forgets it.
// Returns how many could not be put back; they are forgotten too: somebody else has taken them
// away.
unsigned host_settings_restore(const struct host_root *root,
                               bool (*wanted)(const char *path, void *context), void *context);

// Makes the folder of the state. Returns -1 if the host does not permit it.
int host_state_open(const struct host_root *root, struct error *err);

#endif
