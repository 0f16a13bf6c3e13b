// SPDX-License-Identifier: Apache-2.0
// Tests of the dot products of every type and instruction set against double precision.

#include "platform.h"
#include "reference.h"
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

/* A random half of moderate size, now and then a subnormal one or zero. */
static uint16_t random_half(void)
{
    uint32_t bits = random_bits();
    uint32_t exponent = bits >> 28 == 0 ? 0 : 8 + (bits >> 20) % 10;
    return (uint16_t)((bits & 0x83ffu) | exponent << 10);
}

/* Fills a row with random elements: random bits, but for floats, and `scale`, unless it is 0, for
 * the scales of blocks. */
static void fill_row(const struct llm_type *type, uint8_t *row, size_t columns, uint16_t scale)
{
    size_t offsets[2];
    size_t halves = reference_halves(type, offsets);
    for (size_t column = 0; column < columns; column += type->block_elements) {
        uint8_t *block = row + column / type->block_elements * type->block_bytes;
        for (size_t index = 0; index < type->block_bytes; index++) {
            block[index] = (uint8_t)(random_bits() >> 24);
        }
        if (type->block_elements == 1) {
            float value = random_float();
            memcpy(block, (uint8_t *)&value + 4 - type->block_bytes, type->block_bytes);
        }
        for (size_t index = 0; index < halves; index++) {
            uint16_t half = scale != 0 ? scale : random_half();
            memcpy(block + offsets[index], &half, sizeof(half));
        }
    }
}

struct matrix {
    const struct llm_type *type;
    size_t columns;
    uint8_t *memory;
    uint8_t *rows; /* of any alignment */
    size_t stride;
    float *vectors;     /* [VECTORS][columns] */
    uint8_t *converted; /* [VECTORS] in `form`, and so far apart */
    enum llm_form form;
    size_t converted_stride;
};

/* `scale` as for fill_row(); vectors have elements up to `size`. */
static struct matrix make_matrix(const struct llm_type *type, enum llm_form form, size_t columns,
                                 uint16_t scale, float size)
{
    struct matrix matrix = {.type = type, .columns = columns, .form = form};
    size_t shift = columns / type->block_elements % 4;
    matrix.stride = columns / type->block_elements * type->block_bytes;
    matrix.memory = malloc(ROWS * matrix.stride + shift); /* exact, for the address sanitizer */
    matrix.rows = matrix.memory + shift;
    matrix.vectors = malloc(VECTORS * columns * sizeof(float));
    matrix.converted_stride = llm_activation_bytes(form, columns);
    matrix.converted = aligned_alloc(LLM_ACTIVATION_ALIGNMENT, VECTORS * matrix.converted_stride);
    cr_assert(matrix.memory != NULL && matrix.vectors != NULL && matrix.converted != NULL);
    for (size_t row = 0; row < ROWS; row++) {
        fill_row(type, matrix.rows + row * matrix.stride, columns, scale);
    }
    for (size_t index = 0; index < VECTORS * columns; index++) {
        matrix.vectors[index] = size * random_float();
    }
    for (size_t vector = 0; vector < VECTORS; vector++) {
        const float *floats = matrix.vectors + vector * columns;
        uint8_t *converted = matrix.converted + vector * matrix.converted_stride;
        if (form == LLM_FORM_FLOATS) {
            memcpy(converted, floats, columns * sizeof(float));
        } else {
            llm_activation_convert(form, floats, columns, converted);
        }
    }
    return matrix;
}

static void free_matrix(struct matrix *matrix)
{
    free(matrix->memory);
    free(matrix->vectors);
    free(matrix->converted);
}

/* The element of a vector as the kernel gets it. */
static double converted_element(const struct matrix *matrix, size_t vector, size_t column)
{
    const uint8_t *converted = matrix->converted + vector * matrix->converted_stride;
    float value;
    if (matrix->form == LLM_FORM_FLOATS) {
        memcpy(&value, converted + column * sizeof(value), sizeof(value));
        return (double)value;
    }
    size_t block = column / llm_activation_block(matrix->form);
    memcpy(&value, converted + llm_activation_scales(matrix->columns) + block * sizeof(value),
           sizeof(value));
    return (double)value * (int8_t)converted[column];
}

static void multiply(llm_multiply_function function, const struct matrix *matrix, size_t row,
                     size_t rows, size_t vector, size_t vectors, float *output)
{
    struct llm_product product = {
        .rows = matrix->rows + row * matrix->stride,
        .row_stride = matrix->stride,
        .row_count = rows,
        .vectors = matrix->converted + vector * matrix->converted_stride,
        .vector_stride = matrix->converted_stride,
        .vector_count = vectors,
        .output = output + vector * ROWS + row,
        .output_stride = ROWS,
        .columns = matrix->columns,
    };
    function(&product);
}

