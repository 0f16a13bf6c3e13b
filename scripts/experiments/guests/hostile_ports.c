// SPDX-License-Identifier: Apache-2.0
// An honest port, and others that are attacked, in one cell: every attack breaks exactly one rule.
//
//   corrupt SEED TIMER   spoils each of the ports a0, a1 ... once, in a random place and way, and
//                        measures the honest port just before and just after (TIMER tsc or none)
//   late KIND SEED COUNT sends COUNT requests and rewrites each after a random delay, until they
//                        are sent or all ports are closed
//   kinds                says what `late` knows
//
// corrupt says, for each port, "port NAME rule RULE kind KIND honest REQUESTS cycles BEFORE AFTER",
// then "end NAME answered N changed N". late says "sent N before N after N mixed N denied N silent
// N wrong N": how many were answered as they were sent, as rewritten, or with parts of both
// payloads.
#include "hostile_driver.h"
#include "measure.h"

#include <string.h>

#define MAX_PORTS    15u
#define PAYLOAD      64u
#define SILENT       200000u // passes: some 5 ms
#define BAD          9u      // an operation that a loopback does not have
#define QUEUE_SIZE   64u
#define FLAGS_KNOWN  7u
#define MAX_SEGMENTS 16u

static struct measure_text text;
static struct hostile_driver driver;
static uint16_t head, tail; // descriptors of the request and the reply

struct target {
    char name[8];
    struct hostile_driver driver;
    uint16_t answered; // honest requests
};

static struct target targets[MAX_PORTS];
static unsigned target_count;

static void find_targets(void)
{
    while (target_count < MAX_PORTS) {
        struct target *target = &targets[target_count];
        snprintf(target->name, sizeof(target->name), "a%u", target_count);
        if (!cell_find_port(target->name))
            return;
        driver_open_port(&target->driver, target->name);
        target_count++;
    }
}

// An honest request in two random descriptors of `driver`.
static void compose(void)
{
    driver_fill(&driver, LOOPBACK_ECHO, 0, PAYLOAD);
    memset(driver.request + 1, 'A', PAYLOAD);
    struct virtq_descriptor request = driver.descriptors[0];
    struct virtq_descriptor reply = driver.descriptors[1];
    head = (uint16_t)measure_between(0, QUEUE_SIZE - 1);
    tail = (uint16_t)((head + measure_between(1, QUEUE_SIZE - 1)) % QUEUE_SIZE);
    driver.descriptors[head] = request;
    driver.descriptors[head].next = tail;
    driver.descriptors[tail] = reply;
}

// Without a doorbell, which would take the guest's time: the ports are polled.
static void publish(uint16_t number)
{
    driver_publish(&driver, number);
}

// Corruptions: each spoils what compose() made, and returns the head to publish.

static uint16_t *either(uint16_t *first, uint16_t *second)
{
    return measure_random() >> 63 ? first : second;
}

static uint16_t spoil_index(void)
{
    driver.published = (uint16_t)(driver.published + measure_between(QUEUE_SIZE + 1, 0xffff) - 1);
    return head;
}

static uint16_t spoil_head(void)
{
    return (uint16_t)measure_between(QUEUE_SIZE, 0xffff);
}

static uint16_t spoil_next(void)
{
    driver.descriptors[head].next = (uint16_t)measure_between(QUEUE_SIZE, 0xffff);
    return head;
}

static uint16_t spoil_flags(void)
{
    uint32_t unknown = measure_between(1, 0xffff / (FLAGS_KNOWN + 1)) * (FLAGS_KNOWN + 1);
    driver.descriptors[*either(&head, &tail)].flags |= (uint16_t)unknown;
    return head;
}

static uint16_t spoil_order(void)
{
    struct virtq_descriptor request = driver.descriptors[head];
    driver.descriptors[head] = driver.descriptors[tail];
    driver.descriptors[head].flags |= VIRTQ_DESCRIPTOR_NEXT;
    driver.descriptors[head].next = tail;
    driver.descriptors[tail] = request;
    driver.descriptors[tail].flags = 0;
    return head;
}

