// SPDX-License-Identifier: Apache-2.0
// guillotine-digest: SHA-256 of the file on descriptor 3 to descriptor 4, and nothing else.
//
// A process of its own because it links libcrypto's SHA-256, five times as fast as portable code,
// and reads what somebody untrusted wrote: it gives up everything but read, write and exit first.
#define OPENSSL_API_COMPAT 0x10100000L // the low-level calls, which need no provider
#include <fcntl.h>
#include <linux/seccomp.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "digest.h"
#include "sandbox.h"

#define PROGRESS_STEP (1ull << 30)

static uint8_t buffer[1 << 20];

// Strict seccomp knows no exit_group, which _exit uses.
static _Noreturn void leave(int status)
{
    for (;;)
        syscall(SYS_exit, status);
}

static void say(uint64_t done, uint64_t bytes)
{
    char line[80];
    int length = snprintf(line, sizeof(line), "guillotine: %llu of %llu MiB\n",
                          (unsigned long long)(done >> 20), (unsigned long long)(bytes >> 20));
    if (write(STDERR_FILENO, line, (size_t)length) < 0)
        leave(EXIT_STATUS_FAILURE);
}

int main(void)
{
    struct stat status;
    struct error err;
    uint32_t missing;
    SHA256_CTX context;
    uint8_t digest[DIGEST_BYTES];
    uint64_t done = 0;
    uint64_t next = PROGRESS_STEP;
    if (fcntl(DIGEST_FILE_FD, F_GETFD) < 0 || fcntl(DIGEST_RESULT_FD, F_GETFD) < 0) {
        fprintf(stderr, "guillotine-digest is started by guillotine, not by hand\n");
        return EXIT_STATUS_USAGE;
    }
    if (fstat(DIGEST_FILE_FD, &status) < 0 || sandbox_enter(&missing, &err) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0) < 0)
        return EXIT_STATUS_HOST_REFUSED;
    uint64_t bytes = (uint64_t)status.st_size;
    SHA256_Init(&context);
    while (done < bytes) {
        ssize_t n = read(DIGEST_FILE_FD, buffer, sizeof(buffer));
        if (n <= 0)
            leave(EXIT_STATUS_BAD_FILE);
        SHA256_Update(&context, buffer, (size_t)n);
        done += (uint64_t)n;
        if (done >= next) {
            say(done, bytes);
            next += PROGRESS_STEP;
        }
    }
    SHA256_Final(digest, &context);
    leave(write(DIGEST_RESULT_FD, digest, sizeof(digest)) == (ssize_t)sizeof(digest)
              ? EXIT_STATUS_OK
              : EXIT_STATUS_FAILURE);
}
