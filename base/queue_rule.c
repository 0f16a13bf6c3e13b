// SPDX-License-Identifier: Apache-2.0
// Names of the rules of a queue.
#include "queue_rule.h"

const char *queue_rule_name(unsigned rule)
{
    static const char *const names[] = {
        "none",           "index-jump",     "head-range",   "head-in-flight",
        "next-range",     "chain-length",   "flags",        "order",
        "empty",          "address",        "total-length", "request-header",
        "reply-header",   "reserved",       "segments",     "indirect-length",
        "indirect-chain", "indirect-table", "area",         "device-header",
    };
    return rule < sizeof(names) / sizeof(names[0]) ? names[rule] : "unknown";
}
