// SPDX-License-Identifier: Apache-2.0
// Fuzzes policy documents: any bytes give an error or a table that checks out, that decides any
// request, and that is as tight as itself.
#include <stdlib.h>
#include <string.h>

#include "policy_diff.h"
#include "policy_document.h"
#include "policy_engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require_that(int condition)
{
    if (!condition)
        abort();
}

static void must_not_differ(void *context, const struct policy_difference *difference)
{
    (void)context;
    (void)difference;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct policy_document document = {0};
    struct error err = {0};
    if (policy_document_parse("fuzz", (const char *)data, size, &document, &err) < 0) {
        require_that(err.status != 0 && err.text[0]);
        return 0;
    }
    for (unsigned i = 0; i < POLICY_MAX_PORTS && document.arrays.table->ports[i].name[0]; i++) {
        static struct policy_memory memory;
        require_that(memory.base || policy_memory_open(&memory, &err) == 0);
        policy_memory_reset(&memory);
        struct policy_engine *engine = policy_engine_create(
            &document.arrays, document.arrays.table->ports[i].name, &clock_host, &memory, &err);
        require_that(engine || err.text[0]);
        for (uint32_t operation = 0; engine && operation < 4; operation++) {
            const struct policy_view view = {operation, (uint32_t)size, (uint32_t)size % 300, data};
            uint32_t taken = 0;
            if (view.length <= size)
                policy_engine_decide(engine, &view, operation & 1, 0, &taken);
        }
    }
    policy_diff(&document.arrays, &document.arrays, must_not_differ, NULL);
    policy_document_free(&document);
    return 0;
}
