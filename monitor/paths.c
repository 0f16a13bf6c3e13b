// SPDX-License-Identifier: Apache-2.0
// Where things live.
#include "paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int paths_join(char path[PATH_MAX], const char *folder, const char *name, struct error *err)
{
    int length = snprintf(path, PATH_MAX, "%s/%s", folder, name);
    if (length < 0 || length >= PATH_MAX)
        return error_set(err, EXIT_STATUS_USAGE, ENAMETOOLONG, "%s/%s", folder, name);
    return 0;
}

// Makes a directory that only its owner may enter, with its missing parents. An existing one must
// belong to this user: in a shared place somebody else could have made it first.
static int make_private(const char *path, struct error *err)
{
    struct stat status;
    if (mkdir(path, 0700) < 0 && errno == ENOENT) {
        char parents[PATH_MAX];
        snprintf(parents, sizeof(parents), "%s", path);
        for (char *slash = parents + 1; (slash = strchr(slash, '/')); slash++) {
            *slash = '\0';
            if (mkdir(parents, 0755) < 0 && errno != EEXIST)
                return error_set(err, EXIT_STATUS_RESOURCES, errno, "create %s", parents);
            *slash = '/';
        }
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
            return error_set(err, EXIT_STATUS_RESOURCES, errno, "create %s", path);
    }
    if (lstat(path, &status) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "create %s", path);
    if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 022))
        return error_set(
            err, EXIT_STATUS_RESOURCES, 0,
            "%s is not a directory that only this user can write: use --runtime-dir or "
            "--state-dir",
            path);
    return 0;
}

static int fill(char path[PATH_MAX], struct error *err, const char *folder, const char *rest)
{
    int length = snprintf(path, PATH_MAX, "%s%s", folder, rest);
    if (length < 0 || length >= PATH_MAX)
        return error_set(err, EXIT_STATUS_USAGE, ENAMETOOLONG, "%s%s", folder, rest);
    return make_private(path, err);
}

int paths_runtime_dir(const char *given, char path[PATH_MAX], struct error *err)
{
    const char *folder = getenv("XDG_RUNTIME_DIR");
    char fallback[64];
    if (given)
        return fill(path, err, given, "");
    if (geteuid() == 0)
        return fill(path, err, "/run/guillotine", "");
    if (folder && folder[0] == '/')
        return fill(path, err, folder, "/guillotine");
    snprintf(fallback, sizeof(fallback), "/tmp/guillotine-%u", geteuid());
    return fill(path, err, fallback, "");
}

int paths_state_dir(const char *given, char path[PATH_MAX], struct error *err)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    char audit[PATH_MAX];
    int result;
    if (given)
        result = fill(path, err, given, "");
    else if (geteuid() == 0)
        result = fill(path, err, "/var/lib/guillotine", "");
    else if (state && state[0] == '/')
        result = fill(path, err, state, "/guillotine");
    else if (home && home[0] == '/')
        result = fill(path, err, home, "/.local/state/guillotine");
    else
        return error_set(err, EXIT_STATUS_USAGE, 0, "no home directory: use --state-dir");
    return result < 0 ? -1 : paths_state_folder(path, "audit", audit, err);
}

int paths_state_folder(const char *state_dir, const char *name, char path[PATH_MAX],
                       struct error *err)
{
    return paths_join(path, state_dir, name, err) < 0 ? -1 : make_private(path, err);
}

// A file beside the running executable, or at `installed` from there.
static int find(const char *name, const char *installed, int mode, char path[PATH_MAX],
                struct error *err)
{
    char self[PATH_MAX];
    char other[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (length < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "read /proc/self/exe");
    self[length] = '\0';
    char *slash = strrchr(self, '/');
    if (slash)
        *slash = '\0';
    if (paths_join(path, self, name, err) < 0)
        return -1;
    if (access(path, mode) == 0)
        return 0;
    int code = errno;
    snprintf(other, sizeof(other), "%s/%s", installed, name);
    if (paths_join(path, self, other, err) < 0)
        return -1;
    if (access(path, mode) == 0)
        return 0;
    return error_set(err, EXIT_STATUS_INTERNAL, code, "%s/%s", self, name);
}

int paths_sibling(const char *program, char path[PATH_MAX], struct error *err)
{
    return find(program, "../libexec/guillotine", X_OK, path, err);
}

int paths_data(const char *name, char path[PATH_MAX], struct error *err)
{
    return find(name, "../share/guillotine", R_OK, path, err);
}
