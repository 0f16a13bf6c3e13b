// SPDX-License-Identifier: Apache-2.0
// The host's files (/proc, /sys, /dev, /run), below a folder that tests and recordings can replace.
//
// Paths are relative to that folder, without a leading slash: "sys/devices/system/cpu/online".
#ifndef MONITOR_HOST_ROOT_H
#define MONITOR_HOST_ROOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "number.h"

// Longest text that the functions below handle; lists of CPUs and tables of the kernel fit.
#define HOST_TEXT_MAX 65536u

struct host_root {
    int fd;     // of the folder; -1: not open
    bool real;  // it is "/": system calls about this host say something about it
    int record; // folder that gets a copy of what is read; -1: none
};

#define HOST_ROOT_NONE ((struct host_root){.fd = -1, .record = -1})

// Opens a folder as the root; NULL stands for "/". Returns -1 with EXIT_STATUS_BAD_FILE if it is
// none.
int host_root_open(struct host_root *root, const char *folder, struct error *err);

void host_root_close(struct host_root *root);

// Reads a file into `text` (terminated, without the newlines at its end; what does not fit is cut).
// Returns its length, or -1 with errno.
int host_read(const struct host_root *root, const char *path, char *text, size_t size);

// Same, for a number or a list of CPUs. False if there is none.
bool host_read_u64(const struct host_root *root, const char *path, uint64_t *value);
bool host_read_cpus(const struct host_root *root, const char *path, struct cpu_list *cpus);

// True if the file says exactly that.
bool host_says(const struct host_root *root, const char *path, const char *text);

bool host_has(const struct host_root *root, const char *path);

// Writes `text` with one system call, as files of the kernel want it. Below another root the file
// is made if it is not there. Returns -1 with errno.
int host_write(const struct host_root *root, const char *path, const char *text);

// Calls `each` for every name in a folder, in the order of bytes, until it returns false. Returns
// false if there is no such folder.
bool host_each(const struct host_root *root, const char *path,
               bool (*each)(void *context, const char *name), void *context);

#endif
