// SPDX-License-Identifier: Apache-2.0
// bench isolate: from the supervisor's decision to a shut gate, to the last reply, and to vCPUs out
// of guest mode.
//
// A cell spins on the model core and keeps its port full; the real supervisor raises its level to
// Severed through `guillotine isolate` and says what the VMM measured (boot-time clock, one host);
// a demonstration key lowers it again. The last reply is the last completion in the audit log,
// stamped just before its bytes are written; none is written once the gate was seen shut. The floor
// is the least that taking a vCPU out of guest mode costs here: a signal to a thread that spins in
// a guest of one instruction.
//
// Supervisor and poller run on cores of their own for the gate ("across processes"): with two CPUs
// the supervisor then shares the model's, and the kick would find the vCPU preempted already. So
// vCPUs are measured in a second series, where the supervisor is where a launch puts it.
#include "audit_record.h"
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define ROUNDS      1000 // in each series
#define FLOOR_KICKS 2    // in each round
// No order of administrators is signed and carried out in less.
#define OPENED_AGAIN_NS 2000000ull
#define OPEN_US         2000 // in which the cell floods its port

static int model_cpu;
static int hypervisor_cpu;
static int supervisor_cpu; // another one than the poller's; the model's, if there are only two

static void choose_cpus(void)
{
    cpu_set_t set;
    sched_getaffinity(0, sizeof(set), &set);
    if (CPU_COUNT(&set) < 2)
        bench_die("isolate needs two CPUs");
    for (model_cpu = 0; !CPU_ISSET((unsigned)model_cpu, &set);)
        model_cpu++;
    for (hypervisor_cpu = CPU_SETSIZE - 1; !CPU_ISSET((unsigned)hypervisor_cpu, &set);)
        hypervisor_cpu--;
    supervisor_cpu = hypervisor_cpu - 1;
    while (!CPU_ISSET((unsigned)supervisor_cpu, &set))
        supervisor_cpu--;
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
}

// A vCPU that does nothing but spin.
static struct {
    int vcpu;
    struct kvm_run *run;
    pthread_t thread;
    _Atomic uint32_t inside;
    _Atomic uint64_t out_ns;
} spinner;

static void on_kick(int signal)
{
    (void)signal;
    spinner.run->immediate_exit = 1;
}

static void *spin(void *argument)
{
    (void)argument;
    pin(model_cpu);
    atomic_store(&spinner.inside, 1);
    ioctl(spinner.vcpu, KVM_RUN, 0);
    atomic_store(&spinner.out_ns, bench_now_ns());
    return NULL;
}

static void make_spinner(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
    spinner.vcpu = vm < 0 ? -1 : ioctl(vm, KVM_CREATE_VCPU, 0);
    if (spinner.vcpu < 0)
        bench_die("KVM: %s", strerror(errno));
    uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const struct kvm_userspace_memory_region slot = {
        .memory_size = 4096,
        .userspace_addr = (uintptr_t)page,
    };
    struct kvm_sregs sregs;
    const struct kvm_regs regs = {.rflags = 2};
    memcpy(page, "\xeb\xfe", 2); // jmp to itself
    spinner.run = mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE,
                       MAP_SHARED, spinner.vcpu, 0);
    if (page == MAP_FAILED || spinner.run == MAP_FAILED ||
        ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0 ||
        ioctl(spinner.vcpu, KVM_GET_SREGS, &sregs) < 0)
        bench_die("KVM: %s", strerror(errno));
    sregs.cs.base = sregs.cs.selector = 0;
    if (ioctl(spinner.vcpu, KVM_SET_SREGS, &sregs) < 0 ||
        ioctl(spinner.vcpu, KVM_SET_REGS, &regs) < 0)
        bench_die("KVM: %s", strerror(errno));
    const struct sigaction action = {.sa_handler = on_kick};
    sigaction(SIGUSR1, &action, NULL);
}

