// SPDX-License-Identifier: Apache-2.0
// The system-call filter of each kind of thread of the VMM.
#ifndef VMM_THREAD_FILTER_H
#define VMM_THREAD_FILTER_H

#include "error.h"
#include "seccomp_rules.h"

// Installs the filter of a thread kind on the calling thread, for good.
int thread_filter_install(enum seccomp_thread thread, struct error *err);

#endif
