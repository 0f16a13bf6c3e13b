// SPDX-License-Identifier: Apache-2.0
// guillotine run: the CLI process is the supervisor of one VM.
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "actuator_config.h"
#include "cleanup.h"
#include "cli.h"
#include "paths.h"
#include "run_report.h"
#include "weights_parts.h"

struct run_options {
    const char *file;
    const char *runtime_dir;
    const char *state_dir;
    const char *audit;
    const char *witness;
    const char *policy;
    const char *result;
    const char *expect;
    const char *watchdog_device;
    const char *sysfs;
    const char *actuators;
    bool allow_host_cut;
    bool accept_level_reset;
    char **model_arguments;
    int model_argument_count;
};

enum run_option {
    OPTION_IMAGE = 256,
    OPTION_KERNEL,
    OPTION_INITRD,
    OPTION_APPEND,
    OPTION_DEBUG_SERIAL,
    OPTION_WEIGHTS,
    OPTION_WEIGHTS_COPY,
    OPTION_VCPUS,
    OPTION_MEMORY,
    OPTION_HUGE_PAGES,
    OPTION_LOCK_MEMORY,
    OPTION_PORT,
    OPTION_MODEL_CORES,
    OPTION_HYPERVISOR_CORES,
    OPTION_PLACEMENT,
    OPTION_NAME,
    OPTION_AUDIT,
    OPTION_WITNESS,
    OPTION_RESULT,
    OPTION_EXPECT,
    OPTION_REQUIRE,
    OPTION_ACTUATORS,
    OPTION_ALLOW_HOST_CUT,
    OPTION_FORENSICS,
    OPTION_NO_FORENSICS,
    OPTION_RUNTIME_DIR,
    OPTION_STATE_DIR,
    OPTION_WATCHDOG_DEVICE,
    OPTION_SYSFS,
    OPTION_UUID,
    OPTION_POLICY,
    OPTION_ACCEPT_LEVEL_RESET,
    OPTION_HELP,
};

