// SPDX-License-Identifier: Apache-2.0
// vCPU threads: enter the guest, forward exits, park, stop.
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cpu_tables.h"
#include "forensics.h"
#include "thread_filter.h"
#include "violation.h"
#include "vmm.h"

// Enough for KVM_RUN and the exit path; more would only be private memory.
#define THREAD_STACK_BYTES (64u << 10)

// How long vcpus_stop waits before it kicks again.
#define KICK_AGAIN_NS 10000000

static long futex(_Atomic uint32_t *word, int operation, uint32_t value,
                  const struct timespec *timeout)
{
    return syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, timeout, NULL, 0);
}

static int set_state(struct vcpu *vcpu, const struct kvm_sregs *sregs, struct error *err)
{
    struct kvm_regs regs = {
        .rip = vcpu->vmm->cell.image.entry.value,
        .rsp = cell_stack_base(vcpu->index).value + CELL_STACK_BYTES,
        .rdi = CELL_GVA_INFO,
        .rsi = vcpu->index,
        .rflags = 0x202, // IOPL 0
    };
    if (kvm_ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0)
        return error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_SET_REGS");
    vcpu->gdt = sregs->gdt;
    vcpu->idt = sregs->idt;
    vcpu->cr3 = sregs->cr3;
    vcpu->run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
    return 0;
}

void vcpus_init(struct vmm *vmm)
{
    for (unsigned i = 0; i < VMM_MAX_VCPUS; i++) {
        vmm->vcpus[i].vmm = vmm;
        vmm->vcpus[i].index = i;
        vmm->vcpus[i].fd = -1;
    }
}

int vcpu_create(struct vmm *vmm, unsigned index, struct error *err)
{
    struct vcpu *vcpu = &vmm->vcpus[index];
    vcpu->fd = kvm_vcpu_create(&vmm->kvm, index, &vcpu->run, err);
    return vcpu->fd < 0 ? -1 : 0;
}

static int prepare_one(struct vcpu *vcpu, struct error *err)
{
    struct vmm *vmm = vcpu->vmm;
    if (vmm->config.guest == VMM_GUEST_LINUX)
        return linux_guest_prepare_vcpu(vcpu, err);
    struct kvm_sregs sregs;
    struct kvm_xcrs xcrs = {.nr_xcrs = 1};
    if (kvm_ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
        return error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_GET_SREGS");
    cpu_state_init(&sregs, vmm->cell.tables.base, vcpu->index,
                   cpuid_profile_cr4(&vmm->kvm.profile));
    if (kvm_ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) < 0)
        return error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_SET_SREGS");
    xcrs.xcrs[0].value = vmm->xcr0;
    if (vmm->xcr0 && kvm_ioctl(vcpu->fd, KVM_SET_XCRS, &xcrs) < 0)
        return error_set(err, EXIT_STATUS_NO_KVM, errno, "KVM_SET_XCRS 0x%llx",
                         (unsigned long long)vmm->xcr0);
    return set_state(vcpu, &sregs, err);
}

int vcpus_prepare(struct vmm *vmm, struct error *err)
{
    for (unsigned i = 0; i < vmm->config.vcpus; i++) {
        if ((vmm->vcpus[i].fd < 0 && vcpu_create(vmm, i, err) < 0) ||
            prepare_one(&vmm->vcpus[i], err) < 0)
            return error_wrap(err, "vCPU %u", i);
    }
    return 0;
}

// Fills a slot once; the first one wins.
static bool fill(_Atomic uint32_t *state, struct vmm_end *slot, const struct vmm_end *end)
{
    uint32_t nobody = 0;
    if (!atomic_compare_exchange_strong(state, &nobody, 1))
        return false;
    *slot = *end;
    atomic_store(state, 2);
    return true;
}

void vmm_report(struct vmm *vmm, const struct vmm_end *end)
{
    uint64_t one = 1;
    // A slot of its own: an exit that another vCPU reports first must not hide a violation.
    if (end->kind == VMM_END_VIOLATION) {
        // The gate shuts before anybody has to be woken: what other vCPUs still send goes nowhere.
        atomic_store(&vmm->level_own->level, LEVEL_OFFLINE);
        fill(&vmm->violated, &vmm->violation, end);
    }
    if (fill(&vmm->ended, &vmm->end, end)) {
        ssize_t ignored = write(vmm->control_fd, &one, sizeof(one));
        (void)ignored;
    }
}

