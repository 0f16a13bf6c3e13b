// SPDX-License-Identifier: Apache-2.0
// First instructions of a vCPU in the cell. rdi: boot info, rsi: vCPU index, rsp: top of stack.
    .section .text.start, "ax"
    .globl _start
    .type _start, @function
_start:
    // The thread area begins where the stack ends. musl finds its thread structure (errno) through
    // a pointer to itself at fs:0.
    mov %rsp, %fs:0
    xor %ebp, %ebp
    and $-16, %rsp
    call cell_start
    ud2
    .size _start, . - _start
    .section .note.GNU-stack, "", @progbits
