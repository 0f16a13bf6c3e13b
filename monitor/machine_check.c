// SPDX-License-Identifier: Apache-2.0
// Uncorrected memory errors that the host's EDAC drivers have counted.
#include "machine_check.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "number.h"

// Memory controllers that are looked at: mc0 to mc63.
#define CONTROLLER_MAX 64u

static bool read_count(int root, unsigned controller, const char *name, uint64_t *count)
{
    char path[96];
    char text[32];
    snprintf(path, sizeof(path), "devices/system/edac/mc/mc%u/%s", controller, name);
    cleanup_fd int fd = openat(root, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, text, sizeof(text) - 1);
    if (length <= 0)
        return false;
    text[length] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return number_parse(text, 0, UINT64_MAX, count, NULL) == 0;
}

// Sums what is there. Nodes without memory leave gaps in the numbers.
static void sum(struct machine_check *check)
{
    uint64_t count;
    check->controllers = 0;
    check->uncorrected = check->corrected = 0;
    if (faccessat(check->root, "devices/system/edac/mc", F_OK, 0) < 0)
        return;
    for (unsigned i = 0; i < CONTROLLER_MAX; i++) {
        if (!read_count(check->root, i, "ue_count", &count))
            continue;
        check->uncorrected += count;
        check->controllers++;
        if (read_count(check->root, i, "ce_count", &count))
            check->corrected += count;
    }
}

bool machine_check_open(struct machine_check *check, const char *root)
{
    *check = (struct machine_check){.root = -1};
    check->root = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (check->root < 0)
        return false;
    sum(check);
    return true;
}

enum machine_check_finding machine_check_look(struct machine_check *check)
{
    if (check->root < 0)
        return MACHINE_CHECK_NONE;
    const struct machine_check before = *check;
    sum(check);
    if (check->controllers < before.controllers)
        return MACHINE_CHECK_UNREADABLE;
    // A count that somebody reset hides what came since: only what is higher or equal is sure.
    return check->uncorrected == before.uncorrected ? MACHINE_CHECK_NONE
                                                    : MACHINE_CHECK_UNCORRECTED;
}

void machine_check_close(struct machine_check *check)
{
    if (check->root >= 0)
        close(check->root);
    *check = (struct machine_check){.root = -1};
}
