// SPDX-License-Identifier: Apache-2.0
// Checked access to guest memory.
#include "guest_memory.h"

#include <string.h>

#include "copy.h"

#if defined(__SANITIZE_THREAD__)
#define SEEN_BY_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SEEN_BY_TSAN 1
#endif
#endif

// Guest memory changes while it is copied: that race is the guest's right, and harmless, since only
// the copy counts. For ThreadSanitizer the copies are atomics, byte by byte or in aligned words, so
// that it is silent about them and reports every other access. Elsewhere memcpy is much faster.
#ifdef SEEN_BY_TSAN
static size_t word_at(const uint8_t *guest, size_t left)
{
    return left >= sizeof(uint64_t) && (uintptr_t)guest % sizeof(uint64_t) == 0 ? sizeof(uint64_t)
                                                                                : 1;
}

static void copy_from_guest(uint8_t *target, const uint8_t *guest, size_t length)
{
    size_t step;
    for (size_t done = 0; done < length; done += step) {
        step = word_at(guest + done, length - done);
        if (step == 1) {
            target[done] = __atomic_load_n(guest + done, __ATOMIC_RELAXED);
            continue;
        }
        uint64_t word =
            __atomic_load_n((const uint64_t *)(const void *)(guest + done), __ATOMIC_RELAXED);
        memcpy(target + done, &word, sizeof(word));
    }
}

static void copy_to_guest(uint8_t *guest, const uint8_t *source, size_t length)
{
    size_t step;
    for (size_t done = 0; done < length; done += step) {
        step = word_at(guest + done, length - done);
        if (step == 1) {
            __atomic_store_n(guest + done, source[done], __ATOMIC_RELAXED);
            continue;
        }
        uint64_t word;
        memcpy(&word, source + done, sizeof(word));
        __atomic_store_n((uint64_t *)(void *)(guest + done), word, __ATOMIC_RELAXED);
    }
}
#else
static void copy_from_guest(uint8_t *target, const uint8_t *guest, size_t length)
{
    copy_bytes(target, guest, length);
}

static void copy_to_guest(uint8_t *guest, const uint8_t *source, size_t length)
{
    copy_bytes(guest, source, length);
}
#endif

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
    copy_from_guest(target, host, length);
    return true;
}

bool guest_memory_write(const struct guest_memory *memory, struct gpa address, const void *source,
                        size_t length)
{
    uint8_t *host = translate(memory, address, length, GUEST_WRITE);
    if (!host)
        return false;
    copy_to_guest(host, source, length);
    return true;
}

void *guest_memory_shared(const struct guest_memory *memory, struct gpa address, uint64_t length,
                          uint64_t alignment, unsigned rights)
{
    if (address.value & (alignment - 1))
        return NULL;
    return translate(memory, address, length, rights);
}
