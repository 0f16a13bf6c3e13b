// SPDX-License-Identifier: Apache-2.0
// Decides the requests of one port by the rules of a policy table: the first that matches counts.
//
// What every rule asks of a request's head (operation, level, length, argument, one exact text) is
// copied into small rows, one list for each operation and level. Rules that want a field to be one
// given text are found by its hash; only the others are looked at one after the other, and most of
// them are passed over by a look at 32 bytes. Conditions on fields come only after that.
#include "policy_engine.h"

#include <string.h>

#include "port_fields_abi.h"

#define OPERATIONS    64u
#define LEVELS        2u
#define NO_KEY        0xffu
#define MINUTE_NS     (60 * NS_PER_S)
#define WEEK_MINUTES  (7u * 24 * 60)
#define EPOCH_MINUTES (3u * 24 * 60) // 1970-01-01 was a Thursday

// Searches for one decision stop after this time; each of them is bounded too.
#define EFFORT_NS (5 * NS_PER_MS)

// A text in a field of so many bytes is found sooner than a look at the clock would pay.
#define LONG_BYTES 1024u

struct row {
    uint32_t request_min;
    uint32_t request_span; // largest minus smallest
    uint32_t argument_min;
    uint32_t argument_span;
    uint32_t key; // hash of the only text that field `key_field` may be
    uint32_t rule;
    uint16_t next;     // with a key: the next row with the same one. Without: the next without. Or
                       // NO_ROW
    uint8_t key_field; // NO_KEY: no such condition
    uint8_t more;      // conditions or hours are left to look at
    uint8_t pad[4];
};

#define NO_ROW 0xffffu
_Static_assert(POLICY_MAX_RULES < NO_ROW, "rows are numbered by 16 bits");

struct list {
    struct row *rows;
    uint32_t count;
    uint32_t fields;     // bit n: some row has a key of field n
    uint16_t first_open; // row without a key
    uint16_t *slots;     // hash table of the first row of each key, or NO_ROW
    uint32_t slot_mask;
};

struct policy_engine {
    struct policy_memory *memory;
    struct policy_arrays arrays;
    const struct policy_table_port *port; // NULL: no section
    const struct clock *clock;
    struct list lists[LEVELS][OPERATIONS];
    struct limits *limits; // of each rule of the port
    int *pattern_of_text;  // index of each text's pattern, or -1
    int *caseless_of_text; // the same, ignoring case
    struct policy_patterns *patterns;
    uint64_t denials_since_ns;
    uint32_t denials;
    uint8_t found[POLICY_SEARCH_MAX_BYTES / 8]; // bit n: byte n is to be blotted out
};

// What is looked up once for each decision.
struct look {
    const struct policy_view *view;
    struct port_fields fields; // field 0: the payload
    uint64_t began_ns;
    bool failed;
};

static uint8_t lower(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte | 0x20) : byte;
}

// Of the text in lower case. Whoever finds two texts with one hash gains a comparison.
static uint32_t hash_text(const uint8_t *bytes, uint32_t length)
{
    uint64_t hash = length + 0x9e3779b97f4a7c15ull;
    uint32_t at = 0;
    for (; length - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, bytes + at, 8);
        // Bit 5 of every byte is set: more than letters fall together, which costs a comparison.
        hash = (hash ^ (word | 0x2020202020202020ull)) * 0xff51afd7ed558ccdull;
        hash ^= hash >> 32;
    }
    for (; at < length; at++)
        hash = (hash ^ (bytes[at] | 0x20u)) * 0x100000001b3ull;
    hash ^= hash >> 29;
    return (uint32_t)(hash ^ hash >> 32);
}

static const struct policy_table_rule *rule_of(const struct policy_engine *engine, uint32_t rule)
{
    return &engine->arrays.rules[rule];
}

static const char *text_of(const struct policy_engine *engine, uint32_t text, uint32_t *length)
{
    *length = engine->arrays.texts[text].length;
    return engine->arrays.bytes + engine->arrays.texts[text].at;
}

// A condition that one hash stands for: the field is one given text.
static bool is_key(const struct policy_table_condition *condition)
{
    return condition->test == POLICY_TEST_EQUALS && condition->text_count == 1 &&
           !condition->negate;
}