static void report_violation(struct vcpu *vcpu, enum violation_kind kind)
{
    struct vmm_end end = {
        .kind = VMM_END_VIOLATION,
        .vcpu = vcpu->index,
        .violation = kind,
        .vector = UINT32_MAX,
        .exit_reason = vcpu->run->exit_reason,
        .instruction = vcpu->run->s.regs.regs.rip,
    };
    if (kind == VIOLATION_NONE)
        violation_describe(vcpu, &end);
    vmm_report(vcpu->vmm, &end);
}

void vcpu_raise_event(void *context, unsigned index)
{
    struct vmm *vmm = context;
    struct vcpu *vcpu = &vmm->vcpus[index];
    // Devices of a Linux guest look for replies in every pass; its interrupts are their own.
    if (vmm->config.guest == VMM_GUEST_LINUX)
        return;
    struct cell_event *shared = guest_memory_shared(
        &vmm->cell.io_memory, gpa_add(vmm->cell.events, index * sizeof(struct cell_event)),
        sizeof(*shared), sizeof(*shared), GUEST_WRITE);
    atomic_fetch_add(&vcpu->event_count, 1);
    // Pollers and other vCPUs may publish at once: the last store must carry the last count. Each
    // must be visible before the count is looked at again, or an older one could come later.
    uint32_t count;
    do {
        count = atomic_load(&vcpu->event_count);
        __atomic_store_n(&shared->count, count, __ATOMIC_SEQ_CST);
    } while (count != atomic_load(&vcpu->event_count));
    if (atomic_load(&vcpu->parked))
        futex(&vcpu->event_count, FUTEX_WAKE, 1, NULL);
}

// Sleeps while the private count is still the one that the model saw. Returning early is allowed.
static void park(struct vcpu *vcpu, uint32_t seen)
{
    atomic_store(&vcpu->parked, 1);
    if (atomic_load(&vcpu->event_count) == seen && !atomic_load(&vcpu->vmm->stop))
        futex(&vcpu->event_count, FUTEX_WAIT, seen, NULL);
    atomic_store(&vcpu->parked, 0);
}

// Serves a store to a control page. Returns false if it is not a legal one.
static bool serve_control_page(struct vcpu *vcpu)
{
    const struct kvm_run *run = vcpu->run;
    uint32_t value;
    if (!run->mmio.is_write || run->mmio.len != sizeof(value))
        return false;
    memcpy(&value, run->mmio.data, sizeof(value));
    uint64_t address = run->mmio.phys_addr;
    if (address == cell_control_page_gpa(CELL_CONTROL_PARK).value) {
        park(vcpu, value);
        return true;
    }
    if (address == cell_control_page_gpa(CELL_CONTROL_UNPARK).value) {
        if (value >= vcpu->vmm->config.vcpus)
            return false;
        vcpu_raise_event(vcpu->vmm, value);
        return true;
    }
    if (address == cell_control_page_gpa(CELL_CONTROL_EXIT).value) {
        const struct vmm_end end = {
            .kind = VMM_END_EXIT,
            .vcpu = vcpu->index,
            .exit_value = value,
            .vector = UINT32_MAX,
        };
        vmm_report(vcpu->vmm, &end);
        return true;
    }
    return false;
}

// Serves an exit of a Linux guest. Returns false if it is none that a Linux guest may make.
static bool serve_linux(struct vcpu *vcpu)
{
    struct vmm_end end;
    enum linux_exit exit = linux_guest_handle_exit(vcpu, &end);
    if (exit == LINUX_EXIT_ENDS)
        vmm_report(vcpu->vmm, &end);
    return exit != LINUX_EXIT_UNKNOWN;
}

