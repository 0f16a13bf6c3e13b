// SPDX-License-Identifier: Apache-2.0
// What a launch needs of state files. Nobody else includes this.
#ifndef MONITOR_VM_STATE_INTERNAL_H
#define MONITOR_VM_STATE_INTERNAL_H

#include "key_set_file.h"
#include "vm_state.h"

// One VM's state file as it was found.
struct state_view {
    struct state_record record;
    int fd; // -1 unless the caller wanted it and it is usable
    bool in_use;
    bool missing;
    bool damaged;
    bool lost;     // the record is a guess: missing, damaged, not usable, or rolled back
    bool unusable; // there is something, which may be whole: somebody has to look at it
    uint64_t noted_generation;
};

// Reads a VM's state, and compares it with what the register knows. With `lock` the file stays
// open, and locked unless it is in use. Returns false if there is no usable file; the record is
// filled all the same.
bool state_open(const struct deployment *deployment, const struct vm_register *reg,
                const struct uuid *uuid, bool lock, struct state_view *view);

// What state_open compares: nothing that the register knows is forgotten.
void state_compare(struct state_view *view, const struct vm_register *reg);

// Notes in the register what the state file is about to say.
int state_note(const struct deployment *deployment, struct vm_register *reg,
               const struct state_record *record, struct error *err);

// No order that lowers counts if it was issued up to now, clocks that are ahead included: nobody
// knows which of them are spent.
void state_void_orders(struct state_record *record);

// Writes down that the state of a VM was lost, before anybody acts on the guess. Nothing happens
// to one that is whole or in use.
int state_settle_loss(const struct deployment *deployment, struct vm_register *reg,
                      struct state_view *view, struct error *err);

// Calls `visit` for each state file; anything but 0 ends it and is returned.
int state_for_each(const struct deployment *deployment,
                   int (*visit)(void *context, const struct uuid *uuid, struct error *err),
                   void *context, struct error *err);

// The newest key set that the register or any state file knows.
int state_find_keys(const struct deployment *deployment, const struct vm_register *reg,
                    struct key_set_pin *newest, struct error *err);

// Notes a key set that is in force, if the register does not know it yet.
int state_note_keys(const struct deployment *deployment, struct vm_register *reg,
                    const struct key_set_file *file, struct error *err);

// Refuses a damaged register, and one whose end may have had a VM that left a state file.
int state_check_register(const struct deployment *deployment, const struct vm_register *reg,
                         struct error *err);

// Writes a view's record; creates or repairs the file where needed, and leaves it locked in
// view->fd. What lay there under that name and was no usable file is replaced.
int state_write(const struct deployment *deployment, struct state_view *view, struct error *err);

#endif
