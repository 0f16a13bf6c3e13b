// SPDX-License-Identifier: Apache-2.0
// Prints the state machine of isolation levels, as the code has it, for docs/levels.md: every arrow
// is an answer of level_transition, every effect one of level_effects.
#include <stdio.h>

#include "level_control.h"

static const struct level_quorum quorum = {.keys = 7, .raise = 3, .lower = 5};

static const struct {
    const char *name;
    enum level_actor actor;
    unsigned signatures;
    bool repaired;
} actors[] = {
    {"hypervisor", LEVEL_ACTOR_HYPERVISOR, 0, false},
    {"detector", LEVEL_ACTOR_DETECTOR, 0, false},
    {"operator", LEVEL_ACTOR_OPERATOR, 0, false},
    {"3 of 7", LEVEL_ACTOR_ADMINISTRATORS, 3, false},
    {"5 of 7", LEVEL_ACTOR_ADMINISTRATORS, 5, false},
    {"5 of 7 + repair", LEVEL_ACTOR_ADMINISTRATORS, 5, true},
};

#define ACTOR_COUNT (sizeof(actors) / sizeof(actors[0]))

static const struct {
    enum level_effect effect;
    const char *text;
} effects[] = {
    {LEVEL_EFFECT_TIGHTEN_PORTS, "only ports marked for Probation, tighter limits"},
    {LEVEL_EFFECT_DURABLE_AUDIT, "audit durable before the effect"},
    {LEVEL_EFFECT_CLOSE_PORTS, "ports shut, in-flight requests dropped"},
    {LEVEL_EFFECT_KILL_BACKENDS, "backend processes killed"},
    {LEVEL_EFFECT_PAUSE_VCPUS, "vCPUs paused"},
    {LEVEL_EFFECT_END_VMM, "VMM ended"},
    {LEVEL_EFFECT_SEAL_MEMORY, "memory sealed for forensics"},
    {LEVEL_EFFECT_SCRUB_MEMORY, "memory scrubbed"},
    {LEVEL_EFFECT_DESTROY_KEYS, "keys destroyed"},
    {LEVEL_EFFECT_CUT_REVERSIBLY, "reversible cut"},
    {LEVEL_EFFECT_CUT_FOR_GOOD, "irreversible cut"},
    {LEVEL_EFFECT_DESTROY, "destruction"},
};

static bool may(unsigned from, unsigned to, unsigned who)
{
    const struct level_state state = {.level = (enum level)from};
    const struct level_event event = {
        .kind = LEVEL_EVENT_SET,
        .actor = actors[who].actor,
        .target = (enum level)to,
        .signatures = actors[who].signatures,
        .repaired = actors[who].repaired,
    };
    return level_transition(&state, &event, &quorum).refusal == LEVEL_REFUSAL_NONE;
}

// Who may, without those for whom somebody with fewer signatures stands already.
static void print_arrow(unsigned from, unsigned to)
{
    const char *separator = "";
    bool administrators = false;
    for (unsigned who = 0; who < ACTOR_COUNT; who++) {
        bool is_administrators = actors[who].actor == LEVEL_ACTOR_ADMINISTRATORS;
        if (!may(from, to, who) || (is_administrators && administrators))
            continue;
        administrators = administrators || is_administrators;
        if (!separator[0])
            printf("    %s --> %s: ", level_name(from), level_name(to));
        printf("%s%s", separator, actors[who].name);
        separator = ", ";
    }
    if (separator[0])
        printf("\n");
}

int main(void)
{
    printf("```mermaid\nstateDiagram-v2\n    [*] --> standard\n");
    for (unsigned from = 0; from < LEVEL_COUNT; from++) {
        for (unsigned to = 0; to < LEVEL_COUNT; to++)
            print_arrow(from, to);
    }
    printf("```\n\n| |");
    for (unsigned level = 0; level < LEVEL_COUNT; level++)
        printf(" %s |", level_name(level));
    printf("\n| --- |");
    for (unsigned level = 0; level < LEVEL_COUNT; level++)
        printf(" --- |");
    printf("\n");
    for (size_t i = 0; i < sizeof(effects) / sizeof(effects[0]); i++) {
        printf("| %s |", effects[i].text);
        for (unsigned level = 0; level < LEVEL_COUNT; level++)
            printf(" %s |", level_effects((enum level)level) & effects[i].effect ? "x" : "");
        printf("\n");
    }
    return 0;
}
