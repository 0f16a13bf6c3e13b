// SPDX-License-Identifier: Apache-2.0
// A backend process that misbehaves at random, for a long time: the fabric's end never writes
// outside a request's reply, never ends a request twice, and ends every one.
#include "link_world.h"

static struct link_world w;
static struct random r;

// What the process has: heads, in the order in which it took them.
static uint16_t held[VMM_MAX_IN_FLIGHT];
static unsigned held_count;
static unsigned answered; // reports that were followed by orders

static void take_all(void)
{
    while (peer_waiting(&w)) {
        cr_assert_lt(held_count, w.layout.slots, "more than the slots are sent");
        held[held_count++] = peer_take(&w);
    }
}

static void scribble(void)
{
    // Anywhere in the shared memory but at the used index, so that the rings lie now and then.
    for (unsigned i = random_below(&r, 8); i > 0; i--) {
        uint64_t at = random_below(&r, w.layout.bytes);
        if (at != w.layout.used + 2 && at != w.layout.used + 3)
            w.memory[at] = (uint8_t)random_next(&r);
    }
}

static void answer_one(void)
{
    unsigned which = (unsigned)random_below(&r, held_count);
    uint16_t head = held[which];
    held[which] = held[--held_count];
    uint32_t room = 0;
    memcpy(&room, w.memory + w.layout.descriptors + (head + 1) * 16 + 8, 4);
    uint32_t capacity = room - (uint32_t)sizeof(struct port_reply_header);
    uint64_t cookie = peer_header(&w, head).cookie;
    if (random_chance(&r, 95)) {
        uint32_t length = capacity > LINK_MAX_REPLY ? 0 : (uint32_t)random_below(&r, capacity + 1);
        peer_answer(&w, head, random_chance(&r, 80) ? 0 : (uint32_t)random_below(&r, 4096), length);
        return;
    }
    uint32_t lengths[] = {0, capacity, capacity + 1, UINT32_MAX, (uint32_t)random_next(&r)};
    uint32_t length = lengths[random_below(&r, COUNT(lengths))];
    peer_put(&w, head, random_chance(&r, 80) ? 0 : (uint32_t)random_next(&r),
             random_chance(&r, 80) ? cookie : random_next(&r), length);
    peer_push(&w, random_chance(&r, 80) ? head : (uint32_t)random_below(&r, 200),
              random_chance(&r, 60) ? length + 16 : (uint32_t)random_below(&r, 600));
}

static void misbehave(void)
{
    switch (random_below(&r, 5)) {
    case 0:
        *peer16(&w, w.layout.used + VIRTQ_RING_INDEX) = (uint16_t)random_next(&r);
        break;
    case 1:
        peer_push(&w, (uint32_t)random_below(&r, 2 * w.layout.slots + 2), 16);
        break;
    case 2:
        random_fill(&r, w.memory + w.layout.used + 4, w.layout.queue_size * 8);
        break;
    default:
        scribble();
        break;
    }
}

static unsigned waiting(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < LINK_REQUESTS; i++)
        count += w.requests[i].waits;
    return count;
}

// No request waits longer than two time-outs: one for who has its slot, one for itself.
static void check_ages(void)
{
    for (unsigned i = 0; i < LINK_REQUESTS; i++) {
        const struct link_request *request = &w.requests[i];
        check_reply(request);
        if (request->waits)
            cr_assert_leq(w.now - request->since_ns,
                          2 * LINK_TIMEOUT_MS * NS_PER_MS + 20 * NS_PER_MS);
    }
}

// The supervisor: a process that was reported is killed and replaced.
static void supervise(void)
{
    if (w.reports == answered && !random_chance(&r, 1))
        return;
    if (w.reports != answered) {
        cr_assert_eq(w.reports, answered + 1, "reported more than once");
        cr_assert_not(backend_link_is_up(&w.link));
    }
    answered = w.reports;
    if (!random_chance(&r, 30)) {
        // With a time in between in which nobody is there.
        order(&w, false);
        cr_assert_eq(waiting(), 0u, "something waits for nobody");
        for (unsigned i = random_below(&r, 3); i > 0; i--) {
            struct link_request *refused = submit(&w, 1, 1);
            cr_assert_not(refused->waits);
        }
        if (random_chance(&r, 30))
            misbehave();
        // The memory is what the next process finds.
        order(&w, false);
    } else {
        backend_link_order(&w.link, false);
    }
    order(&w, true);
    held_count = 0;
}

Test(backend_link_property, misbehaves_at_random, .timeout = 55)
{
    static const uint32_t in_flight[] = {1, 2, 5, 16, 64};
    uint64_t done = 0;
    for (size_t round = 0; round < COUNT(in_flight); round++) {
        r = random_start(91 + round);
        start_up(&w, in_flight[round]);
        held_count = answered = 0;
        for (int i = 0; i < 25000; i++) {
            for (unsigned k = random_below(&r, 3); k > 0 && waiting() < in_flight[round]; k--)
                submit(&w, (uint32_t)random_below(&r, LINK_MAX_REQUEST + 1),
                       (uint32_t)random_below(&r, LINK_MAX_REPLY + 1));
            // What a process that lied about the rings would have is its own affair.
            if (backend_link_is_up(&w.link) && peer_waiting(&w) <= w.layout.slots - held_count)
                take_all();
            while (held_count && random_chance(&r, 60))
                answer_one();
            if (random_chance(&r, 1))
                misbehave();
            if (random_chance(&r, 1) && random_chance(&r, 50))
                forget(&w);
            w.now += random_below(&r, 2 * NS_PER_MS);
            pass(&w);
            tick(&w);
            if (random_chance(&r, 70))
                supervise();
            if (i % 16 == 0)
                check_ages();
        }
        // In the end the process says nothing any more.
        for (int i = 0; i < 3; i++) {
            w.now += LINK_TIMEOUT_MS * NS_PER_MS;
            tick(&w);
            pass(&w);
        }
        cr_assert_eq(waiting(), 0u);
        check_ages();
        done += w.number;
        cr_expect_gt(w.reports, 50u, "%u reports", w.reports);
        world_end(&w);
    }
    cr_expect_gt(done, 50000u, "%llu requests", (unsigned long long)done);
}
