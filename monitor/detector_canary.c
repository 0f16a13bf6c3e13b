// SPDX-License-Identifier: Apache-2.0
// Tokens that nobody should say: secrets of the operator, texts planted where only a model that
// looks around finds them.
#include <stdio.h>
#include <string.h>

#include "detector.h"
#include "hex.h"

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void add_form(struct detectors *detectors, uint32_t token, const char *name,
                     const void *bytes, uint32_t length)
{
    if (detectors->form_count == DETECTOR_FORMS || length > DETECTOR_FORM_BYTES)
        return;
    struct detector_form *form = &detectors->forms[detectors->form_count++];
    *form = (struct detector_form){.length = length, .token = token, .name = name};
    memcpy(form->bytes, bytes, length);
}

// The characters that a token gives in base64 behind `phase` other bytes, whatever is around it.
static uint32_t encode(char *text, const struct detector_token *token, unsigned phase, bool url)
{
    uint32_t length = 0;
    uint32_t first = (phase * 8 + 5) / 6; // the first character without bits of what is in front
    uint32_t last = (phase + token->length) * 8 / 6;
    for (uint32_t i = first; i < last; i++) {
        uint32_t value = 0;
        for (uint32_t bit = i * 6; bit < i * 6 + 6; bit++) {
            uint32_t at = bit - phase * 8;
            value = value << 1 | (token->bytes[at / 8] >> (7 - at % 8) & 1u);
        }
        char character = base64[value];
        if (url)
            character = character == '+' ? '-' : character == '/' ? '_' : character;
        text[length++] = character;
    }
    return length;
}

static void add_base64(struct detectors *detectors, uint32_t index)
{
    const struct detector_token *token = &detectors->settings.tokens[index];
    char text[DETECTOR_FORM_BYTES];
    char other[DETECTOR_FORM_BYTES];
    for (unsigned phase = 0; phase < 3; phase++) {
        uint32_t length = encode(text, token, phase, false);
        encode(other, token, phase, true);
        add_form(detectors, index, "base64", text, length);
        if (memcmp(text, other, length) != 0)
            add_form(detectors, index, "base64url", other, length);
    }
}

void detector_canary_init(struct detectors *detectors)
{
    for (uint32_t i = 0; i < detectors->settings.token_count; i++) {
        const struct detector_token *token = &detectors->settings.tokens[i];
        char text[2 * DETECTOR_TOKEN_MAX + 1];
        uint8_t reversed[DETECTOR_TOKEN_MAX];
        add_form(detectors, i, "plain", token->bytes, token->length);
        for (uint32_t k = 0; k < token->length; k++)
            reversed[k] = token->bytes[token->length - 1 - k];
        add_form(detectors, i, "reversed", reversed, token->length);
        hex_format(text, token->bytes, token->length);
        add_form(detectors, i, "hexadecimal", text, 2 * token->length);
        for (char *at = text; *at; at++)
            *at = *at >= 'a' ? (char)(*at - 'a' + 'A') : *at;
        add_form(detectors, i, "hexadecimal", text, 2 * token->length);
        add_base64(detectors, i);
    }
}

static const struct detector_form *find(const struct detectors *detectors, const uint8_t *bytes,
                                        uint32_t length)
{
    for (uint32_t i = 0; i < detectors->form_count; i++) {
        const struct detector_form *form = &detectors->forms[i];
        if (memmem(bytes, length, form->bytes, form->length))
            return form;
    }
    return NULL;
}

bool detector_canary(struct detectors *detectors, const struct audit_record *record,
                     const uint8_t *data, struct detector_alarm *alarm)
{
    uint8_t text[DETECTOR_FORM_BYTES + AUDIT_DATA_MAX];
    struct detector_tail *tail = &detectors->tails[record->port];
    if (record->type != AUDIT_PAYLOAD || record->detail != AUDIT_DIRECTION_REQUEST ||
        !record->length)
        return false;
    // Behind what the port's requests said before: a token may be split over several.
    memcpy(text, tail->bytes, tail->length);
    memcpy(text + tail->length, data, record->length);
    uint32_t length = tail->length + record->length;
    tail->length = length < DETECTOR_FORM_BYTES - 1 ? length : DETECTOR_FORM_BYTES - 1;
    memcpy(tail->bytes, text + length - tail->length, tail->length);
    const struct detector_form *form = find(detectors, text, length);
    if (!form)
        return false;
    tail->length = 0; // once
    alarm->score = form->token + 1;
    snprintf(alarm->reason, sizeof(alarm->reason), "token %u, %s", form->token + 1, form->name);
    return true;
}
