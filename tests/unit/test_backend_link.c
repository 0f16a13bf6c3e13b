// SPDX-License-Identifier: Apache-2.0
// The fabric's end of a backend process: what it sends, what it takes, and what it makes of a
// process that breaks a rule, hangs or dies.
#include "link_world.h"

static struct link_world w;

static void end(void)
{
    world_end(&w);
}

TestSuite(backend_link, .fini = end);

Test(backend_link, request_on_the_wire)
{
    start_up(&w, 4);
    struct link_request *r = submit(&w, 100, 200);
    cr_expect(r->waits);
    w.link.backend.flush(&w.link);
    cr_assert_eq(peer_waiting(&w), 1u);
    uint16_t head = peer_take(&w);
    struct virtq_descriptor chain[2];
    cr_assert_eq(head % 2, 0);
    memcpy(chain, w.memory + w.layout.descriptors + head * 16, sizeof(chain));
    cr_expect_eq(chain[0].address, w.layout.buffers + head / 2 * w.layout.stride);
    cr_expect_eq(chain[0].length, 124u);
    cr_expect_eq(chain[0].flags, VIRTQ_DESCRIPTOR_NEXT);
    cr_expect_eq(chain[0].next, head + 1);
    cr_expect_eq(chain[1].address, chain[0].address + w.layout.reply);
    cr_expect_eq(chain[1].length, 216u);
    cr_expect_eq(chain[1].flags, VIRTQ_DESCRIPTOR_WRITE);
    struct port_request_header header = peer_header(&w, head);
    cr_expect_eq(header.operation, (uint32_t)OPERATION);
    cr_expect_eq(header.flags, 0u);
    cr_expect_eq(header.cookie, r->request.number);
    cr_expect_eq(header.length, 100u);
    cr_expect_eq(header.argument, r->request.argument);
    cr_expect_eq(memcmp(peer_request(&w, head) + 24, r->payload, 100), 0);
    peer_answer(&w, head, 0, 200);
    cr_expect(r->waits);
    pass(&w);
    expect_answer(r, 200);
    cr_expect_eq(w.reports, 0u);
}

// The largest request and reply, and the smallest.
Test(backend_link, sizes)
{
    static const uint32_t sizes[][3] = {{LINK_MAX_REQUEST, LINK_MAX_REPLY, LINK_MAX_REPLY},
                                        {0, 0, 0},
                                        {0, LINK_MAX_REPLY, 0},
                                        {1, 1, 1},
                                        {LINK_MAX_REQUEST, 0, 0}};
    start_up(&w, 1);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct link_request *r = submit(&w, sizes[i][0], sizes[i][1]);
        peer_answer(&w, peer_take(&w), 0, sizes[i][2]);
        pass(&w);
        expect_answer(r, sizes[i][2]);
    }
    cr_expect_eq(w.reports, 0u);
}

Test(backend_link, out_of_order)
{
    struct random random = random_start(90);
    start_up(&w, 16);
    for (int round = 0; round < 2000; round++) {
        struct link_request *sent[16];
        uint16_t heads[16];
        unsigned count = 1 + (unsigned)random_below(&random, 16);
        for (unsigned i = 0; i < count; i++)
            sent[i] = submit(&w, (uint32_t)random_below(&random, LINK_MAX_REQUEST + 1), 400);
        for (unsigned i = 0; i < count; i++)
            heads[i] = peer_take(&w);
        for (unsigned i = count; i > 0; i--) {
            unsigned which = (unsigned)random_below(&random, i);
            uint32_t length = (uint32_t)random_below(&random, 401);
            struct link_request *r = NULL;
            for (unsigned k = 0; k < count; k++)
                if (sent[k]->request.number == peer_header(&w, heads[which]).cookie)
                    r = sent[k];
            cr_assert_not_null(r);
            peer_answer(&w, heads[which], 0, length);
            heads[which] = heads[i - 1];
            if (random_chance(&random, 50)) {
                pass(&w);
                expect_answer(r, length);
            }
        }
        pass(&w);
        for (unsigned i = 0; i < count; i++)
            cr_assert_not(sent[i]->waits);
    }
    cr_expect_eq(w.reports, 0u);
}

