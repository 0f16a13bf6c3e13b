// SPDX-License-Identifier: Apache-2.0
// The register of VMs.
#include "vm_register.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium/crypto_generichash_blake2b.h>
#include <sodium/utils.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

// As on disk, little-endian.
struct register_slot {
    char format[24];
    uint8_t uuid[16];
    uint64_t created_wall_ns;
    uint64_t number; // from 0
    uint32_t flags;
    uint32_t weights_count;
    char name[VM_NAME_SIZE];
    uint8_t image[DIGEST_BYTES];
    uint8_t weights[VMM_MAX_WEIGHTS][DIGEST_BYTES];
    uint8_t reserved[288];
    uint8_t previous[32]; // checksum of the entry before, zero for the first
    uint8_t checksum[32];
};
_Static_assert(sizeof(struct register_slot) == REGISTER_ENTRY_BYTES, "format");

static void seal(struct register_slot *slot, const uint8_t *key)
{
    crypto_generichash_blake2b(slot->checksum, sizeof(slot->checksum), (const uint8_t *)slot,
                               offsetof(struct register_slot, checksum), key, STATE_KEY_BYTES);
}

static bool take(struct vm_register *reg, const struct register_slot *slot, const uint8_t *key)
{
    struct register_slot expected = *slot;
    seal(&expected, key);
    if (sodium_memcmp(slot->checksum, expected.checksum, sizeof(slot->checksum)) ||
        memcmp(slot->previous, reg->last, sizeof(reg->last)) || slot->number != reg->count ||
        strncmp(slot->format, REGISTER_FORMAT, sizeof(slot->format)) ||
        slot->weights_count > VMM_MAX_WEIGHTS || !memchr(slot->name, 0, sizeof(slot->name)))
        return false;
    struct register_entry *entry = &reg->entries[reg->count++];
    entry->created_wall_ns = slot->created_wall_ns;
    entry->flags = slot->flags;
    entry->digests.weights_count = slot->weights_count;
    memcpy(entry->uuid.bytes, slot->uuid, sizeof(slot->uuid));
    memcpy(entry->name, slot->name, sizeof(entry->name));
    memcpy(entry->digests.image, slot->image, sizeof(slot->image));
    memcpy(entry->digests.weights, slot->weights, sizeof(slot->weights));
    memcpy(reg->last, slot->checksum, sizeof(reg->last));
    return true;
}

static int read_entries(struct vm_register *reg, uint64_t bytes, const uint8_t *key,
                        struct error *err)
{
    size_t count = bytes / REGISTER_ENTRY_BYTES;
    reg->damaged = bytes % REGISTER_ENTRY_BYTES != 0 || count > REGISTER_MAX_ENTRIES;
    if (count > REGISTER_MAX_ENTRIES)
        count = REGISTER_MAX_ENTRIES;
    // One more, so that an entry can be appended.
    reg->entries = calloc(count + 1, sizeof(*reg->entries));
    if (!reg->entries)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "read the register");
    for (size_t i = 0; i < count; i++) {
        struct register_slot slot;
        if (pread(reg->fd, &slot, sizeof(slot), (off_t)(i * sizeof(slot))) !=
                (ssize_t)sizeof(slot) ||
            !take(reg, &slot, key)) {
            reg->damaged = true;
            break;
        }
    }
    return 0;
}

int vm_register_open(struct vm_register *reg, int folder, const uint8_t key[STATE_KEY_BYTES],
                     struct error *err)
{
    struct stat status;
    *reg = (struct vm_register){.fd = -1};
    reg->fd = openat(folder, "register",
                     O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0600);
    if (reg->fd < 0)
        return error_set(err, EXIT_STATUS_ISOLATED, errno, "open the register");
    while (flock(reg->fd, LOCK_EX) < 0) {
        if (errno != EINTR)
            return error_set(err, EXIT_STATUS_ISOLATED, errno, "lock the register");
    }
    if (fstat(reg->fd, &status) < 0)
        return error_set(err, EXIT_STATUS_ISOLATED, errno, "read the register");
    if (!S_ISREG(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 022))
        return error_set(err, EXIT_STATUS_ISOLATED, 0,
                         "the register is not a file that only this user can write");
    return read_entries(reg, (uint64_t)status.st_size, key, err);
}

int vm_register_append(struct vm_register *reg, const struct register_entry *entry,
                       const uint8_t key[STATE_KEY_BYTES], struct error *err)
{
    struct register_slot slot = {
        .format = REGISTER_FORMAT,
        .created_wall_ns = entry->created_wall_ns,
        .number = reg->count,
        .flags = entry->flags,
        .weights_count = entry->digests.weights_count,
    };
    if (reg->damaged || reg->count >= REGISTER_MAX_ENTRIES)
        return error_set(err, EXIT_STATUS_ISOLATED, 0, "the register is %s",
                         reg->damaged ? "damaged" : "full");
    memcpy(slot.uuid, entry->uuid.bytes, sizeof(slot.uuid));
    memcpy(slot.name, entry->name, sizeof(slot.name));
    memcpy(slot.image, entry->digests.image, sizeof(slot.image));
    memcpy(slot.weights, entry->digests.weights, sizeof(slot.weights));
    memcpy(slot.previous, reg->last, sizeof(slot.previous));
    seal(&slot, key);
    off_t end = (off_t)(reg->count * sizeof(slot));
    ssize_t n = pwrite(reg->fd, &slot, sizeof(slot), end);
    if (n != (ssize_t)sizeof(slot) || fdatasync(reg->fd) < 0) {
        int code = n >= 0 && n != (ssize_t)sizeof(slot) ? ENOSPC : errno;
        // No torn entry stays behind: it would count as damage.
        if (ftruncate(reg->fd, end) < 0)
            reg->damaged = true;
        return error_set(err, EXIT_STATUS_ISOLATED, code, "write the register");
    }
    struct register_entry *grown =
        reallocarray(reg->entries, reg->count + 2, sizeof(*reg->entries));
    if (!grown)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "register");
    reg->entries = grown;
    grown[reg->count++] = *entry;
    memcpy(reg->last, slot.checksum, sizeof(reg->last));
    return 0;
}

void vm_register_close(struct vm_register *reg)
{
    if (reg->fd >= 0)
        close(reg->fd);
    free(reg->entries);
    *reg = (struct vm_register){.fd = -1};
}

bool digest_set_shares(const struct digest_set *a, const struct digest_set *b,
                       replica_permitted permitted, void *context)
{
    if (!memcmp(a->image, b->image, DIGEST_BYTES) && !(permitted && permitted(a->image, context)))
        return true;
    for (uint32_t i = 0; i < a->weights_count; i++) {
        for (uint32_t k = 0; k < b->weights_count; k++) {
            if (!memcmp(a->weights[i], b->weights[k], DIGEST_BYTES) &&
                !(permitted && permitted(a->weights[i], context)))
                return true;
        }
    }
    return false;
}

bool digest_set_equal(const struct digest_set *a, const struct digest_set *b)
{
    return !memcmp(a->image, b->image, DIGEST_BYTES) && a->weights_count == b->weights_count &&
           !memcmp(a->weights, b->weights, (size_t)a->weights_count * DIGEST_BYTES);
}
