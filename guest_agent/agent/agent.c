// SPDX-License-Identifier: Apache-2.0
// The agent: a model that writes actions, sees what comes of them, and answers.

#include "agent.h"

#include "json_reader.h"
#include "tokenizer_text.h"

#include <float.h>
#include <string.h>

/* An action as it is being written. */
struct action {
    struct grammar_state state;
    char text[AGENT_ACTION_BYTES];
    size_t length;
};

static int find_control(const struct llm_tokenizer *tokenizer, const char *name, uint32_t *id,
                        struct llm_error *err)
{
    *id = llm_token_find(tokenizer, name, strlen(name));
    if (*id == LLM_NO_TOKEN || tokenizer->tokens[*id].type != LLM_TOKEN_CONTROL) {
        return llm_fail(err, "the model has no control token %s: it is none of an agent", name);
    }
    return 0;
}

int agent_start(struct agent *agent, struct llm_session *session, const struct agent_ports *ports,
                const struct tool_list *tools, struct llm_output *output, struct llm_error *err)
{
    const struct llm_tokenizer *tokenizer = &session->tokenizer;
    *agent = (struct agent){.session = session, .ports = ports, .tools = tools, .output = output};
    if (find_control(tokenizer, "<q>", &agent->question, err) != 0 ||
        find_control(tokenizer, "<act>", &agent->act, err) != 0 ||
        find_control(tokenizer, "<obs>", &agent->observation, err) != 0 ||
        find_control(tokenizer, "<a>", &agent->answer, err) != 0) {
        return -1;
    }
    if (tokenizer->begin == LLM_NO_TOKEN || tokenizer->end == LLM_NO_TOKEN) {
        return llm_fail(err, "the model has no tokens for begin and end");
    }
    llm_sampler_start(&session->sampler, session->model.vector, 0.0f, 1.0f, 1);
    return 0;
}

/* Computes tokens behind those there are. */
static int push(struct agent *agent, const uint32_t *ids, uint32_t count, struct llm_error *err)
{
    struct llm_model *model = &agent->session->model;
    if (count > agent->session->config.context - agent->position) {
        return llm_fail(err, "the dialogue is longer than the context of %u tokens",
                        (unsigned)agent->session->config.context);
    }
    for (uint32_t first = 0; first < count; first += LLM_BATCH) {
        uint32_t batch = count - first < LLM_BATCH ? count - first : LLM_BATCH;
        llm_model_advance(model, ids + first, agent->position, batch);
        agent->position += batch;
        if (first + batch == count) {
            llm_model_logits(model, batch - 1);
        }
    }
    return 0;
}

/* Whether a token stands for text. All that is tokenized from text does: the tokenizer finds tokens
 * by their text, so one that it merges from a text like "<a>" is looked at here. */
static bool is_text(const struct agent *agent, uint32_t id)
{
    uint32_t type = agent->session->tokenizer.tokens[id].type;
    return type == LLM_TOKEN_NORMAL || type == LLM_TOKEN_BYTE;
}

/* Appends a control token and text that somebody else wrote, cut at `limit` tokens. */
static int push_text(struct agent *agent, uint32_t control, const char *text, size_t length,
                     uint32_t limit, struct llm_error *err)
{
    /* A space has three bytes when it is tokenized, and broken UTF-8 becomes a token a byte. */
    uint32_t ids[3 * AGENT_OBSERVATION_BYTES];
    size_t count;
    size_t kept = 0;

    if (push(agent, &control, 1, err) != 0 ||
        llm_tokenize(&agent->session->tokenizer, text, length, false, ids,
                     sizeof(ids) / sizeof(ids[0]), &count, err) != 0) {
        return -1;
    }
    for (size_t index = 0; index < count && kept < limit; index++) {
        if (is_text(agent, ids[index])) {
            ids[kept++] = ids[index];
        }
    }
    return kept == 0 ? 0 : push(agent, ids, (uint32_t)kept, err);
}

/* Forbids a token: no finite logit is smaller. */
static void forbid(struct agent *agent, uint32_t id)
{
    agent->session->model.logits[id] = -FLT_MAX;
}

static int choose(struct agent *agent, uint32_t *id, struct llm_error *err)
{
    struct llm_session *session = agent->session;
    return llm_sampler_choose(&session->sampler, session->model.logits, id, err);
}

