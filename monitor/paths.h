// SPDX-License-Identifier: Apache-2.0
// Where things live: runtime directory, state directory, the VMM beside the CLI.
#ifndef MONITOR_PATHS_H
#define MONITOR_PATHS_H

#include <limits.h>

#include "error.h"

// Fills `path` with the runtime directory (control sockets): `given`, or /run/guillotine for root,
// or $XDG_RUNTIME_DIR/guillotine, or /tmp/guillotine-UID; created with mode 0700.
int paths_runtime_dir(const char *given, char path[PATH_MAX], struct error *err);

// Same for the state directory (audit logs): /var/lib/guillotine, $XDG_STATE_HOME/guillotine or
// ~/.local/state/guillotine; with its folder `audit`.
int paths_state_dir(const char *given, char path[PATH_MAX], struct error *err);

// Fills `path` with a folder of the state directory, created with mode 0700.
int paths_state_folder(const char *state_dir, const char *name, char path[PATH_MAX],
                       struct error *err);

// Path of a program that lies beside the running executable, or of its installed place.
int paths_sibling(const char *program, char path[PATH_MAX], struct error *err);

// Path of a file of data that lies beside the running executable, or of its installed place.
int paths_data(const char *name, char path[PATH_MAX], struct error *err);

// Joins two parts. Returns -1 with *err set if the result is too long.
int paths_join(char path[PATH_MAX], const char *folder, const char *name, struct error *err);

#endif
