// SPDX-License-Identifier: Apache-2.0
// Descriptor tables read back as the processor reads them (SDM vol. 3A, chapters 3, 6 and 7).
#include <criterion/criterion.h>
#include <string.h>

#include "cpu_tables.h"
#include "support.h"

static uint8_t *system_pages;

static void setup(void)
{
    system_pages = (uint8_t *)calloc(1, CELL_SYSTEM_BYTES);
}

static void teardown(void)
{
    free(system_pages);
}

TestSuite(cpu_tables, .init = setup, .fini = teardown);

static uint64_t get(const uint8_t *at, unsigned bytes)
{
    uint64_t value = 0;
    memcpy(&value, at, bytes);
    return value;
}

struct segment {
    uint64_t base;
    uint32_t limit;
    unsigned type, s, dpl, present, avl, l, db, g;
};

// Figure 3-8, and 7-4 for the 16-byte descriptors of 64-bit mode.
static struct segment decode(uint64_t low, uint64_t high)
{
    struct segment d = {
        .base = (low >> 16 & 0xffffff) | (low >> 56) << 24 | high << 32,
        .limit = (uint32_t)((low & 0xffff) | (low >> 48 & 15) << 16),
        .type = low >> 40 & 15,
        .s = low >> 44 & 1,
        .dpl = low >> 45 & 3,
        .present = low >> 47 & 1,
        .avl = low >> 52 & 1,
        .l = low >> 53 & 1,
        .db = low >> 54 & 1,
        .g = low >> 55 & 1,
    };
    return d;
}

static struct segment gdt_entry(unsigned selector, bool wide)
{
    const uint8_t *at = system_pages + CELL_SYSTEM_GDT + (selector & ~7u);
    return decode(get(at, 8), wide ? get(at + 8, 8) : 0);
}

Test(cpu_tables, gdt)
{
    cpu_tables_write(system_pages, CELL_MAX_VCPUS);
    struct kvm_sregs sregs = {0};
    cpu_state_init(&sregs, (struct gpa){0x1000}, 0, 0);
    cr_expect_eq(get(system_pages + CELL_SYSTEM_GDT, 8), 0u, "null descriptor");
    // What the vCPU starts with is what the table says.
    const struct kvm_segment *loaded[] = {&sregs.cs, &sregs.ss, &sregs.ds, &sregs.es};
    for (size_t i = 0; i < COUNT(loaded); i++) {
        struct segment d = gdt_entry(loaded[i]->selector, false);
        cr_expect_eq(loaded[i]->selector & 3, 3, "RPL 3");
        cr_expect_eq(loaded[i]->selector & 4, 0, "GDT, not LDT");
        cr_expect(d.present && d.s && d.dpl == 3);
        cr_expect_eq(d.type, loaded[i]->type);
        cr_expect(d.type & 1, "accessed is preset: the page is read-only");
        cr_expect_eq(d.l, loaded[i]->l);
        cr_expect_eq(loaded[i]->dpl, 3);
        cr_expect_eq(loaded[i]->unusable, 0);
    }
    cr_expect_eq(sregs.cs.type & 8, 8);
    cr_expect(sregs.cs.l && !sregs.cs.db);
    // The rest: kernel code and data at DPL 0, nothing conforming, no gates, one TSS per vCPU.
    unsigned tss = 0;
    for (unsigned selector = 8; selector + 7u <= sregs.gdt.limit; selector += 8) {
        struct segment d = gdt_entry(selector, false);
        if (!d.present)
            continue;
        if (!d.s) {
            cr_expect_eq(d.type, 11u, "only busy 64-bit TSSs");
            cr_expect_eq(d.dpl, 0u);
            tss++;
            selector += 8;
            continue;
        }
        cr_expect_eq(d.dpl == 3,
                     selector == (sregs.cs.selector & ~7u) || selector == (sregs.ss.selector & ~7u),
                     "%#x", selector);
        cr_expect((d.type & 12) != 12, "%#x is conforming", selector);
        cr_expect(d.type & 1);
    }
    cr_expect_eq(tss, (unsigned)CELL_MAX_VCPUS);
}

