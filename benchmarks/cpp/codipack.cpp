// CoDiPack's tape of partial derivatives, its default, with expression templates.
#include <codi.hpp>
#include <vector>

using Real = codi::RealReverse;

template <class Function>
double differentiate(Function f, const double* x, long size, double* gradient) {
  auto& tape = Real::getTape();
  tape.setActive();
  std::vector<Real> inputs(x, x + size);
  for (auto& input : inputs) tape.registerInput(input);
  Real y = f(inputs);
  tape.registerOutput(y);
  tape.setPassive();
  y.setGradient(1.0);
  tape.evaluate();
  for (long i = 0; i < size; ++i) gradient[i] = inputs[i].getGradient();
  tape.reset();
  return y.getValue();
}

#include "exports.hpp"