// What is free to check at every exit, since KVM hands it over anyway (KVM_CAP_SYNC_REGS).
static bool state_is_intact(const struct vcpu *vcpu)
{
    const struct kvm_sregs *sregs = &vcpu->run->s.regs.sregs;
    return sregs->cr3 == vcpu->cr3 && sregs->gdt.base == vcpu->gdt.base &&
           sregs->gdt.limit == vcpu->gdt.limit && sregs->idt.base == vcpu->idt.base &&
           sregs->idt.limit == vcpu->idt.limit;
}

// Handles one return of KVM_RUN. Returns false if the vCPU must not be entered again.
static bool handle_exit(struct vcpu *vcpu, int result, int code)
{
    if (result < 0) {
        if (code == EINTR || code == EAGAIN)
            return true;
        report_violation(vcpu, code == EFAULT || code == EHWPOISON ? VIOLATION_BACKING_LOST
                                                                   : VIOLATION_UNKNOWN_EXIT);
        return false;
    }
    bool is_linux = vcpu->vmm->config.guest == VMM_GUEST_LINUX;
    if (!is_linux && !state_is_intact(vcpu)) {
        report_violation(vcpu, VIOLATION_STATE);
        return false;
    }
    if (is_linux ? serve_linux(vcpu)
                 : vcpu->run->exit_reason == KVM_EXIT_MMIO && serve_control_page(vcpu))
        return !atomic_load(&vcpu->vmm->ended);
    if (vcpu->run->exit_reason == KVM_EXIT_INTR)
        return true;
    report_violation(vcpu, VIOLATION_NONE); // fail closed: whatever it is, it ends the run
    return false;
}

// The vCPU of this thread, for the signal handler.
static __thread struct vcpu *kicked;

static void note_first_exit(struct vcpu *vcpu)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    atomic_store(&vcpu->vmm->first_exit_ns,
                 (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec);
}

// True if the model must not run: the control thread says so, or a page does. The pages come first:
// the supervisor kicks the vCPUs itself, before the control thread has even read its message.
static bool must_pause(const struct vmm *vmm)
{
    return atomic_load(&vmm->pause) ||
           level_effective(vmm->level_supervisor, vmm->level_own) >= LEVEL_SEVERED;
}

// Between two entries, while the level or a hold keeps the model from running.
static void wait_while_paused(struct vcpu *vcpu)
{
    // What only a page says, the control thread will say soon, or end the run.
    static const struct timespec look_again = {0, 1000000};
    struct vmm *vmm = vcpu->vmm;
    if (!__atomic_load_n(&vcpu->run->immediate_exit, __ATOMIC_SEQ_CST))
        return; // nobody kicked it
    while (must_pause(vmm) && !atomic_load(&vmm->stop)) {
        if (!atomic_load(&vcpu->paused))
            atomic_store(&vcpu->paused_ns, clock_now_ns(&clock_host));
        atomic_store(&vcpu->paused, 1);
        futex(&vcpu->paused, FUTEX_WAKE, 1, NULL);
        bool ordered = atomic_load(&vmm->pause);
        futex(&vmm->pause, FUTEX_WAIT, ordered, ordered ? NULL : &look_again);
    }
    atomic_store(&vcpu->paused, 0);
    __atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    // A kick that came between the two lines must not be lost.
    if (must_pause(vmm) || atomic_load(&vmm->stop))
        __atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
}

static void run_guest(struct vcpu *vcpu)
{
    bool first = vcpu->index == 0;
    for (bool alive = true; alive && !atomic_load(&vcpu->vmm->stop);) {
        wait_while_paused(vcpu);
        int result = kvm_ioctl(vcpu->fd, KVM_RUN, NULL);
        int code = result < 0 ? errno : 0;
        if (first && code != EINTR) {
            first = false;
            note_first_exit(vcpu);
        }
        atomic_store_explicit(&vcpu->exits,
                              atomic_load_explicit(&vcpu->exits, memory_order_relaxed) + 1,
                              memory_order_relaxed);
        alive = handle_exit(vcpu, result, code);
    }
}