static const struct {
    struct option option;
    const char *argument;
    const char *help;
} run_options_table[] = {
    {{"image", 1, NULL, OPTION_IMAGE}, "FILE", "cell image: static ELF64 executable"},
    {{"kernel", 1, NULL, OPTION_KERNEL},
     "FILE",
     "Linux guest: its kernel, a bzImage or a vmlinux with a PVH entry"},
    {{"initrd", 1, NULL, OPTION_INITRD}, "FILE", "Linux guest: its initial file system"},
    {{"append", 1, NULL, OPTION_APPEND}, "TEXT", "Linux guest: its kernel's command line"},
    {{"debug-serial", 0, NULL, OPTION_DEBUG_SERIAL},
     NULL,
     "Linux guest: a serial port (earlyprintk=serial) whose output goes to the console port"},
    {{"weights", 1, NULL, OPTION_WEIGHTS}, "FILE", "map FILE read-only into the cell (repeatable)"},
    {{"weights-copy", 1, NULL, OPTION_WEIGHTS_COPY},
     "FILE",
     "same, as a private copy that later changes of FILE cannot reach"},
    {{"vcpus", 1, NULL, OPTION_VCPUS}, "N", "virtual CPUs, 1 to 16 (default 1)"},
    {{"memory", 1, NULL, OPTION_MEMORY},
     "SIZE",
     "memory of the model, e.g. 256MiB (default 128MiB + a quarter of the weights)"},
    {{"huge-pages", 1, NULL, OPTION_HUGE_PAGES},
     "MODE",
     "auto, none, transparent or reserved: pages of the memory (default auto)"},
    {{"lock-memory", 0, NULL, OPTION_LOCK_MEMORY},
     NULL,
     "all memory is in RAM before the model runs, and stays there"},
    {{"port", 1, NULL, OPTION_PORT},
     "KIND[:NAME]",
     "grant a port (kinds: console, message, clock, entropy, log, loopback)"},
    {{"policy", 1, NULL, OPTION_POLICY},
     "FILE",
     "rules for the ports' requests (docs/policy.md); without any, grants and limits decide"},
    {{"model-cores", 1, NULL, OPTION_MODEL_CORES}, "CPUS", "host CPUs for vCPUs, e.g. 2-5"},
    {{"hypervisor-cores", 1, NULL, OPTION_HYPERVISOR_CORES}, "CPUS", "host CPUs for mediation"},
    {{"placement", 1, NULL, OPTION_PLACEMENT},
     "MODE",
     "isolated: cores of its own; exclusive: nothing else runs there, or no launch; shared: other "
     "VMs may use them too (default "
     "$GUILLOTINE_PLACEMENT, "
     "else isolated)"},
    {{"name", 1, NULL, OPTION_NAME}, "NAME", "name of the VM (default: generated)"},
    {{"audit", 1, NULL, OPTION_AUDIT},
     "FILE.audit",
     "audit log (default: NAME.audit in the state directory)"},
    {{"witness", 1, NULL, OPTION_WITNESS},
     "FILE",
     "append every signed checkpoint of the audit log to FILE too"},
    {{"result", 1, NULL, OPTION_RESULT}, "FILE", "write how the run ended as JSON"},
    {{"expect", 1, NULL, OPTION_EXPECT},
     "OUTCOME",
     "exit 0 only if the run ends as exit:N or violation:KIND[,KIND]"},
    {{"require", 1, NULL, OPTION_REQUIRE},
     "LEVEL",
     "none, basic or strict: refuse to run with less isolation (default none)"},
    {{"actuators", 1, NULL, OPTION_ACTUATORS},
     "FILE",
     "what cuts the VM off (default: " ACTUATOR_CONFIG_DEFAULT ", else simulated)"},
    {{"forensics", 0, NULL, OPTION_FORENSICS},
     NULL,
     "reserve room for an encrypted image of the memory, made at Offline"},
    {{"no-forensics", 0, NULL, OPTION_NO_FORENSICS},
     NULL,
     "Offline scrubs without a copy (default without a key set)"},
    {{"runtime-dir", 1, NULL, OPTION_RUNTIME_DIR},
     "DIR",
     "where control sockets live (root: /run/guillotine, else $XDG_RUNTIME_DIR/guillotine)"},
    {{"state-dir", 1, NULL, OPTION_STATE_DIR},
     "DIR",
     "where levels, the register and audit logs live (root: /var/lib/guillotine, else "
     "~/.local/state/guillotine)"},
    {{"uuid", 1, NULL, OPTION_UUID},
     "UUID",
     "the VM that this is: its level applies, whatever its name and files (docs/register.md)"},
    {{"accept-level-reset", 0, NULL, OPTION_ACCEPT_LEVEL_RESET},
     NULL,
     "start at Standard although the VM was isolated; audited; only without a key set"},
    {{"watchdog-device", 1, NULL, OPTION_WATCHDOG_DEVICE},
     "DEV",
     "write to this watchdog of the hardware; it resets the host if this process hangs or dies"},
    {{"allow-host-cut", 0, NULL, OPTION_ALLOW_HOST_CUT},
     NULL,
     "permit what takes the host itself down: on_failure: reboot, actuators on its own power or "
     "default route"},
    {{"sysfs", 1, NULL, OPTION_SYSFS},
     "DIR",
     "where memory errors are counted (default /sys; for tests)"},
    {{"help", 0, NULL, OPTION_HELP}, NULL, "this text"},
};

#define OPTION_COUNT (sizeof(run_options_table) / sizeof(run_options_table[0]))

