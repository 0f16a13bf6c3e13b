// SPDX-License-Identifier: Apache-2.0
// A model whose first instruction leaves the guest: the address of the exit page is known at build
// time only to the VMM, so that one load comes before the store.
    .section .text.start, "ax"
    .globl _start
_start:
    mov 104(%rdi), %rax     // cell_boot_info.exit_page
    movl $0, (%rax)
    ud2
    .section .note.GNU-stack, "", @progbits
