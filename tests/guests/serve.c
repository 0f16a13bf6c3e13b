// SPDX-License-Identifier: Apache-2.0
// A guest that answers calls of clients as their text says; the first word is what to do.
#include <guillotine/serve.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct cell_port port;
static char text[65536]; // of the call: it is gone with the first answer
static struct cell_serve_call call;

static void answer(const char *reply)
{
    cell_serve_answer(&port, call.call, reply, strlen(reply), "stop", 3, 4);
}

static void echo(void)
{
    cell_serve_piece(&port, call.call, "you ", 4);
    cell_serve_piece(&port, call.call, "said: ", 6);
    answer(text);
}

// Says words until the client has gone, or `most` of them.
static void talk(unsigned long most)
{
    int status = 0;
    for (unsigned long i = 0; i < most && !status; i++) {
        char word[32];
        int length = snprintf(word, sizeof(word), "word%lu ", i);
        status = cell_serve_piece(&port, call.call, word, (size_t)length);
    }
    if (status) {
        char line[64];
        snprintf(line, sizeof(line), "call over, status %d", status);
        cell_print(line);
        return;
    }
    answer("end");
}

// Works without a word, but for asking whether the client is there still.
static void work(void)
{
    int status = 0;
    while (!status) {
        for (volatile int i = 0; i < 1000000; i++)
            continue;
        status = cell_serve_piece(&port, call.call, NULL, 0);
    }
    cell_print("work over");
}

// Tries what it was not asked for, and says how that went.
static void attack(void)
{
    static uint8_t garbage[64];
    size_t length;
    char line[256];
    int other = cell_serve_piece(&port, call.call + 1, "x", 1);
    int before = cell_serve_piece(&port, call.call - 1, "x", 1);
    int finish = cell_serve_answer(&port, call.call, "x", 1, "nonsense", 0, 0);
    int outside = cell_port_call(&port, SERVE_PROMPT, 0, NULL, 0, NULL, 0, &length);
    memset(garbage, 0xff, sizeof(garbage));
    int fields = cell_port_call(&port, SERVE_PIECE, 0, garbage, sizeof(garbage), NULL, 0, &length);
    int empty = cell_port_call(&port, SERVE_ANSWER, 0, NULL, 0, NULL, 0, &length);
    snprintf(line, sizeof(line), "other %d before %d finish %d outside %d fields %d empty %d",
             other, before, finish, outside, fields, empty);
    answer(line);
    cell_serve_piece(&port, call.call, "after the end", 13);
}

static void tell(void)
{
    char line[1024];
    snprintf(line, sizeof(line),
             "client %llu chat %d limit %lld temperature %lld top_p %lld seed %lld parts %.*s",
             (unsigned long long)call.client, call.chat, (long long)call.limit,
             (long long)call.temperature_milli, (long long)call.top_p_milli, (long long)call.seed,
             (int)call.parts_length, call.parts ? call.parts : "");
    answer(line);
}

int main(void);

static void act(void)
{
    if (strncmp(text, "talk ", 5) == 0)
        talk(strtoul(text + 5, NULL, 10));
    else if (strcmp(text, "work") == 0)
        work();
    else if (strcmp(text, "attack") == 0)
        attack();
    else if (strncmp(text, "tell", 4) == 0)
        tell();
    else if (strcmp(text, "bytes") == 0)
        answer("\033[2J\xff\xc3(\xf0\x9f\x98\x80\"\\\n\x7f");
    else if (strcmp(text, "error") == 0)
        cell_serve_answer(&port, call.call, "cannot\033[2J", 10, "error", 0, 0);
    else if (strcmp(text, "length") == 0)
        cell_serve_answer(&port, call.call, "cut", 3, "length", 3, 4);
    else if (strcmp(text, "violate") == 0)
        *(volatile char *)(uintptr_t)main = 0;
    else if (strcmp(text, "leave") == 0)
        cell_exit(7);
    else
        echo();
}

int main(void)
{
    if (cell_port_open(&port, "serve"))
        return 2;
    for (;;) {
        int status = cell_serve_receive(&port, &call);
        char line[64];
        snprintf(line, sizeof(line), "receive %d", status);
        if (status)
            cell_print(line);
        if (status < 0)
            return 3;
        // The process behind the port comes back, or not; there is no clock to wait by.
        for (volatile int i = 0; status == PORT_STATUS_DOWN && i < 10000000; i++)
            continue;
        if (status || !call.call)
            continue;
        size_t length = call.text_length < sizeof(text) - 1 ? call.text_length : sizeof(text) - 1;
        memcpy(text, call.text, length);
        text[length] = '\0';
        act();
    }
}