static struct row row_of(const struct policy_engine *engine, uint32_t index)
{
    const struct policy_table_rule *rule = rule_of(engine, index);
    struct row row = {
        .request_min = rule->request_min,
        .request_span = rule->request_max - rule->request_min,
        .argument_min = rule->argument_min,
        .argument_span = rule->argument_max - rule->argument_min,
        .rule = index,
        .key_field = NO_KEY,
        .more = rule->condition_count || rule->window_count,
    };
    for (uint32_t i = 0; i < rule->condition_count && row.key_field == NO_KEY; i++) {
        const struct policy_table_condition *condition =
            &engine->arrays.conditions[rule->first_condition + i];
        if (is_key(condition)) {
            uint32_t length;
            const char *text = text_of(engine, condition->first_text, &length);
            row.key_field = condition->field;
            row.key = hash_text((const uint8_t *)text, length);
        }
    }
    return row;
}

// The slot of a key: that of its first row, or a free one. The table is never full.
static uint16_t *find_slot(const struct list *list, uint32_t key, unsigned field)
{
    uint32_t at = key + field * 0x9e3779b9u;
    for (;; at++) {
        uint16_t *slot = &list->slots[at & list->slot_mask];
        if (*slot == NO_ROW ||
            (list->rows[*slot].key == key && list->rows[*slot].key_field == field))
            return slot;
    }
}

static int index_list(struct policy_engine *engine, struct list *list, struct error *err)
{
    uint32_t slots = 2;
    while (slots < 2 * list->count)
        slots *= 2;
    list->slots = policy_memory_take(engine->memory, slots * sizeof(*list->slots));
    if (!list->slots)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "no memory for policy rules");
    memset(list->slots, 0xff, slots * sizeof(*list->slots));
    list->slot_mask = slots - 1;
    list->first_open = NO_ROW;
    // From the last to the first: each is put in front of what is there.
    for (uint32_t i = list->count; i-- > 0;) {
        struct row *row = &list->rows[i];
        uint16_t *head = &list->first_open;
        if (row->key_field != NO_KEY) {
            head = find_slot(list, row->key, row->key_field);
            list->fields |= 1u << row->key_field;
        }
        row->next = *head;
        *head = (uint16_t)i;
    }
    return 0;
}

static int fill_list(struct policy_engine *engine, unsigned level, unsigned operation,
                     struct error *err)
{
    const struct policy_table_port *port = engine->port;
    struct list *list = &engine->lists[level][operation];
    for (int pass = 0; pass < 2; pass++) {
        uint32_t count = 0;
        for (uint32_t i = 0; i < port->rule_count; i++) {
            const struct policy_table_rule *rule = rule_of(engine, port->first_rule + i);
            if (!(rule->operations >> operation & 1) || !(rule->levels >> level & 1))
                continue;
            if (list->rows)
                list->rows[count] = row_of(engine, port->first_rule + i);
            count++;
        }
        if (!count)
            return 0;
        list->count = count;
        if (!list->rows &&
            !(list->rows = policy_memory_take(engine->memory, count * sizeof(struct row))))
            return error_set(err, EXIT_STATUS_RESOURCES, 0, "no memory for policy rules");
    }
    return index_list(engine, list, err);
}

static int add_pattern(struct policy_engine *engine, uint32_t text, bool ignore_case,
                       struct error *err)
{
    int *indexes = ignore_case ? engine->caseless_of_text : engine->pattern_of_text;
    uint32_t length;
    const char *bytes = text_of(engine, text, &length);
    if (indexes[text] >= 0)
        return 0;
    indexes[text] = policy_patterns_add(engine->patterns, bytes, length, ignore_case, NULL, err);
    return indexes[text] < 0 ? -1 : 0;
}

static int add_patterns(struct policy_engine *engine, struct error *err)
{
    const struct policy_arrays *arrays = &engine->arrays;
    for (uint32_t i = 0; i < engine->port->rule_count; i++) {
        const struct policy_table_rule *rule = rule_of(engine, engine->port->first_rule + i);
        for (uint32_t j = 0; j < rule->condition_count; j++) {
            const struct policy_table_condition *condition =
                &arrays->conditions[rule->first_condition + j];
            for (uint32_t k = 0; k < condition->text_count; k++) {
                if (condition->test == POLICY_TEST_PATTERN &&
                    add_pattern(engine, condition->first_text + k, condition->ignore_case, err) < 0)
                    return -1;
            }
        }
        for (uint32_t j = 0; j < rule->redaction_count; j++) {
            if (add_pattern(engine, arrays->redactions[rule->first_redaction + j].pattern, false,
                            err) < 0)
                return -1;
        }
    }
    return 0;
}

