// The programs of benchmarks/njit.py for any type of active numbers: as people write them, and with one operation in
// each statement, which takes from expression templates what they are made for.
#pragma once
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

namespace programs {

using std::exp;
using std::pow;
using std::sin;

template <class Real>
Real rosenbrock(const std::vector<Real>& x) {
  Real s = 0.0;
  for (std::size_t i = 0; i + 1 < x.size(); ++i) {
    s += 100.0 * pow(x[i + 1] - pow(x[i], 2), 2) + pow(1.0 - x[i], 2);
  }
  return s;
}

template <class Real>
Real rosenbrock_in_operations(const std::vector<Real>& x) {
  Real s = 0.0;
  for (std::size_t i = 0; i + 1 < x.size(); ++i) {
    const Real square = x[i] * x[i];
    const Real u = x[i + 1] - square;
    const Real uu = u * u;
    const Real left = 100.0 * uu;
    const Real w = 1.0 - x[i];
    const Real right = w * w;
    const Real term = left + right;
    s += term;
  }
  return s;
}

template <class Real>
Real recurrence(const std::vector<Real>& p, long steps, double h) {
  Real x = p[0];
  for (long k = 0; k < steps; ++k) x = x + h * (sin(x) * exp(-p[1] * x) - p[2] * x);
  return x;
}

template <class Real>
Real recurrence_in_operations(const std::vector<Real>& p, long steps, double h) {
  Real x = p[0];
  for (long k = 0; k < steps; ++k) {
    const Real wave = sin(x);
    const Real rate = -p[1];
    const Real power = rate * x;
    const Real decay = exp(power);
    const Real product = wave * decay;
    const Real loss = p[2] * x;
    const Real slope = product - loss;
    const Real step = h * slope;
    x = x + step;
  }
  return x;
}

template <class Real>
Real products(const std::vector<Real>& x, long n, long times) {
  std::vector<Real> u(x.begin() + n * n, x.end());
  for (long k = 0; k < times; ++k) {
    std::vector<Real> v(n);
    for (long i = 0; i < n; ++i) {
      Real s = 0.0;
      for (long j = 0; j < n; ++j) s += x[i * n + j] * u[j];
      v[i] = 0.1 * s;
    }
    u = std::move(v);
  }
  Real s = 0.0;
  for (long i = 0; i < n; ++i) s += u[i];
  return s;
}

template <class Real>
Real products_in_operations(const std::vector<Real>& x, long n, long times) {
  std::vector<Real> u(x.begin() + n * n, x.end());
  for (long k = 0; k < times; ++k) {
    std::vector<Real> v(n);
    for (long i = 0; i < n; ++i) {
      Real s = 0.0;
      for (long j = 0; j < n; ++j) {
        const Real product = x[i * n + j] * u[j];
        s += product;
      }
      v[i] = 0.1 * s;
    }
    u = std::move(v);
  }
  Real s = 0.0;
  for (long i = 0; i < n; ++i) s += u[i];
  return s;
}

}  // namespace programs
