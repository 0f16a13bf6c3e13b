// SPDX-License-Identifier: Apache-2.0
// The register, and which level a launch has.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vm_register.h"
#include "vm_state.h"

static char folder[] = "/tmp/guillotine-register-XXXXXX";

static void init(void)
{
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    cr_assert(mkdtemp(folder));
}

static void fini(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
}

static struct digest_set digests(uint8_t image, uint8_t weights)
{
    struct digest_set set = {.weights_count = weights ? 1 : 0};
    set.image[0] = image;
    set.weights[0][0] = weights;
    return set;
}

static int claim(struct vm_state *state, const char *name, struct digest_set set,
                 replica_permitted permitted, struct error *err)
{
    const struct vm_state_request request = {
        .name = name,
        .digests = set,
        .permitted = permitted,
    };
    *state = (struct vm_state){.fd = -1};
    cr_assert_eq(deployment_open(&state->deployment, folder, err), 0, "%s", err->text);
    int result = vm_state_claim(state, &request, err);
    if (result < 0)
        deployment_close(&state->deployment);
    return result;
}

// One whole run that ends at `level`.
static void run_to(const char *name, struct digest_set set, enum level level)
{
    struct vm_state state;
    struct error err;
    cr_assert_eq(claim(&state, name, set, NULL, &err), 0, "%s", err.text);
    cr_assert_eq(vm_state_mark_running(&state, 0, &err), 0);
    cr_assert_eq(vm_state_persist(&state, level, 0, 0, "test", &err), 0);
    cr_assert_eq(vm_state_end(&state, true, 0, &err), 0);
}

static bool permit_first(const uint8_t *digest, void *context)
{
    (void)context;
    return digest[0] == 1;
}

Test(vm_register, every_flipped_byte_and_every_lost_entry_is_damage, .init = init, .fini = fini)
{
    static const uint8_t key[STATE_KEY_BYTES] = {3};
    struct vm_register reg;
    struct error err;
    uint8_t image[3 * REGISTER_ENTRY_BYTES];
    int dir = open(folder, O_RDONLY | O_DIRECTORY);
    cr_assert_eq(vm_register_open(&reg, dir, key, &err), 0);
    for (unsigned i = 0; i < 3; i++) {
        struct register_entry entry = {.name = "vm", .digests = digests((uint8_t)i, 7)};
        cr_assert_eq(uuid_make(&entry.uuid, &err), 0);
        cr_assert_eq(vm_register_append(&reg, &entry, key, &err), 0);
    }
    cr_assert_eq(pread(reg.fd, image, sizeof(image), 0), (ssize_t)sizeof(image));
    vm_register_close(&reg);
    for (size_t offset = 0; offset < sizeof(image); offset += offset % 1024 < 160 ? 1 : 13) {
        int fd = openat(dir, "register", O_RDWR);
        uint8_t flipped = image[offset] ^ 0x40;
        cr_assert_eq(pwrite(fd, &flipped, 1, (off_t)offset), 1);
        cr_assert_eq(vm_register_open(&reg, dir, key, &err), 0);
        cr_assert(reg.damaged, "byte %zu", offset);
        cr_assert_eq(reg.count, offset / REGISTER_ENTRY_BYTES);
        struct register_entry entry = {.name = "no"};
        cr_assert_eq(vm_register_append(&reg, &entry, key, &err), -1);
        vm_register_close(&reg);
        cr_assert_eq(pwrite(fd, &image[offset], 1, (off_t)offset), 1);
        close(fd);
    }
    // Without the first, or the second.
    for (unsigned lost = 0; lost < 2; lost++) {
        uint8_t cut[2 * REGISTER_ENTRY_BYTES];
        memcpy(cut, image + (lost == 0 ? REGISTER_ENTRY_BYTES : 0), REGISTER_ENTRY_BYTES);
        memcpy(cut + REGISTER_ENTRY_BYTES, image + 2 * (size_t)REGISTER_ENTRY_BYTES,
               REGISTER_ENTRY_BYTES);
        int fd = openat(dir, "register", O_RDWR | O_TRUNC);
        cr_assert_eq(pwrite(fd, cut, sizeof(cut), 0), (ssize_t)sizeof(cut));
        close(fd);
        cr_assert_eq(vm_register_open(&reg, dir, key, &err), 0);
        cr_assert(reg.damaged);
        vm_register_close(&reg);
    }
    close(dir);
}

