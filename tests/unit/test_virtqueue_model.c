// SPDX-License-Identifier: Apache-2.0
// The split virtqueue against a reference model, written from the text of virtio 1.2, section 2.7,
// and from nothing else; and against a driver that changes descriptors while they are taken.
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "virtqueue_world.h"

__extension__ typedef unsigned __int128 wide;

// The world and what the model knows about its driver.
struct model {
    struct world *world;
    unsigned features;
    uint16_t taken; // available entries
    uint16_t asked; // used index when the device last asked for the driver's wish
    bool in_flight[WORLD_MAX_SIZE];
};

// The model's answer: a chain, or the descriptor at which rules are broken and which ones are
// (a descriptor can break several; the specification does not order them).
struct verdict {
    enum virtqueue_result result;
    unsigned rules; // bit per enum queue_rule
    uint16_t descriptor;
    struct virtqueue_chain chain;
};

#define BROKEN(rule) (1u << QUEUE_RULE_##rule)

static bool model_allows(uint64_t address, uint32_t length, unsigned right)
{
    for (size_t i = 0; i < COUNT(world_regions); i++) {
        if (address >= world_regions[i].base &&
            (wide)address + length <= (wide)world_regions[i].base + world_regions[i].size)
            return world_regions[i].rights & right;
    }
    return false;
}

// A buffer of the chain.
static unsigned judge_element(struct virtqueue_chain *chain, const struct virtq_descriptor *d)
{
    unsigned rules = 0;
    bool writable = d->flags & WRITE;
    // Of our own: a buffer of no bytes has no address to check.
    if (!d->length)
        rules |= BROKEN(EMPTY);
    // 2.7.4.2: "MUST place any device-writable descriptor elements after any device-readable".
    if (!writable && chain->count != chain->readable_count)
        rules |= BROKEN(ORDER);
    // 2.7.4.1: the device "MAY have a reasonable limit of descriptors".
    if (chain->count >= VIRTQUEUE_MAX_SEGMENTS)
        rules |= BROKEN(SEGMENTS);
    if (!model_allows(d->address, d->length, writable ? GUEST_WRITE : GUEST_READ))
        rules |= BROKEN(ADDRESS);
    // 2.7.5.2: "MUST NOT add a descriptor chain longer than 2^32 bytes in total".
    if ((wide)chain->readable_bytes + chain->writable_bytes + d->length > (wide)1 << 32)
        rules |= BROKEN(TOTAL_LENGTH);
    if (rules)
        return rules;
    chain->segments[chain->count++] = (struct virtqueue_segment){{d->address}, d->length};
    if (writable) {
        chain->writable_bytes += d->length;
    } else {
        chain->readable_bytes += d->length;
        chain->readable_count++;
    }
    return 0;
}

// A descriptor that refers to an indirect table (2.7.5.3).
static unsigned judge_reference(const struct virtq_descriptor *d, bool inside, unsigned size)
{
    unsigned rules = 0;
    // 2.7.5.3.1: not within a table, and not together with NEXT.
    if (inside || (d->flags & NEXT))
        rules |= BROKEN(INDIRECT_CHAIN);
    // 2.7.5.3: the table is desc[len / 16], of at least a first descriptor; a longer one than the
    // queue's size could only hold a chain that is too long.
    if (!d->length || d->length % 16 || d->length / 16 > size)
        rules |= BROKEN(INDIRECT_LENGTH);
    if (!model_allows(d->address, d->length, GUEST_READ))
        rules |= BROKEN(INDIRECT_TABLE);
    return rules;
}

