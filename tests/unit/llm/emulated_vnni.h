// SPDX-License-Identifier: Apache-2.0
// The two instructions of AVX-512 VNNI that kernels use, by SIMDe: included before kernel files.

#ifndef LLM_TEST_EMULATED_VNNI_H
#define LLM_TEST_EMULATED_VNNI_H

#define LLM_VNNI_EMULATED 1

#include <immintrin.h>
#include <simde/x86/avx512/dpbusd.h>
#include <simde/x86/avx512/dpwssd.h>
#include <string.h>

#define EMULATE(name, function)                                                                    \
    __attribute__((unused, noinline, target("avx2"))) static __m256i name(                         \
        __m256i sum, __m256i left, __m256i right)                                                  \
    {                                                                                              \
        simde__m256i operands[3];                                                                  \
        memcpy(&operands[0], &sum, sizeof(sum));                                                   \
        memcpy(&operands[1], &left, sizeof(left));                                                 \
        memcpy(&operands[2], &right, sizeof(right));                                               \
        operands[0] = function(operands[0], operands[1], operands[2]);                             \
        memcpy(&sum, &operands[0], sizeof(sum));                                                   \
        return sum;                                                                                \
    }

EMULATE(emulated_dpbusd, simde_mm256_dpbusd_epi32)
EMULATE(emulated_dpwssd, simde_mm256_dpwssd_epi32)

#endif
