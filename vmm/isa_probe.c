// SPDX-License-Identifier: Apache-2.0
// Finds which vector instructions the model can really use.
#include "isa_probe.h"

#include <cpuid.h>
#include <string.h>
#include <sys/ioctl.h>

// Each probe executes its instructions, then stores to the probe page (rdi): an exit that says
// "executed". Anything else (stub, shutdown, internal error) says "not usable".
#define PROBE(name, body)                                                                          \
    __asm__(".pushsection .rodata\n"                                                               \
            "isa_probe_" name "_begin:\n" body "mov %eax, (%rdi)\n"                                \
            "isa_probe_" name "_end:\n"                                                            \
            ".popsection\n")

// No processor has AVX2 without the SSE sets: one probe, and one exit, is enough for all.
PROBE("avx2", "haddps %xmm0, %xmm0\n"
              "pshufb %xmm0, %xmm1\n"
              "ptest %xmm0, %xmm1\n"
              "pcmpgtq %xmm0, %xmm1\n"
              "popcnt %eax, %eax\n"
              "vpxor %ymm0, %ymm0, %ymm0\n"
              "vpaddd %ymm0, %ymm0, %ymm1\n"
              "vfmadd231ps %ymm0, %ymm0, %ymm1\n"
              "vcvtph2ps %xmm0, %ymm2\n"
              "vzeroupper\n");
PROBE("avx512", "vpxord %zmm0, %zmm0, %zmm0\n"
                "vpaddb %zmm0, %zmm0, %zmm1\n"
                "vpaddd %ymm0, %ymm0, %ymm17\n"
                "vzeroupper\n");
PROBE("vnni", "vpxord %zmm0, %zmm0, %zmm0\n"
              "vpdpbusd %zmm0, %zmm0, %zmm1\n"
              "vzeroupper\n");

extern const uint8_t isa_probe_avx2_begin[], isa_probe_avx2_end[];
extern const uint8_t isa_probe_avx512_begin[], isa_probe_avx512_end[];
extern const uint8_t isa_probe_vnni_begin[], isa_probe_vnni_end[];

#define PROBE_STRIDE 256

static const struct {
    const uint8_t *begin;
    const uint8_t *end;
    uint64_t sets;
} probes[] = {
    {isa_probe_avx2_begin, isa_probe_avx2_end,
     CELL_ISA_AVX | CELL_ISA_AVX2 | CELL_ISA_FMA | CELL_ISA_F16C | CELL_ISA_SSE3 |
         CELL_ISA_SSSE3 | CELL_ISA_SSE41 | CELL_ISA_SSE42 | CELL_ISA_POPCNT},
    {isa_probe_avx512_begin, isa_probe_avx512_end,
     CELL_ISA_AVX512F | CELL_ISA_AVX512BW | CELL_ISA_AVX512VL},
    {isa_probe_vnni_begin, isa_probe_vnni_end, CELL_ISA_AVX512VNNI},
};

#define PROBE_COUNT (sizeof(probes) / sizeof(probes[0]))

void isa_probe_write(uint8_t *page)
{
    memset(page, 0xcc, GUEST_PAGE_SIZE);
    for (size_t i = 0; i < PROBE_COUNT; i++)
        memcpy(page + i * PROBE_STRIDE, probes[i].begin, (size_t)(probes[i].end - probes[i].begin));
}

#define XCR0_AVX    0x6ull
#define XCR0_AVX512 0xe6ull

struct cpuid_bits {
    uint32_t leaf1_ecx;
    uint32_t leaf7_ebx;
    uint32_t leaf7_ecx;
    uint32_t leaf7_1_eax;
};