// Follows a chain from its head. Returns the rules that are broken, and *at where.
static unsigned model_walk(struct model *model, struct virtqueue_chain *chain, uint16_t *at)
{
    uint64_t table = DESCRIPTORS;
    unsigned entries = model->world->size, visits = 0;
    bool inside = false;
    *at = chain->head;
    for (;;) {
        struct virtq_descriptor d;
        memcpy(&d, shadow_of(model->world, table + *at * 16u), sizeof(d));
        unsigned rules = 0;
        // 2.7.5.2: loops are forbidden; who visits more descriptors than a table has is in one.
        // 2.7.5.3.1: no chain is longer than the queue's size, in whatever tables.
        if (visits++ == entries || chain->count == model->world->size)
            rules |= BROKEN(CHAIN_LENGTH);
        // 2.7.5: NEXT 1, WRITE 2, INDIRECT 4. 2.7.5.3.1: INDIRECT needs its feature.
        if (d.flags & (model->features & PORT_FEATURE_INDIRECT ? ~7u : ~3u))
            rules |= BROKEN(FLAGS);
        if (!(rules & BROKEN(FLAGS)) && (d.flags & INDIRECT)) {
            rules |= judge_reference(&d, inside, model->world->size);
            if (rules)
                return rules;
            // 2.7.5.3: "The first indirect descriptor is located at the start of the table".
            inside = true;
            table = d.address;
            entries = d.length / 16;
            visits = 0;
            *at = 0;
            continue;
        }
        rules |= judge_element(chain, &d);
        if (!rules && !(d.flags & NEXT))
            return 0;
        // 2.7.5: next is an index into the table that is walked.
        if ((d.flags & NEXT) && d.next >= entries)
            rules |= BROKEN(NEXT_RANGE);
        if (rules)
            return rules;
        *at = d.next;
    }
}

static struct verdict model_pop(struct model *model)
{
    struct world *world = model->world;
    struct verdict verdict = {.result = VIRTQUEUE_ANOMALY};
    // 2.7.6: idx says where the driver would put the next entry, modulo the queue size; it only
    // goes forward and never past what is outstanding.
    uint16_t outstanding = (uint16_t)(shadow16(world, AVAILABLE + 2) - model->taken);
    uint16_t head = shadow16(world, AVAILABLE + 4 + (model->taken % world->size) * 2);
    if (!outstanding) {
        verdict.result = VIRTQUEUE_EMPTY;
    } else if (outstanding > world->size) {
        verdict.rules = BROKEN(INDEX_JUMP);
    } else if (head >= world->size) {
        verdict.descriptor = head;
        verdict.rules = BROKEN(HEAD_RANGE);
    } else if (model->in_flight[head]) {
        verdict.descriptor = head;
        verdict.rules = BROKEN(HEAD_IN_FLIGHT);
    } else {
        verdict.chain.head = head;
        verdict.rules = model_walk(model, &verdict.chain, &verdict.descriptor);
        if (!verdict.rules) {
            verdict.result = VIRTQUEUE_CHAIN;
            model->in_flight[head] = true;
            model->taken++;
        }
    }
    return verdict;
}

// 2.7.7.2, word by word: every entry was placed at some idx; the one placed at used_event sends.
static bool model_wants_event(struct model *model)
{
    struct world *world = model->world;
    bool wanted = false;
    for (uint16_t idx = model->asked; idx != world->used_index; idx++) {
        if (model->features & PORT_FEATURE_EVENT_INDEX)
            wanted |= idx == shadow16(world, USED_EVENT(world->size));
        else
            wanted |= (shadow16(world, AVAILABLE) & 1) == 0;
    }
    model->asked = world->used_index;
    return wanted;
}

static void model_start(struct model *model, struct random *random, uint16_t size,
                        unsigned features)
{
    struct world *world = model->world;
    world_start(world, size, features);
    model->features = features;
    memset(model->in_flight, 0, sizeof(model->in_flight));
    // Anywhere: both sides agree on free-running indices.
    model->taken = world->available_index = (uint16_t)random_next(random);
    model->asked = world->used_index = (uint16_t)random_next(random);
    world->queue.next_available = model->taken;
    world->queue.next_used = world->queue.last_signalled = model->asked;
    driver_write16(world, AVAILABLE + 2, model->taken);
    driver_write16(world, USED + 2, model->asked);
}

static void compare_chains(const struct virtqueue_chain *chain,
                           const struct virtqueue_chain *wanted)
{
    cr_assert_eq(chain->head, wanted->head);
    cr_assert_eq(chain->count, wanted->count);
    cr_assert_eq(chain->readable_count, wanted->readable_count);
    cr_assert_eq(chain->readable_bytes, wanted->readable_bytes);
    cr_assert_eq(chain->writable_bytes, wanted->writable_bytes);
    for (unsigned i = 0; i < chain->count; i++) {
        cr_assert_eq(chain->segments[i].address.value, wanted->segments[i].address.value);
        cr_assert_eq(chain->segments[i].length, wanted->segments[i].length);
    }
}

