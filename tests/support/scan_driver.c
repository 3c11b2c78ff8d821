/* Runs the scan kernel on cases from standard input, each array in memory of its very size, and writes the answers.
 * tests/support/scanning.py writes cases and reads answers. */
#include "scan.c"

#include <stdio.h>
#include <stdlib.h>

#define TURN 256 /* rows of a batch's turn, a multiple of CHUNK */

static void *taken(size_t bytes) {
    char *memory = malloc(bytes ? bytes : 1);
    if (!memory || fread(memory, 1, bytes, stdin) != bytes) exit(2);
    return memory;
}

static void write_answer(int32_t found, const int32_t *rows, const float *scores) {
    fwrite(&found, sizeof found, 1, stdout);
    if (found <= 0) return;
    fwrite(rows, sizeof *rows, found, stdout);
    fwrite(scores, sizeof *scores, found, stdout);
}

typedef struct {
    int32_t rows, factors, stride, n, vectors, n_without, n_listed, masked; /* n_listed: -1 where there is no list */
} Sizes;

typedef struct {
    Model model;
    const float *vectors;
    const int32_t *without;
    Listed listed; /* without rows where there is no list */
    const uint8_t *eligible;
} Case;

/* The list, with the codes and steps of the first half of its rows. */
static Listed listed_of(const Model *m, int32_t count) {
    Listed l = {taken(count * sizeof(int32_t)), count, count / 2, 0, 0};
    int8_t *codes = malloc((size_t)l.head * m->stride + 1);
    float *steps = malloc(l.head * sizeof *steps + 1);
    for (int32_t i = 0; i < l.head; i++) {
        if (l.rows[i] < 0 || l.rows[i] >= m->rows) {
            l.head = i; /* what is not a row has no codes */
            break;
        }
        memcpy(codes + (size_t)i * m->stride, m->codes + (size_t)l.rows[i] * m->stride, m->stride);
        steps[i] = m->steps[l.rows[i]];
    }
    l.codes = codes;
    l.steps = steps;
    return l;
}

static Case case_of(const Sizes *size) {
    size_t rows = size->rows, factors = size->factors;
    float *rho = taken(sizeof *rho);
    Case c = {.model = {size->rows, size->factors, size->stride, *rho, 0, 0, 0, 0}};
    free(rho);
    c.model.codes = taken(rows * size->stride);
    c.model.steps = taken(rows * sizeof(float));
    c.model.norms = taken(rows * sizeof(float));
    c.model.items = taken(rows * factors * sizeof(float));
    c.vectors = taken(size->vectors * factors * sizeof(float));
    c.without = taken(size->n_without * sizeof(int32_t));
    if (size->n_listed >= 0) c.listed = listed_of(&c.model, size->n_listed);
    c.eligible = size->masked ? taken(rows) : 0;
    return c;
}

static void discard(Case *c) {
    const void *arrays[] = {c->model.codes, c->model.steps, c->model.norms, c->model.items, c->vectors, c->without,
                            c->listed.rows, c->listed.codes, c->listed.steps, c->eligible};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free((void *)arrays[i]);
}

static void one_by_one(const Sizes *size, const Case *c) {
    int32_t *rows = malloc(size->n * sizeof *rows);
    float *scores = malloc(size->n * sizeof *scores);
    char *scratch = malloc(scan_scratch_bytes(1, size->stride, size->n));
    Counts counts;
    for (int k = 0; k < size->vectors; k++)
        write_answer(scan_top_n(&c->model, c->vectors + (size_t)k * size->factors, size->n, c->without, size->n_without,
                                size->n_listed < 0 ? 0 : &c->listed, c->eligible, rows, scores, &counts, scratch),
                     rows, scores);
    free(rows), free(scores), free(scratch);
}

static void together(const Sizes *size, const Case *c) {
    int32_t count = size->vectors, n = size->n, *found = malloc(count * sizeof *found), *lengths = malloc(count * sizeof *lengths);
    int32_t *rows = malloc((size_t)count * n * sizeof *rows);
    float *scores = malloc((size_t)count * n * sizeof *scores);
    const float **vectors = malloc(count * sizeof *vectors);
    const int32_t **withouts = malloc(count * sizeof *withouts);
    Counts *counts = malloc(count * sizeof *counts);
    char *scratch = malloc(scan_scratch_bytes(count, size->stride, n));
    for (int k = 0; k < count; k++) {
        vectors[k] = c->vectors + (size_t)k * size->factors;
        withouts[k] = c->without;
        lengths[k] = size->n_without;
    }
    if (scan_many_begin(&c->model, count, n, vectors, withouts, lengths, scratch) == 0) {
        for (int32_t start = 0; start < size->rows; start += TURN) {
            int32_t stop = size->rows - start < TURN ? size->rows : start + TURN;
            if (!scan_many_rows(&c->model, count, n, start, stop, c->eligible, scratch)) break;
        }
        scan_many_end(&c->model, count, n, rows, scores, found, counts, scratch);
        for (int k = 0; k < count; k++) write_answer(found[k], rows + (size_t)k * n, scores + (size_t)k * n);
    }
    free(found), free(lengths), free(rows), free(scores), free(vectors), free(withouts), free(counts), free(scratch);
}

int main(void) {
    Sizes size;
    while (fread(&size, sizeof size, 1, stdin) == 1) {
        Case c = case_of(&size);
        one_by_one(&size, &c);
        if (size.n_listed < 0) together(&size, &c);
        discard(&c);
    }
    return 0;
}
