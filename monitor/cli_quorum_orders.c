// SPDX-License-Identifier: Apache-2.0
// guillotine quorum propose, submit, status: what is about one VM.
#include <dirent.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "actuator_config.h"
#include "cleanup.h"
#include "cli_quorum.h"
#include "clock.h"
#include "control_server.h"
#include "hex.h"
#include "key_set_store.h"
#include "paths.h"
#include "policy_document.h"
#include "sha256.h"
#include "vm_at_rest.h"
#include "vm_file.h"
#include "whole_file.h"

#define ANSWER_MAX     4096
#define DEFAULT_LIFE_S (15 * 60)
#define OWN_ANSWER     "the supervisor's answer"
#define COUNT(array)   (sizeof(array) / sizeof((array)[0]))
#define AT(member)     offsetof(struct quorum_answer, member)

// What a supervisor says of its VM.
struct quorum_answer {
    char level[16];
    uint8_t vm[16];
    uint8_t deployment[16];
    uint64_t last_sequence;
    uint64_t orders_from_s;
    bool has_keys;
    bool demo;
    uint64_t version;
    uint64_t keys;
    uint64_t raise;
    uint64_t lower;
    bool proposed;
    char from[16];
    char to[16];
    uint64_t sequence;
    uint64_t expires_s;
    uint64_t signatures;
    char reason[LEVEL_ORDER_TEXT_SIZE];
};

static int ignore(const struct json_place *place, void *target, struct error *err)
{
    (void)place;
    (void)target;
    (void)err;
    return 0;
}

static int read_key_set(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {"version", json_field_u64, true, AT(version), 1, UINT64_MAX},
        {"keys", json_field_u64, true, AT(keys), 1, LEVEL_MAX_KEYS},
        {"raise", json_field_u64, true, AT(raise), 1, LEVEL_MAX_KEYS},
        {"lower", json_field_u64, true, AT(lower), 1, LEVEL_MAX_KEYS},
        {"demo", json_field_bool, true, AT(demo), 0, 0},
    };
    struct quorum_answer *answer = target;
    if (!place->value)
        return 0;
    answer->has_keys = true;
    return json_read_object(place, fields, COUNT(fields), target, err);
}

static int read_proposal(const struct json_place *place, void *target, struct error *err)
{
    static const struct json_field fields[] = {
        {"from", canonical_field_text, true, AT(from), 1, 16},
        {"to", canonical_field_text, true, AT(to), 1, 16},
        {"sequence", json_field_u64, true, AT(sequence), 1, UINT64_MAX},
        {"expires_s", json_field_u64, true, AT(expires_s), 0, UINT64_MAX},
        {"signatures", json_field_u64, true, AT(signatures), 0, LEVEL_MAX_KEYS},
        {"reason", canonical_field_text, true, AT(reason), 0, LEVEL_ORDER_TEXT_SIZE},
    };
    struct quorum_answer *answer = target;
    if (!place->value)
        return 0;
    answer->proposed = true;
    return json_read_object(place, fields, COUNT(fields), target, err);
}

// Asks a VM for what orders are bound to; `text` is its answer as it came. One that does not run
// has its answer on disk, unless `state_dir` is NULL.
static int ask_quorum(const char *runtime_dir, const char *state_dir, const char *vm,
                      char text[ANSWER_MAX], struct quorum_answer *answer, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "format", .read = ignore, .required = true},
        {.key = "name", .read = ignore, .required = true},
        {"vm", canonical_field_uuid, true, AT(vm), 0, 0},
        {"deployment", canonical_field_uuid, true, AT(deployment), 0, 0},
        {"level", canonical_field_text, true, AT(level), 1, 16},
        {"last_sequence", json_field_u64, true, AT(last_sequence), 0, LEVEL_ORDER_INTEGER_MAX - 1},
        {"orders_from_s", json_field_u64, false, AT(orders_from_s), 0, LEVEL_ORDER_INTEGER_MAX},
        {.key = "key_set", .read = read_key_set, .required = true},
        {.key = "proposal", .read = read_proposal, .required = true},
    };
    static const struct control_question question = {.operation = "quorum"};
    cleanup_json_document struct json_document document = {0};
    cleanup_fd int fd = vm_name_is_valid(vm) ? control_connect(runtime_dir, vm, err) : -1;
    *answer = (struct quorum_answer){0};
    int asked = fd >= 0     ? control_ask(fd, &question, text, ANSWER_MAX, NULL, err)
                : state_dir ? vm_at_rest_describe(state_dir, vm, text, ANSWER_MAX, err)
                            : -1;
    if (asked < 0 ||
        json_document_parse(&document, OWN_ANSWER, text, strlen(text), ANSWER_MAX, err) < 0)
        return -1;
    struct json_place root = json_document_root(&document);
    return json_read_object(&root, fields, COUNT(fields), answer, err);
}

