# SPDX-License-Identifier: Apache-2.0
"""How each attack of tests/guests/ must end, as `guillotine run --expect` writes it.

Several outcomes, separated by blanks, stand where hosts differ legitimately; each such row says
why. "exit:60" is the guest's word for "the act went through".
"""

MEMORY = {
    "violation:write-code":
        "write-code write-code-atomic write-code-string write-code-vector",
    "violation:write-readonly": "write-rodata write-boot-info write-arguments",
    "violation:write-weights": "write-weights write-weights-end",
    "violation:exec-data":
        "exec-rodata exec-data exec-bss exec-stack exec-thread-area exec-heap exec-weights "
        "exec-io exec-boot-info",
    # Everything from the system area up, mapped or not: the upper half is supervisor space.
    "violation:read-supervisor":
        "read-gdt read-idt read-stub read-tss read-exception-stack read-tables-behind-stacks "
        "read-tables-direct-map read-tables-recursive read-upper-half read-kernel-text "
        "read-vsyscall read-cpu-entry-area read-last-page",
    "violation:write-supervisor":
        "write-gdt write-idt write-stub write-tss write-exception-stack "
        "write-tables-behind-stacks write-tables-direct-map write-tables-recursive "
        "write-upper-half write-kernel-text write-vsyscall write-cpu-entry-area write-last-page "
        "push-supervisor",
    "violation:exec-supervisor":
        "exec-gdt exec-idt exec-stub exec-tss exec-exception-stack exec-tables-behind-stacks "
        "exec-tables-direct-map exec-tables-recursive exec-upper-half exec-kernel-text "
        "exec-vsyscall exec-cpu-entry-area exec-last-page",
    "violation:unmapped":
        "read-tables-identity write-tables-identity exec-tables-identity read-system-identity "
        "write-system-identity exec-system-identity read-io-identity write-io-identity "
        "exec-io-identity read-device-identity write-device-identity exec-device-identity "
        "read-ram-identity write-ram-identity exec-ram-identity read-null write-null exec-null "
        "read-after-heap write-after-heap exec-after-heap read-after-io write-after-io "
        "exec-after-io read-after-weights write-across-heap-end stack-leap",
    "violation:general-protection":
        "read-noncanonical write-noncanonical exec-noncanonical read-noncanonical-high "
        "write-noncanonical-high exec-noncanonical-high push-noncanonical",
    "violation:stack-guard":
        "stack-overflow stack-overflow-second stack-above stack-below",
}

