// SPDX-License-Identifier: Apache-2.0
// guillotine-actuator: carries out one action on the actuators of this host and says what happens
// as lines of JSON. It is apart from the supervisor, which starts it, so that device protocols, TLS
// and programs of the configuration stay out of that; and it goes on if the supervisor dies.
#include <curl/curl.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "actuator_filter.h"
#include "actuator_fire.h"
#include "actuator_process.h"
#include "escape.h"

// How long a reader may be behind before a line is dropped.
#define EMIT_WAIT_MS 100
#define SAFE_PATH    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const struct actuator_driver *const drivers[ACTUATOR_KIND_COUNT] = {
    [ACTUATOR_SIMULATED] = &actuator_simulated, [ACTUATOR_COMMAND] = &actuator_command,
    [ACTUATOR_LINK] = &actuator_link,           [ACTUATOR_REDFISH] = &actuator_redfish,
    [ACTUATOR_IPMI] = &actuator_ipmi,
};

struct options {
    const char *config; // NULL: simulated ones
    const char *state_dir;
    const char *only;
    bool allow_host_cut;
    enum actuator_action action;
};

static int help(void)
{
    printf("Usage: guillotine-actuator --state-dir DIR [OPTIONS] ACTION\n"
           "\n"
           "Carries out one action on the actuators of this host; `guillotine` starts it. Prints\n"
           "one JSON object a line. Exits with 0 only if the action is confirmed.\n"
           "  cut           reversible ones, in order, until one is confirmed\n"
           "  restore       all reversible ones\n"
           "  cut-for-good  irreversible ones; each has to be armed (guillotine actuator arm)\n"
           "  destroy       destructive ones; each has to be armed\n"
           "  check         reads all of them back and changes nothing\n"
           "\n"
           "Options:\n"
           "  --config FILE       actuators (docs/actuators.md); without it, simulated ones\n"
           "  --state-dir DIR     where arming notes and simulated states are\n"
           "  --actuator NAME     only this one\n"
           "  --allow-host-cut    may cut the power or the default route of this host\n"
           "\n"
           "Example:\n"
           "  guillotine-actuator --state-dir /var/lib/guillotine check\n");
    return EXIT_STATUS_OK;
}

static int complain(const char *text, int status)
{
    char safe[sizeof(((struct error *)0)->text) * ESCAPE_MAX_EXPANSION];
    escape_message(safe, sizeof(safe), text);
    fprintf(stderr, "guillotine-actuator: %s\n", safe);
    return status;
}

// Returns 0, or -1 with the status to end with.
static int parse(int argc, char **argv, struct options *options, int *status)
{
    static const struct option table[] = {
        {"config", 1, NULL, 'c'},         {"state-dir", 1, NULL, 's'}, {"actuator", 1, NULL, 'a'},
        {"allow-host-cut", 0, NULL, 'H'}, {"help", 0, NULL, 'h'},      {0},
    };
    int option;
    opterr = 0;
    *status = EXIT_STATUS_USAGE;
    while ((option = getopt_long(argc, argv, ":", table, NULL)) >= 0) {
        if (option == 'h') {
            *status = help();
            return -1;
        }
        if (option == 'c')
            options->config = optarg;
        else if (option == 's')
            options->state_dir = optarg;
        else if (option == 'a')
            options->only = optarg;
        else if (option == 'H')
            options->allow_host_cut = true;
        else
            return complain("bad option; see guillotine-actuator --help", -1);
    }
    options->action =
        optind + 1 == argc ? actuator_action_parse(argv[optind]) : ACTUATOR_ACTION_COUNT;
    if (options->action == ACTUATOR_ACTION_COUNT || !options->state_dir)
        return complain("give --state-dir and one action; see guillotine-actuator --help", -1);
    return 0;
}

static void emit(void *context, const struct actuator_event *event)
{
    char line[ACTUATOR_LINE_MAX];
    size_t length = actuator_event_format(event, line);
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    (void)context;
    // If nobody reads any more, or not fast enough, the action goes on all the same. A pipe that
    // takes anything takes a whole line (PIPE_BUF).
    if (poll(&out, 1, EMIT_WAIT_MS) > 0 && write(STDOUT_FILENO, line, length) < 0)
        return;
}

static void sleep_ns(void *context, uint64_t ns)
{
    const struct timespec time = {.tv_sec = (time_t)(ns / NS_PER_S),
                                  .tv_nsec = (long)(ns % NS_PER_S)};
    (void)context;
    nanosleep(&time, NULL);
}

// Secrets pass through this process: no core file, no tracer of the same user. Signals that end a
// job of a terminal do not end a cut.
static int lock_down(struct error *err)
{
    static const int ignored[] = {SIGPIPE, SIGHUP, SIGINT, SIGTERM, SIGQUIT};
    const struct rlimit none = {0, 0};
    if (prctl(PR_SET_DUMPABLE, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "lock down");
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        signal(ignored[i], SIG_IGN);
    signal(SIGCHLD, SIG_DFL); // ignored, it would hide how children ended
    // The resolver's own time-outs are longer than ours, and its threads cannot be stopped.
    if (clearenv() || setenv("PATH", SAFE_PATH, 1) ||
        setenv("RES_OPTIONS", "timeout:1 attempts:1", 1))
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "lock down");
    umask(077);
    return actuator_process_prepare(err);
}

int main(int argc, char **argv)
{
    static struct actuator_config config; // large
    struct options options = {0};
    struct error err = {0};
    int status;
    // A descriptor that is closed must not become that of something else.
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            return EXIT_STATUS_INTERNAL;
    }
    if (parse(argc, argv, &options, &status) < 0)
        return status;
    if (lock_down(&err) || actuator_config_open(options.config ? options.config : "",
                                                options.state_dir, &config, &err))
        return complain(err.text, (int)err.status);
    if (options.only && !actuator_config_named(&config, options.only)) {
        actuator_config_free(&config);
        return complain("no actuator of that name is configured", EXIT_STATUS_USAGE);
    }
    // A cut matters more than the filter: a kernel without it is no reason to leave power on.
    if (actuator_filter_enter_for(&config, options.action, options.only, &err))
        complain(err.text, 0);
    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        return complain("libcurl cannot be used", EXIT_STATUS_INTERNAL);
    const struct actuator_fire fire = {
        .config = &config,
        .drivers = drivers,
        .action = options.action,
        .only = options.only,
        .state_dir = options.state_dir,
        .allow_host_cut = options.allow_host_cut,
        .clock = &clock_host,
        .sleep_ns = sleep_ns,
        .emit = emit,
    };
    status = actuator_fire(&fire) ? EXIT_STATUS_FAILURE : EXIT_STATUS_OK;
    curl_global_cleanup();
    actuator_config_free(&config);
    return status;
}
