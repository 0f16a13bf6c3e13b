// SPDX-License-Identifier: Apache-2.0
// guillotine actuator: what cuts a VM off, seen and armed by people.
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "actuator_arming.h"
#include "actuator_run.h"
#include "cleanup.h"
#include "cli.h"
#include "number.h"
#include "paths.h"
#include "vm_at_rest.h"
#include "vm_file.h"

struct actuator_options {
    const char *verb;
    const char *name;
    const char *config;
    const char *state_dir;
    const char *for_text;
    const char *reason;
    bool allow_host_cut;
    bool json;
    bool yes;
};

// What every verb works on.
struct actuator_world {
    struct actuator_options options;
    struct actuator_config config;
    char config_path[PATH_MAX];
    char state_dir[PATH_MAX];
    unsigned printed; // events
};

static void cleanup_world_function(struct actuator_world **world)
{
    if (*world)
        actuator_config_free(&(*world)->config);
    free(*world);
}

static int help(void)
{
    printf(
        "Usage: guillotine actuator list|check [--json]\n"
        "       guillotine actuator test NAME --yes [--allow-host-cut]\n"
        "       guillotine actuator arm NAME --for TIME --reason TEXT\n"
        "       guillotine actuator disarm NAME\n"
        "       guillotine actuator enforce [--allow-host-cut] [--json]\n"
        "\n"
        "Actuators make the levels from Offline on physical: power, links, commands.\n"
        "  list     what is configured, and what is armed\n"
        "  check    asks each for its state; changes nothing; fails if one does not answer\n"
        "  test     cuts with a reversible one, confirms, restores, confirms\n"
        "  arm      lets an irreversible or destructive one be fired once, until the time is over\n"
        "  disarm   takes that back\n"
        "  enforce  does what the highest level of all registered VMs asks for: after a\n"
        "           supervisor was killed, or an action failed; can be repeated\n"
        "\n"
        "Options:\n"
        "  --actuators FILE    configuration (default: " ACTUATOR_CONFIG_DEFAULT "; if there\n"
        "                      is none, simulated actuators)\n"
        "  --state-dir DIR     where arming notes live\n"
        "  --for TIME          10s, 10m or 10h; at most 24h\n"
        "  --reason TEXT       stands in the note and in the audit log\n"
        "  --yes               test: yes, cut it\n"
        "  --allow-host-cut    test: even if that cuts this host's power or default route\n"
        "  --json              one object a line\n"
        "\n"
        "Examples:\n"
        "  guillotine actuator check\n"
        "  guillotine actuator test uplink --yes\n"
        "  guillotine actuator arm fuse --for 10m --reason 'order 17 of the administrators'\n");
    return EXIT_STATUS_OK;
}

static int parse_time(const char *text, uint64_t *ms, struct error *err)
{
    static const struct {
        char unit;
        uint64_t ms;
    } units[] = {{'s', 1000}, {'m', 60 * 1000}, {'h', 3600 * 1000}};
    char digits[16];
    size_t length = strlen(text);
    for (size_t i = 0; length > 1 && length < sizeof(digits) && i < 3; i++) {
        if (text[length - 1] != units[i].unit)
            continue;
        memcpy(digits, text, length - 1);
        digits[length - 1] = '\0';
        if (number_parse(digits, 1, ACTUATOR_ARM_MAX_MS / units[i].ms, ms, err))
            return error_wrap(err, "--for %s", text);
        *ms *= units[i].ms;
        return 0;
    }
    return error_set(err, EXIT_STATUS_USAGE, 0, "--for %s: use a time like 30s, 10m or 2h", text);
}

