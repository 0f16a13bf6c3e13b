// SPDX-License-Identifier: Apache-2.0
// The durable level of one VM.
#include "state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium/crypto_generichash_blake2b.h>
#include <sodium/utils.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"

// As on disk, little-endian. The checksum covers everything before it.
struct state_slot {
    char format[24];
    uint8_t uuid[16];
    uint64_t generation;
    uint64_t sequence;
    uint64_t audit_size;
    uint64_t since_wall_ns;
    uint32_t level;
    uint32_t restarts;
    uint32_t running;
    uint32_t pad;
    uint8_t boot_id[16];
    char reason[STATE_REASON_SIZE];
    uint64_t orders_from_s;
    uint64_t key_set;
    uint8_t key_set_sha256[32];
    uint8_t reserved[136];
    uint8_t checksum[32];
};
_Static_assert(sizeof(struct state_slot) == STATE_SLOT_BYTES, "format");
_Static_assert(offsetof(struct state_slot, checksum) == STATE_SLOT_BYTES - 32, "format");

static int host_open(void *context, int folder, const char *name, int flags, mode_t mode)
{
    (void)context;
    return openat(folder, name, flags, mode);
}

static ssize_t host_pwrite(void *context, int fd, const void *data, size_t length, off_t offset)
{
    (void)context;
    return pwrite(fd, data, length, offset);
}

static int host_fdatasync(void *context, int fd)
{
    (void)context;
    return fdatasync(fd);
}

static int host_rename(void *context, int folder, const char *from, const char *to)
{
    (void)context;
    return renameat(folder, from, folder, to);
}

static int host_fsync_folder(void *context, int folder)
{
    (void)context;
    return fsync(folder);
}

const struct state_ops state_ops_host = {
    .open = host_open,
    .pwrite = host_pwrite,
    .fdatasync = host_fdatasync,
    .rename = host_rename,
    .fsync_folder = host_fsync_folder,
};

static void seal(struct state_slot *slot, const uint8_t *key)
{
    crypto_generichash_blake2b(slot->checksum, sizeof(slot->checksum), (const uint8_t *)slot,
                               offsetof(struct state_slot, checksum), key, STATE_KEY_BYTES);
}

static void encode(const struct state_record *record, const uint8_t *key, struct state_slot *slot)
{
    *slot = (struct state_slot){
        .format = STATE_FORMAT,
        .generation = record->generation,
        .sequence = record->sequence,
        .audit_size = record->audit_size,
        .since_wall_ns = record->since_wall_ns,
        .level = record->level,
        .restarts = record->restarts,
        .running = record->running,
        .orders_from_s = record->orders_from_s,
        .key_set = record->keys.version,
    };
    memcpy(slot->key_set_sha256, record->keys.sha256, sizeof(slot->key_set_sha256));
    memcpy(slot->uuid, record->uuid.bytes, sizeof(slot->uuid));
    memcpy(slot->boot_id, record->boot_id, sizeof(slot->boot_id));
    memcpy(slot->reason, record->reason, sizeof(slot->reason));
    seal(slot, key);
}

static bool is_zero(const uint8_t *data, size_t length)
{
    return sodium_is_zero(data, length);
}

// Reads one slot. False if it is not a whole one that this deployment wrote to this place.
static bool slot_read(const uint8_t *image, unsigned index, const uint8_t *key,
                      struct state_record *record)
{
    struct state_slot slot;
    struct state_slot expected;
    memcpy(&slot, image + (size_t)index * STATE_SLOT_STRIDE, sizeof(slot));
    expected = slot;
    seal(&expected, key);
    if (sodium_memcmp(slot.checksum, expected.checksum, sizeof(slot.checksum)) ||
        strncmp(slot.format, STATE_FORMAT, sizeof(slot.format)) || slot.level >= LEVEL_COUNT ||
        slot.running > 1 || !slot.generation || slot.generation % 2 != index)
        return false;
    *record = (struct state_record){
        .generation = slot.generation,
        .sequence = slot.sequence,
        .audit_size = slot.audit_size,
        .since_wall_ns = slot.since_wall_ns,
        .level = slot.level,
        .restarts = slot.restarts,
        .running = slot.running,
        .orders_from_s = slot.orders_from_s,
        .keys.version = slot.key_set,
    };
    memcpy(record->keys.sha256, slot.key_set_sha256, sizeof(record->keys.sha256));
    memcpy(record->uuid.bytes, slot.uuid, sizeof(slot.uuid));
    memcpy(record->boot_id, slot.boot_id, sizeof(slot.boot_id));
    memcpy(record->reason, slot.reason, sizeof(slot.reason));
    record->reason[sizeof(record->reason) - 1] = '\0';
    return true;
}

static void doubt(struct state_record *record, const char *reason)
{
    if (record->level >= LEVEL_OFFLINE)
        return; // what is known is worse
    record->level = LEVEL_OFFLINE;
    snprintf(record->reason, sizeof(record->reason), "%s", reason);
}

