// SPDX-License-Identifier: Apache-2.0
// The families of chat templates.

/* Sources: the chat templates that the models are published with, of which docs/models.md names
 * one for each family; for vicuna the conversation format of its training program, for alpaca the
 * prompt of its data set. Texts that a template adds by itself (a standard system message, the
 * date) are not added here: what the client sends is what the model gets. */

#include "chat_template.h"

#define BEGIN LLM_CHAT_BEGIN
#define END   LLM_CHAT_END

#define CHATML(role)                                                                               \
    {                                                                                              \
        "<|im_start|>" role "\n", "<|im_end|>\n"                                                   \
    }
#define LLAMA3(role)                                                                               \
    {                                                                                              \
        "<|start_header_id|>" role "<|end_header_id|>\n\n", "<|eot_id|>"                           \
    }
#define ZEPHYR(role)                                                                               \
    {                                                                                              \
        "<|" role "|>\n", END "\n"                                                                 \
    }

const struct llm_chat_template llm_chat_templates[] = {
    {
        .name = "chatml",
        .marks = {"<|im_start|>"},
        .markup =
            {
                [LLM_CHAT_SYSTEM] = CHATML("system"),
                [LLM_CHAT_USER] = CHATML("user"),
                [LLM_CHAT_ASSISTANT] = CHATML("assistant"),
                [LLM_CHAT_TOOL] = {"<|im_start|>user\n<tool_response>\n",
                                   "\n</tool_response><|im_end|>\n"},
            },
        .reply = "<|im_start|>assistant\n",
        .stops = {"<|im_end|>", "<|endoftext|>"},
    },
    {
        .name = "llama3",
        .marks = {"<|start_header_id|>", "<|end_header_id|>"},
        .trim = LLM_CHAT_TRIM_ALL,
        .markup =
            {
                [LLM_CHAT_SYSTEM] = LLAMA3("system"),
                [LLM_CHAT_USER] = LLAMA3("user"),
                [LLM_CHAT_ASSISTANT] = LLAMA3("assistant"),
                [LLM_CHAT_TOOL] = LLAMA3("ipython"),
            },
        .reply = "<|start_header_id|>assistant<|end_header_id|>\n\n",
        .stops = {"<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"},
    },
    {
        .name = "mistral-v7",
        .marks = {"[INST]", "[SYSTEM_PROMPT]"},
        .markup =
            {
                [LLM_CHAT_SYSTEM] = {"[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"},
                [LLM_CHAT_USER] = {"[INST]", "[/INST]"},
                [LLM_CHAT_ASSISTANT] = {"", END},
                [LLM_CHAT_TOOL] = {"[TOOL_RESULTS]", "[/TOOL_RESULTS]"},
            },
        .reply = "",
    },
    {
        .name = "llama2",
        .marks = {"[INST]", "<<SYS>>"},
        .system = LLM_CHAT_SYSTEM_NEXT,
        .trim = LLM_CHAT_TRIM_ALL,
        .begin_in_markup = true,
        .markup =
            {
                [LLM_CHAT_SYSTEM] = {"<<SYS>>\n", "\n<</SYS>>\n\n"},
                [LLM_CHAT_USER] = {BEGIN "[INST] ", " [/INST]"},
                [LLM_CHAT_ASSISTANT] = {" ", " " END},
                [LLM_CHAT_TOOL] = {BEGIN "[INST] ", " [/INST]"},
            },
        .reply = "",
    },
    {
        .name = "mistral-tekken",
        .marks = {"\"[INST]\"", "[AVAILABLE_TOOLS]"},
        .system = LLM_CHAT_SYSTEM_LAST,
        .markup =
            {
                [LLM_CHAT_SYSTEM] = {"", "\n\n"},
                [LLM_CHAT_USER] = {"[INST]", "[/INST]"},
                [LLM_CHAT_ASSISTANT] = {"", END},
                [LLM_CHAT_TOOL] = {"[TOOL_RESULTS]", "[/TOOL_RESULTS]"},
            },
        .reply = "",
    },
    {
        .name = "mistral-v3",
        .marks = {"[INST]", "[AVAILABLE_TOOLS]"},
        .system = LLM_CHAT_SYSTEM_LAST,
        .trim = LLM_CHAT_TRIM_REPLIES,
        .markup =
            {
                [LLM_CHAT_SYSTEM] = {"", "\n\n"},
                [LLM_CHAT_USER] = {"[INST] ", "[/INST]"},
                [LLM_CHAT_ASSISTANT] = {" ", END},
                [LLM_CHAT_TOOL] = {"[TOOL_RESULTS] ", "[/TOOL_RESULTS]"},
            },
        .reply = "",
    },
    {
        .name = "mistral-v1",
        .marks = {"[INST]", "[/INST]"},
        .system = LLM_CHAT_SYSTEM_NEXT,
        .markup =
            {
                [LLM_CHAT_SYSTEM] = {"", "\n\n"},
                [LLM_CHAT_USER] = {"[INST] ", " [/INST]"},
                [LLM_CHAT_ASSISTANT] = {" ", END},
                [LLM_CHAT_TOOL] = {"[INST] ", " [/INST]"},
            },
        .reply = "",
    },
    {
        .name = "zephyr",
        .marks = {"<|user|>", "<|assistant|>"},
        .other = "<|end|>", /* then messages do not end with the token that ends a text */
        .markup =
            {
                [LLM_CHAT_SYSTEM] = ZEPHYR("system"),
                [LLM_CHAT_USER] = ZEPHYR("user"),
                [LLM_CHAT_ASSISTANT] = ZEPHYR("assistant"),
                [LLM_CHAT_TOOL] = ZEPHYR("user"),
            },
        .reply = "<|assistant|>\n",
    },
    {
        /* The bars are U+FF5C. */
        .name = "deepseek",
        .marks = {"<\xef\xbd\x9cUser\xef\xbd\x9c>", "<\xef\xbd\x9c"
                                                    "Assistant\xef\xbd\x9c>"},
        .markup =
            {
                [LLM_CHAT_SYSTEM] = {"", ""},
                [LLM_CHAT_USER] = {"<\xef\xbd\x9cUser\xef\xbd\x9c>", ""},
                [LLM_CHAT_ASSISTANT] = {"<\xef\xbd\x9c"
                                        "Assistant\xef\xbd\x9c>",
                                        END},
                [LLM_CHAT_TOOL] = {"<\xef\xbd\x9cUser\xef\xbd\x9c>", ""},
            },
        .reply = "<\xef\xbd\x9c"
                 "Assistant\xef\xbd\x9c>",
    },
    {
        .name = "vicuna",
        .marks = {"USER: ", "ASSISTANT: "},
        .markup =
            {
                [LLM_CHAT_SYSTEM] = {"", " "},
                [LLM_CHAT_USER] = {"USER: ", " "},
                [LLM_CHAT_ASSISTANT] = {"ASSISTANT: ", END},
                [LLM_CHAT_TOOL] = {"USER: ", " "},
            },
        .reply = "ASSISTANT:",
    },
    {
        .name = "alpaca",
        .marks = {"### Instruction:", "### Response:"},
        .markup =
            {
                [LLM_CHAT_SYSTEM] = {"", "\n\n"},
                [LLM_CHAT_USER] = {"### Instruction:\n", "\n\n"},
                [LLM_CHAT_ASSISTANT] = {"### Response:\n", END "\n\n"},
                [LLM_CHAT_TOOL] = {"### Input:\n", "\n\n"},
            },
        .reply = "### Response:\n",
    },
    {
        .name = "none",
        .markup =
            {
                [LLM_CHAT_SYSTEM] = {"system: ", "\n"},
                [LLM_CHAT_USER] = {"user: ", "\n"},
                [LLM_CHAT_ASSISTANT] = {"assistant: ", "\n"},
                [LLM_CHAT_TOOL] = {"tool: ", "\n"},
            },
        .reply = "assistant:",
    },
};

const size_t llm_chat_template_count = sizeof(llm_chat_templates) / sizeof(llm_chat_templates[0]);
