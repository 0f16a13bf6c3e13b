// SPDX-License-Identifier: Apache-2.0
// Strict JSON: the scanner, located errors, and readers of typed values.
#include "json_text.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/linkhash.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "escape.h"
#include "utf8.h"

static void cleanup_tree_function(struct json_object **tree)
{
    json_object_put(*tree);
}

#define cleanup_tree __attribute__((cleanup(cleanup_tree_function)))

// One token of a JSON pointer.
struct step {
    const char *key; // NULL: an index
    size_t index;
};

struct scanner {
    const struct json_document *document;
    const char *at;
    const char *end;
    char *scratch; // the string read last, decoded and terminated
    size_t values;
    size_t depth;                     // open arrays and objects
    struct step path[JSON_MAX_DEPTH]; // to the value that is being read
    size_t path_length;
    // When it only looks for a position: stops there.
    const struct step *wanted;
    size_t wanted_length;
    enum json_part wanted_part;
    const char *found;
    struct error *err;
};

static int no_memory(struct error *err)
{
    return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "reading JSON");
}

#define TAIL_SIZE 144u
#define TAIL_CUT  "..."

// The end of a text that may be too long for a message, filled from its last byte on.
struct tail {
    char text[TAIL_SIZE];
    size_t start;
    bool full;
};

static void tail_prepend(struct tail *tail, const char *piece, size_t length)
{
    if (tail->full)
        return;
    if (tail->start < length + sizeof(TAIL_CUT)) {
        tail->full = true;
        piece = TAIL_CUT;
        length = sizeof(TAIL_CUT) - 1;
    }
    tail->start -= length;
    memcpy(tail->text + tail->start, piece, length);
}

// Prepends a text escaped for one line and, in a pointer, as RFC 6901 says.
static void tail_prepend_text(struct tail *tail, const char *text, bool pointer)
{
    for (size_t i = strlen(text); i-- && !tail->full;) {
        char piece[ESCAPE_MAX_EXPANSION + 1];
        if (pointer && (text[i] == '~' || text[i] == '/'))
            tail_prepend(tail, text[i] == '~' ? "~0" : "~1", 2);
        else
            tail_prepend(tail, piece, escape_line(piece, sizeof(piece), text + i, 1));
    }
}

static int refuse_at(const struct json_document *document, const char *at, const struct step *path,
                     size_t path_length, const char *message, struct error *err)
{
    size_t line = 1;
    size_t column = 1;
    for (const char *c = document->text; c < at; c++) {
        // Bytes that continue a UTF-8 sequence are not characters of their own.
        column += ((unsigned char)*c & 0xc0) != 0x80;
        if (*c == '\n') {
            line++;
            column = 1;
        }
    }
    struct tail name = {.start = TAIL_SIZE - 1};
    tail_prepend_text(&name, document->name, false);
    struct tail pointer = {.start = TAIL_SIZE - 1};
    for (size_t i = path_length; i--;) {
        char index[24];
        snprintf(index, sizeof(index), "%zu", path[i].index);
        tail_prepend_text(&pointer, path[i].key ? path[i].key : index, true);
        tail_prepend(&pointer, "/", 1);
    }
    return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s:%zu:%zu: %s%s%s", name.text + name.start,
                     line, column, pointer.text + pointer.start, path_length ? ": " : "", message);
}