bool state_file_decode(const uint8_t *image, size_t length, const struct uuid *uuid,
                       const uint8_t key[STATE_KEY_BYTES], bool in_use, struct state_record *record)
{
    struct state_record slots[2] = {0};
    bool valid[2] = {false, false};
    const char *damage = NULL;
    for (unsigned i = 0; i < 2; i++) {
        if (length >= (size_t)i * STATE_SLOT_STRIDE + STATE_SLOT_BYTES)
            valid[i] = slot_read(image, i, key, &slots[i]);
    }
    unsigned newest = valid[1] && (!valid[0] || slots[1].generation > slots[0].generation);
    *record = slots[newest]; // zero if neither is valid
    if (length != STATE_FILE_BYTES)
        damage = "its state file is truncated or not of this size";
    else if (!valid[0] && !valid[1])
        damage = "its state file is damaged, or belongs to another installation";
    else if (!is_zero(image + STATE_SLOT_BYTES, STATE_SLOT_STRIDE - STATE_SLOT_BYTES))
        damage = "its state file is damaged between the slots";
    else if (!valid[!newest] &&
             (slots[newest].generation != 1 ||
              !is_zero(image + (size_t)!newest * STATE_SLOT_STRIDE, STATE_SLOT_BYTES)))
        damage = "a slot of its state file is damaged, or was torn by a power cut";
    else if (valid[!newest] && slots[newest].generation - slots[!newest].generation != 1)
        damage = "a slot of its state file was rolled back";
    else if (valid[!newest] && !uuid_equal(&slots[!newest].uuid, uuid))
        damage = "its state file has a slot of another VM";
    if (valid[newest] && !uuid_equal(&record->uuid, uuid))
        damage = "its state file is of another VM";
    if (damage) {
        // The slot that cannot be trusted may have said more than the other one.
        if (valid[0] && valid[1] && slots[!newest].level > record->level)
            record->level = slots[!newest].level;
        doubt(record, damage);
    }
    if (record->running && !in_use)
        doubt(record, "the last run did not end cleanly");
    record->uuid = *uuid;
    return !damage;
}

static int write_bytes(const struct state_ops *ops, int fd, const void *data, size_t length,
                       off_t offset, struct error *err)
{
    const uint8_t *at = data;
    while (length) {
        ssize_t n = ops->pwrite(ops->context, fd, at, length, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(err, EXIT_STATUS_ISOLATED, n ? errno : EIO, "write the state file");
        at += n;
        length -= (size_t)n;
        offset += n;
    }
    return 0;
}

static int sync_file(const struct state_ops *ops, int fd, struct error *err)
{
    if (ops->fdatasync(ops->context, fd) < 0)
        return error_set(err, EXIT_STATUS_ISOLATED, errno, "make the state file durable");
    return 0;
}

int state_file_create(const struct state_ops *ops, int folder, const char *name,
                      struct state_record *record, const uint8_t key[STATE_KEY_BYTES],
                      struct error *err)
{
    uint8_t image[STATE_FILE_BYTES] = {0};
    struct state_slot slot;
    char fresh[UUID_TEXT_SIZE + 32];
    snprintf(fresh, sizeof(fresh), "%s.new", name);
    // The first generation ever is alone. One that takes a lost file's place fills both slots.
    unsigned slots = record->generation ? 2 : 1;
    for (unsigned i = 0; i < slots; i++) {
        record->generation++;
        encode(record, key, &slot);
        memcpy(image + record->generation % 2 * STATE_SLOT_STRIDE, &slot, sizeof(slot));
    }
    cleanup_fd int fd = ops->open(ops->context, folder, fresh,
                                  O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "create the state file %s", name);
    // Its name comes last, so that a file of this name is always whole; all its blocks exist, so
    // that a later write needs no space.
    if (write_bytes(ops, fd, image, sizeof(image), 0, err) < 0 || sync_file(ops, fd, err) < 0)
        return -1;
    if (ops->rename(ops->context, folder, fresh, name) < 0 ||
        ops->fsync_folder(ops->context, folder) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "create the state file %s", name);
    return steal_fd(&fd);
}

int state_file_write(const struct state_ops *ops, int fd, struct state_record *record,
                     const uint8_t key[STATE_KEY_BYTES], struct error *err)
{
    static const struct state_slot nothing;
    struct state_record next = *record;
    struct state_slot slot;
    next.generation++;
    encode(&next, key, &slot);
    off_t offset = (off_t)(next.generation % 2 * STATE_SLOT_STRIDE);
    if (write_bytes(ops, fd, &slot, sizeof(slot), offset, err) == 0 &&
        sync_file(ops, fd, err) == 0) {
        record->generation = next.generation;
        return 0;
    }
    // The host's cache may go on showing a slot that never reached the disk. Whoever trusted it
    // would write the other slot next, and a power cut would leave none: so it shows damage.
    ops->pwrite(ops->context, fd, &nothing, sizeof(nothing), offset);
    return -1;
}

int state_file_write_both(const struct state_ops *ops, int fd, struct state_record *record,
                          const uint8_t key[STATE_KEY_BYTES], struct error *err)
{
    if (state_file_write(ops, fd, record, key, err) < 0)
        return -1;
    return state_file_write(ops, fd, record, key, err);
}

int state_file_repair(const struct state_ops *ops, int fd, struct state_record *record,
                      const uint8_t key[STATE_KEY_BYTES], struct error *err)
{
    static const uint8_t zeros[STATE_SLOT_STRIDE - STATE_SLOT_BYTES];
    if (write_bytes(ops, fd, zeros, sizeof(zeros), STATE_SLOT_BYTES, err) < 0)
        return -1;
    // Between the two the file is in doubt, which is Offline.
    return state_file_write_both(ops, fd, record, key, err);
}