static int check_name(const char *vm, struct error *err)
{
    return vm_name_is_valid(vm)
               ? 0
               : error_set(err, EXIT_STATUS_USAGE, 0, "give the name of a VM that runs");
}

// Only of a document that could be put in force.
static int digest_document(const char *path, uint8_t digest[SHA256_BYTES], struct error *err)
{
    struct policy_document document = {0};
    cleanup_free char *text = NULL;
    size_t length;
    if (whole_file_read(path, CONTROL_MESSAGE_MAX, &text, &length, err) < 0 ||
        policy_document_parse(path, text, length, &document, err) < 0)
        return -1;
    policy_document_free(&document);
    const struct sha256_piece piece = {text, length};
    sha256_pieces(&piece, 1, digest);
    return 0;
}

// The order that the options describe, bound to the VM as it is now.
static int fill_order(const struct quorum_options *options, const struct quorum_answer *answer,
                      struct level_order *order, struct error *err)
{
    enum level to = level_parse(options->arguments[1]);
    enum level from = level_parse(answer->level);
    bool withdraws = !strcmp(options->arguments[1], "withdraw");
    bool loosens = !strcmp(options->arguments[1], "policy");
    uint64_t now_s = clock_wall_ns(&clock_host) / NS_PER_S;
    if (!answer->has_keys)
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "VM %s runs without a key set: levels only rise (guillotine isolate)",
                         options->arguments[0]);
    if (loosens != (options->argument_count == 3))
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "propose VM LEVEL, VM withdraw, or VM policy FILE");
    if ((to == LEVEL_COUNT && !withdraws && !loosens) || from == LEVEL_COUNT)
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "'%s' is not a level: use standard, probation, severed, offline, "
                         "decapitation, immolation, or withdraw, or policy FILE",
                         options->arguments[1]);
    if (to == from)
        return error_set(err, EXIT_STATUS_USAGE, 0, "VM %s is at %s already", options->arguments[0],
                         answer->level);
    if (!options->reason || !options->reason[0] || strlen(options->reason) >= LEVEL_ORDER_TEXT_SIZE)
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "propose: say why with --reason, in at most %u bytes",
                         LEVEL_ORDER_TEXT_SIZE - 1);
    if (options->repaired &&
        (!options->repaired[0] || strlen(options->repaired) >= LEVEL_ORDER_TEXT_SIZE))
        return error_set(err, EXIT_STATUS_USAGE, 0, "--repaired: 1 to %u bytes",
                         LEVEL_ORDER_TEXT_SIZE - 1);
    // After a loss, no order that lowers counts which a clock that is ahead may have issued before.
    // This one is dated ahead in turn.
    if (now_s < answer->orders_from_s && (to < from || loosens)) {
        uint64_t ahead_s = answer->orders_from_s - now_s;
        if (ahead_s > LEVEL_ORDER_SKEW_S)
            return error_set(err, EXIT_STATUS_FAILURE, 0,
                             "the state of VM %s was lost just now: try again in %llu s",
                             options->arguments[0],
                             (unsigned long long)(ahead_s - LEVEL_ORDER_SKEW_S));
        now_s = answer->orders_from_s;
    }
    *order = (struct level_order){
        .sequence = answer->last_sequence + 1,
        .issued_s = now_s,
        .expires_s = now_s + (options->expires_s ? options->expires_s : DEFAULT_LIFE_S),
        .key_set = answer->version,
        .kind = withdraws ? LEVEL_ORDER_WITHDRAW
                : loosens ? LEVEL_ORDER_POLICY
                          : LEVEL_ORDER_SET,
        .from = from,
        .to = withdraws || loosens ? from : to,
        .repaired = options->repaired != NULL,
    };
    memcpy(order->deployment, answer->deployment, sizeof(order->deployment));
    memcpy(order->vm, answer->vm, sizeof(order->vm));
    randombytes_buf(order->nonce, sizeof(order->nonce));
    if (loosens && digest_document(options->arguments[2], order->policy, err) < 0)
        return -1;
    snprintf(order->reason, sizeof(order->reason), "%s", options->reason);
    snprintf(order->repair, sizeof(order->repair), "%s",
             options->repaired ? options->repaired : "");
    return 0;
}

