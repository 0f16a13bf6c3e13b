// SPDX-License-Identifier: Apache-2.0
// The control socket of a running VM.
#include "control_server.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json_tokener.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "escape.h"
#include "json_text.h"
#include "paths.h"

// How long a client waits for an answer.
#define ANSWER_TIMEOUT_MS 5000

// How long a client may take for each piece of an answer once the VM has ended.
#define LAST_ANSWER_MS 500

// Addresses of sockets are short (108 bytes): a long runtime directory is reached through a
// descriptor of it.
static int fill_address(struct sockaddr_un *address, int folder, const char *name,
                        struct error *err)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length = snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d/%s.sock",
                          folder, name);
    if (length < 0 || (size_t)length >= sizeof(address->sun_path))
        return error_set(err, EXIT_STATUS_USAGE, ENAMETOOLONG, "%s", name);
    return 0;
}

static int open_folder(const char *path, struct error *err)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "runtime directory %s", path);
    return fd;
}

// The lock decides who owns a name: it goes with the process, however that ends.
static int claim(struct control_server *server, int folder, const char *name, struct error *err)
{
    char lock_name[128];
    struct stat locked;
    struct stat found;
    snprintf(lock_name, sizeof(lock_name), "%s.lock", name);
    for (unsigned attempt = 0; attempt < 8; attempt++) {
        cleanup_fd int fd = openat(folder, lock_name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
            return error_set(err, EXIT_STATUS_RESOURCES, errno, "create %s", lock_name);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
            return error_set(err, EXIT_STATUS_USAGE, 0,
                             "a VM named %s is running: choose another --name", name);
        // Its last owner may have removed the file between our open and our lock.
        if (fstat(fd, &locked) == 0 && fstatat(folder, lock_name, &found, 0) == 0 &&
            locked.st_ino == found.st_ino) {
            server->lock = steal_fd(&fd);
            return 0;
        }
    }
    return error_set(err, EXIT_STATUS_RESOURCES, 0, "cannot lock the name %s", name);
}

int control_server_open(struct control_server *server, const char *runtime_dir, const char *name,
                        struct error *err)
{
    struct sockaddr_un address;
    *server = (struct control_server){.fd = -1, .lock = -1};
    for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++)
        server->clients[i].fd = -1;
    cleanup_fd int folder = open_folder(runtime_dir, err);
    if (folder < 0 || paths_join(server->path, runtime_dir, name, err) < 0 ||
        claim(server, folder, name, err) < 0 || fill_address(&address, folder, name, err) < 0)
        return -1;
    unlink(address.sun_path);
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 8) < 0)
        return error_set(err, EXIT_STATUS_RESOURCES, errno, "control socket %s.sock", server->path);
    server->fd = steal_fd(&fd);
    return 0;
}

static void drop(struct control_client *client)
{
    close(client->fd);
    free(client->body);
    free(client->output);
    *client = (struct control_client){.fd = -1};
}

int control_server_accept(struct control_server *server)
{
    int fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return -1;
    unsigned slot = 0;
    while (slot < CONTROL_MAX_CLIENTS && server->clients[slot].fd >= 0)
        slot++;
    if (slot == CONTROL_MAX_CLIENTS) {
        // Silent clients must not lock `kill` out: the newest one counts most.
        slot = server->next_victim++ % CONTROL_MAX_CLIENTS;
        drop(&server->clients[slot]);
    }
    server->clients[slot] = (struct control_client){.fd = fd};
    return (int)slot;
}

static int read_operation(const struct json_place *place, void *target, struct error *err)
{
    static const char *const names[] = {
        "status",     "stop",      "isolate", "quorum",  "order",  "propose",
        "beat",       "approvals", "approve", "reject",  "policy", "policy-ordered",
        "port-close", "port-open", "send",    "receive",
    };
    struct control_order *order = target;
    size_t index;
    if (json_read_name(place, names, sizeof(names) / sizeof(names[0]), &index, err) < 0)
        return -1;
    order->operation = (enum control_operation)(CONTROL_STATUS + index);
    return 0;
}