static int fill(struct policy_engine *engine, struct error *err)
{
    uint32_t texts = engine->arrays.table->text_count;
    uint32_t rules = engine->port->rule_count;
    engine->patterns = policy_patterns_create(POLICY_MAX_PATTERNS, engine->memory, err);
    if (!engine->patterns)
        return -1;
    engine->limits = policy_memory_take(engine->memory, rules * sizeof(struct limits));
    engine->pattern_of_text = policy_memory_take(engine->memory, texts * sizeof(int));
    engine->caseless_of_text = policy_memory_take(engine->memory, texts * sizeof(int));
    if (!engine->limits || !engine->pattern_of_text || !engine->caseless_of_text)
        return error_set(err, EXIT_STATUS_RESOURCES, 0, "no memory for policy rules");
    for (uint32_t i = 0; i < texts; i++)
        engine->pattern_of_text[i] = engine->caseless_of_text[i] = -1;
    uint64_t now_ns = clock_now_ns(engine->clock);
    for (uint32_t i = 0; i < rules; i++)
        limits_init(&engine->limits[i], &rule_of(engine, engine->port->first_rule + i)->limits,
                    now_ns);
    for (unsigned level = 0; level < LEVELS; level++) {
        for (unsigned operation = 0; operation < OPERATIONS; operation++) {
            if (fill_list(engine, level, operation, err) < 0)
                return -1;
        }
    }
    return add_patterns(engine, err);
}

struct policy_engine *policy_engine_create(const struct policy_arrays *arrays, const char *port,
                                           const struct clock *clock, struct policy_memory *memory,
                                           struct error *err)
{
    struct policy_engine *engine = policy_memory_take(memory, sizeof(*engine));
    if (!engine) {
        error_set(err, EXIT_STATUS_RESOURCES, 0, "no memory for policy rules");
        return NULL;
    }
    engine->memory = memory;
    engine->arrays = *arrays;
    engine->clock = clock;
    engine->port = policy_table_find(arrays, port);
    if (engine->port && fill(engine, err) < 0) {
        error_prefix(err, "policy of port %s", port);
        return NULL;
    }
    return engine;
}

static bool same(const uint8_t *a, const char *b, uint32_t length, bool ignore_case)
{
    if (!ignore_case)
        return memcmp(a, b, length) == 0;
    for (uint32_t i = 0; i < length; i++) {
        if (lower(a[i]) != lower((uint8_t)b[i]))
            return false;
    }
    return true;
}

static bool contains(const struct port_field *field, const char *text, uint32_t length,
                     bool ignore_case)
{
    if (!ignore_case)
        return memmem(field->bytes, field->length, text, length) != NULL;
    for (uint32_t at = 0; at + length <= field->length; at++) {
        if (same(field->bytes + at, text, length, true))
            return true;
    }
    return false;
}

// True if a decision's time for searches is over; it begins with the first of them.
static bool effort_is_spent(const struct policy_engine *engine, struct look *look)
{
    uint64_t now_ns = clock_now_ns(engine->clock);
    if (!look->began_ns)
        look->began_ns = now_ns;
    return now_ns - look->began_ns > EFFORT_NS;
}

static enum policy_found search(struct policy_engine *engine, struct look *look, unsigned pattern,
                                const struct port_field *field)
{
    size_t from;
    size_t to;
    if (effort_is_spent(engine, look))
        return POLICY_SEARCH_FAILED;
    return policy_patterns_search(engine->patterns, pattern, field->bytes, field->length, 0, &from,
                                  &to);
}

