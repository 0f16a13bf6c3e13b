// SPDX-License-Identifier: Apache-2.0
// Uncorrected memory errors that the host's EDAC drivers have counted.
#ifndef MONITOR_MACHINE_CHECK_H
#define MONITOR_MACHINE_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#define MACHINE_CHECK_ROOT "/sys"

struct machine_check {
    int root;             // directory that stands for /sys, or -1: none
    unsigned controllers; // that said their counts at the last look
    uint64_t uncorrected; // sum of their counts
    uint64_t corrected;
};

enum machine_check_finding {
    MACHINE_CHECK_NONE, // nothing new
    MACHINE_CHECK_UNCORRECTED,
    MACHINE_CHECK_UNREADABLE, // a controller that had counts has none any more
};

// Opens `root` and takes the counts that are there as the beginning. Hosts without EDAC have none;
// then nothing is ever found. Returns false if `root` cannot be opened.
bool machine_check_open(struct machine_check *check, const char *root);

// Reads devices/system/edac/mc/mc*/{ue,ce}_count again. A count that is not a number, or a
// controller that vanished, is doubt, and doubt is not "no error".
enum machine_check_finding machine_check_look(struct machine_check *check);

void machine_check_close(struct machine_check *check);

#endif