static int help(void)
{
    printf("Usage: guillotine run [OPTIONS] FILE.json [-- ARGUMENTS]\n"
           "       guillotine run [OPTIONS] --image FILE [-- ARGUMENTS]\n"
           "       guillotine run [OPTIONS] --kernel FILE [--initrd FILE] [-- INIT'S ARGUMENTS]\n"
           "\n"
           "Runs the VM that FILE.json describes (docs/vm-file.md); options override it. The\n"
           "command behaves like any program: standard input and output are the model's\n"
           "console port (if one is granted), Ctrl-C stops the VM, the exit status is the\n"
           "model's (0 to 63) or says what went wrong (docs/exit-codes.md).\n"
           "\n"
           "Options:\n");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char left[64];
        snprintf(left, sizeof(left), "--%s%s%s", run_options_table[i].option.name,
                 run_options_table[i].argument ? " " : "",
                 run_options_table[i].argument ? run_options_table[i].argument : "");
        printf("  %-26s %s\n", left, run_options_table[i].help);
    }
    printf("\n"
           "Examples:\n"
           "  guillotine run demo.json -- --prompt 'The lighthouse'\n"
           "  guillotine run --image llm.elf --weights demo.gguf --port console -- --tokens 50\n"
           "  guillotine run --expect violation:write-code --image attack.elf\n"
           "  guillotine run --kernel vmlinuz --initrd initrd.gz --port console --append quiet\n");
    return EXIT_STATUS_OK;
}

static int replace_string(char **target, const char *text, struct error *err)
{
    char *copy = strdup(text);
    if (!copy)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "option");
    free(*target);
    *target = copy;
    return 0;
}

static int add_weights(struct vm_description *vm, const char *path, bool copy, struct error *err)
{
    if (vm->weights_count == VMM_MAX_WEIGHTS)
        return error_set(err, EXIT_STATUS_USAGE, 0, "more than %u weights files", VMM_MAX_WEIGHTS);
    vm->weights[vm->weights_count].copy = copy;
    return replace_string(&vm->weights[vm->weights_count++].path, path, err);
}

static int add_port(struct vm_description *vm, const char *text, struct error *err)
{
    char kind[64];
    const char *colon = strchr(text, ':');
    snprintf(kind, sizeof(kind), "%.*s", colon ? (int)(colon - text) : (int)strlen(text), text);
    return vm_description_add_port(vm, kind, colon ? colon + 1 : kind, err);
}

static int set_name(struct vm_description *vm, const char *name, struct error *err)
{
    if (!vm_name_is_valid(name))
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "--name %s: use lower-case letters, digits and '-', at most 63", name);
    memcpy(vm->name, name, strlen(name) + 1);
    return 0;
}

