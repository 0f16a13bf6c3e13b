// SPDX-License-Identifier: Apache-2.0
// The simulated actuator: a file says what a device would be. It cuts nothing, and every event
// about it says so.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "actuator_arming.h"
#include "actuator_driver.h"
#include "cleanup.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// From least to most; what an action leaves is never less than what was.
static const char *const states[] = {"on", "off", "cut-for-good", "destroyed"};

#define STATE_ON  0u
#define STATE_OFF 1u

static const char *temporary_name(const char *path, char temporary[PATH_MAX], struct error *err)
{
    if (snprintf(temporary, PATH_MAX, "%s.%d", path, getpid()) < PATH_MAX)
        return temporary;
    error_fill(err, EXIT_STATUS_BAD_FILE, ENAMETOOLONG, "%s", path);
    return NULL;
}

// Reads the file; without one, nothing was ever cut.
static int read_file(const char *path, unsigned *state, struct error *err)
{
    char text[32];
    struct stat status;
    *state = STATE_ON;
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(err, EXIT_STATUS_BAD_FILE, errno, "%s", path);
    ssize_t n = S_ISREG(status.st_mode) ? read(fd, text, sizeof(text) - 1) : -1;
    text[n > 0 ? n : 0] = '\0';
    for (*state = 0; *state < COUNT(states); ++*state) {
        size_t length = strlen(states[*state]);
        if (n == (ssize_t)length + 1 && !memcmp(text, states[*state], length) &&
            text[length] == '\n')
            return 0;
    }
    return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s does not hold a simulated state", path);
}

static int write_file(const char *path, unsigned state, struct error *err)
{
    char temporary[PATH_MAX];
    char text[32];
    if (!temporary_name(path, temporary, err))
        return -1;
    unlink(temporary);
    cleanup_fd int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "%s", temporary);
    int length = snprintf(text, sizeof(text), "%s\n", states[state]);
    errno = 0;
    if (write(fd, text, (size_t)length) == length && fsync(fd) == 0 && rename(temporary, path) == 0)
        return 0;
    int code = errno;
    unlink(temporary);
    return error_set(err, EXIT_STATUS_RESOURCES, code, "write %s", path);
}

static enum actuator_fired simulated_fire(const struct actuator_call *call, struct error *err)
{
    static const unsigned wanted[ACTUATOR_ACTION_COUNT] = {
        [ACTUATOR_CUT] = 1, [ACTUATOR_CUT_FOR_GOOD] = 2, [ACTUATOR_DESTROY] = 3};
    const char *path = call->actuator->state_file;
    unsigned state;
    // The default file lies there.
    cleanup_fd int folder = actuator_folder_open(call->state_dir, err);
    if (folder < 0 || read_file(path, &state, err))
        return ACTUATOR_FIRED_REFUSED;
    if (call->action == ACTUATOR_RESTORE && state > STATE_OFF) {
        error_fill(err, EXIT_STATUS_FAILURE, 0, "%s cannot be restored", states[state]);
        return ACTUATOR_FIRED_REFUSED;
    }
    if (call->action == ACTUATOR_RESTORE || state < wanted[call->action])
        state = wanted[call->action];
    return write_file(path, state, err) ? ACTUATOR_FIRED_REFUSED : ACTUATOR_FIRED_DONE;
}

static int simulated_read_back(const struct actuator_call *call, enum actuator_state *state,
                               struct error *err)
{
    unsigned found;
    if (read_file(call->actuator->state_file, &found, err))
        return -1;
    // Each class has its own step from which on it counts as done.
    *state = found > (unsigned)call->actuator->class ? ACTUATOR_STATE_OFF : ACTUATOR_STATE_ON;
    return 0;
}

const struct actuator_driver actuator_simulated = {
    .name = "simulated",
    .actions = 1u << ACTUATOR_CUT | 1u << ACTUATOR_RESTORE | 1u << ACTUATOR_CUT_FOR_GOOD |
               1u << ACTUATOR_DESTROY,
    .simulated = true,
    .fire = simulated_fire,
    .read_back = simulated_read_back,
};