Test(vm_register, a_torn_end_is_no_damage_and_is_replaced, .init = init, .fini = fini)
{
    static const uint8_t key[STATE_KEY_BYTES] = {3};
    struct vm_register reg;
    struct error err;
    struct register_entry entry = {.name = "vm", .digests = digests(1, 7)};
    struct register_note note = {
        .generation = 4,
        .sequence = 5,
        .orders_from_s = 6,
        .level = LEVEL_DECAPITATION,
        .keys = {.version = 2, .sha256 = {8}},
    };
    int dir = open(folder, O_RDONLY | O_DIRECTORY);
    cr_assert_eq(uuid_make(&entry.uuid, &err), 0);
    note.uuid = entry.uuid;
    for (off_t torn = 1; torn < REGISTER_ENTRY_BYTES; torn += 341) {
        cr_assert_eq(vm_register_open(&reg, dir, key, &err), 0);
        cr_assert_eq(vm_register_append(&reg, &entry, key, &err), 0);
        off_t end = (off_t)(reg.number * REGISTER_ENTRY_BYTES);
        cr_assert_eq(vm_register_append(&reg, &entry, key, &err), 0);
        vm_register_close(&reg);
        int fd = openat(dir, "register", O_RDWR);
        cr_assert_eq(ftruncate(fd, end + torn), 0);
        close(fd);
        cr_assert_eq(vm_register_open(&reg, dir, key, &err), 0);
        cr_assert(reg.torn && !reg.damaged);
        cr_assert_eq(vm_register_append_note(&reg, &note, key, &err), 0);
        vm_register_close(&reg);
        cr_assert_eq(vm_register_open(&reg, dir, key, &err), 0);
        cr_assert(!reg.torn && !reg.damaged);
        vm_register_close(&reg);
    }
    cr_assert_eq(vm_register_open(&reg, dir, key, &err), 0);
    const struct register_note *found = vm_register_find_note(&reg, &entry.uuid);
    cr_assert(found);
    cr_assert_eq(found->generation, 4);
    cr_assert_eq(found->sequence, 5);
    cr_assert_eq(found->orders_from_s, 6);
    cr_assert_eq(found->level, LEVEL_DECAPITATION);
    cr_assert_eq(reg.keys.version, 2);
    cr_assert_eq(reg.keys.sha256[0], 8);
    cr_assert_eq(reg.count + reg.note_count, reg.number);
    vm_register_close(&reg);
    close(dir);
}

Test(vm_register, a_register_that_others_have_locked_is_given_up, .init = init, .fini = fini)
{
    static const uint8_t key[STATE_KEY_BYTES] = {3};
    struct vm_register reg;
    struct vm_register second;
    struct error err;
    int dir = open(folder, O_RDONLY | O_DIRECTORY);
    cr_assert_eq(vm_register_open(&reg, dir, key, &err), 0);
    cr_assert_eq(vm_register_open_within(&second, dir, key, 5000000, &err), -1);
    vm_register_close(&second);
    vm_register_close(&reg);
    cr_assert_eq(vm_register_open_within(&second, dir, key, 5000000, &err), 0);
    vm_register_close(&second);
    close(dir);
}

Test(vm_register, the_level_is_the_highest_of_all_that_share_a_digest, .init = init, .fini = fini)
{
    struct vm_state state;
    struct error err;
    run_to("a", digests(1, 10), LEVEL_PROBATION);
    run_to("b", digests(2, 20), LEVEL_SEVERED);
    struct digest_set both = digests(1, 20);
    cr_assert_eq(claim(&state, "c", both, NULL, &err), 0);
    cr_assert_eq(state.level, LEVEL_SEVERED);
    vm_state_end(&state, true, 0, &err);
    cr_assert_eq(claim(&state, "d", digests(9, 10), NULL, &err), 0);
    cr_assert_eq(state.level, LEVEL_PROBATION);
    vm_state_end(&state, true, 0, &err);
    cr_assert_eq(claim(&state, "e", digests(8, 80), NULL, &err), 0);
    cr_assert_eq(state.level, LEVEL_STANDARD);
    vm_state_end(&state, true, 0, &err);
    // The image is the same, but replicas of it are permitted.
    cr_assert_eq(claim(&state, "f", digests(1, 0), permit_first, &err), 0);
    cr_assert_eq(state.level, LEVEL_STANDARD);
    vm_state_end(&state, true, 0, &err);
    run_to("g", digests(5, 50), LEVEL_IMMOLATION);
    cr_assert_eq(claim(&state, "h", digests(6, 50), NULL, &err), -1);
    cr_assert_eq(err.status, EXIT_STATUS_ISOLATED);
    cr_assert(strstr(err.text, "immolation"));
}

