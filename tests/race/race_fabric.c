// SPDX-License-Identifier: Apache-2.0
// Runs the race harness: the fabric served directly, by its poller, and with backend processes.
//
//   race [--full] [--requests N] [--seconds N] [--seed N]
//
// Prints one JSON object. Exits with 1 if policy, backend and audit did not see the same, a chain
// was lost, or, with --full, a class of malformation was not hit often enough.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "race.h"

#define FULL_CLASS_HITS 100000u
#define LEAST_POLICY    30u // percent of all requests

struct race_tallies tallies;
struct race_world *world;

struct options {
    bool full;
    uint64_t requests;
    uint64_t seconds;
    uint64_t seed;
};

static uint64_t real_now(const struct clock *clock)
{
    struct timespec now;
    (void)clock;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t fast_now(const struct clock *clock)
{
    return real_now(clock) * 1000;
}

const struct clock race_clock = {.now_ns = fast_now, .wall_ns = real_now};

void race_rest(void)
{
    static const struct timespec nap = {0, 20000};
    nanosleep(&nap, NULL);
}

_Noreturn void race_die(const char *what)
{
    fprintf(stderr, "race: %s\n", what);
    exit(2);
}

static void raise_event(void *context, unsigned target)
{
    (void)context;
    (void)target;
}

static uint8_t *map(uint64_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        race_die("out of memory");
    return memory;
}

static void start_port(unsigned index)
{
    static const struct limits_config unlimited;
    // One port is over its rate all the time.
    static const struct limits_config limited = {.requests_per_s = 20, .request_burst = 10};
    struct error err;
    struct virtqueue queue;
    const struct gpa base = {IO_BASE + (uint64_t)index * PORT_BYTES};
    struct port_settings settings = {
        .name = "race",
        .index = (uint16_t)index,
        .backend = &race_backend,
        .backend_state = &world->watches[index],
        .operations = 1u << OPERATION_ECHO | 1u << OPERATION_PEND | 1u << OPERATION_READ |
                      1u << OPERATION_TIGHT,
        .max_request_bytes = MAX_REQUEST,
        .max_reply_bytes = MAX_REPLY,
        .in_flight = RACE_IN_FLIGHT,
        .limits = index == 11 ? &limited : &unlimited,
    };
    if (world->links)
        settings.backend = race_link_backend(index, &settings.backend_state);
    struct port *port = port_create(&world->fabric, &settings, &err);
    if (!port ||
        virtqueue_init(&queue, &world->memory, index & 4 ? 64 : 16, index & 3, base,
                       gpa_add(base, AVAILABLE_AT), gpa_add(base, USED_AT), &err) < 0 ||
        port_add_queue(port, &queue, 0, &err) < 0)
        race_die(err.text);
    world->ports[index] = port;
}

static void start_watch(unsigned index)
{
    struct race_watch *watch = &world->watches[index];
    watch->index = index;
    watch->sights = calloc(RACE_SIGHTS, sizeof(*watch->sights));
    if (!watch->sights)
        race_die("out of memory");
}

enum phase {
    PHASE_SOUND_LINKS, // what fabric and backend processes share is left alone
    PHASE_LINKS,
    PHASE_POLLER,
    PHASE_DIRECT,
    PHASES,
};

static void start_world(const struct options *options, enum phase phase)
{
    static const unsigned ports[PHASES] = {RACE_LINKS, RACE_LINKS, POLLER_MAX_PORTS, RACE_PORTS};
    bool links = phase == PHASE_LINKS || phase == PHASE_SOUND_LINKS;
    struct error err;
    world = aligned_alloc(64, sizeof(*world));
    if (!world)
        race_die("out of memory");
    memset(world, 0, sizeof(*world));
    world->seed = options->seed;
    world->doorbell_fd = -1;
    world->io = map(IO_BYTES);
    world->huge = map(HUGE_BYTES);
    if (guest_memory_add(&world->memory, (struct gpa){IO_BASE}, IO_BYTES, world->io,
                         GUEST_READ | GUEST_WRITE, &err) < 0 ||
        guest_memory_add(&world->memory, (struct gpa){HUGE_BASE}, HUGE_BYTES, world->huge,
                         GUEST_READ | GUEST_WRITE, &err) < 0)
        race_die(err.text);
    race_audit_start(&world->audit);
    world->fabric = (struct port_fabric){
        .level_supervisor = &world->level_supervisor,
        .level_own = &world->level_own,
        .audit = &world->audit.stream,
        .clock = &race_clock,
        .host = {.raise_event = raise_event},
    };
    world->port_count = ports[phase];
    world->reopens = phase == PHASE_DIRECT;
    for (unsigned i = 0; i < RACE_WATCHES; i++)
        start_watch(i);
    for (unsigned i = 0; i < world->port_count; i++)
        world->audit.watches[i] = &world->watches[i];
    world->mutates_links = phase == PHASE_LINKS;
    if (links)
        race_links_start();
    for (unsigned i = 0; i < world->port_count; i++)
        start_port(i);
}

static void end_world(void)
{
    for (unsigned i = 0; i < world->port_count; i++) {
        const struct port_counters *counters = port_counters(world->ports[i]);
        if (atomic_load(&counters->requests) != atomic_load(&counters->completions) ||
            atomic_load(&counters->in_flight) ||
            atomic_load(&counters->requests) != world->audit.completed[i])
            race_mismatch("counters do not add up", i, atomic_load(&counters->requests));
        port_destroy(world->ports[i]);
    }
    race_audit_end(&world->audit);
    if (world->links)
        race_links_end();
    for (unsigned i = 0; i < RACE_WATCHES; i++)
        free(world->watches[i].sights);
    munmap(world->io, IO_BYTES);
    munmap(world->huge, HUGE_BYTES);
    free(world);
}

static unsigned serve_all(void)
{
    unsigned served = 0;
    for (unsigned i = 0; i < world->port_count; i++) {
        served += port_serve(world->ports[i], POLLER_BUDGET);
        race_check_held(world->ports[i]);
        if (world->reopens && world->ports[i]->state == PORT_CLOSED_ANOMALY) {
            port_open(world->ports[i]);
            tally(&tallies.reopened);
        }
    }
    audit_stream_flush(&world->audit.stream);
    return served;
}

static void *serve_directly(void *argument)
{
    (void)argument;
    for (unsigned pass = 1; !atomic_load_explicit(&world->stop_fabric, memory_order_acquire);
         pass++) {
        unsigned served = serve_all();
        atomic_fetch_add(&world->pass, 1);
        if (pass % 64 == 0) {
            for (unsigned i = 0; i < world->port_count; i++)
                port_notify(world->ports[i]);
            audit_stream_notify(&world->audit.stream);
        }
        if (!served)
            race_rest();
    }
    serve_all();
    for (unsigned i = 0; i < world->port_count; i++)
        port_stop(world->ports[i]);
    audit_stream_flush(&world->audit.stream);
    audit_stream_notify(&world->audit.stream);
    return NULL;
}

static struct poller poller;

static void *serve_by_poller(void *argument)
{
    poller_run(argument);
    return NULL;
}

static void start_poller(int wake_fd)
{
    struct error err;
    world->doorbell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    const struct poller_settings settings = {
        .mode = POLLER_ADAPTIVE,
        .idle_spin_ns = NS_PER_MS, // of a clock that runs fast
        .doorbell_interval_ns = NS_PER_MS,
        .doorbell_fd = world->doorbell_fd,
        .wake_fd = wake_fd,
        .clock = &race_clock,
        .audit = &world->audit.stream,
    };
    poller_init(&poller, &settings);
    world->poller = &poller;
    // Sometimes too little: ports take turns.
    token_bucket_init(&world->audit.stream.budget, 60, 60, race_clock.now_ns(&race_clock));
    for (unsigned i = 0; i < world->port_count; i++) {
        if (poller_add(&poller, world->ports[i], &err) < 0)
            race_die(err.text);
    }
}

static pthread_t start_thread(const char *name, void *(*run)(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, argument) != 0)
        race_die("pthread_create");
    pthread_setname_np(thread, name);
    return thread;
}