// Statuses are the backend's; all that errno knows, and no more.
Test(backend_link, statuses)
{
    static const uint32_t statuses[] = {0, 1, PORT_STATUS_INVALID, 4095};
    start_up(&w, 1);
    for (size_t i = 0; i < COUNT(statuses); i++) {
        struct link_request *r = submit(&w, 1, 10);
        peer_answer(&w, peer_take(&w), statuses[i], 0);
        pass(&w);
        expect_status(r, statuses[i]);
    }
    // The process's own gate was shut: it handed the buffer back without a byte.
    struct link_request *r = submit(&w, 1, 10);
    peer_push(&w, peer_take(&w), 0);
    pass(&w);
    expect_status(r, PORT_STATUS_CLOSED);
    cr_expect_eq(w.reports, 0u);
    cr_expect(backend_link_is_up(&w.link));
}

// A doorbell for each batch, if the process wants one.
Test(backend_link, doorbell)
{
    start_up(&w, 8);
    wake_ups(&w);
    submit(&w, 1, 1);
    submit(&w, 1, 1);
    cr_expect_eq(wake_ups(&w), 0u);
    w.link.backend.flush(&w.link);
    cr_expect_eq(wake_ups(&w), 1u);
    w.link.backend.flush(&w.link);
    cr_expect_eq(wake_ups(&w), 0u, "nothing was sent");
    *peer16(&w, w.layout.used + VIRTQ_RING_FLAGS) = VIRTQ_USED_NO_NOTIFY;
    submit(&w, 1, 1);
    w.link.backend.flush(&w.link);
    cr_expect_eq(wake_ups(&w), 0u, "it polls");
    *peer16(&w, w.layout.used + VIRTQ_RING_FLAGS) = 0;
    submit(&w, 1, 1);
    w.link.backend.flush(&w.link);
    cr_expect_eq(wake_ups(&w), 1u);
}

// The process that is started with the VM: requests wait for it.
Test(backend_link, waits_for_the_first_process)
{
    world_start(&w, 2);
    struct link_request *early[4];
    for (unsigned i = 0; i < 4; i++)
        early[i] = submit(&w, 1, 10);
    w.now += 10 * LINK_TIMEOUT_MS * NS_PER_MS;
    pass(&w);
    tick(&w);
    cr_expect_eq(peer_waiting(&w), 0u, "sent to nobody");
    for (unsigned i = 0; i < 4; i++)
        cr_expect(early[i]->waits);
    cr_expect_not(backend_link_is_up(&w.link));
    order(&w, true);
    for (unsigned i = 0; i < 4; i++) {
        peer_answer(&w, peer_take(&w), 0, 5);
        pass(&w);
        expect_answer(early[i], 5);
    }
}

Test(backend_link, first_process_that_never_comes)
{
    world_start(&w, 2);
    struct link_request *r = submit(&w, 1, 10);
    order(&w, false);
    expect_status(r, PORT_STATUS_DOWN);
    expect_status(submit(&w, 1, 10), PORT_STATUS_DOWN);
    cr_expect_eq(w.reports, 0u);
}

// Every way to break the rules of the queue. What was in flight is lost, what comes is refused,
// the supervisor hears of it once, and nothing was written where it must not be.
enum misdeed {
    ID_IS_ODD,
    ID_BEHIND_THE_SLOTS,
    ID_IS_HUGE,
    ID_NOT_SENT,
    ID_TWICE,
    INDEX_TOO_FAR,
    INDEX_JUMPS,
    INDEX_BACKWARDS,
    COOKIE_WRONG,
    COOKIE_OF_ANOTHER,
    COOKIE_OF_THE_PAST,
    LENGTH_BEYOND_CAPACITY,
    LENGTH_HUGE,
    WRITTEN_LESS_THAN_LENGTH,
    WRITTEN_MORE_THAN_LENGTH,
    WRITTEN_LESS_THAN_HEADER,
    WRITTEN_WRAPS,
    STATUS_TOO_HIGH,
    STATUS_HUGE,
};

#define MISDEEDS (STATUS_HUGE + 1u)

