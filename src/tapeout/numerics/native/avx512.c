/* Vector operations with AVX-512: the same integer arithmetic as functions.c, quantise.c and attention.c. */
#include "vector.h"

#if TP_X86

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

/* C0 + C1·s + C2·s² of eight lanes, times 2^44 */
AVX512 static inline __m512i interpolate(const int64_t *table, __m512i index, __m512i step) {
    __m512i row = _mm512_add_epi64(index, _mm512_slli_epi64(index, 1));
    __m512i c0 = _mm512_i64gather_epi64(row, table, 8);
    __m512i c1 = _mm512_i64gather_epi64(row, table + 1, 8);
    __m512i c2 = _mm512_i64gather_epi64(row, table + 2, 8);
    __m512i square = _mm512_srli_epi64(_mm512_mul_epu32(step, step), 22);
    __m512i sum = _mm512_add_epi64(_mm512_slli_epi64(c0, 17), _mm512_mul_epi32(c1, step));
    return _mm512_add_epi64(sum, _mm512_slli_epi64(_mm512_mul_epi32(c2, square), 4));
}

AVX512 static inline __m256 scaled(__m512i significand, __m512i exponent) {
    return _mm512_cvtpd_ps(_mm512_scalef_pd(_mm512_cvtepi64_pd(significand), _mm512_cvtepi64_pd(exponent)));
}

AVX512 static inline __m256 canonical(__m256 y, __m256 x) {
    return _mm256_mask_mov_ps(y, _mm256_cmp_ps_mask(x, x, _CMP_UNORD_Q), _mm256_castsi256_ps(_mm256_set1_epi32(0x7FC00000)));
}

AVX512 static inline __m512i exp2_index(__m512i t) { return _mm512_and_si512(_mm512_srli_epi64(t, 18), _mm512_set1_epi64(63)); }

AVX512 static inline __m256 exp2_8(__m256 x) {
    /* beyond ±255 the result is the same: infinity or zero */
    __m256 near = _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(-255)), _mm256_set1_ps(255));
    __m512d y = _mm512_mul_pd(_mm512_abs_pd(_mm512_cvtps_pd(near)), _mm512_set1_pd(16777216.0));
    __m512i t = _mm512_cvttpd_epi64(_mm512_add_pd(y, _mm512_set1_pd(0.5))); /* the sum is exact or far from a tie */
    __mmask8 negative = _mm256_movepi32_mask(_mm256_castps_si256(near));
    t = _mm512_mask_sub_epi64(t, negative, _mm512_setzero_si512(), t);
    __m512i step = _mm512_and_si512(t, _mm512_set1_epi64(0x3FFFF));
    __m512i r = interpolate(tp_exp2_table, exp2_index(t), step);
    return canonical(scaled(r, _mm512_sub_epi64(_mm512_srai_epi64(t, 24), _mm512_set1_epi64(44))), x);
}

AVX512 static inline __m256 sigmoid_8(__m256 x) {
    __m512i b = _mm512_cvtepu32_epi64(_mm256_castps_si256(x)), one = _mm512_set1_epi64(1 << 27), zero = _mm512_setzero_si512();
    __m512i field = _mm512_and_si512(_mm512_srli_epi64(b, 23), _mm512_set1_epi64(255));
    __m512i significand = _mm512_or_si512(_mm512_and_si512(b, _mm512_set1_epi64(0x7FFFFF)), _mm512_set1_epi64(0x800000));
    __m512i product = _mm512_mul_epu32(significand, _mm512_set1_epi64(3098164010LL));
    /* shift right by 30 − e, rounding half up; subnormals have a wrong significand, which is shifted out */
    __m512i t = _mm512_srlv_epi64(product, _mm512_sub_epi64(_mm512_set1_epi64(156), field));
    t = _mm512_srli_epi64(_mm512_add_epi64(t, _mm512_set1_epi64(1)), 1);
    __mmask8 positive = (__mmask8)~_mm256_movepi32_mask(_mm256_castps_si256(x));
    t = _mm512_mask_sub_epi64(t, positive, zero, t);
    __m512i step = _mm512_and_si512(t, _mm512_set1_epi64(0x3FFFF));
    __m512i r = _mm512_srli_epi64(interpolate(tp_exp2_table, exp2_index(t), step), 17);
    __m512i whole = _mm512_srai_epi64(t, 24), limit = _mm512_set1_epi64(28);
    __m512i up = _mm512_min_epi64(_mm512_max_epi64(whole, zero), limit);
    __m512i down = _mm512_min_epi64(_mm512_max_epi64(_mm512_sub_epi64(zero, whole), zero), limit);
    /* one of the two shifts is by nothing */
    __m512i grown = _mm512_add_epi64(_mm512_srlv_epi64(r, down), _mm512_srlv_epi64(one, up));
    __m512i carry = _mm512_srli_epi64(grown, 28);
    __m512i v = _mm512_srlv_epi64(grown, _mm512_add_epi64(carry, _mm512_set1_epi64(2)));
    v = _mm512_and_si512(v, _mm512_set1_epi64(0x1FFFFFF));
    __m512i y = interpolate(tp_reciprocal_table, _mm512_srli_epi64(v, 18), _mm512_and_si512(v, _mm512_set1_epi64(0x3FFFF)));
    __m512i exponent = _mm512_add_epi64(_mm512_max_epi64(whole, zero), carry);
    __m256 result = scaled(y, _mm512_sub_epi64(_mm512_set1_epi64(-44), exponent));
    __mmask8 far = _mm512_cmpge_epi64_mask(field, _mm512_set1_epi64(134));
    result = _mm256_mask_mov_ps(result, far, _mm256_maskz_mov_ps(positive, _mm256_set1_ps(1)));
    return canonical(result, x);
}

#define EACH_8(FUNCTION)                                                                     \
    for (int64_t i = 0; i < n; i += 8) {                                                     \
        __mmask8 m = n - i >= 8 ? 0xFF : (__mmask8)((1 << (n - i)) - 1);                     \
        _mm256_mask_storeu_ps(y + i, m, FUNCTION(_mm256_maskz_loadu_ps(m, x + i)));          \
    }

AVX512 void tp_exp2_avx512(const float *x, float *y, int64_t n) { EACH_8(exp2_8) }
AVX512 void tp_sigmoid_avx512(const float *x, float *y, int64_t n) { EACH_8(sigmoid_8) }

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
        for (int h = 0; h < 32; h += 8)
            _mm256_storeu_ps(s + j + h, exp2_8(_mm256_sub_ps(_mm256_loadu_ps(s + j + h), _mm256_set1_ps(base))));
        sum[0] = _mm512_add_ps(sum[0], _mm512_loadu_ps(s + j));
        sum[1] = _mm512_add_ps(sum[1], _mm512_loadu_ps(s + j + 16));
    }
    float partial[32];
    _mm512_storeu_ps(partial, sum[0]);
    _mm512_storeu_ps(partial + 16, sum[1]);
    *c = tp_exp2(top - base);
    *total = tp_total(partial, 32);
    return next;
}

#endif
