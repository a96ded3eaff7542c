/* The arithmetic of the live page: convolution, group norm and attention in WebAssembly's SIMD.

   Built with Debian's clang and lld, on one line, which tests/book/test_live.py reads:
   clang --target=wasm32 -O3 -msimd128 -fno-builtin -nostdlib -Wl,--no-entry -Wl,--strip-all -o kernels.wasm kernels.c

   Activations lie with channels last, (N, H, W, C) float32; memory is allocated by
   worker/arithmetic.js. */
#include <wasm_simd128.h>

#define EXPORT(name) __attribute__((export_name(#name)))
#define UNROLL _Pragma("clang loop unroll(full)")
enum { POSITIONS = 6, BLOCK = 8, KEYS = 1024 };

extern float __heap_base;
EXPORT(heap_base) float *heap_base(void) { return &__heap_base; }

static v128_t load(const float *p) { return wasm_v128_load(p); }
static v128_t add(v128_t a, v128_t b) { return wasm_f32x4_add(a, b); }
static v128_t mul(v128_t a, v128_t b) { return wasm_f32x4_mul(a, b); }
static v128_t all(float a) { return wasm_f32x4_splat(a); }

static float sum(v128_t a) {
  return wasm_f32x4_extract_lane(a, 0) + wasm_f32x4_extract_lane(a, 1) +
         wasm_f32x4_extract_lane(a, 2) + wasm_f32x4_extract_lane(a, 3);
}

/* e^x = 2^n e^r with n = round(x / ln 2), |r| <= ln 2 / 2, and e^r by its Taylor series. */
static v128_t exponential(v128_t x) {
  x = wasm_f32x4_max(wasm_f32x4_min(x, all(88)), all(-87));
  v128_t n = wasm_f32x4_nearest(mul(x, all(1.44269504f)));
  v128_t r = add(x, mul(n, all(-0.693359375f)));
  r = add(r, mul(n, all(2.12194440e-4f)));
  v128_t y = all(1.0f / 5040);
  const float terms[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1, 1};
  UNROLL for (int i = 0; i < 7; i++) y = add(mul(y, r), all(terms[i]));
  v128_t bits = wasm_i32x4_add(wasm_i32x4_trunc_sat_f32x4(n), wasm_i32x4_splat(127));
  return mul(y, wasm_i32x4_shl(bits, 23));
}

/* y (N, H, W, O) = b (O) + sum of w (O / 8, K, K, C, 8) x (N, height, width, C), x padded already.

   O is a multiple of 8. Six positions times eight outputs stay in registers. */
EXPORT(conv)
void conv(const float *x, const float *w, const float *b, float *y, int n, int height, int width,
          int c, int k, int stride, int h, int wd, int o) {
  const int positions = n * h * wd, run = k * c; /* the taps of a row lie side by side */
  for (int block = 0; block < o; block += BLOCK)
    for (int first = 0; first < positions; first += POSITIONS) {
      const float *from[POSITIONS], *weight = w + block * k * run;
      v128_t low[POSITIONS], high[POSITIONS];
      UNROLL for (int i = 0; i < POSITIONS; i++) {
        int p = first + i < positions ? first + i : positions - 1; /* the last one again */
        int image = p / (h * wd), row = p / wd % h, column = p % wd;
        from[i] = x + ((image * height + row * stride) * width + column * stride) * c;
        low[i] = load(b + block), high[i] = load(b + block + 4);
      }
      for (int ky = 0; ky < k; ky++) {
        for (int j = 0; j < run; j++, weight += BLOCK) {
          v128_t w0 = load(weight), w1 = load(weight + 4);
          UNROLL for (int i = 0; i < POSITIONS; i++) {
            v128_t value = wasm_v128_load32_splat(from[i] + j);
            low[i] = add(low[i], mul(value, w0)), high[i] = add(high[i], mul(value, w1));
          }
        }
        UNROLL for (int i = 0; i < POSITIONS; i++) from[i] += width * c;
      }
      UNROLL for (int i = 0; i < POSITIONS; i++) {
        int p = first + i < positions ? first + i : positions - 1;
        wasm_v128_store(y + p * o + block, low[i]), wasm_v128_store(y + p * o + block + 4, high[i]);
      }
    }
}

