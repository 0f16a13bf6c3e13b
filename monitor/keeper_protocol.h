// SPDX-License-Identifier: Apache-2.0
// What guillotine-keeper tells the supervisor: one message, once the host has settled.
//
// It is started with the arguments ID MODEL-CPUS HYPERVISOR-CPUS VMM-PID and one end of a channel.
// When the other end closes, it puts everything back and ends.
#ifndef MONITOR_KEEPER_PROTOCOL_H
#define MONITOR_KEEPER_PROTOCOL_H

#include <stdint.h>

#define KEEPER_FORMAT     "guillotine-keeper/1"
#define KEEPER_CHANNEL_FD 3

struct keeper_report {
    char format[24];
    uint32_t cpuset;          // enum host_cpuset
    uint32_t others_kept_off; // 1: no other task that can be moved is on the model cores
    uint32_t tasks_left;      // bound to a model core
    uint32_t interrupts_left; // that stay there
    uint32_t cache_ways;      // of the last-level cache that the model has alone
    uint32_t cookies;         // 1: hardware threads beside the model run nothing else
    char reason[200];         // why others_kept_off is 0
};
_Static_assert(sizeof(struct keeper_report) == 248, "format");

#endif
