// SPDX-License-Identifier: Apache-2.0
// The computation of a model: positions of a text in, logits out.

/* A layer is five parallel regions, with the barrier at the end of llm_platform.run between them:
 * query, key and value; attention, for which a worker norms and rotates the queries of its heads;
 * its output; gate and up with their product; down. A worker takes whole rows of a matrix, or whole
 * heads, so each number is computed by one worker, in an order that does not depend on how many
 * there are. Norms of the stream and the keys' norms and rotation are a thousandth of the work: the
 * caller does them between the regions. */

#include "model.h"

#include "rotation.h"

#include <math.h>
#include <string.h>

/* Rows are shared out in this unit: a cache line of results. */
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

/* Makes the `count` vectors at `vectors` the input of the matrices that follow: converts them to
 * the forms that the model's kernels want. The work is a thousandth of a product's: the caller of
 * the regions does it. */
static void prepare(struct llm_model *model, const float *vectors, size_t columns, size_t count)
{
    model->forms[LLM_FORM_FLOATS] = (void *)(uintptr_t)vectors;
    model->form_strides[LLM_FORM_FLOATS] = columns * sizeof(float);
    for (enum llm_form form = LLM_FORM_FLOATS + 1; form < LLM_FORMS; form++) {
        /* No matrix wants a form in which its columns are not whole blocks. */
        if (!model->form_used[form] || columns % llm_activation_block(form) != 0) {
            continue;
        }
        size_t stride = llm_activation_bytes(form, columns);
        model->form_strides[form] = stride;
        for (size_t index = 0; index < count; index++) {
            llm_activation_convert(form, vectors + index * columns, columns,
                                   (uint8_t *)model->forms[form] + index * stride);
        }
    }
}

/* Multiplies the rows of the range by the `count` vectors that were prepared last. The results of a
 * vector start at output + vector * output_stride for row 0 of the matrix. */
static void multiply_rows(const struct llm_model *model, const struct llm_matrix *matrix,
                          struct range rows, size_t count, float *output, size_t output_stride)
{
    enum llm_form form = matrix->kernel->form;
    if (rows.begin == rows.end) {
        return;
    }
    struct llm_product product = {
        .rows = matrix->data + rows.begin * matrix->row_bytes,
        .row_stride = matrix->row_bytes,
        .row_count = rows.end - rows.begin,
        .vectors = model->forms[form],
        .vector_stride = model->form_strides[form],
        .vector_count = count,
        .output = output + rows.begin,
        .output_stride = output_stride,
        .columns = matrix->columns,
    };
    matrix->kernel->multiply(&product);
}

/* Adds the elements of the range of a bias, unless it is NULL, to those of `count` vectors. */
static void add_bias(float *vectors, size_t stride, size_t count, const float *bias,
                     struct range range)
{
    for (size_t index = 0; bias != NULL && index < count; index++) {
        for (size_t row = range.begin; row < range.end; row++) {
            vectors[index * stride + row] += bias[row];
        }
    }
}

static void project_region(void *argument, unsigned worker)
{
    const struct region *region = argument;
    struct llm_model *model = region->model;
    const struct llm_layer *layer = &model->layers[region->layer];
    size_t queries = layer->query.rows;
    size_t key_values = layer->key.rows;
    size_t start = ((size_t)region->layer * model->config.context + region->first) * key_values;
    float *keys = model->keys + start;
    float *values = model->values + start;

    struct range rows = share(model, queries, ROW_UNIT, worker);
    multiply_rows(model, &layer->query, rows, region->count, model->query, queries);
    add_bias(model->query, queries, region->count, layer->query_bias, rows);
    struct range key_rows = share(model, key_values, ROW_UNIT, worker);
    multiply_rows(model, &layer->key, key_rows, region->count, keys, key_values);
    add_bias(keys, key_values, region->count, layer->key_bias, key_rows);
    multiply_rows(model, &layer->value, key_rows, region->count, values, key_values);
    add_bias(values, key_values, region->count, layer->value_bias, key_rows);
}

/* Norms the head by itself, if the model asks for that, and rotates it to the region's position
 * `index`. */
static void place_head(const struct llm_model *model, const struct region *region, float *head,
                       const float *gains, size_t index)
{
    const struct llm_config *config = &model->config;
    size_t pairs = config->rotated / 2;
    uint32_t step = config->family->unrotated_step;

    if (gains != NULL && config->family->norm_scope == LLM_NORM_OF_HEAD) {
        model->vector->normalise(head, head, gains, config->head_size, config->norm_epsilon);
    }
    if (step == 0 || (region->layer + 1) % step != 0) {
        llm_rotate(head, config->family->rotation, pairs, model->cosines + index * pairs,
                   model->sines + index * pairs);
    }
}

