// SPDX-License-Identifier: Apache-2.0
// The console backend: order under back-pressure, input on demand, the end of the input.
#include <criterion/criterion.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "console.h"
#include "support.h"

#define SIZE 4096u

static struct console console;
static struct shared_ring terminal; // reads what the console writes
static struct shared_ring keyboard; // writes what the console reads

static void setup(void)
{
    struct error err;
    int out = shared_ring_create("out", SIZE, &err), in = shared_ring_create("in", SIZE, &err);
    console = (struct console){.wake_fd = eventfd(0, EFD_NONBLOCK)};
    cr_assert_eq(shared_ring_map(&console.output, out, SIZE, &err), 0);
    cr_assert_eq(shared_ring_map(&terminal, out, SIZE, &err), 0);
    cr_assert_eq(shared_ring_map(&console.input, in, SIZE, &err), 0);
    cr_assert_eq(shared_ring_map(&keyboard, in, SIZE, &err), 0);
    close(out);
    close(in);
}

TestSuite(console, .init = setup);

static unsigned wake_ups(void)
{
    uint64_t value = 0;
    return read(console.wake_fd, &value, sizeof(value)) < 0 ? 0 : (unsigned)value;
}

static void flush(void)
{
    console_backend.flush(&console);
}

// Every millisecond or so.
static void notify(void)
{
    console_backend.notify(&console);
}

static bool prepare_sleep(void)
{
    uint64_t wake_ns = UINT64_MAX;
    bool ready = console_backend.prepare_sleep(&console, &wake_ns);
    cr_expect_eq(wake_ns, UINT64_MAX, "whoever serves the rings wakes us");
    return ready;
}

static struct port_request writing(const void *data, uint32_t length)
{
    return (struct port_request){
        .operation = CONSOLE_WRITE, .payload = (const uint8_t *)data, .length = length};
}

static struct port_request reading(uint8_t *target, uint32_t capacity, uint32_t argument)
{
    return (struct port_request){.operation = CONSOLE_READ,
                                 .argument = argument,
                                 .reply = target,
                                 .reply_capacity = capacity};
}

static enum port_progress submit(struct port_request *request)
{
    return console_backend.submit(&console, request);
}

static enum port_progress resume(struct port_request *request)
{
    return console_backend.resume(&console, request);
}

static unsigned take(uint8_t *target, unsigned most)
{
    uint64_t available = shared_ring_available(&terminal);
    unsigned n = available < most ? (unsigned)available : most;
    shared_ring_peek(&terminal, 0, target, n);
    shared_ring_consume(&terminal, n);
    return n;
}

static void type(const char *text)
{
    shared_ring_append(&keyboard, text, strlen(text));
    shared_ring_publish(&keyboard);
}

Test(console, offers_what_the_abi_says)
{
    cr_assert_eq(console_backend.operation_count, 2u);
    cr_expect_eq(console_backend.operations[0].number, (uint32_t)CONSOLE_WRITE);
    cr_expect_eq(console_backend.operations[0].max_request_bytes, CONSOLE_MAX_REQUEST);
    cr_expect_eq(console_backend.operations[0].max_reply_bytes, 0u);
    cr_expect_eq(console_backend.operations[1].number, (uint32_t)CONSOLE_READ);
    cr_expect_eq(console_backend.operations[1].max_request_bytes, 0u);
    cr_expect_eq(console_backend.operations[1].max_reply_bytes, CONSOLE_MAX_REPLY);
}

Test(console, write_becomes_visible_with_the_flush)
{
    uint8_t got[16];
    struct port_request request = writing("hello", 5);
    cr_expect_eq(submit(&request), PORT_DONE);
    cr_expect_eq(request.status, 0u);
    cr_expect_eq(take(got, sizeof(got)), 0u);
    flush();
    cr_expect_eq(wake_ups(), 0u); // nobody waits
    cr_assert_eq(take(got, sizeof(got)), 5u);
    cr_expect_eq(memcmp(got, "hello", 5), 0);
}

// A reader that waits is woken by notify(), once for all that came since, not for each request.
Test(console, wakes_are_coalesced)
{
    uint8_t got[64];
    cr_expect_not(shared_ring_wait_data(&terminal));
    for (int i = 0; i < 10; i++) {
        struct port_request request = writing("x", 1);
        submit(&request);
        flush();
        cr_expect_eq(wake_ups(), 0u);
    }
    notify();
    cr_expect_eq(wake_ups(), 1u);
    notify();
    cr_expect_eq(wake_ups(), 0u);
    cr_expect_eq(take(got, sizeof(got)), 10u);
    cr_expect_not(shared_ring_wait_data(&terminal));
    notify();
    cr_expect_eq(wake_ups(), 0u, "nothing is there");
    // It does not wait: it looks by itself before it does.
    shared_ring_wait_space(&console.output, 0);
    atomic_store(&terminal.header->consumer_waiting, 0);
    struct port_request request = writing("y", 1);
    submit(&request);
    flush();
    notify();
    cr_expect_eq(wake_ups(), 0u);
    cr_expect(shared_ring_wait_data(&terminal));
}

