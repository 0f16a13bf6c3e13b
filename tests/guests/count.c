// SPDX-License-Identifier: Apache-2.0
// A guest that counts: it sends requests as it is told and says of every port how many it sent, and
// with which statuses they came back.
//
//   PORT OPERATION ARGUMENT COUNT HEX ("-": no payload)   ...and so on
//
// Its last line is of the console and counts itself in.
#include <guillotine/cell.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORTS    16
#define STATUSES 133

struct count {
    char name[PORT_NAME_SIZE];
    struct cell_port port;
    unsigned sent;
    unsigned unsent; // that the client refused
    unsigned statuses[STATUSES];
};

static struct count counts[PORTS];
static unsigned console_writes;
static uint8_t payload[1u << 20];
static uint8_t reply[1u << 20];

static struct count *find(const char *name)
{
    for (int i = 0; i < PORTS; i++) {
        if (!strcmp(counts[i].name, name))
            return &counts[i];
        if (counts[i].name[0])
            continue;
        snprintf(counts[i].name, sizeof(counts[i].name), "%s", name);
        return cell_port_open(&counts[i].port, name) ? NULL : &counts[i];
    }
    return NULL;
}

static void say(const char *line)
{
    console_writes++;
    cell_console_write(line, strlen(line));
}

static int send(char **words)
{
    struct count *count = find(words[0]);
    size_t length = 0;
    if (!count)
        return 1;
    size_t room = count->port.queue.reply_bytes;
    if (strcmp(words[4], "-")) {
        for (; words[4][2 * length]; length++) {
            const char digits[3] = {words[4][2 * length], words[4][2 * length + 1], 0};
            payload[length] = (uint8_t)strtoul(digits, NULL, 16);
        }
    }
    for (unsigned long left = strtoul(words[3], NULL, 10); left; left--) {
        size_t got;
        int status = cell_port_call(&count->port, (uint32_t)strtoul(words[1], NULL, 10),
                                    (uint32_t)strtoul(words[2], NULL, 10), payload, length, reply,
                                    room, &got);
        if (status < 0 || status >= STATUSES) {
            count->unsent++;
        } else {
            count->sent++;
            count->statuses[status]++;
        }
    }
    return 0;
}

static void report(const struct count *count)
{
    char line[512];
    int used = snprintf(line, sizeof(line), "%s %u %u", count->name, count->sent, count->unsent);
    for (int i = 0; i < STATUSES; i++) {
        if (count->statuses[i])
            used +=
                snprintf(line + used, sizeof(line) - (size_t)used, " %d:%u", i, count->statuses[i]);
    }
    snprintf(line + used, sizeof(line) - (size_t)used, "\n");
    say(line);
}

int main(int argc, char **argv)
{
    char line[64];
    for (int at = 1; at + 5 <= argc; at += 5) {
        if (send(argv + at))
            return 1;
    }
    for (int i = 0; i < PORTS && counts[i].name[0]; i++)
        report(&counts[i]);
    snprintf(line, sizeof(line), "console %u 0\n", console_writes + 1);
    say(line);
    return 0;
}
