// SPDX-License-Identifier: Apache-2.0
// The Redfish actuator: power of a system through its management controller.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "actuator_driver.h"
#include "actuator_http.h"
#include "cleanup.h"
#include "json_text.h"
#include "secret_file.h"

#define CREDENTIAL_SIZE 128
#define SESSIONS_PATH   "/redfish/v1/SessionService/Sessions"
// A session is given back even if little time is left; controllers have few.
#define LOGOUT_MS 500u

struct login {
    const struct actuator_call *call;
    struct http_peer peer;
    char credentials[2][CREDENTIAL_SIZE]; // user, password
    char token[HTTP_TOKEN_SIZE];          // of the session, or ""
    char session[HTTP_PATH_SIZE];         // its path, or ""
    struct http_reply reply;              // of the last request
};

static int ask(struct login *login, const char *method, const char *path, const char *body,
               struct error *err)
{
    const bool basic = login->call->actuator->auth == ACTUATOR_AUTH_BASIC;
    const struct http_request request = {
        .method = method,
        .path = path,
        .body = body,
        .user = basic ? login->credentials[0] : NULL,
        .password = basic ? login->credentials[1] : NULL,
        .token = login->token[0] ? login->token : NULL,
        .timeout_ms = actuator_call_left_ms(login->call, 60000),
    };
    login->reply.sent = false;
    if (!request.timeout_ms)
        return error_set(err, EXIT_STATUS_FAILURE, 0, "no time is left for %s %s", method, path);
    return http_ask(&login->peer, &request, &login->reply, err);
}

static int refuse_status(const struct login *login, const char *what, struct error *err)
{
    long status = login->reply.status;
    return error_set(err, EXIT_STATUS_FAILURE, 0, "%s: HTTP status %ld%s", what, status,
                     status == 401 || status == 403   ? " (the credentials are refused)"
                     : status >= 300 && status <= 399 ? " (redirects are not followed)"
                                                      : "");
}

// Copies a printable text for a JSON string. `quoted` has room for two bytes for each.
static void quote(char quoted[2 * CREDENTIAL_SIZE], const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            *quoted++ = '\\';
        *quoted++ = *text;
    }
    *quoted = '\0';
}

static int log_in(struct login *login, struct error *err)
{
    char user[2 * CREDENTIAL_SIZE];
    char password[2 * CREDENTIAL_SIZE];
    char body[sizeof(user) + sizeof(password) + 64];
    quote(user, login->credentials[0]);
    quote(password, login->credentials[1]);
    snprintf(body, sizeof(body), "{\"UserName\":\"%s\",\"Password\":\"%s\"}", user, password);
    int result = ask(login, "POST", SESSIONS_PATH, body, err);
    explicit_bzero(body, sizeof(body));
    explicit_bzero(password, sizeof(password));
    if (result)
        return error_wrap(err, "logging in");
    if (login->reply.status != 200 && login->reply.status != 201)
        return refuse_status(login, "logging in", err);
    if (!login->reply.token[0])
        return error_set(err, EXIT_STATUS_FAILURE, 0, "logging in: the reply has no token");
    memcpy(login->token, login->reply.token, sizeof(login->token));
    memcpy(login->session, login->reply.location, sizeof(login->session));
    return 0;
}

static int open_login(struct login *login, const struct actuator_call *call, struct error *err)
{
    const struct actuator *actuator = call->actuator;
    login->call = call;
    login->peer = (struct http_peer){
        .host = actuator->host,
        .port = actuator->port,
        .server_name = actuator->server_name ? actuator->server_name : actuator->host,
        .ca_file = actuator->ca_file,
        .pin = actuator->pinned ? actuator->pin : NULL,
    };
    if (secret_file_read(actuator->credentials, login->credentials[0], CREDENTIAL_SIZE, 2, err))
        return -1;
    return actuator->auth == ACTUATOR_AUTH_BASIC ? 0 : log_in(login, err);
}

