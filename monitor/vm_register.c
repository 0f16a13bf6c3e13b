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
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"

// How often a lock that somebody else has is tried again.
#define LOCK_RETRY_NS (2 * NS_PER_MS)

// As on disk, little-endian. Of a note the name and the digests are zero; of an entry, what stands
// behind the weights.
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
    uint64_t generation;
    uint64_t sequence;
    uint64_t orders_from_s;
    uint64_t key_set;
    uint8_t key_set_sha256[32];
    uint32_t level;
    uint8_t reserved[220];
    uint8_t previous[32]; // checksum of the entry before, zero for the first
    uint8_t checksum[32];
};
_Static_assert(sizeof(struct register_slot) == REGISTER_ENTRY_BYTES, "format");
_Static_assert(offsetof(struct register_slot, previous) == REGISTER_ENTRY_BYTES - 64, "format");

static void seal(struct register_slot *slot, const uint8_t *key)
{
    crypto_generichash_blake2b(slot->checksum, sizeof(slot->checksum), (const uint8_t *)slot,
                               offsetof(struct register_slot, checksum), key, STATE_KEY_BYTES);
}

const struct register_note *vm_register_find_note(const struct vm_register *reg,
                                                  const struct uuid *uuid)
{
    for (size_t i = reg->note_count; i-- > 0;) {
        if (uuid_equal(&reg->notes[i].uuid, uuid))
            return &reg->notes[i];
    }
    return NULL;
}

bool vm_register_has(const struct vm_register *reg, const struct uuid *uuid)
{
    for (size_t i = 0; i < reg->count; i++) {
        if (uuid_equal(&reg->entries[i].uuid, uuid))
            return true;
    }
    return false;
}

// There is room for it.
static void keep_note(struct vm_register *reg, const struct register_note *note)
{
    if (note->keys.version > reg->keys.version)
        reg->keys = note->keys;
    reg->notes[reg->note_count++] = *note;
}

static void take_note(struct vm_register *reg, const struct register_slot *slot)
{
    struct register_note note = {
        .created_wall_ns = slot->created_wall_ns,
        .generation = slot->generation,
        .sequence = slot->sequence,
        .orders_from_s = slot->orders_from_s,
        .level = slot->level,
        .keys.version = slot->key_set,
    };
    memcpy(note.uuid.bytes, slot->uuid, sizeof(slot->uuid));
    memcpy(note.keys.sha256, slot->key_set_sha256, sizeof(slot->key_set_sha256));
    keep_note(reg, &note);
}

static void take_entry(struct vm_register *reg, const struct register_slot *slot)
{
    struct register_entry *entry = &reg->entries[reg->count++];
    entry->created_wall_ns = slot->created_wall_ns;
    entry->flags = slot->flags;
    entry->digests.weights_count = slot->weights_count;
    memcpy(entry->uuid.bytes, slot->uuid, sizeof(slot->uuid));
    memcpy(entry->name, slot->name, sizeof(entry->name));
    memcpy(entry->digests.image, slot->image, sizeof(slot->image));
    memcpy(entry->digests.weights, slot->weights, sizeof(slot->weights));
}

static bool take(struct vm_register *reg, const struct register_slot *slot, const uint8_t *key)
{
    struct register_slot expected = *slot;
    seal(&expected, key);
    if (sodium_memcmp(slot->checksum, expected.checksum, sizeof(slot->checksum)) ||
        memcmp(slot->previous, reg->last, sizeof(reg->last)) || slot->number != reg->number ||
        strncmp(slot->format, REGISTER_FORMAT, sizeof(slot->format)) ||
        slot->weights_count > VMM_MAX_WEIGHTS || !memchr(slot->name, 0, sizeof(slot->name)) ||
        slot->level >= LEVEL_COUNT)
        return false;
    (slot->flags & REGISTER_NOTE ? take_note : take_entry)(reg, slot);
    reg->number++;
    memcpy(reg->last, slot->checksum, sizeof(reg->last));
    return true;
}

static int read_entries(struct vm_register *reg, uint64_t bytes, const uint8_t *key,
                        struct error *err)
{
    size_t count = bytes / REGISTER_ENTRY_BYTES;
    reg->damaged = count > REGISTER_MAX_ENTRIES;
    if (count > REGISTER_MAX_ENTRIES)
        count = REGISTER_MAX_ENTRIES;
    // One more, so that it is never none.
    reg->entries = calloc(count + 1, sizeof(*reg->entries));
    reg->notes = calloc(count + 1, sizeof(*reg->notes));
    if (!reg->entries || !reg->notes)
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
    reg->torn = !reg->damaged && bytes % REGISTER_ENTRY_BYTES != 0;
    return 0;
}

