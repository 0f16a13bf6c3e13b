// SPDX-License-Identifier: Apache-2.0
// Time from the port named "clock", in ticks of the resolution that was granted.
#ifndef GUILLOTINE_CLOCK_H
#define GUILLOTINE_CLOCK_H

#include <guillotine/cell.h>

// Unix time. Returns 0 with *reading filled, a port status (PORT_STATUS_DENIED unless `now` was
// granted by name), or -1 without a clock. Waits for the next tick if the port quantises replies.
int cell_clock_now(struct clock_reading *reading);

// Same for the time since the port was made. It never goes back.
int cell_clock_monotonic(struct clock_reading *reading);

#endif