/* Compares the products of the vectors as the kernel gets them with double precision. */
static void check_products(const struct matrix *matrix, const float *products)
{
    for (size_t row = 0; row < ROWS; row++) {
        double expected[VECTORS] = {0};
        double magnitude[VECTORS] = {0};
        for (size_t column = 0; column < matrix->columns; column++) {
            struct reference_element element =
                reference_element(matrix->type, matrix->rows + row * matrix->stride, column);
            for (size_t vector = 0; vector < VECTORS; vector++) {
                double factor = converted_element(matrix, vector, column);
                expected[vector] += element.value * factor;
                magnitude[vector] += element.magnitude * fabs(factor);
            }
        }
        for (size_t vector = 0; vector < VECTORS; vector++) {
            /* Eight lanes at least: no chain is longer than columns / 8 roundings. */
            double bound = magnitude[vector] * ((double)matrix->columns / 8.0 + 8.0) * 0x1p-24;
            double difference = fabs((double)products[vector * ROWS + row] - expected[vector]);
            cr_expect_leq(difference, bound + 0x1p-140, "%s, %zu columns: off by %g, bound %g",
                          matrix->type->name, matrix->columns, difference, bound);
        }
    }
}

/* Returns whether the processor, or an emulation, can run a kernel of the type. */
static bool can_run(const struct llm_kernel *kernel)
{
    uint64_t isa = test_isa();
#ifdef LLM_VNNI_EMULATED
    isa |= LLM_ISA_AVX512F | LLM_ISA_AVX512BW | LLM_ISA_AVX512VL | LLM_ISA_AVX512VNNI;
#endif
    return kernel->multiply != NULL && (kernel->isa & isa) == kernel->isa;
}

static void check_kernel(const struct llm_type *type, const struct llm_kernel *kernel,
                         size_t columns)
{
    struct matrix matrix = make_matrix(type, kernel->form, columns, 0, 1.0f);
    llm_multiply_function function = kernel->multiply;
    float whole[VECTORS * ROWS];
    float parts[VECTORS * ROWS];

    multiply(function, &matrix, 0, ROWS, 0, VECTORS, whole);
    check_products(&matrix, whole);

    /* The same bits, however rows and vectors are divided. */
    for (size_t split = 1; split < ROWS; split++) {
        for (size_t half = 0; half <= VECTORS; half++) {
            multiply(function, &matrix, 0, split, 0, half, parts);
            multiply(function, &matrix, split, ROWS - split, 0, half, parts);
            multiply(function, &matrix, 0, split, half, VECTORS - half, parts);
            multiply(function, &matrix, split, ROWS - split, half, VECTORS - half, parts);
            cr_expect_eq(memcmp(whole, parts, sizeof(whole)), 0, "%s: %zu rows, %zu vectors",
                         type->name, split, half);
        }
    }
    free_matrix(&matrix);
}

/* Every kernel with scales at the ends of the format, and vectors of very different sizes. */
static void check_extremes(const struct llm_type *type, const struct llm_kernel *kernel)
{
    static const uint16_t scales[] = {0x7bff, 0xfbff, 0x0001, 0x8001, 0x0400, 0x8000};
    static const float sizes[] = {1e-30f, 1e-6f, 1.0f, 1e25f};
    for (size_t index = 0; index < sizeof(scales) / sizeof(scales[0]); index++) {
        for (size_t size = 0; size < sizeof(sizes) / sizeof(sizes[0]); size++) {
            struct matrix matrix = make_matrix(type, kernel->form, 512, scales[index], sizes[size]);
            float products[VECTORS * ROWS];
            multiply(kernel->multiply, &matrix, 0, ROWS, 0, VECTORS, products);
            check_products(&matrix, products);
            free_matrix(&matrix);
        }
    }
}

Test(kernels, are_close_to_double_precision)
{
    for (size_t index = 0; index < llm_type_count(); index++) {
        const struct llm_type *type = llm_type_at(index);
        for (size_t kernel = 0; kernel < LLM_TYPE_KERNELS; kernel++) {
            if (!can_run(&type->kernels[kernel])) {
                continue;
            }
            size_t most = type->block_elements == 256 ? 1024 : 130;
            for (size_t columns = 1; columns <= most; columns++) {
                if (columns % type->block_elements == 0) {
                    check_kernel(type, &type->kernels[kernel], columns);
                }
            }
            check_kernel(type, &type->kernels[kernel], 4096);
            check_extremes(type, &type->kernels[kernel]);
        }
    }
}

