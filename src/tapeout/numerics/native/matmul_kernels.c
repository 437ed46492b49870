/* Tile kernels: expansion of weights and the block-ordered multiplication, for each instruction set.
 *
 * Weights are made unsigned by adding a bias, so that the dot-product instructions (unsigned × signed) apply;
 * bias × (sum of the activations of the block) is subtracted again, exactly.
 */
#include "matmul.h"

static const uint8_t fp4_biased[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

/* MXFP4 tiles hold, for each dword of 4 code bytes, the 4 low nibbles and then the 4 high ones. */
void tp_expand_scalar(const tp_weights *w, int64_t row, tp_range range, uint8_t *out) {
    int64_t bytes = tp_row_bytes(w->format, TP_BLOCK);
    for (int64_t lane = 0; lane < TP_TILE; lane++) {
        int64_t r = row + lane < w->n ? row + lane : w->n - 1;
        const uint8_t *codes = w->codes + r * w->blocks * bytes;
        for (int64_t i = 0; i < range.count; i++) {
            const uint8_t *b = codes + (range.first + i * range.step) * bytes;
            uint8_t *o = out + i * 512 + lane * 4;
            if (w->format == TP_MXFP4) {
                for (int j = 0; j < 16; j++) {
                    o[(j / 4) * 128 + j % 4] = fp4_biased[b[j] & 15];
                    o[(j / 4) * 128 + 64 + j % 4] = fp4_biased[b[j] >> 4];
                }
            } else {
                for (int j = 0; j < 32; j++) o[(j / 4) * 64 + j % 4] = (uint8_t)(b[j] ^ 0x80);
            }
        }
    }
}

/* integer × 2^exponent rounded once, where a float multiplication could round twice or the result is NaN */
static float scaled_slow(int32_t integer, float exponent) {
    return exponent != exponent ? tp_float(0x7FC00000u) : (float)((double)integer * tp_pow2((int)exponent));
}

void tp_multiply_scalar(const tp_tile *tile, const tp_rows *rows, const int32_t *index, int64_t m,
                        float (*out)[TP_TILE]) {
    for (int64_t r = 0; r < m; r++) {
        const int8_t *a = rows->a + index[r] * rows->count * TP_BLOCK;
        float acc[TP_TILE] = {0};
        for (int64_t b = 0; b < rows->count; b++) {
            const uint8_t *w = tile->w + b * 512;
            int32_t d[TP_TILE], start = -tile->bias * rows->sum[index[r] * rows->count + b];
            for (int n = 0; n < TP_TILE; n++) d[n] = start;
            for (int g = 0; g < 8; g++)
                for (int n = 0; n < TP_TILE; n++)
                    for (int i = 0; i < 4; i++) d[n] += (int)w[(g * TP_TILE + n) * 4 + i] * a[b * TP_BLOCK + 4 * g + i];
            float e = rows->exponent[index[r] * rows->count + b];
            for (int n = 0; n < TP_TILE; n++) acc[n] += scaled_slow(d[n], e + tile->exponent[b * TP_TILE + n]);
        }
        for (int n = 0; n < TP_TILE; n++) out[r][n] = tp_canonical(acc[n]);
    }
}

#if TP_X86

#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

AVX2 static __m256 scaled_avx2(__m256i d, __m256 exponent) {
    /* 2^e is a normal float for e in [-126, 127]: then one multiplication rounds once */
    __m256 fits = _mm256_and_ps(_mm256_cmp_ps(exponent, _mm256_set1_ps(-126), _CMP_GE_OQ),
                                _mm256_cmp_ps(exponent, _mm256_set1_ps(127), _CMP_LE_OQ));
    if (__builtin_expect(_mm256_movemask_ps(fits) == 255, 1)) {
        __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(exponent), _mm256_set1_epi32(127));
        return _mm256_mul_ps(_mm256_cvtepi32_ps(d), _mm256_castsi256_ps(_mm256_slli_epi32(e, 23)));
    }
    int32_t integer[8];
    float e[8], y[8];
    _mm256_storeu_si256((__m256i *)integer, d);
    _mm256_storeu_ps(e, exponent);
    for (int i = 0; i < 8; i++) y[i] = scaled_slow(integer[i], e[i]);
    return _mm256_loadu_ps(y);
}

