// SPDX-License-Identifier: Apache-2.0
// Attacks with instructions: what belongs to an operating system faults at CPL3.
#include "attack.h"

#define EVERYTHING "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "memory", "cc"

static uint8_t scratch[512] __attribute__((aligned(64)));

// Pseudo-descriptor for lgdt and lidt: a table of the attacker's own, in data.
struct table_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

__attribute__((used)) static struct table_pointer own_table = {0xfff, 0x600000};

// Far pointers whose selectors are of CPL 0, null and of a TSS.
struct far_pointer {
    uint32_t offset;
    uint16_t selector;
} __attribute__((packed));

__attribute__((used)) static struct far_pointer far_kernel = {0x400000, 0x08};
__attribute__((used)) static struct far_pointer far_null = {0x400000, 0};
__attribute__((used)) static struct far_pointer far_tss = {0, 0x30};

// The model's own code segment, which may be another one where software KVM runs it: 32-bit code.
#define OWN_SEGMENT_ROW(name, code)                                                                \
    __asm__(".pushsection .text.own_segment, \"ax\"\n"                                             \
            "own_segment_" name ": " code "\n ud2\n"                                               \
            ".popsection\n"                                                                        \
            ".pushsection .rodata.own_segment, \"a\"\n"                                            \
            "own_pointer_" name ": .long own_segment_" name "\n .word 0x23\n"                      \
            ".popsection\n")
OWN_SEGMENT_ROW("interrupt", "int $0x80");
OWN_SEGMENT_ROW("syscall", "syscall");
OWN_SEGMENT_ROW("sysenter", "sysenter");
OWN_SEGMENT_ROW("hlt", "hlt");

