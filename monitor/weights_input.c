// SPDX-License-Identifier: Apache-2.0
// Weights as the VMM gets them.
#include "weights_input.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "escape.h"

static void say_best_effort(const char *path, const struct sealed_header *header,
                            const struct sealed_memory *memory)
{
    char shown[512];
    char original[512];
    escape_line(shown, sizeof(shown), path, strlen(path));
    if (!memory->locked)
        fprintf(stderr,
                "guillotine: note: weights %s: best effort: the limit of locked memory is too low, "
                "they may be swapped to a disk\n",
                shown);
    if (sealed_weights_original_exists(header)) {
        escape_line(original, sizeof(original), header->original_path,
                    strlen(header->original_path));
        fprintf(stderr,
                "guillotine: note: weights %s: best effort: the plaintext at %s still "
                "exists\n",
                shown, original);
    }
}

int weights_input_identify(const char *state_dir, int fd, uint8_t sha256[crypto_hash_sha256_BYTES],
                           struct error *err)
{
    struct vm_key key;
    if (!state_dir || !sealed_weights_detect(fd))
        return 0;
    if (sodium_init() < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "libsodium");
    cleanup_free struct sealed_header *header = calloc(1, sizeof(*header));
    if (!header)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "weights");
    if (sealed_weights_read_header(fd, header, err) < 0)
        return -1;
    if (vm_key_load(state_dir, header->id, &key, err) < 0)
        return err->code == ENOENT ? 0 : -1;
    int result = sealed_weights_identify(fd, header, &key, sha256, err);
    vm_key_wipe(&key);
    return result < 0 ? -1 : 1;
}

static int open_sealed(const char *state_dir, int *fd, uint64_t *bytes,
                       struct sealed_header *header, struct sealed_memory *memory,
                       struct error *err)
{
    struct vm_key key;
    if (!state_dir)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "sealed, and there is no state directory");
    // Faster by what the CPU has; a launch without sealed weights does not pay for looking.
    if (sodium_init() < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "libsodium");
    if (sealed_weights_read_header(*fd, header, err) < 0 ||
        vm_key_load(state_dir, header->id, &key, err) < 0)
        return -1;
    int result = sealed_weights_open(*fd, &key, memory, err);
    vm_key_wipe(&key);
    if (result < 0)
        return -1;
    int reader = sealed_memory_reader(memory, err);
    if (reader < 0)
        return -1;
    close(*fd);
    *fd = reader;
    *bytes = memory->bytes;
    return 0;
}

int weights_input_open(const char *state_dir, const struct vm_weights *weights, int *fd,
                       uint64_t *bytes, struct sealed_memory *memory, struct error *err)
{
    cleanup_free struct sealed_header *header = NULL;
    if (!sealed_weights_detect(*fd))
        return weights->sealed
                   ? error_set(err, EXIT_STATUS_BAD_FILE, 0,
                               "weights %s: not sealed, but the VM file says \"sealed\": true",
                               weights->path)
                   : 0;
    header = calloc(1, sizeof(*header));
    if (!header)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "weights");
    if (open_sealed(state_dir, fd, bytes, header, memory, err) < 0)
        return error_wrap(err, "weights %s", weights->path);
    say_best_effort(weights->path, header, memory);
    return 0;
}
