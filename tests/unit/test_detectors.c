// SPDX-License-Identifier: Apache-2.0
// The built-in detectors: what they find, what they leave alone.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "detector.h"
#include "support.h"

#define MS 1000000ull

static struct detectors detectors;
static uint64_t now = 1000 * MS;
static unsigned found[DETECTOR_KINDS][VMM_MAX_PORTS];
static char reason[160];

static uint32_t rnd(uint32_t below)
{
    static uint64_t state = 0x9e3779b97f4a7c15ull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 33) % below;
}

static struct detector_settings all(void)
{
    struct detector_settings settings;
    detector_settings_defaults(&settings);
    for (unsigned i = 0; i < DETECTOR_KINDS; i++)
        settings.on[i] = true;
    return settings;
}

static void start(const struct detector_settings *settings)
{
    memset(found, 0, sizeof(found));
    detectors_init(&detectors, settings);
}

static void show(const struct audit_record *record, const void *data)
{
    struct detector_alarm alarms[DETECTOR_KINDS];
    unsigned count = detectors_record(&detectors, record, data, alarms);
    for (unsigned i = 0; i < count; i++) {
        found[alarms[i].kind][alarms[i].port]++;
        memcpy(reason, alarms[i].reason, sizeof(reason));
    }
}

static void request(uint16_t port, uint32_t bytes, enum audit_decision decision)
{
    const struct audit_record record = {
        .type = AUDIT_REQUEST,
        .port = port,
        .now_ns = now,
        .length = bytes,
        .decision = (uint16_t)decision,
        .source = AUDIT_SOURCE_VMM,
    };
    show(&record, NULL);
}

static void payload(uint16_t port, const void *bytes, uint32_t length)
{
    for (uint32_t at = 0; at < length;) {
        uint32_t part = length - at < AUDIT_PIECE_BYTES ? length - at : AUDIT_PIECE_BYTES;
        const struct audit_record record = {
            .type = AUDIT_PAYLOAD,
            .port = port,
            .now_ns = now,
            .argument = at,
            .length = part,
            .status = length,
            .source = AUDIT_SOURCE_VMM,
        };
        show(&record, (const uint8_t *)bytes + at);
        at += part;
    }
}

static unsigned sum(unsigned kind)
{
    unsigned alarms = 0;
    for (unsigned i = 0; i < VMM_MAX_PORTS; i++)
        alarms += found[kind][i];
    return alarms;
}

Test(detectors, rate_leaves_steady_and_noisy_traffic_alone_and_finds_a_burst)
{
    const struct detector_settings settings = all();
    start(&settings);
    for (unsigned window = 0; window < 600; window++) {
        for (unsigned i = 0; i < 200; i++) {
            request(1, 100, AUDIT_DECISION_ALLOW);
            request(2, 100 + rnd(100), AUDIT_DECISION_ALLOW);
            if (rnd(4))
                request(3, 50, AUDIT_DECISION_ALLOW);
            now += 5 * MS;
        }
    }
    cr_expect_eq(sum(DETECTOR_RATE), 0u, "%s", reason);
    for (unsigned i = 0; i < 4000; i++) {
        request(2, 100, AUDIT_DECISION_ALLOW);
        now += MS / 2;
    }
    cr_expect_eq(found[DETECTOR_RATE][2], 1u, "one alarm for one burst");
    cr_expect_eq(sum(DETECTOR_RATE), 1u);
    for (unsigned window = 0; window < 40; window++, now += 1000 * MS)
        request(3, 1u << 20, AUDIT_DECISION_ALLOW);
    cr_expect_geq(found[DETECTOR_RATE][3], 1u, "bytes");
}

Test(detectors, rate_is_about_each_port_by_itself)
{
    const struct detector_settings settings = all();
    start(&settings);
    for (unsigned window = 0; window < 40; window++, now += 1000 * MS)
        request(1, 1, AUDIT_DECISION_ALLOW);
    // Before its own warm-up a port has no baseline.
    for (unsigned i = 0; i < 10000; i++, now += MS)
        request(2, 1, AUDIT_DECISION_ALLOW);
    cr_expect_eq(sum(DETECTOR_RATE), 0u, "%s", reason);
}

Test(detectors, entropy)
{
    static const char text[] =
        "The store has a list of names, and each name has a text of its own. Whoever asks for one "
        "gets the whole of it, unless there is a range. Searching finds the words in all of them.";
    static const char digits[] = "0123456789abcdef";
    const struct detector_settings settings = all();
    uint8_t bytes[6000];
    start(&settings);
    for (unsigned i = 0; i < 1000; i++)
        payload(1, text, sizeof(text) - 1 - rnd(60));
    for (unsigned i = 0; i < 1000; i++)
        payload(1, "\x12\x9f\xb4\x31", 4); // too short to say anything
    cr_expect_eq(sum(DETECTOR_ENTROPY), 0u, "%s", reason);
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)rnd(256);
    payload(1, bytes, 300);
    payload(1, bytes, 6000); // in two pieces
    cr_expect_eq(sum(DETECTOR_ENTROPY), 0u);
    payload(1, bytes, 64);
    cr_expect_eq(found[DETECTOR_ENTROPY][1], 1u);
    for (unsigned i = 0; i < 200; i++)
        bytes[i] = (uint8_t)digits[rnd(16)];
    for (unsigned i = 0; i < 3; i++)
        payload(2, bytes, 200);
    cr_expect_eq(found[DETECTOR_ENTROPY][2], 1u);
    cr_expect(strstr(reason, "encoded"), "%s", reason);
}