__attribute__((format(printf, 3, 4))) static int fail(const struct scanner *scanner, const char *at,
                                                      const char *format, ...)
{
    char message[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    return refuse_at(scanner->document, at, scanner->path, scanner->path_length, message,
                     scanner->err);
}

static int unexpected(const struct scanner *scanner, const char *expected)
{
    if (scanner->at == scanner->end)
        return fail(scanner, scanner->at, "%s is expected, found the end of the text", expected);
    unsigned char byte = (unsigned char)*scanner->at;
    if (byte == '/')
        return fail(scanner, scanner->at, "%s is expected, found '/': JSON has no comments",
                    expected);
    if (byte > 0x20 && byte < 0x7f)
        return fail(scanner, scanner->at, "%s is expected, found '%c'", expected, byte);
    return fail(scanner, scanner->at, "%s is expected, found byte 0x%02x", expected, byte);
}

static void skip_space(struct scanner *scanner)
{
    while (scanner->at < scanner->end && memchr(" \t\n\r", *scanner->at, 4))
        scanner->at++;
}

static bool take(struct scanner *scanner, char c)
{
    if (scanner->at == scanner->end || *scanner->at != c)
        return false;
    scanner->at++;
    return true;
}

// True if this is the position that is looked for; the caller then unwinds.
static bool is_wanted(struct scanner *scanner, enum json_part part, const char *at)
{
    if (!scanner->wanted || scanner->wanted_part != part ||
        scanner->wanted_length != scanner->path_length)
        return false;
    for (size_t i = 0; i < scanner->path_length; i++) {
        const struct step *a = &scanner->wanted[i];
        const struct step *b = &scanner->path[i];
        if (!a->key != !b->key || (a->key ? strcmp(a->key, b->key) != 0 : a->index != b->index))
            return false;
    }
    scanner->found = at;
    return true;
}

static size_t utf8_encode(char *target, uint32_t code)
{
    static const struct {
        uint32_t last;
        unsigned lead;
    } forms[] = {{0x7f, 0}, {0x7ff, 0xc0}, {0xffff, 0xe0}, {0x10ffff, 0xf0}};
    size_t more = 0;
    while (code > forms[more].last)
        more++;
    for (size_t i = more; i; i--) {
        target[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    target[0] = (char)(forms[more].lead | code);
    return more + 1;
}

// Reads "\uXXXX" if it stands at the scanner's place.
static bool take_unicode_escape(struct scanner *scanner, uint32_t *code)
{
    if (scanner->end - scanner->at < 6 || scanner->at[0] != '\\' || scanner->at[1] != 'u')
        return false;
    *code = 0;
    for (size_t i = 2; i < 6; i++) {
        static const char digits[] = "0123456789abcdefABCDEF";
        const char *digit = memchr(digits, scanner->at[i], sizeof(digits) - 1);
        if (!digit)
            return false;
        uint32_t value = (uint32_t)(digit - digits);
        *code = *code << 4 | (value > 15 ? value - 6 : value);
    }
    scanner->at += 6;
    return true;
}

static int scan_unicode_escape(struct scanner *scanner, size_t *used)
{
    const char *start = scanner->at;
    uint32_t code;
    uint32_t low = 0;
    if (!take_unicode_escape(scanner, &code))
        return fail(scanner, start, "four hexadecimal digits are expected after \\u");
    if (code >= 0xd800 && code <= 0xdfff) {
        if (code > 0xdbff || !take_unicode_escape(scanner, &low) || low < 0xdc00 || low > 0xdfff)
            return fail(scanner, start, "\\u%04x is half of a surrogate pair", code);
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    *used += utf8_encode(scanner->scratch + *used, code);
    return 0;
}

static int scan_escape(struct scanner *scanner, size_t *used)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    const char *start = scanner->at;
    if (scanner->end - start < 2)
        return fail(scanner, scanner->end, "the text ends inside a string");
    const char *simple = memchr(from, start[1], sizeof(from) - 1);
    if (!simple && start[1] == 'u')
        return scan_unicode_escape(scanner, used);
    if (!simple)
        return fail(scanner, start, "a backslash is followed by one of \" \\ / b f n r t u");
    scanner->scratch[(*used)++] = to[simple - from];
    scanner->at += 2;
    return 0;
}

// Reads a string to the scratch buffer. A decoded string is never longer than its source.
static int scan_string(struct scanner *scanner, size_t *length)
{
    size_t used = 0;
    scanner->at++;
    while (!take(scanner, '"')) {
        if (scanner->at == scanner->end)
            return fail(scanner, scanner->at, "the text ends inside a string");
        unsigned char byte = (unsigned char)*scanner->at;
        if (byte == '\\') {
            if (scan_escape(scanner, &used))
                return -1;
            continue;
        }
        if (byte < 0x20)
            return fail(scanner, scanner->at, "control character in a string: write \\u%04x", byte);
        size_t bytes = utf8_length(scanner->at, (size_t)(scanner->end - scanner->at));
        if (!bytes)
            return fail(scanner, scanner->at, "invalid UTF-8 (byte 0x%02x)", byte);
        memcpy(scanner->scratch + used, scanner->at, bytes);
        scanner->at += bytes;
        used += bytes;
    }
    scanner->scratch[used] = '\0';
    *length = used;
    return 0;
}

static bool at_digit(const struct scanner *scanner)
{
    return scanner->at < scanner->end && *scanner->at >= '0' && *scanner->at <= '9';
}

// At the point or the exponent of a number that began at `start`.
static int scan_fraction(struct scanner *scanner, const char *start, struct json_object **value)
{
    bool point = take(scanner, '.');
    if (point && !at_digit(scanner))
        return unexpected(scanner, "a digit");
    while (at_digit(scanner))
        scanner->at++;
    if (take(scanner, 'e') || take(scanner, 'E')) {
        if (!take(scanner, '+'))
            take(scanner, '-');
        if (!at_digit(scanner))
            return unexpected(scanner, "a digit");
        while (at_digit(scanner))
            scanner->at++;
    }
    size_t length = (size_t)(scanner->at - start);
    memcpy(scanner->scratch, start, length);
    scanner->scratch[length] = '\0';
    double number = strtod(scanner->scratch, NULL);
    if (!isfinite(number))
        return fail(scanner, start, "the number is beyond what a double can be");
    *value = json_object_new_double(number);
    return *value ? 0 : no_memory(scanner->err);
}

static int scan_number(struct scanner *scanner, struct json_object **value)
{
    const char *start = scanner->at;
    bool negative = take(scanner, '-');
    if (!at_digit(scanner))
        return unexpected(scanner, "a digit");
    if (take(scanner, '0') && at_digit(scanner))
        return fail(scanner, start, "a number has no leading zeros");
    uint64_t magnitude = 0;
    bool overflow = false;
    for (; at_digit(scanner); scanner->at++) {
        overflow |= __builtin_mul_overflow(magnitude, 10u, &magnitude);
        overflow |= __builtin_add_overflow(magnitude, (uint64_t)(*scanner->at - '0'), &magnitude);
    }
    bool fraction = scanner->at < scanner->end && memchr(".eE", *scanner->at, 3);
    if (fraction && scanner->document->fractions)
        return scan_fraction(scanner, start, value);
    if (fraction)
        return fail(scanner, start, "a number is an integer, without fraction or exponent");
    if (overflow || (negative && magnitude > (uint64_t)INT64_MAX + 1))
        return fail(scanner, start, "the number does not fit into 64 bits");
    if (negative)
        *value = json_object_new_int64((int64_t)(0 - magnitude));
    else if (magnitude <= INT64_MAX)
        *value = json_object_new_int64((int64_t)magnitude);
    else
        *value = json_object_new_uint64(magnitude);
    return *value ? 0 : no_memory(scanner->err);
}

static int scan_value(struct scanner *scanner, struct json_object **value);

static int enter(struct scanner *scanner)
{
    if (scanner->depth == JSON_MAX_DEPTH)
        return fail(scanner, scanner->at, "nested deeper than %u", JSON_MAX_DEPTH);
    scanner->depth++;
    scanner->at++;
    skip_space(scanner);
    return 0;
}

// Behind a member or element: sets *more, or refuses.
static int scan_separator(struct scanner *scanner, char close, bool *more)
{
    char expected[] = "',' or ' '";
    expected[sizeof(expected) - 3] = close;
    skip_space(scanner);
    *more = take(scanner, ',');
    if (*more || take(scanner, close))
        return 0;
    return unexpected(scanner, expected);
}

static int scan_member(struct scanner *scanner, struct json_object *object)
{
    size_t length;
    skip_space(scanner);
    const char *start = scanner->at;
    if (start == scanner->end || *start != '"')
        return unexpected(scanner, "a key in double quotes");
    if (scan_string(scanner, &length))
        return -1;
    if (strlen(scanner->scratch) != length)
        return fail(scanner, start, "a key has no U+0000");
    cleanup_free char *key = strdup(scanner->scratch);
    if (!key)
        return no_memory(scanner->err);
    scanner->path[scanner->depth - 1] = (struct step){key, 0};
    scanner->path_length = scanner->depth;
    if (is_wanted(scanner, JSON_PART_KEY, start))
        return -1;
    if (json_object_object_get_ex(object, key, NULL))
        return fail(scanner, start, "duplicate key");
    skip_space(scanner);
    if (!take(scanner, ':'))
        return unexpected(scanner, "':'");
    cleanup_tree struct json_object *value = NULL;
    if (scan_value(scanner, &value))
        return -1;
    if (json_object_object_add_ex(object, key, value, JSON_C_OBJECT_ADD_KEY_IS_NEW))
        return no_memory(scanner->err);
    value = NULL;
    scanner->path_length = scanner->depth - 1;
    return 0;
}

static int scan_object(struct scanner *scanner, struct json_object **value)
{
    cleanup_tree struct json_object *object = json_object_new_object();
    if (!object)
        return no_memory(scanner->err);
    if (enter(scanner))
        return -1;
    bool more = !take(scanner, '}');
    while (more) {
        if (scan_member(scanner, object) || scan_separator(scanner, '}', &more))
            return -1;
    }
    scanner->depth--;
    *value = steal_pointer(&object);
    return 0;
}

static int scan_array(struct scanner *scanner, struct json_object **value)
{
    cleanup_tree struct json_object *array = json_object_new_array_ext(4);
    if (!array)
        return no_memory(scanner->err);
    if (enter(scanner))
        return -1;
    bool more = !take(scanner, ']');
    for (size_t index = 0; more; index++) {
        scanner->path[scanner->depth - 1] = (struct step){NULL, index};
        scanner->path_length = scanner->depth;
        cleanup_tree struct json_object *element = NULL;
        if (scan_value(scanner, &element))
            return -1;
        if (json_object_array_add(array, element))
            return no_memory(scanner->err);
        element = NULL;
        scanner->path_length = scanner->depth - 1;
        if (scan_separator(scanner, ']', &more))
            return -1;
    }
    scanner->depth--;
    *value = steal_pointer(&array);
    return 0;
}

static int scan_text(struct scanner *scanner, struct json_object **value)
{
    size_t length = 0;
    if (scan_string(scanner, &length))
        return -1;
    *value = json_object_new_string_len(scanner->scratch, (int)length);
    return *value ? 0 : no_memory(scanner->err);
}

static int scan_word(struct scanner *scanner, struct json_object **value)
{
    static const char *const words[] = {"null", "true", "false"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t length = strlen(words[i]);
        if ((size_t)(scanner->end - scanner->at) < length || memcmp(scanner->at, words[i], length))
            continue;
        scanner->at += length;
        *value = i ? json_object_new_boolean(i == 1) : NULL;
        return !i || *value ? 0 : no_memory(scanner->err);
    }
    return unexpected(scanner, "a value");
}

static int scan_value(struct scanner *scanner, struct json_object **value)
{
    static const struct {
        const char *first;
        int (*scan)(struct scanner *scanner, struct json_object **value);
    } forms[] = {
        {"{", scan_object}, {"[", scan_array}, {"\"", scan_text}, {"-0123456789", scan_number}};
    skip_space(scanner);
    if (is_wanted(scanner, JSON_PART_VALUE, scanner->at))
        return -1;
    if (scanner->values++ == JSON_MAX_VALUES)
        return fail(scanner, scanner->at, "more than %u values", JSON_MAX_VALUES);
    for (size_t i = 0; scanner->at < scanner->end && i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (memchr(forms[i].first, *scanner->at, strlen(forms[i].first)))
            return forms[i].scan(scanner, value);
    }
    return scan_word(scanner, value);
}

// Reads the document, or looks for the wanted position in it (scanner->found).
static int scan_document(struct scanner *scanner, struct json_object **value)
{
    scanner->at = scanner->document->text;
    scanner->end = scanner->at + scanner->document->length;
    if (scanner->document->length >= 3 && !memcmp(scanner->at, "\xef\xbb\xbf", 3))
        return fail(scanner, scanner->at, "JSON has no byte order mark");
    cleanup_free char *scratch = malloc(scanner->document->length + 1);
    scanner->scratch = scratch;
    if (!scratch)
        return no_memory(scanner->err);
    cleanup_tree struct json_object *root = NULL;
    if (scan_value(scanner, &root))
        return -1;
    skip_space(scanner);
    if (scanner->at != scanner->end)
        return unexpected(scanner, "the end of the document");
    *value = steal_pointer(&root);
    return 0;
}

static int parse(struct json_document *document, size_t max_length, struct error *err)
{
    const char *name = document->name;
    size_t length = document->length;
    // json-c takes lengths of strings as int.
    if (length > max_length || length > INT32_MAX) {
        struct tail shown = {.start = TAIL_SIZE - 1};
        tail_prepend_text(&shown, name, false);
        return error_set(err, EXIT_STATUS_BAD_FILE, 0, "%s: larger than %zu bytes",
                         shown.text + shown.start, max_length);
    }
    struct scanner scanner = {.document = document, .err = err};
    return scan_document(&scanner, &document->root);
}

int json_document_parse(struct json_document *document, const char *name, const char *text,
                        size_t length, size_t max_length, struct error *err)
{
    *document = (struct json_document){.name = name, .text = text, .length = length};
    return parse(document, max_length, err);
}

int json_document_parse_fractions(struct json_document *document, const char *name,
                                  const char *text, size_t length, size_t max_length,
                                  struct error *err)
{
    *document =
        (struct json_document){.name = name, .text = text, .length = length, .fractions = true};
    return parse(document, max_length, err);
}

void json_document_free(struct json_document *document)
{
    json_object_put(document->root);
    document->root = NULL;
}

struct json_place json_document_root(const struct json_document *document)
{
    return (struct json_place){.document = document, .value = document->root};
}

bool json_member(const struct json_place *object, const char *key, struct json_place *member)
{
    *member = (struct json_place){.document = object->document, .parent = object, .key = key};
    return json_object_object_get_ex(object->value, key, &member->value);
}

int json_refuse(const struct json_place *place, enum json_part part, struct error *err,
                const char *format, ...)
{
    char message[384];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);

    struct step path[JSON_MAX_DEPTH];
    size_t length = 0;
    for (const struct json_place *at = place; at->parent; at = at->parent)
        length++;
    if (length > JSON_MAX_DEPTH)
        return error_set(err, EXIT_STATUS_INTERNAL, 0, "JSON place too deep: %s", message);
    size_t i = length;
    for (const struct json_place *at = place; at->parent; at = at->parent)
        path[--i] = (struct step){at->key, at->index};

    // The tree has no positions: the text is read again up to the place.
    struct scanner scanner = {
        .document = place->document, .wanted = path, .wanted_length = length, .wanted_part = part};
    cleanup_tree struct json_object *unused = NULL;
    scan_document(&scanner, &unused);
    const char *at = scanner.found ? scanner.found : place->document->text;
    return refuse_at(place->document, at, path, length, message, err);
}

const char *json_excerpt(char excerpt[JSON_EXCERPT_SIZE], const char *text)
{
    size_t length = strlen(text);
    size_t used = escape_line(excerpt, JSON_EXCERPT_SIZE - 3, text, length);
    // Escaping never shortens, so a text that was cut filled nearly all of the room.
    char whole[JSON_EXCERPT_SIZE * 2];
    if (length >= JSON_EXCERPT_SIZE || escape_line(whole, sizeof(whole), text, length) > used)
        memcpy(excerpt + used, TAIL_CUT, sizeof(TAIL_CUT));
    return excerpt;
}

int json_expect(const struct json_place *place, enum json_type type, struct error *err)
{
    static const char *const names[] = {
        [json_type_null] = "null",        [json_type_boolean] = "true or false",
        [json_type_double] = "a number",  [json_type_int] = "an integer",
        [json_type_object] = "an object", [json_type_array] = "an array",
        [json_type_string] = "a string",
    };
    enum json_type found = json_object_get_type(place->value);
    if (found == type)
        return 0;
    return json_refuse(place, JSON_PART_VALUE, err, "%s is expected, found %s", names[type],
                       names[found]);
}

int json_read_text(const struct json_place *place, const char **text, struct error *err)
{
    if (json_expect(place, json_type_string, err))
        return -1;
    *text = json_object_get_string(place->value);
    if (strlen(*text) != (size_t)json_object_get_string_len(place->value))
        return json_refuse(place, JSON_PART_VALUE, err, "this text must not contain U+0000");
    return 0;
}

int json_read_bool(const struct json_place *place, bool *value, struct error *err)
{
    if (json_expect(place, json_type_boolean, err))
        return -1;
    *value = json_object_get_boolean(place->value);
    return 0;
}

int json_read_integer(const struct json_place *place, uint64_t minimum, uint64_t maximum,
                      uint64_t *value, struct error *err)
{
    if (json_expect(place, json_type_int, err))
        return -1;
    // get_int64 saturates above and get_uint64 below, so the sign is asked for first.
    bool negative = json_object_get_int64(place->value) < 0;
    *value = json_object_get_uint64(place->value);
    if (negative || *value < minimum || *value > maximum)
        return json_refuse(place, JSON_PART_VALUE, err, "%s is outside %" PRIu64 " to %" PRIu64,
                           json_object_to_json_string(place->value), minimum, maximum);
    return 0;
}

// Writes "a, b, c", cut if it is longer.
static void list_names(char *text, size_t size, const char *(*name)(const void *names, size_t i),
                       const void *names, size_t count)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < count && used < size; i++) {
        int n = snprintf(text + used, size - used, "%s%s", i ? ", " : "", name(names, i));
        used += n > 0 ? (size_t)n : 0;
    }
}

