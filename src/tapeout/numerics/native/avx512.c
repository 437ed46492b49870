/* Vector operations with AVX-512: the same integer arithmetic as functions.c, quantise.c and attention.c. */
#include "vector.h"

#if TP_X86

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

/* A coefficient of 64 or 128 segments for sixteen lanes, from registers: table [segments] of 32 bits */
AVX512 static inline __m512i look_up_64(const int32_t *table, __m512i index) {
    __m512i low = _mm512_permutex2var_epi32(_mm512_loadu_si512(table), index, _mm512_loadu_si512(table + 16));
    __m512i high = _mm512_permutex2var_epi32(_mm512_loadu_si512(table + 32), index, _mm512_loadu_si512(table + 48));
    return _mm512_mask_mov_epi32(low, _mm512_test_epi32_mask(index, _mm512_set1_epi32(32)), high);
}

AVX512 static inline __m512i look_up(const int32_t *table, int segments, __m512i index) {
    __m512i low = look_up_64(table, index);
    if (segments == 64) return low;
    return _mm512_mask_mov_epi32(low, _mm512_test_epi32_mask(index, _mm512_set1_epi32(64)), look_up_64(table + 64, index));
}

/* C0 + C1·s + C2·s² of sixteen lanes, times 2^44, as two halves of 64 bits */
AVX512 static inline void interpolate(const int32_t *table, int segments, __m512i index, __m512i step, __m512i out[2]) {
    __m512i c[3];
    for (int i = 0; i < 3; i++) c[i] = look_up(table + i * segments, segments, index);
    for (int h = 0; h < 2; h++) {
#define HALF(v) _mm512_cvtepi32_epi64(h ? _mm512_extracti64x4_epi64(v, 1) : _mm512_castsi512_si256(v))
        __m512i s = HALF(step), square = _mm512_srli_epi64(_mm512_mul_epu32(s, s), 22);
        __m512i sum = _mm512_add_epi64(_mm512_slli_epi64(HALF(c[0]), 17), _mm512_mul_epi32(HALF(c[1]), s));
        out[h] = _mm512_add_epi64(sum, _mm512_slli_epi64(_mm512_mul_epi32(HALF(c[2]), square), 4));
    }
}

/* two halves of 64 bits as one of 32 */
AVX512 static inline __m512i narrow(const __m512i v[2]) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi64_epi32(v[0])), _mm512_cvtepi64_epi32(v[1]), 1);
}

AVX512 static inline __m512 scaled(const __m512i significand[2], __m512i exponent) {
    __m256 y[2];
    for (int h = 0; h < 2; h++) {
        __m512d e = _mm512_cvtepi64_pd(HALF(exponent));
        y[h] = _mm512_cvtpd_ps(_mm512_scalef_pd(_mm512_cvtepi64_pd(significand[h]), e));
    }
    return _mm512_insertf32x8(_mm512_castps256_ps512(y[0]), y[1], 1);
}

AVX512 static inline __m512 canonical(__m512 y, __m512 x) {
    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), _mm512_castsi512_ps(_mm512_set1_epi32(0x7FC00000)));
}

AVX512 static inline void exp2_parts(const __m512i t[2], __m512i r[2], __m512i *whole) {
    __m512i w[2], low = narrow(t), mask = _mm512_set1_epi32(0x3FFFF);
    for (int h = 0; h < 2; h++) w[h] = _mm512_srai_epi64(t[h], 24);
    *whole = narrow(w);
    __m512i index = _mm512_and_si512(_mm512_srli_epi32(low, 18), _mm512_set1_epi32(63));
    interpolate(tp_exp2_columns, 64, index, _mm512_and_si512(low, mask), r);
}

