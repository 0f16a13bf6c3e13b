// SPDX-License-Identifier: Apache-2.0
// Prints audit records.
#ifndef MONITOR_AUDIT_PRINT_H
#define MONITOR_AUDIT_PRINT_H

#include <stdbool.h>

#include "audit_record.h"

// One line on standard output: for people, or a JSON object with the record's data in hexadecimal.
void audit_print(const struct audit_record_data *record, bool json);

#endif