static void measure_floor(struct samples *samples)
{
    cpu_set_t before;
    sched_getaffinity(0, sizeof(before), &before);
    pin(hypervisor_cpu);
    for (int i = 0; i < FLOOR_KICKS; i++) {
        atomic_store(&spinner.inside, 0);
        spinner.run->immediate_exit = 0;
        if (pthread_create(&spinner.thread, NULL, spin, NULL))
            bench_die("cannot start a thread");
        while (!atomic_load(&spinner.inside))
            usleep(100);
        usleep(1000);
        uint64_t start = bench_now_ns();
        pthread_kill(spinner.thread, SIGUSR1);
        pthread_join(spinner.thread, NULL);
        samples_add(samples, (double)(atomic_load(&spinner.out_ns) - start) / 1000);
    }
    sched_setaffinity(0, sizeof(before), &before);
}

// Runs guillotine with arguments; returns what it printed.
static void command(const struct bench *bench, char *output, size_t size, const char *const *words)
{
    char cli[4096];
    char *argv[24] = {cli};
    int pipe_fd = -1;
    size_t used = 0;
    snprintf(cli, sizeof(cli), "%s/guillotine", bench->programs);
    for (size_t i = 0; words[i] && i < 22; i++)
        argv[i + 1] = (char *)(uintptr_t)words[i];
    pid_t pid = bench_spawn(argv, &pipe_fd, NULL);
    for (ssize_t n; used + 1 < size && (n = read(pipe_fd, output + used, size - 1 - used)) > 0;)
        used += (size_t)n;
    output[used] = '\0';
    close(pipe_fd);
    bench_wait(pid, 0);
}

struct place {
    char state[128], runtime[128], keys[128], key[160], order[128], file[128], log[128];
};

struct series {
    struct samples gate;  // ns
    struct samples reply; // ns; 0: the last reply was before the decision
    struct samples stop;  // us
    uint64_t decided_ns[ROUNDS];
    uint64_t last_ns[ROUNDS]; // from there to the last completion before the gate opened again
    size_t round;
};

#define COMMAND(...) command(bench, text, sizeof(text), (const char *const[]){__VA_ARGS__, NULL})

static void lower(const struct bench *bench, const struct place *place)
{
    static char text[65536];
    COMMAND("quorum", "propose", "--runtime-dir", place->runtime, "--state-dir", place->state,
            "bench", "standard", "--reason", "benchmark", "--json", "--out", place->order);
    COMMAND("quorum", "sign", "--yes", "--json", "--key", place->key, place->order);
    COMMAND("quorum", "submit", "--runtime-dir", place->runtime, "--state-dir", place->state,
            "--json", place->order, "bench");
    unlink(place->order);
}

static pid_t start(const struct bench *bench, const struct place *place)
{
    char cli[4096];
    FILE *file = fopen(place->file, "we");
    if (!file)
        bench_die("%s: %s", place->file, strerror(errno));
    fprintf(file,
            "{\"format\":\"guillotine-vm/1\",\"image\":\"%s/bench-port.elf\","
            "\"placement\":{\"model_cores\":\"%d\",\"hypervisor_cores\":\"%d\"},"
            "\"ports\":[{\"kind\":\"loopback\",\"mode\":\"busy\",\"queue_size\":1024}]}",
            bench->data, model_cpu, hypervisor_cpu);
    fclose(file);
    snprintf(cli, sizeof(cli), "%s/guillotine", bench->programs);
    const char *const words[] = {
        cli,         "run",         "--name",     "bench",         "--audit",
        place->log,  "--state-dir", place->state, "--runtime-dir", place->runtime,
        place->file, "--",          "flood",      "loopback",      NULL};
    pid_t pid = bench_spawn((char *const *)(uintptr_t)words, NULL, NULL);
    usleep(500000);
    return pid;
}

static void take_record(void *context, const struct audit_record *record)
{
    struct series *series = context;
    if (record->type != AUDIT_COMPLETION || record->decision != AUDIT_DECISION_ALLOW)
        return;
    while (series->round + 1 < ROUNDS && record->now_ns >= series->decided_ns[series->round + 1])
        series->round++;
    // Those after the gate was opened again are of the next round.
    uint64_t decided_ns = series->decided_ns[series->round];
    if (record->now_ns > decided_ns && record->now_ns - decided_ns < OPENED_AGAIN_NS)
        series->last_ns[series->round] = record->now_ns - decided_ns;
}

// The last completion after each decision.
static void read_replies(const struct place *place, struct series *series)
{
    bench_read_log(place->log, take_record, series);
    for (size_t i = 0; i < ROUNDS; i++)
        samples_add(&series->reply, (double)series->last_ns[i]);
}