static int lock(int fd, uint64_t wait_ns)
{
    const struct timespec pause = {.tv_nsec = LOCK_RETRY_NS};
    uint64_t until_ns = wait_ns == UINT64_MAX ? 0 : clock_now_ns(&clock_host) + wait_ns;
    while (flock(fd, until_ns ? LOCK_EX | LOCK_NB : LOCK_EX) < 0) {
        if (errno != EINTR && (errno != EWOULDBLOCK || clock_now_ns(&clock_host) >= until_ns))
            return -1;
        if (errno == EWOULDBLOCK)
            nanosleep(&pause, NULL);
    }
    return 0;
}

int vm_register_open_within(struct vm_register *reg, int folder, const uint8_t key[STATE_KEY_BYTES],
                            uint64_t wait_ns, struct error *err)
{
    struct stat status;
    *reg = (struct vm_register){.fd = -1};
    reg->fd = openat(folder, "register",
                     O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0600);
    if (reg->fd < 0)
        return error_set(err, EXIT_STATUS_ISOLATED, errno, "open the register");
    if (lock(reg->fd, wait_ns) < 0)
        return error_set(err, EXIT_STATUS_ISOLATED, errno, "lock the register");
    if (fstat(reg->fd, &status) < 0)
        return error_set(err, EXIT_STATUS_ISOLATED, errno, "read the register");
    if (!S_ISREG(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 022))
        return error_set(err, EXIT_STATUS_ISOLATED, 0,
                         "the register is not a file that only this user can write");
    return read_entries(reg, (uint64_t)status.st_size, key, err);
}

int vm_register_open(struct vm_register *reg, int folder, const uint8_t key[STATE_KEY_BYTES],
                     struct error *err)
{
    return vm_register_open_within(reg, folder, key, UINT64_MAX, err);
}

// Seals the slot and writes it to the end, over what a power cut left of another one.
static int append(struct vm_register *reg, struct register_slot *slot, const uint8_t *key,
                  struct error *err)
{
    memcpy(slot->format, REGISTER_FORMAT, sizeof(REGISTER_FORMAT));
    slot->number = reg->number;
    if (reg->damaged || reg->number >= REGISTER_MAX_ENTRIES)
        return error_set(err, EXIT_STATUS_ISOLATED, 0, "the register is %s",
                         reg->damaged ? "damaged" : "full");
    memcpy(slot->previous, reg->last, sizeof(slot->previous));
    seal(slot, key);
    off_t end = (off_t)(reg->number * sizeof(*slot));
    ssize_t n = pwrite(reg->fd, slot, sizeof(*slot), end);
    if (n != (ssize_t)sizeof(*slot) || fdatasync(reg->fd) < 0) {
        int code = n >= 0 && n != (ssize_t)sizeof(*slot) ? ENOSPC : errno;
        // No torn entry stays behind.
        if (ftruncate(reg->fd, end) < 0)
            reg->damaged = true;
        return error_set(err, EXIT_STATUS_ISOLATED, code, "write the register");
    }
    reg->torn = false;
    reg->number++;
    memcpy(reg->last, slot->checksum, sizeof(reg->last));
    return 0;
}

int vm_register_append(struct vm_register *reg, const struct register_entry *entry,
                       const uint8_t key[STATE_KEY_BYTES], struct error *err)
{
    struct register_slot slot = {
        .created_wall_ns = entry->created_wall_ns,
        .flags = entry->flags & ~(uint32_t)REGISTER_NOTE,
        .weights_count = entry->digests.weights_count,
    };
    memcpy(slot.uuid, entry->uuid.bytes, sizeof(slot.uuid));
    memcpy(slot.name, entry->name, sizeof(slot.name));
    memcpy(slot.image, entry->digests.image, sizeof(slot.image));
    memcpy(slot.weights, entry->digests.weights, sizeof(slot.weights));
    // Room for it comes first: what is on disk has to be in memory too.
    struct register_entry *grown =
        reallocarray(reg->entries, reg->count + 1, sizeof(*reg->entries));
    if (!grown)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "register");
    reg->entries = grown;
    if (append(reg, &slot, key, err) < 0)
        return -1;
    reg->entries[reg->count++] = *entry;
    return 0;
}

int vm_register_append_note(struct vm_register *reg, const struct register_note *note,
                            const uint8_t key[STATE_KEY_BYTES], struct error *err)
{
    struct register_slot slot = {
        .created_wall_ns = note->created_wall_ns,
        .flags = REGISTER_NOTE,
        .generation = note->generation,
        .sequence = note->sequence,
        .orders_from_s = note->orders_from_s,
        .level = note->level,
        .key_set = note->keys.version,
    };
    memcpy(slot.uuid, note->uuid.bytes, sizeof(slot.uuid));
    memcpy(slot.key_set_sha256, note->keys.sha256, sizeof(slot.key_set_sha256));
    struct register_note *grown =
        reallocarray(reg->notes, reg->note_count + 1, sizeof(*reg->notes));
    if (!grown)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "register");
    reg->notes = grown;
    if (append(reg, &slot, key, err) < 0)
        return -1;
    keep_note(reg, note);
    return 0;
}

void vm_register_close(struct vm_register *reg)
{
    if (reg->fd >= 0)
        close(reg->fd);
    free(reg->entries);
    free(reg->notes);
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
