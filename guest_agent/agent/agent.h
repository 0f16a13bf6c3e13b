// SPDX-License-Identifier: Apache-2.0
// The agent: a model that writes actions, sees what comes of them, and answers.
//
// A dialogue in tokens, those in angle brackets being control tokens of the model's vocabulary:
//
//     <s> <q> question <act> action <obs> observation ... <a> answer </s>
//
// The model chooses between <act> and <a>, and writes action and answer; an action can only be one
// that the grammar has. Question and observations are put in as text, which never becomes a
// control token.

#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include "agent_ports.h"
#include "output.h"
#include "session.h"
#include "tool_list.h"

#define AGENT_STEPS              6   /* actions for one question */
#define AGENT_QUESTION_BYTES     200 /* a longer question is refused */
#define AGENT_ACTION_TOKENS      64  /* an action that gets longer is given up */
#define AGENT_ACTION_BYTES       512 /* same */
#define AGENT_OBSERVATION_TOKENS 160 /* a longer observation is cut */
#define AGENT_OBSERVATION_LEAST  32  /* there is no further action without room for as many */
#define AGENT_ANSWER_TOKENS      64  /* a longer answer is cut */

struct agent {
    struct llm_session *session; /* loaded */
    const struct agent_ports *ports;
    const struct tool_list *tools;
    struct llm_output *output;
    uint32_t question; /* the control tokens */
    uint32_t act;
    uint32_t observation;
    uint32_t answer;
    uint32_t position; /* tokens of the dialogue so far; the logits are those of the last */
};

/* Finds the control tokens in the vocabulary. The session and everything else must stay valid.
 * Returns 0, or -1 with *err filled if the model is none of an agent. */
int agent_start(struct agent *agent, struct llm_session *session, const struct agent_ports *ports,
                const struct tool_list *tools, struct llm_output *output, struct llm_error *err);

/* Answers a question: writes it, each action, each observation and the answer to the output, a line
 * each. Nothing is remembered from one question to the next. Returns 0, or -1 with *err filled. */
int agent_ask(struct agent *agent, const char *question, size_t length, struct llm_error *err);

#endif
