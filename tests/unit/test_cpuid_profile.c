// SPDX-License-Identifier: Apache-2.0
// Instruction sets and control bits out of fabricated CPUID profiles, and the real one's promises.
#include <criterion/criterion.h>
#include <string.h>

#include "cell_abi.h"
#include "cpu_tables.h"
#include "cpuid_profile.h"
#include "support.h"

static struct cpuid_profile make(uint32_t one_ecx, uint32_t seven_ebx, uint32_t seven_ecx,
                                 uint32_t seven_1_eax)
{
    struct cpuid_profile profile = {0};
    profile.head.nent = 3;
    profile.entries[0] = (struct kvm_cpuid_entry2){.function = 1, .ecx = one_ecx};
    profile.entries[1] =
        (struct kvm_cpuid_entry2){.function = 7, .ebx = seven_ebx, .ecx = seven_ecx};
    profile.entries[2] = (struct kvm_cpuid_entry2){.function = 7, .index = 1, .eax = seven_1_eax};
    return profile;
}

// SDM vol. 2A, CPUID: register, bit, and the state that XCR0 must enable (vol.
// 1, 13.3, 14.3, 15.2).
static const struct {
    unsigned word, bit;
    uint64_t xcr0, set;
} features[] = {
    {0, 0, 0, CELL_ISA_SSE3},           {0, 9, 0, CELL_ISA_SSSE3},
    {0, 19, 0, CELL_ISA_SSE41},         {0, 20, 0, CELL_ISA_SSE42},
    {0, 23, 0, CELL_ISA_POPCNT},        {0, 28, 6, CELL_ISA_AVX},
    {0, 29, 6, CELL_ISA_F16C},          {0, 12, 6, CELL_ISA_FMA},
    {1, 5, 6, CELL_ISA_AVX2},           {1, 16, 0xe6, CELL_ISA_AVX512F},
    {1, 30, 0xe6, CELL_ISA_AVX512BW},   {1, 31, 0xe6, CELL_ISA_AVX512VL},
    {2, 11, 0xe6, CELL_ISA_AVX512VNNI}, {3, 4, 6, CELL_ISA_AVXVNNI},
    {3, 5, 0xe6, CELL_ISA_AVX512BF16},
};

Test(cpuid_profile, each_bit_alone)
{
    for (unsigned word = 0; word < 4; word++)
        for (unsigned bit = 0; bit < 32; bit++) {
            uint32_t words[4] = {0};
            words[word] = 1u << bit;
            struct cpuid_profile profile = make(words[0], words[1], words[2], words[3]);
            uint64_t expected = 0;
            for (size_t i = 0; i < COUNT(features); i++) {
                if (features[i].word == word && features[i].bit == bit)
                    expected = features[i].set;
            }
            cr_assert_eq(cpuid_profile_isa(&profile, 0xe7), expected, "word %u bit %u", word, bit);
        }
}

// A set needs its register state: without it in XCR0, its instructions fault.
Test(cpuid_profile, every_xcr0)
{
    struct cpuid_profile profile = make(~0u, ~0u, ~0u, ~0u);
    for (uint64_t xcr0 = 1; xcr0 < 256; xcr0 += 2) {
        // Values that XSETBV accepts only: SSE with AVX, the AVX-512 parts together and with AVX.
        if (((xcr0 & 4) && !(xcr0 & 2)) || ((xcr0 & 0xe0) && (xcr0 & 0xe6) != 0xe6))
            continue;
        uint64_t expected = 0;
        for (size_t i = 0; i < COUNT(features); i++) {
            if ((xcr0 & features[i].xcr0) == features[i].xcr0)
                expected |= features[i].set;
        }
        cr_assert_eq(cpuid_profile_isa(&profile, xcr0), expected, "XCR0 %#llx",
                     (unsigned long long)xcr0);
    }
}