// Applies one option to the description or to `options`.
static int apply(int option, const char *value, struct run_options *options,
                 struct vm_description *vm, struct error *err)
{
    uint64_t number;
    switch (option) {
    case OPTION_IMAGE:
        vm->linux_guest.given = false;
        return replace_string(&vm->image, value, err);
    case OPTION_KERNEL:
        vm->linux_guest.given = true;
        return replace_string(&vm->image, value, err);
    case OPTION_INITRD:
        return replace_string(&vm->linux_guest.initrd, value, err);
    case OPTION_APPEND:
        return replace_string(&vm->linux_guest.command_line, value, err);
    case OPTION_DEBUG_SERIAL:
        vm->linux_guest.debug_serial = true;
        return 0;
    case OPTION_WEIGHTS:
    case OPTION_WEIGHTS_COPY:
        return add_weights(vm, value, option == OPTION_WEIGHTS_COPY, err);
    case OPTION_VCPUS:
        if (number_parse(value, 1, VMM_MAX_VCPUS, &number, err) < 0)
            return error_wrap(err, "--vcpus");
        vm->vcpus = (uint32_t)number;
        return 0;
    case OPTION_MEMORY:
        if (number_parse_size(value, &vm->memory_bytes, err) < 0)
            return error_wrap(err, "--memory");
        if (vm->memory_bytes < VM_MEMORY_MIN || vm->memory_bytes > VM_MEMORY_MAX)
            return error_set(err, EXIT_STATUS_USAGE, 0, "--memory %s: use 1MiB to 1024GiB", value);
        return 0;
    case OPTION_HUGE_PAGES:
        return vm_huge_pages_parse(value, &vm->huge_pages, err) < 0
                   ? error_wrap(err, "--huge-pages")
                   : 0;
    case OPTION_LOCK_MEMORY:
        vm->lock_memory = true;
        return 0;
    case OPTION_PORT:
        return add_port(vm, value, err);
    case OPTION_MODEL_CORES:
        vm->model_cores_given = true;
        return cpu_list_parse(value, &vm->model_cores, err);
    case OPTION_HYPERVISOR_CORES:
        vm->hypervisor_cores_given = true;
        return cpu_list_parse(value, &vm->hypervisor_cores, err);
    case OPTION_PLACEMENT:
        vm->placement_given = true;
        return vm_placement_parse(value, vm, err) < 0 ? error_wrap(err, "--placement") : 0;
    case OPTION_NAME:
        return set_name(vm, value, err);
    case OPTION_POLICY:
        options->policy = value;
        return 0;
    case OPTION_AUDIT:
        options->audit = value;
        if (strlen(value) < 7 || strcmp(value + strlen(value) - 6, ".audit"))
            return error_set(err, EXIT_STATUS_USAGE, 0,
                             "--audit %s: an audit log's name ends in .audit", value);
        return 0;
    case OPTION_WITNESS:
        options->witness = value;
        return 0;
    case OPTION_RESULT:
        options->result = value;
        return 0;
    case OPTION_EXPECT:
        options->expect = value;
        return run_report_expect_check(value, err);
    case OPTION_REQUIRE:
        vm->require_given = true;
        return vm_require_parse(value, &vm->require, err);
    case OPTION_ACTUATORS:
        options->actuators = value;
        return 0;
    case OPTION_FORENSICS:
    case OPTION_NO_FORENSICS:
        vm->forensics_given = true;
        vm->forensics = option == OPTION_FORENSICS;
        return 0;
    case OPTION_RUNTIME_DIR:
        options->runtime_dir = value;
        return 0;
    case OPTION_STATE_DIR:
        options->state_dir = value;
        return 0;
    case OPTION_WATCHDOG_DEVICE:
        options->watchdog_device = value;
        return 0;
    case OPTION_ALLOW_HOST_CUT:
        options->allow_host_cut = true;
        return 0;
    case OPTION_SYSFS:
        options->sysfs = value;
        return 0;
    case OPTION_UUID:
        vm->uuid_given = true;
        if (!uuid_parse(value, &vm->uuid))
            return error_set(err, EXIT_STATUS_USAGE, 0, "--uuid %s: not a version 4 UUID", value);
        return 0;
    case OPTION_ACCEPT_LEVEL_RESET:
        options->accept_level_reset = true;
        return 0;
    default:
        return error_set(err, EXIT_STATUS_USAGE, 0, "bad option; see guillotine run --help");
    }
}

// Parses the command line twice: first for the VM file, then for the options that override it.
static int parse(int argc, char **argv, struct run_options *options, struct vm_description *vm,
                 struct error *err)
{
    struct option table[OPTION_COUNT + 1] = {{0}};
    int dashes = 1;
    for (size_t i = 0; i < OPTION_COUNT; i++)
        table[i] = run_options_table[i].option;
    while (dashes < argc && strcmp(argv[dashes], "--"))
        dashes++;
    options->model_arguments = argv + dashes + 1;
    options->model_argument_count = argc > dashes + 1 ? argc - dashes - 1 : 0;

    for (int pass = 0; pass < 2; pass++) {
        optind = 0;
        opterr = 0;
        int option;
        while ((option = getopt_long(dashes, argv, ":", table, NULL)) >= 0) {
            if (option == '?' || option == ':')
                return error_set(err, EXIT_STATUS_USAGE, 0,
                                 option == ':' ? "%s needs a value"
                                               : "unknown option %s; see guillotine run --help",
                                 argv[optind - 1]);
            if (option == OPTION_HELP)
                exit(help());
            if (pass == 1 && apply(option, optarg, options, vm, err) < 0)
                return -1;
        }
        if (pass == 0 && dashes - optind > 1)
            return error_set(
                err, EXIT_STATUS_USAGE, 0,
                "more than one VM file: %s, %s (arguments for the model come after --)",
                argv[optind], argv[optind + 1]);
        if (pass == 0 && optind < dashes) {
            options->file = argv[optind];
            if (vm_file_load(options->file, vm, err) < 0)
                return -1;
        }
    }
    return weights_parts_complete(vm, err);
}