AVX512 static inline __m512 exp2_16(__m512 x) {
    /* beyond ±255 the result is the same: infinity or zero */
    __m512 near = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-255)), _mm512_set1_ps(255));
    __m512i t[2], r[2], whole;
    for (int h = 0; h < 2; h++) {
        __m256 half = h ? _mm512_extractf32x8_ps(near, 1) : _mm512_castps512_ps256(near);
        __m512d y = _mm512_mul_pd(_mm512_abs_pd(_mm512_cvtps_pd(half)), _mm512_set1_pd(16777216.0));
        t[h] = _mm512_cvttpd_epi64(_mm512_add_pd(y, _mm512_set1_pd(0.5))); /* exact, or far from a tie */
        __mmask8 negative = (__mmask8)_mm256_movepi32_mask(_mm256_castps_si256(half));
        t[h] = _mm512_mask_sub_epi64(t[h], negative, _mm512_setzero_si512(), t[h]);
    }
    exp2_parts(t, r, &whole);
    return canonical(scaled(r, _mm512_sub_epi32(whole, _mm512_set1_epi32(44))), x);
}

AVX512 static inline __m512 sigmoid_16(__m512 x) {
    const __m512i zero = _mm512_setzero_si512(), one = _mm512_set1_epi32(1 << 27);
    __m512i b = _mm512_castps_si512(x), field = _mm512_and_si512(_mm512_srli_epi32(b, 23), _mm512_set1_epi32(255));
    __m512i significand = _mm512_or_si512(_mm512_and_si512(b, _mm512_set1_epi32(0x7FFFFF)), _mm512_set1_epi32(0x800000));
    __mmask16 positive = (__mmask16)~_mm512_movepi32_mask(b);
    __m512i shift = _mm512_sub_epi32(_mm512_set1_epi32(156), field), t[2], r[2], whole, y[2];
    for (int h = 0; h < 2; h++) {
        /* shift right by 30 − e, rounding half up; subnormals have a wrong significand, which is shifted out */
        __m512i product = _mm512_mul_epu32(HALF(significand), _mm512_set1_epi64(3098164010LL));
        t[h] = _mm512_srli_epi64(_mm512_add_epi64(_mm512_srlv_epi64(product, HALF(shift)), _mm512_set1_epi64(1)), 1);
        t[h] = _mm512_mask_sub_epi64(t[h], (__mmask8)(positive >> (8 * h)), zero, t[h]);
    }
    exp2_parts(t, r, &whole);
    for (int h = 0; h < 2; h++) r[h] = _mm512_srli_epi64(r[h], 17);
    __m512i limit = _mm512_set1_epi32(28), up = _mm512_min_epi32(_mm512_max_epi32(whole, zero), limit);
    __m512i down = _mm512_min_epi32(_mm512_max_epi32(_mm512_sub_epi32(zero, whole), zero), limit);
    /* one of the two shifts is by nothing */
    __m512i grown = _mm512_add_epi32(_mm512_srlv_epi32(narrow(r), down), _mm512_srlv_epi32(one, up));
    __m512i carry = _mm512_srli_epi32(grown, 28);
    __m512i v = _mm512_srlv_epi32(grown, _mm512_add_epi32(carry, _mm512_set1_epi32(2)));
    v = _mm512_and_si512(v, _mm512_set1_epi32(0x1FFFFFF));
    __m512i step = _mm512_and_si512(v, _mm512_set1_epi32(0x3FFFF));
    interpolate(tp_reciprocal_columns, 128, _mm512_srli_epi32(v, 18), step, y);
    __m512i exponent = _mm512_add_epi32(_mm512_max_epi32(whole, zero), carry);
    __m512 result = scaled(y, _mm512_sub_epi32(_mm512_set1_epi32(-44), exponent));
    __mmask16 far = _mm512_cmpge_epi32_mask(field, _mm512_set1_epi32(134));
    result = _mm512_mask_mov_ps(result, far, _mm512_maskz_mov_ps(positive, _mm512_set1_ps(1)));
    return canonical(result, x);
}

#define EACH_16(FUNCTION)                                                                    \
    for (int64_t i = 0; i < n; i += 16) {                                                    \
        __mmask16 m = n - i >= 16 ? 0xFFFF : (__mmask16)((1 << (n - i)) - 1);                \
        _mm512_mask_storeu_ps(y + i, m, FUNCTION(_mm512_maskz_loadu_ps(m, x + i)));          \
    }

