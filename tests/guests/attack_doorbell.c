// SPDX-License-Identifier: Apache-2.0
// Attacks on doorbell and control pages: only an aligned 4-byte store of a legal value is legal.
#include "attack.h"
#include "cell_layout.h"

static uint8_t scratch[4096] __attribute__((aligned(64)));

static uint64_t doorbell(void)
{
    if (!cell_boot()->port_count)
        cell_exit(ATTACK_UNKNOWN);
    return ((const struct port_table_entry *)(cell_boot() + 1))->doorbell;
}

static uint64_t park(void)
{
    return cell_boot()->park_page;
}

static uint64_t unpark(void)
{
    return cell_boot()->unpark_page;
}

static uint64_t leave(void)
{
    return cell_boot()->exit_page;
}

// X(function, name, instructions). rdi: the page; rsi: ordinary memory; rax, rcx, rdx are free.
#define ACCESSES(X)                                                                                \
    /* Loads. */                                                                                   \
    X(load8, "load-1", "mov (%%rdi), %%al")                                                        \
    X(load16, "load-2", "mov (%%rdi), %%ax")                                                       \
    X(load32, "load-4", "mov (%%rdi), %%eax")                                                      \
    X(load64, "load-8", "mov (%%rdi), %%rax")                                                      \
    X(compare, "compare", "cmpl $0, (%%rdi)")                                                      \
    X(vector_load, "load-sse", "movups (%%rdi), %%xmm0")                                           \
    X(avx_load, "load-avx", "vmovups (%%rdi), %%ymm0")                                             \
    /* Stores of another size. */                                                                  \
    X(store8, "store-1", "movb $0, (%%rdi)")                                                       \
    X(store16, "store-2", "movw $0, (%%rdi)")                                                      \
    X(store64, "store-8", "movq $0, (%%rdi)")                                                      \
    X(push, "push", "lea 8(%%rdi), %%rcx\n xchg %%rcx, %%rsp\n push $0\n xchg %%rcx, %%rsp")       \
    X(vector_store, "store-sse", "movups %%xmm0, (%%rdi)")                                         \
    X(avx_store, "store-avx", "vmovups %%ymm0, (%%rdi)")                                           \
    X(stream_store, "store-nontemporal", "movntps %%xmm0, (%%rdi)")                                \
    X(masked_store, "store-masked",                                                                \
      "pcmpeqd %%xmm0, %%xmm0\n movaps %%xmm0, %%xmm1\n maskmovdqu %%xmm1, %%xmm0")                \
    X(x87_store, "store-x87", "fninit\n fld1\n fstpl (%%rdi)")                                     \
    X(save_fx, "fxsave", "fxsave (%%rdi)")                                                         \
    X(save_x, "xsave", "mov $3, %%eax\n xor %%edx, %%edx\n xsave (%%rdi)")                         \
    /* Stores elsewhere in the page. */                                                            \
    X(store_odd1, "store-4-at-1", "movl $0, 1(%%rdi)")                                             \
    X(store_odd2, "store-4-at-2", "movl $0, 2(%%rdi)")                                             \
    X(store_next, "store-4-at-4", "movl $0, 4(%%rdi)")                                             \
    X(store_middle, "store-4-at-2048", "movl $0, 2048(%%rdi)")                                     \
    X(store_last, "store-4-at-4092", "movl $0, 4092(%%rdi)")                                       \
    X(store_byte_last, "store-1-at-4095", "movb $0, 4095(%%rdi)")                                  \
    /* Read and write in one. */                                                                   \
    X(increment, "increment", "incl (%%rdi)")                                                      \
    X(xchg, "xchg", "xchg %%eax, (%%rdi)")                                                         \
    X(xadd, "lock-xadd", "mov $1, %%eax\n lock xadd %%eax, (%%rdi)")                               \
    X(cmpxchg, "lock-cmpxchg", "xor %%eax, %%eax\n mov $1, %%ecx\n lock cmpxchg %%ecx, (%%rdi)")   \
    X(cmpxchg8, "lock-cmpxchg8b", "lock cmpxchg8b (%%rdi)")                                        \
    X(cmpxchg16, "lock-cmpxchg16b", "lock cmpxchg16b (%%rdi)")                                     \
    X(bts, "lock-bts", "lock btsl $0, (%%rdi)")                                                    \
    /* Strings. */                                                                                 \
    X(movs_into, "rep-movsb-into", "mov $16, %%ecx\n rep movsb")                                   \
    X(movs_out, "rep-movsb-out", "xchg %%rsi, %%rdi\n mov $16, %%ecx\n rep movsb")                 \
    X(movsd_into, "rep-movsd-into", "mov $4, %%ecx\n rep movsl")                                   \
    X(stos, "rep-stosd", "xor %%eax, %%eax\n mov $1024, %%ecx\n rep stosl")                        \
    X(lods, "lodsb", "mov %%rdi, %%rsi\n lodsb")                                                   \
    X(scas, "scasd", "scasl")                                                                      \
    /* Control transfer. */                                                                        \
    X(jump_into, "jump-into", "jmp *%%rdi")                                                        \
    X(jump_through, "jump-through", "jmp *(%%rdi)")                                                \
    X(call_on, "call-on", "lea 8(%%rdi), %%rsp\n call 1f\n 1: ud2")                                \
    X(return_from, "return-from", "mov %%rdi, %%rsp\n ret")                                        \
    /* Pages do not straddle. */                                                                   \
    X(straddle_after, "straddle-after", "movl $0, 4094(%%rdi)")                                    \
    X(straddle_before, "straddle-before", "movl $0, -2(%%rdi)")                                    \
    X(straddle_before_whole, "straddle-before-8", "movq $0, -4(%%rdi)")

