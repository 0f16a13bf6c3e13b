// SPDX-License-Identifier: Apache-2.0
// Models split into several files: names only, the program in the cell checks what is in them.

#include "weights_parts.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exit_status.h"

#define DIGITS      5
#define TAIL_LENGTH (sizeof("-00001-of-00003.gguf") - 1)
#define PART_AT     1 // in the tail
#define COUNT_AT    10

// The number in DIGITS digits, or 0 if they are none.
static unsigned read_number(const char *text)
{
    unsigned number = 0;
    for (unsigned i = 0; i < DIGITS; i++) {
        if (!isdigit((unsigned char)text[i]))
            return 0;
        number = number * 10 + (unsigned)(text[i] - '0');
    }
    return number;
}

unsigned weights_parts_count(const char *path, unsigned *part)
{
    size_t length = strlen(path);
    if (length <= TAIL_LENGTH)
        return 0;
    const char *tail = path + length - TAIL_LENGTH;
    unsigned count = read_number(tail + COUNT_AT);
    *part = read_number(tail + PART_AT);
    if (tail[0] != '-' || strncmp(tail + PART_AT + DIGITS, "-of-", 4) != 0 ||
        strcmp(tail + COUNT_AT + DIGITS, ".gguf") != 0)
        return 0;
    return count >= 2 && *part >= 1 && *part <= count ? count : 0;
}

char *weights_parts_path(const char *path, unsigned part)
{
    char *copy = strdup(path);
    char digits[DIGITS + 1];
    if (!copy)
        return NULL;
    snprintf(digits, sizeof(digits), "%0*u", DIGITS, part % 100000);
    memcpy(copy + strlen(copy) - TAIL_LENGTH + PART_AT, digits, DIGITS);
    return copy;
}

// Inserts the parts 2 to `count` after the first, which is weights file `first`.
static int insert_parts(struct vm_description *vm, uint32_t first, unsigned count,
                        struct error *err)
{
    const struct vm_weights *model = &vm->weights[first];
    if (count - 1 > VMM_MAX_WEIGHTS - vm->weights_count)
        return error_set(err, EXIT_STATUS_BAD_FILE, 0,
                         "weights %s: a model of %u files; a VM has at most %u weights files",
                         model->path, count, VMM_MAX_WEIGHTS);
    for (unsigned part = 2; part <= count; part++) {
        uint32_t place = first + part - 1;
        char *path = weights_parts_path(model->path, part);
        if (!path)
            return error_set(err, EXIT_STATUS_RESOURCES, ENOMEM, "weights");
        memmove(&vm->weights[place + 1], &vm->weights[place],
                (vm->weights_count - place) * sizeof(vm->weights[0]));
        vm->weights[place] = *model;
        vm->weights[place].path = path;
        vm->weights_count++;
    }
    return 0;
}

static bool second_follows(const struct vm_description *vm, uint32_t first)
{
    char *second = weights_parts_path(vm->weights[first].path, 2);
    bool follows =
        second && first + 1 < vm->weights_count && !strcmp(vm->weights[first + 1].path, second);
    free(second);
    return follows;
}

int weights_parts_complete(struct vm_description *vm, struct error *err)
{
    for (uint32_t i = 0; i < vm->weights_count; i++) {
        unsigned part = 0;
        unsigned count = weights_parts_count(vm->weights[i].path, &part);
        if (count && part == 1 && !second_follows(vm, i) && insert_parts(vm, i, count, err) < 0)
            return -1;
    }
    return 0;
}