/* Lets the model choose between another action and the answer. */
static int choose_turn(struct agent *agent, bool *acts, struct llm_error *err)
{
    uint32_t id;
    for (uint32_t token = 0; token < agent->session->config.vocabulary; token++) {
        if (token != agent->act && token != agent->answer) {
            forbid(agent, token);
        }
    }
    if (choose(agent, &id, err) != 0) {
        return -1;
    }
    *acts = id == agent->act;
    return 0;
}

/* Moves *state over the text of a token; false if no action goes on like that. */
static bool step_text(const struct grammar *grammar, struct grammar_state *state, const char *text,
                      size_t length)
{
    for (size_t index = 0; index < length; index++) {
        if (!grammar_step(grammar, state, text[index])) {
            return false;
        }
    }
    return length > 0;
}

/* Lets the model choose the next token among those with which an action can go on. */
static int write_token(struct agent *agent, struct action *action, struct llm_error *err)
{
    const struct llm_tokenizer *tokenizer = &agent->session->tokenizer;
    const struct grammar *grammar = &agent->tools->grammar;
    char text[LLM_PIECE_BYTES_MAX];
    bool any = false;
    uint32_t id;

    for (uint32_t token = 0; token < agent->session->config.vocabulary; token++) {
        struct grammar_state state = action->state;
        size_t length = is_text(agent, token) ? llm_token_text(tokenizer, token, text) : 0;
        if (length <= sizeof(action->text) - action->length &&
            step_text(grammar, &state, text, length)) {
            any = true;
        } else {
            forbid(agent, token);
        }
    }
    if (!any) {
        return llm_fail(err, "no token of the vocabulary continues the action");
    }
    if (choose(agent, &id, err) != 0) {
        return -1;
    }
    size_t length = llm_token_text(tokenizer, id, text);
    (void)step_text(grammar, &action->state, text, length);
    memcpy(action->text + action->length, text, length);
    action->length += length;
    return push(agent, &id, 1, err);
}

static int write_action(struct agent *agent, struct action *action, struct llm_error *err)
{
    action->state = grammar_start(&agent->tools->grammar);
    action->length = 0;
    if (push(agent, &agent->act, 1, err) != 0) {
        return -1;
    }
    for (uint32_t count = 0; count < AGENT_ACTION_TOKENS && !action->state.done; count++) {
        if (action->length == sizeof(action->text)) {
            break;
        }
        if (write_token(agent, action, err) != 0) {
            return -1;
        }
    }
    return 0;
}

/* The text of the one string that a store's action has as argument. */
static bool read_argument(struct json_span arguments, const char *key, char *text, size_t size,
                          size_t *length)
{
    return json_string(json_find(arguments, key), text, size, length);
}

/* Does what the action says; *reply becomes the observation. */
static enum agent_result execute(struct agent *agent, const struct action *action,
                                 struct agent_text *reply)
{
    const struct agent_ports *ports = agent->ports;
    const struct grammar *grammar = &agent->tools->grammar;
    char text[GRAMMAR_STRING_BYTES];
    size_t length;

    if (!action->state.done) {
        return AGENT_FAILED; /* given up, because it became too long */
    }
    const struct grammar_tool *tool = &grammar->tools[action->state.tool];
    struct json_span arguments = {action->text + tool->arguments,
                                  action->length - tool->arguments - 1};
    switch (agent->tools->actions[action->state.tool]) {
    case ACTION_SEARCH:
        return read_argument(arguments, "query", text, sizeof(text), &length)
                   ? ports->search(text, length, reply)
                   : AGENT_FAILED;
    case ACTION_GET:
        return read_argument(arguments, "name", text, sizeof(text), &length)
                   ? ports->get(text, length, reply)
                   : AGENT_FAILED;
    case ACTION_CALL:
    default:
        return ports->call(grammar->text + tool->name.offset, tool->name.length, arguments.text,
                           arguments.length, reply);
    }
}

/* One line of printable text: what came from a port is shown and put into the dialogue like this.
 */
static void flatten(struct agent_text *text)
{
    while (text->length > 0 && (unsigned char)text->bytes[text->length - 1] <= ' ') {
        text->length--;
    }
    for (size_t index = 0; index < text->length; index++) {
        unsigned char byte = (unsigned char)text->bytes[index];
        text->bytes[index] = byte < ' ' || byte == 0x7f ? ' ' : (char)byte;
    }
}

