// SPDX-License-Identifier: Apache-2.0
// The memfd that a VM's memory is.
#include "memory_file.h"

#include <errno.h>
#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HUGE_FREE "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"
#define SHMEM_THP "sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define HUGE_SIZE (2ull << 20)

// What the VMM adds to the model's memory: I/O region (8 MiB of buffers for each of 16 ports at
// most), page tables, stacks, code. Only a guess is needed: too few pages are an error later.
#define VMM_SHARE (64ull << 20)

const char *memory_pages_name(enum memory_pages pages)
{
    static const char *const names[] = {
        [MEMORY_SMALL] = "4KiB",
        [MEMORY_TRANSPARENT] = "transparent",
        [MEMORY_RESERVED] = "2MiB",
    };
    return names[pages];
}

static bool offers_transparent(const struct host_root *root)
{
    char text[128];
    return host_read(root, SHMEM_THP, text, sizeof(text)) > 0 && !strstr(text, "[never]") &&
           !strstr(text, "[deny]");
}

int memory_file_make(const struct host_root *root, enum vm_huge_pages wanted, uint64_t bytes,
                     enum memory_pages *pages, struct error *err)
{
    uint64_t left = 0;
    uint64_t needed = (bytes + VMM_SHARE + HUGE_SIZE - 1) / HUGE_SIZE;
    bool may_reserve = wanted == VM_HUGE_PAGES_AUTO || wanted == VM_HUGE_PAGES_RESERVED;
    bool enough = may_reserve && host_read_u64(root, HUGE_FREE, &left) && left >= needed;
    if (wanted == VM_HUGE_PAGES_RESERVED && !enough)
        return error_set(err, EXIT_STATUS_RESOURCES, 0,
                         "memory: %llu huge pages of 2 MiB are needed, %llu are free: `guillotine "
                         "host tune --apply --huge-pages SIZE` reserves some",
                         (unsigned long long)needed, (unsigned long long)left);
    bool transparent = wanted == VM_HUGE_PAGES_AUTO || wanted == VM_HUGE_PAGES_TRANSPARENT;
    *pages = enough                                    ? MEMORY_RESERVED
             : transparent && offers_transparent(root) ? MEMORY_TRANSPARENT
                                                       : MEMORY_SMALL;
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    if (enough)
        flags |= MFD_HUGETLB | MFD_HUGE_2MB;
    int fd = memfd_create("guillotine-memory", flags);
    return fd < 0 ? error_set(err, EXIT_STATUS_RESOURCES, errno, "memfd") : fd;
}

bool memory_file_bind(int fd, uint64_t bytes, unsigned node)
{
    unsigned long nodes[16] = {0};
    size_t length = (size_t)((bytes + VMM_SHARE + HUGE_SIZE - 1) / HUGE_SIZE * HUGE_SIZE);
    if (node >= sizeof(nodes) * 8)
        return false;
    nodes[node / (8 * sizeof(nodes[0]))] = 1ul << node % (8 * sizeof(nodes[0]));
    // The policy belongs to the file: it holds for whoever maps it. Nothing is touched here.
    void *mapping = mmap(NULL, length, PROT_NONE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (mapping == MAP_FAILED)
        return false;
    long result = syscall(SYS_mbind, mapping, length, MPOL_BIND, nodes, 8 * sizeof(nodes) + 1, 0);
    munmap(mapping, length);
    return result == 0;
}
