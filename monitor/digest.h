// SPDX-License-Identifier: Apache-2.0
// SHA-256 of images and weights, cached by what changes with a file (guillotine-digests/1).
#ifndef MONITOR_DIGEST_H
#define MONITOR_DIGEST_H

#include <stdbool.h>
#include <stdint.h>

#include "vm_state.h"

// Descriptors of guillotine-digest: the file, and the pipe for the 32 bytes.
#define DIGEST_FILE_FD   3
#define DIGEST_RESULT_FD 4

struct file_digest {
    uint8_t sha256[DIGEST_BYTES];
    bool verity; // fs-verity protects the file: it cannot change under the run
    bool cached;
};

// SHA-256 of the open regular file `fd`, from the cache in the state directory if it is there. The
// key is device, inode, size, mtime and ctime; with fs-verity its digest counts too. A file that
// changed less than a second ago is not cached, since a second change might not be seen in its
// times; one that changes while it is read is refused. `what` names it for the progress line, which
// standard error gets beyond 256 MiB. The offset of `fd` is 0 afterwards if it had to be read.
int file_digest_get(struct file_digest *digest, const struct deployment *deployment, int fd,
                    const char *what, struct error *err);

#endif