static void commit(enum misdeed misdeed, uint16_t a, uint16_t b)
{
    const uint32_t header = (uint32_t)sizeof(struct port_reply_header);
    const uint64_t cookie = peer_header(&w, a).cookie;
    memset(peer_reply(&w, a) + header, 0x77, w.layout.stride - w.layout.reply - header);
    peer_put(&w, a, 0, cookie, 10);
    switch (misdeed) {
    case ID_IS_ODD:
        peer_push(&w, a + 1u, header + 10);
        break;
    case ID_BEHIND_THE_SLOTS:
        peer_push(&w, 2 * w.layout.slots, header + 10);
        break;
    case ID_IS_HUGE:
        peer_push(&w, UINT32_MAX - 1, header + 10);
        break;
    case ID_NOT_SENT:
        peer_push(&w, 6, header + 10);
        break;
    case ID_TWICE:
        peer_push(&w, a, header + 10);
        peer_push(&w, a, header + 10);
        break;
    case INDEX_TOO_FAR:
        peer_push(&w, a, header + 10);
        peer_answer(&w, b, 0, 10);
        peer_push(&w, a, header + 10);
        break;
    case INDEX_JUMPS:
        *peer16(&w, w.layout.used + VIRTQ_RING_INDEX) = 0x8000;
        break;
    case INDEX_BACKWARDS:
        *peer16(&w, w.layout.used + VIRTQ_RING_INDEX) = (uint16_t)(w.used - 1);
        break;
    case COOKIE_WRONG:
        peer_put(&w, a, 0, ~cookie, 10);
        peer_push(&w, a, header + 10);
        break;
    case COOKIE_OF_ANOTHER:
        peer_put(&w, a, 0, peer_header(&w, b).cookie, 10);
        peer_push(&w, a, header + 10);
        break;
    case COOKIE_OF_THE_PAST:
        peer_put(&w, a, 0, 1, 10); // answered before
        peer_push(&w, a, header + 10);
        break;
    case LENGTH_BEYOND_CAPACITY:
        peer_put(&w, a, 0, cookie, 101);
        peer_push(&w, a, header + 101);
        break;
    case LENGTH_HUGE:
        peer_put(&w, a, 0, cookie, UINT32_MAX);
        peer_push(&w, a, header + UINT32_MAX);
        break;
    case WRITTEN_LESS_THAN_LENGTH:
        peer_push(&w, a, header + 9);
        break;
    case WRITTEN_MORE_THAN_LENGTH:
        peer_push(&w, a, header + 11);
        break;
    case WRITTEN_LESS_THAN_HEADER:
        peer_push(&w, a, 1);
        break;
    case WRITTEN_WRAPS:
        peer_put(&w, a, 0, cookie, UINT32_MAX - 7);
        peer_push(&w, a, 8);
        break;
    case STATUS_TOO_HIGH:
        peer_put(&w, a, 4096, cookie, 0);
        peer_push(&w, a, header);
        break;
    case STATUS_HUGE:
    default:
        peer_put(&w, a, UINT32_MAX, cookie, 0);
        peer_push(&w, a, header);
        break;
    }
}

Test(backend_link, misdeeds)
{
    for (unsigned misdeed = 0; misdeed < MISDEEDS; misdeed++) {
        start_up(&w, 4);
        struct link_request *first = submit(&w, 10, 100);
        peer_answer(&w, peer_take(&w), 0, 100);
        pass(&w);
        expect_answer(first, 100);
        struct link_request *a = submit(&w, 10, 100), *b = submit(&w, 10, 100);
        uint16_t head_a = peer_take(&w), head_b = peer_take(&w);
        commit((enum misdeed)misdeed, head_a, head_b);
        pass(&w);
        cr_expect_eq(w.reports, 1u, "misdeed %u was reported %u times", misdeed, w.reports);
        cr_expect_eq(w.last_report, VMM_PORT_EVENT_BROKEN);
        cr_expect_not(backend_link_is_up(&w.link));
        // A sound answer in front of the misdeed may count; the request of a later one is lost.
        cr_expect_not(a->waits);
        cr_expect_not(b->waits);
        if (misdeed == ID_TWICE)
            cr_expect_eq(a->request.status, 0u);
        else
            expect_status(a, PORT_STATUS_LOST);
        expect_status(b, PORT_STATUS_LOST);
        expect_status(submit(&w, 1, 1), PORT_STATUS_DOWN);
        // Whatever it goes on to do is not looked at.
        peer_push(&w, head_b, 0);
        pass(&w);
        tick(&w);
        cr_expect_eq(w.reports, 1u);
        if (misdeed + 1 < MISDEEDS)
            world_end(&w);
    }
}