static void write_line(struct agent *agent, const char *kind, const char *text, size_t length)
{
    llm_output_print(agent->output, "%s: ", kind);
    llm_output_bytes(agent->output, text, length);
    llm_output_bytes(agent->output, "\n", 1);
    llm_output_flush_characters(agent->output);
}

/* Tokens of the context that are left when room for the answer is set aside. */
static uint32_t tokens_left(const struct agent *agent)
{
    const uint32_t answer = 1 + AGENT_ANSWER_TOKENS;
    uint32_t left = agent->session->config.context - agent->position;
    return left > answer ? left - answer : 0;
}

/* Whether there is room for an action and the least of an observation. */
static bool has_room(const struct agent *agent)
{
    return tokens_left(agent) >= 1 + AGENT_ACTION_TOKENS + 1 + AGENT_OBSERVATION_LEAST;
}

/* One action and its observation. */
static int take_step(struct agent *agent, struct llm_error *err)
{
    static const char *const failures[] = {
        [AGENT_DENIED] = "error: denied",
        [AGENT_MISSING] = "error: not found",
        [AGENT_FAILED] = "error: failed",
    };
    struct action action;
    char bytes[AGENT_OBSERVATION_BYTES];
    struct agent_text reply = {bytes, sizeof(bytes), 0};

    if (write_action(agent, &action, err) != 0) {
        return -1;
    }
    write_line(agent, "act", action.text, action.length);
    enum agent_result result = execute(agent, &action, &reply);
    if (result != AGENT_DONE) {
        reply.length = 0;
        agent_text_append(&reply, failures[result], strlen(failures[result]));
    }
    flatten(&reply);
    if (reply.length == 0) {
        agent_text_append(&reply, "no results", 10);
    }
    write_line(agent, "obs", reply.bytes, reply.length);
    uint32_t room = tokens_left(agent) - 1;
    return push_text(agent, agent->observation, reply.bytes, reply.length,
                     room < AGENT_OBSERVATION_TOKENS ? room : AGENT_OBSERVATION_TOKENS, err);
}

static int write_answer(struct agent *agent, struct llm_error *err)
{
    const struct llm_tokenizer *tokenizer = &agent->session->tokenizer;
    char bytes[AGENT_OBSERVATION_BYTES];
    struct agent_text answer = {bytes, sizeof(bytes), 0};

    if (push(agent, &agent->answer, 1, err) != 0) {
        return -1;
    }
    for (uint32_t count = 0; count < AGENT_ANSWER_TOKENS; count++) {
        char text[LLM_PIECE_BYTES_MAX];
        uint32_t id;
        for (uint32_t token = 0; token < agent->session->config.vocabulary; token++) {
            if (!is_text(agent, token) && token != tokenizer->end) {
                forbid(agent, token);
            }
        }
        if (choose(agent, &id, err) != 0) {
            return -1;
        }
        if (id == tokenizer->end) {
            break;
        }
        agent_text_append(&answer, text, llm_token_text(tokenizer, id, text));
        if (push(agent, &id, 1, err) != 0) {
            return -1;
        }
    }
    flatten(&answer);
    write_line(agent, "answer", answer.bytes, answer.length);
    return 0;
}

int agent_ask(struct agent *agent, const char *question, size_t length, struct llm_error *err)
{
    agent->position = 0;
    if (length == 0 || length > AGENT_QUESTION_BYTES) {
        return llm_fail(err, "a question has 1 to %d bytes, this one %zu", AGENT_QUESTION_BYTES,
                        length);
    }
    write_line(agent, "question", question, length);
    if (push(agent, &agent->session->tokenizer.begin, 1, err) != 0 ||
        push_text(agent, agent->question, question, length, AGENT_QUESTION_BYTES, err) != 0) {
        return -1;
    }
    bool acts = agent->tools->grammar.tool_count > 0;
    for (uint32_t step = 0; acts && step < AGENT_STEPS && has_room(agent); step++) {
        if (choose_turn(agent, &acts, err) != 0 || (acts && take_step(agent, err) != 0)) {
            return -1;
        }
    }
    return write_answer(agent, err);
}