static bool text_fits(struct policy_engine *engine, struct look *look,
                      const struct policy_table_condition *condition, uint32_t text,
                      const struct port_field *field)
{
    uint32_t length;
    const char *bytes = text_of(engine, text, &length);
    bool ignore_case = condition->ignore_case;
    if (condition->test == POLICY_TEST_PATTERN) {
        int pattern = (ignore_case ? engine->caseless_of_text : engine->pattern_of_text)[text];
        enum policy_found found = search(engine, look, (unsigned)pattern, field);
        look->failed = look->failed || found == POLICY_SEARCH_FAILED;
        return found == POLICY_FOUND;
    }
    if (length > field->length)
        return false;
    switch (condition->test) {
    case POLICY_TEST_EQUALS:
        return length == field->length && same(field->bytes, bytes, length, ignore_case);
    case POLICY_TEST_PREFIX:
        return same(field->bytes, bytes, length, ignore_case);
    case POLICY_TEST_SUFFIX:
        return same(field->bytes + field->length - length, bytes, length, ignore_case);
    default:
        // Without case every place is compared: long fields are for nobody's patience.
        look->failed = (ignore_case && field->length > POLICY_SEARCH_MAX_BYTES) ||
                       (field->length > LONG_BYTES && effort_is_spent(engine, look));
        return !look->failed && contains(field, bytes, length, ignore_case);
    }
}

static bool condition_holds(struct policy_engine *engine, struct look *look,
                            const struct policy_table_condition *condition)
{
    const struct port_field *field = &look->fields.field[condition->field];
    bool holds = false;
    if (field->bytes && condition->test == POLICY_TEST_PRESENT) {
        holds = true;
    } else if (field->bytes && condition->test == POLICY_TEST_NUMBER) {
        uint64_t value;
        holds = port_field_number(field, &value) && value >= condition->minimum &&
                value <= condition->maximum;
    } else if (field->bytes) {
        for (uint32_t i = 0; i < condition->text_count && !holds && !look->failed; i++)
            holds = text_fits(engine, look, condition, condition->first_text + i, field);
    }
    return holds != condition->negate;
}

static bool in_hours(const struct policy_engine *engine, const struct policy_table_rule *rule)
{
    if (!rule->window_count)
        return true;
    uint64_t minute = clock_wall_ns(engine->clock) / MINUTE_NS + EPOCH_MINUTES;
    for (uint32_t i = 0; i < rule->window_count; i++) {
        const struct policy_table_window *window = &engine->arrays.windows[rule->first_window + i];
        if (minute % WEEK_MINUTES >= window->from && minute % WEEK_MINUTES < window->to)
            return true;
    }
    return false;
}

static bool rule_matches(struct policy_engine *engine, struct look *look,
                         const struct policy_table_rule *rule)
{
    if (!in_hours(engine, rule))
        return false;
    for (uint32_t i = 0; i < rule->condition_count; i++) {
        if (!condition_holds(engine, look, &engine->arrays.conditions[rule->first_condition + i]) ||
            look->failed)
            return false;
    }
    return true;
}

// Row numbers that may match, each the first of a chain: rows without a key, and for each field
// with keys those of its text.
struct heads {
    uint16_t row[POLICY_FIELDS + 1];
    unsigned count;
};

static void find_heads(struct look *look, const struct list *list, struct heads *heads)
{
    heads->row[0] = list->first_open;
    heads->count = 1;
    for (uint32_t fields = list->fields; fields; fields &= fields - 1) {
        unsigned field = (unsigned)__builtin_ctz(fields);
        const struct port_field *value = &look->fields.field[field];
        if (value->bytes)
            heads->row[heads->count++] =
                *find_slot(list, hash_text(value->bytes, value->length), field);
    }
}

// Takes the lowest row of all chains; NULL after the last one.
static const struct row *take_row(struct heads *heads, const struct list *list)
{
    unsigned lowest = 0;
    for (unsigned i = 1; i < heads->count; i++) {
        if (heads->row[i] < heads->row[lowest])
            lowest = i;
    }
    if (heads->row[lowest] == NO_ROW)
        return NULL;
    const struct row *row = &list->rows[heads->row[lowest]];
    heads->row[lowest] = row->next;
    return row;
}

// The first row that the request matches; NULL if none does, or if a search failed.
static const struct row *find_row(struct policy_engine *engine, struct look *look,
                                  const struct list *list)
{
    const struct policy_view *view = look->view;
    struct heads heads;
    if (!list->count)
        return NULL;
    find_heads(look, list, &heads);
    for (const struct row *row = take_row(&heads, list); row; row = take_row(&heads, list)) {
        if (view->length - row->request_min > row->request_span ||
            view->argument - row->argument_min > row->argument_span)
            continue;
        if (!row->more || rule_matches(engine, look, rule_of(engine, row->rule)))
            return row;
        if (look->failed)
            return NULL;
    }
    return NULL;
}