static enum virtqueue_result pop_and_compare(struct model *model, struct virtqueue_chain *chain,
                                             unsigned *tally)
{
    struct world *world = model->world;
    struct queue_anomaly anomaly = {QUEUE_RULE_NONE, 0xeeee};
    uint16_t published = (uint16_t)(shadow16(world, AVAILABLE + 2) - model->taken);
    cr_assert_eq(virtqueue_has_work(&world->queue), published != 0);
    cr_assert_eq(virtqueue_published(&world->queue),
                 published < world->size ? published : world->size);
    struct verdict verdict = model_pop(model);
    memset(chain, 0xa5, sizeof(*chain));
    enum virtqueue_result result = virtqueue_pop(&world->queue, chain, &anomaly);
    cr_assert_eq(result, verdict.result, "result %d, model %d (rule %s, model %#x)", result,
                 verdict.result, queue_rule_name(anomaly.rule), verdict.rules);
    if (result == VIRTQUEUE_ANOMALY) {
        cr_assert(verdict.rules >> anomaly.rule & 1, "rule %s, model %#x",
                  queue_rule_name(anomaly.rule), verdict.rules);
        cr_assert_eq(anomaly.descriptor, verdict.descriptor, "rule %s",
                     queue_rule_name(anomaly.rule));
        tally[anomaly.rule]++;
    } else if (result == VIRTQUEUE_CHAIN) {
        compare_chains(chain, &verdict.chain);
    }
    return result;
}

static void push_and_compare(struct model *model, uint16_t head, uint32_t written)
{
    push_used(model->world, head, written);
    model->in_flight[head] = false;
}

static unsigned held_by(const struct model *model)
{
    unsigned count = 0;
    for (unsigned i = 0; i < model->world->size; i++)
        count += model->in_flight[i];
    return count;
}

// What a port does when it is opened again.
static void reopen_and_compare(struct model *model)
{
    struct world *world = model->world;
    virtqueue_skip_published(&world->queue);
    model->taken = shadow16(world, AVAILABLE + 2);
    cr_assert_not(virtqueue_has_work(&world->queue));
    cr_assert_eq(virtqueue_return_held(&world->queue), held_by(model));
    for (unsigned head = 0; head < world->size; head++) {
        if (model->in_flight[head])
            shadow_push(world, (uint16_t)head, 0);
        model->in_flight[head] = false;
    }
    cr_assert_eq(world->queue.in_flight_count, 0);
    world->available_index = model->taken;
}

// 2.7.7.2 and 2.7.10.2 at any moment.
static void notify_and_compare(struct model *model, struct random *random, unsigned *events)
{
    struct world *world = model->world;
    if (random_chance(random, 50)) {
        uint16_t near = (uint16_t)(world->used_index + random_below(random, 6) - 4);
        driver_write16(world, USED_EVENT(world->size),
                       random_chance(random, 90) ? near : (uint16_t)random_next(random));
        driver_write16(world, AVAILABLE, (uint16_t)random_below(random, 2));
    }
    bool wanted = model_wants_event(model);
    cr_assert_eq(virtqueue_wants_event(&world->queue), wanted);
    events[wanted]++;
    cr_assert_not(virtqueue_wants_event(&world->queue), "asked again without a push");

    bool doorbell = random_chance(random, 50);
    virtqueue_set_doorbell(&world->queue, doorbell);
    // 2.7.10.2: flags 0 or 1; with the event index always 0.
    if (!(model->features & PORT_FEATURE_EVENT_INDEX))
        shadow_write16(world, USED, doorbell ? 0 : 1);
    else if (doorbell)
        shadow_write16(world, AVAIL_EVENT(world->size), model->taken);
}

