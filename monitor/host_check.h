// SPDX-License-Identifier: Apache-2.0
// What this host guarantees, row by row, and what it does not (docs/host-check.md).
#ifndef MONITOR_HOST_CHECK_H
#define MONITOR_HOST_CHECK_H

#include "host_facts.h"
#include "topology.h"
#include "vmm_protocol.h"

#define HOST_FORMAT   "guillotine-host/1"
#define HOST_ROWS_MAX 64u

enum host_status {
    HOST_ABSENT,
    HOST_BEST_EFFORT, // there, but not all of it, or not from where it can be verified
    HOST_ENFORCED,
};

// One guarantee. The texts but `value` are constants.
struct host_row {
    const char *id; // never changes once published
    enum host_status status;
    char value[160];     // what was found
    const char *meaning; // what the guest could do without it
    const char *remedy;  // how to get it: a kernel parameter, a setting of the firmware, a command
    enum host_status basic;  // what --require basic wants; HOST_ABSENT: nothing
    enum host_status strict; // same for strict
};

struct host_report {
    struct host_row rows[HOST_ROWS_MAX];
    unsigned count;
    bool probed; // all probe cells ran
    char kernel[96];
    char processor[96];
    char backend[32]; // of KVM
    bool virtualised;
};

struct host_check_options {
    bool probe;         // run probe cells, or take their results from `cache`
    bool fresh;         // run them whatever is in the cache
    const char *cache;  // folder for the results of probe cells until the next boot, or NULL
    const char *record; // folder that gets a copy of everything that was read, or NULL
};

// Looks at the host, or at a recorded one. Returns -1 only if that is impossible: what cannot be
// found out is a row that says so.
int host_check_run(struct host_root *root, const struct host_check_options *options,
                   struct host_report *report, struct error *err);

// True if the report has what is required. Otherwise `failed` gets the ids of the rows, with
// commas.
bool host_report_meets(const struct host_report *report, enum vmm_require require, char *failed,
                       size_t size);

// Looks at this host before a launch: with --require, refuses with EXIT_STATUS_HOST_REFUSED and the
// ids of the rows that fail; without, runs no probe cell and only reports. `cache` as above.
int host_check_launch(enum vmm_require require, const char *cache, struct host_report *report,
                      struct error *err);

// Number of rows with a status.
unsigned host_report_count(const struct host_report *report, enum host_status status);

// "enforced", "best-effort", "absent".
const char *host_status_name(enum host_status status);

#endif