int quorum_propose(const struct quorum_options *options, struct error *err)
{
    char runtime_dir[PATH_MAX];
    char state_dir[PATH_MAX];
    char text[ANSWER_MAX];
    struct quorum_answer answer;
    struct signed_order signed_order = {0};
    cleanup_free char *file = NULL;
    if (paths_runtime_dir(options->runtime_dir, runtime_dir, err) < 0 ||
        paths_state_dir(options->state_dir, state_dir, err) < 0 ||
        ask_quorum(runtime_dir, state_dir, options->arguments[0], text, &answer, err) < 0 ||
        fill_order(options, &answer, &signed_order.order, err) < 0 ||
        signed_order_format(&signed_order, &file, err) < 0)
        return -1;
    if (!options->out) {
        printf("%s", file);
        return 0;
    }
    if (whole_file_write(options->out, file, strlen(file), 0644, true, err) < 0)
        return -1;
    enum level to = (enum level)signed_order.order.to;
    bool lowers =
        to < (enum level)signed_order.order.from || signed_order.order.kind == LEVEL_ORDER_POLICY;
    uint64_t needed = lowers ? answer.lower : answer.raise;
    if (options->json) {
        printf("{\"format\":\"" CONTROL_FORMAT "\",\"keys\":%" PRIu64 ",\"needed\":%" PRIu64
               ",\"demo\":%s}\n",
               answer.keys, needed, answer.demo ? "true" : "false");
        return 0;
    }
    fprintf(stderr, "guillotine: %s: %" PRIu64 " of %" PRIu64 " administrators have to sign%s\n",
            options->out, needed, answer.keys, answer.demo ? " (a key set for DEMONSTRATION)" : "");
    return 0;
}

// The VM that runs here with the order's UUID.
static unsigned find_vm(const char *runtime_dir, const struct level_order *order,
                        char name[VM_NAME_SIZE])
{
    static const char suffix[] = ".sock";
    unsigned found = 0;
    DIR *folder = opendir(runtime_dir);
    struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        char other[sizeof(entry->d_name)];
        char text[ANSWER_MAX];
        struct quorum_answer answer;
        size_t length = strlen(entry->d_name);
        if (length <= strlen(suffix) || strcmp(entry->d_name + length - strlen(suffix), suffix))
            continue;
        snprintf(other, sizeof(other), "%.*s", (int)(length - strlen(suffix)), entry->d_name);
        if (!vm_name_is_valid(other) ||
            ask_quorum(runtime_dir, NULL, other, text, &answer, NULL) < 0 ||
            memcmp(answer.vm, order->vm, sizeof(answer.vm)) != 0)
            continue;
        snprintf(name, VM_NAME_SIZE, "%s", other);
        found++;
    }
    if (folder)
        closedir(folder);
    return found;
}

static int submit_at_rest(const struct quorum_options *options, const struct signed_order *order,
                          struct error *err)
{
    char state_dir[PATH_MAX];
    char config[PATH_MAX];
    const struct vm_at_rest_actuators actuators = {
        .config = config,
        .allow_host_cut = options->allow_host_cut,
    };
    enum level level;
    if (options->propose)
        return error_set(err, EXIT_STATUS_USAGE, 0,
                         "the VM does not run: there is nothing that a proposal could hold");
    if (paths_state_dir(options->state_dir, state_dir, err) < 0 ||
        actuator_config_find(options->actuators, config, err) < 0 ||
        vm_at_rest_order(state_dir, &actuators, order, &level, err) < 0)
        return error_wrap(err, "%s", options->arguments[0]);
    if (options->json)
        printf("{\"format\":\"" CONTROL_FORMAT "\",\"level\":\"%s\",\"running\":false}\n",
               level_name(level));
    return 0;
}