AVX2 void tp_multiply_avx2(const tp_tile *tile, const tp_rows *rows, const int32_t *index, int64_t m,
                           float (*out)[TP_TILE]) {
    for (int64_t r = 0; r < m; r++) {
        const int8_t *a = rows->a + index[r] * rows->count * TP_BLOCK;
        __m256 acc[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
        for (int64_t b = 0; b < rows->count; b++) {
            const uint8_t *w = tile->w + b * 512;
            __m256i d[4]; /* pairs of outputs 0-3, 4-7, 8-11, 12-15 */
            for (int j = 0; j < 4; j++) d[j] = _mm256_setzero_si256();
            for (int g = 0; g < 8; g++) {
                int32_t four;
                memcpy(&four, a + b * TP_BLOCK + 4 * g, 4);
                __m256i x = _mm256_cvtepi8_epi16(_mm_set1_epi32(four));
                for (int j = 0; j < 4; j++) {
                    __m256i v = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(w + g * 64 + j * 16)));
                    d[j] = _mm256_add_epi32(d[j], _mm256_madd_epi16(v, x));
                }
            }
            __m256i start = _mm256_set1_epi32(-tile->bias * rows->sum[index[r] * rows->count + b]);
            __m256 e = _mm256_set1_ps(rows->exponent[index[r] * rows->count + b]);
            for (int j = 0; j < 2; j++) {
                __m256i sum = _mm256_hadd_epi32(d[2 * j], d[2 * j + 1]); /* outputs 0 1 4 5 | 2 3 6 7 */
                sum = _mm256_add_epi32(_mm256_permute4x64_epi64(sum, 0xD8), start);
                __m256 ew = _mm256_loadu_ps(tile->exponent + b * TP_TILE + 8 * j);
                acc[j] = _mm256_add_ps(acc[j], scaled_avx2(sum, _mm256_add_ps(e, ew)));
            }
        }
        for (int j = 0; j < 2; j++) {
            __m256 nan = _mm256_cmp_ps(acc[j], acc[j], _CMP_UNORD_Q);
            __m256 canonical = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FC00000));
            _mm256_storeu_ps(out[r] + 8 * j, _mm256_blendv_ps(acc[j], canonical, nan));
        }
    }
}

AVX512 static inline void transpose_16(__m512i x[16]) {
    __m512i y[16];
    for (int i = 0; i < 16; i += 4) {
        __m512i a = _mm512_unpacklo_epi32(x[i], x[i + 1]), b = _mm512_unpackhi_epi32(x[i], x[i + 1]);
        __m512i c = _mm512_unpacklo_epi32(x[i + 2], x[i + 3]), d = _mm512_unpackhi_epi32(x[i + 2], x[i + 3]);
        y[i] = _mm512_unpacklo_epi64(a, c), y[i + 1] = _mm512_unpackhi_epi64(a, c);
        y[i + 2] = _mm512_unpacklo_epi64(b, d), y[i + 3] = _mm512_unpackhi_epi64(b, d);
    }
    for (int i = 0; i < 4; i++) {
        __m512i a = _mm512_shuffle_i32x4(y[i], y[i + 4], 0x88), b = _mm512_shuffle_i32x4(y[i], y[i + 4], 0xDD);
        __m512i c = _mm512_shuffle_i32x4(y[i + 8], y[i + 12], 0x88), d = _mm512_shuffle_i32x4(y[i + 8], y[i + 12], 0xDD);
        x[i] = _mm512_shuffle_i32x4(a, c, 0x88), x[i + 8] = _mm512_shuffle_i32x4(a, c, 0xDD);
        x[i + 4] = _mm512_shuffle_i32x4(b, d, 0x88), x[i + 12] = _mm512_shuffle_i32x4(b, d, 0xDD);
    }
}

