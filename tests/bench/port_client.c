// SPDX-License-Identifier: Apache-2.0
// The guest of `bench port` and `bench isolate`. The host takes all times and counts from the audit
// log.
//
//   one PORT COUNT                       discards of 64 bytes, each sent when the last is answered
//   stream PORT COUNT BYTES QUEUES WRITE discards of BYTES (COUNT 0: for ever), as many as fit
//                                        outstanding on each queue; WRITE 1: each payload is
//                                        written before it is sent, 0: it is what lies there
//   flood PORT                           keeps the queue full of discards of 4 KiB for ever,
//   whether
//                                        they are answered or dropped
//   storm STORM SINGLE ROUNDS            keeps the queue of port STORM full; in each round a
//                                        request of port SINGLE, whose cookie says how many
//                                        requests of STORM were answered when it was published
#include <guillotine/cell.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum failure {
    FAILED_USAGE = 1,
    FAILED_OPEN = 2,
    FAILED_STATUS = 3,
};

#define SMALL 64u
#define LARGE 4096u

static struct cell_queue queues[PORT_MAX_QUEUES];

static long number(char **argv, int index)
{
    return strtol(argv[index], NULL, 10);
}

static int one(const char *name, long count)
{
    static const char payload[SMALL];
    struct cell_port port;
    if (cell_port_open(&port, name) < 0)
        return FAILED_OPEN;
    for (; count > 0; count--) {
        if (cell_port_call(&port, LOOPBACK_DISCARD, 0, payload, sizeof(payload), NULL, 0, NULL))
            return FAILED_STATUS;
    }
    return 0;
}

static long send_all(struct cell_queue *queue, size_t bytes, long most, bool write)
{
    long sent = 0;
    for (void *payload; sent < most && (payload = cell_queue_buffer(queue)); sent++) {
        if (write)
            memset(payload, (int)sent, bytes);
        cell_queue_send(queue, LOOPBACK_DISCARD, 0, payload, bytes, 0);
    }
    return sent;
}

static long take_all(struct cell_queue *queue, uint32_t allowed)
{
    struct cell_reply reply;
    long taken = 0;
    for (; cell_queue_poll(queue, &reply); taken++) {
        if (reply.status && reply.status != allowed)
            cell_exit(FAILED_STATUS);
    }
    return taken;
}

static int stream(const char *name, long count, size_t bytes, unsigned used, bool write)
{
    for (unsigned i = 0; i < used; i++) {
        if (cell_queue_open(&queues[i], name, i, bytes, 0, 0) < 0)
            return FAILED_OPEN;
        // The pages are there before anything is measured.
        for (unsigned k = 0; k < queues[i].depth; k++)
            memset((void *)(queues[i].slots + (uint64_t)k * queues[i].slot_bytes), 1,
                   queues[i].slot_bytes);
    }
    long to_send = count ? count : LONG_MAX;
    for (long to_take = to_send; to_take;) {
        for (unsigned i = 0; i < used; i++) {
            to_send -= send_all(&queues[i], bytes, to_send, write);
            to_take -= take_all(&queues[i], PORT_STATUS_OK);
        }
    }
    return 0;
}

static int flood(const char *name)
{
    if (cell_queue_open(&queues[0], name, 0, LARGE, 0, 0) < 0)
        return FAILED_OPEN;
    for (;;) {
        send_all(&queues[0], LARGE, VIRTQ_MAX_SIZE, false);
        take_all(&queues[0], PORT_STATUS_CLOSED);
    }
}

static uint16_t used_index(const struct cell_queue *queue)
{
    return __atomic_load_n((const uint16_t *)(queue->layout->used + VIRTQ_RING_INDEX),
                           __ATOMIC_ACQUIRE);
}

static int storm(const char *storm_name, const char *single_name, long rounds)
{
    struct cell_queue *foreign = &queues[0];
    struct cell_queue *single = &queues[1];
    struct cell_reply reply;
    uint64_t answered = 0;
    uint64_t unsure = 0;
    if (cell_queue_open(foreign, storm_name, 0, SMALL, 0, 0) < 0 ||
        cell_queue_open(single, single_name, 0, SMALL, 0, 1) < 0)
        return FAILED_OPEN;
    for (long round = 0; round < rounds; round++) {
        // A different time in each round, so that all moments of the poller's pass are met.
        for (long spin = round * 7919 % 1009; spin >= 0; spin--) {
            answered += (uint64_t)take_all(foreign, PORT_STATUS_OK);
            send_all(foreign, SMALL, VIRTQ_MAX_SIZE, false);
        }
        cell_queue_flush(foreign);
        uint16_t index = used_index(foreign);
        cell_queue_send(single, LOOPBACK_DISCARD, 0, cell_queue_buffer(single), SMALL,
                        (answered + (uint16_t)(index - foreign->last_used)) | unsure << 48);
        cell_queue_flush(single);
        unsure = (uint16_t)(used_index(foreign) - index);
        while (!cell_queue_poll(single, &reply))
            continue;
        if (reply.status)
            return FAILED_STATUS;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "one"))
        return one(argv[2], number(argv, 3));
    if (argc == 7 && !strcmp(argv[1], "stream") && number(argv, 5) > 0 &&
        number(argv, 5) <= PORT_MAX_QUEUES)
        return stream(argv[2], number(argv, 3), (size_t)number(argv, 4), (unsigned)number(argv, 5),
                      (unsigned)number(argv, 6));
    if (argc == 3 && !strcmp(argv[1], "flood"))
        return flood(argv[2]);
    if (argc == 5 && !strcmp(argv[1], "storm"))
        return storm(argv[2], argv[3], number(argv, 4));
    return FAILED_USAGE;
}