// Reads and writes of a chain against a byte-by-byte walk of its segments.
static void copy_and_compare(struct world *world, struct random *random,
                             const struct virtqueue_chain *chain)
{
    static uint8_t data[4096], wanted[4096];
    uint32_t offset = random_below(random, chain->readable_bytes + 20);
    uint32_t length = random_below(random, random_chance(random, 10) ? sizeof(data) : 64);
    if (random_chance(random, 50) && offset < chain->readable_bytes &&
        length > chain->readable_bytes - offset)
        length = chain->readable_bytes - offset;
    bool inside = (uint64_t)offset + length <= chain->readable_bytes;
    bool done = virtqueue_read(&world->queue, chain, offset, data, length);
    if (length)
        cr_assert_eq(done, inside, "read %u+%u of %u", offset, length, chain->readable_bytes);
    if (inside && length) {
        uint64_t position = 0;
        for (unsigned i = 0; i < chain->readable_count; i++)
            for (uint32_t k = 0; k < chain->segments[i].length; k++, position++) {
                if (position >= offset && position < (uint64_t)offset + length)
                    wanted[position - offset] =
                        *shadow_of(world, chain->segments[i].address.value + k);
            }
        cr_assert_eq(memcmp(data, wanted, length), 0);
    }

    offset = random_below(random, chain->writable_bytes + 20);
    length = random_below(random, 100);
    if ((uint64_t)offset + length > chain->writable_bytes) {
        // Out of range: false. Checked at the very end, so that nothing is changed that the model
        // would have to know.
        if (length)
            cr_assert_not(virtqueue_write(&world->queue, chain, chain->writable_bytes, data, 1));
        return;
    }
    random_fill(random, data, length);
    cr_assert(virtqueue_write(&world->queue, chain, offset, data, length) || !length);
    uint64_t position = 0;
    for (unsigned i = chain->readable_count; i < chain->count; i++)
        for (uint32_t k = 0; k < chain->segments[i].length; k++, position++) {
            if (position >= offset && position < (uint64_t)offset + length)
                *shadow_of(world, chain->segments[i].address.value + k) = data[position - offset];
        }
}

// A place for `length` bytes that a chain may name: behind the queue, so that a reply does not
// destroy it, or in the region that has just the right that is needed.
static uint64_t valid_place(struct random *random, uint32_t length, bool writable)
{
    uint64_t base = BUFFER, size = RW_BASE + RW_SIZE - BUFFER;
    if (length <= RO_SIZE && random_chance(random, 20)) {
        base = writable ? WO_BASE : RO_BASE;
        size = RO_SIZE;
    }
    uint64_t room = size - length;
    return base + (random_chance(random, 20) ? room : random_below(random, room + 1));
}

static uint64_t valid_buffer(struct random *random, uint32_t *length, bool writable)
{
    *length = 1 + random_below(random, random_chance(random, 10) ? RO_SIZE : 40);
    return valid_place(random, *length, writable);
}

// Addresses at which something can go wrong, and lengths.
static uint64_t bad_buffer(struct random *random, uint32_t *length)
{
    static const uint64_t addresses[] = {0,
                                         1,
                                         RW_BASE - 1,
                                         RW_BASE - 8,
                                         RO_BASE - 1,
                                         RO_BASE - 8,
                                         RO_BASE + RO_SIZE - 1,
                                         RO_BASE + RO_SIZE,
                                         WO_BASE - 1,
                                         WO_BASE,
                                         WO_BASE + WO_SIZE - 1,
                                         WO_BASE + WO_SIZE,
                                         RO_BASE,
                                         1ull << 32,
                                         1ull << 63,
                                         UINT64_MAX,
                                         UINT64_MAX - 15};
    static const uint32_t lengths[] = {1, 2, 8, 16, 17, RW_SIZE, RW_SIZE + 1, 1u << 31, UINT32_MAX};
    *length = lengths[random_below(random, COUNT(lengths))];
    return addresses[random_below(random, COUNT(addresses))];
}

// Where the elements of a random chain lie: in the queue's table and, from `direct` on, in an
// indirect one.
struct plan {
    unsigned count, direct;
    unsigned order[WORLD_MAX_SIZE];       // of the queue's table, the head first
    unsigned table_order[WORLD_MAX_SIZE]; // of the indirect table, 0 first
    uint64_t table;
    unsigned entries;
};

