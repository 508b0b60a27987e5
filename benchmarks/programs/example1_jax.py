"""A process that needs one gradient, from JAX."""

import sys

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)


@jax.jit
@jax.grad
def derivative(x):
    return jnp.sqrt(x**2 + jnp.exp(x**2)) + jnp.cos(x**2 + jnp.exp(x**2))


print(derivative(float(sys.argv[1])))
