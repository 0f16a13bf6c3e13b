// SPDX-License-Identifier: Apache-2.0
// A guest that uses the clock, entropy and log ports; what it got goes to the console.
//
//   clock now|monotonic READINGS    reads as fast as it can; prints each value that is new
//   entropy BYTES PART              reads BYTES in parts; prints them in hexadecimal
//   log MESSAGES                    writes as many numbered messages
//   log-fill BYTES                  writes messages of that size until it is refused
//   log-hostile                     writes what terminals and readers of lines must not see
//   status PORT OPERATION ARGUMENT PAYLOAD REPLY
//                                   one request; prints its status and the reply's bytes
//   flood PORT OPERATION ARGUMENT PAYLOAD REPLY
//                                   the same request for ever
#include <guillotine/clock.h>
#include <guillotine/entropy.h>
#include <guillotine/log.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAILED 63

static void say_numbers(unsigned long long a, unsigned long long b)
{
    char line[64];
    snprintf(line, sizeof(line), "%llu %llu", a, b);
    cell_print(line);
}

static int read_clock(const char *operation, unsigned long readings)
{
    struct clock_reading reading = {0};
    uint64_t last = UINT64_MAX;
    for (unsigned long i = 0; i < readings; i++) {
        int status =
            strcmp(operation, "now") ? cell_clock_monotonic(&reading) : cell_clock_now(&reading);
        if (status)
            return status < 0 ? FAILED : status;
        if (last != UINT64_MAX && reading.nanoseconds < last)
            return FAILED;
        if (reading.nanoseconds != last)
            say_numbers(reading.nanoseconds, reading.resolution_ns);
        last = reading.nanoseconds;
    }
    return 0;
}

static int read_entropy(size_t bytes, size_t part)
{
    static uint8_t data[65536];
    static char text[8193];
    if (bytes > sizeof(data) || !part)
        return FAILED;
    for (size_t done = 0; done < bytes; done += part) {
        int status = cell_entropy_read(data + done, part < bytes - done ? part : bytes - done);
        if (status)
            return status < 0 ? FAILED : status;
    }
    for (size_t done = 0; done < bytes;) {
        size_t used = 0;
        for (; done < bytes && used + 2 < sizeof(text); done++, used += 2)
            snprintf(text + used, 3, "%02x", data[done]);
        if (cell_console_write(text, used))
            return FAILED;
    }
    return 0;
}

static int write_log(unsigned long messages)
{
    char text[32];
    for (unsigned long i = 0; i < messages; i++) {
        int length = snprintf(text, sizeof(text), "message %lu", i);
        int status = cell_log_write((enum log_severity)(i % 8), text, (size_t)length);
        if (status)
            return status < 0 ? FAILED : status;
    }
    return 0;
}

static int fill_log(size_t bytes)
{
    static char text[LOG_MAX_BYTES];
    memset(text, '\x01', sizeof(text));
    for (unsigned long sent = 0; sent < 100000; sent++) {
        int status = cell_log_write(LOG_SEVERITY_ERROR, text, bytes);
        if (status)
            return status < 0 ? FAILED : status;
    }
    return 0;
}

static int write_hostile(void)
{
    static const struct {
        const char *text;
        size_t length;
    } texts[] = {
#define TEXT(text) {text, sizeof(text) - 1}
        TEXT("\x1b[2J\x1b[H\x1b]0;owned\x07"),
        TEXT("\"}\n{\"time\":\"2026\",\"vm\":\"other\",\"severity\":0,\"text\":\"forged"),
        TEXT("\r\n\v\f\x85\x0c\xe2\x80\xa8\xe2\x80\xa9"),
        TEXT("\x9b"
             "2J\xc2\x9b"
             "2J\xc0\x9b[2J\xed\xa0\x80\xf4\x90\x80\x80\xff\xfe\xc3"),
        TEXT("\xe2\x80\xae"
             "evil\xe2\x80\xac\xef\xbb\xbf\xf3\xa0\x81\x81\\u001b\\"),
        TEXT("\x00\x01\x7f"),
        TEXT(""),
        TEXT("plain \xc3\xa4\xe2\x82\xac\xf0\x9f\x99\x82"),
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (cell_log_write(LOG_SEVERITY_WARNING, texts[i].text, texts[i].length))
            return FAILED;
    }
    return 0;
}

// PORT OPERATION ARGUMENT PAYLOAD REPLY, once or for ever.
static int request(char **argv, bool again)
{
    static uint8_t payload[8192];
    static uint8_t reply[8192];
    struct cell_port port;
    size_t got;
    int status;
    if (cell_port_open(&port, argv[0]) < 0)
        return FAILED;
    do {
        got = 0;
        status = cell_port_call(
            &port, (uint32_t)strtoul(argv[1], NULL, 10), (uint32_t)strtoul(argv[2], NULL, 10),
            payload, strtoul(argv[3], NULL, 10), reply, strtoul(argv[4], NULL, 10), &got);
    } while (again);
    say_numbers((unsigned long long)status, got);
    return 0;
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    if (!strcmp(command, "clock") && argc == 4)
        return read_clock(argv[2], strtoul(argv[3], NULL, 10));
    if (!strcmp(command, "entropy") && argc == 4)
        return read_entropy(strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10));
    if (!strcmp(command, "log") && argc == 3)
        return write_log(strtoul(argv[2], NULL, 10));
    if (!strcmp(command, "log-fill") && argc == 3)
        return fill_log(strtoul(argv[2], NULL, 10));
    if (!strcmp(command, "log-hostile"))
        return write_hostile();
    if (!strcmp(command, "status") && argc == 7)
        return request(argv + 2, false);
    if (!strcmp(command, "flood") && argc == 7)
        return request(argv + 2, true);
    return FAILED;
}
