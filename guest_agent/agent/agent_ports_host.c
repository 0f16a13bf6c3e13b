// SPDX-License-Identifier: Apache-2.0
// Ports of the agent as a Linux process, to measure the model without cells: documents are the
// files of the folder AGENT_CORPUS, and two tools behave like those of the MCP project's
// server-everything.

#include "agent_ports.h"
#include "json_reader.h"

#include <ctype.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DOCUMENTS   1024
#define WORD_BYTES  64
#define QUERY_WORDS 32

static struct document {
    char name[256];
    char text[1024];
    size_t words;
    double score; /* in the search that runs */
} documents[DOCUMENTS];
static size_t document_count;
static double mean_words; /* of a document */

/* The words of `text` one by one: runs of letters and digits. False at the end. */
static bool next_word(const char **at, const char *end, char word[WORD_BYTES])
{
    size_t length = 0;
    while (*at < end && isalnum((unsigned char)**at) == 0) {
        (*at)++;
    }
    while (*at < end && isalnum((unsigned char)**at) != 0 && length + 1 < WORD_BYTES) {
        word[length++] = *(*at)++;
    }
    word[length] = '\0';
    return length > 0;
}

/* How often a word is in a text; NULL: how many words it has. */
static size_t count_words(const char *text, const char *wanted)
{
    const char *end = text + strlen(text);
    char word[WORD_BYTES];
    size_t count = 0;
    while (next_word(&text, end, word)) {
        count += wanted == NULL || strcasecmp(word, wanted) == 0;
    }
    return count;
}

/* Adds what one word of the query is worth to every document's score: BM25 as SQLite's FTS5 has it,
 * which ranks the results of a store port. */
static void score_word(const char *word)
{
    const double saturation = 1.2;
    const double length_weight = 0.75;
    size_t having = 0;
    for (size_t index = 0; index < document_count; index++) {
        having += count_words(documents[index].text, word) > 0;
    }
    double rarity = log(((double)(document_count - having) + 0.5) / ((double)having + 0.5));
    rarity = rarity > 0.0 ? rarity : 1e-6;
    for (size_t index = 0; index < document_count; index++) {
        struct document *document = &documents[index];
        double count = (double)count_words(document->text, word);
        double length = (double)document->words / mean_words;
        document->score +=
            rarity * (count * (saturation + 1.0) /
                      (count + saturation * (1.0 - length_weight + length_weight * length)));
    }
}

static enum agent_result search(const char *query, size_t length, struct agent_text *reply)
{
    const char *end = query + length;
    char word[WORD_BYTES];
    for (size_t index = 0; index < document_count; index++) {
        documents[index].score = 0.0;
    }
    for (size_t words = 0; words < QUERY_WORDS && next_word(&query, end, word); words++) {
        score_word(word);
    }
    for (size_t found = 0; found < AGENT_SEARCH_LIMIT; found++) {
        struct document *best = &documents[0];
        for (size_t index = 1; index < document_count; index++) {
            best = documents[index].score > best->score ? &documents[index] : best;
        }
        if (!(best->score > 0.0)) {
            break;
        }
        agent_text_append(reply, " ", found > 0 ? 1 : 0);
        agent_text_append(reply, best->name, strlen(best->name));
        best->score = 0.0;
    }
    return AGENT_DONE;
}

static enum agent_result get(const char *name, size_t length, struct agent_text *reply)
{
    for (size_t index = 0; index < document_count; index++) {
        if (strlen(documents[index].name) == length &&
            memcmp(documents[index].name, name, length) == 0) {
            agent_text_append(reply, documents[index].text, strlen(documents[index].text));
            return AGENT_DONE;
        }
    }
    return AGENT_MISSING;
}

static enum agent_result list(uint32_t first, struct agent_text *reply)
{
    static const char tools[] =
        "[{\"name\":\"echo\",\"description\":\"Echoes back the input string\","
        "\"inputSchema\":{\"type\":\"object\",\"properties\":{\"message\":{\"type\":\"string\"}},"
        "\"required\":[\"message\"]}},{\"name\":\"get-structured-content\",\"inputSchema\":{"
        "\"type\":\"object\",\"properties\":{\"location\":{\"type\":\"string\",\"enum\":["
        "\"New York\",\"Chicago\",\"Los Angeles\"]}},\"required\":[\"location\"]}},"
        "{\"name\":\"get-sum\",\"inputSchema\":{\"type\":\"object\",\"properties\":{"
        "\"a\":{\"type\":\"number\"},\"b\":{\"type\":\"number\"}},\"required\":[\"a\",\"b\"]}}]";
    agent_text_append(reply, first == 0 ? tools : "[]", first == 0 ? sizeof(tools) - 1 : 2);
    return AGENT_DONE;
}

static enum agent_result call(const char *tool, size_t tool_length, const char *arguments,
                              size_t arguments_length, struct agent_text *reply)
{
    struct json_span whole;
    char text[512];
    size_t length;

    if (!json_whole(arguments, arguments_length, &whole)) {
        return AGENT_FAILED;
    }
    if (tool_length == 4 && memcmp(tool, "echo", 4) == 0 &&
        json_string(json_find(whole, "message"), text, sizeof(text), &length)) {
        agent_text_append(reply, "Echo: ", 6);
        agent_text_append(reply, text, length);
        return AGENT_DONE;
    }
    struct json_span a = json_find(whole, "a");
    struct json_span b = json_find(whole, "b");
    if (tool_length == 7 && memcmp(tool, "get-sum", 7) == 0 && a.length > 0 && b.length > 0) {
        long long one = strtoll(a.text, NULL, 10);
        long long other = strtoll(b.text, NULL, 10);
        int written = snprintf(text, sizeof(text), "The sum of %lld and %lld is %lld.", one, other,
                               one + other);
        agent_text_append(reply, text, (size_t)written);
        return AGENT_DONE;
    }
    return AGENT_FAILED;
}

static int compare_documents(const void *one, const void *other)
{
    return strcmp(one, other);
}

static void load_corpus(const char *folder)
{
    char path[1024];
    DIR *directory = opendir(folder);
    const struct dirent *entry;
    while (directory != NULL && document_count < DOCUMENTS &&
           (entry = readdir(directory)) != NULL) {
        (void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (file == NULL) {
            continue;
        }
        (void)snprintf(documents[document_count].name, sizeof(documents[0].name), "%s",
                       entry->d_name);
        size_t length = fread(documents[document_count].text, 1,
                              sizeof(documents[document_count].text) - 1, file);
        documents[document_count].text[length] = '\0';
        documents[document_count].words = count_words(documents[document_count].text, NULL);
        mean_words += (double)documents[document_count].words;
        document_count++;
        (void)fclose(file);
    }
    if (directory != NULL) {
        (void)closedir(directory);
    }
    mean_words /= document_count > 0 ? (double)document_count : 1.0;
    qsort(documents, document_count, sizeof(documents[0]), compare_documents);
}

const struct agent_ports *agent_ports_open(const char **why)
{
    static const struct agent_ports ports = {true, true, search, get, list, call};
    const char *folder = getenv("AGENT_CORPUS");
    if (folder != NULL) {
        load_corpus(folder);
    }
    if (document_count == 0) {
        *why = "AGENT_CORPUS is no folder with documents";
        return NULL;
    }
    return &ports;
}
