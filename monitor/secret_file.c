// SPDX-License-Identifier: Apache-2.0
// Reads files that hold a secret.
#include "secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

#define FILE_MAX_BYTES 2048

static int split(const char *path, const char *text, size_t length, char *lines, size_t size,
                 size_t count, struct error *err)
{
    size_t line = 0;
    size_t used = 0;
    memset(lines, 0, size * count);
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\n') {
            line++;
            used = 0;
            continue;
        }
        if (text[i] < 0x20 || text[i] > 0x7e || line == count || used + 1 == size)
            return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                             "%s: %zu lines of at most %zu printable ASCII characters are expected",
                             path, count, size - 1);
        lines[line * size + used++] = text[i];
    }
    for (size_t i = 0; i < count; i++) {
        if (!lines[i * size])
            return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s: line %zu is empty or missing", path,
                             i + 1);
    }
    return 0;
}

int secret_file_read(const char *path, char *lines, size_t size, size_t count, struct error *err)
{
    char text[FILE_MAX_BYTES + 1];
    struct stat status;
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", path);
    if (!S_ISREG(status.st_mode) || (status.st_uid && status.st_uid != geteuid()) ||
        (status.st_mode & 077))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "%s holds a secret: it has to be a file that only this user can read "
                         "(mode 0600)",
                         path);
    if (!lines)
        return 0;
    ssize_t n = read(fd, text, sizeof(text));
    int result = n < 0 || n > FILE_MAX_BYTES
                     ? error_set(err, EXIT_STATUS_BAD_FILE, n < 0 ? errno : EFBIG, "%s", path)
                     : split(path, text, (size_t)n, lines, size, count, err);
    explicit_bzero(text, sizeof(text));
    return result;
}
