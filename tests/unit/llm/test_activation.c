// SPDX-License-Identifier: Apache-2.0
// Tests of the conversion of vectors to integers.

#include "activation.h"
#include "platform.h"
#include "support.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS 768

static const enum llm_form forms[] = {LLM_FORM_INTEGERS_32, LLM_FORM_INTEGERS_256};

static bool processor_converts(void)
{
    const uint64_t needed = LLM_ISA_AVX2 | LLM_ISA_FMA | LLM_ISA_F16C;
    return (test_isa() & needed) == needed;
}

static uint8_t *convert(enum llm_form form, const float *vector)
{
    uint8_t *converted =
        aligned_alloc(LLM_ACTIVATION_ALIGNMENT, llm_activation_bytes(form, COLUMNS));
    cr_assert_not_null(converted);
    llm_activation_convert(form, vector, COLUMNS, converted);
    return converted;
}

static float scale_at(const uint8_t *converted, enum llm_form form, size_t column)
{
    float scale;
    size_t block = column / llm_activation_block(form);
    memcpy(&scale, converted + llm_activation_scales(COLUMNS) + block * sizeof(scale),
           sizeof(scale));
    return scale;
}

/* Every element within half a step, the largest of a block at 127, and sums of what is there. */
static void check(enum llm_form form, const float *vector)
{
    uint8_t *converted = convert(form, vector);
    const uint8_t *sums = converted + llm_activation_sums(form, COLUMNS);
    size_t block = llm_activation_block(form);
    size_t unit = form == LLM_FORM_INTEGERS_32 ? 32 : 16;

    for (size_t first = 0; first < COLUMNS; first += block) {
        double largest = 0.0;
        for (size_t column = first; column < first + block; column++) {
            largest = fmax(largest, fabs((double)vector[column]));
        }
        double scale = (double)scale_at(converted, form, first);
        cr_expect_float_eq(scale, largest / 127.0, largest / 127.0 * 0x1p-23 + 0x1p-149);
        for (size_t column = first; column < first + block; column++) {
            int integer = (int8_t)converted[column];
            double difference = fabs(scale * integer - (double)vector[column]);
            cr_expect_leq(abs(integer), 127);
            cr_expect_leq(difference, scale * 0.5001 + 0x1p-119, "column %zu: %g", column,
                          difference);
        }
    }
    for (size_t first = 0; first < COLUMNS; first += unit) {
        int sum = 0;
        for (size_t column = first; column < first + unit; column++) {
            sum += (int8_t)converted[column];
        }
        if (form == LLM_FORM_INTEGERS_256) {
            int16_t stored;
            memcpy(&stored, sums + first / unit * sizeof(stored), sizeof(stored));
            cr_expect_eq(stored, sum);
        } else {
            float stored;
            memcpy(&stored, sums + first / unit * sizeof(stored), sizeof(stored));
            cr_expect_eq(stored, scale_at(converted, form, first) * (float)sum);
        }
    }
    free(converted);
}

Test(activation, is_within_half_a_step)
{
    float vector[COLUMNS];
    srand(7);
    for (size_t form = 0; processor_converts() && form < 2; form++) {
        for (int exponent = -140; exponent <= 120; exponent += 20) {
            for (size_t column = 0; column < COLUMNS; column++) {
                vector[column] = ldexpf((float)rand() / (float)RAND_MAX - 0.5f, exponent);
            }
            vector[3] = ldexpf(-1.0f, exponent);
            check(forms[form], vector);
        }
        memset(vector, 0, sizeof(vector));
        check(forms[form], vector);
    }
}

/* What is not a number must not become one: the program would go on with it. */
Test(activation, keeps_what_is_not_a_number)
{
    const float wrong[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (size_t form = 0; processor_converts() && form < 2; form++) {
        for (size_t place = 0; place < 4 * COLUMNS; place++) {
            float vector[COLUMNS];
            for (size_t column = 0; column < COLUMNS; column++) {
                vector[column] = 1.0f;
            }
            vector[place % COLUMNS] = wrong[place / COLUMNS];
            uint8_t *converted = convert(forms[form], vector);
            for (size_t column = 0; column < COLUMNS; column++) {
                size_t block = llm_activation_block(forms[form]);
                bool same = column / block == place % COLUMNS / block;
                cr_expect_eq(isfinite(scale_at(converted, forms[form], column)), !same);
            }
            free(converted);
        }
    }
}

Test(activation, has_aligned_lengths)
{
    cr_expect_eq(llm_activation_bytes(LLM_FORM_FLOATS, 3), 64);
    for (size_t columns = 0; columns < 2000; columns++) {
        for (enum llm_form form = LLM_FORM_FLOATS; form < LLM_FORMS; form++) {
            size_t bytes = llm_activation_bytes(form, columns);
            cr_expect_eq(bytes % LLM_ACTIVATION_ALIGNMENT, 0);
            cr_expect_geq(bytes, columns);
            cr_expect_geq(llm_activation_bytes(form, columns + 1), bytes);
        }
    }
}
