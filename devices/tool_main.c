// SPDX-License-Identifier: Apache-2.0
// guillotine-tool: the process of a tool port; as `guillotine-tool describe`, what says which tools
// a server has.
//
// It starts the server in a sandbox while it may still do so, and locks itself down: what is left
// are two pipes. Whatever the server says is read behind that.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend_process.h"
#include "http_exchange.h"
#include "mcp_http.h"
#include "mcp_pipe.h"
#include "sandbox.h"
#include "tool.h"
#include "tool_describe.h"
#include "tool_filters.h"
#include "tool_rules.h"
#include "tool_server.h"

// Address space: messages, a few documents, and what is mapped at the start.
#define MEMORY_MAX (512ull << 20)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct backend_process process;
static struct tool_grant_view view;
static struct mcp_pipe pipes;
static struct http_pool pool;
static struct mcp_http remote;
static struct mcp_transport *transport;
static struct tool tool;

static _Noreturn void fail(const struct error *err)
{
    backend_process_report_failure(err);
    _exit((int)err->status);
}

// Prepares for a server that is somewhere else.
static int open_remote(const int *fds, unsigned count, struct error *err)
{
    struct stat status;
    int files[HTTP_FDS] = {-1, -1, -1};
    if (count != TOOL_FD_HTTP_FILES + 1 && count != TOOL_FD_HTTP_FILES + HTTP_FDS)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "tool: descriptors of another version");
    if (fstat(fds[TOOL_FD_HTTP_GRANT], &status) < 0 || status.st_size != sizeof(struct http_grant))
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "tool: settings of another version");
    const struct http_grant *grant =
        mmap(NULL, sizeof(*grant), PROT_READ, MAP_SHARED, fds[TOOL_FD_HTTP_GRANT], 0);
    if (grant == MAP_FAILED)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "tool: settings");
    memcpy(files, fds + TOOL_FD_HTTP_FILES, (count - TOOL_FD_HTTP_FILES) * sizeof(files[0]));
    if (grant->rule_count != 1 || grant->has_certificate != (files[HTTP_FD_KEY] >= 0))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "tool: settings of another version");
    if (http_pool_open(&pool, grant, sizeof(*grant), files, err) < 0)
        return -1;
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
    mcp_http_open(&remote, &pool, view.arguments[0]);
    transport = &remote.transport;
    return 0;
}

// Starts the server and gives its pipes the numbers that the filter knows.
static int start_server(struct error *err)
{
    struct tool_server server;
    if (tool_server_start(&view, &server, err) < 0)
        return -1;
    // One that has such a number already would be closed by the other's move.
    if (server.in >= TOOL_FROM_SERVER_FD || server.out >= TOOL_FROM_SERVER_FD ||
        server.life >= TOOL_FROM_SERVER_FD || dup3(server.in, TOOL_FROM_SERVER_FD, O_CLOEXEC) < 0 ||
        dup3(server.out, TOOL_TO_SERVER_FD, O_CLOEXEC) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "tool: pipes");
    close(server.in);
    close(server.out);
    transport = &pipes.transport;
    return mcp_pipe_open(&pipes, TOOL_TO_SERVER_FD, TOOL_FROM_SERVER_FD, err);
}

static int open_server(const void *grant, size_t length, const int *fds, unsigned count,
                       struct error *err)
{
    if (tool_view_open(&view, grant, length, err) < 0)
        return -1;
    return view.grant->remote ? open_remote(fds, count, err) : start_server(err);
}

static int bound_memory(struct error *err)
{
    const struct rlimit memory = {MEMORY_MAX, MEMORY_MAX};
    return setrlimit(RLIMIT_AS, &memory) < 0
               ? error_set(err, EXIT_STATUS_INTERNAL, errno, "tool: bound memory")
               : 0;
}