/* Norms over all heads together need what all workers have computed. */
static void norm_whole(const struct llm_model *model, float *vector, const float *gains,
                       size_t count)
{
    if (gains != NULL && model->config.family->norm_scope == LLM_NORM_OF_WHOLE) {
        model->vector->normalise(vector, vector, gains, count, model->config.norm_epsilon);
    }
}

/* Makes the keys of the region's positions, which attention of all heads reads, complete. */
static void finish_projection(struct llm_model *model, const struct region *region)
{
    const struct llm_config *config = &model->config;
    const struct llm_layer *layer = &model->layers[region->layer];
    size_t key_values = layer->key.rows;
    size_t start = ((size_t)region->layer * config->context + region->first) * key_values;

    for (size_t index = 0; index < region->count; index++) {
        float *keys = model->keys + start + index * key_values;
        norm_whole(model, keys, layer->key_norm, key_values);
        for (size_t element = 0; element < key_values; element += config->head_size) {
            place_head(model, region, keys + element, layer->key_norm, index);
        }
        norm_whole(model, model->query + index * layer->query.rows, layer->query_norm,
                   layer->query.rows);
    }
}

/* The scale of the products of queries and keys at a position: it grows by `temperature` for each
 * e-fold of contexts of the original length that lie before (Llama 4, Ministral 3). */
static float attention_scale(const struct llm_config *config, size_t position)
{
    size_t contexts = 1 + position / config->rope.original_context;
    return config->attention_scale * (1.0f + config->temperature * logf((float)contexts));
}

/* One head at one position: the values of the positions up to it, those of the window, weighted by
 * how well their keys match the query. */