static const char *name_of_text(const void *names, size_t i)
{
    return ((const char *const *)names)[i];
}

static const char *name_of_field(const void *names, size_t i)
{
    return ((const struct json_field *)names)[i].key;
}

int json_read_name(const struct json_place *place, const char *const *names, size_t count,
                   size_t *index, struct error *err)
{
    const char *text;
    if (json_read_text(place, &text, err))
        return -1;
    for (*index = 0; *index < count; ++*index) {
        if (!strcmp(text, names[*index]))
            return 0;
    }
    char list[192];
    char excerpt[JSON_EXCERPT_SIZE];
    list_names(list, sizeof(list), name_of_text, names, count);
    return json_refuse(place, JSON_PART_VALUE, err, "'%s' is not one of: %s",
                       json_excerpt(excerpt, text), list);
}

#define NEAREST_MAX_LENGTH 31u

static size_t minimum_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

// Edits (insert, delete, replace, swap neighbours) that turn `a` into `b`; SIZE_MAX if too long.
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][NEAREST_MAX_LENGTH + 1];
    size_t a_length = strlen(a);
    size_t b_length = strlen(b);
    if (a_length > NEAREST_MAX_LENGTH || b_length > NEAREST_MAX_LENGTH)
        return SIZE_MAX;
    for (size_t k = 0; k <= b_length; k++)
        rows[0][k] = k;
    for (size_t i = 1; i <= a_length; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i - 1) % 3];
        const size_t *two_above = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t k = 1; k <= b_length; k++) {
            row[k] = minimum_of(above[k], row[k - 1]) + 1;
            row[k] = minimum_of(row[k], above[k - 1] + (a[i - 1] != b[k - 1]));
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
                row[k] = minimum_of(row[k], two_above[k - 2] + 1);
        }
    }
    return rows[a_length % 3][b_length];
}

