// SPDX-License-Identifier: Apache-2.0
// The core of the serve backend: the queue of calls, what the model sees of one, what it answers.
//
// What the model says is looked at only here: its text becomes whole UTF-8 characters, ends in
// front of what the client named as a stop, and is bounded. It cannot name another client's call
// but by a number that this process gave it, and a call that has ended takes nothing any more.
#include "serve.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "port_fields_abi.h"
#include "serve_core.h"
#include "serve_text.h"

// Seconds after which a client that was turned away may try again.
#define RETRY_S 1u

// Denied prompts that wait for the VMM to deny and record them. They take no other's place.
#define DENIED_MAX 16u

// A call, as the front sees it, and what is behind it.
struct call {
    struct serve_call seen; // first: the front's pointer is ours
    struct call *next;      // of all, oldest first
    uint8_t *prompt;        // fields for the model; NULL once it has them
    uint32_t prompt_length;
    uint64_t deadline_ns;
    struct serve_text text;
    bool released; // by the front
    bool denied;   // and only the VMM still has to deny it
    char reason_text[160];
};

struct identity {
    uint64_t number; // 0: free
    uint64_t used;   // larger: later
    size_t length;
    uint8_t bytes[SERVE_CLIENT_BYTES_MAX];
};

struct serve {
    struct serve_settings_core settings;
    struct call *calls;
    uint32_t open;   // calls that have not ended
    uint32_t denied; // of them, those that only the VMM still has to deny
    uint64_t last_call;
    uint64_t last_identity;
    uint64_t uses;
    bool isolated;
    void (*changed)(void *context, struct serve_call *call);
    void *context;
    struct identity identities[SERVE_IDENTITIES];
};

struct serve *serve_open(const struct serve_settings_core *settings, struct error *err)
{
    struct serve *serve = calloc(1, sizeof(*serve));
    if (!serve) {
        error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "serve: memory");
        return NULL;
    }
    serve->settings = *settings;
    return serve;
}

static void free_call(struct call *call)
{
    serve_text_free(&call->text);
    free(call->prompt);
    free(call);
}

void serve_close(struct serve *serve)
{
    while (serve && serve->calls) {
        struct call *next = serve->calls->next;
        free_call(serve->calls);
        serve->calls = next;
    }
    free(serve);
}

void serve_on_change(struct serve *serve, void (*changed)(void *context, struct serve_call *call),
                     void *context)
{
    serve->changed = changed;
    serve->context = context;
}

// Tells the front what is new of a call.
static void tell(struct serve *serve, struct call *call)
{
    call->seen.text = call->text.bytes ? call->text.bytes : "";
    call->seen.text_length = serve_text_shown(&call->text);
    if (!call->released && serve->changed)
        serve->changed(serve->context, &call->seen);
}

static void end(struct serve *serve, struct call *call, enum serve_end how, const char *reason)
{
    if (call->seen.state == SERVE_ENDED)
        return;
    if (call->denied)
        serve->denied--;
    call->seen.state = SERVE_ENDED;
    call->seen.end = how;
    call->seen.reason = reason;
    serve_text_end(&call->text);
    free(call->prompt);
    call->prompt = NULL;
    serve->open--;
}

// Frees what is over. Not while the front is told something: it may release calls then.
static void sweep(struct serve *serve)
{
    for (struct call **link = &serve->calls; *link;) {
        struct call *call = *link;
        if (!call->released || call->seen.state != SERVE_ENDED) {
            link = &call->next;
            continue;
        }
        *link = call->next;
        free_call(call);
    }
}

static uint64_t now_ns(const struct serve *serve)
{
    return clock_now_ns(serve->settings.clock);
}

static unsigned level(const struct serve *serve)
{
    return level_effective(serve->settings.levels.supervisor, serve->settings.levels.vmm);
}

bool serve_is_isolated(const struct serve *serve)
{
    return serve->isolated;
}

uint32_t serve_open_calls(const struct serve *serve)
{
    return serve->open;
}

bool serve_has_waiting(const struct serve *serve)
{
    for (const struct call *call = serve->calls; call && !serve->isolated; call = call->next) {
        if (call->seen.state == SERVE_WAITING)
            return true;
    }
    return false;
}

