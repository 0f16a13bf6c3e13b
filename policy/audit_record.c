// SPDX-License-Identifier: Apache-2.0
// Names in audit records.
#include "audit_record.h"

const char *audit_type_name(unsigned type)
{
    static const char *const names[] = {
        "none",        "start", "request",   "completion", "anomaly",
        "port-closed", "level", "violation", "end",
    };
    return type < sizeof(names) / sizeof(names[0]) ? names[type] : "unknown";
}

const char *audit_decision_name(unsigned decision)
{
    static const char *const names[] = {"none", "allow", "deny", "gate"};
    return decision < sizeof(names) / sizeof(names[0]) ? names[decision] : "unknown";
}