// X(function, name, instructions). rax, rbx, rcx, rdx, rsi and rdi are free; rdi points to scratch.
#define PRIVILEGED(X)                                                                              \
    /* Control registers decide what memory and privilege mean. */                                 \
    X(read_cr0, "mov-from-cr0", "mov %%cr0, %%rax")                                                \
    X(write_cr0, "mov-to-cr0", "mov %%rax, %%cr0")                                                 \
    X(read_cr2, "mov-from-cr2", "mov %%cr2, %%rax")                                                \
    X(write_cr2, "mov-to-cr2", "mov %%rax, %%cr2")                                                 \
    X(read_cr3, "mov-from-cr3", "mov %%cr3, %%rax")                                                \
    X(write_cr3, "mov-to-cr3", "mov %%rax, %%cr3")                                                 \
    X(read_cr4, "mov-from-cr4", "mov %%cr4, %%rax")                                                \
    X(write_cr4, "mov-to-cr4", "mov %%rax, %%cr4")                                                 \
    X(read_cr8, "mov-from-cr8", "mov %%cr8, %%rax")                                                \
    X(write_cr8, "mov-to-cr8", "mov %%rax, %%cr8")                                                 \
    X(clts, "clts", "clts")                                                                        \
    X(lmsw, "lmsw", "lmsw %%ax")                                                                   \
    X(xsetbv, "xsetbv", "xor %%ecx, %%ecx\n mov $7, %%eax\n xor %%edx, %%edx\n xsetbv")            \
    /* Debug registers. */                                                                         \
    X(read_dr0, "mov-from-dr0", "mov %%dr0, %%rax")                                                \
    X(write_dr0, "mov-to-dr0", "mov %%rax, %%dr0")                                                 \
    X(read_dr7, "mov-from-dr7", "mov %%dr7, %%rax")                                                \
    X(write_dr7, "mov-to-dr7", "mov %%rax, %%dr7")                                                 \
    /* Model-specific registers: EFER, LSTAR. */                                                   \
    X(rdmsr, "rdmsr", "mov $0xc0000080, %%ecx\n rdmsr")                                            \
    X(wrmsr, "wrmsr", "mov $0xc0000082, %%ecx\n wrmsr")                                            \
    X(rdpmc, "rdpmc", "xor %%ecx, %%ecx\n rdpmc")                                                  \
    /* Port I/O: IOPL is 0 and no bitmap permits a port. */                                        \
    X(in8, "in-8", "mov $0x3f8, %%edx\n in %%dx, %%al")                                            \
    X(in16, "in-16", "mov $0x3f8, %%edx\n in %%dx, %%ax")                                          \
    X(in32, "in-32", "mov $0xcf8, %%edx\n in %%dx, %%eax")                                         \
    X(in_immediate, "in-immediate", "in $0x60, %%al")                                              \
    X(out8, "out-8", "mov $0x3f8, %%edx\n out %%al, %%dx")                                         \
    X(out16, "out-16", "mov $0x3f8, %%edx\n out %%ax, %%dx")                                       \
    X(out32, "out-32", "mov $0xcf8, %%edx\n out %%eax, %%dx")                                      \
    X(out_immediate, "out-immediate", "out %%al, $0x80")                                           \
    X(insb, "insb", "mov $0x3f8, %%edx\n insb")                                                    \
    X(rep_insd, "rep-insd", "mov $0x3f8, %%edx\n mov $4, %%ecx\n rep insl")                        \
    X(outsb, "outsb", "mov %%rdi, %%rsi\n mov $0x3f8, %%edx\n outsb")                              \
    X(rep_outsw, "rep-outsw", "mov %%rdi, %%rsi\n mov $0x3f8, %%edx\n mov $4, %%ecx\n rep outsw")  \
    /* Interrupts and halting. */                                                                  \
    X(cli, "cli", "cli")                                                                           \
    X(sti, "sti", "sti")                                                                           \
    X(hlt, "hlt", "hlt")                                                                           \
    X(mwait, "mwait", "xor %%eax, %%eax\n xor %%ecx, %%ecx\n mwait")                               \
    X(monitor, "monitor", "mov %%rdi, %%rax\n xor %%ecx, %%ecx\n xor %%edx, %%edx\n monitor")      \
    /* Descriptor tables, task register. */                                                        \
    X(lgdt, "lgdt", "lgdt own_table(%%rip)")                                                       \
    X(lidt, "lidt", "lidt own_table(%%rip)")                                                       \
    X(lldt, "lldt", "xor %%eax, %%eax\n lldt %%ax")                                                \
    X(ltr, "ltr", "mov $0x30, %%eax\n ltr %%ax")                                                   \
    X(swapgs, "swapgs", "swapgs")                                                                  \
    /* Caches and translations. */                                                                 \
    X(invlpg, "invlpg", "invlpg (%%rdi)")                                                          \
    X(invd, "invd", "invd")                                                                        \
    X(wbinvd, "wbinvd", "wbinvd")                                                                  \
    X(wbnoinvd, "wbnoinvd", ".byte 0xf3, 0x0f, 0x09")                                              \
    X(stac, "stac", "stac")                                                                        \
    X(clac, "clac", "clac")                                                                        \
    X(invpcid, "invpcid", "xor %%eax, %%eax\n invpcid (%%rdi), %%rax")                             \
    /* Ways back into a kernel. */                                                                 \
    X(sysret32, "sysret", "lea 1f(%%rip), %%rcx\n 1: sysretl")                                     \
    X(sysret64, "sysretq", "lea 1f(%%rip), %%rcx\n 1: sysretq")                                    \
    X(sysexit, "sysexit", "sysexitl")                                                              \
    X(sysexitq, "sysexitq", "sysexitq")                                                            \
    /* A hypervisor of its own. */                                                                 \
    X(vmcall, "vmcall", "mov $1, %%eax\n vmcall")                                                  \
    X(vmmcall, "vmmcall", "mov $1, %%eax\n vmmcall")                                               \
    X(vmrun, "vmrun", "mov %%rdi, %%rax\n vmrun")                                                  \
    X(vmload, "vmload", "mov %%rdi, %%rax\n vmload")                                               \
    X(clgi, "clgi", "clgi")                                                                        \
    X(stgi, "stgi", "stgi")                                                                        \
    X(vmlaunch, "vmlaunch", "vmlaunch")                                                            \
    X(vmxoff, "vmxoff", "vmxoff")                                                                  \
    X(vmread, "vmread", "vmread %%rax, %%rdx")                                                     \
    X(vmxon, "vmxon", "vmxon (%%rdi)")                                                             \
    X(vmptrld, "vmptrld", "vmptrld (%%rdi)")                                                       \
    X(invept, "invept", "invept (%%rdi), %%rax")                                                   \
    X(encls, "encls", "xor %%eax, %%eax\n encls")                                                  \
    /* Allowed or not by the profile: never harmful. */                                            \
    X(rdtsc, "rdtsc", "rdtsc")                                                                     \
    X(rdtscp, "rdtscp", "rdtscp")                                                                  \
    X(sgdt, "sgdt", "sgdt (%%rdi)")                                                                \
    X(sidt, "sidt", "sidt (%%rdi)")                                                                \
    X(sldt, "sldt", "sldt (%%rdi)")                                                                \
    X(str, "str", "str (%%rdi)")                                                                   \
    X(smsw, "smsw", "smsw (%%rdi)")                                                                \
    X(wrfsbase, "wrfsbase", "rdfsbase %%rax\n wrfsbase %%rax")                                     \
    X(rdgsbase, "rdgsbase", "rdgsbase %%rax")

