// SPDX-License-Identifier: Apache-2.0
// Checked access to guest memory.
#include "guest_memory.h"

#include <string.h>

int guest_memory_add(struct guest_memory *memory, struct gpa base, uint64_t length, void *host,
                     unsigned rights, struct error *err)
{
    uint64_t end;
    if (!length || __builtin_add_overflow(base.value, length, &end))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "guest region wraps");
    if (memory->count == GUEST_MEMORY_MAX_REGIONS)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "too many guest regions");
    for (unsigned i = 0; i < memory->count; i++) {
        const struct guest_region *other = &memory->regions[i];
        if (range_overlaps(base.value, length, other->base.value, other->length))
            return error_set(err, EXIT_STATUS_INTERNAL, 0, "guest regions overlap");
    }
    memory->regions[memory->count++] = (struct guest_region){base, length, host, rights};
    return 0;
}

static uint8_t *translate(const struct guest_memory *memory, struct gpa address, uint64_t length,
                          unsigned rights)
{
    if (!length)
        return NULL;
    for (unsigned i = 0; i < memory->count; i++) {
        const struct guest_region *region = &memory->regions[i];
        if (range_contains(region->base.value, region->length, address.value, length))
            return (region->rights & rights) == rights
                       ? region->host + (address.value - region->base.value)
                       : NULL;
    }
    return NULL;
}

bool guest_memory_allows(const struct guest_memory *memory, struct gpa address, uint64_t length,
                         unsigned rights)
{
    return translate(memory, address, length, rights) != NULL;
}

bool guest_memory_read(const struct guest_memory *memory, struct gpa address, void *target,
                       size_t length)
{
    const uint8_t *host = translate(memory, address, length, GUEST_READ);
    if (!host)
        return false;
    memcpy(target, host, length);
    return true;
}

bool guest_memory_write(const struct guest_memory *memory, struct gpa address, const void *source,
                        size_t length)
{
    uint8_t *host = translate(memory, address, length, GUEST_WRITE);
    if (!host)
        return false;
    memcpy(host, source, length);
    return true;
}

void *guest_memory_shared(const struct guest_memory *memory, struct gpa address, uint64_t length,
                          uint64_t alignment, unsigned rights)
{
    if (address.value & (alignment - 1))
        return NULL;
    return translate(memory, address, length, rights);
}