Test(vm_register, a_launch_that_is_known_is_the_same_vm, .init = init, .fini = fini)
{
    struct vm_state state;
    struct vm_state other;
    struct error err;
    cr_assert_eq(claim(&state, "same", digests(1, 0), NULL, &err), 0);
    struct uuid first = state.uuid;
    // While it is in use, a second one is a VM of its own.
    cr_assert_eq(claim(&other, "same", digests(1, 0), NULL, &err), 0);
    cr_assert_not(uuid_equal(&first, &other.uuid));
    vm_state_end(&other, true, 0, &err);
    vm_state_end(&state, true, 0, &err);
    cr_assert_eq(claim(&state, "same", digests(2, 0), NULL, &err), 0);
    cr_assert_not(uuid_equal(&first, &state.uuid));
    vm_state_end(&state, true, 0, &err);
}

Test(vm_register, an_end_that_is_not_clean_is_offline, .init = init, .fini = fini)
{
    struct vm_state state;
    struct error err;
    cr_assert_eq(claim(&state, "a", digests(1, 0), NULL, &err), 0);
    cr_assert_eq(vm_state_mark_running(&state, 0, &err), 0);
    // A process that runs it is no unclean end: its level counts as it is.
    struct vm_state other;
    cr_assert_eq(claim(&other, "b", digests(1, 0), NULL, &err), 0);
    vm_state_end(&other, true, 0, &err);
    vm_state_end(&state, false, 0, &err);
    cr_assert_eq(claim(&state, "a", digests(1, 0), NULL, &err), -1);
    cr_assert(strstr(err.text, "cleanly"), "%s", err.text);
    cr_assert_eq(claim(&other, "b", digests(1, 0), NULL, &err), -1);
}

static void state_path(char path[128], const struct uuid *uuid)
{
    char text[UUID_TEXT_SIZE];
    uuid_format(uuid, text);
    snprintf(path, 128, "%s/vms/%s.state", folder, text);
}

Test(vm_register, no_level_falls_unless_the_register_knows, .init = init, .fini = fini)
{
    struct vm_state state;
    struct error err;
    char path[128];
    cr_assert_eq(claim(&state, "a", digests(1, 0), NULL, &err), 0);
    struct uuid uuid = state.uuid;
    cr_assert_eq(vm_state_persist(&state, LEVEL_SEVERED, 0, 0, "raised", &err), 0);
    cr_assert_eq(vm_state_persist(&state, LEVEL_STANDARD, 3, 0, "not noted", &err), -1);
    cr_assert_eq(vm_state_note_order(&state, LEVEL_STANDARD, 3, &err), 0);
    cr_assert_eq(vm_state_persist(&state, LEVEL_STANDARD, 3, 0, "noted", &err), 0);
    cr_assert_eq(vm_state_end(&state, true, 0, &err), 0);
    // The file is lost, and found to be lost; then it is written down.
    state_path(path, &uuid);
    cr_assert_eq(unlink(path), 0);
    for (unsigned i = 0; i < 2; i++) {
        struct deployment deployment;
        struct vm_register reg;
        struct state_record record;
        bool in_use;
        cr_assert_eq(claim(&state, "a", digests(1, 0), NULL, &err), -1);
        cr_assert(strstr(err.text, "missing"), "%s", err.text);
        cr_assert_eq(deployment_open(&deployment, folder, &err), 0);
        cr_assert_eq(vm_register_open(&reg, deployment.folder, deployment.key, &err), 0);
        vm_state_read(&deployment, &reg, &uuid, &record, &in_use);
        cr_assert_eq(record.level, LEVEL_OFFLINE);
        cr_assert_eq(record.sequence, 3);
        cr_assert_neq(record.orders_from_s, 0);
        cr_assert_eq(reg.note_count, 3, "the loss is noted once");
        vm_register_close(&reg);
        deployment_close(&deployment);
    }
}

Test(vm_register, an_ordinary_launch_notes_nothing, .init = init, .fini = fini)
{
    char path[128];
    struct stat status;
    for (unsigned i = 0; i < 3; i++)
        run_to("a", digests(1, 0), LEVEL_STANDARD);
    snprintf(path, sizeof(path), "%s/register", folder);
    cr_assert_eq(stat(path, &status), 0);
    cr_assert_eq(status.st_size, REGISTER_ENTRY_BYTES);
}

Test(vm_register, generation_in_the_audit_log_shows_a_rollback)
{
    struct vm_state state = {.record = {.generation = 5}};
    cr_assert_not(vm_state_is_behind(&state, 0));
    cr_assert_not(vm_state_is_behind(&state, 5));
    cr_assert(vm_state_is_behind(&state, 6));
}
