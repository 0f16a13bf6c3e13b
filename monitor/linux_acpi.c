// SPDX-License-Identifier: Apache-2.0
// ACPI tables of a Linux guest: hardware-reduced, processors, interrupt controllers, and the
// virtio-mmio devices (ACPI 6.4, chapters 5 and 20).
#include <string.h>

#include "linux_loader.h"

#define TABLE_HEADER_BYTES 36u
#define RSDP_BYTES         36u
#define FADT_BYTES         276u
#define AML_BYTES_MAX      0x4000u

// Offsets in the FADT (ACPI 6.4, 5.2.9).
#define FADT_DSDT           40u
#define FADT_BOOT_FLAGS     109u
#define FADT_FLAGS          112u
#define FADT_RESET_REGISTER 116u
#define FADT_RESET_VALUE    128u
#define FADT_MINOR          131u
#define FADT_X_DSDT         140u
#define FADT_SLEEP_CONTROL  244u
#define FADT_SLEEP_STATUS   256u
#define FADT_HYPERVISOR     268u

#define BOOT_NO_VGA           (1u << 2)
#define BOOT_NO_RTC           (1u << 5)
#define FLAG_WBINVD           (1u << 0)
#define FLAG_NO_POWER_BUTTON  (1u << 4) // none of the fixed kind
#define FLAG_NO_SLEEP_BUTTON  (1u << 5)
#define FLAG_RESET_REGISTER   (1u << 10)
#define FLAG_HARDWARE_REDUCED (1u << 20)

// A growing run of bytes in the guest's memory.
struct writer {
    uint8_t *host;
    uint64_t base; // guest-physical
    uint32_t used;
    uint32_t size;
    bool full;
};

static void put(struct writer *writer, const void *bytes, uint32_t length)
{
    if (length > writer->size - writer->used) {
        writer->full = true;
        return;
    }
    memcpy(writer->host + writer->used, bytes, length);
    writer->used += length;
}

static void put_byte(struct writer *writer, unsigned value)
{
    uint8_t byte = (uint8_t)value;
    put(writer, &byte, 1);
}

static void put32(struct writer *writer, uint32_t value)
{
    put(writer, &value, sizeof(value));
}

static void set_checksum(uint8_t *bytes, uint32_t length, uint32_t place)
{
    uint8_t sum = 0;
    bytes[place] = 0;
    for (uint32_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + bytes[i]);
    bytes[place] = (uint8_t)-sum;
}

// Begins a table, 16-byte aligned; returns its offset.
static uint32_t begin_table(struct writer *writer, const char *signature, unsigned revision)
{
    static const uint8_t zeros[16];
    put(writer, zeros, -writer->used & 15);
    uint32_t start = writer->used;
    put(writer, signature, 4);
    put32(writer, 0); // length
    put_byte(writer, revision);
    put_byte(writer, 0); // checksum
    put(writer, "GUILLO", 6);
    put(writer, "GUILLOTN", 8);
    put32(writer, 1);
    put(writer, "GUIL", 4);
    put32(writer, 1);
    return start;
}

static uint64_t end_table(struct writer *writer, uint32_t start)
{
    uint32_t length = writer->used - start;
    if (writer->full)
        return 0;
    memcpy(writer->host + start + 4, &length, sizeof(length));
    set_checksum(writer->host + start, length, 9);
    return writer->base + start;
}

// AML: package lengths are of two bytes here, which hold up to 4095 (ACPI 6.4, 20.2.4).
#define PACKAGE_MAX 4095u

static uint32_t begin_package(struct writer *writer)
{
    uint32_t start = writer->used;
    put_byte(writer, 0);
    put_byte(writer, 0);
    return start;
}

static void end_package(struct writer *writer, uint32_t start)
{
    uint32_t length = writer->used - start;
    if (writer->full || length > PACKAGE_MAX) {
        writer->full = true;
        return;
    }
    writer->host[start] = (uint8_t)(0x40 | (length & 15));
    writer->host[start + 1] = (uint8_t)(length >> 4);
}

static void put_name(struct writer *writer, const char *name)
{
    put_byte(writer, 0x08); // NameOp
    put(writer, name, 4);
}

// Memory32Fixed and an extended interrupt, edge, active high, exclusive (ACPI 6.4, 6.4.3).
static void put_resources(struct writer *writer, unsigned index)
{
    put_name(writer, "_CRS");
    put_byte(writer, 0x11); // BufferOp
    uint32_t buffer = begin_package(writer);
    put(writer, "\x0a\x17", 2); // 23 bytes
    put(writer, "\x86\x09\x00\x01", 4);
    put32(writer, (uint32_t)(LINUX_GPA_DEVICES + index * LINUX_DEVICE_BYTES));
    put32(writer, (uint32_t)LINUX_DEVICE_BYTES);
    put(writer, "\x89\x06\x00\x03\x01", 5);
    put32(writer, LINUX_FIRST_INTERRUPT + index);
    put(writer, "\x79\x00", 2);
    end_package(writer, buffer);
}

static void put_device(struct writer *writer, unsigned index)
{
    char name[4] = {'V', 'R', (char)('0' + index / 10), (char)('0' + index % 10)};
    put(writer, "\x5b\x82", 2); // DeviceOp
    uint32_t device = begin_package(writer);
    put(writer, name, sizeof(name));
    put_name(writer, "_HID");
    put(writer, "\x0dLNRO0005", 10); // with its zero
    put_name(writer, "_UID");
    put_byte(writer, 0x0a);
    put_byte(writer, index);
    put_name(writer, "_CCA");
    put_byte(writer, 0x01); // coherent
    put_resources(writer, index);
    end_package(writer, device);
}