/* y (N, H + 2 pad, W + 2 pad, C) = act(GN(x) (1 + scale) + shift) within a frame of zeros.

   x (N, H, W, C) in groups of C / groups channels; condition (N, 2 C): scale and shift, or 0; act:
   SiLU, or nothing. */
EXPORT(norm)
void norm(const float *x, const float *gamma, const float *beta, const float *condition, float *y,
          int n, int h, int w, int c, int pad, int silu, int groups) {
  const int size = c / groups, across = w + 2 * pad;
  float a[c], b[c];
  for (int image = 0; image < n; image++, x += h * w * c, y += (h + 2 * pad) * across * c) {
    for (int group = 0; group < groups; group++) {
      double mean = 0, variance = 0;
      for (int p = 0; p < h * w; p++)
        for (int i = 0; i < size; i++) mean += x[p * c + group * size + i];
      mean /= h * w * size;
      for (int p = 0; p < h * w; p++)
        for (int i = 0; i < size; i++) {
          double off = x[p * c + group * size + i] - mean;
          variance += off * off;
        }
      double scale = 1 / __builtin_sqrt(variance / (h * w * size) + 1e-5);
      for (int j = group * size; j < (group + 1) * size; j++) {
        a[j] = gamma[j] * scale, b[j] = beta[j] - mean * scale * gamma[j];
        if (condition) {
          float more = 1 + condition[image * 2 * c + j];
          a[j] *= more, b[j] = b[j] * more + condition[image * 2 * c + c + j];
        }
      }
    }
    for (int i = 0; i < (h + 2 * pad) * across * c; i += 4) wasm_v128_store(y + i, all(0));
    for (int p = 0; p < h * w; p++) {
      float *to = y + ((p / w + pad) * across + p % w + pad) * c;
      for (int j = 0; j < c; j += 4) {
        v128_t v = add(mul(load(x + p * c + j), load(a + j)), load(b + j));
        if (silu) v = wasm_f32x4_div(v, add(all(1), exponential(wasm_f32x4_neg(v))));
        wasm_v128_store(to + j, v);
      }
    }
  }
}

/* y (N, P, C) = softmax(q k^T / sqrt(d)) v in heads of d = C / heads.

   qkv (N, P, 3 C), P <= 1024. */
EXPORT(attention)
void attention(const float *qkv, float *y, int n, int p, int c, int heads) {
  const int d = c / heads;
  const float scale = 1 / __builtin_sqrtf(d);
  float share[KEYS];
  for (int image = 0; image < n; image++, qkv += p * 3 * c, y += p * c)
    for (int head = 0; head < c; head += d)
      for (int query = 0; query < p; query++) {
        float largest = -1e30f, total = 0, *to = y + query * c + head;
        for (int key = 0; key < p; key++) {
          v128_t dot = all(0);
          for (int j = head; j < head + d; j += 4)
            dot = add(dot, mul(load(qkv + query * 3 * c + j), load(qkv + key * 3 * c + c + j)));
          share[key] = sum(dot) * scale;
          largest = share[key] > largest ? share[key] : largest;
        }
        for (int key = 0; key < p; key++) {
          share[key] = wasm_f32x4_extract_lane(exponential(all(share[key] - largest)), 0);
          total += share[key];
        }
        for (int j = 0; j < d; j += 4) {
          v128_t mixed = all(0);
          for (int key = 0; key < p; key++)
            mixed = add(mixed, mul(all(share[key]), load(qkv + key * 3 * c + 2 * c + head + j)));
          wasm_v128_store(to + j, mul(mixed, all(1 / total)));
        }
      }
}
