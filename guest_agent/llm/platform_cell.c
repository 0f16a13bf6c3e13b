// SPDX-License-Identifier: Apache-2.0
// The inference program in a cell: weights from the boot info, output through the console port.

#include "platform.h"

#include <guillotine/cell.h>
#include <guillotine/serve.h>
#include <string.h>

// How long a serve port may be down: tries with so many pauses of the processor between them, some
// seconds in all.
#define TRIES       200u
#define PAUSES      1000000u
#define WEIGHTS_MAX 16 // files; as many as a VM can have

static void run(void *context, void (*function)(void *argument, unsigned worker), void *argument)
{
    (void)context;
    cell_run(function, argument);
}

static int write_output(void *context, const void *data, size_t length)
{
    (void)context;
    return cell_console_write(data, length) ? -1 : 0;
}

static long read_input(void *context, void *data, size_t length)
{
    (void)context;
    return cell_console_read(data, length);
}

_Static_assert(LLM_CALL_DEFAULT == CELL_SERVE_DEFAULT, "numbers are passed on");

static enum llm_call_state state_of(int status)
{
    switch (status) {
    case PORT_STATUS_OK:
        return LLM_CALL_GOES_ON;
    case PORT_STATUS_CLOSED: // dropped by a level; what comes next tells whether for good
    case PORT_STATUS_DOWN:
    case PORT_STATUS_LOST:
    case PORT_STATUS_TIMED_OUT:
    case PORT_STATUS_BROKEN:
        return LLM_CALL_OVER;
    case PORT_STATUS_DENIED:
        return LLM_CALL_WHOLE;
    default:
        return LLM_CALL_FAILED;
    }
}

// The process behind the port is down: it may come back. There is no clock to sleep by.
static bool wait_a_while(unsigned *tries)
{
    for (unsigned i = 0; i < PAUSES; i++)
        __builtin_ia32_pause();
    return ++*tries <= TRIES;
}

static enum llm_call_state receive_call(void *context, struct llm_call *call)
{
    static unsigned tries;
    struct cell_serve_call received;
    int status = cell_serve_receive(context, &received);
    *call = (struct llm_call){0};
    if (status == PORT_STATUS_DOWN || status == PORT_STATUS_LOST)
        return wait_a_while(&tries) ? LLM_CALL_GOES_ON : LLM_CALL_FAILED;
    tries = 0;
    if (status != PORT_STATUS_OK)
        return state_of(status) == LLM_CALL_FAILED ? LLM_CALL_FAILED : LLM_CALL_GOES_ON;
    *call = (struct llm_call){
        .number = received.call,
        .client = received.client,
        .chat = received.chat,
        .parts = received.parts,
        .parts_length = received.parts_length,
        .text = received.text,
        .text_length = received.text_length,
        .limit = received.limit,
        .temperature_milli = received.temperature_milli,
        .top_p_milli = received.top_p_milli,
        .seed = received.seed,
    };
    return LLM_CALL_GOES_ON;
}

static enum llm_call_state send_piece(void *context, uint64_t number, const char *text,
                                      size_t length)
{
    return state_of(cell_serve_piece(context, number, text, length));
}

// One that policy denied, or that came too late, is over: there is nothing else to say.
static enum llm_call_state send_answer(void *context, uint64_t number, const char *text,
                                       size_t length, const struct llm_finish *finish)
{
    int status = cell_serve_answer(context, number, text, length, finish->how,
                                   finish->prompt_tokens, finish->reply_tokens);
    return state_of(status) == LLM_CALL_FAILED ? LLM_CALL_FAILED : LLM_CALL_GOES_ON;
}

// The first serve port there is, whatever its name. Returns false without one.
static bool open_service(struct cell_port *port, struct llm_service *service)
{
    const struct cell_boot_info *boot = cell_boot();
    const struct port_table_entry *ports = (const void *)(boot + 1);
    for (uint32_t i = 0; i < boot->port_count; i++) {
        if (ports[i].kind != PORT_KIND_SERVE || cell_port_open(port, ports[i].name))
            continue;
        *service = (struct llm_service){
            .receive = receive_call,
            .piece = send_piece,
            .answer = send_answer,
            .text_max = cell_serve_text_max(port),
            .context = port,
        };
        return true;
    }
    return false;
}

static uint64_t isa_of_cell(uint64_t cell)
{
    static const struct {
        uint64_t cell;
        uint64_t llm;
    } sets[] = {
        {CELL_ISA_AVX2, LLM_ISA_AVX2},
        {CELL_ISA_FMA, LLM_ISA_FMA},
        {CELL_ISA_F16C, LLM_ISA_F16C},
        {CELL_ISA_AVX512F, LLM_ISA_AVX512F},
        {CELL_ISA_AVX512BW, LLM_ISA_AVX512BW},
        {CELL_ISA_AVX512VL, LLM_ISA_AVX512VL},
        {CELL_ISA_AVX512VNNI, LLM_ISA_AVX512VNNI},
    };
    uint64_t isa = 0;
    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
        isa |= cell & sets[i].cell ? sets[i].llm : 0;
    return isa;
}

int main(int argc, char **argv)
{
    const struct cell_boot_info *boot = cell_boot();
    struct llm_weights weights[WEIGHTS_MAX];
    if (boot->weights_count < 1 || boot->weights_count > WEIGHTS_MAX) {
        cell_print("llm: give a model as weights file (run --weights MODEL.gguf)");
        return LLM_EXIT_FAILURE;
    }
    for (uint32_t i = 0; i < boot->weights_count; i++)
        weights[i] =
            (struct llm_weights){(const void *)boot->weights[i].address, boot->weights[i].bytes};
    size_t arena_length = cell_heap_left() & ~(size_t)4095;
    if (arena_length > 4096)
        arena_length -= 4096;
    struct cell_port port;
    struct llm_service service;
    bool serves = open_service(&port, &service);
    struct llm_platform platform = {
        .weights = weights,
        .weights_count = boot->weights_count,
        .arena = cell_allocate(arena_length, 64),
        .arena_length = arena_length,
        .workers = boot->vcpus,
        .isa = isa_of_cell(boot->isa),
        .argc = argc - 1,
        .argv = argv + 1,
        .run = run,
        .write = write_output,
        .read = read_input,
        .service = serves ? &service : NULL,
    };
    return llm_main(&platform);
}
