// SPDX-License-Identifier: Apache-2.0
// The level controller against tables written by hand from DESIGN.md, section 9.
#include <criterion/criterion.h>

#include "level_control.h"
#include "support.h"

static const struct level_quorum seven = {.keys = 7, .raise = 3, .lower = 5};
static const struct level_quorum none = {0};

// Levels by their first letters: Standard, Probation, seVered, Offline, Decapitation, Immolation.
static const char letters[LEVEL_COUNT + 1] = "SPVODI";

// One row for each level in force, one column for each target: what a SET leads to.
//   lower case: refused, the level stays.   '.': it is in force already
// One person, a detector or the hypervisor: up to Offline, never down.
static const char *const single[LEVEL_COUNT] = {
    ".PVOss", "p.VOpp", "vv.Ovv", "ooo.oo", "dddd.d", "iiiii.",
};
// Administrators with 0 to 2 signatures: nothing.
static const char *const few[LEVEL_COUNT] = {
    ".sssss", "p.pppp", "vv.vvv", "ooo.oo", "dddd.d", "iiiii.",
};
// With 3 or 4: to any higher level.
static const char *const three[LEVEL_COUNT] = {
    ".PVODI", "p.VODI", "vv.ODI", "ooo.DI", "dddd.I", "iiiii.",
};
// With 5 to 7: also down, but from Decapitation only with a repair, and from Immolation never.
static const char *const five[LEVEL_COUNT] = {
    ".PVODI", "S.VODI", "SP.ODI", "SPV.DI", "dddd.I", "iiiii.",
};
static const char *const five_repaired[LEVEL_COUNT] = {
    ".PVODI", "S.VODI", "SP.ODI", "SPV.DI", "dddO.I", "iiiii.",
};

static const char *const *table_of(enum level_actor actor, unsigned signatures, bool repaired)
{
    if (actor != LEVEL_ACTOR_ADMINISTRATORS)
        return single;
    if (signatures < 3)
        return few;
    if (signatures < 5)
        return three;
    return repaired ? five_repaired : five;
}

static char letter_of(enum level level)
{
    return letters[level];
}

Test(level_control, every_set)
{
    unsigned checked = 0;
    for (unsigned from = 0; from < LEVEL_COUNT; from++)
        for (unsigned to = 0; to < LEVEL_COUNT; to++)
            for (unsigned actor = 0; actor < LEVEL_ACTOR_COUNT; actor++)
                for (unsigned signatures = 0; signatures <= 7; signatures++)
                    for (unsigned flags = 0; flags < 8; flags++) {
                        bool repaired = flags & 1;
                        struct level_state state = {.level = from,
                                                    .hold = (flags & 2) && from < LEVEL_OFFLINE,
                                                    .proposed =
                                                        (flags & 4) && from >= LEVEL_OFFLINE,
                                                    .proposal = LEVEL_IMMOLATION};
                        struct level_event event = {.kind = LEVEL_EVENT_SET,
                                                    .actor = actor,
                                                    .target = to,
                                                    .signatures = signatures,
                                                    .repaired = repaired};
                        struct level_result result = level_transition(&state, &event, &seven);
                        char wanted = table_of(actor, signatures, repaired)[from][to];
                        bool moves = wanted >= 'A' && wanted <= 'Z';
                        char got = letter_of(result.state.level);
                        cr_assert_eq(got, moves ? wanted : letter_of(from),
                                     "%c -> %c, actor %u, %u signatures: %c", letter_of(from),
                                     letter_of(to), actor, signatures, got);
                        cr_assert_eq(result.refusal == LEVEL_REFUSAL_NONE, moves);
                        cr_assert_eq(result.effects, moves ? level_effects(to) : 0u);
                        if (wanted == '.')
                            cr_assert_eq(result.refusal, LEVEL_REFUSAL_NO_CHANGE);
                        if (!moves)
                            cr_assert_eq(result.state.proposed, state.proposed);
                        checked++;
                    }
    cr_assert_eq(checked, 6u * 6 * 4 * 8 * 8);
}

Test(level_control, without_keys_levels_only_rise)
{
    for (unsigned from = 0; from < LEVEL_COUNT; from++)
        for (unsigned to = 0; to < LEVEL_COUNT; to++)
            for (unsigned actor = 0; actor < LEVEL_ACTOR_COUNT; actor++) {
                struct level_state state = {.level = from};
                struct level_event event = {.kind = LEVEL_EVENT_SET,
                                            .actor = actor,
                                            .target = to,
                                            .signatures = 7,
                                            .repaired = true};
                struct level_result result = level_transition(&state, &event, &none);
                cr_assert_geq(result.state.level, from);
                cr_assert_leq(result.state.level, from > LEVEL_OFFLINE ? from : LEVEL_OFFLINE);
            }
}