void serve_tick(struct serve *serve)
{
    unsigned now = level(serve);
    serve->isolated = now > serve->settings.levels.highest;
    const char *name = level_name(now);
    uint64_t time = serve->open && !serve->isolated ? now_ns(serve) : 0;
    sweep(serve);
    for (struct call *call = serve->calls; call; call = call->next) {
        if (call->seen.state == SERVE_ENDED)
            continue;
        if (serve->isolated)
            end(serve, call, SERVE_END_ISOLATED, name);
        else if (time >= call->deadline_ns)
            end(serve, call, SERVE_END_DEADLINE, "the deadline has passed");
        else
            continue;
        tell(serve, call);
    }
}

// The number under which the model knows a client, or 0.
static uint64_t identify(struct serve *serve, const void *bytes, size_t length)
{
    struct identity *oldest = &serve->identities[0];
    if (!length || length > SERVE_CLIENT_BYTES_MAX)
        return 0;
    for (unsigned i = 0; i < SERVE_IDENTITIES; i++) {
        struct identity *identity = &serve->identities[i];
        if (identity->number && identity->length == length &&
            memcmp(identity->bytes, bytes, length) == 0) {
            identity->used = ++serve->uses;
            return identity->number;
        }
        if (identity->used < oldest->used)
            oldest = identity;
    }
    // A number is never used twice: nothing that the model keeps for the old one is found again.
    oldest->number = ++serve->last_identity;
    oldest->used = ++serve->uses;
    oldest->length = length;
    memcpy(oldest->bytes, bytes, length);
    return oldest->number;
}

struct builder {
    uint8_t *bytes;
    uint64_t size;
    uint32_t used;
    bool full;
};

static void add(struct builder *builder, uint32_t field, const void *bytes, size_t length)
{
    if (length > UINT32_MAX || !port_fields_append(builder->bytes, builder->size, &builder->used,
                                                   field, bytes, (uint32_t)length))
        builder->full = true;
}

static void add_number(struct builder *builder, uint32_t field, uint64_t number)
{
    char digits[24];
    int length = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number);
    add(builder, field, digits, (size_t)length);
}

// The fields of a prompt. Returns false if it does not fit; *call->prompt is the call's.
static bool build_prompt(struct serve *serve, struct call *call, const struct serve_prompt *prompt)
{
    struct builder builder = {.size = serve->settings.max_prompt_bytes};
    uint64_t client = identify(serve, prompt->client, prompt->client_length);
    uint32_t limit = prompt->limit;
    uint32_t most = serve->settings.grant->max_tokens;
    if (most && (limit == SERVE_DEFAULT || limit > most))
        limit = most;
    if (prompt->text_length + strlen(prompt->parts) > builder.size)
        return false;
    builder.bytes = call->prompt = malloc(builder.size);
    if (!builder.bytes)
        return false;
    add_number(&builder, SERVE_FIELD_CALL, call->seen.number);
    if (client)
        add_number(&builder, SERVE_FIELD_CLIENT, client);
    add(&builder, SERVE_FIELD_KIND, prompt->chat ? "chat" : "text", 4);
    if (prompt->chat)
        add(&builder, SERVE_FIELD_PARTS, prompt->parts, strlen(prompt->parts));
    if (limit != SERVE_DEFAULT)
        add_number(&builder, SERVE_FIELD_LIMIT, limit);
    if (prompt->temperature_milli != SERVE_DEFAULT)
        add_number(&builder, SERVE_FIELD_TEMPERATURE, prompt->temperature_milli);
    if (prompt->top_p_milli != SERVE_DEFAULT)
        add_number(&builder, SERVE_FIELD_TOP_P, prompt->top_p_milli);
    if (prompt->has_seed)
        add_number(&builder, SERVE_FIELD_SEED, prompt->seed);
    add(&builder, SERVE_FIELD_TEXT, prompt->text, prompt->text_length);
    call->prompt_length = builder.used;
    return !builder.full;
}

