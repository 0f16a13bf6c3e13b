// SPDX-License-Identifier: Apache-2.0
// Tests of the dot products of every type and instruction set against double precision.

#include "platform.h"
#include "support.h"
#include "types.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROWS    11
#define VECTORS 8

static uint32_t random_state = 12345;

static uint32_t random_bits(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

static float random_float(void)
{
    return (float)(int32_t)random_bits() * 0x1p-31f;
}

/* The value of a half, by the definition of the format. */
static double half_value(uint16_t half)
{
    int exponent = half >> 10 & 31;
    double fraction = (double)(half & 1023) / 1024.0;
    double magnitude = exponent == 0 ? ldexp(fraction, -14) : ldexp(1.0 + fraction, exponent - 15);
    return half >> 15 != 0 ? -magnitude : magnitude;
}

/* A random half of moderate size, now and then a subnormal one or zero. */
static uint16_t random_half(void)
{
    uint32_t bits = random_bits();
    uint32_t exponent = bits >> 28 == 0 ? 0 : 8 + (bits >> 20) % 10;
    return (uint16_t)((bits & 0x83ffu) | exponent << 10);
}

/* Fills a row with random elements; `values` gets what they stand for. */
static void fill_row(const struct llm_type *type, uint8_t *row, double *values, size_t columns)
{
    for (size_t column = 0; column < columns; column++) {
        if (type->id == 0) {
            float value = random_float();
            memcpy(row + 4 * column, &value, sizeof(value));
            values[column] = (double)value;
        } else if (type->id == 1) {
            uint16_t half = random_half();
            memcpy(row + 2 * column, &half, sizeof(half));
            values[column] = half_value(half);
        } else {
            uint8_t *block = row + column / 32 * 34;
            uint16_t scale;
            if (column % 32 == 0) {
                scale = random_half();
                memcpy(block, &scale, sizeof(scale));
            }
            memcpy(&scale, block, sizeof(scale));
            int8_t number = (int8_t)(random_bits() >> 24);
            memcpy(block + 2 + column % 32, &number, 1);
            values[column] = half_value(scale) * number;
        }
    }
}

struct matrix {
    uint8_t *rows;
    size_t stride;
    double *values; /* [ROWS][columns] */
    float *vectors; /* [VECTORS][columns] */
};

static struct matrix make_matrix(const struct llm_type *type, size_t columns)
{
    struct matrix matrix;
    matrix.stride = columns / type->block_elements * type->block_bytes;
    matrix.rows = malloc(ROWS * matrix.stride); /* exact, for the address sanitizer */
    matrix.values = malloc(ROWS * columns * sizeof(double));
    matrix.vectors = malloc(VECTORS * columns * sizeof(float));
    cr_assert(matrix.rows != NULL && matrix.values != NULL && matrix.vectors != NULL);
    for (size_t row = 0; row < ROWS; row++) {
        fill_row(type, matrix.rows + row * matrix.stride, matrix.values + row * columns, columns);
    }
    for (size_t index = 0; index < VECTORS * columns; index++) {
        matrix.vectors[index] = random_float();
    }
    return matrix;
}

static void free_matrix(struct matrix *matrix)
{
    free(matrix->rows);
    free(matrix->values);
    free(matrix->vectors);
}

static void multiply(llm_multiply_function function, const struct matrix *matrix, size_t columns,
                     size_t row, size_t rows, size_t vector, size_t vectors, float *output)
{
    struct llm_product product = {
        .rows = matrix->rows + row * matrix->stride,
        .row_stride = matrix->stride,
        .row_count = rows,
        .vectors = matrix->vectors + vector * columns,
        .vector_stride = columns,
        .vector_count = vectors,
        .output = output + vector * ROWS + row,
        .output_stride = ROWS,
        .columns = columns,
    };
    function(&product);
}

static void check_kernel(const struct llm_type *type, llm_multiply_function function,
                         size_t columns)
{
    struct matrix matrix = make_matrix(type, columns);
    float whole[VECTORS * ROWS];
    float parts[VECTORS * ROWS];

    multiply(function, &matrix, columns, 0, ROWS, 0, VECTORS, whole);
    for (size_t vector = 0; vector < VECTORS; vector++) {
        for (size_t row = 0; row < ROWS; row++) {
            double expected = 0.0;
            double magnitude = 0.0;
            for (size_t column = 0; column < columns; column++) {
                double term = matrix.values[row * columns + column] *
                              (double)matrix.vectors[vector * columns + column];
                expected += term;
                magnitude += fabs(term);
            }
            /* Eight lanes at least: no chain is longer than columns / 8 roundings. */
            double bound = magnitude * ((double)columns / 8.0 + 8.0) * 0x1p-24;
            double difference = fabs((double)whole[vector * ROWS + row] - expected);
            cr_expect_leq(difference, bound, "%s, %zu columns: off by %g, bound %g", type->name,
                          columns, difference, bound);
        }
    }

    /* The same bits, however rows and vectors are divided. */
    for (size_t split = 1; split < ROWS; split++) {
        for (size_t half = 0; half <= VECTORS; half++) {
            multiply(function, &matrix, columns, 0, split, 0, half, parts);
            multiply(function, &matrix, columns, split, ROWS - split, 0, half, parts);
            multiply(function, &matrix, columns, 0, split, half, VECTORS - half, parts);
            multiply(function, &matrix, columns, split, ROWS - split, half, VECTORS - half, parts);
            cr_expect_eq(memcmp(whole, parts, sizeof(whole)), 0, "%s: %zu rows, %zu vectors",
                         type->name, split, half);
        }
    }
    free_matrix(&matrix);
}

Test(kernels, are_close_to_double_precision)
{
    for (size_t index = 0; index < llm_type_count(); index++) {
        const struct llm_type *type = llm_type_at(index);
        for (size_t kernel = 0; kernel < LLM_TYPE_KERNELS; kernel++) {
            llm_multiply_function function = type->kernels[kernel].multiply;
            uint64_t isa = type->kernels[kernel].isa;
            if (function == NULL || (isa & test_isa()) != isa) {
                continue;
            }
            for (size_t columns = 1; columns <= 130; columns++) {
                if (columns % type->block_elements == 0) {
                    check_kernel(type, function, columns);
                }
            }
            check_kernel(type, function, 4096);
        }
    }
}

Test(kernels, decode_every_half)
{
    const struct llm_type *type = llm_type_find(1);
    for (uint32_t bits = 0; bits < 65536; bits++) {
        uint16_t half = (uint16_t)bits;
        uint8_t row[2];
        float value;
        memcpy(row, &half, sizeof(row));
        type->decode(row, &value, 1);
        if ((half & 0x7c00) != 0x7c00) {
            cr_assert_eq((double)value, half_value(half), "half %04x", (unsigned)half);
            cr_assert_eq(signbit(value) != 0, half >> 15, "half %04x", (unsigned)half);
        } else if ((half & 0x3ff) == 0) {
            cr_assert(isinf(value) && (value < 0) == (half >> 15));
        } else {
            cr_assert(isnan(value));
        }
    }
}

Test(kernels, decode_rows)
{
    for (size_t index = 0; index < llm_type_count(); index++) {
        const struct llm_type *type = llm_type_at(index);
        struct matrix matrix = make_matrix(type, 96);
        float decoded[96];
        type->decode(matrix.rows, decoded, 96);
        for (size_t column = 0; column < 96; column++) {
            cr_expect_eq((double)decoded[column], matrix.values[column], "%s", type->name);
        }
        free_matrix(&matrix);
    }
}

Test(kernels, are_chosen_by_instruction_set)
{
    for (size_t index = 0; index < llm_type_count(); index++) {
        const struct llm_type *type = llm_type_at(index);
        llm_multiply_function baseline = llm_type_multiply(type, 0);
        cr_expect_not_null(baseline);
        cr_expect_eq(llm_type_multiply(type, LLM_ISA_AVX2), baseline);
        cr_expect_eq(llm_type_multiply(type, LLM_ISA_AVX2 | LLM_ISA_FMA | LLM_ISA_F16C),
                     type->kernels[0].multiply);
        cr_expect_eq(llm_type_find(type->id), type);
        cr_expect_str_eq(llm_type_name(type->id), type->name);
    }
    cr_expect_null(llm_type_find(UINT32_MAX));
    cr_expect_str_eq(llm_type_name(12), "Q4_K");
    cr_expect_str_eq(llm_type_name(4), "unknown");
    cr_expect_str_eq(llm_type_name(UINT32_MAX), "unknown");
    char list[32];
    cr_expect_str_eq(llm_type_list(list, sizeof(list)), "F32, F16, Q8_0");
    cr_expect_str_eq(llm_type_list(list, 9), "F32, F16");
    cr_expect_str_eq(llm_type_list(list, 8), "F32");
}
