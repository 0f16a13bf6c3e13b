// SPDX-License-Identifier: Apache-2.0
// Key sets and what the installation remembers of them.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "key_set_store.h"
#include "vm_state_internal.h"

static int load(const char *state_dir, struct deployment *deployment, struct vm_register *reg,
                struct key_set_pin *pin, struct error *err)
{
    if (deployment_open(deployment, state_dir, err) < 0 ||
        vm_register_open(reg, deployment->folder, deployment->key, err) < 0)
        return -1;
    return state_find_keys(deployment, reg, pin, err);
}

int key_set_load(const char *state_dir, struct key_set_file *file, struct error *err)
{
    struct deployment deployment = {.folder = -1};
    struct vm_register reg = {.fd = -1};
    struct key_set_pin pin = {0};
    // Asking makes no installation.
    cleanup_fd int folder = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat status;
    bool exists =
        folder >= 0 && fstatat(folder, "keys/state.key", &status, AT_SYMLINK_NOFOLLOW) == 0;
    int result = exists ? load(state_dir, &deployment, &reg, &pin, err) : 0;
    if (result == 0)
        result = key_set_store_load(state_dir, &pin, file, err);
    vm_register_close(&reg);
    deployment_close(&deployment);
    return result;
}

int key_set_install(const char *state_dir, const struct key_set_file *file, struct error *err)
{
    struct deployment deployment = {.folder = -1};
    struct vm_register reg = {.fd = -1};
    struct key_set_pin pin;
    int result = load(state_dir, &deployment, &reg, &pin, err);
    if (result == 0)
        result = state_check_register(&deployment, &reg, err);
    if (result == 0)
        result = key_set_store_install(state_dir, &pin, file, err);
    if (result == 0)
        result = state_note_keys(&deployment, &reg, file, err);
    vm_register_close(&reg);
    deployment_close(&deployment);
    return result;
}
