// SPDX-License-Identifier: Apache-2.0
// A guest that uses its ports as it is told. What it says goes to the console port, if there is
// one.
//
//   echo PORT COUNT BYTES DEPTH QUEUES      sends COUNT requests of BYTES, DEPTH (0: as many as
//   fit) generate PORT COUNT BYTES DEPTH QUEUES  outstanding on each of QUEUES queues, and compares
//   discard PORT COUNT BYTES DEPTH QUEUES   every reply; each vCPU drives the queues of its own
//   flood PORT COUNT [BYTES]                the same in the operation that sends on this kind of
//                                           port (COUNT 0: for ever), whatever the status is; says
//                                           how many were "done", "denied", "dropped" and "other"
//   status PORT OPERATION BYTES [ARGUMENT]  one request; ends with its status, or says it
//   message-echo PORT COUNT                 receives messages and sends them back in upper case
//   receive PORT COUNT                      posts as many receives as fit, takes COUNT replies, and
//                                           says every message or status
//
// Ends with 0, or the number of what went wrong.
#include <guillotine/cell.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum failure {
    FAILED_USAGE = 1,
    FAILED_OPEN = 2,    // no such port or queue, or the sizes do not fit
    FAILED_STATUS = 3,  // a request was refused
    FAILED_LENGTH = 4,  // a reply has the wrong length
    FAILED_CONTENT = 5, // a reply has the wrong content
    FAILED_COOKIE = 6,  // a reply to a request that is not outstanding
    FAILED_UNSAID = 63, // a status that is no exit status, and no console to say it
};

#define MAX_DEPTH (VIRTQ_MAX_SIZE / 2)

// Requests of one queue. A cookie is `generation << 16 | token`; tokens are the requests
// outstanding.
struct drive {
    struct cell_queue queue;
    uint64_t left_to_send;
    uint64_t left_to_take;
    uint64_t generation;
    uint32_t tokens;
    uint16_t free_tokens[MAX_DEPTH];
    uint64_t outstanding[MAX_DEPTH]; // cookie of each token, 0: free
};

// What all queues do.
struct order {
    uint32_t operation;
    uint32_t bytes;
    unsigned queues;
    bool verify;
    bool for_ever;
};

static struct drive drives[PORT_MAX_QUEUES];
static struct order order;
static uint64_t outcomes[4]; // done, denied, dropped, other; of one queue only

static void say(const char *before, uint64_t value, const char *behind)
{
    char line[64];
    snprintf(line, sizeof(line), "%s%llu%s", before, (unsigned long long)value, behind);
    cell_print(line);
}

static _Noreturn void fail(enum failure failure, const char *what, uint64_t value)
{
    if (cell_boot()->vcpus == 1) // only vCPU 0 may use the console
        say("failed: ", value, what);
    cell_exit(failure);
}

static uint64_t number(int argc, char **argv, int index)
{
    if (index >= argc)
        cell_exit(FAILED_USAGE);
    return strtoull(argv[index], NULL, 0);
}

static const struct port_table_entry *find(int argc, char **argv)
{
    const struct port_table_entry *entry = argc > 2 ? cell_find_port(argv[2]) : NULL;
    if (!entry)
        cell_exit(argc > 2 ? FAILED_OPEN : FAILED_USAGE);
    return entry;
}

// A payload that no other cookie has.
static uint64_t pattern(uint64_t cookie, uint32_t word)
{
    return (cookie + word) * 0x9e3779b97f4a7c15ull;
}

static void fill(uint8_t *payload, uint32_t length, uint64_t cookie)
{
    for (uint32_t at = 0; at < length; at += 8) {
        uint64_t word = pattern(cookie, at / 8);
        memcpy(payload + at, &word, length - at < 8 ? length - at : 8);
    }
}

static bool has_pattern(const uint8_t *payload, uint32_t length, uint64_t cookie)
{
    for (uint32_t at = 0; at < length; at += 8) {
        uint64_t word = pattern(cookie, at / 8);
        if (memcmp(payload + at, &word, length - at < 8 ? length - at : 8))
            return false;
    }
    return true;
}

static bool is_generated(const uint8_t *payload, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++) {
        if (payload[i] != i % 251)
            return false;
    }
    return true;
}

