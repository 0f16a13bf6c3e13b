// SPDX-License-Identifier: Apache-2.0
// Fuzzes what the clock, entropy and log ports decode: requests of a model in the VMM's backends,
// and, in the supervisor, the ring and the texts of a VMM that has fallen.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock_port.h"
#include "entropy_port.h"
#include "escape.h"
#include "message.h"
#include "message_relay.h"

#define RING_BYTES 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require_that(int condition)
{
    if (!condition)
        abort();
}

static uint64_t now_ns;

static uint64_t read_clock(const struct clock *clock)
{
    (void)clock;
    return now_ns;
}

static const struct clock fuzz_clock = {.now_ns = read_clock, .wall_ns = read_clock};

static struct shared_ring vmm_end, supervisor_end, back_end;

static void open_rings(void)
{
    struct error err;
    int out = shared_ring_create("out", RING_BYTES, &err);
    int back = shared_ring_create("back", RING_BYTES, &err);
    require_that(shared_ring_map(&vmm_end, out, RING_BYTES, &err) == 0 &&
                 shared_ring_map(&supervisor_end, out, RING_BYTES, &err) == 0 &&
                 shared_ring_map(&back_end, back, RING_BYTES, &err) == 0);
    close(out);
    close(back);
}

// One request of a model: whatever it says, the reply is in its bounds and its status known.
static void request(const struct port_backend *backend, void *state, const uint32_t words[4],
                    const uint8_t *payload, size_t length)
{
    static uint8_t reply[8192 + 16];
    struct port_request asked = {
        .operation = words[0] % 4,
        .argument = words[1] & 1 ? words[2] : words[2] % 5000,
        .length = (uint32_t)(length < LOG_MAX_BYTES ? length : LOG_MAX_BYTES),
        .payload = payload,
        .reply = reply,
        .reply_capacity = words[3] % 8193,
    };
    memset(reply + asked.reply_capacity, 0xee, 16);
    enum port_progress progress = backend->submit(state, &asked);
    for (unsigned i = 0; i < 3 && progress == PORT_PENDING; i++) {
        uint64_t wake_ns = UINT64_MAX;
        if (!backend->prepare_sleep(state, &wake_ns) && wake_ns != UINT64_MAX) {
            require_that(wake_ns > now_ns);
            now_ns = wake_ns;
        }
        progress = backend->resume(state, &asked);
    }
    backend->flush(state);
    backend->forget(state);
    require_that(asked.reply_length <= asked.reply_capacity);
    for (unsigned i = 0; i < 16; i++)
        require_that(reply[asked.reply_capacity + i] == 0xee);
    require_that(!asked.status || !asked.reply_length);
}

// Everything that is in the ring is a message of a log, or the VMM has lied.
static void take_all(struct message_relay *relay)
{
    static uint8_t text[LOG_MAX_BYTES];
    uint32_t severity = 0;
    bool wake;
    int64_t length;
    while ((length = message_relay_next(relay, &severity)) >= 0) {
        require_that(length <= LOG_MAX_BYTES && severity <= LOG_SEVERITY_DEBUG);
        message_relay_take(relay, text, (uint32_t)length, &wake);
    }
}

static unsigned unit(const char *hex)
{
    char digits[5] = {hex[0], hex[1], hex[2], hex[3], '\0'};
    char *end;
    unsigned long value = strtoul(digits, &end, 16);
    require_that(end == digits + 4);
    return (unsigned)value;
}

static size_t put_utf8(uint8_t *target, uint32_t code)
{
    if (code < 0x80) {
        target[0] = (uint8_t)code;
        return 1;
    }
    unsigned more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    for (unsigned i = 0; i <= more; i++)
        target[i] = (uint8_t)(0x80 | (code >> 6 * (more - i) & 0x3f));
    target[0] = (uint8_t)((0xff00u >> (more + 1) & 0xff) | code >> 6 * more);
    return more + 1;
}

// A reader of JSON strings (RFC 8259, section 7). That of json-c loses some characters.
static size_t unescape(uint8_t *target, const char *json, size_t length)
{
    static const char letters[] = "\"\\nrt";
    static const char meant[] = "\"\\\n\r\t";
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        if (json[i] != '\\') {
            require_that(json[i] != '"');
            target[used++] = (uint8_t)json[i];
            continue;
        }
        require_that(++i < length);
        const char *letter = strchr(letters, json[i]);
        if (letter) {
            target[used++] = (uint8_t)meant[letter - letters];
            continue;
        }
        require_that(json[i] == 'u' && i + 4 < length);
        uint32_t code = unit(json + i + 1);
        i += 4;
        if (code >= 0xd800 && code <= 0xdfff) {
            require_that(code < 0xdc00 && i + 6 < length && json[i + 1] == '\\' &&
                         json[i + 2] == 'u');
            uint32_t low = unit(json + i + 3);
            require_that(low >= 0xdc00 && low <= 0xdfff);
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            i += 6;
        }
        used += put_utf8(target + used, code);
    }
    return used;
}

// Any text becomes printable JSON. Once what is not UTF-8 is replaced, it reads as the same text.
static void escape(const uint8_t *data, size_t size)
{
    static char json[4096 * ESCAPE_JSON_EXPANSION];
    static uint8_t text[4096 * ESCAPE_JSON_EXPANSION];
    static char again[3 * 4096 * ESCAPE_JSON_EXPANSION];
    size_t used = escape_json(json, data, size);
    require_that(used <= size * ESCAPE_JSON_EXPANSION);
    for (size_t i = 0; i < used; i++)
        require_that((unsigned char)json[i] >= 0x20 && json[i] != 0x7f);
    size_t length = unescape(text, json, used);
    require_that(length <= 3 * size);
    size_t twice = escape_json(again, text, length);
    require_that(twice == used && !memcmp(again, json, used));
    // Without replacements it is the very text.
    if (length == size && !memmem(json, used, "\xef\xbf\xbd", 3))
        require_that(!memcmp(text, data, size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct clock_port clock;
    static struct entropy_port entropy;
    uint32_t words[8] = {0};
    struct vmm_clock_options options = {0};
    struct error err;
    if (size > 4096 || size < sizeof(words))
        return 0;
    if (!vmm_end.header)
        open_rings();
    memcpy(words, data, sizeof(words));
    data += sizeof(words);
    size -= sizeof(words);

    now_ns = words[4];
    options.resolution_ns = (1 + words[5] % 5000) * NS_PER_MS;
    options.jitter_ns = words[6] % (options.resolution_ns + 1);
    options.quantises_replies = words[7] & 1;
    require_that(clock_port_init(&clock, &options, &fuzz_clock, &err) == 0);
    now_ns += words[6];
    request(&clock_backend, &clock, words, data, size);
    entropy_port_init(&entropy, options.seed);
    request(&entropy_backend, &entropy, words, data, size);

    struct message_relay relay = {
        .output = supervisor_end, .largest = LOG_MAX_BYTES, .most_severity = LOG_SEVERITY_DEBUG};
    struct message message = {.output = vmm_end, .input = back_end, .wake_fd = -1};
    request(&log_backend, &message, words, data, size);
    // What the backend wrote is a message; what the fuzzer writes may be anything.
    take_all(&relay);
    require_that(!shared_ring_available(&relay.output));
    shared_ring_append(&message.output, data, size);
    shared_ring_publish(&message.output);
    take_all(&relay);
    uint64_t left = shared_ring_available(&relay.output);
    shared_ring_consume(&relay.output, left);
    vmm_end = message.output;
    supervisor_end = relay.output;
    escape(data, size);
    return 0;
}