Test(console, unknown_operation)
{
    struct port_request request = {.operation = 3};
    cr_expect_eq(submit(&request), PORT_DONE);
    cr_expect_eq(request.status, (uint32_t)PORT_STATUS_INVALID);
}

// A short write that would fit must not overtake a long one that waits, in whatever batch it comes.
Test(console, writes_keep_their_order)
{
    static uint8_t filler[SIZE - 10];
    uint8_t got[SIZE];
    struct port_request fill = writing(filler, sizeof(filler));
    struct port_request large = writing("LARGELARGELARGE", 15), small = writing("s", 1);
    cr_assert_eq(submit(&fill), PORT_DONE);
    cr_expect_eq(submit(&large), PORT_PENDING);
    cr_expect_eq(submit(&small), PORT_PENDING);
    flush();
    struct port_request later = writing("t", 1);
    cr_expect_eq(resume(&large), PORT_PENDING);
    cr_expect_eq(resume(&small), PORT_PENDING, "overtook the large one");
    cr_expect_eq(submit(&later), PORT_PENDING);
    flush();
    take(got, SIZE);
    cr_expect_eq(resume(&large), PORT_DONE);
    cr_expect_eq(resume(&small), PORT_DONE);
    cr_expect_eq(resume(&later), PORT_DONE);
    cr_expect_eq(console.pending_writes, 0u);
    flush();
    cr_assert_eq(take(got, SIZE), 17u);
    cr_expect_eq(memcmp(got, "LARGELARGELARGEst", 17), 0);
}

// Random sizes against a slow terminal, as port.c drives it: the stream is exact.
Test(console, stream_under_back_pressure)
{
    struct random random = random_start(60);
    static uint8_t payloads[8][CONSOLE_MAX_REQUEST];
    struct port_request waiting[8];
    unsigned count = 0;
    uint32_t sent = 0, got = 0;
    for (int round = 0; round < 50000; round++) {
        unsigned done = 0;
        for (unsigned i = 0; i < count; i++) {
            if (resume(&waiting[i]) == PORT_DONE) {
                cr_assert_eq(done, i, "finished out of order");
                done++;
            }
        }
        // Payload buffers rotate with the requests.
        for (unsigned i = 0; i < count - done; i++) {
            waiting[i] = waiting[i + done];
            memcpy(payloads[i], payloads[i + done], CONSOLE_MAX_REQUEST);
            waiting[i].payload = payloads[i];
        }
        count -= done;
        while (count < 8 && random_chance(&random, 60)) {
            uint32_t length =
                random_chance(&random, 10) ? CONSOLE_MAX_REQUEST : random_below(&random, 300);
            for (uint32_t i = 0; i < length; i++)
                payloads[count][i] = (uint8_t)((sent + i) * 2654435761u >> 24);
            sent += length;
            waiting[count] = writing(payloads[count], length);
            if (submit(&waiting[count]) == PORT_PENDING)
                count++;
            else
                cr_assert_eq(count, 0u, "overtook one that waits");
        }
        flush();
        uint8_t bytes[SIZE];
        unsigned n = take(bytes, random_below(&random, 700));
        for (unsigned i = 0; i < n; i++)
            cr_assert_eq(bytes[i], (uint8_t)((got + i) * 2654435761u >> 24));
        got += n;
    }
    cr_expect_gt(got, 1000000u);
}

Test(console, terminal_that_lies_stops_writes)
{
    atomic_store(&console.output.header->tail, 99999);
    struct port_request request = writing("x", 1);
    cr_expect_eq(submit(&request), PORT_PENDING);
    cr_expect_not(prepare_sleep());
}

// Nothing asks for input before the model does.
Test(console, input_on_demand)
{
    uint8_t got[16];
    struct port_request request = writing("x", 1);
    submit(&request);
    flush();
    cr_expect_eq(keyboard.header->consumer_waiting, 0u);
    wake_ups();
    request = reading(got, sizeof(got), 16);
    cr_expect_eq(submit(&request), PORT_PENDING);
    cr_expect_eq(keyboard.header->consumer_waiting, 1u);
    flush();
    cr_expect_eq(wake_ups(), 1u, "the supervisor is told that input is wanted");
    cr_expect_eq(resume(&request), PORT_PENDING);
    flush();
    cr_expect_eq(wake_ups(), 0u, "told once");
    type("hi");
    cr_expect_eq(resume(&request), PORT_DONE);
    cr_expect_eq(request.reply_length, 2u);
    cr_expect_eq(memcmp(got, "hi", 2), 0);
}

Test(console, reads_what_is_there)
{
    uint8_t got[16];
    type("abcdefgh");
    static const struct {
        uint32_t capacity, argument, length;
    } cases[] = {{16, 3, 3}, {2, 100, 2}, {16, UINT32_MAX, 3}};
    unsigned at = 0;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct port_request request = reading(got, cases[i].capacity, cases[i].argument);
        cr_expect_eq(submit(&request), PORT_DONE);
        cr_assert_eq(request.reply_length, cases[i].length);
        cr_expect_eq(memcmp(got, &"abcdefgh"[at], cases[i].length), 0);
        at += cases[i].length;
    }
}