static void shuffle(struct random *random, unsigned *order, unsigned count, unsigned first)
{
    for (unsigned i = 0; i < count; i++)
        order[i] = i;
    for (unsigned i = count - 1; i > first; i--) {
        unsigned k = first + random_below(random, i + 1 - first), swap = order[i];
        order[i] = order[k];
        order[k] = swap;
    }
}

static void make_plan(struct model *model, struct random *random, struct plan *plan, bool damage)
{
    unsigned size = model->world->size;
    shuffle(random, plan->order, size, 0);
    // The head must not be in flight; the rest of the table is the driver's to reuse or not.
    for (unsigned i = 0; i < size; i++) {
        if (!model->in_flight[plan->order[i]]) {
            unsigned swap = plan->order[0];
            plan->order[0] = plan->order[i];
            plan->order[i] = swap;
            break;
        }
    }
    unsigned limit = size < VIRTQUEUE_MAX_SEGMENTS ? size : VIRTQUEUE_MAX_SEGMENTS;
    plan->count = 1 + random_below(random, random_chance(random, 60) && limit > 4 ? 4 : limit);
    if (damage && random_chance(random, 10))
        plan->count = size;
    plan->direct = plan->count;
    plan->entries = 0;
    if (!random_chance(random, model->features & PORT_FEATURE_INDIRECT ? 50 : 5))
        return;
    plan->direct = random_chance(random, 50) ? 0 : random_below(random, plan->count);
    unsigned least = plan->count - plan->direct;
    plan->entries = least + random_below(random, size - least + 1);
    plan->table = valid_place(random, plan->entries * 16, false);
    if (random_chance(random, 50))
        plan->table &= ~15ull; // still inside: every region begins at such an address
    shuffle(random, plan->table_order, plan->entries, 1);
}

static void put_plan(struct model *model, struct random *random, const struct plan *plan)
{
    unsigned readable = random_below(random, plan->count + 1);
    for (unsigned i = 0; i < plan->count; i++) {
        uint32_t length;
        bool writable = i >= readable, direct = i < plan->direct;
        uint64_t address = valid_buffer(random, &length, writable);
        bool more = i + 1 < plan->count;
        uint16_t flags = (uint16_t)((writable ? WRITE : 0) | (more ? NEXT : 0));
        unsigned k = direct ? i : i - plan->direct;
        const unsigned *order = direct ? plan->order : plan->table_order;
        uint16_t next = (uint16_t)(more ? order[k + 1] : random_next(random));
        put_entry(model->world, direct ? DESCRIPTORS : plan->table, order[k], address, length,
                  flags, next);
    }
    if (plan->entries) {
        uint16_t flags = (uint16_t)(INDIRECT | (random_chance(random, 30) ? WRITE : 0));
        put_descriptor(model->world, plan->order[plan->direct], plan->table, plan->entries * 16,
                       flags, (uint16_t)random_next(random));
    }
}

// Makes one thing about a descriptor wrong, or right after all: the model knows.
static void damage_descriptor(struct random *random, struct virtq_descriptor *d, uint16_t entries,
                              uint16_t another)
{
    switch (random_below(random, 9)) {
    case 0:
        d->flags ^= (uint16_t)(1u << random_below(random, 16));
        break;
    case 1:
        d->length = random_chance(random, 50) ? 0 : d->length + (uint32_t)random_below(random, 33);
        break;
    case 2:
        d->address = bad_buffer(random, &d->length);
        break;
    case 3:
        d->next = random_chance(random, 50) ? entries : (uint16_t)random_next(random);
        d->flags |= NEXT;
        break;
    case 4: // a loop, or a jump
        d->next = another;
        d->flags |= NEXT;
        break;
    case 5:
        d->flags ^= WRITE;
        break;
    case 6: // anything
        random_fill(random, d, sizeof(*d));
        break;
    case 7: { // whole descriptors, in a place that is none
        uint32_t ignored;
        d->flags ^= INDIRECT;
        d->address = bad_buffer(random, &ignored);
        d->length = 16u * (uint32_t)random_below(random, entries + 2u);
        break;
    }
    default:
        d->flags ^= INDIRECT;
        break;
    }
}

