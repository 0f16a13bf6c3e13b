// SPDX-License-Identifier: Apache-2.0
// bench isolate: from the supervisor's decision to a shut gate and to vCPUs out of guest mode.
//
// A cell keeps its port full on the model core; the real supervisor raises its level to Severed
// through `guillotine isolate` and says what the VMM measured (boot-time clock, one host); a quorum
// of demonstration keys lowers it again. The floor is the least that taking a vCPU out of guest
// mode costs here: a signal to a thread that spins in a guest of one instruction.
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

#define ROUNDS      200
#define FLOOR_KICKS 5 // in each round

static int model_cpu;
static int hypervisor_cpu;

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
    char state[128], runtime[128], keys[128], order[128], file[128];
};

#define COMMAND(...) command(bench, text, sizeof(text), (const char *const[]){__VA_ARGS__, NULL})

static void lower(const struct bench *bench, const struct place *place)
{
    static char text[65536];
    char key[160];
    COMMAND("quorum", "propose", "--runtime-dir", place->runtime, "--state-dir", place->state,
            "bench", "standard", "--reason", "benchmark", "--out", place->order);
    for (int i = 1; i <= 5; i++) {
        snprintf(key, sizeof(key), "%s/demo-%d.key", place->keys, i);
        COMMAND("quorum", "sign", "--yes", "--json", "--key", key, place->order);
    }
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
            "\"ports\":[{\"kind\":\"loopback\",\"mode\":\"busy\"}]}",
            bench->data, model_cpu, hypervisor_cpu);
    fclose(file);
    snprintf(cli, sizeof(cli), "%s/guillotine", bench->programs);
    const char *const words[] = {cli,
                                 "run",
                                 "--name",
                                 "bench",
                                 "--runtime-dir",
                                 place->runtime,
                                 "--state-dir",
                                 place->state,
                                 place->file,
                                 "--",
                                 "stream",
                                 "loopback",
                                 "0",
                                 "64",
                                 "1",
                                 "0",
                                 NULL};
    pid_t pid = bench_spawn((char *const *)(uintptr_t)words, NULL, NULL);
    usleep(500000);
    return pid;
}

void bench_isolate(struct bench *bench)
{
    static char text[65536];
    struct place place;
    struct samples gate = {0}, stop = {0}, floor = {0};
    snprintf(place.state, sizeof(place.state), "%s/isolate-state", bench->work);
    snprintf(place.runtime, sizeof(place.runtime), "%s/isolate-run", bench->work);
    snprintf(place.keys, sizeof(place.keys), "%s/isolate-keys", bench->work);
    snprintf(place.order, sizeof(place.order), "%s/order.json", bench->work);
    snprintf(place.file, sizeof(place.file), "%s/isolate.json", bench->work);
    choose_cpus();
    make_spinner();
    COMMAND("quorum", "init", "--demo", "--out", place.keys, "--state-dir", place.state);
    pid_t pid = start(bench, &place);
    for (int i = 0; i < ROUNDS; i++) {
        bench_progress(bench, "round %d of %d", i + 1, ROUNDS);
        COMMAND("isolate", "--json", "--runtime-dir", place.runtime, "bench", "severed");
        samples_add(&gate, bench_json_number(text, "gate_ns"));
        samples_add(&stop, bench_json_number(text, "vcpus_ns") / 1000);
        measure_floor(&floor); // the cell rests
        lower(bench, &place);
        usleep(5000);
    }
    kill(pid, SIGTERM);
    bench_wait(pid, 128 + SIGTERM);
    double p50 = samples_quantile(&stop, 0.5);
    double least = samples_quantile(&floor, 0.5);
    bench_metric(bench, "gate_p50_ns", samples_quantile(&gate, 0.5), "ns", "lower", gate.count);
    bench_metric(bench, "gate_p99_ns", samples_quantile(&gate, 0.99), "ns", "lower", gate.count);
    bench_metric(bench, "stop_p50_us", p50, "us", "lower", stop.count);
    bench_metric(bench, "stop_p99_us", samples_quantile(&stop, 0.99), "us", "lower", stop.count);
    bench_metric(bench, "stop_max_us", samples_quantile(&stop, 1), "us", "lower", stop.count);
    bench_metric(bench, "kick_floor_p50_us", least, "us", "lower", floor.count);
    bench_metric(bench, "stop_to_floor_ratio", p50 / least, "ratio", "lower", stop.count);
    samples_free(&gate);
    samples_free(&stop);
    samples_free(&floor);
}
