// SPDX-License-Identifier: Apache-2.0
// The cell SDK's client of a block port: a disk of whole sectors of BLOCK_SECTOR_BYTES.
//
// All calls wait for the reply. They return a port status: PORT_STATUS_DENIED (not granted),
// INVALID (a range that is not all on the disk, or empty), FAILED (the host's file could not, or
// became shorter), ...; or -1 if the port has no room for one sector, or a reply is not whole.
//
// Ranges may be longer than what one request takes: they are then done in several, in order, and
// after an error a part of them may be done. What two requests write is not written at once.
#ifndef GUILLOTINE_BLOCK_H
#define GUILLOTINE_BLOCK_H

#include <guillotine/cell.h>

// Reads `sectors` sectors from `sector` on.
int cell_block_read(struct cell_port *port, uint64_t sector, void *data, uint64_t sectors);

// Writes them. They are on the disk for good after a flush.
int cell_block_write(struct cell_port *port, uint64_t sector, const void *data, uint64_t sectors);

// Waits until all that was written before is on the disk.
int cell_block_flush(struct cell_port *port);

// Tells the host that what the sectors hold is not needed any more; it may read as zeros then.
int cell_block_discard(struct cell_port *port, uint64_t sector, uint64_t sectors);

// Makes the sectors read as zeros. One request takes at most 65536 of them.
int cell_block_write_zeroes(struct cell_port *port, uint64_t sector, uint64_t sectors);

#endif
