// SPDX-License-Identifier: Apache-2.0
// Settings of the host that were changed, with what they were before.
#include "host_originals.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"

#define ORIGINALS     HOST_STATE_FOLDER "/originals"
#define ORIGINALS_NEW HOST_STATE_FOLDER "/originals.new"

// All of them; a host with thousands of interrupts stays far below.
#define ORIGINALS_MAX (4u << 20)

int host_state_open(const struct host_root *root, struct error *err)
{
    static const char *const folders[] = {"run", "run/guillotine", HOST_STATE_FOLDER};
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        if (mkdirat(root->fd, folders[i], 0755) < 0 && errno != EEXIST)
            return error_set(err, EXIT_STATUS_HOST_REFUSED, errno, "/%s", folders[i]);
    }
    return 0;
}

// The file as one text of lines "PATH\tVALUE\n", to be freed; empty if there is none.
static char *load(const struct host_root *root)
{
    char *text = malloc(ORIGINALS_MAX);
    int length = text ? host_read(root, ORIGINALS, text, ORIGINALS_MAX - 1) : 0;
    if (!text)
        return NULL;
    // host_read drops the last newline.
    if (length > 0)
        text[length++] = '\n';
    text[length > 0 ? length : 0] = '\0';
    return text;
}

// The line about `path`, or NULL.
static char *find(char *text, const char *path)
{
    size_t length = strlen(path);
    for (char *line = text; *line;) {
        char *end = strchr(line, '\n');
        if (!strncmp(line, path, length) && line[length] == '\t')
            return line;
        if (!end)
            break;
        line = end + 1;
    }
    return NULL;
}

static int store(const struct host_root *root, const char *text, struct error *err)
{
    cleanup_fd int fd =
        openat(root->fd, ORIGINALS_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_HOST_REFUSED, errno, "/" ORIGINALS_NEW);
    if (file_write(fd, text, strlen(text), err) < 0)
        return -1;
    if (renameat(root->fd, ORIGINALS_NEW, root->fd, ORIGINALS) < 0)
        return error_set(err, EXIT_STATUS_HOST_REFUSED, errno, "/" ORIGINALS);
    return 0;
}

int host_setting_original(const struct host_root *root, const char *path, char *value, size_t size)
{
    cleanup_free char *text = load(root);
    char *line = text ? find(text, path) : NULL;
    if (!line)
        return host_read(root, path, value, size);
    line += strlen(path) + 1;
    return snprintf(value, size, "%.*s", (int)strcspn(line, "\n"), line);
}

int host_setting_change(const struct host_root *root, const char *path, const char *value,
                        struct error *err)
{
    char before[HOST_SETTING_MAX];
    int length = host_read(root, path, before, sizeof(before));
    if (length < 0 || strpbrk(before, "\n\t"))
        return 1;
    if (!strcmp(before, value))
        return 0;
    cleanup_free char *text = load(root);
    if (!text)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "settings of the host");
    size_t used = strlen(text);
    bool is_new = !find(text, path);
    if (is_new) {
        int line = snprintf(text + used, ORIGINALS_MAX - used, "%s\t%s\n", path, before);
        if (line < 0 || (size_t)line >= ORIGINALS_MAX - used - 1)
            return error_set(err, EXIT_STATUS_RESOURCES, 0, "settings of the host: too many");
        if (store(root, text, err) < 0)
            return -1;
    }
    if (host_write(root, path, value) == 0)
        return 0;
    text[used] = '\0';
    return is_new && store(root, text, err) < 0 ? -1 : 1;
}

unsigned host_settings_restore(const struct host_root *root,
                               bool (*wanted)(const char *path, void *context), void *context)
{
    cleanup_free char *text = load(root);
    cleanup_free char *kept = calloc(1, ORIGINALS_MAX);
    unsigned failed = 0;
    if (!text || !kept)
        return 1;
    // The last one first: a setting may depend on one that was changed before it.
    size_t end = strlen(text);
    while (end) {
        text[end - 1] = '\0';
        char *line = strrchr(text, '\n');
        line = line ? line + 1 : text;
        end = (size_t)(line - text);
        char *value = strchr(line, '\t');
        if (!value)
            continue;
        *value++ = '\0';
        if (wanted(line, context)) {
            failed += host_write(root, line, value) < 0;
            continue;
        }
        // In front of what is kept, so that the order stays.
        char entry[HOST_SETTING_MAX + 512];
        int length = snprintf(entry, sizeof(entry), "%s\t%s\n", line, value);
        if (length < 0 || (size_t)length >= sizeof(entry))
            continue; // none of ours is that long
        memmove(kept + length, kept, strlen(kept) + 1);
        memcpy(kept, entry, (size_t)length);
    }
    struct error err;
    if (kept[0])
        failed += store(root, kept, &err) < 0;
    else
        unlinkat(root->fd, ORIGINALS, 0);
    return failed;
}