static bool send_one(struct drive *drive)
{
    uint8_t *payload = cell_queue_buffer(&drive->queue);
    if (!drive->left_to_send || !payload)
        return false;
    uint16_t token = drive->free_tokens[--drive->tokens];
    uint64_t cookie = ++drive->generation << 16 | token;
    bool has_payload = order.operation != LOOPBACK_GENERATE || !order.verify;
    if (has_payload && order.verify)
        fill(payload, order.bytes, cookie);
    if (cell_queue_send(&drive->queue, order.operation, has_payload ? 0 : order.bytes, payload,
                        has_payload ? order.bytes : 0, cookie) < 0)
        return false;
    drive->outstanding[token] = cookie;
    if (!order.for_ever)
        drive->left_to_send--;
    return true;
}

static void verify(const struct cell_reply *reply)
{
    uint32_t length = order.operation == LOOPBACK_DISCARD ? 0 : order.bytes;
    if (reply->status)
        fail(FAILED_STATUS, " is the status", reply->status);
    if (reply->length != length)
        fail(FAILED_LENGTH, " is the length", reply->length);
    if (order.operation == LOOPBACK_ECHO && !has_pattern(reply->payload, length, reply->cookie))
        fail(FAILED_CONTENT, " has wrong content", reply->cookie);
    if (order.operation == LOOPBACK_GENERATE && !is_generated(reply->payload, length))
        fail(FAILED_CONTENT, " has wrong content", reply->cookie);
}

static bool take_one(struct drive *drive)
{
    struct cell_reply reply;
    if (!cell_queue_poll(&drive->queue, &reply))
        return false;
    uint64_t token = reply.cookie & 0xffff;
    if (token >= drive->queue.depth || drive->outstanding[token] != reply.cookie)
        fail(FAILED_COOKIE, " is the cookie", reply.cookie);
    drive->outstanding[token] = 0;
    drive->free_tokens[drive->tokens++] = (uint16_t)token;
    if (!order.for_ever)
        drive->left_to_take--;
    if (order.verify)
        verify(&reply);
    else
        outcomes[reply.status == PORT_STATUS_OK       ? 0
                 : reply.status == PORT_STATUS_DENIED ? 1
                 : reply.status == PORT_STATUS_CLOSED ? 2
                                                      : 3]++;
    return true;
}

// Drives the queues whose events go to this vCPU; without others, vCPU 0 drives all.
static void drive_queues(void *argument, unsigned worker)
{
    unsigned step = *(const unsigned *)argument;
    for (bool busy = true; busy;) {
        bool moved = false;
        unsigned mine = 0;
        busy = false;
        for (unsigned i = worker; i < order.queues; i += step) {
            struct drive *drive = &drives[i];
            while (send_one(drive))
                moved = true;
            while (take_one(drive))
                moved = true;
            busy = busy || drive->left_to_take;
            mine++;
        }
        if (busy && !moved && mine == 1)
            cell_queue_wait(&drives[worker].queue);
        else if (busy && !moved)
            __builtin_ia32_pause();
    }
}

static void open_drive(unsigned index, const char *port, uint64_t count, unsigned depth)
{
    struct drive *drive = &drives[index];
    const struct port_table_entry *entry = cell_find_port(port);
    bool replies = order.verify && order.operation != LOOPBACK_DISCARD;
    bool requests = order.operation != LOOPBACK_GENERATE || !order.verify;
    if (!entry || cell_queue_open(&drive->queue, port, index, requests ? order.bytes : 0,
                                  replies ? order.bytes : 0, depth) < 0)
        cell_exit(FAILED_OPEN);
    drive->left_to_send = drive->left_to_take = count;
    for (unsigned token = 0; token < drive->queue.depth; token++)
        drive->free_tokens[drive->tokens++] = (uint16_t)token;
}

static int run_queues(const char *port, uint64_t count, unsigned depth)
{
    unsigned vcpus = order.queues > 1 ? cell_boot()->vcpus : 1;
    if (!order.queues || order.queues > PORT_MAX_QUEUES)
        return FAILED_USAGE;
    for (unsigned i = 0; i < order.queues; i++)
        open_drive(i, port, count / order.queues + (i < count % order.queues), depth);
    if (vcpus > 1)
        cell_run(drive_queues, &vcpus);
    else
        drive_queues(&vcpus, 0);
    return 0;
}

