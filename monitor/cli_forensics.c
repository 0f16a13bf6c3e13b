// SPDX-License-Identifier: Apache-2.0
// guillotine forensics: lists and opens the images that Offline leaves.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli.h"
#include "cli_options.h"
#include "clock.h"
#include "escape.h"
#include "forensic_image.h"
#include "level.h"
#include "paths.h"
#include "quorum_key.h"

struct options {
    const char *state_dir;
    const char *key;
    const char *passphrase_file;
    const char *vm_key;
    const char *out;
    const char *file;
    bool json;
    bool help;
};

static int help(void)
{
    printf("Usage: guillotine forensics list [--json]\n"
           "       guillotine forensics open FILE --out CORE [--key ADMIN.key]\n"
           "\n"
           "Images of a VM's memory and registers, made when it goes Offline (run --forensics).\n"
           "An image opens only with the key of one administrator (if there was a key set) and\n"
           "the VM's key, which Immolation destroys. That one lies in a file, not in a TPM or\n"
           "token: that its disk forgets it is best effort. What open writes is not encrypted.\n"
           "\n"
           "Options:\n"
           "  --key FILE               an administrator's key file\n"
           "  --passphrase-file FILE   its passphrase, on the first line (else it is asked)\n"
           "  --vm-key FILE            the VM's key (default: ID.key in the state directory)\n"
           "  --out FILE               a new file for the core\n"
           "  --json                   one array on standard output\n"
           "  --state-dir DIR          with images and keys\n"
           "\n"
           "Examples:\n"
           "  guillotine forensics list\n"
           "  guillotine forensics open demo-20260102T030405Z.core --key alice.key --out demo.elf\n"
           "  gdb model.elf demo.elf\n");
    return EXIT_STATUS_OK;
}

static int load_vm_key(const struct options *options, int fd, struct vm_key *key, struct error *err)
{
    struct forensic_header header;
    char state_dir[PATH_MAX];
    if (forensic_image_read_header(fd, &header, err) < 0)
        return -1;
    if (options->vm_key)
        return vm_key_load_file(options->vm_key, key, err);
    if (paths_state_dir(options->state_dir, state_dir, err) < 0)
        return -1;
    return vm_key_load(state_dir, header.id, key, err);
}

// Opens the image into a new file. What is not whole is removed.
static int extract(const struct options *options, int fd, const struct vm_key *key,
                   const uint8_t *seed, struct error *err)
{
    cleanup_fd int out =
        open(options->out, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (out < 0)
        return error_set(err, EXIT_STATUS_FAILURE, errno, "%s", options->out);
    if (forensic_image_open(fd, key, seed, out, err) == 0)
        return 0;
    unlink(options->out);
    return -1;
}

static int open_image(const struct options *options, struct error *err)
{
    const struct quorum_passphrase passphrase = {.file = options->passphrase_file};
    struct quorum_key administrator = {0};
    struct vm_key key;
    cleanup_fd int fd = open(options->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", options->file);
    if (load_vm_key(options, fd, &key, err) < 0)
        return error_wrap(err, "%s", options->file);
    int result = options->key ? quorum_key_load(options->key, &passphrase, &administrator, err) : 0;
    // An Ed25519 secret key begins with its seed.
    const uint8_t *seed = options->key ? administrator.secret : NULL;
    if (result == 0 && extract(options, fd, &key, seed, err) < 0)
        result = error_wrap(err, "%s", options->file);
    quorum_key_clear(&administrator);
    vm_key_wipe(&key);
    return result;
}

static void print_image(const char *path, const struct forensic_header *header, bool json,
                        bool *first)
{
    char shown[PATH_MAX * 2];
    char time[32] = "";
    struct tm tm;
    time_t seconds = (time_t)(header->wall_ns / NS_PER_S);
    struct stat status = {0};
    stat(path, &status);
    if (gmtime_r(&seconds, &tm))
        strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%SZ", &tm);
    escape_line(shown, sizeof(shown), path, strlen(path));
    if (json)
        printf("%s{\"file\":\"%s\",\"vm\":\"%s\",\"time\":\"%s\",\"administrators\":%u,"
               "\"bytes\":%lld}",
               *first ? "" : ",", shown, header->id, time, header->administrators,
               (long long)status.st_size);
    else
        printf("%s  %-20s %2u administrators  %8lld KiB  %s\n", time, header->id,
               header->administrators, (long long)status.st_size >> 10, shown);
    *first = false;
}

static bool is_image_name(const char *name)
{
    size_t length = strlen(name);
    return length > 5 && !strcmp(name + length - 5, ".core") &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.TZ") == length;
}

static int list(const struct options *options, struct error *err)
{
    char state_dir[PATH_MAX];
    char folder[PATH_MAX];
    char path[PATH_MAX];
    struct forensic_header header;
    bool first = true;
    if (paths_state_dir(options->state_dir, state_dir, err) < 0 ||
        paths_join(folder, state_dir, "forensics", err) < 0)
        return -1;
    DIR *directory = opendir(folder);
    if (!directory && errno != ENOENT)
        return error_set(err, EXIT_STATUS_FAILURE, errno, "%s", folder);
    if (options->json)
        putchar('[');
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (!is_image_name(entry->d_name) || paths_join(path, folder, entry->d_name, err) < 0)
            continue;
        cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
        if (fd >= 0 && forensic_image_read_header(fd, &header, NULL) == 0)
            print_image(path, &header, options->json, &first);
        else
            fprintf(stderr, "guillotine: %s: not an image that this version reads\n", path);
    }
    if (directory)
        closedir(directory);
    if (options->json)
        puts("]");
    return 0;
}

static int parse(int argc, char **argv, struct options *options)
{
    const struct cli_option table[] = {
        {"key", &options->key, NULL},
        {"passphrase-file", &options->passphrase_file, NULL},
        {"vm-key", &options->vm_key, NULL},
        {"out", &options->out, NULL},
        {"state-dir", &options->state_dir, NULL},
        {"json", NULL, &options->json},
    };
    // argv[1] is the verb.
    int usage = cli_options_take("forensics", argc - 1, argv + 1, table, 6, &options->help);
    if (usage)
        return usage;
    optind++;
    if (optind < argc)
        options->file = argv[optind++];
    return optind < argc ? cli_usage("forensics", "unexpected argument %s", argv[optind]) : 0;
}

int cli_forensics(int argc, char **argv)
{
    struct options options = {0};
    struct error err = {0};
    if (argc < 2)
        return help(), EXIT_STATUS_USAGE;
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
        return help();
    int status = parse(argc, argv, &options);
    if (status)
        return status;
    if (options.help)
        return help();
    if (!strcmp(argv[1], "list") && !options.file)
        return list(&options, &err) < 0 ? cli_fail(&err) : EXIT_STATUS_OK;
    if (strcmp(argv[1], "open"))
        return cli_usage("forensics", "unknown command '%s'", argv[1]);
    if (!options.file || !options.out)
        return cli_usage("forensics", "open needs an image and --out CORE");
    return open_image(&options, &err) < 0 ? cli_fail(&err) : EXIT_STATUS_OK;
}