Test(cpuid_profile, missing_leaves)
{
    struct cpuid_profile none = {0};
    cr_expect_eq(cpuid_profile_isa(&none, ~0ull), 0u);
    cr_expect_eq(cpuid_profile_cr4(&none), 0u);
    cr_expect_eq(cpuid_profile_xcr0(&none), 0u);
    cr_expect_null(cpuid_profile_leaf(&none, 0, 0));
    struct cpuid_profile profile = make(~0u, ~0u, ~0u, ~0u);
    profile.head.nent = 1; // leaf 7 is there, beyond the end
    cr_expect_eq(cpuid_profile_isa(&profile, 0xe7) & CELL_ISA_AVX2, 0u);
    cr_expect_null(cpuid_profile_leaf(&profile, 7, 0));
    cr_expect_not_null(cpuid_profile_leaf(&profile, 1, 0));
}

Test(cpuid_profile, cr4)
{
    struct cpuid_profile profile = make(1u << 26, 1u << 7 | 1u << 20, 1u << 2, 0);
    profile.entries[0].edx = 1u << 4;
    cr_expect_eq(cpuid_profile_cr4(&profile),
                 CR4_TSD | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP | CR4_UMIP);
    profile = make(~(1u << 26), ~(1u << 7), ~(1u << 2), ~0u);
    cr_expect_eq(cpuid_profile_cr4(&profile), CR4_SMAP);
}

// What a cell sees of this host: no more than the table, nothing that names or times it.
Test(cpuid_profile, of_this_host)
{
    struct cpuid_profile profile = {0};
    cpuid_profile_read(&profile);
    cr_assert_leq(profile.head.nent, (unsigned)CPUID_PROFILE_MAX);
    for (unsigned i = 0; i < profile.head.nent; i++) {
        const struct kvm_cpuid_entry2 *entry = &profile.entries[i];
        cr_expect(entry->function <= 0xd ||
                  (entry->function >= 0x80000000 && entry->function <= 0x80000008));
        for (unsigned k = 0; k < i; k++)
            cr_expect_not(entry->function == profile.entries[k].function &&
                              entry->index == profile.entries[k].index,
                          "leaf twice");
    }
    const struct kvm_cpuid_entry2 *one = cpuid_profile_leaf(&profile, 1, 0);
    cr_assert_not_null(one);
    // MONITOR, VMX, SMX, PDCM, PCID, x2APIC, TSC deadline, OSXSAVE, hypervisor.
    cr_expect_eq(one->ecx & (1u << 3 | 1u << 5 | 1u << 6 | 1u << 15 | 1u << 17 | 1u << 21 |
                             1u << 24 | 1u << 27 | 1u << 31),
                 0u);
    cr_expect_eq(one->ebx & 0xffff00ff, 0u, "APIC id and topology");
    cr_expect_eq(one->edx & (1u << 9 | 1u << 11 | 1u << 28), 0u, "APIC, SEP, HTT");
    const struct kvm_cpuid_entry2 *seven = cpuid_profile_leaf(&profile, 7, 0);
    if (seven) {
        // TSX, PKU, RDPID, WAITPKG, FSGSBASE.
        cr_expect_eq(seven->ebx & (1u << 0 | 1u << 4 | 1u << 11), 0u);
        cr_expect_eq(seven->ecx & (1u << 3 | 1u << 5 | 1u << 22), 0u);
    }
    static const uint32_t absent[] = {2,          4,          5,          6,          0xa,
                                      0xb,        0xf,        0x10,       0x12,       0x14,
                                      0x15,       0x16,       0x19,       0x40000000, 0x40000001,
                                      0x80000002, 0x80000004, 0x80000007, 0x8000000a};
    for (size_t i = 0; i < COUNT(absent); i++)
        cr_expect_null(cpuid_profile_leaf(&profile, absent[i], 0), "leaf %#x", absent[i]);
    uint64_t xcr0 = cpuid_profile_xcr0(&profile);
    cr_expect(xcr0 == 0 || xcr0 == 1 || xcr0 == 3 || xcr0 == 7 || xcr0 == 0xe7, "%#llx",
              (unsigned long long)xcr0);
    // A set is promised only if this process could use it too.
    uint64_t isa = cpuid_profile_isa(&profile, xcr0);
    cr_expect(!(isa & CELL_ISA_AVX2) || __builtin_cpu_supports("avx2"));
    cr_expect(!(isa & CELL_ISA_AVX512F) || __builtin_cpu_supports("avx512f"));
    cr_expect(!(isa & CELL_ISA_SSE42) || __builtin_cpu_supports("sse4.2"));
}