// Writes a chain; with `damage`, one thing about it is wrong. Returns its head.
static uint16_t random_chain(struct model *model, struct random *random, bool damage)
{
    struct plan plan;
    struct world *world = model->world;
    make_plan(model, random, &plan, damage);
    put_plan(model, random, &plan);
    if (!damage)
        return (uint16_t)plan.order[0];
    if (random_chance(random, 10))
        return (uint16_t)(random_chance(random, 50) ? world->size : random_next(random));
    if (random_chance(random, 10)) // may be in flight
        return (uint16_t)random_below(random, world->size);

    unsigned inside = plan.entries ? plan.count - plan.direct : 0;
    unsigned outside = plan.direct + (plan.entries ? 1 : 0);
    unsigned victim = random_below(random, inside + outside);
    bool direct = victim < outside;
    uint64_t table = direct ? DESCRIPTORS : plan.table;
    unsigned index = direct ? plan.order[victim] : plan.table_order[victim - outside];
    uint16_t another = (uint16_t)(direct ? plan.order[random_below(random, outside)]
                                         : plan.table_order[random_below(random, inside)]);
    struct virtq_descriptor d;
    memcpy(&d, shadow_of(world, table + index * 16), sizeof(d));
    damage_descriptor(random, &d, (uint16_t)(direct ? world->size : plan.entries), another);
    put_entry(world, table, index, d.address, d.length, d.flags, d.next);
    return (uint16_t)plan.order[0];
}

static void expect_reached(const unsigned *tally, unsigned least)
{
    static const unsigned reached[] = {
        QUEUE_RULE_INDEX_JUMP,      QUEUE_RULE_HEAD_RANGE,     QUEUE_RULE_HEAD_IN_FLIGHT,
        QUEUE_RULE_NEXT_RANGE,      QUEUE_RULE_CHAIN_LENGTH,   QUEUE_RULE_FLAGS,
        QUEUE_RULE_ORDER,           QUEUE_RULE_EMPTY,          QUEUE_RULE_ADDRESS,
        QUEUE_RULE_SEGMENTS,        QUEUE_RULE_INDIRECT_CHAIN, QUEUE_RULE_INDIRECT_TABLE,
        QUEUE_RULE_INDIRECT_LENGTH,
    };
    for (size_t i = 0; i < COUNT(reached); i++)
        cr_expect_gt(tally[reached[i]], least, "rule %s was hardly reached: %u times",
                     queue_rule_name(reached[i]), tally[reached[i]]);
}

static const uint16_t sizes[] = {1, 2, 4, 8, 16, 32, 64};

// One random ring: a driver that is mostly honest, and sometimes anything but.
static unsigned run_ring(struct model *model, struct random *random, unsigned *tally,
                         unsigned *events)
{
    struct world *world = model->world;
    unsigned chains = 0, held_count = 0;
    uint16_t held[WORLD_MAX_SIZE];
    model_start(model, random, sizes[random_below(random, COUNT(sizes))], random_below(random, 4));
    for (unsigned step = 4 + random_below(random, 12); step; step--) {
        if (held_count && (random_chance(random, 40) || held_count == world->size)) {
            unsigned which = random_below(random, held_count);
            push_and_compare(model, held[which], (uint32_t)random_next(random));
            held[which] = held[--held_count];
            continue;
        }
        if (random_chance(random, 15))
            notify_and_compare(model, random, events);
        if (random_chance(random, 2)) {
            uint16_t jump = (uint16_t)(world->available_index + random_next(random));
            driver_write16(world, AVAILABLE + 2, jump);
        } else {
            make_available(world, random_chain(model, random, random_chance(random, 20)));
        }
        struct virtqueue_chain chain;
        enum virtqueue_result result = pop_and_compare(model, &chain, tally);
        if (result == VIRTQUEUE_ANOMALY) {
            reopen_and_compare(model);
            held_count = 0;
        } else if (result == VIRTQUEUE_CHAIN) {
            chains++;
            copy_and_compare(world, random, &chain);
            held[held_count++] = chain.head;
        }
    }
    notify_and_compare(model, random, events);
    check_memory(world);
    return chains;
}

