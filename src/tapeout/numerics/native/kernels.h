/* What Python can call. Shapes are described where each function is defined. */
#ifndef TAPEOUT_KERNELS_H
#define TAPEOUT_KERNELS_H

#include <stdint.h>

int tp_set_level(int level);
void tp_set_threads(int count);
void tp_set_tables(const int64_t *exp2, const int64_t *reciprocal, const int64_t *rsqrt);
void tp_map(int which, const float *x, float *y, int64_t n);
void tp_quantise(int source, int format, const void *x, int64_t stride, int64_t rows, int64_t k, uint8_t *codes,
                 uint8_t *scales);
void tp_append(int format, const float *x, int64_t tokens, int64_t heads, int64_t dim, int64_t capacity, int64_t start,
               uint8_t *codes, uint8_t *scales);
void tp_matmul(int act_format, const uint8_t *act_codes, const uint8_t *act_scales, int64_t m, int format,
               const uint8_t *codes, const uint8_t *scales, int64_t n, int64_t blocks, int64_t first, int64_t step,
               int64_t count, int64_t groups, const int32_t *expert, const int32_t *offset, const int32_t *index,
               int64_t code_stride, int64_t scale_stride, const float *bias, float *out);
void tp_rms_norm(const float *x, const float *weight, float epsilon, int64_t rows, int64_t n, float *out, int format,
                 uint8_t *codes, uint8_t *scales);
void tp_rope(float *x, const float *c, const float *s, int64_t tokens, int64_t heads, int64_t stride, int64_t h,
             int interleaved);
void tp_softmax(const float *x, int64_t rows, int64_t n, float *out);
void tp_gate(int kind, int interleaved, const float *x, float limit, int64_t rows, int64_t n, float *out, int format,
             uint8_t *codes, uint8_t *scales);
void tp_combine(const float *x, const int32_t *slot, const float *w, const float *base, int64_t tokens, int64_t k,
                int64_t n, float *out);
void tp_top_k(const float *x, int64_t rows, int64_t n, int64_t k, int32_t *out);
void tp_add(const float *a, const float *b, int64_t n, float *out);
void tp_attention(const float *q, const float *sinks, const int32_t *low, const int32_t *high, const uint8_t *k,
                  const uint8_t *ks, const uint8_t *v, const uint8_t *vs, int64_t tokens, int64_t heads,
                  int64_t kv_heads, int64_t dim, int64_t value_dim, int64_t positions, int64_t capacity, int64_t tile,
                  int act_format, int kv_format, float factor, float *out);

#endif