static void format_time(uint64_t wall_s, char text[32])
{
    const time_t seconds = (time_t)wall_s;
    struct tm parts;
    gmtime_r(&seconds, &parts);
    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

static int list(struct actuator_world *world)
{
    for (uint32_t i = 0; i < world->config.count; i++) {
        const struct actuator *actuator = &world->config.list[i];
        struct actuator_arming arming;
        char until[32] = "";
        bool armed = actuator->class != ACTUATOR_REVERSIBLE &&
                     actuator_arming_look(world->state_dir, &world->config, actuator, &clock_host,
                                          &arming, NULL) == 0;
        if (armed)
            format_time(arming.expires_wall_s, until);
        bool simulated = actuator->kind == ACTUATOR_SIMULATED;
        if (world->options.json)
            printf("{\"name\":\"%s\",\"driver\":\"%s\",\"class\":\"%s\",\"simulated\":%s,"
                   "\"this_host\":%s,\"timeout_ms\":%u,\"retries\":%u,\"armed\":%s,"
                   "\"armed_until\":\"%s\"}\n",
                   actuator->name, actuator_kind_name(actuator->kind),
                   actuator_class_name(actuator->class), simulated ? "true" : "false",
                   actuator->this_host ? "true" : "false", actuator->timeout_ms, actuator->retries,
                   armed ? "true" : "false", until);
        else
            printf("%-20s %-10s %-13s%s%s%s%s\n", actuator->name,
                   simulated ? "SIMULATED" : actuator_kind_name(actuator->kind),
                   actuator_class_name(actuator->class), actuator->this_host ? " this-host" : "",
                   armed ? " ARMED until " : "", until,
                   actuator->class != ACTUATOR_REVERSIBLE && !armed ? " not armed" : "");
    }
    return EXIT_STATUS_OK;
}

static void print_event(void *context, const struct actuator_event *event)
{
    struct actuator_world *world = context;
    char line[ACTUATOR_LINE_MAX];
    world->printed++;
    if (world->options.json) {
        actuator_event_format(event, line);
        printf("%s", line);
    } else if (event->kind == ACTUATOR_EVENT_SUMMARY) {
        printf("%s: %s%s%s\n", actuator_action_name(event->action),
               event->confirmed ? "confirmed" : "NOT CONFIRMED", event->detail[0] ? ", " : "",
               event->detail);
    } else {
        printf("%-20s %-9s %-8s%s%s%s\n", event->actuator,
               event->kind == ACTUATOR_EVENT_STATE ? actuator_state_name(event->state)
                                                   : actuator_event_name(event->kind),
               actuator_action_name(event->action), event->simulated ? " (simulated)" : "",
               event->detail[0] ? " " : "", event->detail);
    }
    fflush(stdout); // a person waits for it
}

static int act(struct actuator_world *world, enum actuator_action action, const char *only)
{
    struct error err = {0};
    const struct actuator_request request = {
        .config = world->config_path,
        .state_dir = world->state_dir,
        .only = only,
        .action = action,
        .allow_host_cut = world->options.allow_host_cut,
        .clock = &clock_host,
        .on_event = print_event,
        .context = world,
    };
    return actuator_run_to_end(&request, &err) ? cli_fail(&err) : EXIT_STATUS_OK;
}

// What a test restores must not be the cut that a level has made.
static int refuse_if_isolated(const struct actuator_world *world)
{
    char name[VM_NAME_SIZE];
    struct error err = {0};
    enum level level;
    if (vm_at_rest_highest(world->state_dir, &level, name, &err) < 0)
        return cli_fail(&err);
    if (level < LEVEL_OFFLINE)
        return EXIT_STATUS_OK;
    error_set(&err, EXIT_STATUS_ISOLATED, 0, "%s is at level %s: a test would end its cut",
              *name ? name : "a VM", level_name(level));
    return cli_fail(&err);
}

static void take_state(void *context, const struct actuator_event *event)
{
    enum actuator_state *state = context;
    if (event->kind == ACTUATOR_EVENT_STATE)
        *state = event->state;
}

// The cut may be of another state directory, or of a person.
static int refuse_if_cut(const struct actuator_world *world, const char *name)
{
    enum actuator_state state = ACTUATOR_STATE_UNKNOWN;
    struct error err = {0};
    const struct actuator_request request = {
        .config = world->config_path,
        .state_dir = world->state_dir,
        .only = name,
        .action = ACTUATOR_CHECK,
        .clock = &clock_host,
        .on_event = take_state,
        .context = &state,
    };
    if (actuator_run_to_end(&request, &err) < 0)
        return cli_fail(&err);
    if (state == ACTUATOR_STATE_ON)
        return EXIT_STATUS_OK;
    error_set(&err, EXIT_STATUS_ISOLATED, 0, "%s is cut already: a test would end that", name);
    return cli_fail(&err);
}

static int test(struct actuator_world *world, const struct actuator *actuator)
{
    if (actuator->class != ACTUATOR_REVERSIBLE)
        return cli_usage("actuator", "%s is %s: only reversible ones can be tested", actuator->name,
                         actuator_class_name(actuator->class));
    if (!world->options.yes)
        return cli_usage("actuator", "this cuts %s off for a moment: say --yes", actuator->name);
    int refused = refuse_if_isolated(world);
    if (!refused)
        refused = refuse_if_cut(world, actuator->name);
    if (refused)
        return refused;
    // Ctrl-C must not leave it cut.
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        signal(ignored[i], SIG_IGN);
    int status = act(world, ACTUATOR_CUT, actuator->name);
    // A VM that was isolated meanwhile needs the cut.
    refused = refuse_if_isolated(world);
    if (refused)
        return refused;
    // Whatever became of the cut: nothing is left cut by a test.
    int restored = act(world, ACTUATOR_RESTORE, actuator->name);
    refused = refuse_if_isolated(world);
    if (refused) {
        act(world, ACTUATOR_CUT, NULL);
        return refused;
    }
    return status ? status : restored;
}

static int enforce(struct actuator_world *world)
{
    static const struct {
        enum level level;
        enum actuator_action action;
    } steps[] = {
        {LEVEL_OFFLINE, ACTUATOR_CUT},
        {LEVEL_DECAPITATION, ACTUATOR_CUT_FOR_GOOD},
        {LEVEL_IMMOLATION, ACTUATOR_DESTROY},
    };
    char name[VM_NAME_SIZE];
    struct error err = {0};
    enum level level;
    if (vm_at_rest_highest(world->state_dir, &level, name, &err) < 0)
        return cli_fail(&err);
    fprintf(stderr, "guillotine: %s%s%s level of all VMs is %s\n", name, *name ? ": " : "",
            *name ? "the highest" : "the", level_name(level));
    int status = EXIT_STATUS_OK;
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        int result = level >= steps[i].level ? act(world, steps[i].action, NULL) : EXIT_STATUS_OK;
        status = status ? status : result;
    }
    return status;
}

