// SPDX-License-Identifier: Apache-2.0
// The constants of the exponential that the vector operations compute, scalar and wide alike.

#ifndef LLM_EXPONENTIAL_H
#define LLM_EXPONENTIAL_H

/* exp(x) = 2^n * exp(r) with n = round(x / ln 2) and |r| <= ln(2) / 2, and exp(r) by its Taylor
 * polynomial of degree 7: what is left out is below 0.347^8 / 8! = 5.2e-9, a tenth of a unit in the
 * last place. libm's expf is as good, but a call per element: attention and sampling would cost as
 * much as the matrices of a small model.
 *
 * Arguments are clamped to the range in which 2^n is a normal float. */
#define EXP_MINIMUM    (-87.0f)
#define EXP_MAXIMUM    88.0f
#define EXP_LOG2_E     1.44269504088896340736f
#define EXP_LN2_HIGH   0.693359375f /* 9 significant bits: n times this is exact */
#define EXP_LN2_LOW    (-2.12194440054690583e-4f)
#define EXP_ROUND      12582912.0f /* 1.5 * 2^23: adding it rounds to an integer in the low bits */
#define EXP_ROUND_BITS 0x4b400000  /* the same number as bits */
#define EXP_BIAS       127
#define EXP_TERM_2     (1.0f / 2.0f)
#define EXP_TERM_3     (1.0f / 6.0f)
#define EXP_TERM_4     (1.0f / 24.0f)
#define EXP_TERM_5     (1.0f / 120.0f)
#define EXP_TERM_6     (1.0f / 720.0f)
#define EXP_TERM_7     (1.0f / 5040.0f)

#endif
