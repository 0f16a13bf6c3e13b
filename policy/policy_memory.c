// SPDX-License-Identifier: Apache-2.0
// The memory of policy engines.
#include "policy_memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int policy_memory_open(struct policy_memory *memory, struct error *err)
{
    void *base = mmap(NULL, POLICY_MEMORY_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "memory of the policy");
    *memory = (struct policy_memory){.base = base};
    return 0;
}

void policy_memory_close(struct policy_memory *memory)
{
    if (memory->base)
        munmap(memory->base, POLICY_MEMORY_BYTES);
    *memory = (struct policy_memory){0};
}

void *policy_memory_take(struct policy_memory *memory, uint64_t bytes)
{
    if (bytes > POLICY_MEMORY_BYTES || (bytes + 15) / 16 * 16 > POLICY_MEMORY_BYTES - memory->used)
        return NULL;
    void *taken = memory->base + memory->used;
    memory->used += (bytes + 15) / 16 * 16;
    return taken;
}

void policy_memory_reset(struct policy_memory *memory)
{
    memset(memory->base, 0, memory->used);
    memory->used = 0;
}