Test(virtqueue_model, random_driver_against_the_model, .timeout = 55)
{
    unsigned tally[32] = {0}, events[2] = {0};
    unsigned long chains = 0;
    struct model model = {.world = world_create(1, 0)};
    struct random random = random_start(30);
    for (int ring = 0; ring < 200000; ring++)
        chains += run_ring(&model, &random, tally, events);
    world_destroy(model.world);
    expect_reached(tally, 500);
    cr_expect_gt(chains, 500000u, "%lu chains", chains);
    cr_expect(events[0] > 10000 && events[1] > 10000, "%u refused, %u wanted", events[0],
              events[1]);
}

// A descriptor whose fields are noise that often looks like sense.
static void put_noise(struct world *world, struct random *random, uint64_t table, unsigned index)
{
    uint32_t length;
    uint64_t address = valid_buffer(random, &length, random_chance(random, 50));
    uint16_t flags = (uint16_t)random_below(random, random_chance(random, 80) ? 4 : 8);
    uint16_t next = (uint16_t)random_below(random, world->size);
    if (random_chance(random, 5))
        address = bad_buffer(random, &length);
    if (flags & INDIRECT) {
        // Or in the queue's own table, which is memory like any other.
        address = random_chance(random, 10) ? DESCRIPTORS : TABLE + random_below(random, 3) * 8;
        length = 16u * (1 + (uint32_t)random_below(random, world->size + 1u));
        if (random_chance(random, 70))
            flags &= (uint16_t)~NEXT;
    }
    if (random_chance(random, 2))
        flags = (uint16_t)random_next(random);
    if (random_chance(random, 2))
        next = (uint16_t)random_next(random);
    put_entry(world, table, index, address, length, flags, next);
}

// Nothing was meant by these tables: whatever they say is judged alike.
Test(virtqueue_model, noise_against_the_model, .timeout = 55)
{
    unsigned tally[32] = {0};
    unsigned long chains = 0;
    struct model model = {.world = world_create(1, 0)};
    struct world *world = model.world;
    struct random random = random_start(34);
    for (int ring = 0; ring < 100000; ring++) {
        model_start(&model, &random, sizes[random_below(&random, COUNT(sizes))],
                    random_below(&random, 4));
        for (unsigned i = 0; i < world->size; i++) {
            put_noise(world, &random, DESCRIPTORS, i);
            put_noise(world, &random, TABLE, i);
        }
        for (int step = 0; step < 8; step++) {
            struct virtqueue_chain chain;
            make_available(world, (uint16_t)random_below(&random, world->size));
            enum virtqueue_result result = pop_and_compare(&model, &chain, tally);
            if (result == VIRTQUEUE_ANOMALY)
                reopen_and_compare(&model);
            chains += result == VIRTQUEUE_CHAIN;
        }
        check_memory(world);
    }
    world_destroy(world);
    cr_expect_gt(chains, 100000u, "%lu chains", chains);
    cr_expect_gt(tally[QUEUE_RULE_CHAIN_LENGTH], 1000u);
    cr_expect_gt(tally[QUEUE_RULE_INDIRECT_CHAIN], 1000u);
    cr_expect_gt(tally[QUEUE_RULE_INDIRECT_LENGTH], 500u);
}

// A driver that changes descriptors while the device takes them. It never helps it: whatever was
// copied was checked, so no chain contains an address outside memory.
struct mutator {
    struct world *world;
    _Atomic bool stop;
};

static void store_descriptor(struct virtq_descriptor *shared, const struct virtq_descriptor *value)
{
    __atomic_store_n(&shared->address, value->address, __ATOMIC_RELAXED);
    __atomic_store_n(&shared->length, value->length, __ATOMIC_RELAXED);
    __atomic_store_n(&shared->flags, value->flags, __ATOMIC_RELAXED);
    __atomic_store_n(&shared->next, value->next, __ATOMIC_RELAXED);
}

