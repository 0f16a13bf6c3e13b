// SPDX-License-Identifier: Apache-2.0
// The VMM: one VM, its vCPU threads, its ports and its poller.
#ifndef VMM_VMM_H
#define VMM_VMM_H

#include <pthread.h>
#include <stdatomic.h>

#include "backend_link.h"
#include "cell.h"
#include "fatal_signal.h"
#include "linux_guest.h"
#include "poller.h"
#include "thread_filter.h"
#include "vmm_backends.h"
#include "vmm_protocol.h"

struct forensic_area;
struct vmm;

// Where a thread goes that has exhausted its own stack.
struct thread_signal_stack {
    _Alignas(64) uint8_t bytes[FATAL_SIGNAL_STACK_BYTES];
};

struct vcpu {
    struct vmm *vmm;
    unsigned index;
    int fd;
    struct kvm_run *run;
    pthread_t thread;
    _Atomic int tid;
    _Atomic uint32_t event_count; // the private count; cell_event.count is a copy for the model
    _Atomic uint32_t parked;
    _Atomic uint32_t stopped;   // futex word: 1 once it will not enter the guest any more
    _Atomic uint32_t paused;    // futex word: 1 while it is out of guest mode and waits
    _Atomic uint64_t paused_ns; // boot-time clock: since when
    _Atomic uint64_t exits;
    struct kvm_dtable gdt; // as set at entry; compared at every exit
    struct kvm_dtable idt;
    uint64_t cr3;
    struct thread_signal_stack signal_stack;
};

// One hypervisor core's thread with what only it may touch.
struct vmm_poller {
    struct vmm *vmm;
    struct poller poller;
    struct port_fabric fabric;
    struct audit_stream audit;
    pthread_t thread;
    int doorbell_fd; // eventfd behind the doorbells of its ports
    int wake_fd;     // eventfd with which everybody else wakes it
    struct thread_signal_stack signal_stack;
};

struct vmm {
    struct vmm_config config; // private copy
    char arguments[VMM_ARGUMENTS_MAX];
    struct kvm_vm kvm;
    struct cell cell; // one of the two, as config.guest says
    struct linux_guest linux_guest;
    uint64_t xcr0;
    uint64_t isa;
    struct vcpu vcpus[VMM_MAX_VCPUS];
    struct vmm_poller pollers[VMM_MAX_POLLERS];
    struct port *ports[VMM_MAX_PORTS];
    struct vmm_backends backends;
    struct backend_link links[VMM_MAX_PORTS];    // of the ports with a process
    _Atomic uint32_t port_events[VMM_MAX_PORTS]; // enum vmm_port_event_kind to be reported, or 0
    _Atomic uint64_t escalations[VMM_MAX_PORTS]; // level << 32 | rule to be reported, or 0
    const uint8_t *policy_area;            // places for documents (struct vmm_policy); or NULL
    unsigned policy_half;                  // of them in force
    struct policy_arrays policy;           // of the document in force; no table: none
    struct policy_memory policy_memory[2]; // of the engines of each half
    struct forensic_area *forensics;       // shared with the supervisor
    const struct level_page *level_supervisor;
    struct level_page *level_own;
    int channel;            // to the supervisor
    int control_fd;         // eventfd that wakes the control thread
    int wake_supervisor_fd; // eventfd that wakes the supervisor
    int pid;                // own process, for kicks
    _Atomic uint32_t missing_layers;
    _Atomic uint32_t go;      // futex word: vCPUs may enter the guest
    _Atomic uint32_t waiting; // threads that are locked down and wait for `go`
    _Atomic uint32_t failed;  // a thread could not lock itself down
    _Atomic uint32_t stop;    // vCPUs must not enter the guest any more
    _Atomic uint32_t pause;   // futex word: 1 while vCPUs must not enter the guest
    _Atomic uint32_t ended;   // 1: somebody fills `end`; 2: it is filled
    struct vmm_end end;
    _Atomic uint32_t violated; // same for `violation`
    struct vmm_end violation;  // the first one; goes before any other end
    _Atomic uint64_t first_exit_ns;
    pthread_t watchdog;
    _Atomic uint64_t control_beat; // turns of the control thread
    struct thread_signal_stack control_stack;
    struct thread_signal_stack watchdog_stack;
};

// Before anything else: numbers the vCPUs.
void vcpus_init(struct vmm *vmm);

// Creates one vCPU; needs the VM only.
int vcpu_create(struct vmm *vmm, unsigned index, struct error *err);

// Creates the vCPUs that are missing and gives all of them their initial state.
int vcpus_prepare(struct vmm *vmm, struct error *err);

// Puts a new thread on another CPU than the caller's, if there is one: schedulers like to leave it
// where it was made until its maker sleeps. threads_place decides where it stays.
void thread_move_away(pthread_t thread);

// Starts a thread of the VMM, away from the caller's CPU.
int thread_start(pthread_t *thread, void *(*function)(void *), void *argument, struct error *err);

// Locks the calling thread down and waits until the control thread lets all of them go.
void thread_lock_and_wait(struct vmm *vmm, enum seccomp_thread kind,
                          struct thread_signal_stack *stack);

// Starts the watchdog's thread (watchdog.c). It beats in the VMM's level page, and ends the run if
// the supervisor, the control thread or a poller shows no life for a heartbeat's period.
int watchdog_start(struct vmm *vmm, struct error *err);

// Starts the first poller's thread, the watchdog's and that of vCPU 0; they lock themselves down,
// while the main thread goes on, and wait for `go`. Before the configuration is known.
int threads_start(struct vmm *vmm, struct error *err);

// Starts the threads of the other vCPUs and pollers, pins all of them as configured, and waits
// until every one is locked down.
int threads_place(struct vmm *vmm, struct error *err);

// Takes all vCPUs out of guest mode, for good, and waits until they are.
void vcpus_stop(struct vmm *vmm);

// Takes all vCPUs out of guest mode until vcpus_resume. Waits at most `timeout_ns`; returns how
// many are out.
unsigned vcpus_pause(struct vmm *vmm, uint64_t timeout_ns);

void vcpus_resume(struct vmm *vmm);

// Raises a vCPU's event count and wakes it if it is parked. Any thread; no system call unless it
// is parked. `context` is the struct vmm.
void vcpu_raise_event(void *context, unsigned index);

// Ends the run with a report, the first one wins. Any thread.
void vmm_report(struct vmm *vmm, const struct vmm_end *end);

// Describes the exit that a vCPU just made as a violation (violation_report.c).
void violation_describe(const struct vcpu *vcpu, struct vmm_end *end);

// Maps the policy document, if there is one (port_table.c).
int port_table_open_policy(struct vmm *vmm, int fd, struct error *err);

// Puts the document in one half of the policy area in force at all ports, or none: false if it is
// not sound, or too large. On the control thread; in force once the pollers have made a pass
// (port_table.c).
bool port_table_use_policy(struct vmm *vmm, unsigned half, uint64_t bytes);

// Raises the own level page, tells the supervisor. On the serving thread; `context` is the struct
// vmm (port_table.c).
void port_table_escalate(void *context, uint16_t port, uint32_t level, uint32_t rule);

// The poller that serves a port.
static inline struct vmm_poller *vmm_poller_of(struct vmm *vmm, unsigned port)
{
    return &vmm->pollers[vmm->config.ports[port].poller];
}

// Makes the ports of the configuration from the table of backends (port_table.c).
int port_table_create(struct vmm *vmm, const int *fds, struct error *err);

// Locked-down life of the control thread: serves the channel until the run ends. Returns the
// process's exit status.
int control_run(struct vmm *vmm);

#endif
