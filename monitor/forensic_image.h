// SPDX-License-Identifier: Apache-2.0
// A forensic image (guillotine-forensics/1): a core file, encrypted while it is written.
//
// A header of FORENSIC_HEADER_BYTES, then XChaCha20-Poly1305 secretstream chunks of 64 KiB, the
// first one bound to the header, the last one marked. The stream's key is in a box that the VM's
// key opens, and that box in one for each administrator: without either, there is no way in.
#ifndef MONITOR_FORENSIC_IMAGE_H
#define MONITOR_FORENSIC_IMAGE_H

#include <sodium.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "level_order.h"
#include "vm_key.h"

#define FORENSIC_FORMAT       "guillotine-forensics/1"
#define FORENSIC_HEADER_BYTES 4096u
#define FORENSIC_CHUNK_BYTES  65536u
#define FORENSIC_KEY_BYTES    crypto_secretstream_xchacha20poly1305_KEYBYTES
#define FORENSIC_INNER_BYTES  (FORENSIC_KEY_BYTES + crypto_secretbox_MACBYTES)
#define FORENSIC_OUTER_BYTES  (FORENSIC_INNER_BYTES + crypto_box_SEALBYTES)

// On disk as it is, padded with zeros. Little-endian.
struct forensic_header {
    char format[32]; // FORENSIC_FORMAT and a newline
    char id[64];     // of the VM's key
    uint64_t wall_ns;
    uint32_t level;
    uint32_t chunk_bytes;
    uint32_t administrators; // 0: the VM's key alone opens it, `inner` is the box
    uint32_t pad;
    uint8_t inner_nonce[crypto_secretbox_NONCEBYTES];
    uint8_t inner[FORENSIC_INNER_BYTES]; // zero if there are administrators
    struct {
        uint8_t key[32]; // Ed25519 public
        uint8_t box[FORENSIC_OUTER_BYTES];
    } outer[LEVEL_MAX_KEYS];
    uint8_t stream[crypto_secretstream_xchacha20poly1305_HEADERBYTES];
};
_Static_assert(sizeof(struct forensic_header) <= FORENSIC_HEADER_BYTES, "the header fits");

struct forensic_writer {
    int fd; // borrowed
    crypto_secretstream_xchacha20poly1305_state stream;
    uint8_t bound[crypto_generichash_BYTES]; // hash of the header, until the first chunk took it
    size_t bound_bytes;
    size_t used;
    uint64_t bytes; // of the file
    uint8_t chunk[FORENSIC_CHUNK_BYTES];
    uint8_t cipher[FORENSIC_CHUNK_BYTES + crypto_secretstream_xchacha20poly1305_ABYTES];
};

// Begins an image at the start of `fd`. Of `header`, id, wall_ns and level are the caller's. The
// administrators are those of a key set that was verified; all zero: there are none.
// Returns 0 or -1; in both cases forensic_writer_wipe follows some time.
int forensic_writer_begin(struct forensic_writer *writer, int fd, struct forensic_header *header,
                          const struct vm_key *key, const struct level_key_set *administrators,
                          struct error *err);

// Appends; a forensic_core_sink whose context is the writer.
int forensic_writer_write(void *writer, const void *data, size_t length, struct error *err);

// Writes the last chunk. The file is whole, but not yet synced.
int forensic_writer_finish(struct forensic_writer *writer, struct error *err);

void forensic_writer_wipe(struct forensic_writer *writer);

// Bytes of an image file with `bytes` of contents.
uint64_t forensic_image_bytes(uint64_t bytes);

// Reads the header, which nothing authenticates before the image is opened.
int forensic_image_read_header(int fd, struct forensic_header *header, struct error *err);

// Writes the contents to `out`. `seed` is an administrator's, NULL for an image without. What was
// written before a failure is authentic, but not whole: the caller throws it away. Returns 0 or -1.
int forensic_image_open(int fd, const struct vm_key *key, const uint8_t *seed, int out,
                        struct error *err);

#endif
