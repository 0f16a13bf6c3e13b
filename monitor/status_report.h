// SPDX-License-Identifier: Apache-2.0
// A VM's state as text: JSON for tools, metrics for Prometheus.
#ifndef MONITOR_STATUS_REPORT_H
#define MONITOR_STATUS_REPORT_H

#include "supervisor.h"

// One JSON object on one line.
void status_report_json(const struct supervisor *s, const struct vmm_status *status, char *text,
                        size_t size);

// Prometheus text format 0.0.4. Metric names never change once published.
void status_report_metrics(const struct supervisor *s, const struct vmm_status *status, char *text,
                           size_t size);

#endif