AVX512 void tp_expand_avx512(const tp_weights *w, int64_t row, tp_range range, uint8_t *out) {
    if (range.step != 1 || row + TP_TILE > w->n) { tp_expand_scalar(w, row, range, out); return; }
    int64_t bytes = tp_row_bytes(w->format, TP_BLOCK), stride = w->blocks * bytes, length = range.count * bytes;
    const uint8_t *codes = w->codes + row * stride + range.first * bytes;
    const __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)fp4_biased));
    const __m512i low = _mm512_set1_epi8(15), flip = _mm512_set1_epi8((char)0x80);
    for (int64_t at = 0; at < length; at += 64) {
        __mmask64 mask = length - at >= 64 ? ~0ull : (1ull << (length - at)) - 1;
        __m512i x[16];
        for (int i = 0; i < 16; i++) {
            x[i] = _mm512_maskz_loadu_epi8(mask, codes + i * stride + at);
            _mm_prefetch((const char *)(codes + i * stride + at + 512), _MM_HINT_T0);
        }
        transpose_16(x);
        int dwords = (int)((length - at >= 64 ? 64 : length - at) / 4);
        if (w->format == TP_MXFP4) {
            for (int j = 0; j < dwords; j++, out += 128) {
                __m512i high = _mm512_and_si512(_mm512_srli_epi16(x[j], 4), low);
                _mm512_store_si512(out, _mm512_shuffle_epi8(table, _mm512_and_si512(x[j], low)));
                _mm512_store_si512(out + 64, _mm512_shuffle_epi8(table, high));
            }
        } else {
            for (int j = 0; j < dwords; j++, out += 64) _mm512_store_si512(out, _mm512_xor_si512(x[j], flip));
        }
    }
}

AVX512 void tp_exponents_avx512(const uint8_t *scales, int64_t stride, int64_t whole, int fraction, float *exponent) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), byte = _mm512_set1_epi32(255);
    const __m512i at = _mm512_mullo_epi32(lane, _mm512_set1_epi32((int)stride));
    for (int64_t i = 0; i < whole; i++) {
        __m512i four = _mm512_i32gather_epi32(at, scales + 4 * i, 1);
        for (int k = 0; k < 4; k++, four = _mm512_srli_epi32(four, 8), exponent += TP_TILE) {
            __m512i code = _mm512_and_si512(four, byte);
            __m512 e = _mm512_cvtepi32_ps(_mm512_sub_epi32(code, _mm512_set1_epi32(127 + fraction)));
            __m512 nan = _mm512_castsi512_ps(_mm512_set1_epi32(0x7FC00000));
            _mm512_storeu_ps(exponent, _mm512_mask_mov_ps(e, _mm512_cmpeq_epi32_mask(code, byte), nan));
        }
    }
}

