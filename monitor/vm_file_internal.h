// SPDX-License-Identifier: Apache-2.0
// What the parts of the VM file reader share. Nobody else includes this.
#ifndef MONITOR_VM_FILE_INTERNAL_H
#define MONITOR_VM_FILE_INTERNAL_H

#include "json_text.h"
#include "vm_file.h"

#define VM_LIMIT_MAX (1ull << 40)

// Least size of an audit log's file, and of its budget.
#define VM_AUDIT_BYTES_MIN (128u << 10)

// Turns an error of a function that knows nothing of the document into one about `place`.
int vm_file_refuse_because(const struct json_place *place, const struct error *inner,
                           struct error *err);

// Refuses what is not a name, or has `size` characters or more.
int vm_file_check_name(const char *name, size_t size, struct error *err);
int vm_file_read_name(const struct json_place *place, char *name, size_t size, struct error *err);

// Reads an object of limits; what it does not name stays as it is.
int vm_file_read_limits(const struct json_place *place, struct limits_config *limits,
                        struct error *err);

// Turns a relative path, as the file gives it, into one that starts at the file's folder. *path is
// the caller's to free.
int vm_file_read_path(const struct json_place *place, char **path, struct error *err);

// The defaults of kinds of ports, and readers of their "settings" (vm_file_KIND.c).
void vm_file_block_defaults(struct vmm_port_config *config);
int vm_file_read_block(const struct json_place *place, struct vmm_port_config *config,
                       struct vm_settings *settings, struct error *err);
void vm_file_clock_defaults(struct vmm_port_config *config);
int vm_file_read_clock(const struct json_place *place, struct vmm_port_config *config,
                       struct vm_settings *settings, struct error *err);
int vm_file_read_entropy(const struct json_place *place, struct vmm_port_config *config,
                         struct vm_settings *settings, struct error *err);
void vm_file_http_defaults(struct vmm_port_config *config);
void vm_file_serve_defaults(struct vmm_port_config *config);
int vm_file_read_serve(const struct json_place *place, struct vmm_port_config *config,
                       struct vm_settings *settings, struct error *err);
int vm_file_read_http(const struct json_place *place, struct vmm_port_config *config,
                      struct vm_settings *settings, struct error *err);
void vm_file_log_defaults(struct vmm_port_config *config);
int vm_file_read_log(const struct json_place *place, struct vmm_port_config *config,
                     struct vm_settings *settings, struct error *err);
int vm_file_read_tool(const struct json_place *place, struct vmm_port_config *config,
                      struct vm_settings *settings, struct error *err);
void vm_file_store_defaults(struct vmm_port_config *config);
int vm_file_read_store(const struct json_place *place, struct vmm_port_config *config,
                       struct vm_settings *settings, struct error *err);

// Reads an object of detectors' settings; what it does not name is off.
int vm_file_read_detectors(const struct json_place *place, struct detector_settings *settings,
                           struct error *err);

// Reads "linux".
int vm_file_read_linux(const struct json_place *place, struct vm_description *vm,
                       struct error *err);

// Reads "memory".
int vm_file_read_memory(const struct json_place *place, struct vm_description *vm,
                        struct error *err);

// Reads one element of "ports" into the struct vm_description `target`.
int vm_file_read_port(const struct json_place *place, void *target, struct error *err);

#endif