// Who does not answer in time: that request timed out, the others are lost, once.
Test(backend_link, times_out)
{
    start_up(&w, 4);
    struct link_request *old = submit(&w, 1, 10);
    w.now += 60 * NS_PER_MS;
    struct link_request *young = submit(&w, 1, 10);
    peer_take(&w);
    uint16_t head = peer_take(&w);
    uint64_t wake_ns = UINT64_MAX;
    cr_expect_not(w.link.backend.prepare_sleep(&w.link, &wake_ns));
    cr_expect_eq(wake_ns, w.now + 40 * NS_PER_MS, "the first deadline");
    w.now += 40 * NS_PER_MS - 1;
    pass(&w);
    tick(&w);
    pass(&w);
    cr_expect(old->waits);
    cr_expect_eq(w.reports, 0u);
    w.now++;
    tick(&w);
    wake_ns = UINT64_MAX;
    cr_expect(w.link.backend.prepare_sleep(&w.link, &wake_ns), "results are there");
    pass(&w);
    expect_status(old, PORT_STATUS_TIMED_OUT);
    expect_status(young, PORT_STATUS_LOST);
    cr_expect_eq(w.reports, 1u);
    cr_expect_eq(w.last_report, VMM_PORT_EVENT_HUNG);
    cr_expect_not(backend_link_is_up(&w.link));
    expect_status(submit(&w, 1, 1), PORT_STATUS_DOWN);
    // Too late.
    peer_answer(&w, head, 0, 10);
    w.now += NS_PER_S;
    tick(&w);
    pass(&w);
    cr_expect_eq(w.reports, 1u);
}

// During a hold the process is held too: its time does not run.
Test(backend_link, hold_stops_time)
{
    start_up(&w, 4);
    struct link_request *r = submit(&w, 1, 10);
    uint16_t head = peer_take(&w);
    w.now += 99 * NS_PER_MS;
    atomic_store(&w.level_supervisor.hold, 1);
    for (int i = 0; i < 100; i++) {
        tick(&w);
        w.now += 50 * NS_PER_MS;
    }
    tick(&w);
    atomic_store(&w.level_supervisor.hold, 0);
    w.now += 99 * NS_PER_MS;
    tick(&w);
    cr_expect_eq(w.reports, 0u);
    peer_answer(&w, head, 0, 10);
    pass(&w);
    expect_answer(r, 10);
}

// Behind a gate that is shut the process keeps what it was asked, as it must: it does not hang, and
// hands the buffers back when the gate opens. That its port is closed at Probation is all it needs.
Test(backend_link, shut_gate_stops_time)
{
    static const uint32_t levels[] = {LEVEL_PROBATION, LEVEL_SEVERED};
    for (size_t i = 0; i < COUNT(levels); i++) {
        start_up(&w, 2);
        submit(&w, 1, 10);
        uint16_t head = peer_take(&w);
        atomic_store(&w.level_supervisor.level, levels[i]);
        forget(&w); // the port drops what is in flight
        for (int k = 0; k < 30; k++) {
            pass(&w);
            tick(&w);
            w.now += 10 * NS_PER_MS;
        }
        atomic_store(&w.level_supervisor.level, LEVEL_STANDARD);
        pass(&w);
        tick(&w);
        cr_expect_eq(w.reports, 0u, "accused at level %s", level_name(levels[i]));
        peer_push(&w, head, 0);
        pass(&w);
        tick(&w);
        struct link_request *r = submit(&w, 1, 10);
        if (r->waits) {
            peer_answer(&w, peer_take(&w), 0, 10);
            pass(&w);
            expect_answer(r, 10);
        }
        if (!i)
            world_end(&w);
    }
}

