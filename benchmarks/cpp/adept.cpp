// Adept's stack of statements, with expression templates.
#include <adept.h>
#include <vector>

using Real = adept::adouble;

static adept::Stack& stack_of_thread() {
  static thread_local adept::Stack stack;
  return stack;
}

template <class Function>
double differentiate(Function f, const double* x, long size, double* gradient) {
  adept::Stack& stack = stack_of_thread();
  std::vector<Real> inputs(size);
  adept::set_values(inputs.data(), size, x);
  stack.new_recording();
  Real y = f(inputs);
  y.set_gradient(1.0);
  stack.compute_adjoint();
  adept::get_gradients(inputs.data(), size, gradient);
  return y.value();
}

#include "exports.hpp"
