// SPDX-License-Identifier: Apache-2.0
// Runs guillotine-loader.
#include "linux_launch.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "escape.h"
#include "fd_message.h"
#include "paths.h"
#include "spawn.h"

#define ANSWER_TIMEOUT_MS 20000

static bool is_sound(const struct linux_load *load, const struct linux_entry *entry)
{
    uint64_t low = load->memory_bytes < LINUX_LOW_END ? load->memory_bytes : LINUX_LOW_END;
    if (strncmp(entry->format, LINUX_LOADER_FORMAT, sizeof(entry->format)) ||
        entry->range_count > sizeof(entry->ranges) / sizeof(entry->ranges[0]) ||
        !memchr(entry->text, 0, sizeof(entry->text)))
        return false;
    for (unsigned i = 0; i < entry->range_count; i++) {
        const struct linux_range *range = &entry->ranges[i];
        if (range->base % 4096 || range->length % 4096 || range->base > low ||
            range->length > low - range->base)
            return false;
    }
    return entry->status || ((entry->mode == LINUX_ENTRY_LONG || entry->mode == LINUX_ENTRY_PVH) &&
                             entry->instruction < low && entry->argument < low);
}

static int receive(int channel, const struct linux_load *load, struct linux_entry *entry,
                   struct error *err)
{
    struct pollfd in = {.fd = channel, .events = POLLIN};
    size_t fd_count = 0;
    int ready;
    do {
        ready = poll(&in, 1, ANSWER_TIMEOUT_MS);
    } while (ready < 0 && errno == EINTR);
    if (ready <= 0)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "the loader does not answer");
    ssize_t length = fd_message_receive(channel, entry, sizeof(*entry), NULL, &fd_count, err);
    if (length < 0)
        return -1;
    if ((size_t)length != sizeof(*entry) || !is_sound(load, entry))
        return error_set(err, EXIT_STATUS_INTERNAL, 0,
                         length ? "the loader's answer is no answer" : "the loader died");
    if (!entry->status)
        return 0;
    char text[sizeof(entry->text) * 4];
    escape_line(text, sizeof(text), entry->text, strlen(entry->text));
    enum exit_status status =
        entry->status == EXIT_STATUS_RESOURCES || entry->status == EXIT_STATUS_USAGE
            ? (enum exit_status)entry->status
            : EXIT_STATUS_BAD_FILE;
    return error_set(err, status, 0, "%s", text);
}

static int send_request(int channel, const struct linux_load *load, const char *command_line,
                        const int *fds, struct error *err)
{
    struct {
        struct linux_load load;
        char command_line[LINUX_COMMAND_LINE_MAX];
    } request = {.load = *load};
    memcpy(request.command_line, command_line, load->command_line_bytes);
    int result = fd_message_send(channel, &request, sizeof(*load) + load->command_line_bytes, fds,
                                 2u + !!load->has_initrd, err);
    explicit_bzero(&request, sizeof(request));
    return result;
}

int linux_loader_start(struct linux_loader *loader, struct error *err)
{
    char path[PATH_MAX];
    cleanup_fd int remote = -1;
    *loader = (struct linux_loader){.pid = -1, .pidfd = -1, .channel = -1};
    if (paths_sibling("guillotine-loader", path, err) < 0 ||
        spawn_channel(&loader->channel, &remote, err) < 0)
        return -1;
    const struct spawn_request request = {
        .path = path,
        .name = "guillotine-loader",
        .fds = {remote},
        .fd_count = 1,
        .wait = 1,
#ifdef __SANITIZE_ADDRESS__
        .keep_stderr = 1,
#endif
    };
    loader->pid = spawn_program(&request, &loader->pidfd, err);
    return loader->pid < 0 ? -1 : 0;
}

int linux_loader_run(struct linux_loader *loader, const struct linux_load *load,
                     const char *command_line, int memory_fd, int kernel_fd, int initrd_fd,
                     struct linux_entry *entry, struct error *err)
{
    const int fds[] = {
        [LINUX_LOAD_FD_MEMORY] = memory_fd,
        [LINUX_LOAD_FD_KERNEL] = kernel_fd,
        [LINUX_LOAD_FD_INITRD] = initrd_fd,
    };
    if (load->command_line_bytes > LINUX_COMMAND_LINE_MAX)
        return error_set(err, EXIT_STATUS_USAGE, 0, "the command line is too long");
    return send_request(loader->channel, load, command_line, fds, err) < 0
               ? -1
               : receive(loader->channel, load, entry, err);
}

void linux_loader_end(struct linux_loader *loader)
{
    if (loader->pid > 0) {
        kill(loader->pid, SIGKILL); // it has nothing more to do; ours until it is reaped
        while (waitpid(loader->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    if (loader->pidfd >= 0)
        close(loader->pidfd);
    if (loader->channel >= 0)
        close(loader->channel);
    *loader = (struct linux_loader){.pid = -1, .pidfd = -1, .channel = -1};
}