static uint16_t spoil_empty(void)
{
    driver.descriptors[*either(&head, &tail)].length = 0;
    return head;
}

// Anywhere outside the I/O region: half of them close to its ends.
static uint64_t outside(uint32_t length)
{
    uint64_t first = cell_boot()->io_physical;
    uint64_t end = first + cell_boot()->io_bytes;
    if (measure_random() >> 63)
        return measure_random() >> 63 ? end - measure_between(0, length - 1)
                                      : first - measure_between(1, length);
    for (;;) {
        uint64_t address = measure_random() >> measure_between(0, 40);
        if (address + length < first || address >= end)
            return address;
    }
}

static uint16_t spoil_address(void)
{
    struct virtq_descriptor *one = &driver.descriptors[*either(&head, &tail)];
    one->address = outside(one->length);
    return head;
}

static uint16_t spoil_header_length(void)
{
    driver.request->length = PAYLOAD + measure_between(1, UINT32_MAX);
    return head;
}

static uint16_t spoil_header_room(void)
{
    driver.descriptors[head].length = measure_between(1, sizeof(*driver.request) - 1);
    return head;
}

static uint16_t spoil_reply_room(void)
{
    driver.descriptors[tail].length = measure_between(1, sizeof(*driver.reply) - 1);
    return head;
}

static uint16_t spoil_reserved(void)
{
    driver.request->flags = measure_between(1, UINT32_MAX);
    return head;
}

// A chain of `count` descriptors of one byte from the head on, of which the last refers to `last`.
static void chain(unsigned count, uint16_t last)
{
    struct virtq_descriptor one = driver.descriptors[head];
    one.length = 1;
    for (unsigned i = 0; i < count; i++) {
        uint16_t at = (uint16_t)((head + i) % QUEUE_SIZE);
        driver.descriptors[at] = one;
        driver.descriptors[at].next = i + 1 < count ? (uint16_t)((at + 1) % QUEUE_SIZE) : last;
    }
}

static uint16_t spoil_loop(void)
{
    unsigned count = measure_between(1, QUEUE_SIZE);
    chain(count, (uint16_t)((head + measure_between(0, count - 1)) % QUEUE_SIZE));
    return head;
}

static uint16_t spoil_segments(void)
{
    unsigned count = measure_between(MAX_SEGMENTS, QUEUE_SIZE - 1);
    uint16_t last = (uint16_t)((head + count) % QUEUE_SIZE);
    struct virtq_descriptor reply = driver.descriptors[tail];
    chain(count, last);
    driver.descriptors[last] = reply;
    return head;
}

static struct virtq_descriptor *table(void)
{
    return (struct virtq_descriptor *)(driver.entry->buffers + 1024);
}

// The request in an indirect table of two.
static void refer(void)
{
    table()[0] = driver.descriptors[head];
    table()[0].next = 1;
    table()[1] = driver.descriptors[tail];
    driver.descriptors[head] = (struct virtq_descriptor){
        .address = driver_physical(table()),
        .length = 2 * sizeof(*table()),
        .flags = VIRTQ_DESCRIPTOR_INDIRECT,
    };
}

static uint16_t spoil_table_length(void)
{
    refer();
    uint32_t odd = measure_between(0, 200) * 16 + measure_between(1, 15);
    uint32_t large = measure_between(QUEUE_SIZE + 1, UINT32_MAX / 16) * 16;
    driver.descriptors[head].length = measure_random() >> 63 ? odd : large;
    return head;
}

static uint16_t spoil_table_next(void)
{
    refer();
    table()[0].next = (uint16_t)measure_between(2, 0xffff);
    return head;
}

static uint16_t spoil_table_loop(void)
{
    refer();
    table()[0].next = 0;
    return head;
}

static uint16_t spoil_table_nested(void)
{
    refer();
    uint16_t zero = 0, one = 1;
    table()[*either(&zero, &one)].flags |= VIRTQ_DESCRIPTOR_INDIRECT;
    return head;
}

static uint16_t spoil_table_address(void)
{
    refer();
    driver.descriptors[head].address = outside(driver.descriptors[head].length);
    return head;
}