// The process is gone: what it had is lost, what waits is refused, and its successor finds an
// empty queue.
Test(backend_link, down_and_up)
{
    start_up(&w, 2);
    struct link_request *sent[2] = {submit(&w, 1, 10), submit(&w, 1, 10)};
    struct link_request *waiting = submit(&w, 1, 10);
    peer_take(&w);
    uint16_t head = peer_take(&w);
    order(&w, false);
    cr_expect_not(backend_link_is_up(&w.link));
    for (int i = 0; i < 2; i++)
        expect_status(sent[i], PORT_STATUS_LOST);
    expect_status(waiting, PORT_STATUS_DOWN);
    for (uint64_t i = 0; i < w.layout.buffers; i++) {
        bool flags = i >= w.layout.available && i < w.layout.available + 2;
        cr_assert(flags || !w.memory[i], "byte %llu is left", (unsigned long long)i);
    }
    expect_status(submit(&w, 1, 1), PORT_STATUS_DOWN);
    order(&w, true);
    struct link_request *again = submit(&w, 1, 10);
    cr_expect_eq(peer_waiting(&w), 1u);
    head = peer_take(&w);
    cr_expect_eq(peer_header(&w, head).cookie, again->request.number);
    peer_answer(&w, head, 0, 10);
    pass(&w);
    expect_answer(again, 10);
    cr_expect_eq(w.reports, 0u);
}

// Up overtakes down: both were ordered before the link looked.
Test(backend_link, up_overtakes_down)
{
    start_up(&w, 2);
    struct link_request *old = submit(&w, 1, 10);
    peer_take(&w);
    backend_link_order(&w.link, false);
    order(&w, true);
    expect_status(old, PORT_STATUS_LOST);
    cr_expect(backend_link_is_up(&w.link));
    struct link_request *r = submit(&w, 1, 10);
    peer_answer(&w, peer_take(&w), 0, 10);
    pass(&w);
    expect_answer(r, 10);
}

// No reply of an old process reaches a request of the new one: neither what it wrote before it was
// gone, nor what it writes after.
Test(backend_link, replies_of_the_past)
{
    for (int late = 0; late < 2; late++) {
        start_up(&w, 2);
        struct link_request *old = submit(&w, 1, 10);
        uint64_t cookie = old->request.number;
        uint16_t head = peer_take(&w);
        if (!late)
            peer_answer(&w, head, 0, 10);
        backend_link_order(&w.link, false);
        pass(&w);
        expect_status(old, PORT_STATUS_LOST);
        order(&w, true);
        struct link_request *r = submit(&w, 1, 10);
        cr_expect_eq(peer_take(&w), head, "the same slot");
        if (late) {
            peer_put(&w, head, 0, cookie, 10);
            peer_push(&w, head, 26);
        }
        pass(&w);
        if (late)
            expect_status(r, PORT_STATUS_LOST);
        else
            cr_expect(r->waits);
        cr_expect_eq(w.reports, (unsigned)late);
        if (!late)
            world_end(&w);
    }
}

// Requests that the port dropped: the process still has the buffers, so the slots are not free, and
// its answers go nowhere.
Test(backend_link, forgotten)
{
    start_up(&w, 2);
    submit(&w, 1, 10);
    submit(&w, 1, 10);
    uint16_t heads[2] = {peer_take(&w), peer_take(&w)};
    forget(&w);
    struct link_request copy[2];
    memset(w.requests, 0xee, sizeof(copy));
    w.requests[0].waits = w.requests[1].waits = false;
    memcpy(copy, w.requests, sizeof(copy));
    struct link_request *r = submit(&w, 1, 10);
    pass(&w);
    cr_expect(r->waits);
    cr_expect_eq(peer_waiting(&w), 0u, "sent into a slot that is not free");
    peer_answer(&w, heads[1], 0, 10);
    pass(&w);
    cr_expect_eq(peer_waiting(&w), 1u);
    peer_answer(&w, heads[0], 0, 10);
    cr_expect_eq(peer_take(&w), heads[1]);
    pass(&w);
    cr_expect_eq(memcmp(copy, w.requests, sizeof(copy)), 0, "a request that is gone was written");
    peer_answer(&w, heads[1], 0, 10);
    pass(&w);
    expect_answer(r, 10);
    cr_expect_eq(w.reports, 0u);
}