static void attend(struct llm_model *model, const struct region *region, size_t head, size_t index)
{
    const struct llm_config *config = &model->config;
    size_t head_size = config->head_size;
    size_t key_values = (size_t)config->key_value_heads * head_size;
    size_t queries = (size_t)config->heads * head_size;
    size_t group = config->heads / config->key_value_heads;
    size_t position = (size_t)region->first + index;
    size_t positions = position + 1;
    size_t first = 0;
    if (config->window != 0 && positions > config->window) {
        first = positions - config->window;
        positions = config->window;
    }
    size_t start =
        ((size_t)region->layer * config->context + first) * key_values + head / group * head_size;
    float *query = model->query + index * queries + head * head_size;
    float *scores = model->scores + head * config->context;

    place_head(model, region, query, model->layers[region->layer].query_norm, index);
    struct llm_product product = {
        .rows = (const uint8_t *)(model->keys + start),
        .row_stride = key_values * sizeof(float),
        .row_count = positions,
        .vectors = query,
        .vector_stride = queries * sizeof(float),
        .vector_count = 1,
        .output = scores,
        .output_stride = config->context,
        .columns = head_size,
    };
    model->multiply_floats(&product);
    float sum = model->vector->exponentiate(scores, positions, attention_scale(config, position));
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

/* What leaves a block: the product with a matrix, and how it gets to the stream. */
struct output {
    const struct llm_matrix *matrix;
    const float *bias;  /* or NULL */
    const float *after; /* gains of a norm before it is added, or NULL */
};

/* Computes the worker's rows of the product in `normal`, which is free when this is called, and
 * adds them to the stream, unless a norm is to come before. */
static void add_product(const struct region *region, const struct output *output, unsigned worker)
{
    struct llm_model *model = region->model;
    size_t embedding = model->config.embedding;
    float scale = model->config.residual_scale;
    struct range rows = share(model, embedding, ROW_UNIT, worker);

    multiply_rows(model, output->matrix, rows, region->count, model->normal, embedding);
    add_bias(model->normal, embedding, region->count, output->bias, rows);
    for (size_t index = 0; output->after == NULL && index < region->count; index++) {
        for (size_t row = rows.begin; row < rows.end; row++) {
            model->stream[index * embedding + row] +=
                scale * model->normal[index * embedding + row];
        }
    }
}

static void attention_output_region(void *argument, unsigned worker)
{
    const struct region *region = argument;
    const struct llm_layer *layer = &region->model->layers[region->layer];
    const struct output output = {&layer->attention_output, layer->attention_output_bias,
                                  layer->attention_after};
    add_product(region, &output, worker);
}

static void expand_region(void *argument, unsigned worker)
{
    const struct region *region = argument;
    struct llm_model *model = region->model;
    const struct llm_layer *layer = &model->layers[region->layer];
    size_t width = model->config.feed_forward;
    struct range rows = share(model, width, ROW_UNIT, worker);

    multiply_rows(model, &layer->gate, rows, region->count, model->gate, width);
    multiply_rows(model, &layer->up, rows, region->count, model->up, width);
    for (size_t index = 0; index < region->count; index++) {
        size_t start = index * width + rows.begin;
        model->vector->swiglu(model->gate + start, model->up + start, rows.end - rows.begin);
    }
}

static void contract_region(void *argument, unsigned worker)
{
    const struct region *region = argument;
    const struct llm_layer *layer = &region->model->layers[region->layer];
    const struct output output = {&layer->down, NULL, layer->feed_forward_after};
    add_product(region, &output, worker);
}

/* Fills `normal` with what enters a block: the stream, after a norm unless `gains` is NULL. */
static void enter_block(struct llm_model *model, const float *gains, size_t count)
{
    size_t embedding = model->config.embedding;
    if (gains == NULL) {
        memcpy(model->normal, model->stream, count * embedding * sizeof(float));
    }
    for (size_t index = 0; gains != NULL && index < count; index++) {
        model->vector->normalise(model->normal + index * embedding,
                                 model->stream + index * embedding, gains, embedding,
                                 model->config.norm_epsilon);
    }
    prepare(model, model->normal, embedding, count);
}

/* Adds what left a block, in `normal`, to the stream after the norm that add_product left out. */
static void leave_block(struct llm_model *model, const float *gains, size_t count)
{
    size_t embedding = model->config.embedding;
    for (size_t index = 0; gains != NULL && index < count; index++) {
        float *normal = model->normal + index * embedding;
        model->vector->normalise(normal, normal, gains, embedding, model->config.norm_epsilon);
        for (size_t element = 0; element < embedding; element++) {
            model->stream[index * embedding + element] +=
                model->config.residual_scale * normal[element];
        }
    }
}

static void run(const struct llm_model *model, void (*function)(void *argument, unsigned worker),
                struct region *region)
{
    model->platform->run(model->platform->context, function, region);
}

/* Fills the stream with the embeddings of the tokens, and the angles of their positions. */
static void start_positions(struct llm_model *model, const uint32_t *ids, uint32_t first,
                            uint32_t count)
{
    const struct llm_matrix *table = &model->embedding;
    size_t embedding = model->config.embedding;
    size_t pairs = model->config.rotated / 2;

    for (uint32_t index = 0; index < count; index++) {
        float *stream = model->stream + index * embedding;
        table->type->decode(table->data + ids[index] * table->row_bytes, stream, embedding);
        for (size_t element = 0; element < embedding; element++) {
            stream[element] *= model->config.embedding_scale;
        }
        llm_rotation_angles(model->cosines + index * pairs, model->sines + index * pairs,
                            model->frequencies, pairs, first + index, model->config.rope.magnitude);
    }
}

void llm_model_advance(struct llm_model *model, const uint32_t *ids, uint32_t first, uint32_t count)
{
    struct region region = {model, 0, first, count};

    start_positions(model, ids, first, count);
    for (region.layer = 0; region.layer < model->config.layers; region.layer++) {
        const struct llm_layer *layer = &model->layers[region.layer];
        enter_block(model, layer->attention_norm, count);
        run(model, project_region, &region);
        finish_projection(model, &region);
        run(model, attention_region, &region);
        prepare(model, model->attention, layer->attention_output.columns, count);
        run(model, attention_output_region, &region);
        leave_block(model, layer->attention_after, count);
        enter_block(model, layer->feed_forward_norm, count);
        run(model, expand_region, &region);
        prepare(model, model->gate, layer->down.columns, count);
        run(model, contract_region, &region);
        leave_block(model, layer->feed_forward_after, count);
    }
}

static void logits_region(void *argument, unsigned worker)
{
    const struct region *region = argument;
    struct llm_model *model = region->model;
    struct range rows = share(model, model->config.vocabulary, ROW_UNIT, worker);
    multiply_rows(model, &model->output, rows, 1, model->logits, model->config.vocabulary);
    for (size_t row = rows.begin; row < rows.end; row++) {
        model->logits[row] *= model->config.logit_factor;
    }
}

void llm_model_logits(struct llm_model *model, uint32_t index)
{
    size_t embedding = model->config.embedding;
    struct region region = {.model = model};

    model->vector->normalise(model->normal, model->stream + index * embedding, model->output_norm,
                             embedding, model->config.norm_epsilon);
    prepare(model, model->normal, embedding, 1);
    run(model, logits_region, &region);
}