static int refuse_unknown_key(const struct json_place *member, const struct json_field *fields,
                              size_t count, struct error *err)
{
    const char *nearest = NULL;
    // Up to one edit for every three letters of what was written, at least one.
    size_t best = strlen(member->key) / 3 + 1 + (strlen(member->key) < 3);
    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(member->key, fields[i].key);
        if (distance < best) {
            best = distance;
            nearest = fields[i].key;
        }
    }
    char list[192];
    list_names(list, sizeof(list), name_of_field, fields, count);
    return json_refuse(member, JSON_PART_KEY, err, "unknown key%s%s%s (known: %s)",
                       nearest ? ", did you mean '" : "", nearest ? nearest : "",
                       nearest ? "'?" : "", list);
}

static int check_keys(const struct json_place *object, const struct json_field *fields,
                      size_t count, struct error *err)
{
    json_object_object_foreach(object->value, key, value)
    {
        size_t i = 0;
        while (i < count && strcmp(key, fields[i].key) != 0)
            i++;
        struct json_place member = {object->document, object, key, 0, value, NULL};
        if (i == count)
            return refuse_unknown_key(&member, fields, count, err);
    }
    return 0;
}

int json_read_object(const struct json_place *object, const struct json_field *fields, size_t count,
                     void *target, struct error *err)
{
    struct json_place member;
    if (json_expect(object, json_type_object, err) || check_keys(object, fields, count, err))
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (fields[i].required && !json_member(object, fields[i].key, &member))
            return json_refuse(object, JSON_PART_VALUE, err, "missing key '%s'", fields[i].key);
    }
    for (size_t i = 0; i < count; i++) {
        if (!json_member(object, fields[i].key, &member))
            continue;
        member.field = &fields[i];
        if (fields[i].read(&member, target, err))
            return -1;
    }
    return 0;
}