// `rule` is enum queue_rule of base/queue_rule.h.
static const struct corruption {
    const char *name;
    unsigned rule;
    uint16_t (*spoil)(void);
} corruptions[] = {
    {"index", 1, spoil_index},
    {"head", 2, spoil_head},
    {"next", 4, spoil_next},
    {"flags", 6, spoil_flags},
    {"order", 7, spoil_order},
    {"empty", 8, spoil_empty},
    {"address", 9, spoil_address},
    {"header-length", 11, spoil_header_length},
    {"header-room", 11, spoil_header_room},
    {"reply-room", 12, spoil_reply_room},
    {"reserved", 13, spoil_reserved},
    {"loop", 14, spoil_loop},
    {"segments", 14, spoil_segments},
    {"table-length", 15, spoil_table_length},
    {"table-next", 4, spoil_table_next},
    {"table-loop", 5, spoil_table_loop},
    {"table-nested", 16, spoil_table_nested},
    {"table-address", 17, spoil_table_address},
};

// Honest requests on the port that is to be attacked, so that its rings stand anywhere.
static unsigned warm(void)
{
    unsigned count = measure_between(0, 2 * QUEUE_SIZE);
    for (unsigned i = 0; i < count; i++) {
        compose();
        publish(head);
        if (!driver_wait(&driver, driver.published) || driver.reply->status ||
            driver.reply->length != PAYLOAD)
            cell_exit(ATTACK_SILENT);
    }
    return count;
}

static struct cell_port honest;

static uint64_t honest_cycles(bool timed)
{
    static uint8_t payload[PAYLOAD], reply[PAYLOAD];
    uint64_t start = timed ? measure_cycles() : 0;
    if (cell_port_call(&honest, LOOPBACK_ECHO, 0, payload, sizeof(payload), reply, sizeof(reply),
                       NULL))
        cell_exit(ATTACK_WRONG);
    return timed ? measure_cycles() - start : 0;
}

static void corrupt_one(struct target *target, bool timed)
{
    driver = target->driver;
    unsigned count = warm();
    target->answered = driver_used_index(&driver);
    const struct corruption *chosen =
        &corruptions[measure_between(0, ATTACK_COUNT(corruptions) - 1)];
    compose();
    memset(driver.reply, 0xa5, sizeof(*driver.reply) + PAYLOAD);
    uint16_t number = chosen->spoil();
    uint64_t before = honest_cycles(timed);
    publish(number);
    uint64_t after = honest_cycles(timed);
    target->driver = driver;
    measure_say(&text, "port %s rule %u kind %s honest %u cycles %llu %llu\n", target->name,
                chosen->rule, chosen->name, count, (unsigned long long)before,
                (unsigned long long)after);
}

static void say_end(const struct target *target)
{
    const uint8_t *bytes = (const uint8_t *)target->driver.reply;
    unsigned changed = 0;
    for (unsigned i = 0; i < sizeof(*driver.reply) + PAYLOAD; i++)
        changed += bytes[i] != 0xa5;
    measure_say(&text, "end %s answered %u changed %u\n", target->name,
                (uint16_t)(driver_used_index(&target->driver) - target->answered), changed);
}

static int corrupt(bool timed)
{
    if (cell_port_open(&honest, "honest") < 0)
        return ATTACK_UNKNOWN;
    for (unsigned i = 0; i < 100; i++)
        honest_cycles(timed);
    for (unsigned i = 0; i < target_count; i++)
        corrupt_one(&targets[i], timed);
    // Whatever could still come has the time of many requests.
    for (unsigned i = 0; i < 2000; i++)
        honest_cycles(timed);
    for (unsigned i = 0; i < target_count; i++)
        say_end(&targets[i]);
    measure_flush(&text);
    return 0;
}

// Requests that are rewritten after they were published. Each store is atomic.
#define STORE(object, value) __atomic_store_n(&(object), value, __ATOMIC_RELAXED)

static void late_payload(void)
{
    for (unsigned i = 0; i < PAYLOAD / 8; i++)
        STORE(((uint64_t *)(driver.request + 1))[i], 0x4242424242424242);
}