// Greets the server and waits for the list of its tools.
static int meet(struct error *err)
{
    return mcp_client_open(&tool.client, &view, transport, err) < 0
               ? -1
               : mcp_client_wait(&tool.client, view.grant->start_ms, err);
}

// The state comes without a client: that waits for the filter.
static void *make_state(struct backend_process *own, struct error *err)
{
    tool.clock = &clock_host;
    // The VMM waits for timeout_ms and kills this process: a call that takes nearly as long is
    // given up before.
    tool.limit_ns = own->config.port.timeout_ms * NS_PER_MS / 10 * 9;
    tool.fail = fail;
    return open_server(own->settings, own->settings_length, &own->fds[BACKEND_FDS],
                       own->config.extra_fds, err) < 0
               ? NULL
               : &tool;
}

static int install(struct error *err)
{
    return view.grant->remote ? sandbox_install(tool_remote_filter, COUNT(tool_remote_filter), err)
                              : sandbox_install(tool_filter, COUNT(tool_filter), err);
}

static int install_describe(struct error *err)
{
    return view.grant->remote
               ? sandbox_install(describe_remote_filter, COUNT(describe_remote_filter), err)
               : sandbox_install(describe_filter, COUNT(describe_filter), err);
}

static int serve(struct error *err)
{
    static const struct backend_kind kinds[] = {{&tool_backend, make_state}};
    uint32_t missing = 0; // the VMM, on the same host, reports the same
    if (backend_process_receive(&process, kinds, 1, err) < 0 ||
        backend_process_build(&process, err) < 0 || sandbox_enter(&missing, err) < 0 ||
        bound_memory(err) < 0)
        return -1;
    // The client lives longer than the memory of the settings' descriptor, not than its mapping.
    if (backend_process_lock_down(&process, install, err) < 0 || meet(err) < 0 ||
        backend_process_report_ready(err) < 0)
        return -1;
    backend_process_run(&process);
    return error_set(err, EXIT_STATUS_INTERNAL, 0, "tool: stopped"); // nobody stops it
}

static int describe(struct error *err)
{
    struct stat status;
    uint32_t missing = 0;
    if (fstat(TOOL_GRANT_FD, &status) < 0 || status.st_size <= 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "tool: settings");
    size_t length = (size_t)status.st_size;
    void *grant = mmap(NULL, length, PROT_READ, MAP_PRIVATE, TOOL_GRANT_FD, 0);
    if (grant == MAP_FAILED)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "tool: settings");
    int fds[TOOL_FDS_MAX];
    unsigned count = 0;
    while (count < TOOL_FDS_MAX && fcntl(TOOL_HTTP_FD + (int)count, F_GETFD) >= 0) {
        fds[count] = TOOL_HTTP_FD + (int)count;
        count++;
    }
    if (open_server(grant, length, fds, count, err) < 0 || sandbox_enter(&missing, err) < 0 ||
        bound_memory(err) < 0 || install_describe(err) < 0 || meet(err) < 0)
        return -1;
    return tool_describe_write(&tool.client, TOOL_REPORT_FD, err);
}

int main(int argc, char **argv)
{
    struct error err = {0};
    bool describes = argc == 2 && !strcmp(argv[1], "describe");
    _Static_assert(TOOL_GRANT_FD == BACKEND_CHANNEL_FD, "one place to look at");
    if ((argc != 1 && !describes) || fcntl(BACKEND_CHANNEL_FD, F_GETFD) < 0) {
        fprintf(stderr, "guillotine-tool is started by guillotine, not by hand\n");
        return EXIT_STATUS_USAGE;
    }
    http_forget_environment();
    signal(SIGPIPE, SIG_IGN); // a server that has gone is seen by its pipe
    if (!describes) {
        serve(&err);
        backend_process_report_failure(&err);
    } else if (describe(&err) == 0) {
        return EXIT_STATUS_OK;
    } else {
        tool_describe_fail(&err, TOOL_REPORT_FD);
    }
    return (int)err.status;
}
