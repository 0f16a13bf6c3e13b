// SPDX-License-Identifier: Apache-2.0
// The VM file (guillotine-vm/1): one JSON document that describes a VM (docs/vm-file.md).
#ifndef MONITOR_VM_FILE_H
#define MONITOR_VM_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "detector.h"
#include "error.h"
#include "number.h"
#include "policy_document.h"
#include "uuid.h"
#include "vmm_protocol.h"

#define VM_FILE_FORMAT    "guillotine-vm/1"
#define VM_NAME_SIZE      64
#define VM_FILE_MAX_BYTES (1u << 20)
#define VM_MAX_ARGUMENTS  1024u
#define VM_MEMORY_MIN     (1ull << 20)
#define VM_MEMORY_MAX     (1ull << 40)

struct vm_weights {
    char *path; // as given on the command line, or resolved against the VM file's folder
    bool copy;
    bool sealed; // refuse weights that are not sealed
};

// What happens when the process of a port's backend dies.
struct vm_restart {
    uint32_t max;      // restarts in the whole run; 0: never
    uint32_t delay_ms; // before the first; doubles with each, up to 10 s
};

#define VM_RESTART_DEFAULT                                                                         \
    {                                                                                              \
        .max = 3, .delay_ms = 100                                                                  \
    }

// What becomes of the host when a fail-safe path took the VM Offline.
enum vm_on_failure {
    VM_ON_FAILURE_STOP,   // nothing: the VM is stopped
    VM_ON_FAILURE_REBOOT, // it is restarted; only with `run --allow-host-cut`
};

// What a kind of port makes of its "settings": a structure or a table that only its own program
// reads. Owned.
struct vm_settings {
    void *bytes; // NULL: none
    size_t length;
};

// Wipes and frees what a kind keeps.
void vm_settings_free(struct vm_settings *settings);

// Pages that a VM's memory is made of.
enum vm_huge_pages {
    VM_HUGE_PAGES_AUTO,        // reserved ones if enough are free, else transparent ones if offered
    VM_HUGE_PAGES_NONE,        // 4 KiB
    VM_HUGE_PAGES_TRANSPARENT, // 2 MiB where the kernel finds some
    VM_HUGE_PAGES_RESERVED,    // 2 MiB of hugetlbfs, or none
};

// A Linux guest, whose kernel is the VM's image.
struct vm_linux {
    bool given;
    bool no_clock;      // KVM's paravirtual clock is not offered
    bool debug_serial;  // a serial port whose output goes to the console port
    char *initrd;       // NULL: none
    char *command_line; // of the kernel; NULL: empty
};

// Memory of a Linux guest if nobody says how much, and the least that it can have.
#define VM_LINUX_MEMORY_DEFAULT (512ull << 20)
#define VM_LINUX_MEMORY_MIN     (64ull << 20)

// A VM as described; zero means "not given" (run fills defaults). Strings are owned.
struct vm_description {
    char name[VM_NAME_SIZE];
    bool name_generated; // by `run`: it identifies nothing
    bool uuid_given;
    struct uuid uuid;
    char *image;
    struct vm_linux linux_guest;
    char **arguments;
    uint32_t argument_count;
    uint32_t vcpus;
    uint64_t memory_bytes;
    enum vm_huge_pages huge_pages;
    bool lock_memory;     // and touch all of it before the model runs
    bool numa_node_given; // else the node of the model cores
    uint32_t numa_node;
    struct vm_weights weights[VMM_MAX_WEIGHTS];
    uint32_t weights_count;
    bool model_cores_given;
    bool hypervisor_cores_given;
    struct cpu_list model_cores;
    struct cpu_list hypervisor_cores;
    bool placement_given;     // the next line is
    bool placement_shared;    // its cores may run other VMs too
    bool placement_exclusive; // nothing else runs on them, from before the first entry
    struct vmm_port_config ports[VMM_MAX_PORTS];
    struct vm_restart restarts[VMM_MAX_PORTS];  // of the ports with a process
    struct vm_settings settings[VMM_MAX_PORTS]; // of the ports' kinds
    uint32_t port_count;
    bool detectors_given;
    struct detector_settings detectors;
    bool policy_given;
    struct policy_document policy; // of the ports, compiled
    uint64_t doorbell_interval_us;
    bool doorbell_interval_given;
    uint64_t idle_spin_us;
    bool idle_spin_given;
    uint32_t poller_threads; // 0: one for each hypervisor core that is given
    char *audit_path;
    char *audit_witness;          // file to which every checkpoint is appended too
    uint64_t audit_rotate_bytes;  // a log's file is not longer than this; 0: one file
    uint64_t audit_budget_bytes;  // of the log in all; 0: no limit
    uint64_t audit_records_per_s; // most that the model may cause; 0: no limit
    uint64_t audit_burst;
    bool forensics_given;
    bool forensics; // an encrypted image of the memory is made at Offline
    bool require_given;
    enum vmm_require require;
    uint32_t heartbeat_period_ms;          // 0: HEARTBEAT_PERIOD_DEFAULT_MS
    uint32_t heartbeat_operator_period_ms; // 0: no heartbeats of an operator are expected
    enum vm_on_failure on_failure;
};

// Reads and checks a VM file into a zeroed description. Relative paths are resolved against the
// file's folder. Refusals have status EXIT_STATUS_BAD_FILE and a one-line message with file, line,
// column and JSON pointer: "demo.json:7:5: /ports/0/rate: unknown key (known: name, kind, ...)".
int vm_file_load(const char *path, struct vm_description *vm, struct error *err);

// Same, for text in memory; `path` is for messages and for resolving relative paths.
int vm_file_parse(const char *path, const char *text, size_t length, struct vm_description *vm,
                  struct error *err);

// Adds a port with the defaults of its kind, as `run --port KIND[:NAME]` does.
int vm_description_add_port(struct vm_description *vm, const char *kind, const char *name,
                            struct error *err);

// Checks what a Linux guest cannot have, once everything has been read.
int vm_linux_check(const struct vm_description *vm, struct error *err);

// Checks that a policy is about ports that a description has.
int vm_description_check_policy(const struct vm_description *vm,
                                const struct policy_document *policy, struct error *err);

// Name of a port kind, or of one of its operations; NULL if there is none of that number.
const char *vm_port_kind_name(uint32_t kind);
const char *vm_port_operation_name(uint32_t kind, uint32_t number);

// Adds one argument (copied).
int vm_description_add_argument(struct vm_description *vm, const char *argument, struct error *err);

// True if `name` matches [a-z0-9][a-z0-9-]{0,62}.
bool vm_name_is_valid(const char *name);

// Parses "auto", "none", "transparent" or "reserved".
int vm_huge_pages_parse(const char *text, enum vm_huge_pages *pages, struct error *err);

// Parses "isolated", "exclusive" or "shared".
int vm_placement_parse(const char *text, struct vm_description *vm, struct error *err);

// Parses "none", "basic" or "strict".
int vm_require_parse(const char *text, enum vmm_require *require, struct error *err);

void vm_description_free(struct vm_description *vm);

#endif
