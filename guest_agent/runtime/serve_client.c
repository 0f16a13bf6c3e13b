// SPDX-License-Identifier: Apache-2.0
// The client of a serve port.
#include <guillotine/serve.h>

#include <string.h>

#include "fields_call.h"

// What a piece or an answer takes besides its text: heads of fields and numbers.
#define HEAD_BYTES 192u

static uint64_t number_of(const struct port_field *field)
{
    uint64_t number;
    return port_field_number(field, &number) ? number : CELL_SERVE_DEFAULT;
}

int cell_serve_receive(struct cell_port *port, struct cell_serve_call *call)
{
    struct port_fields fields;
    const struct port_field *field = fields.field;
    struct fields_call request = fields_call_start(port);
    *call = (struct cell_serve_call){0};
    int status = fields_call_finish(&request, SERVE_RECEIVE, 0, &fields);
    if (status || !field[SERVE_FIELD_CALL].bytes)
        return status;
    const struct port_field *kind = &field[SERVE_FIELD_KIND];
    uint64_t client = number_of(&field[SERVE_FIELD_CLIENT]);
    *call = (struct cell_serve_call){
        .call = number_of(&field[SERVE_FIELD_CALL]),
        .client = client == CELL_SERVE_DEFAULT ? 0 : client,
        .chat = kind->length == 4 && memcmp(kind->bytes, "chat", 4) == 0,
        .parts = (const char *)field[SERVE_FIELD_PARTS].bytes,
        .parts_length = field[SERVE_FIELD_PARTS].length,
        .text = (const char *)field[SERVE_FIELD_TEXT].bytes,
        .text_length = field[SERVE_FIELD_TEXT].length,
        .limit = number_of(&field[SERVE_FIELD_LIMIT]),
        .temperature_milli = number_of(&field[SERVE_FIELD_TEMPERATURE]),
        .top_p_milli = number_of(&field[SERVE_FIELD_TOP_P]),
        .seed = number_of(&field[SERVE_FIELD_SEED]),
    };
    return PORT_STATUS_OK;
}

int cell_serve_piece(struct cell_port *port, uint64_t call, const char *text, size_t length)
{
    struct port_fields fields;
    struct fields_call request = fields_call_start(port);
    fields_call_number(&request, SERVE_FIELD_CALL, call);
    if (length)
        fields_call_bytes(&request, SERVE_FIELD_TEXT, text, length);
    return fields_call_finish(&request, SERVE_PIECE, 0, &fields);
}

int cell_serve_answer(struct cell_port *port, uint64_t call, const char *text, size_t length,
                      const char *finish, uint64_t prompt_tokens, uint64_t reply_tokens)
{
    struct port_fields fields;
    struct fields_call request = fields_call_start(port);
    fields_call_number(&request, SERVE_FIELD_CALL, call);
    if (length)
        fields_call_bytes(&request, SERVE_FIELD_TEXT, text, length);
    fields_call_text(&request, SERVE_FIELD_FINISH, finish);
    fields_call_number(&request, SERVE_FIELD_PROMPT_TOKENS, prompt_tokens);
    fields_call_number(&request, SERVE_FIELD_REPLY_TOKENS, reply_tokens);
    return fields_call_finish(&request, SERVE_ANSWER, 0, &fields);
}

size_t cell_serve_text_max(const struct cell_port *port)
{
    size_t room = port->queue.request_bytes;
    return room > HEAD_BYTES ? room - HEAD_BYTES : 0;
}