static uint64_t write_dsdt(struct writer *writer, unsigned devices)
{
    uint32_t start = begin_table(writer, "DSDT", 2);
    // \_S5: SLP_TYP for power-off
    put_name(writer, "_S5_");
    put_byte(writer, 0x12); // PackageOp
    uint32_t package = begin_package(writer);
    put_byte(writer, 4);
    put_byte(writer, 0x0a);
    put_byte(writer, LINUX_SLEEP_TYPE_S5);
    put(writer, "\x00\x00\x00", 3);
    end_package(writer, package);
    put_byte(writer, 0x10); // ScopeOp
    uint32_t scope = begin_package(writer);
    put(writer, "\\_SB_", 5);
    for (unsigned i = 0; i < devices; i++)
        put_device(writer, i);
    end_package(writer, scope);
    return end_table(writer, start);
}

// A byte register in memory (ACPI 6.4, 5.2.3.2).
static void set_register(uint8_t *place, uint64_t address)
{
    const uint8_t head[4] = {0, 8, 0, 1};
    memcpy(place, head, sizeof(head));
    memcpy(place + 4, &address, sizeof(address));
}

static uint64_t write_fadt(struct writer *writer, uint64_t dsdt)
{
    uint8_t body[FADT_BYTES] = {0};
    uint32_t start = begin_table(writer, "FACP", 6);
    const uint32_t dsdt32 = (uint32_t)dsdt;
    const uint16_t boot = BOOT_NO_VGA | BOOT_NO_RTC;
    const uint32_t flags = FLAG_WBINVD | FLAG_NO_POWER_BUTTON | FLAG_NO_SLEEP_BUTTON |
                           FLAG_RESET_REGISTER | FLAG_HARDWARE_REDUCED;
    memcpy(body + FADT_DSDT, &dsdt32, sizeof(dsdt32));
    memcpy(body + FADT_BOOT_FLAGS, &boot, sizeof(boot));
    memcpy(body + FADT_FLAGS, &flags, sizeof(flags));
    set_register(body + FADT_RESET_REGISTER, LINUX_GPA_POWER + LINUX_POWER_RESET);
    body[FADT_RESET_VALUE] = LINUX_RESET_VALUE;
    body[FADT_MINOR] = 4;
    memcpy(body + FADT_X_DSDT, &dsdt, sizeof(dsdt));
    set_register(body + FADT_SLEEP_CONTROL, LINUX_GPA_POWER + LINUX_POWER_SLEEP);
    set_register(body + FADT_SLEEP_STATUS, LINUX_GPA_POWER + LINUX_POWER_STATUS);
    memcpy(body + FADT_HYPERVISOR, "GUILLOTN", 8);
    put(writer, body + TABLE_HEADER_BYTES, FADT_BYTES - TABLE_HEADER_BYTES);
    return end_table(writer, start);
}

static uint64_t write_madt(struct writer *writer, unsigned vcpus)
{
    uint32_t start = begin_table(writer, "APIC", 5);
    put32(writer, (uint32_t)LINUX_GPA_LAPIC);
    put32(writer, 0); // no 8259s
    for (unsigned i = 0; i < vcpus; i++) {
        const uint8_t local[8] = {0, 8, (uint8_t)i, (uint8_t)i, 1, 0, 0, 0};
        put(writer, local, sizeof(local));
    }
    const uint8_t io[4] = {1, 12, (uint8_t)vcpus, 0};
    put(writer, io, sizeof(io));
    put32(writer, (uint32_t)LINUX_GPA_IOAPIC);
    put32(writer, 0);
    return end_table(writer, start);
}

uint64_t linux_acpi_write(const struct linux_memory *memory, unsigned vcpus, unsigned devices,
                          struct error *err)
{
    if (memory->bytes < LINUX_GPA_ACPI_END) {
        error_set(err, EXIT_STATUS_RESOURCES, 0, "the guest has less than 1 MiB of memory");
        return 0;
    }
    struct writer writer = {
        .host = memory->host + LINUX_GPA_ACPI,
        .base = LINUX_GPA_ACPI,
        .size = AML_BYTES_MAX,
        .used = RSDP_BYTES,
    };
    memset(writer.host, 0, writer.size);
    uint64_t dsdt = write_dsdt(&writer, devices);
    const uint64_t tables[] = {write_fadt(&writer, dsdt), write_madt(&writer, vcpus)};
    uint32_t start = begin_table(&writer, "XSDT", 1);
    put(&writer, tables, sizeof(tables));
    uint64_t xsdt = end_table(&writer, start);
    if (writer.full) {
        error_set(err, EXIT_STATUS_INTERNAL, 0, "no room for the ACPI tables");
        return 0;
    }
    uint8_t *rsdp = writer.host;
    const uint32_t length = RSDP_BYTES;
    memcpy(rsdp, "RSD PTR ", 8);
    memcpy(rsdp + 9, "GUILLO", 6);
    rsdp[15] = 2;
    memcpy(rsdp + 20, &length, sizeof(length));
    memcpy(rsdp + 24, &xsdt, sizeof(xsdt));
    set_checksum(rsdp, 20, 8);
    set_checksum(rsdp, RSDP_BYTES, 32);
    return LINUX_GPA_ACPI;
}
