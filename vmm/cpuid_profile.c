// SPDX-License-Identifier: Apache-2.0
// The fixed CPUID profile of cells.
#include "cpuid_profile.h"

#include <cpuid.h>
#include <stdbool.h>
#include <stddef.h>

#include "cell_abi.h"
#include "cpu_tables.h"

#define BIT(n) (1u << (n))
#define ALL    0xffffffffu

#define XCR0_SSE    0x3u
#define XCR0_AVX    0x7u
#define XCR0_AVX512 0xe7u

enum row_kind {
    ROW_PLAIN,
    ROW_XSAVE,      // only with XSAVE
    ROW_XSAVE_PART, // only if XCR0 component `index` is in the profile
};

// One leaf (SDM vol. 2A, CPUID; APM vol. 3, appendix E) and the bits of it that a cell sees.
static const struct row {
    uint32_t function;
    uint32_t index;
    enum row_kind kind;
    uint32_t eax, ebx, ecx, edx;
} rows[] = {
    {0x0, 0, ROW_PLAIN, ALL, ALL, ALL, ALL}, // highest leaf (capped below), vendor
    {0x1, 0, ROW_PLAIN, ALL, 0xff00,
     // SSE3, PCLMUL, SSSE3, FMA, CX16, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, XSAVE, AVX, F16C, RDRAND
     BIT(0) | BIT(1) | BIT(9) | BIT(12) | BIT(13) | BIT(19) | BIT(20) | BIT(22) | BIT(23) |
         BIT(25) | BIT(26) | BIT(28) | BIT(29) | BIT(30),
     // FPU, DE, TSC, MSR, PAE, CX8, PGE, CMOV, PAT, CLFSH, MMX, FXSR, SSE, SSE2
     BIT(0) | BIT(2) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(13) | BIT(15) | BIT(16) | BIT(19) |
         BIT(23) | BIT(24) | BIT(25) | BIT(26)},
    {0x7, 0, ROW_PLAIN, ALL,
     // BMI1, AVX2, SMEP, BMI2, ERMS, AVX512F, DQ, RDSEED, ADX, SMAP, IFMA, CLFLUSHOPT, CLWB, CD,
     // SHA, BW, VL
     BIT(3) | BIT(5) | BIT(7) | BIT(8) | BIT(9) | BIT(16) | BIT(17) | BIT(18) | BIT(19) | BIT(20) |
         BIT(21) | BIT(23) | BIT(24) | BIT(28) | BIT(29) | BIT(30) | BIT(31),
     // VBMI, UMIP, VBMI2, GFNI, VAES, VPCLMUL, VNNI, BITALG, VPOPCNTDQ
     BIT(1) | BIT(2) | BIT(6) | BIT(8) | BIT(9) | BIT(10) | BIT(11) | BIT(12) | BIT(14),
     BIT(4) | BIT(23)},                            // FSRM, AVX512-FP16
    {0x7, 1, ROW_PLAIN, BIT(4) | BIT(5), 0, 0, 0}, // AVX-VNNI, AVX512-BF16
    {0xd, 0, ROW_XSAVE, XCR0_AVX512, ALL, ALL, 0},
    {0xd, 1, ROW_XSAVE, BIT(0) | BIT(1) | BIT(2), 0, 0, 0}, // XSAVEOPT, XSAVEC, XGETBV1
    {0xd, 2, ROW_XSAVE_PART, ALL, ALL, 0, 0},
    {0xd, 5, ROW_XSAVE_PART, ALL, ALL, 0, 0},
    {0xd, 6, ROW_XSAVE_PART, ALL, ALL, 0, 0},
    {0xd, 7, ROW_XSAVE_PART, ALL, ALL, 0, 0},
    {0x80000001, 0, ROW_PLAIN, 0, 0, BIT(0) | BIT(5) | BIT(8), // LAHF, LZCNT, PREFETCHW
     BIT(11) | BIT(20) | BIT(26) | BIT(29)},                   // SYSCALL, NX, 1 GiB pages, LM
    {0x80000008, 0, ROW_PLAIN, 0xffff, 0, 0, 0},               // address widths
};

#define HIGHEST_BASIC    0xdu
#define HIGHEST_EXTENDED 0x80000008u

static bool row_applies(const struct cpuid_profile *profile, const struct row *row)
{
    const struct kvm_cpuid_entry2 *one = cpuid_profile_leaf(profile, 0x1, 0);
    const struct kvm_cpuid_entry2 *state = cpuid_profile_leaf(profile, 0xd, 0);
    switch (row->kind) {
    case ROW_XSAVE:
        return one && (one->ecx & BIT(26));
    case ROW_XSAVE_PART:
        return state && (state->eax & BIT(row->index));
    case ROW_PLAIN:
    default:
        return true;
    }
}

void cpuid_profile_read(struct cpuid_profile *profile)
{
    profile->head.nent = 0;
    uint32_t highest = 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        uint32_t eax, ebx, ecx, edx;
        if (!row_applies(profile, row) ||
            (row->function < 0x80000000 && row->function > highest && row->function))
            continue;
        __cpuid_count(row->function, row->index, eax, ebx, ecx, edx);
        if (row->function == 0) {
            highest = eax < HIGHEST_BASIC ? eax : HIGHEST_BASIC;
            eax = highest;
        }
        profile->entries[profile->head.nent++] = (struct kvm_cpuid_entry2){
            .function = row->function,
            .index = row->index,
            .flags =
                row->function == 0x7 || row->function == 0xd ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
            .eax = eax & row->eax,
            .ebx = ebx & row->ebx,
            .ecx = ecx & row->ecx,
            .edx = edx & row->edx,
        };
    }
    profile->entries[profile->head.nent++] =
        (struct kvm_cpuid_entry2){.function = 0x80000000, .eax = HIGHEST_EXTENDED};
}