AVX512 void tp_exp2_avx512(const float *x, float *y, int64_t n) { EACH_16(exp2_16) }
AVX512 void tp_sigmoid_avx512(const float *x, float *y, int64_t n) { EACH_16(sigmoid_16) }

AVX512 void tp_quantise_int8_avx512(const float *x, int64_t k, uint8_t *codes, uint8_t *scales) {
    const __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF);
    for (int64_t b = 0; b < k / TP_BLOCK; b++, x += TP_BLOCK, codes += TP_BLOCK) {
        __m512 lo = _mm512_loadu_ps(x), hi = _mm512_loadu_ps(x + 16);
        __m512i a = _mm512_and_si512(_mm512_castps_si512(lo), magnitude), c = _mm512_and_si512(_mm512_castps_si512(hi), magnitude);
        int field = (int)(_mm512_reduce_max_epu32(_mm512_max_epu32(a, c)) >> 23);
        scales[b] = (uint8_t)field;
        if (field == 255) { _mm256_storeu_si256((__m256i *)codes, _mm256_setzero_si256()); continue; }
        __m512 shift = _mm512_set1_ps((float)(133 - field));
        __m512i p = _mm512_cvtps_epi32(_mm512_scalef_ps(lo, shift)), q = _mm512_cvtps_epi32(_mm512_scalef_ps(hi, shift));
        const __m512i least = _mm512_set1_epi32(-127), most = _mm512_set1_epi32(127);
        p = _mm512_min_epi32(_mm512_max_epi32(p, least), most), q = _mm512_min_epi32(_mm512_max_epi32(q, least), most);
        _mm_storeu_si128((__m128i *)codes, _mm512_cvtepi32_epi8(p));
        _mm_storeu_si128((__m128i *)codes + 1, _mm512_cvtepi32_epi8(q));
    }
}

AVX512 float tp_tile_row_avx512(float *s, int64_t width, int64_t from, int64_t to, float factor, float top, float *c, float *total) {
    const __m512 nothing = _mm512_set1_ps(-__builtin_inff()), nan = _mm512_castsi512_ps(_mm512_set1_epi32(0x7FC00000));
    __m512i highest = _mm512_set1_epi32(tp_key(top));
    for (int64_t j = 0; j < width; j += 16) {
        __m512i at = _mm512_add_epi32(_mm512_set1_epi32((int)j), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
        __mmask16 see = _mm512_cmpge_epi32_mask(at, _mm512_set1_epi32((int)from)) & _mm512_cmplt_epi32_mask(at, _mm512_set1_epi32((int)to));
        __m512 t = _mm512_mul_ps(_mm512_loadu_ps(s + j), _mm512_set1_ps(factor));
        t = _mm512_mask_mov_ps(t, _mm512_cmp_ps_mask(t, t, _CMP_UNORD_Q), nan);
        t = _mm512_mask_mov_ps(nothing, see, t);
        _mm512_storeu_ps(s + j, t);
        __m512i b = _mm512_castps_si512(t);
        __m512i key = _mm512_xor_si512(b, _mm512_srli_epi32(_mm512_srai_epi32(b, 31), 1));
        highest = _mm512_max_epi32(highest, key);
    }
    float next = tp_unkey(_mm512_reduce_max_epi32(highest)), base = next == -__builtin_inff() ? 0.0f : next;
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (int64_t j = 0; j < width; j += 32) {
        for (int h = 0; h < 2; h++) {
            __m512 p = exp2_16(_mm512_sub_ps(_mm512_loadu_ps(s + j + 16 * h), _mm512_set1_ps(base)));
            _mm512_storeu_ps(s + j + 16 * h, p);
            sum[h] = _mm512_add_ps(sum[h], p);
        }
    }
    float partial[32];
    _mm512_storeu_ps(partial, sum[0]);
    _mm512_storeu_ps(partial + 16, sum[1]);
    *c = tp_exp2(top - base);
    *total = tp_total(partial, 32);
    return next;
}

#endif
