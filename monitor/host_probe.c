// SPDX-License-Identifier: Apache-2.0
// Probe cells: what KVM really does with the instructions that matter, found by trying them.
//
// Each runs as any cell does, by `guillotine run`, in directories of its own: a probe that is
// stopped has violated, and nothing may remember that.
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <json-c/json.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "host_facts.h"
#include "paths.h"

// A probe takes some 10 ms. Whoever takes longer than this hangs.
#define PROBE_NS (5 * NS_PER_S)

#define PAGE_FAULT 14 // its vector

static const char *const modes[FACT_PROBES] = {
    [FACT_PROBE_TSC] = "tsc",           [FACT_PROBE_COUNTERS] = "counters",
    [FACT_PROBE_CPUID] = "cpuid",       [FACT_PROBE_SYSCALL] = "syscall",
    [FACT_PROBE_PORT_IO] = "port-io",   [FACT_PROBE_WRITE_CODE] = "write-code",
    [FACT_PROBE_RUN_DATA] = "run-data",
};

struct probe {
    pid_t pid; // -1: not started
    char folder[64];
};

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status, (void)type, (void)place;
    return remove(path);
}

// Becomes the probe. Vfork would do, but the child writes its arguments.
static _Noreturn void run_probe(const char *program, const char *image, const char *folder,
                                const char *mode)
{
    char state[96];
    char runtime[96];
    char result[96];
    snprintf(state, sizeof(state), "%s/state", folder);
    snprintf(runtime, sizeof(runtime), "%s/run", folder);
    snprintf(result, sizeof(result), "%s/result", folder);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execl(program, "guillotine", "run", "--placement", "shared", "--require", "none", "--memory",
          "4MiB", "--state-dir", state, "--runtime-dir", runtime, "--result", result, "--image",
          image, "--", mode, (char *)NULL);
    _exit(127);
}

static void start(struct probe *probe, const char *program, const char *image, const char *mode)
{
    snprintf(probe->folder, sizeof(probe->folder), "/tmp/guillotine-probe-XXXXXX");
    if (!mkdtemp(probe->folder)) {
        probe->pid = -1;
        probe->folder[0] = '\0';
        return;
    }
    probe->pid = fork();
    if (probe->pid == 0)
        run_probe(program, image, probe->folder, mode);
}

// Only stopped by the page fault behind it: it jumped to where nothing is mapped.
static bool is_page_fault(json_object *violation)
{
    json_object *vector;
    return json_object_object_get_ex(violation, "vector", &vector) &&
           json_object_get_int(vector) == PAGE_FAULT;
}

// One that could not be launched has an exit value too.
static bool has_exited(json_object *result)
{
    json_object *outcome;
    return json_object_object_get_ex(result, "outcome", &outcome) &&
           !strcmp(json_object_get_string(outcome), "exited");
}

// "exit:N" or "violation:KIND", as --expect says it; nothing if the guest said nothing.
static void read_result(const char *folder, char *text, size_t size)
{
    char path[96];
    json_object *value;
    json_object *inner;
    snprintf(path, sizeof(path), "%s/result", folder);
    json_object *result = json_object_from_file(path);
    if (json_object_object_get_ex(result, "violation", &value) &&
        json_object_object_get_ex(value, "kind", &inner))
        snprintf(text, size, "violation:%s%s", json_object_get_string(inner),
                 is_page_fault(value) ? HOST_PROBE_FAULT : "");
    else if (has_exited(result) && json_object_object_get_ex(result, "exit_value", &value))
        snprintf(text, size, "exit:%d", json_object_get_int(value));
    json_object_put(result);
}

static void finish(struct probe *probe, char *text, size_t size)
{
    const struct timespec pause = {0, 1000000};
    uint64_t deadline = clock_now_ns(&clock_host) + PROBE_NS;
    while (probe->pid > 0 && waitpid(probe->pid, NULL, WNOHANG) == 0) {
        if (clock_now_ns(&clock_host) >= deadline)
            kill(probe->pid, SIGKILL); // its VMM goes with it
        nanosleep(&pause, NULL);
    }
    if (!probe->folder[0])
        return;
    read_result(probe->folder, text, size);
    nftw(probe->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void host_facts_probe(struct host_facts *facts)
{
    char program[PATH_MAX];
    char image[PATH_MAX];
    struct probe probes[FACT_PROBES];
    if (paths_sibling("guillotine", program, NULL) < 0 ||
        paths_data("host-probe.elf", image, NULL) < 0)
        return;
    // Two at a time: most of a launch is waiting.
    for (unsigned i = 0; i < FACT_PROBES; i += 2) {
        for (unsigned k = i; k < i + 2 && k < FACT_PROBES; k++)
            start(&probes[k], program, image, modes[k]);
        for (unsigned k = i; k < i + 2 && k < FACT_PROBES; k++)
            finish(&probes[k], facts->text[k], sizeof(facts->text[k]));
    }
}
