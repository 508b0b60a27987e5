// The functions that Python calls, for a file that has defined `Real` and `differentiate(f, x, size, gradient)`, which
// records f at x anew, takes its gradient and returns its value.
#pragma once
#include "programs.hpp"

extern "C" {

#define ROSENBROCK(name)                                                       \
  double name(const double* x, long size, double* gradient) {                  \
    return differentiate(                                                      \
        [](const std::vector<Real>& v) { return programs::name(v); }, x, size, gradient); \
  }

#define RECURRENCE(name)                                                                 \
  double name(const double* x, long size, long steps, double h, double* gradient) {      \
    return differentiate(                                                                \
        [=](const std::vector<Real>& v) { return programs::name(v, steps, h); }, x, size, gradient); \
  }

#define PRODUCTS(name)                                                                  \
  double name(const double* x, long size, long n, long times, double* gradient) {       \
    return differentiate(                                                               \
        [=](const std::vector<Real>& v) { return programs::name(v, n, times); }, x, size, gradient); \
  }

ROSENBROCK(rosenbrock)
ROSENBROCK(rosenbrock_in_operations)
RECURRENCE(recurrence)
RECURRENCE(recurrence_in_operations)
PRODUCTS(products)
PRODUCTS(products_in_operations)

}  // extern "C"
