// SPDX-License-Identifier: Apache-2.0
// What guillotine-tool gets of a tool port's settings: which server to start, in which sandbox, and
// which of its tools exist for the model.
#ifndef BASE_TOOL_GRANT_H
#define BASE_TOOL_GRANT_H

#include <stddef.h>
#include <stdint.h>

#define TOOL_GRANT_FORMAT "guillotine-tool/3"

#define TOOL_MAX_ARGUMENTS 64u
#define TOOL_MAX_VARIABLES 64u
#define TOOL_MAX_PATHS     16u
#define TOOL_MAX_TOOLS     64u
#define TOOL_NAME_MAX      128u
#define TOOL_PATH_MAX      4096u // of a remote server's endpoint
#define TOOL_TEXTS_MAX     (256u << 10)
#define TOOL_START_MS_MAX  600000u
#define TOOL_MAX_PROCESSES 4096u

#define TOOL_MEMORY_MIN (16ull << 20)
#define TOOL_MEMORY_MAX (1ull << 40)

// Terminated texts follow, in this order: arguments, variables ("NAME=value"), paths to read, paths
// to write, the server's working directory; then for each tool its name, the SHA-256 that it is
// pinned with (64 digits; empty: not pinned), and the schema of its arguments (JSON; empty: the
// server's own alone).
struct tool_grant {
    char format[24];
    uint32_t argument_count;
    uint32_t variable_count;
    uint32_t read_count;
    uint32_t write_count;
    uint32_t tool_count;
    uint32_t network;      // 1: the server has the host's network
    uint32_t start_ms;     // until the server has listed its tools
    uint32_t processes;    // of the server, threads included
    uint64_t memory_bytes; // data of each of its processes
    uint32_t text_bytes;
    uint32_t remote; // 1: the one argument is the path of a server that speaks HTTP
};
_Static_assert(sizeof(struct tool_grant) == 72, "format");
_Static_assert(offsetof(struct tool_grant, memory_bytes) == 56, "format");
_Static_assert(offsetof(struct tool_grant, text_bytes) == 64, "format");

// Descriptors of its program for a remote server, behind those of every backend process: a
// struct http_grant in constant memory, then enum http_fd.
#define TOOL_FD_HTTP_GRANT 0u
#define TOOL_FD_HTTP_FILES 1u
#define TOOL_FDS_MAX       4u

#endif