CPU = {
    "violation:privileged":
        "mov-from-cr0 mov-to-cr0 mov-from-cr2 mov-to-cr2 mov-from-cr3 mov-to-cr3 mov-from-cr4 "
        "mov-to-cr4 mov-from-cr8 mov-to-cr8 clts lmsw xsetbv mov-from-dr0 mov-to-dr0 "
        "mov-from-dr7 mov-to-dr7 rdmsr wrmsr rdpmc in-8 in-16 in-32 in-immediate out-8 out-16 "
        "out-32 out-immediate insb rep-insd outsb rep-outsw cli sti hlt mwait monitor lgdt lidt "
        "lldt ltr swapgs invlpg invd wbinvd wbnoinvd stac clac sysret sysretq sysexit sysexitq "
        "vmrun vmload clgi stgi vmlaunch vmxoff vmread encls far-own-hlt popf-iopl",
    # #GP at CPL3 where the processor has them, else #UD; no name of their own in the report.
    "violation:privileged,general-protection,invalid-opcode": "invpcid",
    "violation:invalid-opcode,general-protection": "vmxon vmptrld invept",
    # A hypercall: KVM answers -EPERM at CPL3, or #UD/#GP where it is the other vendor's; KVM's
    # patching of that instruction is a store to code.
    "violation:privileged,write-code,invalid-opcode exit:60": "vmcall vmmcall",
    # CR4.TSD: not enforced at CPL3 by software KVM.
    "violation:privileged exit:60": "rdtsc rdtscp sgdt sidt sldt str smsw",
    # CR4.FSGSBASE is off in a cell; software KVM runs with the host's. The bases are the model's.
    "violation:invalid-opcode exit:60": "wrfsbase rdgsbase",
    "violation:syscall": "syscall syscall-read sysenter far-own-syscall far-own-sysenter",
    "violation:interrupt":
        "int3 int1 into int-0 int-1 int-2 int-3 int-4 int-6 int-8 int-13 int-14 int-18 int-29 "
        "int-32 int-128 int-129 int-236 int-255 far-own-interrupt single-step",
    "violation:general-protection":
        "far-jump-kernel far-call-kernel far-jump-null far-return-kernel iretq-kernel "
        "iretq-nested-task mov-to-ss-kernel mov-to-ss-null mov-to-ds-kernel mov-to-fs-ldt "
        "too-long movaps-unaligned fxrstor-reserved alignment-check",
    # Software KVM runs CPL3 on the host's GDT, where this selector is a user segment: the jump goes
    # to address 0, the load succeeds. Neither changes a privilege.
    "violation:general-protection,unmapped": "far-jump-tss",
    "violation:general-protection exit:60": "mov-to-es-tss",
    # Software KVM emulates what got #GP, and does not know this instruction.
    "violation:general-protection,invalid-opcode": "mxcsr-reserved",
    "violation:invalid-opcode": "ud0 ud1 ud2 push-es lock-nop ud2-second",
    "violation:arithmetic": "divide-zero divide-overflow x87-exception simd-exception",
    # Where the processor reports bus locks. Else it costs the model and its neighbours time only.
    "violation:bus-lock,general-protection exit:60": "split-lock",
}

# Accesses to a page behind which there is no memory: KVM's emulator executes those that it knows
# and fails with the others, which it hands to its owner as a failure or to the cell as #UD (CPL3 on
# hardware, or emulated SVM). Which ones it knows differs between kernels.
SIMPLE = ("load-1 load-2 load-4 load-8 compare store-1 store-2 store-8 push store-4-at-1 "
          "store-4-at-2 store-4-at-4 store-4-at-2048 store-4-at-4092 store-1-at-4095 increment "
          "xchg lock-xadd lock-cmpxchg lock-bts rep-movsb-into rep-movsb-out lodsb scasd "
          "jump-into jump-through call-on return-from").split()
UNUSUAL = ("load-sse store-sse store-nontemporal store-masked store-x87 fxsave "
           "lock-cmpxchg8b lock-cmpxchg16b load-avx store-avx xsave").split()


def with_prefix(prefix, names):
    return " ".join(prefix + name for name in names)


# What the processor that QEMU emulates (TCG, version 7.2) does in another way than those of AMD and
# Intel; on such a host, and nowhere else, these attacks may also end like this. None of it is a way
# out of a cell.
EMULATED = {
    # The instruction pointer of the #GP is behind the `int`, and its error code is 16 * n + 2.
    "violation:general-protection":
        "int3 int-0 int-1 int-2 int-3 int-4 int-6 int-8 int-13 int-14 int-18 int-29 int-32",
    # It reads the user's stack with the rights of the kernel, which SMAP denies: #PF for #GP.
    "violation:unmapped": "far-return-kernel iretq-kernel",
    # No check of MXCSR's reserved bits, no alignment check, no exceptions of SSE.
    "exit:60": "fxrstor-reserved mxcsr-reserved alignment-check simd-exception",
}


def is_emulated():
    """Is this host's processor one that QEMU emulates?"""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return "QEMU TCG" in file.read()


def on_emulated(table):
    """A table as it is on an emulated host."""
    also = {name: outcome for outcome, names in EMULATED.items() for name in names.split()}
    found = {}
    for outcome, names in table.items():
        for name in names.split():
            key = f"{outcome} {also[name]}" if name in also else outcome
            found[key] = f"{found.get(key, '')} {name}".strip()
    return found


