// SPDX-License-Identifier: Apache-2.0
// The inference program: what its options ask for, on any platform.

#include "options.h"
#include "output.h"
#include "platform.h"
#include "serve.h"
#include "session.h"

#include <inttypes.h>
#include <string.h>

/* What the commands below work with. */
struct program {
    const struct llm_platform *platform;
    struct llm_options options;
    struct llm_output output;
    struct llm_session session;
    const char *prompt; /* not NUL-terminated */
    size_t prompt_length;
    size_t prompt_tokens; /* in session.ids */
};

/* Reads a line from the input; the newline and what follows it are dropped. */
static int read_prompt(struct program *program, struct llm_error *err)
{
    const struct llm_platform *platform = program->platform;
    char *line = program->session.line;
    size_t limit = program->session.tokenizer.text_limit;
    size_t length = 0;

    while (length <= limit) { /* one byte more than fits shows that the line is too long */
        long received = platform->read(platform->context, line + length, limit + 1 - length);
        if (received < 0 || (size_t)received > limit + 1 - length) {
            return llm_fail(err, "the prompt cannot be read from the input");
        }
        if (received == 0) {
            break;
        }
        const char *newline = memchr(line + length, '\n', (size_t)received);
        if (newline != NULL) {
            length = (size_t)(newline - line);
            break;
        }
        length += (size_t)received;
    }
    program->prompt = line;
    program->prompt_length = length;
    return 0;
}

static int prepare_prompt(struct program *program, struct llm_error *err)
{
    struct llm_session *session = &program->session;

    program->prompt = program->options.prompt;
    program->prompt_length = strlen(program->prompt);
    if (strcmp(program->prompt, "-") == 0 && read_prompt(program, err) != 0) {
        return -1;
    }
    if (llm_tokenize(&session->tokenizer, program->prompt, program->prompt_length, true,
                     session->ids, session->config.context, &program->prompt_tokens, err) != 0) {
        return -1;
    }
    if (program->prompt_tokens == 0) {
        return llm_fail(err, "the prompt has no tokens");
    }
    return 0;
}

static void describe_tensors(struct program *program)
{
    const struct gguf_file *file = &program->session.file;
    uint64_t parameters = 0;

    for (size_t index = 0; index < llm_type_count(); index++) {
        const struct llm_type *type = llm_type_at(index);
        struct gguf_place place = {0};
        uint64_t bytes = 0;
        uint32_t tensors = 0;
        for (uint32_t number = 0; number < file->tensor_count; number++) {
            struct gguf_tensor tensor;
            struct llm_error ignored; /* gguf_open has seen them all */
            if (gguf_next_tensor(file, &place, &tensor, &ignored) == 0 && tensor.type == type) {
                tensors++;
                bytes += tensor.bytes;
                parameters += tensor.bytes / type->block_bytes * type->block_elements;
            }
        }
        if (tensors > 0) {
            llm_output_print(&program->output,
                             "tensors of type %s: %" PRIu32 ", %" PRIu64 " bytes\n", type->name,
                             tensors, bytes);
        }
    }
    llm_output_print(&program->output, "parameters: %" PRIu64 "\n", parameters);
}

static int describe(struct program *program, struct llm_error *err)
{
    const struct llm_platform *platform = program->platform;
    const struct llm_config *config = &program->session.config;
    struct llm_output *output = &program->output;
    uint64_t memory;

    if (llm_memory_needed(platform->weights, platform->weights_count, config->context, &memory,
                          err) != 0) {
        return -1;
    }
    llm_output_print(output, "architecture: %s\n", config->family->name);
    describe_tensors(program);
    llm_output_print(output, "vocabulary: %" PRIu32 "\n", config->vocabulary);
    llm_output_print(output, "layers: %" PRIu32 "\n", config->layers);
    llm_output_print(output, "embedding: %" PRIu32 "\n", config->embedding);
    llm_output_print(output, "feed-forward: %" PRIu32 "\n", config->feed_forward);
    llm_output_print(output, "heads: %" PRIu32 " of %" PRIu32 "\n", config->heads,
                     config->head_size);
    llm_output_print(output, "key and value heads: %" PRIu32 "\n", config->key_value_heads);
    llm_output_print(output, "context: %" PRIu32 " of %" PRIu32 "\n", config->context,
                     config->context_trained);
    if (config->window != 0) {
        llm_output_print(output, "window: %" PRIu32 "\n", config->window);
    }
    llm_output_print(output, "memory besides the weights: %" PRIu64 " bytes\n", memory);
    return 0;
}