Test(console, read_of_nothing)
{
    uint8_t got[4];
    struct port_request request = reading(got, sizeof(got), 0);
    cr_expect_eq(submit(&request), PORT_DONE);
    cr_expect_eq(request.status, (uint32_t)PORT_STATUS_INVALID);
    request = reading(got, 0, 4);
    cr_expect_eq(submit(&request), PORT_DONE);
    cr_expect_eq(request.status, (uint32_t)PORT_STATUS_INVALID);
}

// The last bytes come before the end, and the end stays the end.
Test(console, end_of_input)
{
    uint8_t got[16];
    struct port_request request = reading(got, sizeof(got), 16);
    cr_expect_eq(submit(&request), PORT_PENDING);
    type("last");
    atomic_store(&keyboard.header->closed, 1);
    cr_expect_eq(resume(&request), PORT_DONE);
    cr_expect_eq(request.reply_length, 4u);
    for (int i = 0; i < 3; i++) {
        request = reading(got, sizeof(got), 16);
        cr_expect_eq(submit(&request), PORT_DONE);
        cr_expect_eq(request.status, 0u);
        cr_expect_eq(request.reply_length, 0u);
    }
}

Test(console, keyboard_that_lies)
{
    uint8_t got[16];
    atomic_store(&keyboard.header->head, 99999);
    struct port_request request = reading(got, sizeof(got), 16);
    cr_expect_eq(submit(&request), PORT_DONE);
    cr_expect_eq(request.status, (uint32_t)PORT_STATUS_BROKEN);
    cr_expect_eq(request.reply_length, 0u);
}

Test(console, sleeps_until_there_is_room)
{
    static uint8_t filler[SIZE];
    uint8_t got[SIZE];
    struct port_request fill = writing(filler, SIZE), more = writing("x", 1);
    submit(&fill);
    cr_assert_eq(submit(&more), PORT_PENDING);
    flush();
    cr_expect_not(prepare_sleep());
    take(got, SIZE - 1);
    shared_ring_peek(&terminal, 0, got, 1);
    cr_expect(shared_ring_consume(&terminal, 1) || prepare_sleep(), "neither woken nor ready");
}

// Only a write waits: input, or its end, is no reason to stay awake, and none is asked for.
Test(console, blocked_write_does_not_spin_on_input)
{
    static uint8_t filler[SIZE];
    struct port_request fill = writing(filler, SIZE), more = writing("x", 1);
    submit(&fill);
    submit(&more);
    flush();
    type("unread");
    cr_expect_not(prepare_sleep(), "awake because of input nobody reads");
    atomic_store(&keyboard.header->closed, 1);
    cr_expect_not(prepare_sleep(), "awake because the input has ended");
}

Test(console, blocked_write_does_not_ask_for_input)
{
    static uint8_t filler[SIZE];
    struct port_request fill = writing(filler, SIZE), more = writing("x", 1);
    submit(&fill);
    submit(&more);
    flush();
    prepare_sleep();
    cr_expect_eq(keyboard.header->consumer_waiting, 0u, "standard input is read on demand only");
}

// What was pending is forgotten: the input belongs to whoever asks next, and writes are not held
// back by one that is gone.
Test(console, forgets)
{
    static uint8_t filler[SIZE];
    uint8_t first[4], second[4], got[SIZE];
    struct port_request fill = writing(filler, SIZE), lost = writing("lost", 4);
    struct port_request gone = reading(first, 4, 4);
    submit(&fill);
    cr_assert_eq(submit(&lost), PORT_PENDING);
    cr_assert_eq(submit(&gone), PORT_PENDING);
    flush();
    console_backend.forget(&console);
    memset(&lost, 0xff, sizeof(lost));
    memset(&gone, 0xff, sizeof(gone));
    cr_expect_not(prepare_sleep(), "something is still waited for");
    take(got, SIZE);
    type("abcd");
    struct port_request write = writing("kept", 4), read = reading(second, 4, 4);
    cr_expect_eq(submit(&write), PORT_DONE);
    cr_expect_eq(submit(&read), PORT_DONE);
    cr_expect_eq(memcmp(second, "abcd", 4), 0);
    flush();
    cr_assert_eq(take(got, SIZE), 4u);
    cr_expect_eq(memcmp(got, "kept", 4), 0);
}

// Two reads: the bytes that came first belong to the first one.
Test(console, reads_keep_their_order)
{
    uint8_t first[4], second[4];
    struct port_request one = reading(first, 4, 4), two = reading(second, 4, 4);
    cr_assert_eq(submit(&one), PORT_PENDING);
    // Input arrives between the fabric's resume of the first and its submit of the second.
    cr_assert_eq(resume(&one), PORT_PENDING);
    type("abcd");
    cr_expect_eq(submit(&two), PORT_PENDING, "the second read took the first one's bytes");
    cr_expect_eq(resume(&one), PORT_DONE);
}