_Static_assert(sizeof(rows) / sizeof(rows[0]) < CPUID_PROFILE_MAX, "room for every row");

const struct kvm_cpuid_entry2 *cpuid_profile_leaf(const struct cpuid_profile *profile,
                                                  uint32_t function, uint32_t index)
{
    for (unsigned i = 0; i < profile->head.nent; i++) {
        const struct kvm_cpuid_entry2 *entry = &profile->entries[i];
        if (entry->function == function && entry->index == index)
            return entry;
    }
    return NULL;
}

// Tables below name registers of leaves; this reads one.
struct feature {
    uint32_t function;
    uint32_t index;
    size_t reg; // offset in struct kvm_cpuid_entry2
    unsigned bit;
};

#define FEATURE(function, index, reg, bit)                                                         \
    {                                                                                              \
        function, index, offsetof(struct kvm_cpuid_entry2, reg), bit                               \
    }

static bool has(const struct cpuid_profile *profile, const struct feature *feature)
{
    const struct kvm_cpuid_entry2 *entry =
        cpuid_profile_leaf(profile, feature->function, feature->index);
    if (!entry)
        return false;
    uint32_t value = *(const uint32_t *)(const void *)((const char *)entry + feature->reg);
    return value >> feature->bit & 1;
}

uint64_t cpuid_profile_cr4(const struct cpuid_profile *profile)
{
    static const struct {
        struct feature feature;
        uint64_t bit;
    } table[] = {
        {FEATURE(0x1, 0, edx, 4), CR4_TSD},  {FEATURE(0x1, 0, ecx, 26), CR4_OSXSAVE},
        {FEATURE(0x7, 0, ebx, 7), CR4_SMEP}, {FEATURE(0x7, 0, ebx, 20), CR4_SMAP},
        {FEATURE(0x7, 0, ecx, 2), CR4_UMIP},
    };
    uint64_t cr4 = 0;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        cr4 |= has(profile, &table[i].feature) ? table[i].bit : 0;
    return cr4;
}

// What this process's operating system has enabled; 0 if it has not enabled XSAVE.
static uint64_t host_xcr0(void)
{
    uint32_t eax, ebx, ecx, edx, low, high;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & BIT(27)))
        return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

uint64_t cpuid_profile_xcr0(const struct cpuid_profile *profile)
{
    const struct kvm_cpuid_entry2 *state = cpuid_profile_leaf(profile, 0xd, 0);
    uint64_t xcr0 = state ? state->eax & host_xcr0() : 0;
    // AVX-512 needs its three components together, and AVX (SDM vol. 1, 13.3).
    if ((xcr0 & XCR0_AVX512) == XCR0_AVX512)
        return XCR0_AVX512;
    if ((xcr0 & XCR0_AVX) == XCR0_AVX)
        return XCR0_AVX;
    return xcr0 & XCR0_SSE;
}

uint64_t cpuid_profile_isa(const struct cpuid_profile *profile, uint64_t xcr0)
{
    static const struct {
        struct feature feature;
        uint64_t xcr0;
        uint64_t set;
    } table[] = {
        {FEATURE(0x1, 0, ecx, 0), 0, CELL_ISA_SSE3},
        {FEATURE(0x1, 0, ecx, 9), 0, CELL_ISA_SSSE3},
        {FEATURE(0x1, 0, ecx, 19), 0, CELL_ISA_SSE41},
        {FEATURE(0x1, 0, ecx, 20), 0, CELL_ISA_SSE42},
        {FEATURE(0x1, 0, ecx, 23), 0, CELL_ISA_POPCNT},
        {FEATURE(0x1, 0, ecx, 28), XCR0_AVX, CELL_ISA_AVX},
        {FEATURE(0x1, 0, ecx, 29), XCR0_AVX, CELL_ISA_F16C},
        {FEATURE(0x1, 0, ecx, 12), XCR0_AVX, CELL_ISA_FMA},
        {FEATURE(0x7, 0, ebx, 5), XCR0_AVX, CELL_ISA_AVX2},
        {FEATURE(0x7, 1, eax, 4), XCR0_AVX, CELL_ISA_AVXVNNI},
        {FEATURE(0x7, 0, ebx, 16), XCR0_AVX512, CELL_ISA_AVX512F},
        {FEATURE(0x7, 0, ebx, 30), XCR0_AVX512, CELL_ISA_AVX512BW},
        {FEATURE(0x7, 0, ebx, 31), XCR0_AVX512, CELL_ISA_AVX512VL},
        {FEATURE(0x7, 0, ecx, 11), XCR0_AVX512, CELL_ISA_AVX512VNNI},
        {FEATURE(0x7, 1, eax, 5), XCR0_AVX512, CELL_ISA_AVX512BF16},
    };
    uint64_t isa = 0;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (has(profile, &table[i].feature) && (xcr0 & table[i].xcr0) == table[i].xcr0)
            isa |= table[i].set;
    }
    return isa;
}