static int write_tokens(struct program *program, struct llm_error *err)
{
    (void)err;
    for (size_t index = 0; index < program->prompt_tokens; index++) {
        llm_output_print(&program->output, "%s%" PRIu32, index == 0 ? "" : " ",
                         program->session.ids[index]);
    }
    llm_output_bytes(&program->output, "\n", 1);
    return 0;
}

static void write_logits_line(void *argument, const float *logits)
{
    struct program *program = argument;
    llm_output_hexadecimal(&program->output, logits,
                           program->session.config.vocabulary * sizeof(float));
    llm_output_bytes(&program->output, "\n", 1);
}

static int write_logits(struct program *program, struct llm_error *err)
{
    struct llm_session *session = &program->session;
    bool last = program->options.last;

    (void)err;
    llm_session_prefill(session, session->ids, (uint32_t)program->prompt_tokens,
                        last ? NULL : write_logits_line, program);
    if (last) {
        write_logits_line(program, session->model.logits);
    }
    return 0;
}

static int generate(struct program *program, struct llm_error *err)
{
    const struct llm_options *options = &program->options;
    struct llm_session *session = &program->session;
    struct llm_output *output = &program->output;
    uint32_t position = (uint32_t)program->prompt_tokens;
    char text[LLM_PIECE_BYTES_MAX];

    if (!options->no_echo) {
        llm_output_bytes(output, program->prompt, program->prompt_length);
        llm_output_flush_characters(output);
    }
    llm_sampler_start(&session->sampler, session->model.vector, (float)options->temperature,
                      (float)options->top_p, options->seed);
    llm_session_prefill(session, session->ids, position, NULL, NULL);

    for (uint64_t token = 0; token < options->tokens && !output->failed; token++) {
        uint32_t id;
        if (llm_sampler_choose(&session->sampler, session->model.logits, &id, err) != 0) {
            return -1;
        }
        if (id == session->tokenizer.end && !options->ignore_eos) {
            break;
        }
        llm_output_bytes(output, text, llm_token_text(&session->tokenizer, id, text));
        llm_output_flush_characters(output);
        if (position == session->config.context || token + 1 == options->tokens) {
            break;
        }
        llm_model_advance(&session->model, &id, position, 1);
        llm_model_logits(&session->model, 0);
        position++;
    }
    llm_output_bytes(output, "\n", 1);
    return 0;
}

static int execute(struct program *program, struct llm_error *err)
{
    const struct llm_platform *platform = program->platform;
    const struct llm_options *options = &program->options;

    if (llm_session_open(&program->session, platform->weights, platform->weights_count,
                         (uint32_t)options->context, err) != 0) {
        return -1;
    }
    if (options->info) {
        return describe(program, err);
    }
    if (llm_session_load(&program->session, platform, err) != 0) {
        return -1;
    }
    if (options->serve) {
        return platform->service == NULL
                   ? llm_fail(err, "--serve needs a serve port")
                   : llm_serve(&program->session, platform->service, options, err);
    }
    if (prepare_prompt(program, err) != 0) {
        return -1;
    }
    if (options->tokenize) {
        return write_tokens(program, err);
    }
    return options->logits ? write_logits(program, err) : generate(program, err);
}

int llm_main(const struct llm_platform *platform)
{
    struct program program;
    struct llm_error err;

    program.platform = platform;
    llm_output_start(&program.output, platform);
    if (llm_options_parse(&program.options, platform->argc, platform->argv, &err) != 0) {
        llm_output_print(&program.output, "error: %s\n", err.text);
        llm_output_bytes(&program.output, llm_options_usage, strlen(llm_options_usage));
        (void)llm_output_flush(&program.output);
        return LLM_EXIT_USAGE;
    }
    if (program.options.help) {
        llm_output_bytes(&program.output, llm_options_usage, strlen(llm_options_usage));
        return llm_output_flush(&program.output) == 0 ? LLM_EXIT_OK : LLM_EXIT_FAILURE;
    }

    int status = execute(&program, &err);
    if (status != 0) {
        llm_output_print(&program.output, "error: %s\n", err.text);
    }
    if (llm_output_flush(&program.output) != 0) {
        status = -1;
    }
    return status == 0 ? LLM_EXIT_OK : LLM_EXIT_FAILURE;
}
