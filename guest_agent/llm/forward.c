// SPDX-License-Identifier: Apache-2.0
// The computation of a Llama model: positions of a text in, logits out.

/* A layer is five parallel regions, with the barrier at the end of llm_platform.run between them:
 * query, key and value with their rotation; attention; its output; gate and up with their product;
 * down. A worker takes whole rows of a matrix, or whole heads, so each number is computed by one
 * worker, in an order that does not depend on how many there are. */

#include "model.h"

#include <math.h>
#include <string.h>

/* Rows are shared out in this unit: a cache line of results, and whole rotated pairs. */
#define ROW_UNIT 16

/* The argument of a region. */
struct region {
    struct llm_model *model;
    uint32_t layer;
    uint32_t first; /* position */
    uint32_t count; /* positions */
};

struct range {
    size_t begin;
    size_t end;
};

/* Returns the part of `total` items that is the worker's, cut at multiples of `unit`. */
static struct range share(const struct llm_model *model, uint64_t total, uint64_t unit,
                          unsigned worker)
{
    uint64_t units = (total + unit - 1) / unit;
    uint64_t workers = model->platform->workers;
    struct range range = {units * worker / workers * unit, units * (worker + 1) / workers * unit};
    range.begin = range.begin < total ? range.begin : total;
    range.end = range.end < total ? range.end : total;
    return range;
}

/* Multiplies the rows of the range by `count` vectors. The results of a vector start at
 * output + vector * output_stride for row 0 of the matrix. */
static void multiply_rows(const struct llm_matrix *matrix, struct range rows, const float *vectors,
                          size_t vector_stride, size_t count, float *output, size_t output_stride)
{
    if (rows.begin == rows.end) {
        return;
    }
    struct llm_product product = {
        .rows = matrix->data + rows.begin * matrix->row_bytes,
        .row_stride = matrix->row_bytes,
        .row_count = rows.end - rows.begin,
        .vectors = vectors,
        .vector_stride = vector_stride,
        .vector_count = count,
        .output = output + rows.begin,
        .output_stride = output_stride,
        .columns = matrix->columns,
    };
    matrix->multiply(&product);
}

/* Turns the pairs (0, 1), (2, 3), ... of the rotated part of each head within the range of rows. */
static void rotate(const struct llm_model *model, float *vector, struct range rows,
                   const float *cosines, const float *sines)
{
    size_t head_size = model->config.head_size;
    size_t rotated = model->config.rotated;
    size_t element = rows.begin % head_size;

    for (size_t row = rows.begin; row + 1 < rows.end; row += 2) {
        if (element < rotated) {
            float cosine = cosines[element / 2];
            float sine = sines[element / 2];
            float even = vector[row];
            float odd = vector[row + 1];
            vector[row] = even * cosine - odd * sine;
            vector[row + 1] = even * sine + odd * cosine;
        }
        element += 2;
        element = element >= head_size ? element - head_size : element;
    }
}

static void project_region(void *argument, unsigned worker)
{
    const struct region *region = argument;
    struct llm_model *model = region->model;
    const struct llm_layer *layer = &model->layers[region->layer];
    size_t embedding = model->config.embedding;
    size_t queries = layer->query.rows;
    size_t key_values = layer->key.rows;
    size_t pairs = model->config.rotated / 2;
    size_t start = ((size_t)region->layer * model->config.context + region->first) * key_values;
    float *keys = model->keys + start;
    float *values = model->values + start;

    struct range rows = share(model, queries, ROW_UNIT, worker);
    multiply_rows(&layer->query, rows, model->normal, embedding, region->count, model->query,
                  queries);
    struct range key_rows = share(model, key_values, ROW_UNIT, worker);
    multiply_rows(&layer->key, key_rows, model->normal, embedding, region->count, keys, key_values);
    multiply_rows(&layer->value, key_rows, model->normal, embedding, region->count, values,
                  key_values);

    for (size_t index = 0; index < region->count; index++) {
        const float *cosines = model->cosines + index * pairs;
        const float *sines = model->sines + index * pairs;
        rotate(model, model->query + index * queries, rows, cosines, sines);
        rotate(model, keys + index * key_values, key_rows, cosines, sines);
    }
}

/* One head at one position: the values of all positions up to it, weighted by how well their keys
 * match the query. */
static void attend(struct llm_model *model, const struct region *region, size_t head, size_t index)
{
    const struct llm_config *config = &model->config;
    size_t head_size = config->head_size;
    size_t key_values = (size_t)config->key_value_heads * head_size;
    size_t queries = (size_t)config->heads * head_size;
    size_t group = config->heads / config->key_value_heads;
    size_t start = (size_t)region->layer * config->context * key_values + head / group * head_size;
    size_t positions = (size_t)region->first + index + 1;
    float *scores = model->scores + head * config->context;

    struct llm_product product = {
        .rows = (const uint8_t *)(model->keys + start),
        .row_stride = key_values * sizeof(float),
        .row_count = positions,
        .vectors = model->query + index * queries + head * head_size,
        .vector_stride = queries,
        .vector_count = 1,
        .output = scores,
        .output_stride = config->context,
        .columns = head_size,
    };
    model->multiply_floats(&product);
    float sum = model->vector->exponentiate(scores, positions, 1.0f / sqrtf((float)head_size));
    model->vector->combine(model->attention + index * queries + head * head_size,
                           model->values + start, key_values, scores, positions, head_size,
                           1.0f / sum);
}