static struct policy_result account(struct policy_engine *engine, const struct policy_view *view,
                                    struct policy_result result, uint64_t now_ns, uint32_t *taken)
{
    uint32_t own = result.rule - engine->port->first_rule;
    bool passes = result.action == POLICY_ACTION_ALLOW || result.action == POLICY_ACTION_REDACT ||
                  result.action == POLICY_ACTION_HOLD;
    if (!passes || !rule_of(engine, result.rule)->has_limits || *taken == result.rule + 1)
        return result;
    switch (limits_take(&engine->limits[own], view->length, now_ns, &result.retry_ns)) {
    case LIMITS_PASS:
        *taken = result.rule + 1;
        return result;
    case LIMITS_WAIT:
        result.finding = POLICY_FINDING_WAIT;
        return result;
    case LIMITS_EXHAUSTED:
    default:
        result.finding = POLICY_FINDING_EXHAUSTED;
        return result;
    }
}

// Finds the fields of a request. Returns false if it is not made of any.
static bool look_at(const struct policy_engine *engine, const struct policy_view *view,
                    struct look *look)
{
    static const uint8_t nothing[1];
    look->view = view;
    look->began_ns = 0;
    look->failed = false;
    if (!engine->port->structured)
        memset(&look->fields, 0, sizeof(look->fields));
    else if (!port_fields_read(&look->fields, view->payload ? view->payload : nothing,
                               view->length))
        return false;
    look->fields.field[POLICY_FIELD_PAYLOAD] =
        (struct port_field){view->payload ? view->payload : nothing, view->length};
    return true;
}

enum policy_reason policy_engine_explain(struct policy_engine *engine,
                                         const struct policy_view *view, bool probation,
                                         uint32_t index, uint32_t *condition)
{
    const struct policy_table_rule *rule = rule_of(engine, index);
    struct look look;
    if (view->operation >= OPERATIONS || !(rule->operations >> view->operation & 1))
        return POLICY_REASON_OPERATION;
    if (!(rule->levels >> probation & 1))
        return POLICY_REASON_LEVEL;
    if (view->length < rule->request_min || view->length > rule->request_max)
        return POLICY_REASON_REQUEST_BYTES;
    if (view->argument < rule->argument_min || view->argument > rule->argument_max)
        return POLICY_REASON_ARGUMENT;
    if (!in_hours(engine, rule))
        return POLICY_REASON_HOURS;
    *condition = rule->first_condition;
    if (!look_at(engine, view, &look))
        return POLICY_REASON_CONDITION;
    for (; *condition < rule->first_condition + rule->condition_count; ++*condition) {
        bool holds = condition_holds(engine, &look, &engine->arrays.conditions[*condition]);
        if (look.failed)
            return POLICY_REASON_EFFORT;
        if (!holds)
            return POLICY_REASON_CONDITION;
    }
    return POLICY_REASON_MATCHES;
}

struct policy_result policy_engine_decide(struct policy_engine *engine,
                                          const struct policy_view *view, bool probation,
                                          uint64_t now_ns, uint32_t *taken)
{
    struct policy_result result = {.finding = POLICY_FINDING_NONE};
    struct look look;
    if (!engine->port || view->operation >= OPERATIONS)
        return result;
    if (!look_at(engine, view, &look)) {
        result.finding = POLICY_FINDING_MALFORMED;
        return result;
    }
    const struct row *row = find_row(engine, &look, &engine->lists[probation][view->operation]);
    if (look.failed)
        result.finding = POLICY_FINDING_EFFORT;
    if (!row)
        return result;
    const struct policy_table_rule *rule = rule_of(engine, row->rule);
    result.finding = POLICY_FINDING_RULE;
    result.rule = row->rule;
    result.action = rule->action;
    result.escalate_to = rule->action == POLICY_ACTION_ESCALATE ? rule->escalate_to : 0;
    result.hold_ns = rule->hold_ms * NS_PER_MS;
    return account(engine, view, result, now_ns, taken);
}

bool policy_engine_holds(const struct policy_engine *engine)
{
    for (uint32_t i = 0; engine->port && i < engine->port->rule_count; i++) {
        if (rule_of(engine, engine->port->first_rule + i)->action == POLICY_ACTION_HOLD)
            return true;
    }
    return false;
}