static void close_login(struct login *login)
{
    const struct http_request request = {
        .method = "DELETE",
        .path = login->session,
        .token = login->token,
        .timeout_ms = LOGOUT_MS,
    };
    if (login->token[0] && !strncmp(login->session, SESSIONS_PATH "/", sizeof(SESSIONS_PATH)))
        http_ask(&login->peer, &request, &login->reply, NULL);
    explicit_bzero(login, sizeof(*login));
    free(login);
}

static enum actuator_fired reset(struct login *login, struct error *err)
{
    static const char *const on[] = {"On", "PowerCycle"};
    const struct actuator *actuator = login->call->actuator;
    char path[HTTP_PATH_SIZE + 64];
    char body[64];
    snprintf(path, sizeof(path), "%s/Actions/ComputerSystem.Reset", actuator->system);
    snprintf(body, sizeof(body), "{\"ResetType\":\"%s\"}",
             login->call->action == ACTUATOR_RESTORE ? on[actuator->power_on] : "ForceOff");
    if (ask(login, "POST", path, body, err))
        return login->reply.sent ? ACTUATOR_FIRED_LOST : ACTUATOR_FIRED_REFUSED;
    if (login->reply.status >= 200 && login->reply.status <= 299)
        return ACTUATOR_FIRED_DONE;
    refuse_status(login, "reset", err);
    // A server that fails may have failed after it did it.
    return login->reply.status >= 500 ? ACTUATOR_FIRED_LOST : ACTUATOR_FIRED_REFUSED;
}

static enum actuator_fired redfish_fire(const struct actuator_call *call, struct error *err)
{
    struct login *login = calloc(1, sizeof(*login));
    if (!login) {
        error_fill(err, EXIT_STATUS_RESOURCES, 0, "no memory");
        return ACTUATOR_FIRED_REFUSED;
    }
    enum actuator_fired fired =
        open_login(login, call, err) ? ACTUATOR_FIRED_REFUSED : reset(login, err);
    close_login(login);
    return fired;
}

static int read_power(const struct http_reply *reply, enum actuator_state *state, struct error *err)
{
    static const char *const names[] = {"On", "Off", "PoweringOn", "PoweringOff", "Paused"};
    static const enum actuator_state states[] = {ACTUATOR_STATE_ON, ACTUATOR_STATE_OFF,
                                                 ACTUATOR_STATE_UNKNOWN, ACTUATOR_STATE_UNKNOWN,
                                                 ACTUATOR_STATE_ON};
    cleanup_json_document struct json_document document = {0};
    struct json_place power;
    size_t index;
    if (json_document_parse(&document, "reply", reply->body, reply->length, HTTP_REPLY_MAX_BYTES,
                            err))
        return -1;
    const struct json_place root = json_document_root(&document);
    if (json_expect(&root, json_type_object, err))
        return -1;
    if (!json_member(&root, "PowerState", &power))
        return json_refuse(&root, JSON_PART_VALUE, err, "no PowerState");
    if (json_read_name(&power, names, sizeof(names) / sizeof(names[0]), &index, err))
        return -1;
    *state = states[index];
    return 0;
}

static int read_system(struct login *login, enum actuator_state *state, struct error *err)
{
    if (ask(login, "GET", login->call->actuator->system, NULL, err))
        return -1;
    if (login->reply.status != 200)
        return refuse_status(login, "PowerState", err);
    return read_power(&login->reply, state, err);
}

static int redfish_read_back(const struct actuator_call *call, enum actuator_state *state,
                             struct error *err)
{
    struct login *login = calloc(1, sizeof(*login));
    if (!login)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "no memory");
    int result = open_login(login, call, err);
    if (result == 0)
        result = read_system(login, state, err);
    close_login(login);
    return result;
}

const struct actuator_driver actuator_redfish = {
    .name = "redfish",
    .actions = 1u << ACTUATOR_CUT | 1u << ACTUATOR_RESTORE,
    .fire = redfish_fire,
    .read_back = redfish_read_back,
};
