// SPDX-License-Identifier: Apache-2.0
// Core scheduling cookies for vCPU threads.
#include "core_cookie.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host_root.h"

// Older headers do not have them.
#ifndef PR_SCHED_CORE
#define PR_SCHED_CORE            62
#define PR_SCHED_CORE_CREATE     1
#define PR_SCHED_CORE_SHARE_TO   2
#define PR_SCHED_CORE_SHARE_FROM 3
#endif

#define OF_ONE_THREAD 0

struct giving {
    const struct host_root *root;
    pid_t vmm;
    unsigned given;
    bool failed;
};

static bool give_to(void *context, const char *name)
{
    struct giving *giving = context;
    char path[96];
    snprintf(path, sizeof(path), "proc/%d/task/%s/comm", giving->vmm, name);
    if (!host_says(giving->root, path, "vcpu"))
        return true;
    unsigned long thread = strtoul(name, NULL, 10);
    if (prctl(PR_SCHED_CORE, PR_SCHED_CORE_SHARE_TO, thread, OF_ONE_THREAD, 0) < 0)
        giving->failed = true;
    giving->given++;
    return true;
}

bool core_cookie_give(pid_t vmm)
{
    // The child makes a cookie for itself and hands it on; this process keeps none.
    pid_t child = fork();
    int status = -1;
    if (child == 0) {
        struct host_root root;
        struct giving giving = {.root = &root, .vmm = vmm};
        char path[64];
        snprintf(path, sizeof(path), "proc/%d/task", vmm);
        if (prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, OF_ONE_THREAD, 0) < 0 ||
            host_root_open(&root, NULL, NULL) < 0)
            _exit(EXIT_FAILURE);
        host_each(&root, path, give_to, &giving);
        _exit(giving.given && !giving.failed ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}