static void encode(char *text, const uint8_t *bytes, uint32_t length)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (uint32_t i = 0; i < length; i += 3) {
        uint32_t value = (uint32_t)bytes[i] << 16 | (i + 1 < length ? bytes[i + 1] << 8 : 0) |
                         (i + 2 < length ? bytes[i + 2] : 0);
        for (int k = 18; k >= 0; k -= 6)
            *text++ = digits[value >> k & 63];
    }
    *text = '\0';
}

Test(detectors, canary_in_every_form_at_every_place)
{
    static const char token[] = "sk-canary-\xfb\xef\xbe-0042";
    struct detector_settings settings = all();
    settings.token_count = 1;
    memcpy(settings.tokens[0].bytes, token, sizeof(token) - 1);
    settings.tokens[0].length = sizeof(token) - 1;
    for (unsigned turn = 0; turn < 300; turn++) {
        char plain[5000];
        char text[8000];
        uint32_t before = rnd(4000);
        uint32_t length = before + (uint32_t)sizeof(token) - 1 + rnd(50);
        memset(plain, 'n', sizeof(plain));
        memcpy(plain + before, token, sizeof(token) - 1);
        memcpy(text, plain, length);
        switch (turn % 4) {
        case 0:
            break;
        case 1:
            for (uint32_t i = 0; i < length; i++)
                text[i] = plain[length - 1 - i];
            break;
        case 2:
            encode(text, (const uint8_t *)plain, length);
            length = (uint32_t)strlen(text);
            break;
        default:
            for (uint32_t i = 0; i < length / 3; i++)
                sprintf(text + 2 * i, turn % 8 == 3 ? "%02x" : "%02X",
                        (uint8_t)plain[before + i < 5000 ? before + i : 0]);
            length = 2 * (length / 3);
            if (length < 2 * (uint32_t)sizeof(token))
                continue;
            break;
        }
        start(&settings);
        // As several requests.
        for (uint32_t at = 0; at < length;) {
            uint32_t part = 1 + rnd(length - at);
            payload(1, text + at, part);
            at += part;
        }
        cr_expect_eq(found[DETECTOR_CANARY][1], 1u, "turn %u", turn);
    }
    start(&settings);
    for (unsigned turn = 0; turn < 200; turn++) {
        char text[4000];
        for (uint32_t i = 0; i < sizeof(text); i++)
            text[i] = (char)rnd(256);
        payload(1, text, sizeof(text));
        payload(2, token, 9); // the rest comes through another port
        payload(3, token + 9, sizeof(token) - 10);
    }
    cr_expect_eq(sum(DETECTOR_CANARY), 0u, "%s", reason);
}

Test(detectors, denials_and_violations)
{
    const struct detector_settings settings = all();
    start(&settings);
    for (unsigned i = 0; i < 1000; i++, now += 1000 * MS)
        request(1, 1, i % 2 ? AUDIT_DECISION_DENY : AUDIT_DECISION_ALLOW);
    cr_expect_eq(sum(DETECTOR_DENIALS), 0u);
    for (unsigned i = 0; i < 100; i++, now += MS)
        request((uint16_t)(i % 3), 1, AUDIT_DECISION_DENY);
    cr_expect_eq(sum(DETECTOR_DENIALS), 1u);
    const struct audit_record anomaly = {
        .type = AUDIT_ANOMALY, .port = 4, .now_ns = now, .source = AUDIT_SOURCE_VMM};
    show(&anomaly, NULL);
    show(&anomaly, NULL);
    cr_expect_eq(found[DETECTOR_VIOLATIONS][4], 1u, "quiet for a while");
}

Test(detectors, timing_finds_one_step_and_two_not_work)
{
    const struct detector_settings settings = all();
    start(&settings);
    for (unsigned i = 0; i < 2000; i++) {
        now += (1 + rnd(50)) * MS;
        request(1, 1, AUDIT_DECISION_ALLOW);
    }
    for (unsigned i = 0; i < 2000; i++) {
        now += 1000 + rnd(1000); // as fast as it can
        request(1, 1, AUDIT_DECISION_ALLOW);
    }
    cr_expect_eq(sum(DETECTOR_TIMING), 0u, "%s", reason);
    for (unsigned i = 0; i < 200; i++) {
        now += 10 * MS + rnd(100000);
        request(2, 1, AUDIT_DECISION_ALLOW);
    }
    cr_expect_eq(found[DETECTOR_TIMING][2], 1u);
    for (unsigned i = 0; i < 200; i++) {
        now += (rnd(2) ? 10 : 20) * MS + rnd(100000);
        request(3, 1, AUDIT_DECISION_ALLOW);
    }
    cr_expect_eq(found[DETECTOR_TIMING][3], 1u);
    cr_expect(strstr(reason, "and"), "%s", reason);
}

// Whatever a fallen VMM writes: no crash, no alarm about a port that there is not.
Test(detectors, property_of_any_record)
{
    const struct detector_settings settings = all();
    static uint8_t data[AUDIT_DATA_MAX];
    start(&settings);
    for (unsigned i = 0; i < 200000; i++) {
        struct audit_record record = {
            .type = (uint16_t)rnd(30),
            .port = (uint16_t)(rnd(8) ? rnd(VMM_MAX_PORTS) : rnd(65536)),
            .now_ns = rnd(3) ? now + rnd(1000000) : (uint64_t)rnd(UINT32_MAX) << rnd(32),
            .argument = rnd(10000),
            .length = rnd(8) ? rnd(AUDIT_DATA_MAX + 1) : rnd(UINT32_MAX),
            .status = rnd(20000),
            .decision = (uint16_t)rnd(8),
            .source = (uint8_t)rnd(3),
            .detail = rnd(3),
        };
        now += rnd(1000);
        show(&record, data);
    }
    cr_expect_gt(sum(DETECTOR_VIOLATIONS), 0u);
}
