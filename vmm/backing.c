// SPDX-License-Identifier: Apache-2.0
// Host views of guest memory.
#include "backing.h"

#include <errno.h>
#include <sys/mman.h>

#include "gpa.h"
#include "vmm_protocol.h"

int backing_apply(void *host, uint64_t length, uint32_t flags, struct error *err)
{
    madvise(host, length, MADV_DONTDUMP);
    if (flags & VMM_MEMORY_HUGE)
        madvise(host, length, MADV_HUGEPAGE); // as far as there are some
    if ((flags & VMM_MEMORY_LOCKED) && mlock(host, length) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "lock %llu bytes of memory",
                         (unsigned long long)length);
    return 0;
}

void *backing_map(int memory_fd, uint64_t offset, uint64_t length, uint32_t flags,
                  struct error *err)
{
    // Reserved pages have to be there when it is mapped; nobody could answer for them later.
    int reserve = flags & VMM_MEMORY_RESERVED ? 0 : MAP_NORESERVE;
    length = (length + GUEST_LARGE_PAGE_SIZE - 1) & ~(GUEST_LARGE_PAGE_SIZE - 1);
    void *host =
        mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | reserve, memory_fd, (off_t)offset);
    if (host == MAP_FAILED) {
        error_set(err, EXIT_STATUS_RESOURCES, errno, "map guest memory of %llu bytes",
                  (unsigned long long)length);
        return NULL;
    }
    return backing_apply(host, length, flags, err) < 0 ? NULL : host;
}
