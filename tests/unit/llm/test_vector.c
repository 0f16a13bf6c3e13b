// SPDX-License-Identifier: Apache-2.0
// Tests of the vector operations of every instruction set against double precision.

#include "support.h"
#include "vector.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

/* Calls the test with each set the processor has, and counts of every remainder. */
static void for_each(void (*test)(const struct llm_vector_operations *set, size_t count))
{
    for (size_t index = 0; llm_vector_at(index) != NULL; index++) {
        const struct llm_vector_operations *set = llm_vector_at(index);
        if ((set->isa & test_isa()) != set->isa) {
            continue;
        }
        for (size_t count = 1; count <= 200; count++) {
            test(set, count);
        }
    }
}

static float *random_floats(size_t count, float scale)
{
    float *values = malloc(count * sizeof(float)); /* exact, for the address sanitizer */
    cr_assert_not_null(values);
    for (size_t index = 0; index < count; index++) {
        values[index] = ((float)rand() / (float)RAND_MAX - 0.5f) * 2.0f * scale;
    }
    return values;
}

static void expect_close(float value, double expected, double tolerance, const char *what)
{
    cr_expect_leq(fabs((double)value - expected), tolerance * fabs(expected) + 1e-37,
                  "%s: %.9g, not %.9g", what, (double)value, expected);
}

static void check_normalise(const struct llm_vector_operations *set, size_t count)
{
    float *input = random_floats(count, 3.0f);
    float *gain = random_floats(count, 2.0f);
    float *output = random_floats(count, 1.0f);
    double squares = 0.0;
    for (size_t index = 0; index < count; index++) {
        squares += (double)input[index] * (double)input[index];
    }
    set->normalise(output, input, gain, count, 1e-5f);
    for (size_t index = 0; index < count; index++) {
        double scale = 1.0 / sqrt(squares / (double)count + (double)1e-5f);
        expect_close(output[index], (double)input[index] * (double)gain[index] * scale, 1e-6,
                     "normalise");
    }
    free(input);
    free(gain);
    free(output);
}

static void check_exponentiate(const struct llm_vector_operations *set, size_t count)
{
    float *values = random_floats(count, 40.0f);
    float *results = random_floats(count, 1.0f);
    float maximum = values[0];
    double expected_sum = 0.0;
    for (size_t index = 0; index < count; index++) {
        maximum = fmaxf(maximum, values[index]);
        results[index] = values[index];
    }
    float sum = set->exponentiate(results, count, 1.0f);
    for (size_t index = 0; index < count; index++) {
        double expected = exp((double)(values[index] - maximum));
        expect_close(results[index], expected, 1.5e-7, "exponentiate");
        expected_sum += expected;
    }
    expect_close(sum, expected_sum, 1e-6, "sum of exponentiate");
    free(values);
    free(results);
}

static void check_swiglu(const struct llm_vector_operations *set, size_t count)
{
    float *gate = random_floats(count, 20.0f);
    float *up = random_floats(count, 2.0f);
    float *result = random_floats(count, 1.0f);
    for (size_t index = 0; index < count; index++) {
        result[index] = gate[index];
    }
    set->swiglu(result, up, count);
    for (size_t index = 0; index < count; index++) {
        double value = (double)gate[index];
        expect_close(result[index], value / (1.0 + exp(-value)) * (double)up[index], 5e-7,
                     "swiglu");
    }
    free(gate);
    free(up);
    free(result);
}

static void check_combine(const struct llm_vector_operations *set, size_t count)
{
    size_t stride = count + 3;
    float *rows = random_floats(4 * stride + count, 1.0f);
    float *weights = random_floats(5, 1.0f);
    float *output = random_floats(count, 1.0f);
    set->combine(output, rows, stride, weights, 5, count, 0.5f);
    for (size_t index = 0; index < count; index++) {
        double sum = 0.0;
        double magnitude = 0.0;
        for (size_t row = 0; row < 5; row++) {
            double term = (double)weights[row] * (double)rows[row * stride + index];
            sum += term;
            magnitude += fabs(term);
        }
        cr_expect_leq(fabs((double)output[index] - sum / 2.0), magnitude * 1e-6);
    }
    free(rows);
    free(weights);
    free(output);
}

Test(vector, normalises)
{
    for_each(check_normalise);
}

Test(vector, exponentiates)
{
    for_each(check_exponentiate);
}

Test(vector, computes_swiglu)
{
    for_each(check_swiglu);
}

Test(vector, combines_rows)
{
    for_each(check_combine);
}

/* Arguments without a float for a result must not do harm. */
Test(vector, exponentiates_extremes)
{
    for (size_t index = 0; llm_vector_at(index) != NULL; index++) {
        const struct llm_vector_operations *set = llm_vector_at(index);
        if ((set->isa & test_isa()) != set->isa) {
            continue;
        }
        float values[9] = {0.0f, -1e30f, -INFINITY, NAN, -200.0f, -87.5f, -1.0f, -0.0f, -90.0f};
        float sum = set->exponentiate(values, 9, 1.0f);
        cr_expect(isfinite(sum));
        for (size_t value = 0; value < 9; value++) {
            cr_expect(values[value] >= 0.0f && values[value] <= 1.0f);
        }
        cr_expect_eq(values[0], 1.0f);
        cr_expect_lt(values[1], 1e-30f);
    }
}

Test(vector, sets_are_chosen_by_instruction_set)
{
    cr_expect_eq(llm_vector_find(0)->isa, 0);
    cr_expect_eq(llm_vector_find(LLM_ISA_AVX2)->isa, 0);
    cr_expect_neq(llm_vector_find(LLM_ISA_AVX2 | LLM_ISA_FMA | LLM_ISA_F16C)->isa, 0);
}
