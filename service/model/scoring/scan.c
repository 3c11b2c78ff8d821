/* Exact top N of inner products: int8 codes of the item rows bound every score from both sides.
 *
 * A scan reads the codes, a quarter of the bytes of the factors, by descending norm. It keeps the rows whose upper bound
 * reaches the n-th greatest lower bound, and ends where the norms say that no later row can. Only the rows that it keeps are
 * scored, from their float32 factors, in an order of additions that gives the same bits on every processor, and in NumPy.
 * docs/exact-top-n.md has the proof.
 *
 * Plain C: the loops are ones that compilers make vectors of, for several processors where the compiler can. Nothing here
 * allocates, or keeps anything between calls but in the caller's scratch memory, so any number of threads may scan at once.
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0
#error "float32 arithmetic is not float32 here, so scores would differ from NumPy's"
#endif

/* What a library must have for this version of its caller: counted up with every change below that a caller sees. */
const int32_t scan_version = 2;

#define UNIT_ROUNDOFF 5.9604644775390625e-08 /* 2^-24 */
#define SMALLEST_STEP 1e-30                  /* what quantizing takes for 0 */
#define ROUNDED_UP (1 + 1e-6)                /* more than the roundings of the few operations that it covers */
#define LARGEST_SCORE 1e37                   /* so that no bound overflows */
#define LANES 16
#define CHUNK 64
#define BINS 2048
#define LINE 64