#define RUN(page, instructions)                                                                    \
    __asm__ volatile(instructions                                                                  \
                     : "=D"(unused_rdi), "=S"(unused_rsi)                                          \
                     : "D"(page), "S"(scratch)                                                     \
                     : "rax", "rcx", "rdx", "memory", "cc")

#define DEFINE_DOORBELL(function, name, instructions)                                              \
    static int doorbell_##function(void)                                                           \
    {                                                                                              \
        uint64_t unused_rdi, unused_rsi;                                                           \
        RUN(doorbell(), instructions);                                                             \
        return ATTACK_SURVIVED;                                                                    \
    }
#define DEFINE_EXIT(function, name, instructions)                                                  \
    static int exit_##function(void)                                                               \
    {                                                                                              \
        uint64_t unused_rdi, unused_rsi;                                                           \
        RUN(leave(), instructions);                                                                \
        return ATTACK_SURVIVED;                                                                    \
    }

ACCESSES(DEFINE_DOORBELL)
ACCESSES(DEFINE_EXIT)

static int store32(uint64_t page, uint32_t value)
{
    __asm__ volatile("movl %0, (%1)" : : "r"(value), "r"(page) : "memory");
    return ATTACK_SURVIVED;
}

static int load32(uint64_t page)
{
    __asm__ volatile("movl (%0), %%eax" : : "r"(page) : "rax", "memory");
    return ATTACK_SURVIVED;
}

static int unpark_count(void)
{
    return store32(unpark(), cell_boot()->vcpus);
}

static int unpark_huge(void)
{
    return store32(unpark(), UINT32_MAX);
}

static int unpark_load(void)
{
    return load32(unpark());
}

static int unpark_short(void)
{
    __asm__ volatile("movb $0, (%0)" : : "r"(unpark()) : "memory");
    return ATTACK_SURVIVED;
}

static int park_load(void)
{
    return load32(park());
}

static int park_wide(void)
{
    __asm__ volatile("movq $0, (%0)" : : "r"(park()) : "memory");
    return ATTACK_SURVIVED;
}

// Two halves of one store in two control pages.
static int park_straddle(void)
{
    __asm__ volatile("movl $0, 4094(%0)" : : "r"(park()) : "memory");
    return ATTACK_SURVIVED;
}

static int control_after(void)
{
    return store32(CELL_GVA_CONTROL + CELL_CONTROL_PAGES * GUEST_PAGE_SIZE, 0);
}

// The doorbell after the last one that is granted.
static uint64_t denied(void)
{
    return CELL_GVA_DOORBELL + cell_boot()->port_count * GUEST_PAGE_SIZE;
}

static int denied_store(void)
{
    return store32(denied(), 0);
}

static int denied_load(void)
{
    return load32(denied());
}

static int denied_jump(void)
{
    __asm__ volatile("jmp *%0" : : "r"(denied()));
    return ATTACK_SURVIVED;
}

static int denied_last(void)
{
    return store32(CELL_GVA_DOORBELL + (CELL_MAX_PORTS - 1) * GUEST_PAGE_SIZE, 0);
}

// The value of a doorbell store carries no meaning: any is harmless.
static int any_value(void)
{
    store32(doorbell(), UINT32_MAX);
    return ATTACK_DEFENDED;
}

#define ROW_DOORBELL(function, name, instructions) {"doorbell-" name, doorbell_##function},
#define ROW_EXIT(function, name, instructions)     {"exit-" name, exit_##function},

static const struct attack attacks[] = {
    {"doorbell-any-value", any_value},
    // vCPUs that do not exist.
    {"unpark-count", unpark_count},
    {"unpark-huge", unpark_huge},
    // The other control pages.
    {"unpark-load", unpark_load},
    {"unpark-store-1", unpark_short},
    {"park-load", park_load},
    {"park-store-8", park_wide},
    {"park-straddle", park_straddle},
    {"control-after", control_after},
    // Doorbells of ports that are not granted.
    {"denied-store", denied_store},
    {"denied-load", denied_load},
    {"denied-jump", denied_jump},
    {"denied-last", denied_last},
    // Every odd access to a doorbell that is granted, and to a control page.
    ACCESSES(ROW_DOORBELL) ACCESSES(ROW_EXIT)};

int main(int argc, char **argv)
{
    return attack_main(argc, argv, attacks, ATTACK_COUNT(attacks));
}
