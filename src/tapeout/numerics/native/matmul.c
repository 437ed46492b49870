/* The matrix product of product.py, over one set of weights or over those of chosen experts.
 *
 * A task is one tile of 16 outputs of one group: its weights are expanded once (packed ones need none), then
 * every row of the group is multiplied with them from the cache.
 */
#include <math.h>

#include "matmul.h"

#define CHUNK 64 /* rows whose results are held at a time */

float tp_block_exponent(int code, int fraction) { return code == 255 ? NAN : (float)(code - 127 - fraction); }

static inline int32_t block_sum(const int8_t *x) {
#if TP_X86 && defined(__SSE2__)
    const __m128i flip = _mm_set1_epi8((char)0x80), zero = _mm_setzero_si128();
    __m128i a = _mm_sad_epu8(_mm_xor_si128(_mm_loadu_si128((const __m128i *)x), flip), zero);
    __m128i b = _mm_sad_epu8(_mm_xor_si128(_mm_loadu_si128((const __m128i *)x + 1), flip), zero);
    a = _mm_add_epi64(a, b);
    return _mm_cvtsi128_si32(a) + _mm_extract_epi16(a, 4) - 32 * 128;
#else
    int32_t s = 0;
    for (int j = 0; j < TP_BLOCK; j++) s += x[j];
    return s;
#endif
}

size_t tp_rows_bytes(int64_t m, int64_t count) { return (size_t)(m * count) * (8 + 8 * TP_BLOCK) + 256; }

tp_rows tp_prepare_rows(int act_format, int weight_format, const uint8_t *codes, const uint8_t *scales, int64_t m,
                        int64_t blocks, tp_range range, void *memory) {
    int64_t count = range.count, bytes = tp_row_bytes(act_format, TP_BLOCK);
    int narrow = tp_narrow(act_format, weight_format);
    double *wide = memory;
    int8_t *a = memory;
    float *exponent = (float *)(wide + m * count * TP_BLOCK);
    int32_t *sum = (int32_t *)(exponent + m * count);
    for (int64_t r = 0; r < m; r++)
        for (int64_t i = 0; i < count; i++) {
            int64_t b = range.first + i * range.step, at = r * count + i;
            const uint8_t *from = codes + (r * blocks + b) * bytes;
            exponent[at] = tp_block_exponent(scales[r * blocks + b], tp_fraction(act_format));
            if (!narrow) {
                if (tp_block_integers(act_format, from, wide + at * TP_BLOCK)) exponent[at] = NAN;
                continue;
            }
            const int8_t *x = (const int8_t *)from;
            int8_t *to = a + at * TP_BLOCK;
            sum[at] = block_sum(x);
            if (weight_format == TP_MXFP4) {
                for (int j = 0; j < TP_BLOCK; j++) to[(j / 8) * 8 + (j & 1) * 4 + (j % 8) / 2] = x[j];
            } else memcpy(to, x, TP_BLOCK);
        }
    return (tp_rows){a, sum, narrow ? NULL : wide, exponent, count};
}

void tp_tile_exponents(const tp_weights *w, int64_t row, tp_range range, float *exponent) {
    int fraction = tp_fraction(w->format), packed = w->format == TP_MXINT8_PACKED;
    float table[256]; /* cheaper than a branch for each of the tile's blocks */
    for (int code = 0; code < 255; code++) table[code] = (float)(code - 127 - fraction);
    table[255] = NAN;
    if (packed && range.step == 1) {
        const uint8_t *s = w->scales + row * w->blocks + range.first * TP_TILE;
        for (int64_t i = 0; i < range.count * TP_TILE; i++) exponent[i] = table[s[i]];
        return;
    }
    int64_t ready = 0; /* blocks */
#if TP_X86
    if (tp_level == TP_AVX512 && !packed && range.step == 1 && row + TP_TILE <= w->n && w->blocks < 1 << 26) {
        ready = range.count / 4 * 4;
        tp_exponents_avx512(w->scales + row * w->blocks + range.first, w->blocks, ready / 4, fraction, exponent);
    }
#endif
    for (int64_t lane = 0; lane < TP_TILE; lane++) {
        int64_t r = row + lane < w->n ? row + lane : w->n - 1;
        const uint8_t *s = packed ? w->scales + row * w->blocks + lane : w->scales + r * w->blocks;
        int64_t stride = packed ? TP_TILE : 1;
        for (int64_t i = ready; i < range.count; i++)
            exponent[i * TP_TILE + lane] = table[s[(range.first + i * range.step) * stride]];
    }
}

void tp_multiply_wide(const tp_tile *tile, const tp_rows *rows, const int32_t *index, int64_t m,
                      float (*out)[TP_TILE]) {
    for (int64_t r = 0; r < m; r++) {
        const double *a = rows->wide + index[r] * rows->count * TP_BLOCK;
        float acc[TP_TILE] = {0};
        for (int64_t b = 0; b < rows->count; b++) {
            double d[TP_TILE] = {0}; /* exact: sums stay below 2^53 */
            for (int j = 0; j < TP_BLOCK; j++)
                for (int n = 0; n < TP_TILE; n++)
                    d[n] += a[b * TP_BLOCK + j] * tile->wide[(b * TP_BLOCK + j) * TP_TILE + n];
            for (int n = 0; n < TP_TILE; n++) {
                float e = tile->exponent[b * TP_TILE + n] + rows->exponent[index[r] * rows->count + b];
                acc[n] += e != e ? NAN : (float)(d[n] * tp_pow2((int)e));
            }
        }
        for (int n = 0; n < TP_TILE; n++) out[r][n] = tp_canonical(acc[n]);
    }
}

