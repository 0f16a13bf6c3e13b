// SPDX-License-Identifier: Apache-2.0
// PVH entry (Documentation/arch/x86/pvh.rst): 32-bit, no paging, EBX = start info. Goes to long mode
// with the first 4 GiB mapped to themselves, and calls ring0_main.
    .section .note.Xen, "a", @note
    .long 4, 8, 18 // XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad start

    .text
    .code32
    .globl start
start:
    cli
    movl $stack_end, %esp
    movl $pml4, %edi
    leal 0x1003(%edi), %eax
    movl %eax, (%edi)
    leal 0x1000(%edi), %edx // pointers
    leal 0x2003(%edi), %eax
    movl $4, %ecx
1:  movl %eax, (%edx)
    addl $0x1000, %eax
    addl $8, %edx
    loop 1b
    leal 0x2000(%edi), %edx // directories
    movl $0x83, %eax
    movl $2048, %ecx
2:  movl %eax, (%edx)
    addl $0x200000, %eax
    addl $8, %edx
    loop 2b
    movl %edi, %cr3
    movl $0x620, %eax // PAE, SSE
    movl %eax, %cr4
    movl $0xc0000080, %ecx
    movl $0x100, %eax // LME
    xorl %edx, %edx
    wrmsr
    movl $0x80000011, %eax
    movl %eax, %cr0
    lgdt gdt_pointer
    ljmp $0x08, $long_mode

    .code64
long_mode:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %ebx, %edi
    call ring0_main
    ud2

// #GP of a two-byte instruction (rdmsr, wrmsr): counts, and goes on behind it.
    .globl skip_two
skip_two:
    incl faults(%rip)
    addq $8, %rsp
    addq $2, (%rsp)
    iretq

    .data
    .balign 8
gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
    .word 23
    .long gdt

    .bss
    .balign 4096
pml4:
    .skip 6 * 4096
    .skip 16384
stack_end:
    .globl faults
faults:
    .skip 8

    .section .note.GNU-stack, "", @progbits
