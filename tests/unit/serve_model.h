// SPDX-License-Identifier: Apache-2.0
// The model's part of a serve port, in tests of what is in front of it.
#ifndef TESTS_UNIT_SERVE_MODEL_H
#define TESTS_UNIT_SERVE_MODEL_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "port_fields_abi.h"
#include "serve_core.h"

// The model asks for a call. Returns its fields, which point into `reply`; false: it has to wait.
static inline bool serve_model_take(struct serve *serve, struct port_request *receive,
                                    struct port_fields *fields)
{
    receive->status = PORT_STATUS_OK;
    receive->reply_length = 0;
    if (serve_take(serve, receive) != PORT_DONE)
        return false;
    cr_assert_eq(receive->status, PORT_STATUS_OK);
    cr_assert(port_fields_read(fields, receive->reply, receive->reply_length));
    return receive->reply_length != 0;
}

// The model says something, with counts of tokens if it ends the call. Returns the status it gets.
static inline uint32_t serve_model_say(struct serve *serve, uint32_t operation, uint64_t call,
                                       const char *text, const char *finish)
{
    uint8_t payload[4096];
    char number[24];
    uint32_t used = 0;
    snprintf(number, sizeof(number), "%llu", (unsigned long long)call);
    port_fields_append(payload, sizeof(payload), &used, SERVE_FIELD_CALL, number,
                       (uint32_t)strlen(number));
    if (text)
        port_fields_append(payload, sizeof(payload), &used, SERVE_FIELD_TEXT, text,
                           (uint32_t)strlen(text));
    if (finish) {
        port_fields_append(payload, sizeof(payload), &used, SERVE_FIELD_FINISH, finish,
                           (uint32_t)strlen(finish));
        port_fields_append(payload, sizeof(payload), &used, SERVE_FIELD_PROMPT_TOKENS, "7", 1);
        port_fields_append(payload, sizeof(payload), &used, SERVE_FIELD_REPLY_TOKENS, "9", 1);
    }
    struct port_request request = {.operation = operation, .payload = payload, .length = used};
    cr_assert_eq(serve_take(serve, &request), PORT_DONE);
    return request.status;
}

#endif