void tp_expand_wide(const tp_weights *w, int64_t row, tp_range range, double *out, float *exponent) {
    double block[TP_BLOCK];
    int packed = w->format == TP_MXINT8_PACKED;
    int64_t bytes = tp_row_bytes(w->format, TP_BLOCK);
    for (int64_t lane = 0; lane < TP_TILE; lane++) {
        int64_t r = row + lane < w->n ? row + lane : w->n - 1;
        for (int64_t i = 0; i < range.count; i++) {
            int64_t b = range.first + i * range.step;
            if (packed) {
                const uint8_t *tile = w->codes + (row * w->blocks + b * TP_TILE) * TP_BLOCK;
                for (int j = 0; j < TP_BLOCK; j++) block[j] = (int)tile[((j / 4) * TP_TILE + lane) * 4 + j % 4] - 128;
            } else if (tp_block_integers(w->format, w->codes + (r * w->blocks + b) * bytes, block)) {
                exponent[i * TP_TILE + lane] = NAN;
            }
            for (int j = 0; j < TP_BLOCK; j++) out[(i * TP_BLOCK + j) * TP_TILE + lane] = block[j];
        }
    }
}

typedef struct {
    tp_weights w;                                /* of expert 0 */
    int64_t code_stride, scale_stride;           /* bytes from one expert to the next */
    const int32_t *expert, *offset, *index;      /* of each group; index: activation row of each output row */
    const float *bias;                           /* [experts][n] or NULL, added last */
    tp_range range;
    tp_rows rows;
    float *out;                                  /* [rows of all groups][n] */
} product;

static void product_task(void *context, int64_t task) {
    const product *p = context;
    int64_t tiles = (p->w.n + TP_TILE - 1) / TP_TILE, group = task / tiles, row = task % tiles * TP_TILE;
    int64_t first = p->offset[group], last = p->offset[group + 1], count = p->range.count;
    if (first == last) return;
    tp_weights w = p->w;
    int64_t expert = p->expert ? p->expert[group] : 0;
    w.codes += expert * p->code_stride, w.scales += expert * p->scale_stride;
    float *exponent = tp_scratch(0, (size_t)count * TP_TILE * 4 + 64);
    tp_tile_exponents(&w, row, p->range, exponent);
    tp_tile tile = {NULL, NULL, exponent, tp_weight_bias(w.format)};
    int single = tp_level == TP_AVX512 && !p->rows.wide && w.format == TP_MXFP4 && p->range.step == 1 && last == first + 1 &&
                 row + TP_TILE <= w.n;
    if (p->rows.wide) {
        double *wide = tp_scratch(1, (size_t)count * 512 * 8 + 64);
        tp_expand_wide(&w, row, p->range, wide, exponent);
        tile.wide = wide;
    } else if (w.format == TP_MXINT8_PACKED && p->range.step == 1) {
        tile.w = w.codes + row * w.blocks * TP_BLOCK + p->range.first * 512;
    } else if (!single) {
        uint8_t *buffer = tp_scratch(1, (size_t)count * 512 + 64);
        const uint8_t *packed = w.codes + row * w.blocks * TP_BLOCK;
        if (w.format != TP_MXINT8_PACKED) tp_expand_any(&w, row, p->range, buffer);
        else for (int64_t i = 0; i < count; i++)
            memcpy(buffer + i * 512, packed + (p->range.first + i * p->range.step) * 512, 512);
        tile.w = buffer;
    }
    int64_t lanes = p->w.n - row < TP_TILE ? p->w.n - row : TP_TILE;
    const float *add = p->bias ? p->bias + expert * p->w.n + row : NULL;
    float result[CHUNK][TP_TILE];
    for (int64_t r = first; r < last; r += CHUNK) {
        int64_t m = last - r < CHUNK ? last - r : CHUNK;
#if TP_X86
        if (single) tp_single_avx512(&w, row, p->range, &p->rows, p->index[r], exponent, result[0]);
        else
#endif
        tp_multiply_any(&tile, &p->rows, p->index + r, m, result);
        for (int64_t i = 0; i < m; i++) {
            float *out = p->out + (r + i) * p->w.n + row;
            for (int64_t n = 0; n < lanes; n++) out[n] = add ? tp_canonical(result[i][n] + add[n]) : result[i][n];
        }
    }
}

/* out[i] = activations[index[i]] · weights of the group that holds i, for every i below offset[groups].
 * Blocks first, first + step, … (count of them) of the contraction. index NULL: row i. */
void tp_matmul(int act_format, const uint8_t *act_codes, const uint8_t *act_scales, int64_t m,
                         int format, const uint8_t *codes, const uint8_t *scales, int64_t n, int64_t blocks,
                         int64_t first, int64_t step, int64_t count, int64_t groups, const int32_t *expert,
                         const int32_t *offset, const int32_t *index, int64_t code_stride, int64_t scale_stride,
                         const float *bias, float *out) {
    tp_range range = {first, step, count};
    int32_t whole[2] = {0, (int32_t)m};
    if (!offset) offset = whole, groups = 1;
    if (!index) {
        int32_t *identity = tp_scratch(5, (size_t)(m + 1) * 4);
        for (int64_t i = 0; i < m; i++) identity[i] = (int32_t)i;
        index = identity;
    }
    tp_rows rows = tp_prepare_rows(act_format, format, act_codes, act_scales, m, blocks, range,
                                   tp_scratch(4, tp_rows_bytes(m, count)));
    product p = {{format, codes, scales, n, blocks}, code_stride, scale_stride, expert, offset, index, bias, range, rows, out};
    int64_t each = count * 512 * (offset[groups] / groups + 8) * (rows.wide ? 10 : 1);
    tp_parallel(product_task, &p, groups * ((n + TP_TILE - 1) / TP_TILE), each);
}
