// SPDX-License-Identifier: Apache-2.0
// guillotine-tool: the process of a tool port, and `guillotine tool`, for operators.
//
// It starts the server in a sandbox, greets it, and locks itself down: what is left are two pipes.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backend_process.h"
#include "sandbox.h"
#include "tool.h"
#include "tool_command.h"
#include "tool_filters.h"
#include "tool_rules.h"
#include "tool_server.h"

// Address space: the pipes' buffers, a few documents, and what is mapped at the start.
#define MEMORY_MAX (512ull << 20)

static struct backend_process process;
static struct mcp_client client;

static int move_fd(int *fd, int number, struct error *err)
{
    if (*fd >= TOOL_FROM_SERVER_FD || dup3(*fd, number, O_CLOEXEC) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "tool: pipes");
    close(*fd);
    *fd = number;
    return 0;
}

static void *make_state(struct backend_process *own, struct error *err)
{
    static struct tool_server server;
    const struct tool_grant *grant = own->settings;
    if (!grant || !tool_grant_is_sound(grant, own->settings_length)) {
        error_set(err, EXIT_STATUS_INTERNAL, 0, "tool: settings of another version");
        return NULL;
    }
    if (tool_server_start(&server, grant, err) < 0 ||
        move_fd(&server.from_server, TOOL_FROM_SERVER_FD, err) < 0 ||
        move_fd(&server.to_server, TOOL_TO_SERVER_FD, err) < 0 ||
        mcp_client_open(&client, grant, own->settings_length, server.to_server, server.from_server,
                        err) < 0)
        return NULL;
    return &client;
}

static int install(struct error *err)
{
    return sandbox_install(tool_filter, sizeof(tool_filter) / sizeof(tool_filter[0]), err);
}

static int serve(struct error *err)
{
    static const struct backend_kind kinds[] = {{&tool_backend, make_state}};
    const struct rlimit memory = {MEMORY_MAX, MEMORY_MAX};
    uint32_t missing = 0; // the VMM, on the same host, reports the same
    // The server needs rights that this process gives up behind it.
    if (backend_process_receive(&process, kinds, 1, err) < 0 ||
        backend_process_build(&process, err) < 0 || sandbox_enter(&missing, err) < 0)
        return -1;
    if (setrlimit(RLIMIT_AS, &memory) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "tool: bound memory");
    if (backend_process_lock_down(&process, install, err) < 0 ||
        backend_process_report_ready(err) < 0)
        return -1;
    backend_process_run(&process);
    return error_set(err, EXIT_STATUS_INTERNAL, 0, "tool: stopped"); // nobody stops it
}

int main(int argc, char **argv)
{
    struct error err = {0};
    if (argc > 1)
        return tool_command(argc, argv);
    if (fcntl(BACKEND_CHANNEL_FD, F_GETFD) < 0)
        return tool_command(argc, argv);
    serve(&err);
    backend_process_report_failure(&err);
    return (int)err.status;
}
