// SPDX-License-Identifier: Apache-2.0
// guillotine weights: encrypts weights for one VM, and says what is in such a file.
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "cli.h"
#include "cli_options.h"
#include "escape.h"
#include "paths.h"
#include "sealed_weights.h"

struct options {
    const char *state_dir;
    const char *vm;
    const char *vm_key;
    const char *files[2];
    unsigned file_count;
    bool json;
    bool help;
};

static int help(void)
{
    printf(
        "Usage: guillotine weights seal IN OUT --uuid ID [--vm-key FILE]\n"
        "       guillotine weights inspect [--json] FILE\n"
        "\n"
        "Sealed weights are encrypted with a key of their own, which only the key of VM ID (its\n"
        "UUID or name) opens. run decrypts them into memory, never to a disk. Whoever destroys\n"
        "the VM's key (Immolation does) destroys the model; best effort, since the key lies in\n"
        "a file, not in a TPM or token, and since the plaintext IN stays where it is.\n"
        "inspect opens every chunk and fails if one is damaged or the key is gone.\n"
        "\n"
        "Options:\n"
        "  --uuid ID         the VM; its key is made if there is none\n"
        "  --vm-key FILE     the key, instead of ID.key in the state directory\n"
        "  --json            one object on standard output\n"
        "  --state-dir DIR   with the keys\n"
        "\n"
        "Examples:\n"
        "  guillotine weights seal model.gguf model.sealed --uuid demo\n"
        "  guillotine run --name demo --image llm.elf --weights model.sealed --port console\n");
    return EXIT_STATUS_OK;
}

// The key of a VM. `make`: makes it first if there is none.
static int load_key(const struct options *options, const char *id, bool make, struct vm_key *key,
                    struct error *err)
{
    char state_dir[PATH_MAX];
    if (options->vm_key)
        return vm_key_load_file(options->vm_key, key, err);
    if (paths_state_dir(options->state_dir, state_dir, err) < 0 ||
        (make && vm_key_make(state_dir, id, err) < 0))
        return -1;
    return vm_key_load(state_dir, id, key, err);
}

static int seal(const struct options *options, struct error *err)
{
    struct vm_key key;
    char shown[512];
    if (!vm_key_id_is_valid(options->vm))
        return error_set(err, EXIT_STATUS_USAGE, 0, "--uuid: neither a UUID nor a name");
    if (load_key(options, options->vm, true, &key, err) < 0)
        return -1;
    int result = sealed_weights_seal(options->files[0], options->files[1], options->vm, &key, err);
    vm_key_wipe(&key);
    if (result < 0)
        return -1;
    escape_line(shown, sizeof(shown), options->files[0], strlen(options->files[0]));
    fprintf(stderr,
            "guillotine: note: best effort: the plaintext at %s still exists; "
            "the key lies in a file, not in a TPM or token\n",
            shown);
    return 0;
}

static int inspect(const struct options *options, struct error *err)
{
    struct sealed_header header;
    struct sealed_memory memory;
    struct vm_key key;
    char digest[2 * sizeof(header.digest) + 1];
    uint64_t ignored = 0;
    cleanup_fd int fd = open(options->files[0], O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", options->files[0]);
    if (sealed_weights_read_header(fd, &header, err) < 0 ||
        load_key(options, header.id, false, &key, err) < 0)
        return error_wrap(err, "%s", options->files[0]);
    int result = sealed_weights_open(fd, &key, &memory, err);
    vm_key_wipe(&key);
    if (result < 0 || sealed_memory_release(&memory, &ignored, err) < 0)
        return error_wrap(err, "%s", options->files[0]);
    sodium_bin2hex(digest, sizeof(digest), header.digest, sizeof(header.digest));
    bool exists = sealed_weights_original_exists(&header);
    if (options->json)
        printf("{\"format\":\"%s\",\"vm\":\"%s\",\"plain_bytes\":%llu,\"sha256\":\"%s\","
               "\"plaintext_exists\":%s,\"key\":\"file\"}\n",
               SEALED_FORMAT, header.id, (unsigned long long)header.plain_bytes, digest,
               exists ? "true" : "false");
    else
        printf("format     %s\nvm         %s\nbytes      %llu\nsha256     %s\n"
               "plaintext  %s\nkey        %s\n",
               SEALED_FORMAT, header.id, (unsigned long long)header.plain_bytes, digest,
               exists ? "still exists: best effort" : "not where it was", VM_KEY_BEST_EFFORT);
    return 0;
}

static int parse(int argc, char **argv, struct options *options)
{
    const struct cli_option table[] = {
        {"uuid", &options->vm, NULL},
        {"vm-key", &options->vm_key, NULL},
        {"state-dir", &options->state_dir, NULL},
        {"json", NULL, &options->json},
    };
    // argv[1] is the verb.
    int usage = cli_options_take("weights", argc - 1, argv + 1, table, 4, &options->help);
    if (usage)
        return usage;
    optind++;
    while (optind < argc && options->file_count < 2)
        options->files[options->file_count++] = argv[optind++];
    return optind < argc ? cli_usage("weights", "unexpected argument %s", argv[optind]) : 0;
}

int cli_weights(int argc, char **argv)
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
    if (sodium_init() < 0) {
        error_set(&err, EXIT_STATUS_INTERNAL, 0, "libsodium");
        return cli_fail(&err);
    }
    if (!strcmp(argv[1], "seal") && options.file_count == 2) {
        if (!options.vm)
            return cli_usage("weights", "seal needs --uuid ID: the VM that may run them");
        return seal(&options, &err) < 0 ? cli_fail(&err) : EXIT_STATUS_OK;
    }
    if (!strcmp(argv[1], "inspect") && options.file_count == 1)
        return inspect(&options, &err) < 0 ? cli_fail(&err) : EXIT_STATUS_OK;
    return cli_usage("weights", "give 'seal IN OUT' or 'inspect FILE'");
}