void thread_lock_and_wait(struct vmm *vmm, enum seccomp_thread kind,
                          struct thread_signal_stack *stack)
{
    struct error err;
    prctl(PR_SET_NAME, kind == SECCOMP_POLLER     ? "poller"
                       : kind == SECCOMP_WATCHDOG ? "watchdog"
                                                  : "vcpu"); // for top -H
    if (fatal_signal_use_stack(stack, &err) < 0 || thread_filter_install(kind, &err) < 0)
        atomic_store(&vmm->failed, 1);
    atomic_fetch_add(&vmm->waiting, 1);
    futex(&vmm->waiting, FUTEX_WAKE, INT_MAX, NULL);
    while (!atomic_load(&vmm->go))
        futex(&vmm->go, FUTEX_WAIT, 0, NULL);
}

// Threads do not end on their own: unwinding one would need system calls beyond the filter.
static void wait_for_ever(_Atomic uint32_t *stopped)
{
    for (;;)
        futex(stopped, FUTEX_WAIT, 1, NULL);
}

static void *vcpu_thread(void *argument)
{
    struct vcpu *vcpu = argument;
    kicked = vcpu;
    atomic_store(&vcpu->tid, (int)syscall(SYS_gettid));
    thread_lock_and_wait(vcpu->vmm, SECCOMP_VCPU, &vcpu->signal_stack);
    run_guest(vcpu);
    forensics_take_registers(vcpu);
    atomic_store(&vcpu->stopped, 1);
    futex(&vcpu->stopped, FUTEX_WAKE, 1, NULL);
    wait_for_ever(&vcpu->stopped);
    return NULL;
}

static void *poller_thread(void *argument)
{
    struct vmm_poller *own = argument;
    thread_lock_and_wait(own->vmm, SECCOMP_POLLER, &own->signal_stack);
    poller_run(&own->poller);
    wait_for_ever(&own->poller.stopped);
    return NULL;
}

static void on_kick(int signal)
{
    (void)signal;
    // It interrupts KVM_RUN or a futex; a vCPU that is just about to enter has to see it too.
    if (kicked)
        __atomic_store_n(&kicked->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
}

void thread_move_away(pthread_t thread)
{
    cpu_set_t others;
    memset(&others, 0xff, sizeof(others));
    int here = sched_getcpu();
    if (here >= 0) {
        CPU_CLR((unsigned)here, &others);
        pthread_setaffinity_np(thread, sizeof(others), &others);
    }
}

int thread_start(pthread_t *thread, void *(*function)(void *), void *argument, struct error *err)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
    int code = pthread_create(thread, &attributes, function, argument);
    pthread_attr_destroy(&attributes);
    if (!code)
        thread_move_away(*thread);
    return code ? error_set(err, EXIT_STATUS_RESOURCES, code, "create thread") : 0;
}

static int start_vcpu(struct vmm *vmm, unsigned index, struct error *err)
{
    struct vcpu *vcpu = &vmm->vcpus[index];
    return thread_start(&vcpu->thread, vcpu_thread, vcpu, err);
}

static int start_poller(struct vmm *vmm, unsigned index, struct error *err)
{
    struct vmm_poller *poller = &vmm->pollers[index];
    poller->vmm = vmm;
    return thread_start(&poller->thread, poller_thread, poller, err);
}

int threads_start(struct vmm *vmm, struct error *err)
{
    struct sigaction kick = {.sa_handler = on_kick};
    if (sigaction(SIGUSR1, &kick, NULL) < 0)
        return error_set(err, EXIT_STATUS_INTERNAL, errno, "sigaction");
    if (start_vcpu(vmm, 0, err) < 0 || watchdog_start(vmm, err) < 0)
        return -1;
    return start_poller(vmm, 0, err);
}

// The watchdog may run on any core of the pollers: a busy one leaves it less time than two do.
static void pin_watchdog(struct vmm *vmm)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (unsigned i = 0; i < vmm->config.poller_count; i++) {
        if (vmm->config.hypervisor_cpus[i] >= 0)
            CPU_SET((unsigned)vmm->config.hypervisor_cpus[i], &set);
    }
    if (!CPU_COUNT(&set))
        memset(&set, 0xff, sizeof(set));
    if (pthread_setaffinity_np(vmm->watchdog, sizeof(set), &set))
        atomic_fetch_or(&vmm->missing_layers, VMM_LAYER_PINNING);
}

