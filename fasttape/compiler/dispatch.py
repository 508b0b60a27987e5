"""The functions that kernels call for one instruction: compiled, or their Python twins where the JIT is disabled."""

from fasttape.compiler.late import DISABLED, Late

steps = Late("fasttape.compiler.twins" if DISABLED else "fasttape.compiler.switch")
cell_steps = Late("fasttape.compiler.twins" if DISABLED else "fasttape.compiler.lanes")
