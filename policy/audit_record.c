// SPDX-License-Identifier: Apache-2.0
// Names in audit records.
#include "audit_record.h"

const char *audit_type_name(unsigned type)
{
    static const char *const names[] = {
        "none",     "start",     "request", "completion", "anomaly",  "port-closed",
        "level",    "violation", "end",     "backend",    "order",    "payload",
        "digest",   "measure",   "quorum",  "heartbeat",  "state",    "config",
        "actuator", "forensic",  "seal",    "verdict",    "approval", "alarm",
    };
    return type < sizeof(names) / sizeof(names[0]) ? names[type] : "unknown";
}

const char *audit_decision_name(unsigned decision)
{
    static const char *const names[] = {"none",   "allow", "deny",    "gate",
                                        "redact", "hold",  "escalate"};
    return decision < sizeof(names) / sizeof(names[0]) ? names[decision] : "unknown";
}

const char *audit_source_name(unsigned source)
{
    static const char *const names[] = {"supervisor", "vmm", "backend", "recorder"};
    return source < sizeof(names) / sizeof(names[0]) ? names[source] : "unknown";
}

const char *audit_backend_event_name(unsigned event)
{
    static const char *const names[] = {"none",   "up",       "died",  "hung",
                                        "broken", "given-up", "closed"};
    return event < sizeof(names) / sizeof(names[0]) ? names[event] : "unknown";
}

const char *audit_order_name(unsigned order)
{
    static const char *const names[] = {"none", "port-close", "port-open", "message"};
    return order < sizeof(names) / sizeof(names[0]) ? names[order] : "unknown";
}

const char *audit_verdict_name(unsigned verdict)
{
    static const char *const names[] = {"none", "approved", "rejected", "timed-out"};
    return verdict < sizeof(names) / sizeof(names[0]) ? names[verdict] : "unknown";
}

const char *audit_heartbeat_name(unsigned who)
{
    static const char *const names[] = {"none", "vmm", "operator", "supervisor", "machine"};
    return who < sizeof(names) / sizeof(names[0]) ? names[who] : "unknown";
}