static void *mutate(void *context)
{
    struct mutator *mutator = (struct mutator *)context;
    struct world *world = mutator->world;
    struct random random = random_start(32);
    struct virtq_descriptor *tables[] = {
        (struct virtq_descriptor *)(void *)host_of(world, DESCRIPTORS),
        (struct virtq_descriptor *)(void *)host_of(world, TABLE),
    };
    uint16_t *available = (uint16_t *)(void *)host_of(world, AVAILABLE);
    while (!atomic_load_explicit(&mutator->stop, memory_order_relaxed)) {
        struct virtq_descriptor d;
        bool valid = random_chance(&random, 85);
        bool writable = random_chance(&random, 50);
        d.address =
            valid ? valid_buffer(&random, &d.length, writable) : bad_buffer(&random, &d.length);
        d.flags = (uint16_t)((writable ? WRITE : 0) | (random_chance(&random, 60) ? NEXT : 0));
        d.next = (uint16_t)random_below(&random, world->size + (valid ? 0 : 1));
        bool inside = random_chance(&random, 50);
        if (!inside && random_chance(&random, 20)) {
            d.address = TABLE + random_below(&random, 2) * 8;
            d.length = 16u * (1 + (uint32_t)random_below(&random, world->size));
            d.flags = INDIRECT;
        }
        if (random_chance(&random, 2))
            d.flags = (uint16_t)random_next(&random);
        store_descriptor(&tables[inside][random_below(&random, world->size)], &d);
        uint16_t head = (uint16_t)random_below(&random, world->size);
        __atomic_store_n(&available[2 + random_below(&random, world->size)], head,
                         __ATOMIC_RELAXED);
        __atomic_fetch_add(&available[1], 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void check_chain(const struct world *world, const struct virtqueue_chain *chain)
{
    uint64_t readable = 0, writable = 0;
    cr_assert(chain->count >= 1 && chain->count <= VIRTQUEUE_MAX_SEGMENTS);
    cr_assert(chain->readable_count <= chain->count && chain->head < world->size);
    for (unsigned i = 0; i < chain->count; i++) {
        bool write = i >= chain->readable_count;
        cr_assert_gt(chain->segments[i].length, 0u);
        cr_assert(model_allows(chain->segments[i].address.value, chain->segments[i].length,
                               write ? GUEST_WRITE : GUEST_READ),
                  "address outside memory");
        *(write ? &writable : &readable) += chain->segments[i].length;
    }
    cr_assert_eq(chain->readable_bytes, readable);
    cr_assert_eq(chain->writable_bytes, writable);
}

Test(virtqueue_model, copies_once, .timeout = 55)
{
    struct world *world = world_create(32, PORT_FEATURE_INDIRECT);
    struct mutator mutator = {.world = world};
    struct random random = random_start(33);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, mutate, &mutator), 0);
    unsigned long chains = 0, anomalies = 0;
    static uint8_t data[VIRTQUEUE_MAX_SEGMENTS * RW_SIZE];
    // On a busy machine the driver may hardly run: the time bounds the number of chains.
    const time_t end = time(NULL) + 10;
    for (unsigned long taken = 0; taken < 150000 && time(NULL) < end;) {
        struct virtqueue_chain chain;
        struct queue_anomaly anomaly;
        enum virtqueue_result result = virtqueue_pop(&world->queue, &chain, &anomaly);
        if (result == VIRTQUEUE_EMPTY) {
            sched_yield();
            continue;
        }
        taken++;
        if (result == VIRTQUEUE_ANOMALY) {
            anomalies++;
            virtqueue_skip_published(&world->queue);
            continue;
        }
        chains++;
        check_chain(world, &chain);
        if (chain.readable_bytes)
            cr_assert(virtqueue_read(&world->queue, &chain, 0, data, chain.readable_bytes));
        virtqueue_push(&world->queue, chain.head, (uint32_t)random_next(&random));
    }
    atomic_store(&mutator.stop, true);
    pthread_join(thread, NULL);
    cr_expect_gt(chains, 200u, "%lu chains, %lu anomalies", chains, anomalies);
    cr_expect_gt(anomalies, 200u, "%lu chains, %lu anomalies", chains, anomalies);
    world_destroy(world);
}