// Rules that are given here take the place of the file's.
static int apply_policy(struct vm_description *vm, const char *path, struct error *err)
{
    policy_document_free(&vm->policy);
    if (policy_document_load(path, &vm->policy, err) < 0)
        return -1;
    vm->policy_given = true;
    return vm_description_check_policy(vm, &vm->policy, err);
}

static void note_seeds(const struct vm_description *vm)
{
    for (uint32_t i = 0; i < vm->port_count; i++) {
        if (vm->ports[i].kind == VMM_PORT_ENTROPY && vm->ports[i].options.entropy.seeded)
            fprintf(
                stderr,
                "guillotine: note: port %s: its bytes follow from the seed in the VM file: they "
                "are not random\n",
                vm->ports[i].name);
    }
}

static int complete(struct vm_description *vm, const struct run_options *options, struct error *err)
{
    if (!vm->image)
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "nothing to run: give a VM file, --image or --kernel; see guillotine run "
                         "--help");
    if (!vm->linux_guest.given && (vm->linux_guest.initrd || vm->linux_guest.command_line))
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "--initrd and --append are for Linux guests: give --kernel");
    const char *placement = getenv("GUILLOTINE_PLACEMENT");
    if (!vm->placement_given && placement && *placement &&
        vm_placement_parse(placement, vm, err) < 0)
        return error_wrap(err, "GUILLOTINE_PLACEMENT");
    // Nothing of a strict VM is shared with others, or can be paged out.
    if (vm->require == VMM_REQUIRE_STRICT && vm->placement_shared)
        return error_set(err, EXIT_STATUS_HOST_REFUSED, 0,
                         "--require strict: a VM with --placement shared has no core of its own");
    if (vm->require == VMM_REQUIRE_STRICT) {
        vm->lock_memory = true;
        for (unsigned i = 0; i < vm->weights_count; i++)
            vm->weights[i].copy = true;
    }
    note_seeds(vm);
    // Arguments after -- replace those of the file.
    if (options->model_argument_count) {
        for (unsigned i = 0; i < vm->argument_count; i++)
            free(vm->arguments[i]);
        vm->argument_count = 0;
        for (int i = 0; i < options->model_argument_count; i++) {
            if (vm_description_add_argument(vm, options->model_arguments[i], err) < 0)
                return -1;
        }
    }
    if (vm->linux_guest.given && vm_linux_check(vm, err) < 0)
        return -1;
    if (options->policy && apply_policy(vm, options->policy, err) < 0)
        return -1;
    if (!vm->name[0]) {
        uint32_t random;
        if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
            return error_set(err, EXIT_STATUS_INTERNAL, errno, "getrandom");
        snprintf(vm->name, sizeof(vm->name), "vm-%08x", random);
        vm->name_generated = true;
        if (isatty(STDERR_FILENO))
            fprintf(stderr, "guillotine: the VM is named %s\n", vm->name);
    }
    return 0;
}

// The directories, and where the audit log goes.
struct run_places {
    char runtime_dir[PATH_MAX];
    char state_dir[PATH_MAX];
    char audit[PATH_MAX];
};

