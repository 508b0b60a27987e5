"""Lowering that tells guards where they are: the user's code writes the name of its line to the tape of the thread."""

from numba.core import ir as numba_ir
from numba.core.compiler_machinery import register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering

from fasttape.compiler.active_program import SITE
from fasttape.compiler.active_type import WORD, holds_active
from fasttape.compiler.linear_memory import current_tape, word


class LowerWithSites(Lower):
    """Numba's lowering; before each expression, which may record guards, it stores the address of "file:line"."""

    marking, place = None, None  # the function that is being made, and where it writes to

    def lower_inst(self, inst):
        if isinstance(inst, numba_ir.Assign) and isinstance(inst.value, numba_ir.Expr) and self.has_operands:
            self.mark(inst.loc)
        super().lower_inst(inst)

    @property
    def has_operands(self):
        return any(map(holds_active, self.fndesc.argtypes))

    def mark(self, loc):
        builder = self.builder
        if self.marking is not builder.function:
            self.marking = builder.function
            with builder.goto_entry_block():
                tape = builder.inttoptr(builder.call(current_tape(builder.module), []), WORD.as_pointer())
                self.place = builder.gep(tape, [word(SITE)])
        name = self.context.insert_const_string(builder.module, f"{loc.filename}:{loc.line}")
        builder.store(builder.ptrtoint(name, WORD), self.place)


@register_pass(mutates_CFG=True, analysis_only=False)
class LoweringWithSites(NativeLowering):
    """Numba's last pass with that lowering."""

    _name = "fasttape_lowering"

    @property
    def lowering_class(self):
        return LowerWithSites