/* All integers at the ends of their ranges, where lanes of 16 bits are fullest. */
Test(kernels, do_not_saturate)
{
    static const uint8_t patterns[] = {0x00, 0x7f, 0x80, 0x81, 0xff};
    for (size_t index = 0; index < llm_type_count(); index++) {
        const struct llm_type *type = llm_type_at(index);
        size_t offsets[2];
        size_t halves = reference_halves(type, offsets);
        const struct llm_kernel *kernel = llm_type_kernel(type, test_isa());
        for (size_t pattern = 0; type->block_elements > 1 && pattern < sizeof(patterns);
             pattern++) {
            struct matrix matrix = make_matrix(type, kernel->form, 512, 0x3c00, 1.0f);
            float products[VECTORS * ROWS];
            for (size_t block = 0; block < ROWS * 512 / type->block_elements; block++) {
                uint8_t *bytes = matrix.rows + block * type->block_bytes;
                memset(bytes, patterns[pattern], type->block_bytes);
                for (size_t half = 0; half < halves; half++) {
                    memcpy(bytes + offsets[half], "\x00\x3c", 2);
                }
            }
            if (kernel->form != LLM_FORM_FLOATS) {
                for (size_t vector = 0; vector < VECTORS; vector++) {
                    float ends[512];
                    for (size_t column = 0; column < 512; column++) {
                        ends[column] = vector % 2 == 0 || column / 2 % 2 == 0 ? 1.0f : -1.0f;
                    }
                    llm_activation_convert(kernel->form, ends, 512,
                                           matrix.converted + vector * matrix.converted_stride);
                }
            }
            multiply(kernel->multiply, &matrix, 0, ROWS, 0, VECTORS, products);
            check_products(&matrix, products);
            free_matrix(&matrix);
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
            cr_assert_eq((double)value, reference_half(half), "half %04x", (unsigned)half);
            cr_assert_eq(signbit(value) != 0, half >> 15, "half %04x", (unsigned)half);
        } else if ((half & 0x3ff) == 0) {
            cr_assert(isinf(value) && (value < 0) == (half >> 15));
        } else {
            cr_assert(isnan(value));
        }
    }
}

/* A row is decoded with one rounding at most: of the difference of scale and minimum. */
Test(kernels, decode_rows)
{
    for (size_t index = 0; index < llm_type_count(); index++) {
        const struct llm_type *type = llm_type_at(index);
        for (uint16_t scale = 0; scale < 0x7c00; scale += 0x1bff) {
            struct matrix matrix = make_matrix(type, LLM_FORM_FLOATS, 512, scale, 1.0f);
            float decoded[512];
            for (size_t row = 0; row < ROWS; row++) {
                type->decode(matrix.rows + row * matrix.stride, decoded, 512);
                for (size_t column = 0; column < 512; column++) {
                    float expected =
                        (float)reference_element(type, matrix.rows + row * matrix.stride, column)
                            .value;
                    cr_assert_eq(decoded[column], expected, "%s: %g, expected %g", type->name,
                                 (double)decoded[column], (double)expected);
                }
            }
            free_matrix(&matrix);
        }
    }
}

Test(kernels, are_chosen_by_instruction_set)
{
    for (size_t index = 0; index < llm_type_count(); index++) {
        const struct llm_type *type = llm_type_at(index);
        const struct llm_kernel *baseline = llm_type_kernel(type, 0);
        cr_expect_not_null(baseline->multiply);
        cr_expect_eq(baseline->form, LLM_FORM_FLOATS);
        cr_expect_eq(llm_type_kernel(type, LLM_ISA_AVX2), baseline);
        cr_expect_eq(llm_type_kernel(type, LLM_ISA_AVX2 | LLM_ISA_FMA | LLM_ISA_F16C),
                     baseline - 1);
        cr_expect_eq(llm_type_kernel(type, UINT64_MAX & ~LLM_ISA_AVX512VNNI), baseline - 1);
        cr_expect_eq(llm_type_kernel(type, UINT64_MAX), type->kernels);
        cr_expect_eq(llm_type_find(type->id), type);
        cr_expect_str_eq(llm_type_name(type->id), type->name);
    }
    cr_expect_null(llm_type_find(UINT32_MAX));
    cr_expect_str_eq(llm_type_name(12), "Q4_K");
    cr_expect_str_eq(llm_type_name(4), "unknown");
    cr_expect_str_eq(llm_type_name(UINT32_MAX), "unknown");
    char list[80];
    cr_expect_str_eq(llm_type_list(list, sizeof(list)),
                     "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K");
    cr_expect_str_eq(llm_type_list(list, 9), "F32, F16");
    cr_expect_str_eq(llm_type_list(list, 8), "F32");
}
