// SPDX-License-Identifier: Apache-2.0
// The file of a log port: one line each, a bound, and nothing but a file of its own.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "escape.h"
#include "log_file.h"
#include "support.h"

#define WALL 1700000000123456789ull

static char folder[] = "/tmp/test-log-file-XXXXXX";
static char path[256];
static struct log_file logged = {.fd = -1, .vm = "vm", .port = "log"};

static void setup(void)
{
    cr_assert(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/x.log", folder);
}

static void teardown(void)
{
    unlink(path);
    rmdir(folder);
}

TestSuite(log_file, .init = setup, .fini = teardown);

static void open_log(uint64_t max_bytes)
{
    struct error err;
    cr_assert_eq(log_file_open(&logged, path, max_bytes, &err), 0, "%s", err.text);
}

static char content[1u << 20];

static size_t read_back(void)
{
    FILE *file = fopen(path, "rb");
    cr_assert(file);
    size_t length = fread(content, 1, sizeof(content) - 1, file);
    fclose(file);
    content[length] = '\0';
    return length;
}

Test(log_file, lines)
{
    open_log(LOG_FILE_BYTES_DEFAULT);
    log_file_write(&logged, WALL, 3, "hello", 5);
    log_file_write(&logged, WALL + 1000, 0, "", 0);
    log_file_close(&logged, WALL);
    read_back();
    cr_expect_str_eq(content,
                     "{\"time\":\"2023-11-14T22:13:20.123456Z\",\"vm\":\"vm\",\"port\":\"log\","
                     "\"severity\":3,\"text\":\"hello\"}\n"
                     "{\"time\":\"2023-11-14T22:13:20.123457Z\",\"vm\":\"vm\",\"port\":\"log\","
                     "\"severity\":0,\"text\":\"\"}\n");
    struct stat status;
    cr_assert_eq(stat(path, &status), 0);
    cr_expect_eq(status.st_mode & 07777, 0600u);
    // Closing twice is nothing.
    log_file_close(&logged, WALL);
}

// Any bytes: one line of harmless text, which a JSON reader turns back into them, except for what
// is not UTF-8.
Test(log_file, any_bytes, .timeout = 60)
{
    uint8_t text[LOG_MESSAGE_MAX];
    srand(4);
    open_log(1u << 30);
    for (unsigned round = 0; round < 300; round++) {
        size_t length = (size_t)rand() % 400;
        for (size_t i = 0; i < length; i++)
            text[i] = (uint8_t)(round % 2 ? rand() : rand() % 0x80);
        if (ftruncate(logged.fd, 0) == 0)
            logged.bytes = 0;
        log_file_write(&logged, WALL, 7, text, length);
        size_t bytes = read_back();
        cr_assert_eq(bytes, logged.bytes);
        for (size_t i = 0; i < bytes; i++)
            cr_assert((content[i] == '\n') == (i == bytes - 1) &&
                      ((unsigned char)content[i] >= 0x20 || i == bytes - 1) && content[i] != 0x7f);
        struct json_object *line = json_tokener_parse(content), *value;
        cr_assert(line && json_object_object_get_ex(line, "text", &value));
        if (round % 2 == 0) {
            cr_assert_eq((size_t)json_object_get_string_len(value), length);
            cr_assert_eq(memcmp(json_object_get_string(value), text, length), 0);
        }
        json_object_put(line);
    }
    log_file_close(&logged, WALL);
}

// The bound holds whatever is written; the end says how much is missing; it holds for the next run.
Test(log_file, bound)
{
    uint8_t text[LOG_MESSAGE_MAX];
    struct stat status;
    memset(text, 1, sizeof(text));
    open_log(LOG_FILE_BYTES_MIN);
    for (unsigned i = 0; i < 100; i++)
        log_file_write(&logged, WALL, 7, text, i < 2 || i > 50 ? 1 : sizeof(text));
    cr_expect(logged.full);
    cr_expect_eq(logged.dropped, 96u, "%lu", (unsigned long)logged.dropped);
    log_file_close(&logged, WALL);
    read_back();
    cr_expect(strstr(content, "\"port\":\"log\",\"dropped\":96}\n"));
    cr_assert_eq(stat(path, &status), 0);
    cr_expect_leq((uint64_t)status.st_size, LOG_FILE_BYTES_MIN);
    for (unsigned run = 0; run < 1000; run++) {
        open_log(LOG_FILE_BYTES_MIN);
        log_file_write(&logged, WALL, 7, text, sizeof(text));
        log_file_close(&logged, WALL);
    }
    cr_assert_eq(stat(path, &status), 0);
    cr_expect_leq((uint64_t)status.st_size, LOG_FILE_BYTES_MIN);
    // A file that is larger than a new bound.
    open_log(1);
    log_file_write(&logged, WALL, 7, text, 1);
    cr_expect_eq(logged.dropped, 1u);
    log_file_close(&logged, WALL);
    off_t before = status.st_size;
    cr_assert_eq(stat(path, &status), 0);
    cr_expect_eq(status.st_size, before);
}

// No room on the disk: what was written of a line is taken back.
Test(log_file, disk_full)
{
    struct error err;
    logged.fd = -1;
    cr_assert_eq(log_file_open(&logged, "/dev/full", LOG_FILE_BYTES_MIN, &err), -1,
                 "a device is no log");
    open_log(LOG_FILE_BYTES_MIN);
    log_file_write(&logged, WALL, 1, "a", 1);
    int kept = logged.fd;
    logged.fd = open("/dev/full", O_WRONLY);
    log_file_write(&logged, WALL, 1, "b", 1);
    cr_expect(logged.full);
    cr_expect_eq(logged.dropped, 1u);
    close(logged.fd);
    logged.fd = kept;
    log_file_write(&logged, WALL, 1, "c", 1);
    log_file_close(&logged, WALL);
    read_back();
    cr_expect(strstr(content, "\"a\"") && !strstr(content, "\"b\"") && !strstr(content, "\"c\""));
    cr_expect(strstr(content, "\"dropped\":2}\n"));
}

Test(log_file, refuses)
{
    struct error err;
    struct log_file other = {.fd = -1, .vm = "vm", .port = "log"};
    char target[300];
    snprintf(target, sizeof(target), "%s/target", folder);
    cr_assert_eq(symlink(target, path), 0);
    cr_expect_eq(log_file_open(&logged, path, 1u << 20, &err), -1);
    cr_expect(strstr(err.text, "symbolic link"), "%s", err.text);
    cr_expect_neq(access(target, F_OK), 0, "the link was followed");
    unlink(path);
    cr_expect_eq(log_file_open(&logged, folder, 1u << 20, &err), -1);
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_expect_eq(log_file_open(&logged, path, 1u << 20, &err), -1);
    unlink(path);
    open_log(1u << 20);
    cr_expect_eq(log_file_open(&other, path, 1u << 20, &err), -1, "opened twice");
    cr_expect(strstr(err.text, "another port"), "%s", err.text);
    cr_expect_eq(other.fd, -1);
    log_file_close(&logged, WALL);
}