// A process that hangs is found out though nobody waits for what it has; who waits for its slots
// is told.
Test(backend_link, forgotten_by_a_process_that_hangs)
{
    start_up(&w, 1);
    submit(&w, 1, 10);
    forget(&w);
    struct link_request *r = submit(&w, 1, 10);
    pass(&w);
    w.now += LINK_TIMEOUT_MS * NS_PER_MS;
    tick(&w);
    pass(&w);
    cr_expect_eq(w.reports, 1u);
    cr_expect_eq(w.last_report, VMM_PORT_EVENT_HUNG);
    expect_status(r, PORT_STATUS_DOWN);
    order(&w, false);
    order(&w, true);
    r = submit(&w, 1, 10);
    peer_answer(&w, peer_take(&w), 0, 10);
    pass(&w);
    expect_answer(r, 10);
}

// Also results that were there and not collected are forgotten.
Test(backend_link, forgotten_results)
{
    start_up(&w, 1);
    submit(&w, 1, 10);
    peer_answer(&w, peer_take(&w), 0, 10);
    w.link.backend.poll(&w.link);
    forget(&w);
    struct link_request *r = submit(&w, 1, 10);
    peer_answer(&w, peer_take(&w), 0, 4);
    pass(&w);
    expect_answer(r, 4);
}

// Slots are as many as the port's requests: what does not fit waits its turn.
Test(backend_link, full_slots_wait)
{
    start_up(&w, 3);
    struct link_request *r[6];
    for (unsigned i = 0; i < 6; i++)
        r[i] = submit(&w, 1, 10);
    cr_expect_eq(peer_waiting(&w), 3u);
    for (unsigned i = 0; i < 6; i++) {
        peer_answer(&w, peer_take(&w), 0, 10);
        pass(&w);
        pass(&w);
        expect_answer(r[i], 10);
        cr_expect_eq(peer_waiting(&w), i < 3 ? 3u : 5 - i);
    }
}

// Before the poller sleeps the process is asked for events; while it polls it is not.
Test(backend_link, sleep)
{
    uint64_t wake_ns = UINT64_MAX;
    start_up(&w, 2);
    const uint16_t *flags = peer16(&w, w.layout.available + VIRTQ_RING_FLAGS);
    submit(&w, 1, 10);
    uint16_t head = peer_take(&w);
    cr_expect_eq(*flags, VIRTQ_AVAILABLE_NO_INTERRUPT);
    cr_expect_not(w.link.backend.prepare_sleep(&w.link, &wake_ns));
    cr_expect_eq(*flags, 0);
    pass(&w);
    cr_expect_eq(*flags, VIRTQ_AVAILABLE_NO_INTERRUPT);
    peer_answer(&w, head, 0, 1);
    cr_expect(w.link.backend.prepare_sleep(&w.link, &wake_ns), "a reply is there");
    pass(&w);
    backend_link_order(&w.link, false);
    cr_expect(w.link.backend.prepare_sleep(&w.link, &wake_ns), "an order is there");
}

Test(backend_link, init_checks_the_memory)
{
    world_start(&w, 4);
    struct backend_link link;
    struct error err;
    struct backend_link_settings settings = {
        .backend = &link_backend, .port = &w.port, .fabric = &w.fabric, .memory_fd = -1};
    cr_expect_eq(backend_link_init(&link, &settings, &err), -1);
    settings.memory_fd = memfd_create("small", 0);
    cr_assert_eq(ftruncate(settings.memory_fd, (off_t)w.layout.bytes - 1), 0);
    cr_expect_eq(backend_link_init(&link, &settings, &err), -1);
    struct vmm_port_config many = w.port;
    many.in_flight = VMM_MAX_IN_FLIGHT + 1;
    settings.port = &many;
    cr_assert_eq(ftruncate(settings.memory_fd, 1 << 24), 0);
    cr_expect_eq(backend_link_init(&link, &settings, &err), -1);
    close(settings.memory_fd);
}