// Any sequence of events, from any number of actors.
Test(level_control, properties_of_random_sequences)
{
    struct random random = random_start(4);
    for (unsigned run = 0; run < 2000; run++) {
        struct level_state state = {.level = LEVEL_STANDARD};
        for (unsigned step = 0; step < 200; step++) {
            struct level_event event = {
                .kind = random_below(&random, LEVEL_EVENT_COUNT + 1),
                .actor = random_below(&random, LEVEL_ACTOR_COUNT + 1),
                .target = random_below(&random, LEVEL_COUNT + 1),
                .signatures = random_below(&random, 8),
                .repaired = random_chance(&random, 50),
            };
            struct level_result result = level_transition(&state, &event, &seven);
            if (result.state.level < state.level) {
                cr_assert_eq(event.kind, LEVEL_EVENT_SET);
                cr_assert_eq(event.actor, LEVEL_ACTOR_ADMINISTRATORS);
                cr_assert_geq(event.signatures, 5u);
                cr_assert_neq(state.level, LEVEL_IMMOLATION, "Immolation is absorbing");
            }
            if (result.state.level > LEVEL_OFFLINE && result.state.level > state.level) {
                cr_assert_eq(event.actor, LEVEL_ACTOR_ADMINISTRATORS);
                cr_assert_geq(event.signatures, 3u, "no failure exceeds Offline");
            }
            cr_assert(result.refusal == LEVEL_REFUSAL_NONE || !result.effects);
            cr_assert(result.state.level < LEVEL_OFFLINE || !result.state.hold);
            // Effects are idempotent: the same event again changes no level.
            struct level_result again = level_transition(&result.state, &event, &seven);
            cr_assert_eq(again.state.level, result.state.level);
            state = result.state;
        }
    }
}

Test(level_control, proposals)
{
    for (unsigned from = 0; from < LEVEL_COUNT; from++)
        for (unsigned to = 0; to < LEVEL_COUNT; to++) {
            struct level_state state = {.level = from};
            struct level_event event = {.kind = LEVEL_EVENT_PROPOSE,
                                        .actor = LEVEL_ACTOR_ADMINISTRATORS,
                                        .target = to,
                                        .signatures = 1};
            struct level_result result = level_transition(&state, &event, &seven);
            if (to <= from) {
                cr_assert_eq(result.refusal, LEVEL_REFUSAL_NO_CHANGE);
                continue;
            }
            unsigned least = to < LEVEL_OFFLINE ? to : LEVEL_OFFLINE;
            cr_assert_eq(result.state.level, from > least ? from : least);
            cr_assert(result.state.proposed);
            event.kind = LEVEL_EVENT_WITHDRAW;
            struct level_result over = level_transition(&result.state, &event, &seven);
            cr_assert_eq(over.state.level, result.state.level, "the restrictive side stays");
            cr_assert_not(over.state.proposed);
        }
}

Test(level_control, hold_and_failure)
{
    for (unsigned from = 0; from < LEVEL_COUNT; from++) {
        struct level_state state = {.level = from};
        struct level_event event = {.kind = LEVEL_EVENT_HOLD};
        struct level_result held = level_transition(&state, &event, &seven);
        cr_assert_eq(held.state.hold, from < LEVEL_OFFLINE);
        cr_assert_eq(held.state.level, from);
        event.kind = LEVEL_EVENT_RELEASE;
        cr_assert_not(level_transition(&held.state, &event, &seven).state.hold);
        event.kind = LEVEL_EVENT_EFFECT_FAILED;
        struct level_result failed = level_transition(&state, &event, &seven);
        cr_assert_eq(failed.state.level, from > LEVEL_OFFLINE ? from : LEVEL_OFFLINE);
        cr_assert(failed.effects & LEVEL_EFFECT_KILL_VMM);
        cr_assert(failed.effects & LEVEL_EFFECT_ALARM);
        cr_assert(failed.effects & LEVEL_EFFECT_CUT_REVERSIBLY);
    }
}

Test(level_control, effects_of_each_level)
{
    // Ports closed, backends killed, vCPUs paused, VMM ended, memory sealed, scrubbed, keys
    // destroyed, cut reversibly, cut for good, destroyed, ports tightened, audit durable.
    static const char *const rows[LEVEL_COUNT] = {
        "------------", "----------TD", "CKP--------D",
        "CK-ESS-R---D", "CK-E-S-RG--D", "CK-E-SDRGX-D",
    };
    for (unsigned level = 0; level < LEVEL_COUNT; level++)
        for (unsigned bit = 0; bit < 12; bit++)
            cr_assert_eq(level_effects(level) >> bit & 1, (unsigned)(rows[level][bit] != '-'),
                         "level %u, effect %u", level, bit);
    cr_assert_eq(level_effects(LEVEL_COUNT), level_effects(LEVEL_OFFLINE));
}

Test(level_control, names)
{
    for (unsigned level = 0; level < LEVEL_COUNT; level++)
        cr_assert_eq(level_parse(level_name(level)), level);
    cr_assert_eq(level_parse("Standard"), LEVEL_COUNT);
    cr_assert_eq(level_parse(""), LEVEL_COUNT);
    for (unsigned refusal = 0; refusal <= LEVEL_REFUSAL_INVALID; refusal++)
        cr_assert_str_neq(level_refusal_text(refusal), "unknown");
}