#if !defined(ONE_PROCESSOR) && defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && __GNUC__ >= 12
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
/* Processors that multiply and add 16-bit numbers in one instruction; target_clones does not know how to choose these. */
#define FUSED_DOTS __attribute__((target("arch=x86-64-v4,avx512vnni")))
static int has_fused_dots(void) {
    return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#else
#define FOR_EACH_PROCESSOR
#endif

#ifdef __GNUC__
#define INLINED static inline __attribute__((always_inline))
#else
#define INLINED static inline
#endif

typedef struct {
    int32_t rows, factors, stride; /* stride: bytes of a row of codes; those beyond the factors are 0 */
    float rho;                     /* a row differs from its step times its codes by rho times its step at most, in norm */
    const int8_t *codes;
    const float *steps, *norms, *items;
} Model;

typedef struct {
    const int32_t *rows; /* ascending */
    int32_t count, head; /* the codes and steps of so many of the first rows are also here, one after the other */
    const int8_t *codes;
    const float *steps;
} Listed;

typedef struct {
    int64_t scanned, scored; /* rows */
} Counts;

typedef struct {
    float high; /* no score of the row is greater */
    float score;
    int32_t row;
} Candidate;

typedef struct {
    const float *vector;
    int16_t *digits; /* the vector is about scale times these */
    Candidate *kept; /* by row */
    uint64_t *keys;
    const int32_t *without, *without_end;
    double reach, slack, tiny; /* per norm, per norm, and beside these: see prepare */
    float scale, kappa, floor, span, bins_per_unit;
    int32_t n, capacity, held, active;
    int32_t level, above; /* the bin whose lower edge is the floor, and how many lower bounds are in it and those above */
    Counts counts;
    int32_t bins[BINS];
} Search;

static size_t aligned(size_t bytes) { return (bytes + LINE - 1) / LINE * LINE; }

static int32_t capacity_for(int32_t n) { return 4 * n + 1024; }

static int64_t bytes_of_search(int32_t stride, int32_t n) {
    size_t capacity = (size_t)capacity_for(n);
    return (int64_t)(aligned(sizeof(Search)) + aligned(stride * sizeof(int16_t)) + aligned(capacity * sizeof(Candidate)) +
                     aligned(2 * capacity * sizeof(uint64_t)));
}

/* The bytes of scratch memory that searches for n rows each need. */
int64_t scan_scratch_bytes(int32_t count, int32_t stride, int32_t n) { return count * bytes_of_search(stride, n) + LINE; }

/* Where one of the searches is: at the start of a cache line, because a vector that crosses into another is two loads. */
static Search *search_at(char *scratch, int32_t stride, int32_t n, int32_t place) {
    char *first = scratch + (LINE - (uintptr_t)scratch % LINE) % LINE;
    return (Search *)(first + place * bytes_of_search(stride, n));
}

static Search *laid_out(Search *s, int32_t stride, int32_t n) {
    char *memory = (char *)s;
    s->n = n;
    s->capacity = capacity_for(n);
    s->digits = (int16_t *)(memory += aligned(sizeof *s));
    s->kept = (Candidate *)(memory += aligned(stride * sizeof(int16_t)));
    s->keys = (uint64_t *)(memory + aligned(s->capacity * sizeof(Candidate)));
    return s;
}

/* ---- the arithmetic, compiled for each processor ---- */

/* Dot products of rows of codes: those listed, or the first. */
FOR_EACH_PROCESSOR
static void dots_of(const int8_t *restrict codes, const int32_t *restrict listed, const int16_t *restrict digits, int stride,
                    int count, int32_t *restrict dots) {
    for (int i = 0; i < count; i++) {
        const int8_t *restrict row = codes + (size_t)(listed ? listed[i] : i) * stride;
        int32_t dot = 0;
        for (int j = 0; j < stride; j++) dot += (int16_t)row[j] * digits[j];
        dots[i] = dot;
    }
}

/* The same of the first rows for four vectors, for whom a row is widened once. */
INLINED void four_dots(const int8_t *restrict codes, const int16_t *const *digits, int stride, int count,
                       int32_t (*restrict dots)[CHUNK]) {
    const int16_t *restrict a = digits[0], *restrict b = digits[1], *restrict c = digits[2], *restrict d = digits[3];
    for (int i = 0; i < count; i++, codes += stride) {
        int32_t of_a = 0, of_b = 0, of_c = 0, of_d = 0;
        for (int j = 0; j < stride; j++) {
            int16_t code = codes[j];
            of_a += code * a[j];
            of_b += code * b[j];
            of_c += code * c[j];
            of_d += code * d[j];
        }
        dots[0][i] = of_a;
        dots[1][i] = of_b;
        dots[2][i] = of_c;
        dots[3][i] = of_d;
    }
}

FOR_EACH_PROCESSOR
static void dots_of_four(const int8_t *codes, const int16_t *const *digits, int stride, int count, int32_t (*dots)[CHUNK]) {
    four_dots(codes, digits, stride, count, dots);
}

#ifdef FUSED_DOTS
FUSED_DOTS static void fused_dots_of_four(const int8_t *codes, const int16_t *const *digits, int stride, int count,
                                          int32_t (*dots)[CHUNK]) {
    four_dots(codes, digits, stride, count, dots);
}
#define dots_of_four (has_fused_dots() ? fused_dots_of_four : dots_of_four)
#endif

/* Upper bounds of the scores of a chunk; return whether any is above the floor. */
FOR_EACH_PROCESSOR
static int bounds_of(const int32_t *restrict dots, const float *restrict steps, int count, float scale, float kappa, float extra,
                     float floor, float *restrict high) {
    int any = 0;
    for (int i = 0; i < count; i++) {
        high[i] = steps[i] * ((float)dots[i] * scale + kappa) + extra;
        any |= high[i] > floor;
    }
    return any;
}

/* The score of a row: product j is added to lane j mod 16, then halves of the lanes to one another. */
FOR_EACH_PROCESSOR
static float score_of(const float *restrict row, const float *restrict vector, int factors) {
    float lane[LANES] = {0};
    int j = 0;
    for (; j + LANES <= factors; j += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += row[j + l] * vector[j + l];
    for (int l = 0; j + l < factors; l++) lane[l] += row[j + l] * vector[j + l];
    for (int half = LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

/* ---- one search ---- */

static float largest_of(const float *vector, int factors) {
    float largest = 0;
    for (int j = 0; j < factors; j++) largest = fabsf(vector[j]) > largest ? fabsf(vector[j]) : largest;
    return largest;
}

/* Round the vector to digits; return the norm of what was rounded away. */
static double quantize(Search *s, const float *vector, const Model *m) {
    int limit = INT32_MAX / (128 * m->stride); /* no dot product exceeds 31 bits */
    limit = limit > INT16_MAX ? INT16_MAX : limit;
    float inverse = 1 / (s->scale = largest_of(vector, m->factors) / limit);
    if (!(inverse < 1e38f)) s->scale = inverse = 0; /* so short that all of it is rounded away */
    double off = 0;
    for (int j = 0; j < m->factors; j++) {
        float digit = vector[j] * inverse + (vector[j] < 0 ? -0.5f : 0.5f);
        s->digits[j] = (int16_t)(digit > limit ? limit : digit > -limit ? digit : -limit);
        double rest = vector[j] - (double)s->scale * s->digits[j];
        off += rest * rest;
    }
    memset(s->digits + m->factors, 0, (m->stride - m->factors) * sizeof *s->digits);
    return sqrt(off) * ROUNDED_UP;
}

/* With u the vector and d what quantize rounded away, a row of norm v, step c, and dot product D is bounded by
 * score <= v reach + tiny, |score - c scale D| <= c kappa + v slack + tiny. */
static void set_bounds(Search *s, const Model *m, double norm, double off) {
    double errors = (m->factors + 32) * UNIT_ROUNDOFF, gamma = errors / (1 - errors);
    s->reach = norm * (1 + gamma) * ROUNDED_UP;
    s->slack = (off + 2 * norm * gamma) * ROUNDED_UP;
    s->tiny = norm > 0 ? (128 * norm + 1) * SMALLEST_STEP * m->factors : 0;
    s->kappa = (float)(m->rho * (norm + off) * ROUNDED_UP);
    s->span = (float)((s->reach + s->slack) * m->norms[0] * 1.01 + s->tiny);
    s->bins_per_unit = s->span > 1e-30f ? BINS / (2 * s->span) : 0;
}

/* Begin a search; return 0 where a bound of it might overflow. */
static int prepare(Search *s, const Model *m, const float *vector, const int32_t *without, int32_t n_without) {
    double square = 0;
    for (int j = 0; j < m->factors; j++) square += (double)vector[j] * vector[j];
    s->vector = vector;
    s->without = without;
    s->without_end = without + n_without;
    s->held = s->level = s->above = 0;
    s->active = 1;
    s->floor = -INFINITY;
    s->counts = (Counts){0, 0};
    memset(s->bins, 0, sizeof s->bins);
    set_bounds(s, m, sqrt(square) * ROUNDED_UP, quantize(s, vector, m));
    return s->reach * m->norms[0] < LARGEST_SCORE;
}

/* Count a lower bound, and raise the floor to the highest edge of a bin that n of them reach. The bins span -span ... span. */
static void tally(Search *s, float low) {
    float place = (low + s->span) * s->bins_per_unit;
    int bin = !(place > 0) ? 0 : place < BINS - 1 ? (int)place : BINS - 1;
    s->bins[bin]++;
    if (bin < s->level || ++s->above - s->bins[s->level] < s->n) return;
    do s->above -= s->bins[s->level++];
    while (s->above - s->bins[s->level] >= s->n);
    /* The thousandth of a bin is more than rounding can move a bound across its edge. */
    s->floor = fmaxf(s->floor, ((float)s->level - 0.001f) / s->bins_per_unit - s->span);
}

static void trim(Search *s) {
    int held = 0;
    for (int i = 0; i < s->held; i++)
        if (s->kept[i].high >= s->floor) s->kept[held++] = s->kept[i];
    s->held = held;
}

/* Sort by the upper 32 bits, in either half of `keys`; equal ones keep their order. */
static const uint64_t *sorted(uint64_t *keys, int count) {
    uint64_t *other = keys + count;
    for (int shift = 32; shift < 64; shift += 8) {
        int32_t start[257] = {0};
        for (int i = 0; i < count; i++) start[(keys[i] >> shift & 255) + 1]++;
        for (int k = 0; k < 255; k++) start[k + 1] += start[k];
        for (int i = 0; i < count; i++) other[start[keys[i] >> shift & 255]++] = keys[i];
        uint64_t *swapped = keys;
        keys = other;
        other = swapped;
    }
    return keys;
}

/* The same for few. */
static const uint64_t *inserted(uint64_t *keys, int count) {
    for (int i = 1; i < count; i++) {
        uint64_t key = keys[i];
        int j = i;
        for (; j && keys[j - 1] > key; j--) keys[j] = keys[j - 1];
        keys[j] = key;
    }
    return keys;
}

/* A number that is smaller for a greater score, and the candidate's place. */
static uint64_t key_of(float score, int place) {
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    bits = bits >> 31 ? bits : ~bits & INT32_MAX;
    return (uint64_t)bits << 32 | (uint32_t)place;
}

/* Score what was kept; return the places of candidates by descending score, in the lower 32 bits. */
static const uint64_t *ranked(Search *s, const Model *m) {
    for (int i = 0; i < s->held; i++) {
        Candidate *c = &s->kept[i];
        c->score = score_of(m->items + (size_t)c->row * m->factors, s->vector, m->factors);
        s->keys[i] = key_of(c->score, i);
    }
    s->counts.scored += s->held;
    return s->held > 48 ? sorted(s->keys, s->held) : inserted(s->keys, s->held);
}

static Candidate *nth(const Search *s, const uint64_t *order, int place) { return &s->kept[(uint32_t)order[place]]; }

/* Make room for another chunk: where the bounds cannot tell enough candidates apart, their scores do. */
static void make_room(Search *s, const Model *m) {
    trim(s);
    if (s->held <= s->capacity / 2) return;
    const uint64_t *order = ranked(s, m);
    for (int k = 0; k < s->held; k++) nth(s, order, k)->high = k < s->n ? nth(s, order, k)->score : -INFINITY;
    s->floor = fmaxf(s->floor, nth(s, order, s->n - 1)->score);
    trim(s);
}

static int is_left_out(Search *s, int32_t row, const uint8_t *eligible) {
    if (eligible && !eligible[row]) return 1;
    while (s->without < s->without_end && *s->without < row) s->without++;
    return s->without < s->without_end && *s->without == row;
}

static void keep(Search *s, const Model *m, int32_t row, float high, float low) {
    if (m->norms[row] == 0 || s->reach == 0) high = low = 0; /* exactly */
    if (!(high > s->floor)) return;
    s->kept[s->held++] = (Candidate){high, 0, row};
    if (s->reach > 0) tally(s, low);
    else if (s->held >= s->n) s->floor = 0;
}

/* Whether rows of at most this norm may be among the best. */
static int may_reach(const Search *s, float norm) {
    return norm * s->reach + s->tiny > s->floor && !(norm == 0 && s->floor >= 0);
}

/* Take in a chunk with its dot products and steps: the rows from `first` on, or those listed, of which `first` has the greatest
 * norm. */
static void take(Search *s, const Model *m, int32_t first, const int32_t *listed, const float *steps, const int32_t *dots, int count,
                 const uint8_t *eligible) {
    float high[CHUNK], extra = (float)(s->slack * m->norms[first] + s->tiny);
    if (s->held + count > s->capacity) make_room(s, m);
    s->counts.scanned += count;
    if (!bounds_of(dots, steps, count, s->scale, s->kappa, extra, s->floor, high)) return;
    for (int i = 0; i < count; i++) {
        int32_t row = listed ? listed[i] : first + i;
        if (high[i] > s->floor && !is_left_out(s, row, eligible))
            keep(s, m, row, high[i], high[i] - 2 * (steps[i] * s->kappa + extra));
    }
}

static const int8_t *codes_at(const Model *m, int32_t row) { return m->codes + (size_t)row * m->stride; }

/* Take in the chunk of listed rows from the i-th on. */
static void take_listed(Search *s, const Model *m, const Listed *l, int32_t i, int count) {
    const int32_t *rows = l->rows + i;
    int32_t dots[CHUNK];
    if (i + count <= l->head) {
        dots_of(l->codes + (size_t)i * m->stride, 0, s->digits, m->stride, count, dots);
        take(s, m, *rows, rows, l->steps + i, dots, count, 0);
        return;
    }
    float steps[CHUNK];
    for (int k = 0; k < count; k++) steps[k] = m->steps[rows[k]];
    dots_of(m->codes, rows, s->digits, m->stride, count, dots);
    take(s, m, *rows, rows, steps, dots, count, 0);
}

static int chunk_of(int32_t rest) { return rest < CHUNK ? rest : CHUNK; }

static int are_rows(const Model *m, const int32_t *listed, int count) {
    for (int i = 0; i < count; i++)
        if (listed[i] < 0 || listed[i] >= m->rows) return 0;
    return 1;
}

/* Return 0 where a number listed is not a row. */
static int scan_listed(Search *s, const Model *m, const Listed *l) {
    for (int32_t i = 0; i < l->count; i += CHUNK) {
        int count = chunk_of(l->count - i);
        if (!are_rows(m, l->rows + i, count)) return 0;
        if (!may_reach(s, m->norms[l->rows[i]])) return 1;
        take_listed(s, m, l, i, count);
    }
    return 1;
}

static void scan_all(Search *s, const Model *m, const uint8_t *eligible) {
    for (int32_t row = 0; row < m->rows && may_reach(s, m->norms[row]); row += CHUNK) {
        int32_t dots[CHUNK], count = chunk_of(m->rows - row);
        dots_of(codes_at(m, row), 0, s->digits, m->stride, count, dots);
        take(s, m, row, 0, m->steps + row, dots, count, eligible);
    }
}

/* Write the n best, best first; return how many there are. */
static int32_t finish(Search *s, const Model *m, int32_t *rows, float *scores, Counts *counts) {
    trim(s);
    const uint64_t *order = ranked(s, m);
    int32_t found = s->held < s->n ? s->held : s->n;
    for (int k = 0; k < found; k++) {
        rows[k] = nth(s, order, k)->row;
        scores[k] = nth(s, order, k)->score;
    }
    *counts = s->counts;
    return found;
}

/* ---- what is called ---- */

#define DECLINED -1
#define NOT_A_ROW -2

/* Find the n best rows for a vector, of all rows, or of those listed, or where `eligible` is not 0; without those
 * in `without` (ascending). rows int32 [n] and scores float32 [n] are written; scratch: scan_scratch_bytes.
 * Return how many were found; DECLINED where a bound might overflow, NOT_A_ROW where a number listed is none. */
int32_t scan_top_n(const Model *m, const float *vector, int32_t n, const int32_t *without, int32_t n_without, const Listed *listed,
                   const uint8_t *eligible, int32_t *rows, float *scores, Counts *counts, char *scratch) {
    Search *s = laid_out(search_at(scratch, m->stride, n, 0), m->stride, n);
    if (!prepare(s, m, vector, without, n_without)) return DECLINED;
    if (!listed) scan_all(s, m, eligible);
    else if (!scan_listed(s, m, listed)) return NOT_A_ROW;
    return finish(s, m, rows, scores, counts);
}

/* Many searches that read each chunk of codes one after the other, while it is in the cache: scan_many_begin, then
 * scan_many_rows until all rows were offered or nobody needs more, then scan_many_end.
 * vectors, withouts, n_withouts: of each; scratch: scan_scratch_bytes. */

/* Return 0, or DECLINED where a bound might overflow. */
int32_t scan_many_begin(const Model *m, int32_t count, int32_t n, const float *const *vectors, const int32_t *const *withouts,
                        const int32_t *n_withouts, char *scratch) {
    for (int32_t k = 0; k < count; k++) {
        Search *s = laid_out(search_at(scratch, m->stride, n, k), m->stride, n);
        if (!prepare(s, m, vectors[k], withouts[k], n_withouts[k])) return DECLINED;
    }
    return 0;
}

/* Find up to four searches, from the k-th on, that may need the rows from `row`; return the place after the last. */
static int32_t next_four(const Model *m, int32_t count, int32_t n, char *scratch, int32_t k, int32_t row, Search **four, int *found) {
    for (*found = 0; k < count && *found < 4; k++) {
        Search *s = search_at(scratch, m->stride, n, k);
        if (s->active && (s->active = may_reach(s, m->norms[row]))) four[(*found)++] = s;
    }
    return k;
}

/* Have one to four searches take in a chunk. */
static void take_together(Search **four, int found, const Model *m, int32_t row, int count, const uint8_t *eligible) {
    int32_t dots[4][CHUNK];
    for (int i = found; i < 4; i++) four[i] = four[0]; /* computed for nothing, which is sooner than one by one */
    const int16_t *digits[] = {four[0]->digits, four[1]->digits, four[2]->digits, four[3]->digits};
    dots_of_four(codes_at(m, row), digits, m->stride, count, dots);
    for (int i = 0; i < found; i++) take(four[i], m, row, 0, m->steps + row, dots[i], count, eligible);
}

/* Scan the rows from `start`, a multiple of CHUNK, to before `stop`; return whether any search needs later rows. */
int32_t scan_many_rows(const Model *m, int32_t count, int32_t n, int32_t start, int32_t stop, const uint8_t *eligible, char *scratch) {
    int32_t active = 1;
    for (int32_t row = start; row < stop && active; row += CHUNK) {
        active = 0;
        for (int32_t k = 0; k < count;) {
            Search *four[4];
            int found;
            k = next_four(m, count, n, scratch, k, row, four, &found);
            if (found) take_together(four, found, m, row, chunk_of(stop - row), eligible);
            active |= found > 0;
        }
    }
    return active;
}

/* Write the n best of each: rows int32 [count, n], scores float32 [count, n], found int32 [count], counts [count]. */
void scan_many_end(const Model *m, int32_t count, int32_t n, int32_t *rows, float *scores, int32_t *found, Counts *counts,
                   char *scratch) {
    for (int32_t k = 0; k < count; k++)
        found[k] = finish(search_at(scratch, m->stride, n, k), m, rows + (size_t)k * n, scores + (size_t)k * n, &counts[k]);
}
