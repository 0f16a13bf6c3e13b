// SPDX-License-Identifier: Apache-2.0
// Serving: calls of clients, one after the other.

#ifndef LLM_SERVE_H
#define LLM_SERVE_H

#include "error.h"
#include "options.h"
#include "service.h"
#include "session.h"

/* Serves the calls of session's platform with a loaded session, until it has none any more. What a
 * call leaves in the key and value cache serves the next call of the same client only: the common
 * start of both texts is not computed again; for another client's the cache is cleared. The options
 * give what clients leave open: temperature, top_p, seed, the limit of tokens, the chat template.
 * Returns -1 with *err filled, if only because the platform's service has ended. */
int llm_serve(struct llm_session *session, const struct llm_service *service,
              const struct llm_options *options, struct llm_error *err);

#endif