#define CALLS(X)                                                                                   \
    /* There is no kernel to call. */                                                              \
    X(system_call, "syscall", "mov $60, %%eax\n syscall")                                          \
    X(system_call_far, "syscall-read", "xor %%eax, %%eax\n syscall")                               \
    X(sysenter, "sysenter", "sysenter")                                                            \
    X(int3, "int3", "int3")                                                                        \
    X(int1, "int1", ".byte 0xf1")                                                                  \
    X(into, "into", ".byte 0xce")                                                                  \
    X(int_0, "int-0", "int $0")                                                                    \
    X(int_1, "int-1", "int $1")                                                                    \
    X(int_2, "int-2", "int $2")                                                                    \
    X(int_3, "int-3", "int $3")                                                                    \
    X(int_4, "int-4", "int $4")                                                                    \
    X(int_6, "int-6", "int $6")                                                                    \
    X(int_8, "int-8", "int $8")                                                                    \
    X(int_13, "int-13", "int $13")                                                                 \
    X(int_14, "int-14", "int $14")                                                                 \
    X(int_18, "int-18", "int $18")                                                                 \
    X(int_29, "int-29", "int $29")                                                                 \
    X(int_32, "int-32", "int $32")                                                                 \
    X(int_128, "int-128", "int $128")                                                              \
    X(int_129, "int-129", "int $129")                                                              \
    X(int_236, "int-236", "int $236")                                                              \
    X(int_255, "int-255", "int $255")                                                              \
    /* Selectors of CPL 0 cannot be loaded, entered or returned to. */                             \
    X(far_jump, "far-jump-kernel", "ljmpl *far_kernel(%%rip)")                                     \
    X(far_call, "far-call-kernel", "lcalll *far_kernel(%%rip)")                                    \
    X(far_jump_null, "far-jump-null", "ljmpl *far_null(%%rip)")                                    \
    X(far_jump_tss, "far-jump-tss", "ljmpl *far_tss(%%rip)")                                       \
    X(far_own_interrupt, "far-own-interrupt", "ljmpl *own_pointer_interrupt(%%rip)")               \
    X(far_own_syscall, "far-own-syscall", "ljmpl *own_pointer_syscall(%%rip)")                     \
    X(far_own_sysenter, "far-own-sysenter", "ljmpl *own_pointer_sysenter(%%rip)")                  \
    X(far_own_hlt, "far-own-hlt", "ljmpl *own_pointer_hlt(%%rip)")                                 \
    X(far_return, "far-return-kernel", "push $8\n lea 1f(%%rip), %%rax\n push %%rax\n lretq\n 1:") \
    X(iretq_kernel, "iretq-kernel",                                                                \
      "mov %%rsp, %%rbx\n push $0x10\n push %%rbx\n push $0x3202\n push $8\n"                      \
      "lea 1f(%%rip), %%rax\n push %%rax\n iretq\n 1: mov %%rbx, %%rsp")                           \
    X(iretq_nested, "iretq-nested-task", "pushf\n orl $0x4000, (%%rsp)\n popf\n iretq")            \
    X(load_ss, "mov-to-ss-kernel", "mov $0x10, %%eax\n mov %%eax, %%ss")                           \
    X(load_ss_null, "mov-to-ss-null", "xor %%eax, %%eax\n mov %%eax, %%ss")                        \
    X(load_ds, "mov-to-ds-kernel", "mov $0x10, %%eax\n mov %%eax, %%ds")                           \
    X(load_es, "mov-to-es-tss", "mov $0x30, %%eax\n mov %%eax, %%es")                              \
    X(load_fs, "mov-to-fs-ldt", "mov $7, %%eax\n mov %%eax, %%fs")