// Runs one of them and returns how many requests the fabric took or refused.
static uint64_t run_phase(const struct options *options, enum phase phase,
                          const struct race_goal *goal)
{
    start_world(options, phase);
    int wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_t fabric;
    if (phase == PHASE_POLLER) {
        start_poller(wake_fd);
        fabric = start_thread("fabric", serve_by_poller, &poller);
    } else {
        fabric = start_thread("fabric", serve_directly, NULL);
    }
    if (world->links)
        race_links_run();
    pthread_t reader = start_thread("reader", race_read, &world->audit);
    pthread_t mutator = start_thread("mutator", race_mutate, NULL);
    race_drive(goal);
    atomic_store(&world->level_own.level, LEVEL_STANDARD);
    atomic_store(&world->level_supervisor.hold, 0);
    if (phase == PHASE_POLLER)
        poller_stop(&poller);
    atomic_store(&world->stop_fabric, true);
    pthread_join(fabric, NULL);
    if (world->links)
        race_links_stop();
    atomic_store(&world->stop_mutator, true);
    pthread_join(mutator, NULL);
    atomic_store(&world->stop_reader, true);
    pthread_join(reader, NULL);
    uint64_t requests = race_requests();
    close(wake_fd);
    if (world->doorbell_fd >= 0)
        close(world->doorbell_fd);
    end_world();
    return requests;
}

static void print_classes(void)
{
    printf("\"classes\": {");
    for (unsigned i = 0; i < CLASS_COUNT; i++)
        printf("%s\"%s\": %llu", i ? ", " : "", race_classes[i].name,
               (unsigned long long)race_class_hits((enum race_class)i));
    printf("}, \"rules\": {");
    for (unsigned i = 1; i <= QUEUE_RULE_INDIRECT_TABLE; i++)
        printf("%s\"%s\": %llu", i > 1 ? ", " : "", queue_rule_name(i),
               (unsigned long long)tally_of(&tallies.rules[i]));
    printf("}, ");
}

