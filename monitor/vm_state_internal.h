// SPDX-License-Identifier: Apache-2.0
// What a launch needs of state files. Nobody else includes this.
#ifndef MONITOR_VM_STATE_INTERNAL_H
#define MONITOR_VM_STATE_INTERNAL_H

#include "vm_state.h"

// One VM's state file as it was found.
struct state_view {
    struct state_record record;
    int fd; // -1 unless the caller wanted it and it is usable
    bool in_use;
    bool missing;
    bool damaged;
};

// Reads a VM's state. With `lock` the file stays open, and locked unless it is in use. Returns
// false if there is no usable file; the record is filled all the same.
bool state_open(const struct deployment *deployment, const struct uuid *uuid, bool lock,
                struct state_view *view);

// Writes a view's record; creates or repairs the file where needed, and leaves it locked in
// view->fd. What lay there under that name and was no usable file is replaced.
int state_write(const struct deployment *deployment, struct state_view *view, struct error *err);

#endif
