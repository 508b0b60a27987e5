// CppAD's tape of operations, recorded anew at each call; memory that it frees stays with it for the next.
#include <cppad/cppad.hpp>
#include <vector>

using Real = CppAD::AD<double>;

template <class Function>
double differentiate(Function f, const double* x, long size, double* gradient) {
  CppAD::thread_alloc::hold_memory(true);
  std::vector<Real> inputs(x, x + size);
  CppAD::Independent(inputs);
  std::vector<Real> outputs{f(inputs)};
  CppAD::ADFun<double> tape(inputs, outputs);
  const std::vector<double> found = tape.Reverse(1, std::vector<double>{1.0});
  for (long i = 0; i < size; ++i) gradient[i] = found[i];
  return CppAD::Value(outputs[0]);
}

#include "exports.hpp"
