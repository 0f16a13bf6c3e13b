// SPDX-License-Identifier: Apache-2.0
// guillotine ports: what the ports of a VM do; closes and opens them.
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli.h"
#include "control_server.h"
#include "escape.h"
#include "number.h"
#include "paths.h"
#include "vm_file.h"

struct ports_options {
    const char *runtime_dir;
    const char *close;
    const char *open;
    uint64_t watch_s;
    bool json;
    bool prometheus;
    bool help;
};

static int help(void)
{
    printf("Usage: guillotine ports [--json] [--watch[=SECONDS]] VM\n"
           "       guillotine ports --prometheus VM\n"
           "       guillotine ports --close PORT | --open PORT VM\n"
           "\n"
           "Shows the ports of a running VM: granted operations, state, requests, denied\n"
           "requests, bytes from and to the model (headers included), requests in flight and\n"
           "queued, the time that half and 99 %% of them took, anomalies, restarts of the\n"
           "backend, and the most bits that requests can tell in a second.\n"
           "\n"
           "States: open; closed (by an operator); closed-anomaly (the model broke a rule of\n"
           "the queue); down (the backend's process is not there); shut (by the level).\n"
           "\n"
           "Options:\n"
           "  --json              one object; with --watch one a line\n"
           "  --watch[=SECONDS]   again and again until the VM ends (default every 2 s)\n"
           "  --prometheus        metrics in the text format of Prometheus\n"
           "  --close PORT        close a port: when the command returns, no further byte\n"
           "                      reaches the model through it\n"
           "  --open PORT         open it again, also after an anomaly; both are audited\n"
           "  --runtime-dir DIR   where control sockets live\n"
           "\n"
           "Examples:\n"
           "  guillotine ports demo\n"
           "  guillotine ports --json demo | jq '.ports[] | select(.state != \"open\")'\n"
           "  curl --unix-socket /run/guillotine/demo.sock http://localhost/metrics\n");
    return EXIT_STATUS_OK;
}

static int parse(int argc, char **argv, struct ports_options *options)
{
    static const struct option table[] = {
        {"json", 0, NULL, 'j'},       {"watch", 2, NULL, 'w'},
        {"prometheus", 0, NULL, 'p'}, {"close", 1, NULL, 'c'},
        {"open", 1, NULL, 'o'},       {"runtime-dir", 1, NULL, 'r'},
        {"help", 0, NULL, 'h'},       {0},
    };
    struct error err;
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", table, NULL)) >= 0) {
        switch (option) {
        case 'j':
            options->json = true;
            break;
        case 'w':
            options->watch_s = 2;
            if (optarg && number_parse(optarg, 1, 3600, &options->watch_s, &err) < 0)
                return cli_usage("ports", "--watch: %s", err.text);
            break;
        case 'p':
            options->prometheus = true;
            break;
        case 'c':
            options->close = optarg;
            break;
        case 'o':
            options->open = optarg;
            break;
        case 'r':
            options->runtime_dir = optarg;
            break;
        case 'h':
            options->help = true;
            break;
        default:
            return cli_usage("ports", option == ':' ? "%s needs a value" : "unknown option %s",
                             argv[optind - 1]);
        }
    }
    if (options->help)
        return 0;
    if (optind + 1 != argc || !vm_name_is_valid(argv[optind]))
        return cli_usage("ports", "give the name of one VM");
    if (!!options->close + !!options->open + options->prometheus + !!options->watch_s > 1)
        return cli_usage("ports", "--close, --open, --prometheus and --watch exclude each other");
    const char *port = options->close ? options->close : options->open;
    if (port && !vm_name_is_valid(port))
        return cli_usage("ports", "'%s' is not a port name", port);
    return 0;
}

static long long number_of(json_object *object, const char *key)
{
    json_object *member;
    return json_object_object_get_ex(object, key, &member) ? json_object_get_int64(member) : 0;
}

static void text_of(json_object *object, const char *key, char *text, size_t size)
{
    json_object *member;
    const char *raw =
        json_object_object_get_ex(object, key, &member) ? json_object_get_string(member) : "?";
    escape_line(text, size, raw, strlen(raw));
}

// Three significant digits and a unit.
static void format_time(long long ns, char *text, size_t size)
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    double value = (double)ns;
    unsigned unit = 0;
    while (value >= 1000 && unit < 3) {
        value /= 1000;
        unit++;
    }
    if (!ns)
        snprintf(text, size, "-");
    else
        snprintf(text, size, "%.*f %s", value < 10 && unit ? 1 : 0, value, units[unit]);
}

// The operations that the model may ask for, with commas.
static void format_granted(json_object *port, char *text, size_t size)
{
    json_object *operations;
    size_t used = 0;
    snprintf(text, size, "-");
    if (!json_object_object_get_ex(port, "operations", &operations) ||
        !json_object_is_type(operations, json_type_array))
        return;
    for (size_t i = 0; i < json_object_array_length(operations); i++) {
        char name[64];
        const char *raw = json_object_get_string(json_object_array_get_idx(operations, i));
        escape_line(name, sizeof(name), raw ? raw : "?", raw ? strlen(raw) : 1);
        int length = snprintf(text + used, size - used, "%s%s", i ? "," : "", name);
        if (length < 0 || (size_t)length >= size - used)
            return;
        used += (size_t)length;
    }
}