static int arm(struct actuator_world *world, const struct actuator *actuator)
{
    struct error err = {0};
    uint64_t for_ms;
    if (!world->options.for_text || !world->options.reason)
        return cli_usage("actuator", "arm needs --for and --reason");
    if (parse_time(world->options.for_text, &for_ms, &err) ||
        actuator_arm(world->state_dir, &world->config, actuator, for_ms, world->options.reason,
                     &clock_host, &err))
        return cli_fail(&err);
    return EXIT_STATUS_OK;
}

static int disarm(struct actuator_world *world, const struct actuator *actuator)
{
    struct error err = {0};
    return actuator_disarm(world->state_dir, actuator->name, &err) ? cli_fail(&err)
                                                                   : EXIT_STATUS_OK;
}

// Returns 0, or -1 with the status to end with.
static int parse(int argc, char **argv, struct actuator_options *options, int *status)
{
    static const struct option table[] = {
        {"actuators", 1, NULL, 'c'}, {"state-dir", 1, NULL, 's'}, {"for", 1, NULL, 'f'},
        {"reason", 1, NULL, 'r'},    {"yes", 0, NULL, 'y'},       {"allow-host-cut", 0, NULL, 'H'},
        {"json", 0, NULL, 'j'},      {"help", 0, NULL, 'h'},      {0},
    };
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", table, NULL)) >= 0) {
        const char **const texts[] = {['c'] = &options->config,
                                      ['s'] = &options->state_dir,
                                      ['f'] = &options->for_text,
                                      ['r'] = &options->reason};
        bool *const flags[] = {
            ['y'] = &options->yes, ['H'] = &options->allow_host_cut, ['j'] = &options->json};
        if (option == 'h') {
            *status = help();
            return -1;
        }
        if (option == '?' || option == ':') {
            *status =
                cli_usage("actuator", option == ':' ? "%s needs a value" : "unknown option %s",
                          argv[optind - 1]);
            return -1;
        }
        if (strchr("csfr", option))
            *texts[option] = optarg;
        else
            *flags[option] = true;
    }
    options->verb = optind < argc ? argv[optind] : "";
    options->name = optind + 1 < argc ? argv[optind + 1] : NULL;
    if (optind + 2 < argc) {
        *status = cli_usage("actuator", "unexpected argument %s", argv[optind + 2]);
        return -1;
    }
    return 0;
}

int cli_actuator(int argc, char **argv)
{
    static const struct {
        const char *verb;
        int (*function)(struct actuator_world *world, const struct actuator *actuator);
    } named[] = {{"test", test}, {"arm", arm}, {"disarm", disarm}};
    __attribute__((cleanup(cleanup_world_function))) struct actuator_world *world =
        calloc(1, sizeof(*world));
    struct error err = {0};
    int status;
    if (!world)
        return EXIT_STATUS_RESOURCES;
    if (parse(argc, argv, &world->options, &status))
        return status;
    const char *verb = world->options.verb;
    size_t index = 0;
    while (index < sizeof(named) / sizeof(named[0]) && strcmp(verb, named[index].verb))
        index++;
    bool takes_name = index < sizeof(named) / sizeof(named[0]);
    if (!takes_name && strcmp(verb, "list") && strcmp(verb, "check") && strcmp(verb, "enforce"))
        return cli_usage("actuator", "use list, check, test, arm, disarm or enforce");
    if (takes_name != (world->options.name != NULL))
        return cli_usage("actuator",
                         takes_name ? "%s needs the name of one actuator" : "%s takes no name",
                         verb);
    if (actuator_config_find(world->options.config, world->config_path, &err) ||
        paths_state_dir(world->options.state_dir, world->state_dir, &err) ||
        actuator_config_open(world->config_path, world->state_dir, &world->config, &err))
        return cli_fail(&err);
    if (!strcmp(verb, "enforce"))
        return enforce(world);
    if (!takes_name)
        return strcmp(verb, "list") ? act(world, ACTUATOR_CHECK, NULL) : list(world);
    const struct actuator *actuator = actuator_config_named(&world->config, world->options.name);
    if (!actuator)
        return cli_usage("actuator", "no actuator '%s' is configured", world->options.name);
    return named[index].function(world, actuator);
}