static int read_format(const struct json_place *place, void *target, struct error *err)
{
    const char *text;
    (void)target;
    if (json_read_text(place, &text, err) < 0)
        return -1;
    return strcmp(text, CONTROL_FORMAT)
               ? json_refuse(place, JSON_PART_VALUE, err, "this is " CONTROL_FORMAT)
               : 0;
}

static int read_port(const struct json_place *place, void *target, struct error *err)
{
    struct control_order *order = target;
    const char *text;
    if (json_read_text(place, &text, err) < 0)
        return -1;
    if (strlen(text) >= sizeof(order->port))
        return json_refuse(place, JSON_PART_VALUE, err, "that is longer than a port's name can be");
    snprintf(order->port, sizeof(order->port), "%s", text);
    return 0;
}

static int read_level(const struct json_place *place, void *target, struct error *err)
{
    struct control_order *order = target;
    const char *text;
    if (json_read_text(place, &text, err) < 0)
        return -1;
    snprintf(order->level, sizeof(order->level), "%s", text);
    return 0;
}

static int read_reason(const struct json_place *place, void *target, struct error *err)
{
    struct control_order *order = target;
    const char *text;
    if (json_read_text(place, &text, err) < 0)
        return -1;
    if (strlen(text) >= sizeof(order->reason))
        return json_refuse(place, JSON_PART_VALUE, err, "a reason has at most 256 bytes");
    snprintf(order->reason, sizeof(order->reason), "%s", text);
    return 0;
}

static int read_id(const struct json_place *place, void *target, struct error *err)
{
    struct control_order *order = target;
    const char *text;
    if (json_read_text(place, &text, err) < 0)
        return -1;
    if (strlen(text) >= sizeof(order->id))
        return json_refuse(place, JSON_PART_VALUE, err, "an id has at most 64 digits");
    snprintf(order->id, sizeof(order->id), "%s", text);
    return 0;
}

// True for requests that bytes follow.
static bool has_body(enum control_operation operation)
{
    return operation == CONTROL_SEND || operation == CONTROL_ORDER ||
           operation == CONTROL_PROPOSE || operation == CONTROL_BEAT ||
           control_is_policy(operation);
}

static int parse(const char *line, struct control_order *order, struct error *err)
{
    static const struct json_field fields[] = {
        {.key = "format", .read = read_format, .required = true},
        {.key = "op", .read = read_operation, .required = true},
        {.key = "port", .read = read_port},
        {.key = "level", .read = read_level},
        {.key = "reason", .read = read_reason},
        {.key = "id", .read = read_id},
        {"length_bytes", json_field_u64, false, offsetof(struct control_order, length_bytes), 0,
         CONTROL_MESSAGE_MAX},
    };
    cleanup_json_document struct json_document document = {0};
    if (json_document_parse(&document, "request", line, strlen(line), CONTROL_LINE_MAX, err) < 0)
        return -1;
    struct json_place root = json_document_root(&document);
    if (json_read_object(&root, fields, sizeof(fields) / sizeof(fields[0]), order, err) < 0)
        return -1;
    if (order->operation >= CONTROL_PORT_CLOSE && !order->port[0])
        return error_set(err, EXIT_STATUS_USAGE, 0, "request: no port");
    if (!has_body(order->operation) && order->length_bytes)
        return error_set(err, EXIT_STATUS_USAGE, 0, "request: length_bytes belongs to send");
    if (order->operation < CONTROL_PORT_CLOSE && !control_is_policy(order->operation) &&
        order->length_bytes > CONTROL_SIGNED_MAX)
        return error_set(err, EXIT_STATUS_USAGE, 0, "request: the document is too large");
    return 0;
}

// Turns a complete line into an order. Returns false if the bytes of a message are still to come.
static bool take_line(struct control_client *client, size_t length)
{
    static const char get[] = "GET /metrics";
    struct error err = {0};
    client->order = (struct control_order){0};
    if (!strncmp(client->line, get, sizeof(get) - 1)) {
        client->order.operation = CONTROL_METRICS;
        return true;
    }
    if (parse(client->line, &client->order, &err) < 0) {
        client->order.operation = CONTROL_BAD;
        snprintf(client->order.error, sizeof(client->order.error), "%s", err.text);
        return true;
    }
    if (!has_body(client->order.operation))
        return true;
    size_t rest = client->used - length;
    client->body = malloc(client->order.length_bytes + 1);
    if (!client->body || rest > client->order.length_bytes) {
        client->order.operation = CONTROL_BAD;
        snprintf(client->order.error, sizeof(client->order.error), "more bytes than announced");
        return true;
    }
    memcpy(client->body, client->line + length, rest);
    client->body_used = rest;
    return client->body_used == client->order.length_bytes;
}