// Feature bits (SDM vol. 2A, CPUID) and the XCR0 state that each set needs.
static uint64_t isa_from_bits(const struct cpuid_bits *bits, uint64_t xcr0)
{
    const struct {
        uint32_t word;
        unsigned bit;
        uint64_t xcr0;
        uint64_t set;
    } table[] = {
        {bits->leaf1_ecx, 0, 0, CELL_ISA_SSE3},
        {bits->leaf1_ecx, 9, 0, CELL_ISA_SSSE3},
        {bits->leaf1_ecx, 19, 0, CELL_ISA_SSE41},
        {bits->leaf1_ecx, 20, 0, CELL_ISA_SSE42},
        {bits->leaf1_ecx, 23, 0, CELL_ISA_POPCNT},
        {bits->leaf1_ecx, 28, XCR0_AVX, CELL_ISA_AVX},
        {bits->leaf1_ecx, 29, XCR0_AVX, CELL_ISA_F16C},
        {bits->leaf1_ecx, 12, XCR0_AVX, CELL_ISA_FMA},
        {bits->leaf7_ebx, 5, XCR0_AVX, CELL_ISA_AVX2},
        {bits->leaf7_1_eax, 4, XCR0_AVX, CELL_ISA_AVXVNNI},
        {bits->leaf7_ebx, 16, XCR0_AVX512, CELL_ISA_AVX512F},
        {bits->leaf7_ebx, 30, XCR0_AVX512, CELL_ISA_AVX512BW},
        {bits->leaf7_ebx, 31, XCR0_AVX512, CELL_ISA_AVX512VL},
        {bits->leaf7_ecx, 11, XCR0_AVX512, CELL_ISA_AVX512VNNI},
        {bits->leaf7_1_eax, 5, XCR0_AVX512, CELL_ISA_AVX512BF16},
    };
    uint64_t sets = 0;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if ((table[i].word >> table[i].bit & 1) && (xcr0 & table[i].xcr0) == table[i].xcr0)
            sets |= table[i].set;
    }
    return sets;
}

uint64_t isa_from_profile(const struct kvm_vm *vm, uint64_t xcr0)
{
    const struct kvm_cpuid_entry2 *one = kvm_cpuid_leaf(vm, 1, 0);
    const struct kvm_cpuid_entry2 *seven = kvm_cpuid_leaf(vm, 7, 0);
    const struct kvm_cpuid_entry2 *seven_1 = kvm_cpuid_leaf(vm, 7, 1);
    struct cpuid_bits bits = {
        .leaf1_ecx = one ? one->ecx : 0,
        .leaf7_ebx = seven ? seven->ebx : 0,
        .leaf7_ecx = seven ? seven->ecx : 0,
        .leaf7_1_eax = seven_1 ? seven_1->eax : 0,
    };
    return isa_from_bits(&bits, xcr0);
}

uint64_t isa_of_host(void)
{
    struct cpuid_bits bits = {0};
    uint32_t eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &bits.leaf1_ecx, &edx))
        return 0;
    __get_cpuid_count(7, 0, &eax, &bits.leaf7_ebx, &bits.leaf7_ecx, &edx);
    __get_cpuid_count(7, 1, &bits.leaf7_1_eax, &ebx, &ecx, &edx);
    uint64_t xcr0 = 0;
    if (bits.leaf1_ecx & bit_OSXSAVE) {
        uint32_t low, high;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        xcr0 = (uint64_t)high << 32 | low;
    }
    return isa_from_bits(&bits, xcr0);
}

static bool probe_executes(int vcpu_fd, struct kvm_run *run, const struct kvm_sregs *initial,
                           size_t probe)
{
    struct kvm_regs regs = {
        .rip = CELL_GVA_PROBE + probe * PROBE_STRIDE,
        .rdi = CELL_GVA_CONTROL + CELL_CONTROL_PROBE * GUEST_PAGE_SIZE,
        .rsp = cell_thread_area(0).value,
        .rflags = 0x202,
    };
    struct kvm_sregs sregs = *initial;
    if (ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu_fd, KVM_SET_REGS, &regs) < 0 ||
        ioctl(vcpu_fd, KVM_RUN, 0) < 0)
        return false;
    bool executed = run->exit_reason == KVM_EXIT_MMIO && run->mmio.is_write &&
                    run->mmio.phys_addr == cell_control_page_gpa(CELL_CONTROL_PROBE).value;
    // Finish the store, so that KVM holds no half-done instruction when registers are set next.
    run->immediate_exit = 1;
    ioctl(vcpu_fd, KVM_RUN, 0);
    run->immediate_exit = 0;
    return executed;
}

uint64_t isa_probe_run(int vcpu_fd, struct kvm_run *run, const struct kvm_sregs *initial,
                       uint64_t candidates)
{
    uint64_t found = 0;
    for (size_t i = 0; i < PROBE_COUNT; i++) {
        if (!(candidates & probes[i].sets))
            continue;
        if (!probe_executes(vcpu_fd, run, initial, i))
            break; // later probes need what the earlier ones found missing
        found |= probes[i].sets & candidates;
    }
    return found;
}
