// SPDX-License-Identifier: Apache-2.0
// Calls of clients on the host: a program waits for one, answers in pieces or at once, and waits
// for the next.
#ifndef GUILLOTINE_SERVE_H
#define GUILLOTINE_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <guillotine/cell.h>

#define CELL_SERVE_DEFAULT UINT64_MAX // a number that the client did not give

// A call. What is pointed to is not terminated, and stays valid until the next request on the port.
struct cell_serve_call {
    uint64_t call;     // names it
    uint64_t client;   // keep nothing of a call but for calls with the same number here; 0: nothing
    bool chat;         // a conversation; else a text to go on with
    const char *parts; // of a conversation, "ROLE BYTES\n" for each message: how `text` is divided
    size_t parts_length;
    const char *text;
    size_t text_length;
    uint64_t limit;             // tokens, at most; CELL_SERVE_DEFAULT
    uint64_t temperature_milli; // CELL_SERVE_DEFAULT
    uint64_t top_p_milli;       // CELL_SERVE_DEFAULT
    uint64_t seed;              // CELL_SERVE_DEFAULT
};

// Waits for a call. Returns PORT_STATUS_OK with *call filled, or with call->call 0: none came for a
// while; PORT_STATUS_DENIED: one came that policy denied; another port status; or -1.
int cell_serve_receive(struct cell_port *port, struct cell_serve_call *call);

// Sends the next part of the reply: whole UTF-8 characters, or nothing, to ask whether somebody
// still waits. Returns a port status, PORT_STATUS_BROKEN: the client takes no more, the call is
// over; or -1 if the text is too long.
int cell_serve_piece(struct cell_port *port, uint64_t call, const char *text, size_t length);

// Ends a call with the rest of its reply. `finish` is "stop", "length", or "error": then `text`
// says why the model cannot answer. Returns a port status, or -1 if the text is too long.
int cell_serve_answer(struct cell_port *port, uint64_t call, const char *text, size_t length,
                      const char *finish, uint64_t prompt_tokens, uint64_t reply_tokens);

// Bytes of text that a piece or an answer can have.
size_t cell_serve_text_max(const struct cell_port *port);

#endif
