// SPDX-License-Identifier: Apache-2.0
// guillotine-http: the process of an http port.
//
// It reads certificates, looks up this host's addresses and locks itself down: what is left are
// sockets of the internet. It shares the host's network: what it connects to it checks itself.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backend_process.h"
#include "http.h"
#include "http_exchange.h"
#include "http_filters.h"
#include "http_rules.h"
#include "sandbox.h"

// Address space: HTTP_EXCHANGES replies of PORT_MAX_BYTES, TLS, and what is mapped at the start
// (most of it for the patterns of paths, where pages that nobody touches cost nothing).
#define MEMORY_MAX (1ull << 30)

static struct backend_process process;
static struct http_pool pool;

static void *make_state(struct backend_process *own, struct error *err)
{
    const struct http_grant *grant = own->settings;
    int fds[HTTP_FDS] = {-1, -1, -1};
    unsigned count = 1;
    if (own->settings_length == sizeof(*grant) && grant->has_certificate)
        count = HTTP_FDS;
    if (own->config.extra_fds != count) {
        error_set(err, EXIT_STATUS_INTERNAL, 0, "http: descriptors of another version");
        return NULL;
    }
    memcpy(fds, &own->fds[BACKEND_FDS], count * sizeof(fds[0]));
    int result = http_pool_open(&pool, grant, own->settings_length, fds, err);
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
    return result < 0 ? NULL : &pool;
}

static int install(struct error *err)
{
    return sandbox_install(http_filter, sizeof(http_filter) / sizeof(http_filter[0]), err);
}

static int serve(struct error *err)
{
    static const struct backend_kind kinds[] = {{&http_backend, make_state}};
    const struct rlimit memory = {MEMORY_MAX, MEMORY_MAX};
    uint32_t missing = 0; // the VMM, on the same host, reports the same
    if (sandbox_enter(&missing, err) < 0 || backend_process_receive(&process, kinds, 1, err) < 0 ||
        backend_process_build(&process, err) < 0)
        return -1;
    if (setrlimit(RLIMIT_AS, &memory) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "http: bound memory");
    if (backend_process_lock_down(&process, install, err) < 0 ||
        backend_process_report_ready(err) < 0)
        return -1;
    backend_process_run(&process);
    return error_set(err, EXIT_STATUS_INTERNAL, 0, "http: stopped"); // nobody stops it
}

int main(int argc, char **argv)
{
    struct error err = {0};
    (void)argv;
    http_forget_environment();
    if (argc > 1 || fcntl(BACKEND_CHANNEL_FD, F_GETFD) < 0) {
        fputs("guillotine-http: `guillotine run` starts this for ports of kind http\n", stderr);
        return EXIT_STATUS_USAGE;
    }
    serve(&err);
    backend_process_report_failure(&err);
    return (int)err.status;
}