// Returns bytes read, 0 for none at the moment; drops a client that went away.
static size_t receive(struct control_client *client, void *target, size_t room)
{
    ssize_t n = read(client->fd, target, room);
    if (n > 0)
        return (size_t)n;
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        drop(client);
    return 0;
}

bool control_client_read(struct control_client *client)
{
    if (client->waiting) {
        // One request, one answer: nothing is pipelined. HTTP clients send headers that nobody
        // reads.
        char ignored[256];
        bool http = client->order.operation == CONTROL_METRICS;
        if (receive(client, ignored, sizeof(ignored)) && !http)
            drop(client);
        return false;
    }
    if (client->body) {
        client->body_used += receive(client, client->body + client->body_used,
                                     client->order.length_bytes - client->body_used);
        client->waiting = client->fd >= 0 && client->body_used == client->order.length_bytes;
        return client->waiting;
    }
    client->used +=
        receive(client, client->line + client->used, sizeof(client->line) - 1 - client->used);
    if (client->fd < 0)
        return false;
    char *end = memchr(client->line, '\n', client->used);
    if (!end) {
        if (client->used == sizeof(client->line) - 1)
            drop(client);
        return false;
    }
    *end = '\0';
    client->waiting = take_line(client, (size_t)(end + 1 - client->line));
    client->used = 0;
    return client->waiting;
}

void control_client_write(struct control_client *client)
{
    while (client->output_done < client->output_length) {
        ssize_t n = send(client->fd, client->output + client->output_done,
                         client->output_length - client->output_done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            drop(client);
            return;
        }
        client->output_done += (size_t)n;
    }
    free(client->output);
    client->output = NULL;
    client->output_length = client->output_done = 0;
    if (client->closes)
        drop(client);
}

// Keeps what is to be sent and sends what the socket takes. The request is over.
static void put(struct control_client *client, const char *text, const void *data, size_t length)
{
    size_t text_length = strlen(text);
    free(client->body);
    client->body = NULL;
    client->body_used = 0;
    client->waiting = false;
    client->number = 0;
    char *grown = realloc(client->output, client->output_length + text_length + length + 1);
    if (!grown) {
        drop(client);
        return;
    }
    client->output = grown;
    memcpy(grown + client->output_length, text, text_length);
    client->output_length += text_length;
    if (length)
        memcpy(grown + client->output_length, data, length);
    client->output_length += length;
    control_client_write(client);
}

void control_client_answer(struct control_client *client, const char *text, const void *data,
                           size_t length)
{
    cleanup_free char *line = NULL;
    if (asprintf(&line, "%s\n", text) < 0)
        drop(client);
    else
        put(client, line, data, length);
}

void control_client_refuse(struct control_client *client, const char *text)
{
    char clean[512];
    char line[1024];
    json_object *string;
    // Printable after this, so that nothing but quotes and backslashes is left to JSON.
    escape_line(clean, sizeof(clean), text, strlen(text));
    string = json_object_new_string(clean);
    snprintf(line, sizeof(line), "{\"format\":\"" CONTROL_FORMAT "\",\"error\":%s}",
             string ? json_object_to_json_string(string) : "\"\"");
    json_object_put(string);
    control_client_answer(client, line, NULL, 0);
}

void control_client_answer_http(struct control_client *client, const char *text)
{
    char head[256];
    snprintf(head, sizeof(head),
             "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
             "Content-Length: %zu\r\nConnection: close\r\n\r\n",
             strlen(text));
    client->closes = true;
    put(client, head, text, strlen(text));
}