// The threads wait in a futex: moving them costs nothing now. Without a configured CPU they may run
// anywhere, whatever they inherited.
static void pin(struct vmm *vmm, pthread_t thread, int cpu)
{
    cpu_set_t set;
    memset(&set, 0xff, sizeof(set));
    if (cpu >= 0) {
        CPU_ZERO(&set);
        CPU_SET((unsigned)cpu, &set);
    }
    if (pthread_setaffinity_np(thread, sizeof(set), &set))
        atomic_fetch_or(&vmm->missing_layers, VMM_LAYER_PINNING);
}

int threads_place(struct vmm *vmm, struct error *err)
{
    for (unsigned i = 1; i < vmm->config.vcpus; i++) {
        if (start_vcpu(vmm, i, err) < 0)
            return -1;
    }
    for (unsigned i = 1; i < vmm->config.poller_count; i++) {
        if (start_poller(vmm, i, err) < 0)
            return -1;
    }
    uint32_t expected = vmm->config.vcpus + vmm->config.poller_count + 1; // the watchdog
    for (uint32_t seen; (seen = atomic_load(&vmm->waiting)) < expected;)
        futex(&vmm->waiting, FUTEX_WAIT, seen, NULL);
    for (unsigned i = 0; i < vmm->config.poller_count; i++)
        pin(vmm, vmm->pollers[i].thread, vmm->config.hypervisor_cpus[i]);
    for (unsigned i = 0; i < vmm->config.vcpus; i++)
        pin(vmm, vmm->vcpus[i].thread, vmm->config.model_cpus[i]);
    pin_watchdog(vmm);
    return 0;
}

static void kick(struct vcpu *vcpu)
{
    // In this order: a vCPU that is about to enter sees immediate_exit, one that runs gets the
    // signal, one that is about to park finds its count changed.
    __atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    vcpu_raise_event(vcpu->vmm, vcpu->index);
    syscall(SYS_tgkill, vcpu->vmm->pid, atomic_load(&vcpu->tid), SIGUSR1);
}

unsigned vcpus_pause(struct vmm *vmm, uint64_t timeout_ns)
{
    static const struct timespec again = {0, KICK_AGAIN_NS};
    uint64_t deadline_ns = clock_now_ns(&clock_host) + timeout_ns;
    unsigned out = 0;
    atomic_store(&vmm->pause, 1);
    for (unsigned i = 0; i < vmm->config.vcpus; i++)
        kick(&vmm->vcpus[i]);
    for (unsigned i = 0; i < vmm->config.vcpus; i++) {
        struct vcpu *vcpu = &vmm->vcpus[i];
        while (!atomic_load(&vcpu->paused) && !atomic_load(&vcpu->stopped) &&
               clock_now_ns(&clock_host) < deadline_ns) {
            if (futex(&vcpu->paused, FUTEX_WAIT, 0, &again) < 0 && errno == ETIMEDOUT)
                kick(vcpu);
        }
        out += atomic_load(&vcpu->paused) || atomic_load(&vcpu->stopped);
    }
    return out;
}

void vcpus_resume(struct vmm *vmm)
{
    atomic_store(&vmm->pause, 0);
    futex(&vmm->pause, FUTEX_WAKE, INT_MAX, NULL);
}

void vcpus_stop(struct vmm *vmm)
{
    static const struct timespec again = {0, KICK_AGAIN_NS};
    atomic_store(&vmm->stop, 1);
    vcpus_resume(vmm);
    for (unsigned i = 0; i < vmm->config.vcpus; i++)
        kick(&vmm->vcpus[i]);
    for (unsigned i = 0; i < vmm->config.vcpus; i++) {
        struct vcpu *vcpu = &vmm->vcpus[i];
        while (!atomic_load(&vcpu->stopped)) {
            if (futex(&vcpu->stopped, FUTEX_WAIT, 0, &again) < 0 && errno == ETIMEDOUT)
                kick(vcpu);
        }
    }
}