static void print_table(json_object *status)
{
    json_object *ports;
    printf("%-16s %-20s %-14s %12s %10s %14s %14s %6s %6s %8s %8s %5s %4s %s\n", "PORT", "GRANTED",
           "STATE", "REQUESTS", "DENIED", "BYTES FROM", "BYTES TO", "FLIGHT", "QUEUED", "P50",
           "P99", "ANOM", "RST", "CAPACITY");
    if (!json_object_object_get_ex(status, "ports", &ports) ||
        !json_object_is_type(ports, json_type_array))
        return;
    for (size_t i = 0; i < json_object_array_length(ports); i++) {
        json_object *port = json_object_array_get_idx(ports, i);
        json_object *capacity = NULL;
        char name[128], granted[128], state[64], p50[32], p99[32];
        format_granted(port, granted, sizeof(granted));
        text_of(port, "name", name, sizeof(name));
        text_of(port, "state", state, sizeof(state));
        format_time(number_of(port, "p50_ns"), p50, sizeof(p50));
        format_time(number_of(port, "p99_ns"), p99, sizeof(p99));
        printf("%-16s %-20s %-14s %12lld %10lld %14lld %14lld %6lld %6lld %8s %8s %5lld %4lld ",
               name, granted, state, number_of(port, "requests"), number_of(port, "denied"),
               number_of(port, "bytes_in"), number_of(port, "bytes_out"),
               number_of(port, "in_flight"), number_of(port, "queued"), p50, p99,
               number_of(port, "anomalies"), number_of(port, "restarts"));
        if (json_object_object_get_ex(port, "capacity_bits_per_s", &capacity) && capacity)
            printf("%lld bit/s\n", (long long)json_object_get_int64(capacity));
        else
            printf("no limit\n");
    }
}

static int show(const char *runtime_dir, const char *vm, const struct ports_options *options,
                struct error *err)
{
    const struct control_question question = {.operation = "status"};
    cleanup_free char *answer = malloc(CONTROL_ANSWER_MAX);
    cleanup_fd int fd = control_connect(runtime_dir, vm, err);
    if (fd < 0)
        return -1;
    if (!answer)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "ports");
    if (control_ask(fd, &question, answer, CONTROL_ANSWER_MAX, NULL, err) < 0)
        return -1;
    if (options->json) {
        printf("%s\n", answer);
    } else {
        json_object *status = json_tokener_parse(answer);
        if (options->watch_s && isatty(STDOUT_FILENO))
            printf("\033[H\033[2J");
        print_table(status);
        json_object_put(status);
    }
    fflush(stdout);
    return 0;
}

static int watch(const char *runtime_dir, const char *vm, const struct ports_options *options,
                 struct error *err)
{
    if (show(runtime_dir, vm, options, err) < 0)
        return -1;
    struct error ended;
    do {
        const struct timespec pause = {(time_t)options->watch_s, 0};
        nanosleep(&pause, NULL);
    } while (!ferror(stdout) && show(runtime_dir, vm, options, &ended) == 0);
    return 0; // the VM ended: that is what was waited for
}

// Prints the body of the HTTP answer.
static int print_metrics(const char *runtime_dir, const char *vm, struct error *err)
{
    static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
    cleanup_free char *answer = malloc(CONTROL_ANSWER_MAX * 2);
    cleanup_fd int fd = control_connect(runtime_dir, vm, err);
    size_t used = 0;
    if (fd < 0)
        return -1;
    if (!answer || write(fd, request, sizeof(request) - 1) != (ssize_t)sizeof(request) - 1)
        return error_set(err, EXIT_STATUS_FAILURE, errno, "control socket");
    for (ssize_t n = 1; n > 0 && used<CONTROL_ANSWER_MAX * 2 - 1; used += n> 0 ? (size_t)n : 0)
        n = read(fd, answer + used, CONTROL_ANSWER_MAX * 2 - 1 - used);
    answer[used] = '\0';
    const char *body = strstr(answer, "\r\n\r\n");
    if (!body)
        return error_set(err, EXIT_STATUS_FAILURE, 0, "the supervisor does not answer");
    fputs(body + 4, stdout);
    return 0;
}

static int order(const char *runtime_dir, const char *vm, const struct ports_options *options,
                 struct error *err)
{
    char answer[1024];
    const struct control_question question = {
        .operation = options->close ? "port-close" : "port-open",
        .port = options->close ? options->close : options->open,
    };
    cleanup_fd int fd = control_connect(runtime_dir, vm, err);
    if (fd < 0)
        return -1;
    if (control_ask(fd, &question, answer, sizeof(answer), NULL, err) < 0)
        return error_wrap(err, "port %s", question.port);
    if (options->json)
        printf("%s\n", answer);
    return 0;
}

int cli_ports(int argc, char **argv)
{
    struct ports_options options = {0};
    struct error err = {0};
    char runtime_dir[PATH_MAX];
    int result = parse(argc, argv, &options);
    if (result)
        return result;
    if (options.help)
        return help();
    const char *vm = argv[optind];
    if (paths_runtime_dir(options.runtime_dir, runtime_dir, &err) < 0)
        return cli_fail(&err);
    if (options.close || options.open)
        result = order(runtime_dir, vm, &options, &err);
    else if (options.prometheus)
        result = print_metrics(runtime_dir, vm, &err);
    else if (options.watch_s)
        result = watch(runtime_dir, vm, &options, &err);
    else
        result = show(runtime_dir, vm, &options, &err);
    return result < 0 ? cli_fail(&err) : EXIT_STATUS_OK;
}
