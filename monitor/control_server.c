// SPDX-License-Identifier: Apache-2.0
// The control socket of a running VM.
#include "control_server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"
#include "paths.h"

// How long a client waits for an answer.
#define ANSWER_TIMEOUT_MS 5000

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
    client->fd = -1;
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

static enum control_request parse(const char *line)
{
    // The exact text that control_ask sends. A general JSON parser would be more surface than two
    // requests need; the HTTP API is the interface for everybody else.
    static const struct {
        const char *text;
        enum control_request request;
    } requests[] = {
        {"{\"format\":\"" CONTROL_FORMAT "\",\"op\":\"status\"}", CONTROL_STATUS},
        {"{\"format\":\"" CONTROL_FORMAT "\",\"op\":\"stop\"}", CONTROL_STOP},
    };
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        if (!strcmp(line, requests[i].text))
            return requests[i].request;
    }
    return CONTROL_BAD;
}

enum control_request control_client_read(struct control_client *client)
{
    ssize_t n =
        read(client->fd, client->line + client->used, sizeof(client->line) - 1 - client->used);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return CONTROL_NONE;
    if (n <= 0) {
        drop(client);
        return CONTROL_NONE;
    }
    client->used += (size_t)n;
    char *end = memchr(client->line, '\n', client->used);
    if (!end) {
        if (client->used == sizeof(client->line) - 1)
            drop(client);
        return CONTROL_NONE;
    }
    *end = '\0';
    enum control_request request = parse(client->line);
    client->used = 0; // one request, one answer: nothing is pipelined
    return request;
}

void control_client_answer(struct control_client *client, const char *text)
{
    char line[CONTROL_ANSWER_MAX];
    int length = snprintf(line, sizeof(line), "%s\n", text);
    if (length < 0 || (size_t)length >= sizeof(line) ||
        send(client->fd, line, (size_t)length, MSG_NOSIGNAL) != length)
        drop(client);
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
        if (server->clients[i].fd >= 0)
            drop(&server->clients[i]);
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

int control_ask(int fd, const char *operation, char *answer, size_t size, struct error *err)
{
    char line[CONTROL_LINE_MAX];
    int length = snprintf(line, sizeof(line), "{\"format\":\"" CONTROL_FORMAT "\",\"op\":\"%s\"}\n",
                          operation);
    if (send(fd, line, (size_t)length, MSG_NOSIGNAL) != length)
        return error_set(err, EXIT_STATUS_FAILURE, errno, "control socket");
    for (size_t used = 0; used + 1 < size;) {
        struct pollfd in = {.fd = fd, .events = POLLIN};
        if (poll(&in, 1, ANSWER_TIMEOUT_MS) <= 0)
            return error_set(err, EXIT_STATUS_FAILURE, 0, "the supervisor does not answer");
        ssize_t n = read(fd, answer + used, size - 1 - used);
        if (n < 0)
            return error_set(err, EXIT_STATUS_FAILURE, errno, "control socket");
        if (n == 0)
            return error_set(err, EXIT_STATUS_FAILURE, 0, "the VM ended");
        used += (size_t)n;
        answer[used] = '\0';
        char *end = strchr(answer, '\n');
        if (end) {
            *end = '\0';
            return 0;
        }
    }
    return error_set(err, EXIT_STATUS_FAILURE, 0, "the answer is too long");
}