#define FAULTS(X)                                                                                  \
    /* Opcodes that do not exist. */                                                               \
    X(ud0, "ud0", ".byte 0x0f, 0xff, 0xc0")                                                        \
    X(ud1, "ud1", ".byte 0x0f, 0xb9, 0xc0")                                                        \
    X(ud2, "ud2", "ud2")                                                                           \
    X(push_es, "push-es", ".byte 0x06")                                                            \
    X(locked_nop, "lock-nop", ".byte 0xf0, 0x90")                                                  \
    X(too_long, "too-long", ".fill 15, 1, 0x66\n nop")                                             \
    /* Arithmetic. */                                                                              \
    X(divide_zero, "divide-zero",                                                                  \
      "mov $1, %%eax\n xor %%edx, %%edx\n xor %%ecx, %%ecx\n div %%ecx")                           \
    X(divide_overflow, "divide-overflow",                                                          \
      "mov $0x80000000, %%eax\n cltd\n mov $-1, %%ecx\n idiv %%ecx")                               \
    X(x87, "x87-exception",                                                                        \
      "movw $0x360, (%%rdi)\n fninit\n fldcw (%%rdi)\n fld1\n fldz\n"                              \
      "fdivrp\n fwait")                                                                            \
    X(simd, "simd-exception",                                                                      \
      "movl $0x1d00, (%%rdi)\n ldmxcsr (%%rdi)\n mov $1, %%eax\n"                                  \
      "cvtsi2ss %%eax, %%xmm0\n xorps %%xmm1, %%xmm1\n"                                            \
      "divss %%xmm1, %%xmm0")                                                                      \
    /* Operands that are not legal. */                                                             \
    X(movaps_odd, "movaps-unaligned", "movaps 1(%%rdi), %%xmm0")                                   \
    X(mxcsr_reserved, "mxcsr-reserved", "movl $-1, (%%rdi)\n ldmxcsr (%%rdi)")                     \
    X(fxrstor_reserved, "fxrstor-reserved", "movl $-1, 24(%%rdi)\n fxrstor (%%rdi)")               \
    X(alignment, "alignment-check", "pushf\n orl $0x40000, (%%rsp)\n popf\n mov 1(%%rdi), %%eax")  \
    X(single_step, "single-step", "pushf\n orl $0x100, (%%rsp)\n popf\n nop\n nop")                \
    /* Locks that span two cache lines can stall every core of the host. */                        \
    X(split_lock, "split-lock",                                                                    \
      "mov $1000, %%ecx\n 1: lock addl $1, 62(%%rdi)\n dec %%ecx\n jnz 1b")

#define DEFINE(function, name, instructions)                                                       \
    static int function(void)                                                                      \
    {                                                                                              \
        __asm__ volatile("mov %0, %%rdi\n" instructions : : "r"(scratch) : EVERYTHING);            \
        return ATTACK_SURVIVED;                                                                    \
    }

PRIVILEGED(DEFINE)
CALLS(DEFINE)
FAULTS(DEFINE)

// popf at CPL3 leaves IOPL and the interrupt flag alone, silently: look, then try `cli`.
static int popf_iopl(void)
{
    uint64_t flags;
    __asm__ volatile("pushfq\n orl $0x3000, (%%rsp)\n andl $0xfffffdff, (%%rsp)\n popfq\n"
                     "pushfq\n pop %0"
                     : "=r"(flags)
                     :
                     : "memory", "cc");
    if ((flags & 0x3000) || !(flags & 0x200))
        return ATTACK_CHANGED;
    __asm__ volatile("cli");
    return ATTACK_SURVIVED;
}

static void ud2_on_second(void *argument, unsigned worker)
{
    (void)argument;
    if (worker == 1)
        __asm__ volatile("ud2");
}

// The other vCPU has a TSS and an exception stack of its own.
static int ud2_second(void)
{
    cell_run(ud2_on_second, NULL);
    return ATTACK_SURVIVED;
}

#define ROW(function, name, instructions) {name, function},

static const struct attack attacks[] = {{"popf-iopl", popf_iopl},
                                        {"ud2-second", ud2_second}, // two vCPUs
                                        PRIVILEGED(ROW) CALLS(ROW) FAULTS(ROW)};

int main(int argc, char **argv)
{
    return attack_main(argc, argv, attacks, ATTACK_COUNT(attacks));
}
