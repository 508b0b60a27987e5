"""Compilation of a function with all that it calls: optimized once, as a whole, and once made machine code.

Numba does both for every function before it compiles a caller of it, which for code of many short functions takes
longer than everything else.
"""

import contextlib
import gc
import weakref

from numba.core.codegen import JITCodeLibrary, RuntimeLinker
from numba.core.compiler import Compiler
from numba.core.compiler_lock import global_compiler_lock
from numba.core.environment import lookup_environment
from numba.core.registry import cpu_target

PARTS: weakref.WeakValueDictionary = weakref.WeakValueDictionary()  # by the names of their functions


class Whole(JITCodeLibrary):
    """The code of a function and of all that it calls, of which there may be no other machine code."""

    def _finalize_specific(self):
        super()._finalize_specific()
        for variable in self._final_module.global_variables:
            environment = lookup_environment(variable.name)
            if environment is not None and not variable.is_declaration:
                self._codegen.set_env(variable.name, environment)
            recursive = PARTS.get(variable.name.removeprefix(RuntimeLinker.PREFIX))
            if recursive is not None:  # a recursive call goes to machine code with a name
                recursive.complete()


class Part(Whole):
    """The code of a function that others call. It becomes whole if its address is asked for, as Python does."""

    is_whole = False

    @property
    def codegen(self):
        return self  # Numba asks that to set the environment of the function, which only machine code has

    def set_env(self, name, environment):
        if self.is_whole:
            self._codegen.set_env(name, environment)

    def _optimize_functions(self, module):
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self):
        if self.is_whole:
            super()._optimize_final_module()

    def _finalize_final_module(self):
        if self.is_whole:
            super()._finalize_final_module()
        else:
            self._finalized = True
            self.names = {x.name for x in self._final_module.functions if not x.is_declaration}
            for name in self.names:
                PARTS.setdefault(name, self)

    def complete(self):
        """Make machine code."""
        self._ensure_finalized()
        if not self.is_whole:
            self.is_whole = True
            self._optimize_final_module()
            self._finalize_final_module()

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        if not self.is_whole and name not in self.names:
            return 0
        self.complete()
        return super().get_pointer_to_function(name)

    def _get_compiled_object(self):
        self.complete()
        return super()._get_compiled_object()


@contextlib.contextmanager
def compiled_in_parts(name):
    """Let what Numba compiles inside be parts; gives the library of the function that calls them."""
    with global_compiler_lock:
        cpu_target.target_context.refresh()  # compiles Numba's runtime, which others ask for addresses in the middle
        codegen = cpu_target.target_context.codegen()
        whole = Whole(codegen, name)
        whole.enable_object_caching()
        usual, codegen._library_class = codegen._library_class, Part
        collecting = gc.isenabled()
        gc.disable()  # a tenth of the time would go to objects that live until the end
        try:
            yield whole
        finally:
            codegen._library_class = usual
            if collecting:
                gc.enable()


class WholeCompiler(Compiler):
    """Numba's compiler for a function that calls what nobody else calls."""

    def compile_extra(self, func):
        with compiled_in_parts(func.__qualname__) as self.state.library:
            return super().compile_extra(func)
