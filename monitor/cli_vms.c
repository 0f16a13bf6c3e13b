// SPDX-License-Identifier: Apache-2.0
// What commands about running VMs share.
#include "cli_vms.h"

#include <dirent.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "escape.h"
#include "vm_file.h"

int cli_vms_each(const char *runtime_dir, void (*visit)(void *context, const char *name),
                 void *context, struct error *err)
{
    DIR *folder = opendir(runtime_dir);
    if (!folder)
        return error_set(err, EXIT_STATUS_FAILURE, errno, "runtime directory %s", runtime_dir);
    for (struct dirent *entry; (entry = readdir(folder));) {
        size_t length = strlen(entry->d_name);
        if (length < 6 || strcmp(entry->d_name + length - 5, ".sock") != 0)
            continue;
        entry->d_name[length - 5] = '\0';
        if (vm_name_is_valid(entry->d_name))
            visit(context, entry->d_name);
    }
    closedir(folder);
    return 0;
}

static void put(struct escape_terminal *escape, bool terminal, const char *data, size_t length)
{
    char filtered[4096 * ESCAPE_MAX_EXPANSION + 16];
    for (size_t done = 0; done < length;) {
        size_t part = length - done < 4096 ? length - done : 4096;
        if (terminal) {
            size_t n = escape_terminal_filter(escape, filtered, data + done, part);
            fwrite(filtered, 1, n, stdout);
        } else {
            fwrite(data + done, 1, part, stdout);
        }
        done += part;
    }
}

int cli_vms_print_body(int fd, char *buffer, size_t size, size_t behind, struct error *err)
{
    struct escape_terminal escape = {0};
    bool terminal = isatty(STDOUT_FILENO) == 1;
    json_object *answer = json_tokener_parse(buffer);
    json_object *member;
    int64_t length = answer && json_object_object_get_ex(answer, "length_bytes", &member)
                         ? json_object_get_int64(member)
                         : -1;
    json_object_put(answer);
    if (length < (int64_t)behind)
        return error_set(err, EXIT_STATUS_FAILURE, 0, "the supervisor's answer is not understood");
    put(&escape, terminal, buffer + strlen(buffer) + 1, behind);
    for (int64_t left = length - (int64_t)behind; left > 0;) {
        ssize_t n = read(fd, buffer, left < (int64_t)size ? (size_t)left : size);
        if (n <= 0)
            return error_set(err, EXIT_STATUS_FAILURE, n < 0 ? errno : 0,
                             "the VM ended inside its answer");
        put(&escape, terminal, buffer, (size_t)n);
        left -= n;
    }
    if (terminal)
        fputc('\n', stdout);
    if (fflush(stdout))
        return error_set(err, EXIT_STATUS_FAILURE, errno, "standard output");
    return 0;
}
