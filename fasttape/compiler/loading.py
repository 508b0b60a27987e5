"""Object code in this process: what it is generated for, and how LLVM loads it."""

import ctypes
import functools
from typing import Any, NamedTuple

from llvmlite import binding

from fasttape.compiler import object_cache, vector
from fasttape.compiler.objects import address_of

MATHEMATICS = "libm.so.6"
TOGETHER = 2  # registers of numbers side by side: while one waits for a result the other goes on


class Target(NamedTuple):
    """What code is generated for: a processor and its vector registers."""

    cpu: str
    features: str
    registers: str  # their letter in the vector ABI; nothing where numbers are computed one by one

    def lanes(self, dtype: str) -> int:
        """Numbers that are computed side by side."""
        return max(TOGETHER * vector.WIDTHS.get(self.registers, 0) // vector.BITS[dtype], 1)

    def machine(self, level: int) -> Any:
        """LLVM's code generator."""
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        target = binding.Target.from_default_triple()
        return target.create_target_machine(
            cpu=self.cpu, features=self.features, opt=level, jit=True, reloc="default", codemodel="jitdefault"
        )


@functools.cache
def host() -> Target:
    """The processor that this process runs on."""
    features = binding.get_host_cpu_features()
    letters = [letter for feature, letter, _ in vector.REGISTERS if features.get(feature)]
    return Target(binding.get_host_cpu_name(), features.flatten(), (letters or [""])[0])


class Code:
    """Object code that is loaded into this process, as long as this lives."""

    def __init__(self, data: bytes, target: Target, *names: str):
        vector.library()
        self.engine = binding.create_mcjit_compiler(binding.parse_assembly(""), target.machine(0))
        self.engine.add_object_file(binding.ObjectFileRef.from_data(data))
        self.engine.finalize_object()
        self.functions = tuple(self.engine.get_function_address(name) for name in names)

    def words(self, name: str, count: int) -> list[int]:
        """The first words of a constant."""
        return list((ctypes.c_int64 * count).from_address(self.engine.get_global_value_address(name)))


@functools.cache
def libraries() -> None:
    """Let LLVM find what object code calls."""
    vector.library()
    for name in object_cache.INTERPRETER:
        binding.add_symbol(name, address_of(name))
    try:
        binding.load_library_permanently(MATHEMATICS)
    except RuntimeError:  # another system: perhaps the process has these functions
        return


def resolved(data: bytes) -> bool:
    """Whether all that some object code calls is there; LLVM ends a process that loads code for which it is not."""
    libraries()
    names = object_cache.undefined(data)
    return names is not None and all(binding.address_of_symbol(name) for name in names)