AVX512 void tp_single_avx512(const tp_weights *w, int64_t row, tp_range range, const tp_rows *rows, int32_t index,
                             const float *exponent, float *out) {
    int64_t stride = w->blocks * 16, length = range.count * 16, base = index * rows->count;
    const uint8_t *codes = w->codes + row * stride + range.first * 16;
    const int8_t *a = rows->a + base * TP_BLOCK;
    const __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)fp4_biased)), low = _mm512_set1_epi8(15);
    __m512 acc = _mm512_setzero_ps();
    for (int64_t at = 0; at < length; at += 64) {
        __mmask64 mask = length - at >= 64 ? ~0ull : (1ull << (length - at)) - 1;
        __m512i x[16];
        for (int i = 0; i < 16; i++) {
            x[i] = _mm512_maskz_loadu_epi8(mask, codes + i * stride + at);
            _mm_prefetch((const char *)(codes + i * stride + at + 512), _MM_HINT_T0);
        }
        transpose_16(x);
        int blocks = (int)((length - at >= 64 ? 64 : length - at) / 16);
        for (int b = 0; b < blocks; b++) {
            int64_t block = at / 16 + b;
            __m512i d = _mm512_set1_epi32(-12 * rows->sum[base + block]), other = _mm512_setzero_si512();
            for (int j = 0; j < 4; j++) {
                int32_t even, odd;
                memcpy(&even, a + block * TP_BLOCK + 8 * j, 4);
                memcpy(&odd, a + block * TP_BLOCK + 8 * j + 4, 4);
                __m512i lo = _mm512_shuffle_epi8(table, _mm512_and_si512(x[4 * b + j], low));
                __m512i hi = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(x[4 * b + j], 4), low));
                d = _mm512_dpbusd_epi32(d, lo, _mm512_set1_epi32(even));
                other = _mm512_dpbusd_epi32(other, hi, _mm512_set1_epi32(odd));
            }
            __m512 e = _mm512_add_ps(_mm512_loadu_ps(exponent + block * TP_TILE), _mm512_set1_ps(rows->exponent[base + block]));
            acc = _mm512_add_ps(acc, _mm512_scalef_ps(_mm512_cvtepi32_ps(_mm512_add_epi32(d, other)), e));
        }
    }
    __mmask16 nan = _mm512_cmp_ps_mask(acc, acc, _CMP_UNORD_Q);
    _mm512_storeu_ps(out, _mm512_mask_mov_ps(acc, nan, _mm512_castsi512_ps(_mm512_set1_epi32(0x7FC00000))));
}

/* `count` is a constant at every call, so that the accumulators live in registers */
AVX512 static inline __attribute__((always_inline)) void multiply_rows(const tp_tile *tile, const tp_rows *rows,
                                                                       const int32_t *index, int count,
                                                                       float (*out)[TP_TILE]) {
    __m512 acc[8];
    const int8_t *a[8];
    for (int r = 0; r < count; r++) {
        acc[r] = _mm512_setzero_ps();
        a[r] = rows->a + index[r] * rows->count * TP_BLOCK;
    }
    for (int64_t b = 0; b < rows->count; b++) {
        __m512i d[8];
        for (int r = 0; r < count; r++) d[r] = _mm512_set1_epi32(-tile->bias * rows->sum[index[r] * rows->count + b]);
        for (int g = 0; g < 8; g++) {
            __m512i w = _mm512_loadu_si512(tile->w + b * 512 + g * 64);
            for (int r = 0; r < count; r++) {
                int32_t four;
                memcpy(&four, a[r] + b * TP_BLOCK + 4 * g, 4);
                d[r] = _mm512_dpbusd_epi32(d[r], w, _mm512_set1_epi32(four));
            }
        }
        __m512 ew = _mm512_loadu_ps(tile->exponent + b * TP_TILE);
        for (int r = 0; r < count; r++) {
            __m512 e = _mm512_add_ps(ew, _mm512_set1_ps(rows->exponent[index[r] * rows->count + b]));
            acc[r] = _mm512_add_ps(acc[r], _mm512_scalef_ps(_mm512_cvtepi32_ps(d[r]), e));
        }
    }
    for (int r = 0; r < count; r++) {
        __mmask16 nan = _mm512_cmp_ps_mask(acc[r], acc[r], _CMP_UNORD_Q);
        _mm512_storeu_ps(out[r], _mm512_mask_mov_ps(acc[r], nan, _mm512_castsi512_ps(_mm512_set1_epi32(0x7FC00000))));
    }
}