Test(cpu_tables, idt_and_stub)
{
    cpu_tables_write(system_pages, 1);
    struct kvm_sregs sregs = {0};
    cpu_state_init(&sregs, (struct gpa){0x1000}, 0, 0);
    cr_expect_eq(sregs.idt.limit, 256 * 16 - 1);
    cr_expect_eq(sregs.idt.base, CELL_GVA_SYSTEM + CELL_SYSTEM_IDT);
    for (unsigned vector = 0; vector < 256; vector++) {
        const uint8_t *gate = system_pages + CELL_SYSTEM_IDT + vector * 16;
        uint64_t target = get(gate, 2) | get(gate + 6, 2) << 16 | get(gate + 8, 4) << 32;
        cr_expect_eq(get(gate + 12, 4), 0u, "reserved");
        cr_expect_eq(gate[4], 1, "IST 1, reserved bits clear");
        cr_expect_eq(gate[5], 0x8e, "present, DPL 0, 64-bit interrupt gate");
        struct segment code = gdt_entry((unsigned)get(gate + 2, 2), false);
        cr_expect(code.present && code.s && (code.type & 8) && code.dpl == 0 && code.l && !code.db);

        // The target lies in the stub page and leaves this vector, sign-extended, on the stack.
        cr_assert(target >= CELL_GVA_SYSTEM + CELL_SYSTEM_STUB &&
                  target + 8 <= CELL_GVA_SYSTEM + CELL_SYSTEM_STUB + GUEST_PAGE_SIZE);
        const uint8_t *code_at = system_pages + (target - CELL_GVA_SYSTEM);
        cr_expect_eq(code_at[0], 0x68, "push imm32");
        cr_expect_eq(get(code_at + 1, 4), vector);
        cr_expect_eq(code_at[5], 0xf4, "hlt");
        cr_expect_eq(code_at[6], 0xeb, "jmp rel8");
        cr_expect_eq((int8_t)code_at[7], -3, "back to the hlt");
    }
    // Everything on the stub page but these stubs is zero.
    for (unsigned i = 256 * 8; i < GUEST_PAGE_SIZE; i++)
        cr_assert_eq(system_pages[CELL_SYSTEM_STUB + i], 0);
}

Test(cpu_tables, tss_of_every_vcpu)
{
    for (unsigned vcpus = 1; vcpus <= CELL_MAX_VCPUS; vcpus++) {
        memset(system_pages, 0, CELL_SYSTEM_BYTES);
        cpu_tables_write(system_pages, vcpus);
        for (unsigned i = 0; i < CELL_MAX_VCPUS; i++) {
            struct kvm_sregs sregs = {0};
            cpu_state_init(&sregs, (struct gpa){0x1000}, i, 0);
            struct segment d = gdt_entry(sregs.tr.selector, true);
            cr_assert_leq(sregs.tr.selector + 15u, sregs.gdt.limit);
            if (i >= vcpus) {
                cr_expect_not(d.present, "TSS of a vCPU that does not exist");
                continue;
            }
            cr_expect(d.present && !d.s && d.type == 11 && d.dpl == 0 && !d.g);
            cr_expect_eq(d.base, sregs.tr.base);
            cr_expect_eq(d.limit, sregs.tr.limit);
            cr_expect_eq(sregs.tr.type, 11);
            cr_assert(d.base >= CELL_GVA_SYSTEM + CELL_SYSTEM_TSS &&
                      d.base + 128 <= CELL_GVA_SYSTEM + CELL_SYSTEM_TSS + GUEST_PAGE_SIZE);
            const uint8_t *tss = system_pages + (d.base - CELL_GVA_SYSTEM);
            uint64_t top = cell_system_stack(i).value + GUEST_PAGE_SIZE;
            // Figure 7-11: RSP0 at 4, IST1 at 36, I/O map base at 102.
            cr_expect_eq(get(tss + 36, 8), top);
            cr_expect(get(tss + 4, 8) == top || get(tss + 4, 8) == 0);
            cr_expect_eq(top % 16, 0u);
            for (unsigned ist = 2; ist <= 7; ist++)
                cr_expect_eq(get(tss + 28 + 8 * ist, 8), 0u);
            cr_expect_gt(get(tss + 102, 2), d.limit, "no I/O permission map");
        }
    }
}

