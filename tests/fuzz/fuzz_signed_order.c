// SPDX-License-Identifier: Apache-2.0
// Fuzzes the reader of signed orders: any bytes give an error or an order, and what is read has one
// form only: written again, it is the very bytes that were read.
#include <stdlib.h>
#include <string.h>

#include "order_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require_that(int condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct signed_order file;
    struct level_event event;
    struct error err = {0};
    char *text = NULL;
    if (signed_order_parse("fuzz.json", (const char *)data, size, &file, &err)) {
        require_that(err.status == EXIT_STATUS_BAD_FILE);
        require_that(!memchr(err.text, '\n', strlen(err.text)));
        return 0;
    }
    require_that(signed_order_format(&file, &text, &err) == 0);
    size_t length = strlen(text); // with the newline, which the file may lack
    require_that(length == size || length == size + 1);
    require_that(!memcmp(text, data, size));
    free(text);

    // Nobody's keys: whatever was read, it is not an order of this set.
    static const uint8_t vm[16];
    struct level_key_set keys = {.version = 1, .keys = 1, .raise = 1, .lower = 1};
    memset(keys.key[0], 0x55, 32);
    const struct level_order_context context = {
        .key_set = &keys,
        .vm = vm,
        .level = (enum level)file.order.from,
        .now_s = file.order.issued_s,
    };
    uint32_t refusal =
        level_order_check(&file.order, file.list.signatures, file.list.count, &context, &event);
    require_that(refusal || event.signatures == 0);
    return 0;
}