/* `count` is a constant here too. Sums of products of integers below 2^53 are exact in doubles, fused or not. */
AVX512 static inline __attribute__((always_inline)) void wide_rows(const tp_tile *tile, const tp_rows *rows, const int32_t *index,
                                                                   int count, float (*out)[TP_TILE]) {
    __m512 acc[4];
    const double *a[4];
    for (int r = 0; r < count; r++) {
        acc[r] = _mm512_setzero_ps();
        a[r] = rows->wide + index[r] * rows->count * TP_BLOCK;
    }
    for (int64_t b = 0; b < rows->count; b++) {
        __m512d d[4][2];
        for (int r = 0; r < count; r++) d[r][0] = d[r][1] = _mm512_setzero_pd();
        const double *w = tile->wide + b * TP_BLOCK * TP_TILE;
        for (int j = 0; j < TP_BLOCK; j++, w += TP_TILE) {
            __m512d lo = _mm512_loadu_pd(w), hi = _mm512_loadu_pd(w + 8);
            for (int r = 0; r < count; r++) {
                __m512d x = _mm512_set1_pd(a[r][b * TP_BLOCK + j]);
                d[r][0] = _mm512_fmadd_pd(x, lo, d[r][0]), d[r][1] = _mm512_fmadd_pd(x, hi, d[r][1]);
            }
        }
        __m512 ew = _mm512_loadu_ps(tile->exponent + b * TP_TILE);
        for (int r = 0; r < count; r++) {
            __m512 e = _mm512_add_ps(ew, _mm512_set1_ps(rows->exponent[index[r] * rows->count + b]));
            __m256 lo = _mm512_cvtpd_ps(_mm512_scalef_pd(d[r][0], _mm512_cvtps_pd(_mm512_castps512_ps256(e))));
            __m256 hi = _mm512_cvtpd_ps(_mm512_scalef_pd(d[r][1], _mm512_cvtps_pd(_mm512_extractf32x8_ps(e, 1))));
            acc[r] = _mm512_add_ps(acc[r], _mm512_insertf32x8(_mm512_castps256_ps512(lo), hi, 1));
        }
    }
    for (int r = 0; r < count; r++) {
        __mmask16 nan = _mm512_cmp_ps_mask(acc[r], acc[r], _CMP_UNORD_Q);
        _mm512_storeu_ps(out[r], _mm512_mask_mov_ps(acc[r], nan, _mm512_castsi512_ps(_mm512_set1_epi32(0x7FC00000))));
    }
}

AVX512 static void multiply_wide_avx512(const tp_tile *tile, const tp_rows *rows, const int32_t *index, int64_t m, float (*out)[TP_TILE]) {
    for (; m >= 4; m -= 4, index += 4, out += 4) wide_rows(tile, rows, index, 4, out);
    for (; m >= 1; m--, index++, out++) wide_rows(tile, rows, index, 1, out);
}

AVX512 void tp_multiply_avx512(const tp_tile *tile, const tp_rows *rows, const int32_t *index, int64_t m,
                               float (*out)[TP_TILE]) {
    for (; m >= 8; m -= 8, index += 8, out += 8) multiply_rows(tile, rows, index, 8, out);
    if (m >= 4) { multiply_rows(tile, rows, index, 4, out); m -= 4, index += 4, out += 4; }
    if (m >= 2) { multiply_rows(tile, rows, index, 2, out); m -= 2, index += 2, out += 2; }
    if (m >= 1) multiply_rows(tile, rows, index, 1, out);
}

#endif

void tp_expand_any(const tp_weights *w, int64_t row, tp_range range, uint8_t *out) {
#if TP_X86
    if (tp_level == TP_AVX512) { tp_expand_avx512(w, row, range, out); return; }
#endif
    tp_expand_scalar(w, row, range, out);
}

void tp_multiply_any(const tp_tile *tile, const tp_rows *rows, const int32_t *index, int64_t m, float (*out)[TP_TILE]) {
#if TP_X86
    if (tile->wide && tp_level == TP_AVX512) { multiply_wide_avx512(tile, rows, index, m, out); return; }
#endif
    if (tile->wide) { tp_multiply_wide(tile, rows, index, m, out); return; }
#if TP_X86
    if (tp_level == TP_AVX512) { tp_multiply_avx512(tile, rows, index, m, out); return; }
    if (tp_level == TP_AVX2) { tp_multiply_avx2(tile, rows, index, m, out); return; }
#endif
    tp_multiply_scalar(tile, rows, index, m, out);
}
