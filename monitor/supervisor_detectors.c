// SPDX-License-Identifier: Apache-2.0
// The detectors of a VM: they see the VMM's records on their way to the log; alarms are recorded,
// said, and raise the level that the VM file gives them.
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "hex.h"
#include "supervisor_internal.h"

// Nobody waits for the disk at Standard, and nobody for a detector.
static bool is_synchronous(const struct supervisor *s)
{
    return level_named(s->process.level_own, s->process.level_vmm) >= LEVEL_PROBATION;
}

static void raise_alarm(struct supervisor *s, const char *who, const char *port, uint32_t level,
                        uint64_t score, const char *text)
{
    struct error err;
    char reason[CONTROL_REASON_SIZE];
    snprintf(reason, sizeof(reason), "detector %s: %s%s%s", who, port ? port : "", port ? ": " : "",
             text);
    const struct audit_record record = {
        .type = AUDIT_ALARM,
        .port = AUDIT_NO_PORT,
        .argument = score,
        .level = (uint8_t)s->containment.state.level,
        .detail = level,
    };
    fprintf(stderr, "guillotine: %s: %s\n", s->vm.name, reason);
    if (audit_log_append_data(&s->audit, &record, reason, (uint32_t)strlen(reason), &err) < 0) {
        s->error = err;
        supervisor_fail(s, RUN_ISOLATED);
    } else if (level > s->containment.state.level) {
        supervisor_raise(s, LEVEL_ACTOR_DETECTOR, (enum level)level, reason);
    }
}

// An external detector that is no good is an alarm by itself, and is asked no more.
static void give_up(struct supervisor *s, struct detector_link *link, const char *why)
{
    const struct detector_external *settings = link->settings;
    detector_link_close(link);
    raise_alarm(s, settings->name, NULL, settings->on_failure, 0, why);
}

static void add_ports(const struct supervisor *s, json_object *hello)
{
    json_object *ports = json_object_new_array();
    for (unsigned i = 0; i < s->vm.port_count; i++) {
        json_object *port = json_object_new_object();
        json_object_object_add(port, "name", json_object_new_string(s->vm.ports[i].name));
        json_object_object_add(port, "kind",
                               json_object_new_string(vm_port_kind_name(s->vm.ports[i].kind)));
        json_object_array_add(ports, port);
    }
    json_object_object_add(hello, "ports", ports);
}

static int open_links(struct supervisor *s, struct error *err)
{
    char uuid[UUID_TEXT_SIZE];
    const struct detector_settings *settings = &s->vm.detectors;
    json_object *hello = json_object_new_object();
    uuid_bytes_format(uuid, s->uuid);
    json_object_object_add(hello, "format", json_object_new_string(DETECTOR_FORMAT));
    json_object_object_add(hello, "vm", json_object_new_string(s->vm.name));
    json_object_object_add(hello, "uuid", json_object_new_string(uuid));
    add_ports(s, hello);
    int result = 0;
    for (unsigned i = 0; i < settings->external_count && result == 0; i++)
        result =
            detector_link_open(&s->detector_links[i], &settings->externals[i], &clock_host,
                               json_object_to_json_string_ext(hello, JSON_C_TO_STRING_PLAIN), err);
    json_object_put(hello);
    return result;
}

int detectors_open(struct supervisor *s, struct error *err)
{
    if (!s->vm.detectors_given)
        return 0;
    s->detectors = malloc(sizeof(*s->detectors));
    if (!s->detectors)
        return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "detectors");
    detectors_init(s->detectors, &s->vm.detectors);
    return open_links(s, err);
}

// Called in the middle of the log's work: what comes of it waits until that is done.
void detectors_observe(struct supervisor *s, const struct audit_record *record, const void *data)
{
    if (!s->detectors || record->source != AUDIT_SOURCE_VMM)
        return;
    struct detector_alarm alarms[DETECTOR_KINDS];
    struct audit_record timed = *record;
    uint64_t now_ns = clock_now_ns(&clock_host);
    // No VMM talks its detectors into a future where they have nothing to say.
    timed.now_ns = timed.now_ns < now_ns ? timed.now_ns : now_ns;
    unsigned count = detectors_record(s->detectors, &timed, data, alarms);
    for (unsigned i = 0; i < count && s->alarm_count < SUPERVISOR_MAX_ALARMS; i++)
        s->alarms[s->alarm_count++] = alarms[i];
    s->observed++;
    s->observed_requests += record->type == AUDIT_REQUEST;
    for (unsigned i = 0; i < DETECTOR_MAX_EXTERNALS; i++) {
        struct error err;
        struct detector_link *link = &s->detector_links[i];
        if (link->fd >= 0 && !link->failed &&
            detector_link_record(link, s->observed, record, data, &err) < 0)
            link->failed = true;
    }
}