// What the document says of a prompt. The VMM asks the same rules when it hands the prompt over:
// this is so that the client hears why.
static enum serve_refusal ask_document(struct serve *serve, const struct call *call,
                                       const char **reason, uint32_t *retry_s)
{
    struct policy_engine *engine = serve->settings.engine;
    const struct policy_view view = {
        .operation = SERVE_PROMPT,
        .length = call->prompt_length,
        .payload = call->prompt,
    };
    uint32_t taken = 0;
    uint64_t now = now_ns(serve);
    if (!engine)
        return SERVE_ACCEPTED;
    struct policy_result result =
        policy_engine_decide(engine, &view, level(serve) != LEVEL_STANDARD, now, &taken);
    if (result.finding == POLICY_FINDING_WAIT) {
        uint64_t left_ns = result.retry_ns > now ? result.retry_ns - now : 0;
        *retry_s = (uint32_t)(left_ns / NS_PER_S) + 1;
        *reason = "policy allows no more for now";
        return SERVE_BUSY;
    }
    if (result.finding == POLICY_FINDING_RULE &&
        (result.action == POLICY_ACTION_ALLOW || result.action == POLICY_ACTION_REDACT))
        return SERVE_ACCEPTED;
    *reason = result.finding == POLICY_FINDING_EXHAUSTED ? "policy: the total is used up"
              : result.finding == POLICY_FINDING_RULE    ? "policy: a rule denies this prompt"
                                                         : "policy: no rule allows this prompt";
    return SERVE_DENIED;
}

static struct call *new_call(struct serve *serve)
{
    struct call *call = calloc(1, sizeof(*call));
    struct call **link = &serve->calls;
    if (!call)
        return NULL;
    call->seen.number = ++serve->last_call;
    call->seen.reason = "";
    call->seen.text = "";
    call->deadline_ns = now_ns(serve) + serve->settings.grant->deadline_ms * NS_PER_MS;
    while (*link)
        link = &(*link)->next;
    *link = call;
    serve->open++;
    return call;
}

enum serve_refusal serve_submit(struct serve *serve, const struct serve_prompt *prompt,
                                struct serve_call **call, const char **reason, uint32_t *retry_s)
{
    unsigned now = level(serve);
    *call = NULL;
    *retry_s = RETRY_S;
    if (now > serve->settings.levels.highest) {
        *reason = level_name(now);
        return SERVE_ISOLATED;
    }
    *reason = "as many calls wait as may";
    if (serve->open - serve->denied >= serve->settings.grant->queue || serve->denied >= DENIED_MAX)
        return SERVE_BUSY;
    struct call *new = new_call(serve);
    if (!new)
        return SERVE_BUSY;
    enum serve_refusal refusal = SERVE_TOO_LARGE;
    *reason = "the prompt is larger than the port takes";
    if (build_prompt(serve, new, prompt) &&
        serve_text_open(&new->text, prompt->stops, prompt->stop_lengths, prompt->stop_count))
        refusal = ask_document(serve, new, reason, retry_s);
    if (refusal == SERVE_ACCEPTED) {
        *call = &new->seen;
        return SERVE_ACCEPTED;
    }
    // What policy denies the VMM denies once more, and records: the client does not wait for that.
    new->released = true;
    new->denied = refusal == SERVE_DENIED;
    if (new->denied)
        serve->denied++;
    else
        end(serve, new, SERVE_END_FAILED, "");
    return refusal;
}

void serve_release(struct serve *serve, struct serve_call *seen)
{
    struct call *call = (struct call *)seen;
    call->released = true;
    end(serve, call, SERVE_END_FAILED, ""); // what the model still says of it belongs to no call
}

static struct call *find_running(struct serve *serve, uint64_t number)
{
    for (struct call *call = serve->calls; call; call = call->next) {
        if (call->seen.number == number && call->seen.state == SERVE_RUNNING)
            return call;
    }
    return NULL;
}

// The oldest call that waits and fits `capacity` bytes, or NULL. One that does not fit, be it that
// the level leaves less room or that the model made none, would hold up all others: it has failed.
static struct call *next_call(struct serve *serve, uint32_t capacity)
{
    for (struct call *call = serve->calls; call; call = call->next) {
        if (call->seen.state != SERVE_WAITING)
            continue;
        if (call->prompt_length <= capacity)
            return call;
        end(serve, call, SERVE_END_FAILED, "the prompt is larger than what it takes now");
        tell(serve, call);
    }
    return NULL;
}

