/* attention.py in C: one key/value head and a few query rows are a task.
 *
 * Rows do not influence each other, and what nothing sees changes no bit, so tasks may be cut anywhere along the
 * rows. Scores and P·V go through the same tile kernels as the weights of a layer.
 */
#include <math.h>

#include "matmul.h"
#include "vector.h"

#define MAX_ROWS 64

typedef struct {
    const float *q;               /* [tokens][heads][dim] */
    float *out;                   /* [tokens][heads][value_dim] */
    const float *sinks;           /* [heads] or NULL */
    const int32_t *low, *high;    /* [tokens]: positions low … high − 1 are visible */
    const uint8_t *k, *ks, *v, *vs; /* [kv_heads][capacity][…] */
    int64_t tokens, heads, kv_heads, dim, value_dim, positions, capacity, tile, chunk;
    int act_format, kv_format;
    float factor;
} attention;

typedef struct { uint8_t *at; } arena;

static void *take(arena *a, size_t bytes) {
    void *p = a->at;
    a->at += (bytes + 63) & ~(size_t)63;
    return p;
}

/* 16 channels of 32·count positions as a weight tile whose contraction runs along positions */
static void value_tile(const attention *at, const uint8_t *v, int64_t first, int64_t count, int64_t channel, int narrow,
                       uint8_t *w, double *wide) {
    int64_t padded = (at->value_dim + 31) / 32 * 32, bytes = tp_row_bytes(at->kv_format, padded);
    for (int64_t j = 0; j < count * TP_BLOCK; j++) {
        const uint8_t *row = v + (first + j) * bytes;
        int present = first + j < at->positions;
        if (narrow) {
            uint8_t *to = w + (j / 4) * 64 + j % 4;
            for (int n = 0; n < TP_TILE; n++) to[4 * n] = present ? (uint8_t)(row[channel + n] ^ 0x80) : 0x80;
        } else {
            double block[TP_BLOCK] = {0};
            int64_t g = channel / TP_BLOCK;
            if (present) tp_block_integers(at->kv_format, row + g * tp_row_bytes(at->kv_format, TP_BLOCK), block);
            memcpy(wide + j * TP_TILE, block + channel % TP_BLOCK, TP_TILE * sizeof(double));
        }
    }
}

float tp_tile_row(float *s, int64_t width, int64_t from, int64_t to, float factor, float top, float *c, float *total) {
#if TP_X86
    if (tp_level == TP_AVX512) return tp_tile_row_avx512(s, width, from, to, factor, top, c, total);
#endif
    int32_t key = tp_key(top);
    for (int64_t j = 0; j < width; j++) {
        s[j] = j >= from && j < to ? tp_canonical(s[j] * factor) : -INFINITY;
        key = tp_key(s[j]) > key ? tp_key(s[j]) : key;
    }
    float next = tp_unkey(key), base = next == -INFINITY ? 0.0f : next, partial[32] = {0};
    for (int64_t j = 0; j < width; j++) s[j] = s[j] == -INFINITY && base == base ? 0.0f : tp_exp2(s[j] - base);
    /* positions fall on partial sums by their place in the tile, which starts at a multiple of 32 */
    for (int64_t j = 0; j < width; j += 32)
        for (int i = 0; i < 32; i++) partial[i] += s[j + i];
    *c = tp_exp2(top - base);
    *total = tp_total(partial, 32);
    return next;
}