static int loopback(int argc, char **argv, enum loopback_operation operation)
{
    order = (struct order){
        .operation = operation,
        .bytes = (uint32_t)number(argc, argv, 4),
        .queues = (unsigned)number(argc, argv, 6),
        .verify = true,
    };
    int status = run_queues(argv[2], number(argc, argv, 3), (unsigned)number(argc, argv, 5));
    if (!status)
        say("", number(argc, argv, 3), " verified");
    return status;
}

static int flood(int argc, char **argv)
{
    static const char *const names[] = {" done", " denied", " dropped", " other"};
    const struct port_table_entry *entry = find(argc, argv);
    uint64_t count = number(argc, argv, 3);
    order = (struct order){
        .operation = entry->kind == PORT_KIND_LOOPBACK  ? (uint32_t)LOOPBACK_DISCARD
                     : entry->kind == PORT_KIND_MESSAGE ? (uint32_t)MESSAGE_SEND
                                                        : (uint32_t)CONSOLE_WRITE,
        .bytes = argc > 4 ? (uint32_t)number(argc, argv, 4) : 64,
        .queues = 1,
        .for_ever = !count,
    };
    int status = run_queues(argv[2], count ? count : 1, 0);
    for (unsigned i = 0; !status && i < 4; i++)
        say("", outcomes[i], names[i]);
    return status;
}

static int status_of(int argc, char **argv)
{
    static struct cell_queue queue;
    const struct port_table_entry *entry = find(argc, argv);
    struct cell_reply reply;
    size_t bytes = number(argc, argv, 4);
    if (cell_queue_open(&queue, argv[2], 0, bytes, entry->max_reply_bytes, 1) < 0)
        return FAILED_OPEN;
    uint8_t *payload = cell_queue_buffer(&queue);
    fill(payload, (uint32_t)bytes, 1);
    cell_queue_send(&queue, (uint32_t)number(argc, argv, 3),
                    argc > 5 ? (uint32_t)number(argc, argv, 5) : 0, payload, bytes, 1);
    while (!cell_queue_poll(&queue, &reply))
        cell_queue_wait(&queue);
    if (reply.status < 63)
        return (int)reply.status;
    if (!cell_find_port("console"))
        return FAILED_UNSAID;
    say("status ", reply.status, "");
    return 0;
}

static int message_echo(int argc, char **argv)
{
    struct cell_port port;
    const struct port_table_entry *entry = find(argc, argv);
    size_t size = entry->max_reply_bytes;
    char *text = cell_allocate(size, 64);
    if (!text || cell_port_open(&port, argv[2]) < 0)
        return FAILED_OPEN;
    for (uint64_t left = number(argc, argv, 3); left; left--) {
        size_t length;
        int status = cell_message_receive(&port, text, size, &length);
        for (size_t i = 0; !status && i < length; i++)
            text[i] = (char)toupper((unsigned char)text[i]);
        if (!status)
            status = cell_message_send(&port, text, length);
        if (status)
            fail(FAILED_STATUS, " is the status", (uint64_t)status);
    }
    return 0;
}

static int receive(int argc, char **argv)
{
    static struct cell_queue queue;
    const struct port_table_entry *entry = find(argc, argv);
    struct cell_reply reply;
    if (cell_queue_open(&queue, argv[2], 0, 0, entry->max_reply_bytes, 0) < 0)
        return FAILED_OPEN;
    for (uint64_t left = number(argc, argv, 3); left; left--) {
        while (!cell_queue_send(&queue, MESSAGE_RECEIVE, 0, NULL, 0, left))
            continue;
        while (!cell_queue_poll(&queue, &reply))
            cell_queue_wait(&queue);
        if (reply.status) {
            say("status ", reply.status, "");
        } else {
            cell_console_write(reply.payload, reply.length);
            cell_console_write("\n", 1);
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    if (!strcmp(command, "echo"))
        return loopback(argc, argv, LOOPBACK_ECHO);
    if (!strcmp(command, "generate"))
        return loopback(argc, argv, LOOPBACK_GENERATE);
    if (!strcmp(command, "discard"))
        return loopback(argc, argv, LOOPBACK_DISCARD);
    if (!strcmp(command, "flood"))
        return flood(argc, argv);
    if (!strcmp(command, "status"))
        return status_of(argc, argv);
    if (!strcmp(command, "message-echo"))
        return message_echo(argc, argv);
    if (!strcmp(command, "receive"))
        return receive(argc, argv);
    return FAILED_USAGE;
}
