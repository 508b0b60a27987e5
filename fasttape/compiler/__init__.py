"""The only folder that knows Numba's internals and LLVM."""