if is_emulated():
    CPU = on_emulated(CPU)


DOORBELL = {
    "violation:doorbell-misuse":
        with_prefix("doorbell-", SIMPLE) + " " + with_prefix("exit-", SIMPLE) +
        # The second element of the string is the odd one.
        " doorbell-rep-movsd-into doorbell-rep-stosd "
        # In front of the exit page lies another control page.
        "exit-straddle-before exit-straddle-before-8 "
        "unpark-count unpark-huge unpark-load unpark-store-1 park-load park-store-8 park-straddle",
    "violation:doorbell-misuse,emulation,invalid-opcode":
        with_prefix("doorbell-", UNUSUAL) + " " + with_prefix("exit-", UNUSUAL),
    # Two pages in one store: either may be found first.
    "violation:doorbell-denied,doorbell-misuse": "doorbell-straddle-after",
    "violation:unmapped,doorbell-misuse":
        "doorbell-straddle-before doorbell-straddle-before-8 exit-straddle-after",
    # The first element of the string is an aligned 4-byte store of the exit status 0.
    "exit:0": "exit-rep-movsd-into exit-rep-stosd doorbell-any-value",
    "violation:unmapped": "control-after",
    "violation:doorbell-denied": "denied-store denied-load denied-jump denied-last",
}

# Attacks on a queue: names by the rule (enum queue_rule) that they break. The port closes, the
# guest goes on and ends with 7: no answer came, not even to an honest request.
ADDRESSES = ("zero system idt tables code device ram before-io across-start across-end after-io "
             "virtual wrap wrap-into-io longest sign high-bits").split()
# Indirect tables there are too long before they are in the wrong place.
TOO_LONG = "wrap-into-io longest".split()
QUEUE_CLOSED = {
    1: "index-jump index-half index-back overlap-available",
    2: "head-size head-huge",
    3: "head-in-flight",
    4: "next-size next-huge indirect-next-size indirect-next-queue indirect-next-huge",
    5: "indirect-loop-self indirect-loop-pair",
    6: "flags-unknown flags-reply indirect-flags",
    7: "readable-after-writable indirect-order indirect-order-table",
    8: "empty-request empty-reply indirect-entry-empty",
    9: with_prefix("read-", ADDRESSES) + " " + with_prefix("write-", ADDRESSES) +
       " payload-outside indirect-entry-outside indirect-entry-beyond",
    11: "header-short header-missing header-length-more header-length-less header-length-wrap",
    12: "reply-missing reply-short",
    13: "header-flags",
    14: "loop-self loop-pair loop-all segments-many indirect-segments",
    15: "indirect-empty indirect-short indirect-odd indirect-long indirect-huge " +
        with_prefix("table-", TOO_LONG),
    16: "indirect-next indirect-nested indirect-nested-last indirect-itself indirect-queue",
    17: with_prefix("table-", [name for name in ADDRESSES if name not in TOO_LONG]),
}
# The guest checks the answers itself and ends with 0.
QUEUE_ANSWERED = (
    "operation-zero operation-unknown operation-64 operation-huge read-nothing read-with-payload "
    "read-no-room payload-beyond-grant payload-64k header-in-pieces indirect-request "
    "indirect-behind indirect-unaligned indirect-overlap overlap-request "
    "overlap-descriptors overlap-used overlap-events used-overwritten full-queue").split()

STORM = "doorbell doorbell-beside-requests unpark park park-after-event".split()

# Never malformed: all requests are answered. Malformed at some moments: may close the port.
RACE_LEGAL = "payload descriptor used".split()
RACE_MALFORMED = "length address reply next flags heads index anything".split()

TERMINAL = "sequences pieces unfinished".split()

HANG = "spin spin-all park park-all unpark ring flood read".split()
