// The batches of benchmarks/batches.py by hand, for compilers that find `exp`, `log` and `erf` of several numbers at once
// in libmvec. Points lie in columns, that is the numbers of an input or output side by side, or in rows.
#include <algorithm>
#include <cmath>
#include <vector>

namespace {

constexpr double ROOT_HALF = 0.70710678118654752440, INVERSE_ROOT_TWO_PI = 0.39894228040143267794, MATURITY = 1.0;
constexpr long INPUTS = 6, OUTPUTS = 7;
constexpr long TURNED = 16, AHEAD = 4 * TURNED;  // points that are turned into columns, and that memory is asked for
constexpr long TOGETHER = 64;                    // paths

// The price of an option and its six partials; the numbers of input k are x[k * apart], x[k * apart + 1], ...
inline __attribute__((always_inline)) void greeks(const double* __restrict x, long apart, double* __restrict out,
                                                  long out_apart, long count) {
#pragma omp simd
  for (long i = 0; i < count; ++i) {
    const double spot = x[i], strike = x[i + apart], expiry = x[i + 2 * apart], rate = x[i + 3 * apart];
    const double dividend = x[i + 4 * apart], volatility = x[i + 5 * apart];
    const double root = std::sqrt(expiry), inverse = 1.0 / (volatility * root);
    const double d1 = (log(spot / strike) + (rate - dividend + 0.5 * volatility * volatility) * expiry) * inverse;
    const double d2 = d1 - volatility * root;
    const double growth = exp(-dividend * expiry);
    const double by_spot = growth * (0.5 + 0.5 * erf(d1 * ROOT_HALF));
    const double by_strike = exp(-rate * expiry) * (0.5 + 0.5 * erf(d2 * ROOT_HALF));
    const double density = spot * growth * INVERSE_ROOT_TWO_PI * exp(-0.5 * d1 * d1);
    const double held = spot * by_spot, owed = strike * by_strike;
    out[i] = held - owed;
    out[i + out_apart] = by_spot;
    out[i + 2 * out_apart] = -by_strike;
    out[i + 3 * out_apart] = 0.5 * density * volatility * volatility * inverse - dividend * held + rate * owed;
    out[i + 4 * out_apart] = expiry * owed;
    out[i + 5 * out_apart] = -expiry * held;
    out[i + 6 * out_apart] = density * root;
  }
}

// The variances, the sums and the adjoint of some paths side by side
struct Paths {
  double other[TOGETHER], variance[TOGETHER], log_price[TOGETHER], w[TOGETHER];
  double by_reversion[TOGETHER], by_mean[TOGETHER], by_volatility[TOGETHER], by_correlation[TOGETHER];
};

void some_paths(const double* __restrict x, double* __restrict out, long n, long count, long steps, double* variances) {
  const double *spot = x, *reversion = x + 2 * n, *mean = x + 3 * n, *volatility = x + 4 * n, *correlation = x + 5 * n;
  const double *rate = x + 6 * n, *normals = x + 7 * n, dt = MATURITY / steps, root = std::sqrt(dt);
  alignas(64) Paths p;
#pragma omp simd
  for (long i = 0; i < count; ++i) {
    p.other[i] = std::sqrt(1.0 - correlation[i] * correlation[i]);
    p.variance[i] = x[i + n];
    p.log_price[i] = log(spot[i]);
  }
  for (long k = 0; k < steps; ++k) {
    const double *first = normals + 2 * k * n, *second = first + n;
    double* kept = variances + k * TOGETHER;
#pragma omp simd
    for (long i = 0; i < count; ++i) {
      kept[i] = p.variance[i];
      const double positive = std::max(p.variance[i], 0.0), deviation = std::sqrt(positive) * root;
      p.log_price[i] += (rate[i] - 0.5 * positive) * dt + deviation * first[i];
      const double noise = correlation[i] * first[i] + p.other[i] * second[i];
      p.variance[i] += reversion[i] * (mean[i] - positive) * dt + volatility[i] * deviation * noise;
    }
  }
#pragma omp simd
  for (long i = 0; i < count; ++i) {
    out[i] = exp(p.log_price[i]);
    p.w[i] = p.by_reversion[i] = p.by_mean[i] = p.by_volatility[i] = p.by_correlation[i] = 0.0;
  }
  for (long k = steps - 1; k >= 0; --k) {
    const double *first = normals + 2 * k * n, *second = first + n, *kept = variances + k * TOGETHER;
#pragma omp simd
    for (long i = 0; i < count; ++i) {
      const double positive = std::max(kept[i], 0.0), sqrt_positive = std::sqrt(positive), w = p.w[i];
      const double deviation = sqrt_positive * root, noise = correlation[i] * first[i] + p.other[i] * second[i];
      p.by_reversion[i] += w * (mean[i] - positive);
      p.by_mean[i] += w;
      p.by_volatility[i] += w * deviation * noise;
      p.by_correlation[i] += w * deviation * (first[i] - correlation[i] / p.other[i] * second[i]);
      const double by_root = (out[i] * first[i] + w * volatility[i] * noise) * root;
      const double change = 0.5 * by_root / sqrt_positive - 0.5 * out[i] * dt - w * reversion[i] * dt;
      p.w[i] = kept[i] > 0.0 ? w + change : w;
    }
  }
#pragma omp simd
  for (long i = 0; i < count; ++i) {
    out[i + n] = out[i] / spot[i];
    out[i + 2 * n] = p.w[i];
    out[i + 3 * n] = p.by_reversion[i] * dt;
    out[i + 4 * n] = p.by_mean[i] * reversion[i] * dt;
    out[i + 5 * n] = p.by_volatility[i];
    out[i + 6 * n] = p.by_correlation[i] * volatility[i];
    out[i + 7 * n] = out[i] * MATURITY;
  }
}

}  // namespace

extern "C" {

void options_columns(const double* x, double* out, long n, long) { greeks(x, n, out, n, n); }

void options_rows(const double* x, double* out, long n, long) {
  alignas(64) double columns[INPUTS][TURNED], results[OUTPUTS][TURNED];
  for (long start = 0; start < n; start += TURNED) {
    const long count = std::min(TURNED, n - start);
    const double* from = x + INPUTS * start;
    double* to = out + OUTPUTS * start;
    for (long j = 0; j < INPUTS * TURNED; j += 8) __builtin_prefetch(from + INPUTS * AHEAD + j);
    for (long j = 0; j < OUTPUTS * TURNED; j += 8) __builtin_prefetch(to + OUTPUTS * AHEAD + j, 1);
    for (long i = 0; i < count; ++i)
      for (long k = 0; k < INPUTS; ++k) columns[k][i] = from[INPUTS * i + k];
    greeks(columns[0], TURNED, results[0], TURNED, count);
    for (long i = 0; i < count; ++i)
      for (long k = 0; k < OUTPUTS; ++k) to[OUTPUTS * i + k] = results[k][i];
  }
}

void paths_columns(const double* x, double* out, long n, long inputs) {
  const long steps = (inputs - 7) / 2;
  std::vector<double> variances(steps * TOGETHER);
  for (long start = 0; start < n; start += TOGETHER)
    some_paths(x + start, out + start, n, std::min(TOGETHER, n - start), steps, variances.data());
}

}  // extern "C"
