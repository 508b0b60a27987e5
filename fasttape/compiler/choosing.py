"""What Numba compiles in place of a function by whether an argument is active."""

from numba import types
from numba.core.errors import NumbaError
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import lower_builtin

from fasttape.compiler.active_type import holds_active


def either(original, stand_in, *, reluctant=False):
    """What Numba compiles as `stand_in` where an argument is active, else as the original.

    If it is `reluctant`, the original is taken for active arguments, too, where Numba can compile it.
    """
    taken = {}  # by the types of the arguments

    def chosen(*args):
        raise NotImplementedError

    chosen.__name__ = f"{original.__name__}_{id(chosen)}"
    globals()[chosen.__name__] = chosen  # Numba wants a function to be found by its name

    @infer_global(chosen)
    class Template(AbstractTemplate):
        key, prefer_literal = chosen, True

        def generic(self, args, kws):
            which = stand_in if any(map(holds_active, (*args, *kws.values()))) else original
            if reluctant and which is stand_in and resolved(self.context, original, args, kws):
                which = original
            found = self.context.resolve_function_type(which, args, kws)
            if found is not None:
                taken[found.args] = which
            return found

    @lower_builtin(chosen, types.VarArg(types.Any))
    def lower(context, builder, sig, args):
        which = context.typing_context.resolve_value_type(taken[sig.args])
        implementation = context.get_function(which, sig)
        result = implementation(builder, args)
        context.add_linking_libs(getattr(implementation, "libs", ()))
        return result

    chosen.__name__ = f"{getattr(original, '__module__', 'numpy')}.{original.__name__}"  # as messages show it
    return chosen


def resolved(context, function, args, kws):
    """The signature of a call; None where Numba cannot compile it."""
    try:
        return context.resolve_function_type(function, args, kws)
    except NumbaError:
        return None
