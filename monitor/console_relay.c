// SPDX-License-Identifier: Apache-2.0
// Relays the console's rings to standard output and from standard input.
#include "console_relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"

// At most this much a write: a pipe that polls as writable takes it without blocking (pipe(7)).
#define CHUNK 4096u

// A description of our own of the same terminal or pipe, so that not blocking on it concerns nobody
// else who has it open. Falls back to the given one.
static int open_nonblocking(int fd)
{
    char path[32];
    struct stat status;
    if (fstat(fd, &status) < 0 || !(S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode)))
        return fd;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return own >= 0 ? own : fd;
}

void console_relay_init(struct console_relay *relay, int input_fd, int output_fd)
{
    *relay = (struct console_relay){
        .input_fd = input_fd,
        .output_fd = open_nonblocking(output_fd),
        .terminal = isatty(output_fd) == 1,
    };
}

// Takes the next bytes from the ring, filtered if a person will see them.
static bool stage(struct console_relay *relay, bool *wake)
{
    char raw[CHUNK];
    if (relay->staged_done < relay->staged_length)
        return true;
    uint64_t available = shared_ring_available(&relay->output);
    if (!available || available == UINT64_MAX)
        return false;
    size_t take = available < CHUNK ? (size_t)available : CHUNK;
    relay->staged_done = 0;
    if (relay->terminal) {
        shared_ring_peek(&relay->output, 0, raw, take);
        relay->staged_length = escape_terminal_filter(&relay->escape, relay->staged, raw, take);
    } else {
        shared_ring_peek(&relay->output, 0, relay->staged, take);
        relay->staged_length = take;
    }
    if (shared_ring_consume(&relay->output, take))
        *wake = true;
    return relay->staged_length > 0;
}

bool console_relay_has_output(struct console_relay *relay)
{
    if (relay->staged_done < relay->staged_length)
        return true;
    uint64_t available = shared_ring_available(&relay->output);
    return available != 0 && available != UINT64_MAX;
}

bool console_relay_wants_input(struct console_relay *relay)
{
    return relay->input_fd >= 0 &&
           atomic_load_explicit(&relay->input.header->consumer_waiting, memory_order_relaxed);
}

int console_relay_write(struct console_relay *relay, bool *wake, struct error *err)
{
    while (stage(relay, wake)) {
        size_t left = relay->staged_length - relay->staged_done;
        if (relay->broken) {
            relay->staged_done = relay->staged_length; // discard: nobody is there
            continue;
        }
        ssize_t n = write(relay->output_fd, relay->staged + relay->staged_done,
                          left < CHUNK ? left : CHUNK);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (n < 0) {
            relay->broken = true;
            return error_set(err, EXIT_STATUS_FAILURE, errno, "write standard output");
        }
        relay->staged_done += (size_t)n;
        return 0; // the caller polls again before the next chunk
    }
    return 0;
}

void console_relay_read(struct console_relay *relay, bool *wake)
{
    char bytes[CHUNK];
    uint64_t space = shared_ring_space(&relay->input);
    if (!space)
        return;
    ssize_t n = read(relay->input_fd, bytes, space < CHUNK ? (size_t)space : CHUNK);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) {
        relay->input_fd = -1;
        atomic_store_explicit(&relay->input.header->closed, 1, memory_order_release);
        shared_ring_publish(&relay->input);
        *wake = true;
        return;
    }
    shared_ring_append(&relay->input, bytes, (size_t)n);
    if (shared_ring_publish(&relay->input))
        *wake = true;
}

void console_relay_drain(struct console_relay *relay, int limit_ms)
{
    bool wake = false;
    struct error err;
    uint64_t deadline = clock_now_ns(&clock_host) + (uint64_t)limit_ms * NS_PER_MS;
    while (console_relay_has_output(relay) && !relay->broken) {
        struct pollfd out = {.fd = relay->output_fd, .events = POLLOUT};
        uint64_t now = clock_now_ns(&clock_host);
        int left_ms = now < deadline ? (int)((deadline - now) / NS_PER_MS) : 0;
        if (poll(&out, 1, left_ms) <= 0 || console_relay_write(relay, &wake, &err) < 0)
            return;
    }
    if (relay->terminal && relay->escape.pending_length) {
        char rest[4 * ESCAPE_MAX_EXPANSION];
        size_t length = escape_terminal_finish(&relay->escape, rest);
        ssize_t ignored = write(relay->output_fd, rest, length);
        (void)ignored;
    }
}