// Marks what a pattern finds. The bytes stay as they are: another pattern may find a part of them.
static bool mark(struct policy_engine *engine, unsigned pattern, const uint8_t *bytes,
                 uint32_t length, uint64_t until_ns)
{
    size_t start = 0;
    while (start <= length) {
        size_t from;
        size_t to;
        if (clock_now_ns(engine->clock) > until_ns)
            return false;
        enum policy_found found =
            policy_patterns_search(engine->patterns, pattern, bytes, length, start, &from, &to);
        if (found != POLICY_FOUND)
            return found == POLICY_NOT_FOUND;
        for (size_t at = from; at < to; at++)
            engine->found[at / 8] |= (uint8_t)(1u << at % 8);
        start = to > start ? to : start + 1;
    }
    return true;
}

static bool redact(struct policy_engine *engine, const struct policy_table_rule *entry,
                   enum policy_direction direction, uint8_t *bytes, uint32_t length,
                   uint64_t until_ns)
{
    bool done = true;
    // Nothing is found in more.
    uint32_t most = length < POLICY_SEARCH_MAX_BYTES ? length : POLICY_SEARCH_MAX_BYTES;
    memset(engine->found, 0, (most + 7) / 8);
    for (uint32_t i = 0; i < entry->redaction_count && done; i++) {
        const struct policy_table_redaction *redaction =
            &engine->arrays.redactions[entry->first_redaction + i];
        if (redaction->directions & direction)
            done = mark(engine, (unsigned)engine->pattern_of_text[redaction->pattern], bytes,
                        length, until_ns);
    }
    for (uint32_t at = 0; at < most; at++) {
        if (engine->found[at / 8] >> at % 8 & 1)
            bytes[at] = '*';
    }
    return done;
}

bool policy_engine_redact(struct policy_engine *engine, uint32_t rule,
                          enum policy_direction direction, uint8_t *bytes, uint32_t length)
{
    const struct policy_table_rule *entry = rule_of(engine, rule);
    uint64_t until_ns = clock_now_ns(engine->clock) + EFFORT_NS;
    struct port_fields fields;
    if (!engine->port->structured)
        return redact(engine, entry, direction, bytes, length, until_ns);
    if (!port_fields_read(&fields, bytes, length))
        return false;
    for (unsigned i = 1; i < PORT_FIELDS; i++) {
        const struct port_field *field = &fields.field[i];
        if (field->bytes && !redact(engine, entry, direction, bytes + (field->bytes - bytes),
                                    field->length, until_ns))
            return false;
    }
    return true;
}

uint32_t policy_engine_count_denial(struct policy_engine *engine, uint64_t now_ns)
{
    const struct policy_table_port *port = engine->port;
    if (!port || !port->denial_count)
        return 0;
    if (!engine->denials || now_ns - engine->denials_since_ns > port->denial_ns) {
        engine->denials = 0;
        engine->denials_since_ns = now_ns;
    }
    if (++engine->denials < port->denial_count)
        return 0;
    engine->denials = 0;
    return port->denial_level;
}

// The limits of the rule of an engine's port that has this name, or NULL. Looks from *at on, and
// leaves it behind what it found: rules mostly keep their order.
static struct limits *limits_of(const struct policy_engine *engine, const char *name, uint32_t *at)
{
    uint32_t length;
    uint32_t count = engine->port ? engine->port->rule_count : 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t own = (*at + i) % count;
        const struct policy_table_rule *rule = rule_of(engine, engine->port->first_rule + own);
        if (strcmp(text_of(engine, rule->name, &length), name) != 0)
            continue;
        *at = own + 1;
        return &engine->limits[own];
    }
    return NULL;
}

void policy_engine_follow(struct policy_engine *engine, const struct policy_engine *from,
                          uint64_t now_ns)
{
    uint32_t length;
    uint32_t at = 0;
    for (uint32_t i = 0; engine->port && i < engine->port->rule_count; i++) {
        const struct policy_table_rule *rule = rule_of(engine, engine->port->first_rule + i);
        if (!rule->has_limits)
            continue; // nobody asks for them
        const struct limits *used = limits_of(from, text_of(engine, rule->name, &length), &at);
        if (used)
            limits_carry(&engine->limits[i], used);
        limits_empty(&engine->limits[i], now_ns);
    }
    engine->denials = from->denials;
    engine->denials_since_ns = from->denials_since_ns;
}