// Hands the oldest call that waits to the model. Returns false if there is none.
static bool hand_over(struct serve *serve, struct port_request *request)
{
    struct call *call = serve->isolated ? NULL : next_call(serve, request->reply_capacity);
    if (!call)
        return false;
    memcpy(request->reply, call->prompt, call->prompt_length);
    request->reply_length = call->prompt_length;
    free(call->prompt);
    call->prompt = NULL;
    call->seen.state = SERVE_RUNNING;
    if (call->denied) // nobody waits for a reply
        end(serve, call, SERVE_END_DENIED, "");
    return true;
}

// Adds to what a client reads. Returns false if the reply ends here.
static bool add_text(struct serve *serve, struct call *call, const struct port_field *text)
{
    enum serve_text_state state =
        text->bytes ? serve_text_add(&call->text, text->bytes, text->length) : SERVE_TEXT_OPEN;
    if (state == SERVE_TEXT_STOPPED)
        end(serve, call, SERVE_END_STOP, "");
    else if (state == SERVE_TEXT_FULL)
        end(serve, call, SERVE_END_LENGTH, "");
    return state == SERVE_TEXT_OPEN;
}

static void take_counts(struct call *call, const struct port_fields *fields)
{
    uint64_t count;
    if (port_field_number(&fields->field[SERVE_FIELD_PROMPT_TOKENS], &count))
        call->seen.prompt_tokens = count;
    if (port_field_number(&fields->field[SERVE_FIELD_REPLY_TOKENS], &count))
        call->seen.reply_tokens = count;
}

static bool field_is(const struct port_field *field, const char *text)
{
    return field->length == strlen(text) && memcmp(field->bytes, text, field->length) == 0;
}

// The last of a call: FINISH says how it ends.
static uint32_t take_answer(struct serve *serve, struct call *call,
                            const struct port_fields *fields)
{
    const struct port_field *finish = &fields->field[SERVE_FIELD_FINISH];
    const struct port_field *text = &fields->field[SERVE_FIELD_TEXT];
    if (field_is(finish, "error")) {
        size_t length = serve_text_plain(call->reason_text, sizeof(call->reason_text), text->bytes,
                                         text->length);
        end(serve, call, SERVE_END_FAILED, length ? call->reason_text : "the model cannot answer");
        return PORT_STATUS_OK;
    }
    bool stops = field_is(finish, "stop");
    if (!stops && !field_is(finish, "length"))
        return PORT_STATUS_INVALID;
    take_counts(call, fields);
    if (add_text(serve, call, text))
        end(serve, call, stops ? SERVE_END_STOP : SERVE_END_LENGTH, "");
    return PORT_STATUS_OK;
}

static uint32_t take_piece(struct serve *serve, struct port_request *request)
{
    struct port_fields fields;
    uint64_t number;
    if (!port_fields_read(&fields, request->payload, request->length) ||
        !port_field_number(&fields.field[SERVE_FIELD_CALL], &number))
        return PORT_STATUS_INVALID;
    struct call *call = find_running(serve, number);
    if (!call)
        return PORT_STATUS_BROKEN;
    uint32_t status = PORT_STATUS_OK;
    if (request->operation == SERVE_ANSWER) {
        status = take_answer(serve, call, &fields);
    } else {
        take_counts(call, &fields);
        if (!add_text(serve, call, &fields.field[SERVE_FIELD_TEXT]))
            status = PORT_STATUS_BROKEN;
    }
    tell(serve, call);
    return status;
}

enum port_progress serve_take_again(void *state, struct port_request *request)
{
    struct serve *serve = state;
    uint32_t now_ms = (uint32_t)(now_ns(serve) / NS_PER_MS);
    if (hand_over(serve, request))
        return PORT_DONE;
    // An empty reply: the VMM would take a process that says nothing for one that hangs.
    return now_ms - request->tag >= serve->settings.ask_again_ms ? PORT_DONE : PORT_PENDING;
}

enum port_progress serve_take(void *state, struct port_request *request)
{
    struct serve *serve = state;
    switch (request->operation) {
    case SERVE_RECEIVE:
        request->tag = (uint32_t)(now_ns(serve) / NS_PER_MS);
        return serve_take_again(state, request);
    case SERVE_PIECE:
    case SERVE_ANSWER:
        request->status = take_piece(serve, request);
        return PORT_DONE;
    default:
        // The fabric passes only operations of the table.
        request->status = PORT_STATUS_INVALID;
        return PORT_DONE;
    }
}