static void attend_task(void *context, int64_t task) {
    const attention *a = context;
    int64_t group = a->heads / a->kv_heads, all = a->tokens * group, chunks = (all + a->chunk - 1) / a->chunk;
    int64_t head = task / chunks, r0 = task % chunks * a->chunk, m = r0 + a->chunk < all ? a->chunk : all - r0;
    int64_t k_padded = (a->dim + 31) / 32 * 32, v_padded = (a->value_dim + 31) / 32 * 32;
    int64_t k_blocks = k_padded / 32, tile_blocks = a->tile / 32, tile = a->tile, kv = a->kv_format;
    int narrow = tp_narrow(a->act_format, (int)kv);
    const uint8_t *k = a->k + head * a->capacity * tp_row_bytes((int)kv, k_padded), *ks = a->ks + head * a->capacity * k_blocks;
    const uint8_t *v = a->v + head * a->capacity * tp_row_bytes((int)kv, v_padded);
    const uint8_t *vs = a->vs + head * a->capacity * (v_padded / 32);
    int64_t most_blocks = k_blocks > tile_blocks ? k_blocks : tile_blocks, wider = k_padded > tile ? k_padded : tile;
    size_t rows_bytes = tp_rows_bytes(m, most_blocks);
    arena mem = {tp_scratch(6, 2 * rows_bytes + (size_t)((m + 1) * (3 * wider + v_padded + 8) * 4) + (size_t)m * wider * 2 +
                               (size_t)(m * most_blocks) + (size_t)most_blocks * 512 * 9 + 16384)};
    void *q_memory = take(&mem, rows_bytes), *p_memory = take(&mem, rows_bytes);
    float *score = take(&mem, (size_t)(m * tile) * 4), *moved = take(&mem, (size_t)(m * tile) * 4), *factor = take(&mem, (size_t)tile * 4);
    float *o = take(&mem, (size_t)(m * v_padded) * 4), *query = take(&mem, (size_t)k_padded * 4);
    float *top = take(&mem, (size_t)m * 4), *sum = take(&mem, (size_t)m * 4);
    uint8_t *codes = take(&mem, (size_t)(m * wider) * 2), *scales = take(&mem, (size_t)(m * most_blocks));
    double *wide = take(&mem, (size_t)most_blocks * 512 * 8);
    uint8_t *w = (uint8_t *)wide;
    float *exponent = take(&mem, (size_t)most_blocks * TP_TILE * 4);
    int32_t index[MAX_ROWS], low[MAX_ROWS], high[MAX_ROWS], first = INT32_MAX, last = 0;
    float result[MAX_ROWS][TP_TILE];

    for (int64_t r = 0; r < m; r++) {
        int64_t token = (r0 + r) / group, h = head * group + (r0 + r) % group;
        index[r] = (int32_t)r, low[r] = a->low[token], high[r] = a->high[token];
        first = low[r] < first ? low[r] : first, last = high[r] > last ? high[r] : last;
        top[r] = a->sinks ? tp_canonical(a->sinks[h] * 0x1.715476p+0f) : -INFINITY;
        sum[r] = a->sinks ? 1.0f : 0.0f;
        memcpy(query, a->q + (token * a->heads + h) * a->dim, (size_t)a->dim * 4);
        for (int64_t i = a->dim; i < k_padded; i++) query[i] = 0;
        tp_quantise_row(a->act_format, query, k_padded, codes + r * tp_row_bytes(a->act_format, k_padded), scales + r * k_blocks);
    }
    for (int64_t i = 0; i < m * v_padded; i++) o[i] = 0;
    tp_weights keys = {(int)kv, k, ks, a->positions, k_blocks};
    tp_range whole = {0, 1, k_blocks};
    tp_rows queries = tp_prepare_rows(a->act_format, (int)kv, codes, scales, m, k_blocks, whole, q_memory);

    for (int64_t start = first / tile * tile; start < last; start += tile) {
        int64_t from = first > start ? first : start, to = last < start + tile ? last : start + tile;
        int64_t b0 = (from - start) / 32, count = (to - start + 31) / 32 - b0; /* blocks of the tile that are seen */
        int64_t p0 = start + b0 * 32, width = count * 32;
        for (int64_t j = 0; j < width; j += TP_TILE) {
            if (p0 + j >= to) {
                for (int64_t r = 0; r < m; r++) memset(score + r * tile + j, 0, TP_TILE * sizeof(float));
                continue;
            }
            tp_tile_exponents(&keys, p0 + j, whole, exponent);
            tp_tile t = {w, narrow ? NULL : wide, exponent, tp_weight_bias((int)kv)};
            if (narrow) tp_expand_any(&keys, p0 + j, whole, w);
            else tp_expand_wide(&keys, p0 + j, whole, wide, exponent);
            tp_multiply_any(&t, &queries, index, m, result);
            for (int64_t r = 0; r < m; r++) memcpy(score + r * tile + j, result[r], TP_TILE * sizeof(float));
        }
        for (int64_t r = 0; r < m; r++) {
            float c, added;
            top[r] = tp_tile_row(score + r * tile, width, low[r] - p0, high[r] - p0, a->factor, top[r], &c, &added);
            sum[r] = sum[r] * c + added;
            for (int64_t i = 0; i < v_padded; i++) o[r * v_padded + i] *= c;
        }
        tp_range range = {0, 1, count};
        for (int64_t g = 0; g < v_padded / 32; g++) {
            for (int64_t j = 0; j < width; j++) {
                int scale = p0 + j < a->positions ? vs[(p0 + j) * (v_padded / 32) + g] : 0;
                factor[j] = scale == 255 ? NAN : scale ? tp_float((uint32_t)scale << 23) : 0x1p-127f;
            }
            for (int64_t r = 0; r < m; r++) {
                int64_t j0 = low[r] > p0 ? low[r] - p0 : 0, j1 = high[r] - p0 < width ? high[r] - p0 : width;
                float *to_row = moved + r * tile;
                if (j1 < j0) j1 = j0 = 0;
                if (j0 > width) j0 = j1 = width;
                for (int64_t j = 0; j < j0; j++) to_row[j] = 0;
                for (int64_t j = j0; j < j1; j++) to_row[j] = score[r * tile + j] * factor[j];
                for (int64_t j = j1; j < width; j++) to_row[j] = 0;
                tp_quantise_row(a->act_format, moved + r * tile, width, codes + r * tp_row_bytes(a->act_format, width),
                                scales + r * count);
            }
            tp_rows rows = tp_prepare_rows(a->act_format, (int)kv, codes, scales, m, count, range, p_memory);
            for (int64_t channel = g * 32; channel < g * 32 + 32; channel += TP_TILE) {
                value_tile(a, v, p0, count, channel, narrow, w, wide);
                for (int64_t i = 0; i < count * TP_TILE; i++) exponent[i] = (float)-tp_fraction((int)kv);
                tp_tile t = {w, narrow ? NULL : wide, exponent, 128};
                tp_multiply_any(&t, &rows, index, m, result);
                for (int64_t r = 0; r < m; r++)
                    for (int n = 0; n < TP_TILE; n++) o[r * v_padded + channel + n] += result[r][n];
            }
        }
    }
    for (int64_t r = 0; r < m; r++) {
        float inverse = sum[r] == 0 ? 0.0f : tp_reciprocal(tp_canonical(sum[r]));
        int64_t token = (r0 + r) / group, h = head * group + (r0 + r) % group;
        float *out = a->out + (token * a->heads + h) * a->value_dim;
        for (int64_t i = 0; i < a->value_dim; i++) out[i] = tp_canonical(o[r * v_padded + i] * inverse);
    }
}

/* Attention of `tokens` queries over one sequence's cache; see the structure for shapes. */
void tp_attention(const float *q, const float *sinks, const int32_t *low, const int32_t *high, const uint8_t *k,
                            const uint8_t *ks, const uint8_t *v, const uint8_t *vs, int64_t tokens, int64_t heads,
                            int64_t kv_heads, int64_t dim, int64_t value_dim, int64_t positions, int64_t capacity,
                            int64_t tile, int act_format, int kv_format, float factor, float *out) {
    int64_t all = tokens * (heads / kv_heads), chunk = all < MAX_ROWS ? all : MAX_ROWS;
    if (kv_heads == 1 && all > 8 && all < 2 * MAX_ROWS) chunk = (all + 1) / 2 < MAX_ROWS ? (all + 1) / 2 : MAX_ROWS;
    attention a = {q, out, sinks, low, high, k, ks, v, vs, tokens, heads, kv_heads, dim, value_dim, positions, capacity,
                   tile, chunk, act_format, kv_format, factor};
    int64_t each = chunk * positions * (dim + value_dim + 1000);
    tp_parallel(attend_task, &a, kv_heads * ((all + chunk - 1) / chunk), each);
}