static void attention_region(void *argument, unsigned worker)
{
    const struct region *region = argument;
    struct range heads = share(region->model, region->model->config.heads, 1, worker);

    for (size_t head = heads.begin; head < heads.end; head++) {
        for (size_t index = 0; index < region->count; index++) {
            attend(region->model, region, head, index);
        }
    }
}

/* Adds the product with the rows of the range to the stream, by way of `normal`, which is free
 * when this is called. */
static void add_product(struct llm_model *model, const struct llm_matrix *matrix,
                        const float *vectors, size_t count, unsigned worker)
{
    size_t embedding = model->config.embedding;
    struct range rows = share(model, embedding, ROW_UNIT, worker);

    multiply_rows(matrix, rows, vectors, matrix->columns, count, model->normal, embedding);
    for (size_t index = 0; index < count; index++) {
        for (size_t row = rows.begin; row < rows.end; row++) {
            model->stream[index * embedding + row] += model->normal[index * embedding + row];
        }
    }
}

static void attention_output_region(void *argument, unsigned worker)
{
    const struct region *region = argument;
    struct llm_model *model = region->model;
    add_product(model, &model->layers[region->layer].attention_output, model->attention,
                region->count, worker);
}

static void expand_region(void *argument, unsigned worker)
{
    const struct region *region = argument;
    struct llm_model *model = region->model;
    const struct llm_layer *layer = &model->layers[region->layer];
    size_t embedding = model->config.embedding;
    size_t width = model->config.feed_forward;
    struct range rows = share(model, width, ROW_UNIT, worker);

    multiply_rows(&layer->gate, rows, model->normal, embedding, region->count, model->gate, width);
    multiply_rows(&layer->up, rows, model->normal, embedding, region->count, model->up, width);
    for (size_t index = 0; index < region->count; index++) {
        size_t start = index * width + rows.begin;
        model->vector->swiglu(model->gate + start, model->up + start, rows.end - rows.begin);
    }
}

static void contract_region(void *argument, unsigned worker)
{
    const struct region *region = argument;
    struct llm_model *model = region->model;
    add_product(model, &model->layers[region->layer].down, model->gate, region->count, worker);
}

/* The norms are a thousandth of the work: the caller does them between the regions. */
static void normalise_stream(struct llm_model *model, const float *gains, size_t count)
{
    size_t embedding = model->config.embedding;
    for (size_t index = 0; index < count; index++) {
        model->vector->normalise(model->normal + index * embedding,
                                 model->stream + index * embedding, gains, embedding,
                                 model->config.norm_epsilon);
    }
}

static void run(const struct llm_model *model, void (*function)(void *argument, unsigned worker),
                struct region *region)
{
    model->platform->run(model->platform->context, function, region);
}

void llm_model_advance(struct llm_model *model, const uint32_t *ids, uint32_t first, uint32_t count)
{
    size_t embedding = model->config.embedding;
    size_t pairs = model->config.rotated / 2;
    struct region region = {model, 0, first, count};

    for (size_t index = 0; index < count; index++) {
        const struct llm_matrix *table = &model->embedding;
        table->type->decode(table->data + ids[index] * table->row_bytes,
                            model->stream + index * embedding, embedding);
        for (size_t pair = 0; pair < pairs; pair++) {
            float angle = (float)(first + index) * model->frequencies[pair];
            model->cosines[index * pairs + pair] = cosf(angle);
            model->sines[index * pairs + pair] = sinf(angle);
        }
    }
    for (region.layer = 0; region.layer < model->config.layers; region.layer++) {
        const struct llm_layer *layer = &model->layers[region.layer];
        normalise_stream(model, layer->attention_norm, count);
        run(model, project_region, &region);
        run(model, attention_region, &region);
        run(model, attention_output_region, &region);
        normalise_stream(model, layer->feed_forward_norm, count);
        run(model, expand_region, &region);
        run(model, contract_region, &region);
    }
}

static void logits_region(void *argument, unsigned worker)
{
    const struct region *region = argument;
    struct llm_model *model = region->model;
    struct range rows = share(model, model->config.vocabulary, ROW_UNIT, worker);
    multiply_rows(&model->output, rows, model->normal, model->config.embedding, 1, model->logits,
                  model->config.vocabulary);
}

void llm_model_logits(struct llm_model *model, uint32_t index)
{
    size_t embedding = model->config.embedding;
    struct region region = {.model = model};

    model->vector->normalise(model->normal, model->stream + index * embedding, model->output_norm,
                             embedding, model->config.norm_epsilon);
    run(model, logits_region, &region);
}
