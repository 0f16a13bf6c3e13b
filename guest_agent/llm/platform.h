// SPDX-License-Identifier: Apache-2.0
// What the inference program needs from the place it runs in (a cell, or a Linux process).

#ifndef LLM_PLATFORM_H
#define LLM_PLATFORM_H

#include "error.h"
#include "service.h"

#include <stddef.h>
#include <stdint.h>

/* Instruction sets the platform has found present and enabled (the operating system, or the VMM,
 * must also save the wide registers). A kernel is chosen only if every set it needs is here. */
#define LLM_ISA_AVX2       (UINT64_C(1) << 0)
#define LLM_ISA_FMA        (UINT64_C(1) << 1)
#define LLM_ISA_F16C       (UINT64_C(1) << 2)
#define LLM_ISA_AVX512F    (UINT64_C(1) << 3)
#define LLM_ISA_AVX512BW   (UINT64_C(1) << 4)
#define LLM_ISA_AVX512VL   (UINT64_C(1) << 5)
#define LLM_ISA_AVX512VNNI (UINT64_C(1) << 6)

/* Exit statuses of llm_main. */
#define LLM_EXIT_OK      0
#define LLM_EXIT_FAILURE 1 /* the model is unusable, memory is short, or input or output failed */
#define LLM_EXIT_USAGE   2 /* the arguments are wrong */

/* A file of the model. */
struct llm_weights {
    const void *data; /* all of it, read-only, any alignment */
    size_t length;    /* bytes */
};

/* Everything here belongs to the platform and must stay valid until llm_main returns. */
struct llm_platform {
    const struct llm_weights *weights; /* the GGUF file, or the files of a split model, in order */
    size_t weights_count;              /* of the files, at least 1 */
    void *arena;         /* zeroed memory for everything else, at least 64-byte aligned */
    size_t arena_length; /* bytes; llm_memory_needed() tells how many */
    unsigned workers;    /* at least 1; worker 0 is the caller of llm_main */
    uint64_t isa;        /* LLM_ISA_* bits */
    int argc;            /* the program's own arguments: argv[0] is the first option, */
    char **argv;         /* not a program name; argv[argc] is not read */

    /* All workers, 0 to workers - 1, call function(argument, worker) once; returns after the last
     * of them has returned, and what they wrote is then visible to every worker. */
    void (*run)(void *context, void (*function)(void *argument, unsigned worker), void *argument);

    /* Standard output: takes the whole buffer. Returns 0 or -1. */
    int (*write)(void *context, const void *data, size_t length);

    /* Standard input: returns the number of bytes read (at least 1), 0 at the end, -1 on error. */
    long (*read)(void *context, void *data, size_t length);

    void *context; /* passed to the three functions above */

    const struct llm_service *service; /* for --serve; NULL: there are no clients */
};

/* Runs the program: reads the arguments and the model, writes its text (error messages too, there
 * is one output only). Allocates from the arena alone and keeps nothing afterwards. Returns an exit
 * status, one of LLM_EXIT_*. */
int llm_main(const struct llm_platform *platform);

/* Stores in *bytes the arena length llm_main needs for the model of the `count` files at `weights`
 * and for a context of `context` tokens (0: the context llm_main takes without --context). Returns
 * 0, or -1 with *err filled if the model is not one that llm_main could run. Allocates nothing. */
int llm_memory_needed(const struct llm_weights *weights, size_t count, uint32_t context,
                      uint64_t *bytes, struct llm_error *err);

#endif