static void print_tallies(void)
{
    const struct {
        const char *name;
        const _Atomic uint64_t *value;
    } shown[] = {
        {"policy", &tallies.policy},
        {"allowed", &tallies.allowed},
        {"submitted", &tallies.submitted},
        {"anomalies", &tallies.anomalies},
        {"reopened", &tallies.reopened},
        {"closed_by_order", &tallies.closed_by_order},
        {"levels", &tallies.levels},
        {"audit_records", &tallies.records},
        {"mutations", &tallies.mutations},
        {"link_replies", &tallies.delivered},
        {"link_broken", &tallies.broken},
        {"link_hung", &tallies.hung},
        {"process_anomalies", &tallies.process_anomalies},
        {"process_restarts", &tallies.restarts},
        {"lost_chains", &tallies.lost},
        {"mismatches", &tallies.mismatches},
    };
    for (unsigned i = 0; i < COUNT(shown); i++)
        printf("\"%s\": %llu, ", shown[i].name, (unsigned long long)tally_of(shown[i].value));
}

// Returns true if the run proves what it is for.
static bool judge(const struct options *options, const uint64_t *requests, uint64_t sum)
{
    bool good = !tally_of(&tallies.mismatches) && !tally_of(&tallies.lost);
    uint64_t least = options->full ? FULL_CLASS_HITS : 1;
    for (unsigned i = 0; i < CLASS_COUNT; i++) {
        if (race_class_hits((enum race_class)i) < least) {
            fprintf(stderr, "race: class %s was hit %llu times, %llu wanted\n",
                    race_classes[i].name, (unsigned long long)race_class_hits((enum race_class)i),
                    (unsigned long long)least);
            good = false;
        }
    }
    if (tally_of(&tallies.policy) * 100 < sum * LEAST_POLICY) {
        fprintf(stderr, "race: too few requests reached policy\n");
        good = false;
    }
    for (unsigned i = 0; i < PHASES; i++)
        good &= requests[i] != 0;
    return good && (!options->full || sum >= options->requests);
}

static int usage(void)
{
    fprintf(stderr, "usage: race [--full] [--requests N] [--seconds N] [--seed N]\n");
    return 64;
}

static bool parse(struct options *options, int argc, char **argv)
{
    *options = (struct options){.requests = 1000000, .seconds = 17, .seed = 1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--full") == 0) {
            options->full = true;
            options->requests = 10500000;
            options->seconds = 3600;
            continue;
        }
        if (i + 1 == argc)
            return false;
        uint64_t value = strtoull(argv[i + 1], NULL, 0);
        if (strcmp(argv[i], "--requests") == 0)
            options->requests = value;
        else if (strcmp(argv[i], "--seconds") == 0)
            options->seconds = value;
        else if (strcmp(argv[i], "--seed") == 0)
            options->seed = value;
        else
            return false;
        i++;
    }
    return true;
}

int main(int argc, char **argv)
{
    // Percent of all requests, and of the time; a phase that is done early leaves its time to those
    // that follow. The classes have to be complete when the last one ends.
    static const unsigned shares[PHASES] = {3, 7, 20, 70};
    struct options options;
    uint64_t requests[PHASES];
    uint64_t sum = 0;
    if (!parse(&options, argc, argv))
        return usage();
    uint64_t start_ns = real_now(NULL);
    prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0); // of all threads: naps are short
    unsigned shared = 0;
    for (unsigned i = 0; i < PHASES; i++) {
        bool last = i == PHASES - 1;
        shared += shares[i];
        const struct race_goal goal = {
            .closing_percent = i <= PHASE_LINKS ? 10 : 70,
            .requests = last ? options.requests - sum : options.requests * shares[i] / 100,
            .class_hits = last && options.full ? FULL_CLASS_HITS : 0,
            .deadline_ns = start_ns + options.seconds * NS_PER_S * shared / 100,
        };
        options.seed += 0x10000;
        requests[i] = run_phase(&options, (enum phase)i, &goal);
        sum += requests[i];
    }
    printf("{\"test\": \"race\", \"sanitizer\": \"%s\", \"full\": %s, \"seconds\": %.1f, ",
           RACE_SANITIZER, options.full ? "true" : "false",
           (double)(real_now(NULL) - start_ns) / (double)NS_PER_S);
    printf("\"requests\": %llu, \"direct\": %llu, \"poller\": %llu, \"links\": %llu, ",
           (unsigned long long)sum, (unsigned long long)requests[PHASE_DIRECT],
           (unsigned long long)requests[PHASE_POLLER],
           (unsigned long long)(requests[PHASE_SOUND_LINKS] + requests[PHASE_LINKS]));
    printf("\"reached_policy_percent\": %.1f, ",
           sum ? 100.0 * (double)tally_of(&tallies.policy) / (double)sum : 0.0);
    print_tallies();
    print_classes();
    printf("\"crashes\": 0}\n");
    return judge(&options, requests, sum) ? 0 : 1;
}