int json_read_array(const struct json_place *array, size_t maximum,
                    int (*read)(const struct json_place *place, void *target, struct error *err),
                    void *target, struct error *err)
{
    if (json_expect(array, json_type_array, err))
        return -1;
    size_t count = json_object_array_length(array->value);
    if (count > maximum)
        return json_refuse(array, JSON_PART_VALUE, err, "%zu elements, at most %zu are possible",
                           count, maximum);
    for (size_t i = 0; i < count; i++) {
        struct json_place element = {
            array->document, array, NULL, i, json_object_array_get_idx(array->value, i), NULL};
        if (read(&element, target, err))
            return -1;
    }
    return 0;
}

int json_field_u32(const struct json_place *place, void *target, struct error *err)
{
    uint64_t read;
    if (json_read_integer(place, place->field->minimum, place->field->maximum, &read, err))
        return -1;
    uint32_t number = (uint32_t)read;
    memcpy((char *)target + place->field->offset, &number, sizeof(number));
    return 0;
}

int json_field_u64(const struct json_place *place, void *target, struct error *err)
{
    uint64_t number;
    if (json_read_integer(place, place->field->minimum, place->field->maximum, &number, err))
        return -1;
    memcpy((char *)target + place->field->offset, &number, sizeof(number));
    return 0;
}

int json_field_bool(const struct json_place *place, void *target, struct error *err)
{
    bool flag;
    if (json_read_bool(place, &flag, err))
        return -1;
    memcpy((char *)target + place->field->offset, &flag, sizeof(flag));
    return 0;
}