void detectors_count_doorbells(struct supervisor *s, uint64_t now_ns)
{
    const struct detector_settings *settings = &s->vm.detectors;
    char text[96];
    if (!s->detectors || !settings->on[DETECTOR_DOORBELLS] || !s->ready ||
        now_ns - s->doorbells_ns < NS_PER_S)
        return;
    uint64_t rung = atomic_load(&s->process.level_vmm->doorbells);
    uint64_t rings = rung - s->doorbells;
    uint64_t requests = s->observed_requests - s->doorbells_requests;
    uint64_t elapsed_ms = (now_ns - s->doorbells_ns) / NS_PER_MS;
    bool first = !s->doorbells_ns;
    s->doorbells_ns = now_ns;
    s->doorbells = rung;
    s->doorbells_requests = s->observed_requests;
    if (first || rings <= requests ||
        (rings - requests) * 1000 / elapsed_ms < settings->doorbells_per_s ||
        now_ns < s->doorbells_quiet_ns)
        return;
    s->doorbells_quiet_ns = now_ns + DETECTOR_QUIET_NS;
    snprintf(text, sizeof(text), "%llu doorbells for %llu requests in %llu ms",
             (unsigned long long)rings, (unsigned long long)requests,
             (unsigned long long)elapsed_ms);
    raise_alarm(s, detector_name(DETECTOR_DOORBELLS), NULL, settings->level[DETECTOR_DOORBELLS],
                rings - requests, text);
}

bool detectors_withhold(const struct supervisor *s, uint64_t number)
{
    if (s->ended || supervisor_is_stopping(s) || !is_synchronous(s))
        return false;
    for (unsigned i = 0; i < DETECTOR_MAX_EXTERNALS; i++) {
        if (s->detector_links[i].fd >= 0 && s->detector_links[i].seen < number)
            return true;
    }
    return false;
}

void detectors_watch(const struct supervisor *s, struct pollfd *fds)
{
    for (unsigned i = 0; i < DETECTOR_MAX_EXTERNALS; i++) {
        const struct detector_link *link = &s->detector_links[i];
        fds[WATCH_DETECTORS + i] = (struct pollfd){
            .fd = link->fd, .events = (short)(POLLIN | (link->queued ? POLLOUT : 0))};
    }
}

uint64_t detectors_deadline_ns(const struct supervisor *s)
{
    uint64_t first = UINT64_MAX;
    for (unsigned i = 0; i < DETECTOR_MAX_EXTERNALS; i++) {
        uint64_t deadline = detector_link_deadline_ns(&s->detector_links[i]);
        first = deadline < first ? deadline : first;
    }
    return first;
}

static void serve_link(struct supervisor *s, struct detector_link *link)
{
    char text[DETECTOR_TEXT_MAX * ESCAPE_MAX_EXPANSION + 1];
    uint32_t level;
    struct error err;
    int result;
    if (link->failed) {
        give_up(s, link, "it is too far behind");
        return;
    }
    if (link->queued && detector_link_write(link, &err) < 0) {
        give_up(s, link, err.text);
        return;
    }
    while ((result = detector_link_read(link, &level, text, sizeof(text), &err)) > 0) {
        const struct detector_external *settings = link->settings;
        raise_alarm(s, settings->name, NULL, level < settings->level ? level : settings->level,
                    level, text);
    }
    if (result < 0)
        give_up(s, link, err.text);
    else if (clock_now_ns(&clock_host) >= detector_link_deadline_ns(link))
        give_up(s, link, "no verdict in time");
}

void detectors_serve(struct supervisor *s)
{
    for (unsigned i = 0; i < s->alarm_count; i++) {
        const struct detector_alarm *alarm = &s->alarms[i];
        raise_alarm(s, detector_name(alarm->kind), s->vm.ports[alarm->port].name,
                    s->vm.detectors.level[alarm->kind], alarm->score, alarm->reason);
    }
    s->alarm_count = 0;
    for (unsigned i = 0; i < DETECTOR_MAX_EXTERNALS; i++) {
        if (s->detector_links[i].fd >= 0)
            serve_link(s, &s->detector_links[i]);
    }
}

// Links that have not seen everything, for poll; fills at most DETECTOR_MAX_EXTERNALS.
static unsigned watch_unseen(const struct supervisor *s, struct pollfd *fds)
{
    unsigned count = 0;
    for (unsigned i = 0; i < DETECTOR_MAX_EXTERNALS; i++) {
        const struct detector_link *link = &s->detector_links[i];
        if (link->fd >= 0 && link->seen < link->sent)
            fds[count++] = (struct pollfd){
                .fd = link->fd, .events = (short)(POLLIN | (link->queued ? POLLOUT : 0))};
    }
    return count;
}

void detectors_settle(struct supervisor *s)
{
    struct pollfd fds[DETECTOR_MAX_EXTERNALS];
    unsigned count;
    if (!s->detectors)
        return;
    detectors_serve(s);
    // Each link has its deadline: one that says nothing is given up.
    while ((count = watch_unseen(s, fds))) {
        poll(fds, count, 10);
        detectors_serve(s);
    }
    if (s->containment.state.level >= LEVEL_OFFLINE && s->outcome == RUN_EXITED) {
        error_set(&s->error, EXIT_STATUS_ISOLATED, 0, "%s", s->reason);
        s->outcome = RUN_ISOLATED;
    }
}

void detectors_close(struct supervisor *s)
{
    for (unsigned i = 0; i < DETECTOR_MAX_EXTERNALS; i++)
        detector_link_close(&s->detector_links[i]);
    free(s->detectors);
    s->detectors = NULL;
}