static void late_operation(void)
{
    STORE(driver.request->operation, BAD);
}

static void late_address(void)
{
    STORE(driver.descriptors[head].address, outside(driver.descriptors[head].length));
}

static void late_reply(void)
{
    STORE(driver.descriptors[tail].address, outside(driver.descriptors[tail].length));
}

static void late_length(void)
{
    STORE(driver.descriptors[head].length, 0);
}

static void late_flags(void)
{
    STORE(driver.descriptors[head].flags, 0x8000);
}

static void late_next(void)
{
    STORE(driver.descriptors[head].next, 0xffff);
}

static const struct {
    const char *name;
    void (*rewrite)(void);
} late_kinds[] = {
    {"payload", late_payload}, {"operation", late_operation}, {"address", late_address},
    {"reply", late_reply},     {"length", late_length},       {"flags", late_flags},
    {"next", late_next},
};

static struct {
    unsigned sent, before, after, mixed, denied, silent, wrong;
} counts;

// An echo of what was A and may have become B before, or while, it was copied.
static void count_reply(void)
{
    const uint8_t *bytes = (const uint8_t *)(driver.reply + 1);
    unsigned old = 0, new = 0;
    for (unsigned i = 0; i < PAYLOAD; i++) {
        old += bytes[i] == 'A';
        new += bytes[i] == 'B';
    }
    if (driver.reply->status == PORT_STATUS_DENIED)
        counts.denied++;
    else if (driver.reply->status || driver.reply->length != PAYLOAD || old + new != PAYLOAD)
        counts.wrong++;
    else if (old == PAYLOAD || new == PAYLOAD)
        (old ? counts.before++ : counts.after++);
    else
        counts.mixed++;
}

static bool is_answered(unsigned passes)
{
    for (unsigned pass = 0; pass < passes; pass++) {
        if (driver_used_index(&driver) == driver.published)
            return true;
        __builtin_ia32_pause();
    }
    return false;
}

// Whoever is late is not silent: the same poller answers the honest port often meanwhile.
static bool is_silent(void)
{
    if (is_answered(SILENT))
        return false;
    for (unsigned i = 0; i < 2000; i++)
        honest_cycles(false);
    return !is_answered(SILENT);
}

// False if no answer came.
static bool late_one(void (*rewrite)(void))
{
    compose();
    counts.sent++;
    // Long delays find the request gone, short ones find it unread; in between is the race.
    uint32_t delay = measure_between(0, 1u << measure_between(6, 14));
    publish(head);
    measure_loop(delay);
    rewrite();
    if (is_silent())
        return false;
    count_reply();
    return true;
}

static int late(const char *kind, unsigned count)
{
    unsigned index = 0;
    while (index < ATTACK_COUNT(late_kinds) && strcmp(late_kinds[index].name, kind))
        index++;
    if (index == ATTACK_COUNT(late_kinds) || cell_port_open(&honest, "honest") < 0)
        return ATTACK_UNKNOWN;
    for (unsigned i = 0; i < target_count && counts.sent < count; i++) {
        driver = targets[i].driver;
        bool open = true;
        while (open && counts.sent < count)
            open = late_one(late_kinds[index].rewrite);
        counts.silent += !open;
    }
    measure_say(&text, "sent %u before %u after %u mixed %u denied %u silent %u wrong %u\n",
                counts.sent, counts.before, counts.after, counts.mixed, counts.denied,
                counts.silent, counts.wrong);
    measure_flush(&text);
    return 0;
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    find_targets();
    if (!strcmp(command, "corrupt") && argc == 4) {
        measure_seed(argv[2]);
        return corrupt(!strcmp(argv[3], "tsc"));
    }
    if (!strcmp(command, "late") && argc == 5) {
        measure_seed(argv[3]);
        return late(argv[2], (unsigned)strtoul(argv[4], NULL, 10));
    }
    if (strcmp(command, "kinds"))
        return ATTACK_UNKNOWN;
    for (unsigned i = 0; i < ATTACK_COUNT(late_kinds); i++)
        cell_print(late_kinds[i].name);
    return 0;
}