Test(cpu_tables, control_registers)
{
    for (unsigned vcpu = 0; vcpu < CELL_MAX_VCPUS; vcpu++) {
        struct kvm_sregs sregs;
        memset(&sregs, 0, sizeof(sregs));
        cpu_state_init(&sregs, (struct gpa){0x1234000}, vcpu, CR4_SMEP | CR4_UMIP);
        cr_expect_eq(sregs.cr3, 0x1234000u);
        cr_expect_eq(sregs.cr0 & 0x80010001, 0x80010001u, "paging, write protection, protection");
        cr_expect_eq(sregs.cr0 & 0x60000000, 0u, "caches on");
        cr_expect_eq(sregs.cr4, CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_SMEP | CR4_UMIP);
        cr_expect_eq(sregs.cr4 & (1u << 8), 0u, "PCE");
        cr_expect_eq(sregs.efer, 0xd00u, "LME, LMA, NXE; SCE 0");
        cr_expect_eq(sregs.gdt.base, CELL_GVA_SYSTEM + CELL_SYSTEM_GDT);
        cr_expect_eq(sregs.ldt.unusable, 1);
        cr_expect_eq(sregs.fs.base, cell_thread_area(vcpu).value);
        cr_expect_eq(sregs.gs.base, 0u);
        cr_expect_eq(sregs.fs.dpl, 3);
        cr_expect_eq(sregs.cs.selector & 3, 3);
    }
}

static bool has_error_code(unsigned vector)
{
    // SDM table 6-1; APM vol. 2, table 8-1 for 29 and 30.
    static const unsigned with[] = {8, 10, 11, 12, 13, 14, 17, 21, 29, 30};
    for (size_t i = 0; i < COUNT(with); i++) {
        if (with[i] == vector)
            return true;
    }
    return false;
}

Test(cpu_tables, exception_frames)
{
    static uint8_t page[GUEST_PAGE_SIZE];
    struct gva base = cell_system_stack(3);
    uint64_t top = base.value + GUEST_PAGE_SIZE;
    for (unsigned vector = 0; vector < 256; vector++) {
        bool code = has_error_code(vector);
        uint64_t frame[7] = {vector, 0xec, 0x401234, 0x23, 0x202, 0x7000, 0x1b};
        if (!code)
            memmove(frame + 1, frame + 2, 5 * sizeof(uint64_t));
        unsigned words = code ? 7 : 6;
        uint64_t rsp = top - words * 8;
        memset(page, 0xa5, sizeof(page));
        memcpy(page + sizeof(page) - words * 8, frame, words * 8);
        struct cpu_exception e;
        cr_assert(cpu_exception_read(page, base, rsp, &e), "vector %u", vector);
        cr_expect_eq(e.vector, vector);
        cr_expect_eq(e.error_code, code ? 0xec : 0u);
        cr_expect_eq(e.instruction, 0x401234u);
        cr_expect_eq(e.code_segment, 0x23u);
        cr_expect_eq(e.flags, 0x202u);
        cr_expect_eq(e.stack, 0x7000u);
    }
}

// Anything outside the page, and a frame that does not fit, is refused; nothing is read beyond.
Test(cpu_tables, exception_bounds)
{
    uint8_t *page = (uint8_t *)malloc(GUEST_PAGE_SIZE); // guarded by the sanitizer
    memset(page, 14, GUEST_PAGE_SIZE);                  // a vector with an error code everywhere
    struct gva base = cell_system_stack(0);
    struct cpu_exception e;
    for (int offset = -200; offset < (int)GUEST_PAGE_SIZE + 200; offset++) {
        bool read = cpu_exception_read(page, base, base.value + offset, &e);
        bool fits = offset >= 0 && offset + 56 <= (int)GUEST_PAGE_SIZE;
        if (!fits)
            cr_expect_not(read, "offset %d", offset);
    }
    static const uint64_t far[] = {0, 8, 0xffffffffffffffff, 0xffffffffffffffd0, 1ull << 63};
    for (size_t i = 0; i < COUNT(far); i++)
        cr_expect_not(cpu_exception_read(page, base, far[i], &e));
    free(page);
}

// "Returns false if the stack pointer is not where a stub leaves it": every vector is on an IST, so
// that is one place, or two with an error code.
Test(cpu_tables, exception_only_where_a_stub_leaves_it)
{
    static uint8_t page[GUEST_PAGE_SIZE];
    struct gva base = cell_system_stack(0);
    struct cpu_exception e;
    unsigned accepted = 0;
    for (unsigned offset = 0; offset < GUEST_PAGE_SIZE; offset++)
        accepted += cpu_exception_read(page, base, base.value + offset, &e);
    cr_expect_leq(accepted, 2u, "%u places are accepted", accepted);
}