int quorum_submit(const struct quorum_options *options, struct error *err)
{
    char runtime_dir[PATH_MAX];
    char found[VM_NAME_SIZE];
    char answer[ANSWER_MAX];
    cleanup_free char *text = NULL;
    size_t length;
    struct signed_order signed_order;
    const char *path = options->arguments[0];
    const char *vm = options->argument_count > 1 ? options->arguments[1] : NULL;
    if (paths_runtime_dir(options->runtime_dir, runtime_dir, err) < 0 ||
        whole_file_read(path, SIGNED_ORDER_MAX, &text, &length, err) < 0)
        return -1;
    // The supervisor decides; a file that is none is refused here too, with its place. It goes
    // there as it is.
    if (!vm) {
        if (signed_order_parse(path, text, length, &signed_order, err) < 0)
            return -1;
        unsigned count = find_vm(runtime_dir, &signed_order.order, found);
        if (count > 1)
            return error_set(err, EXIT_STATUS_FAILURE, 0,
                             "more than one VM of the order runs here: name it behind the file");
        if (!count)
            return submit_at_rest(options, &signed_order, err);
        vm = found;
    }
    const struct control_question question = {
        .operation = options->propose ? "propose" : "order",
        .body = text,
        .body_length = length,
    };
    if (check_name(vm, err) < 0)
        return -1;
    cleanup_fd int fd = control_connect(runtime_dir, vm, err);
    if (fd < 0 && signed_order_parse(path, text, length, &signed_order, err) == 0)
        return submit_at_rest(options, &signed_order, err);
    if (fd < 0 || control_ask(fd, &question, answer, sizeof(answer), NULL, err) < 0)
        return error_wrap(err, "%s", path);
    if (options->json)
        printf("%s\n", answer);
    return 0;
}

static void print_answer(const struct quorum_answer *answer)
{
    struct quorum_document proposal = {.is_order = true};
    char uuid[UUID_TEXT_SIZE];
    uuid_bytes_format(uuid, answer->vm);
    printf("vm %s, deployment ", uuid);
    uuid_bytes_format(uuid, answer->deployment);
    printf("%s\nlevel %s, last order %" PRIu64 "\n", uuid, answer->level, answer->last_sequence);
    if (answer->has_keys)
        printf("key set %" PRIu64 "%s: %" PRIu64 " keys, %" PRIu64 " raise, %" PRIu64 " lower\n",
               answer->version, answer->demo ? " (DEMONSTRATION)" : "", answer->keys, answer->raise,
               answer->lower);
    else
        printf("no key set: levels only rise\n");
    if (!answer->proposed)
        return;
    proposal.order.order = (struct level_order){
        .kind = LEVEL_ORDER_SET,
        .from = level_parse(answer->from),
        .to = level_parse(answer->to),
        .sequence = answer->sequence,
        .expires_s = answer->expires_s,
    };
    proposal.order.list.count = (uint32_t)answer->signatures;
    snprintf(proposal.order.order.reason, LEVEL_ORDER_TEXT_SIZE, "%s", answer->reason);
    printf("open proposal:\n");
    quorum_document_print(&proposal);
}

// Without a VM: the key set on disk.
static int show_store(const struct quorum_options *options, struct error *err)
{
    static struct quorum_document document;
    char state_dir[PATH_MAX];
    if (paths_state_dir(options->state_dir, state_dir, err) < 0)
        return -1;
    int found = key_set_load(state_dir, &document.key_set, err);
    if (found < 0)
        return -1;
    if (options->json) {
        printf("{\"format\":\"" CONTROL_FORMAT "\",\"key_set_version\":%" PRIu64 ",\"demo\":%s}\n",
               document.key_set.set.version, document.key_set.set.demo ? "true" : "false");
    } else if (found) {
        quorum_document_print(&document);
    } else {
        printf("no key set: levels only rise\n");
    }
    return 0;
}

int quorum_status(const struct quorum_options *options, struct error *err)
{
    char runtime_dir[PATH_MAX];
    char state_dir[PATH_MAX];
    char text[ANSWER_MAX];
    struct quorum_answer answer;
    if (!options->argument_count)
        return show_store(options, err);
    if (paths_runtime_dir(options->runtime_dir, runtime_dir, err) < 0 ||
        paths_state_dir(options->state_dir, state_dir, err) < 0 ||
        ask_quorum(runtime_dir, state_dir, options->arguments[0], text, &answer, err) < 0)
        return -1;
    if (options->json)
        printf("%s\n", text);
    else
        print_answer(&answer);
    return 0;
}