static int find_places(const struct run_options *options, struct supervisor *supervisor,
                       struct run_places *places, struct error *err)
{
    const struct vm_description *vm = &supervisor->vm;
    char name[VM_NAME_SIZE + 16];
    const char *given = options->audit ? options->audit : vm->audit_path;
    if (paths_runtime_dir(options->runtime_dir, places->runtime_dir, err) < 0 ||
        paths_state_dir(options->state_dir, places->state_dir, err) < 0)
        return -1;
    snprintf(name, sizeof(name), "audit/%s.audit", vm->name);
    if (!given && paths_join(places->audit, places->state_dir, name, err) < 0)
        return -1;
    if (given && snprintf(places->audit, PATH_MAX, "%s", given) >= PATH_MAX)
        return error_set(err, EXIT_STATUS_USAGE, ENAMETOOLONG, "%s", given);
    supervisor->state_dir = places->state_dir;
    supervisor->audit_place = (struct audit_place){
        .path = places->audit,
        .state_dir = places->state_dir,
        .witness = options->witness ? options->witness : vm->audit_witness,
        .rotate_bytes = vm->audit_rotate_bytes,
        .budget_bytes = vm->audit_budget_bytes,
    };
    return 0;
}

// A configuration that is no good is found before the model runs, not when it has to be cut off.
static int find_actuators(const struct run_options *options, struct supervisor *supervisor,
                          struct error *err)
{
    static struct actuator_config config; // large
    supervisor->allow_host_cut = options->allow_host_cut;
    if (actuator_config_find(options->actuators, supervisor->actuators, err) < 0)
        return -1;
    if (!supervisor->actuators[0])
        return 0;
    if (actuator_config_load(supervisor->actuators, &config, err) < 0)
        return -1;
    actuator_config_free(&config);
    return 0;
}

// This process sees payloads and keys: none of it goes into a core file, or to a debugger of the
// same user.
static void leave_no_core(void)
{
    const struct rlimit none = {0};
    prctl(PR_SET_DUMPABLE, 0);
    setrlimit(RLIMIT_CORE, &none);
}

static void block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGPIPE);
    // Job control would stop the supervisor and leave the model running. Reading the terminal from
    // the background then fails with EIO, which counts as the end of the input.
    sigaddset(&set, SIGTSTP);
    sigaddset(&set, SIGTTIN);
    sigaddset(&set, SIGTTOU);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

static int report(const struct supervisor *supervisor, const struct run_options *options)
{
    struct error err;
    int status = run_report_status(supervisor);
    run_report_print(supervisor);
    if (options->result && run_report_write(supervisor, options->result, &err) < 0)
        status = cli_fail(&err);
    if (options->expect && supervisor->outcome != RUN_FAILED)
        status = run_report_expect(supervisor, options->expect);
    return status;
}

int cli_run(int argc, char **argv)
{
    static struct supervisor supervisor; // large, and zero from the start
    struct run_options options = {0};
    struct error err = {0};
    struct error kvm_error = {0};
    static struct run_places places;

    block_signals();
    leave_no_core();
    // The VMM starts first and creates its VM on another core while the files are read here. If
    // they are no good it goes away with its channel.
    cleanup_fd int kvm_fd = -1;
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            return help();
    }
    kvm_fd = kvm_device_open(&kvm_error);
    bool started = kvm_fd >= 0 && vmm_process_start(&supervisor.process, kvm_fd, &kvm_error) == 0;

    int result = parse(argc, argv, &options, &supervisor.vm, &err);
    if (result == 0)
        result = complete(&supervisor.vm, &options, &err);
    if (result == 0)
        result = find_places(&options, &supervisor, &places, &err);
    if (result == 0)
        result = find_actuators(&options, &supervisor, &err);
    if (result == 0 && !started) {
        err = kvm_error;
        result = -1;
    }
    int status;
    if (result < 0) {
        if (kvm_fd >= 0)
            vmm_process_end(&supervisor.process);
        status = cli_fail(&err);
    } else {
        supervisor.heartbeat.watchdog_path = options.watchdog_device;
        supervisor.heartbeat.machine_root = options.sysfs;
        supervisor.heartbeat.allow_host_cut = options.allow_host_cut;
        supervisor.accept_level_reset = options.accept_level_reset;
        supervisor.vm_file = options.file;
        supervisor_run(&supervisor, places.runtime_dir);
        status = report(&supervisor, &options);
    }
    supervisor_free(&supervisor);
    return status;
}