// One series with the supervisor on `cpu`; -1: where it is.
static void measure(struct bench *bench, struct place *place, int cpu, struct series *series,
                    struct samples *floor)
{
    static char text[65536];
    snprintf(place->log, sizeof(place->log), "%s/isolate-%s.audit", bench->work,
             cpu < 0 ? "beside" : "apart");
    pid_t pid = start(bench, place);
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu >= 0)
        CPU_SET((unsigned)cpu, &set);
    if (cpu >= 0 && sched_setaffinity(pid, sizeof(set), &set) < 0)
        bench_die("cannot move the supervisor: %s", strerror(errno));
    for (int i = 0; i < ROUNDS; i++) {
        bench_progress(bench, "supervisor %s: round %d of %d",
                       cpu < 0 ? "beside the poller" : "on another core", i + 1, ROUNDS);
        COMMAND("isolate", "--json", "--runtime-dir", place->runtime, "bench", "severed");
        series->decided_ns[i] = (uint64_t)bench_json_number(text, "decided_ns");
        samples_add(&series->gate, bench_json_number(text, "gate_ns"));
        samples_add(&series->stop, bench_json_number(text, "vcpus_ns") / 1000);
        measure_floor(floor); // the cell rests
        lower(bench, place);
        usleep(OPEN_US);
    }
    kill(pid, SIGTERM);
    bench_wait(pid, 128 + SIGTERM);
    read_replies(place, series);
    unlink(place->log);
}

static void series_free(struct series *series)
{
    samples_free(&series->gate);
    samples_free(&series->reply);
    samples_free(&series->stop);
}

static void report(struct bench *bench, struct series *apart, struct series *beside,
                   struct samples *floor)
{
    const struct {
        const char *name;
        struct samples *samples;
        double quantile;
        const char *unit;
    } rows[] = {
        {"gate_p50_ns", &apart->gate, 0.5, "ns"},
        {"gate_p99_ns", &apart->gate, 0.99, "ns"},
        {"gate_max_ns", &apart->gate, 1, "ns"},
        {"last_reply_p50_ns", &apart->reply, 0.5, "ns"},
        {"last_reply_p99_ns", &apart->reply, 0.99, "ns"},
        {"last_reply_max_ns", &apart->reply, 1, "ns"},
        {"gate_beside_p50_ns", &beside->gate, 0.5, "ns"},
        {"gate_beside_p99_ns", &beside->gate, 0.99, "ns"},
        {"stop_p50_us", &beside->stop, 0.5, "us"},
        {"stop_p99_us", &beside->stop, 0.99, "us"},
        {"stop_max_us", &beside->stop, 1, "us"},
        {"kick_floor_p50_us", floor, 0.5, "us"},
        {"kick_floor_p99_us", floor, 0.99, "us"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        bench_metric(bench, rows[i].name, samples_quantile(rows[i].samples, rows[i].quantile),
                     rows[i].unit, "lower", rows[i].samples->count);
    bench_metric(bench, "stop_to_floor_ratio",
                 samples_quantile(&beside->stop, 0.5) / samples_quantile(floor, 0.5), "ratio",
                 "lower", beside->stop.count);
}

void bench_isolate(struct bench *bench)
{
    static char text[65536];
    static struct series apart, beside;
    struct place place;
    struct samples floor = {0};
    snprintf(place.state, sizeof(place.state), "%s/isolate-state", bench->work);
    snprintf(place.runtime, sizeof(place.runtime), "%s/isolate-run", bench->work);
    snprintf(place.keys, sizeof(place.keys), "%s/isolate-keys", bench->work);
    snprintf(place.key, sizeof(place.key), "%s/demo-1.key", place.keys);
    snprintf(place.order, sizeof(place.order), "%s/order.json", bench->work);
    snprintf(place.file, sizeof(place.file), "%s/isolate.json", bench->work);
    choose_cpus();
    make_spinner();
    COMMAND("quorum", "init", "--demo", "--keys", "1", "--raise", "1", "--lower", "1", "--out",
            place.keys, "--state-dir", place.state);
    measure(bench, &place, supervisor_cpu, &apart, &floor);
    measure(bench, &place, -1, &beside, &floor);
    report(bench, &apart, &beside, &floor);
    series_free(&apart);
    series_free(&beside);
    samples_free(&floor);
}
