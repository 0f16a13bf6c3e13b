// SPDX-License-Identifier: Apache-2.0
// The file of a log port: one JSON object a line, harmless whatever the model wrote.
#include "log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "escape.h"

// Longest line without its text: time, two names, severity or count.
#define LINE_FRAME_BYTES 256u

int log_file_open(struct log_file *log, const char *path, uint64_t max_bytes, struct error *err)
{
    struct stat status;
    cleanup_fd int fd = open(
        path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0600);
    if (fd < 0 && errno == ELOOP)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s is a symbolic link", path);
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", path);
    if (!S_ISREG(status.st_mode))
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s is not a regular file", path);
    // A line that could not be written whole is taken back: nobody else may append meanwhile.
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s is the log of another port that is open",
                         path);
    if (fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", path);
    log->bytes = (uint64_t)status.st_size;
    log->max_bytes = max_bytes;
    log->dropped = 0;
    log->full = false;
    log->fd = steal_fd(&fd);
    return 0;
}

// Appends one line whole, or not at all.
static bool append(struct log_file *log, const char *line, size_t length)
{
    ssize_t written;
    do {
        written = write(log->fd, line, length);
    } while (written < 0 && errno == EINTR);
    if (written == (ssize_t)length) {
        log->bytes += length;
        return true;
    }
    // A disk that is full: what came of the line goes again. If even that fails, the file has a
    // torn last line, and gets no other.
    if (written > 0 && ftruncate(log->fd, (off_t)log->bytes) < 0)
        log->bytes = UINT64_MAX;
    return false;
}

// The beginning of a line. Returns its length.
static size_t begin_line(const struct log_file *log, uint64_t wall_ns, char *line)
{
    char date[32] = "";
    struct tm parts;
    time_t seconds = (time_t)(wall_ns / NS_PER_S);
    if (gmtime_r(&seconds, &parts))
        strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &parts);
    return (size_t)snprintf(line, LINE_FRAME_BYTES,
                            "{\"time\":\"%s.%06uZ\",\"vm\":\"%s\",\"port\":\"%s\",", date,
                            (unsigned)(wall_ns % NS_PER_S / 1000), log->vm, log->port);
}

void log_file_write(struct log_file *log, uint64_t wall_ns, uint32_t severity, const void *text,
                    size_t length)
{
    static char line[LINE_FRAME_BYTES + LOG_MESSAGE_MAX * ESCAPE_JSON_EXPANSION]; // one thread
    if (log->full || length > LOG_MESSAGE_MAX) {
        log->dropped++;
        return;
    }
    size_t used = begin_line(log, wall_ns, line);
    used += (size_t)sprintf(line + used, "\"severity\":%u,\"text\":\"", severity);
    used += escape_json(line + used, text, length);
    memcpy(line + used, "\"}\n", 3);
    used += 3;
    // There is always room for the line that counts what was dropped.
    if (log->bytes + used + LINE_FRAME_BYTES <= log->max_bytes && append(log, line, used))
        return;
    log->full = true;
    log->dropped++;
}

void log_file_close(struct log_file *log, uint64_t wall_ns)
{
    char line[LINE_FRAME_BYTES + 64];
    if (log->fd < 0)
        return;
    if (log->dropped && log->max_bytes >= LINE_FRAME_BYTES &&
        log->bytes <= log->max_bytes - LINE_FRAME_BYTES) {
        size_t used = begin_line(log, wall_ns, line);
        used += (size_t)sprintf(line + used, "\"dropped\":%" PRIu64 "}\n", log->dropped);
        append(log, line, used);
    }
    close(log->fd);
    log->fd = -1;
}