void control_server_close(struct control_server *server)
{
    char path[PATH_MAX + 8];
    if (server->fd >= 0) {
        close(server->fd);
        snprintf(path, sizeof(path), "%s.sock", server->path);
        unlink(path);
    }
    if (server->lock >= 0) {
        if (server->path[0]) {
            snprintf(path, sizeof(path), "%s.lock", server->path);
            unlink(path);
        }
        close(server->lock);
    }
    server->fd = server->lock = -1;
    // Last: to a client that waits, the closed connection says that everything is gone.
    for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
        struct control_client *client = &server->clients[i];
        struct pollfd out = {.fd = client->fd, .events = POLLOUT};
        // The rest of a large answer, for a client that reads it.
        while (client->fd >= 0 && client->output && poll(&out, 1, LAST_ANSWER_MS) > 0)
            control_client_write(client);
        if (client->fd >= 0)
            drop(client);
    }
}

int control_connect(const char *runtime_dir, const char *name, struct error *err)
{
    struct sockaddr_un address;
    cleanup_fd int folder = open_folder(runtime_dir, err);
    if (folder < 0 || fill_address(&address, folder, name, err) < 0)
        return -1;
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return error_set(err, EXIT_STATUS_FAILURE, 0, "no VM named %s is running", name);
    return steal_fd(&fd);
}

static int send_all(int fd, const void *data, size_t length, struct error *err)
{
    const char *at = data;
    while (length) {
        ssize_t n = send(fd, at, length, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(err, EXIT_STATUS_FAILURE, errno, "control socket");
        at += n;
        length -= (size_t)n;
    }
    return 0;
}

static void add_text(json_object *object, const char *key, const char *text)
{
    if (text)
        json_object_object_add(object, key, json_object_new_string(text));
}

static int send_question(int fd, const struct control_question *question, struct error *err)
{
    json_object *object = json_object_new_object();
    if (!object)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "control socket");
    add_text(object, "format", CONTROL_FORMAT);
    add_text(object, "op", question->operation);
    add_text(object, "level", question->level);
    add_text(object, "reason", question->reason);
    add_text(object, "port", question->port);
    add_text(object, "id", question->id);
    if (question->body)
        json_object_object_add(object, "length_bytes",
                               json_object_new_int64((int64_t)question->body_length));
    const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN);
    int result = strlen(text) < CONTROL_LINE_MAX - 1
                     ? send_all(fd, text, strlen(text), err)
                     : error_set(err, EXIT_STATUS_USAGE, 0, "the request is too long");
    if (result == 0)
        result = send_all(fd, "\n", 1, err);
    json_object_put(object);
    if (result < 0)
        return -1;
    return question->body ? send_all(fd, question->body, question->body_length, err) : 0;
}

// An answer that is an error becomes one.
static int check_answer(const char *answer, struct error *err)
{
    json_object *object = json_tokener_parse(answer);
    json_object *member;
    int result = 0;
    if (!object)
        result = error_set(err, EXIT_STATUS_FAILURE, 0, "the supervisor's answer is not JSON");
    else if (json_object_object_get_ex(object, "error", &member))
        result = error_set(err, EXIT_STATUS_FAILURE, 0, "%s", json_object_get_string(member));
    json_object_put(object);
    return result;
}

int control_ask(int fd, const struct control_question *question, char *answer, size_t size,
                size_t *behind, struct error *err)
{
    if (send_question(fd, question, err) < 0)
        return -1;
    for (size_t used = 0; used + 1 < size;) {
        struct pollfd in = {.fd = fd, .events = POLLIN};
        if (poll(&in, 1, question->patient ? -1 : ANSWER_TIMEOUT_MS) <= 0)
            return error_set(err, EXIT_STATUS_FAILURE, 0, "the supervisor does not answer");
        ssize_t n = read(fd, answer + used, size - 1 - used);
        if (n < 0)
            return error_set(err, EXIT_STATUS_FAILURE, errno, "control socket");
        if (n == 0)
            return error_set(err, EXIT_STATUS_FAILURE, 0, "the VM ended");
        used += (size_t)n;
        answer[used] = '\0';
        char *end = memchr(answer, '\n', used);
        if (end) {
            *end = '\0';
            if (behind)
                *behind = used - (size_t)(end + 1 - answer);
            return check_answer(answer, err);
        }
    }
    return error_set(err, EXIT_STATUS_FAILURE, 0, "the answer is too long");
}
