"""Direct calls: what compiled callers need to replay a recording without a line of Python.

`caller_of` describes the arguments and the results of a recording to `execute.caller`. What compiled code does not
know (registered nodes, booleans, other classes of numbers, programs that leave for Python) is left to `evaluation`,
and so is every call that the description does not fit, be it wrong or merely unusual.
"""

import contextlib
import functools
import types
from typing import Any

import numpy as np

from fasttape import binding
from fasttape.compiler.calling import Caller, caller_class
from fasttape.compiler.objects import NATIVE, NEW_ARRAY, NEW_SCALAR, SET_BASE, numpy_function
from fasttape.evaluation import Evaluator
from fasttape.execute import caller as c
from fasttape.execute import conversion as v
from fasttape.execute.blocks import LINE
from fasttape.execute.interpreter import Workspace, address
from fasttape.execute.single import Single, suits
from fasttape.layout import FORWARD, REVERSE
from fasttape.program import Program
from fasttape.recorders import dependencies as d
from fasttape.recording import Output
from fasttape.transform.optimize import optimize
from fasttape.transform.programs import gradient_program, input_slots

VALUE, GRADIENT, BOTH = "outputs", "gradient", "value_and_gradient"  # what to return, as methods of Evaluator
KINDS = {d.LIST: v.LIST, d.TUPLE: v.TUPLE, d.DICT: v.DICT, d.INSTANCE: v.INSTANCE}
CONTAINERS = {cls: KINDS[kind] for cls, kind in d.CONTAINERS.items()}
LONG = 4096  # slots; giving the interpreter's lock back for less costs more than others gain
NEVER = -1
PATIENCE = 10_000  # calls, in which the interpreter has taken about the time in which LLVM compiles the program


class UnknownError(Exception):
    """An object that compiled code does not know."""


class Nodes:
    """A description under construction: one row per node, and what the rows point to."""

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype
        self.rows: list[list[int]] = []
        self.shapes: list[int] = []
        self.places = [0]
        self.kept: list[Any] = []  # objects whose addresses are in the rows

    def add(self, kind: int, **fields: int) -> int:
        """Append a node; its number. Without a parent it is found by its `key`, the address of an object."""
        row = [0] * v.WIDTH
        row[v.KIND], row[v.PARENT], row[v.PLACES] = kind, -1, v.NOWHERE
        for name, value in fields.items():
            row[getattr(v, name.upper())] = value
        self.rows.append(row)
        return len(self.rows) - 1

    def hold(self, x: Any) -> int:
        """The address of an object that lives as long as the description."""
        self.kept.append(x)
        return id(x)

    def keys(self, keys: Any) -> int:
        """The place of the keys of a dict, in their order."""
        at = len(self.shapes)
        self.shapes += [self.hold(key) for key in keys]
        return at

    def tree(self, structure: Any, leaves: Any, add_leaf: Any, **where: int) -> None:
        """Nodes for a structure of `trees` and its leaves; `add_leaf(leaf, **where)` adds those of a leaf."""
        if structure is None:
            add_leaf(next(leaves), **where)
        elif isinstance(structure, int):
            parent = self.add(v.TUPLE, cls=id(tuple), size=structure, **where)
            for index in range(structure):
                add_leaf(next(leaves), parent=parent, index=index)
        elif structure.is_leaf():
            add_leaf(next(leaves), **where)
        elif structure.type in CONTAINERS:
            entries, cls = structure.entries(), structure.type
            template = dict.fromkeys(structure.unflatten(range(structure.num_leaves))) if cls is dict else None
            fields = {"cls": id(cls), "size": len(entries), "slot": self.hold(template)}
            if template is not None:
                fields["shape"] = self.keys(template)
            parent = self.add(CONTAINERS[cls], **fields, **where)
            for child, entry in zip(structure.children(), entries, strict=True):
                place = {"key": self.hold(entry)} if cls is dict else {"index": entry}
                self.tree(child, leaves, add_leaf, parent=parent, **place)
        else:
            raise UnknownError

    def array(self, kind: int, shape: tuple[int, ...], **fields: int) -> None:
        """A node for an array; behind its shape stands the length of memory that holds it with room to align it."""
        size = int(np.prod(shape, dtype=np.int64))
        at = len(self.shapes)
        self.shapes += [*shape, size + LINE // self.dtype.itemsize]
        self.add(kind, cls=id(np.ndarray), size=len(shape), shape=at, numbers=size, **fields)

    def snapshot(self, x: d.Snapshot, **where: int) -> None:
        """Nodes for something that has to be what it was."""
        if x.kind in KINDS:
            self.parts(x, **where)
        elif x.kind == d.ARRAY and len(x.content) == x.value.nbytes:
            memory = np.frombuffer(x.content, np.uint8) if x.content else np.zeros(1, np.uint8)
            self.kept.append(memory)
            fields = {"dtype": self.hold(x.value.dtype), "slot": address(memory)}
            self.array(v.CONTENT, x.value.shape, **fields, **where)
            self.rows[-1][v.NUMBERS] = len(x.content)
        elif x.kind == d.FLAT and type(x.value) is list and x.holds(x.value):
            items = list(x.value)  # that live as long as the description
            addresses = np.array([id(item) for item in items], np.int64)
            self.kept += [items, addresses]
            self.add(v.ITEMS, cls=id(list), size=len(items), slot=address(addresses), **where)
        elif x.kind in (d.ARRAY, d.SET, d.FLAT):
            raise UnknownError
        else:
            self.add(v.SAME, slot=self.hold(x.value), **where)

    def parts(self, x: d.Snapshot, **where: int) -> None:
        """Nodes for something that has parts, and for these."""
        kind, keyed = KINDS[x.kind], x.kind in (d.DICT, d.INSTANCE)
        fields = {"shape": self.keys(key for key, _ in x.children)} if x.kind == d.DICT else {}
        parent = self.add(kind, cls=self.hold(type(x.value)), size=len(x.children), **fields, **where)
        for key, child in x.children:
            place = {"key": 0 if key is None else self.hold(key)} if keyed else {"index": key}
            self.snapshot(child, parent=parent, **place)

    def operands(self, segment: Any) -> int:
        """The place of a list of the operands that read a segment."""
        at = len(self.places)
        self.places += [len(segment.operands), *(number for pair in segment.operands for number in pair)]
        return at


def describe_arguments(nodes: Nodes, evaluator: Evaluator) -> None:
    """Nodes for the arguments of a recording and for the variables that it read."""
    signature, elsewhere = evaluator.signature, evaluator.plan.elsewhere

    def add_leaf(numbered: tuple[int, binding.Leaf], **where: int) -> None:
        k, leaf = numbered
        if leaf.kind == binding.STATIC:
            nodes.snapshot(leaf.value, **where)
        elif leaf.kind == binding.SCALAR:
            cls = float if leaf.dtype is float else leaf.dtype.type
            nodes.add(v.NUMBER, cls=id(cls), slot=leaf.start, **where)
        elif leaf.dtype != nodes.dtype:
            raise UnknownError
        else:
            places = nodes.operands(elsewhere[k]) if k in elsewhere else v.NOWHERE
            fields = {"dtype": nodes.hold(leaf.dtype), "slot": leaf.start, "places": places}
            nodes.array(v.ARRAY, leaf.shape, **fields, **where)

    root = nodes.add(v.TUPLE, cls=id(tuple), size=len(signature.structures))
    leaves = iter(enumerate(signature.leaves))
    for index, structure in enumerate(signature.structures):
        nodes.tree(structure, leaves, add_leaf, parent=root, index=index)
    for x in evaluator.recording.dependencies:
        place, kind = nodes.hold(x.place), v.CELL if type(x.place) is types.CellType else v.NAMESPACE
        if kind == v.CELL or isinstance(x.place, dict):
            parent = nodes.add(kind, cls=id(type(x.place)), key=place)
            nodes.snapshot(x.snapshot, parent=parent, key=nodes.hold(x.name))
        else:
            nodes.snapshot(x.snapshot, key=place)


def describe_results(nodes: Nodes, evaluator: Evaluator, what: str) -> None:
    """Nodes for what a call returns."""
    signature, elsewhere = evaluator.signature, evaluator.plan.elsewhere
    dtype, number = nodes.hold(nodes.dtype), nodes.dtype.num

    def add_output(out: Output, **where: int) -> None:
        if out.start == out.stop and out.shape is None:
            if type(out.value) not in d.BUILTIN:
                raise UnknownError
            nodes.add(v.SAME, slot=nodes.hold(out.value), **where)
        elif out.boolean:
            raise UnknownError
        elif out.shape is None:
            kind = v.NUMBER if nodes.dtype == np.float64 else v.SCALAR
            nodes.add(kind, slot=out.start, source=v.OUTPUTS, dtype=dtype, **where)
        else:
            nodes.array(v.ARRAY, out.shape, dtype=number, slot=out.start, source=v.OUTPUTS, **where)

    def add_gradient(numbered: tuple[int, binding.Leaf], **where: int) -> None:
        k, leaf = numbered
        if leaf.dtype not in (float, nodes.dtype):
            raise UnknownError
        if leaf.kind == binding.SCALAR:
            kind = v.NUMBER if leaf.dtype is float else v.SCALAR
            nodes.add(kind, slot=leaf.start, source=v.ADJOINTS, dtype=dtype, **where)
        elif k in elsewhere and elsewhere[k].gradient:
            places = nodes.operands(elsewhere[k])
            fields = {"dtype": number, "slot": leaf.start, "source": v.PLACED, "places": places}
            nodes.array(v.ARRAY, leaf.shape, **fields, **where)
        else:
            nodes.array(v.ARRAY, leaf.shape, dtype=number, slot=leaf.start, source=v.ADJOINTS, **where)

    where = {}
    if what == BOTH:
        where = {"parent": nodes.add(v.TUPLE, size=2)}
    if what != GRADIENT:
        recording = evaluator.recording
        nodes.tree(recording.structure, iter(recording.outputs), add_output, **where)
    if what != VALUE:
        where |= {"index": 1} if where else {}
        if not signature.single:
            where = {"parent": nodes.add(v.TUPLE, size=len(signature.argnums), **where)}
        for position, n in enumerate(signature.argnums):
            start = sum(signature.counts[:n])
            leaves = list(enumerate(signature.leaves))[start : start + signature.counts[n]]
            index = {} if signature.single else {"index": position}
            nodes.tree(signature.structures[n], iter(leaves), add_gradient, **where | index)


@functools.cache
def numpy_functions() -> np.ndarray:
    """The addresses of the functions of NumPy that compiled code calls."""
    return np.array([numpy_function(k) for k in (NEW_SCALAR, NEW_ARRAY, SET_BASE)])


class Direct:
    """A state of a caller for one recording and one kind of result; called itself, it goes the way through Python."""

    def __init__(self, evaluator: Evaluator, what: str):
        self.evaluator, self.what = evaluator, what
        self.use = getattr(evaluator, what)
        self.state = np.zeros(c.STATE, np.int64)
        self.answers = False  # whether the state can be asked
        if NATIVE:
            with contextlib.suppress(UnknownError):
                self.fill()
                self.answers = True

    def __call__(self, *args: Any) -> Any:
        return self.run(args)

    def run(self, args: Any, *, exact: bool = False) -> Any:
        """Replay the recording in Python; raises `ReplayError` where it does not hold."""
        if self.answers and self.state[c.HITS] == self.state[c.DUE]:
            self.compile()
        return self.evaluator.run(self.evaluator.leaves(args, exact=exact), self.use, keep=self.what != VALUE)

    def fill(self) -> None:
        """Describe the recording; raises `UnknownError`."""
        evaluator, program = self.evaluator, self.evaluator.program
        if evaluator.plan.calls or evaluator.looped is not None:
            raise UnknownError
        taken, returned = Nodes(program.dtype), Nodes(program.dtype)
        describe_arguments(taken, evaluator)
        describe_results(returned, evaluator, self.what)
        for row in returned.rows:  # places of both are in one list
            row[v.SHAPE] += len(taken.shapes)
            row[v.PLACES] += len(taken.places) if row[v.PLACES] != v.NOWHERE else 0
        workspace, plan = Workspace(evaluator.plan, program), evaluator.plan
        adjoints = workspace.values if self.what == VALUE else workspace.prepared_adjoints()
        sources = {
            c.IN: np.array(taken.rows, np.int64),
            c.IN_OBJECTS: np.zeros(len(taken.rows) + 3, np.int64),  # and room for one entry of a dict
            c.OUT: np.array(returned.rows, np.int64),
            c.OUT_OBJECTS: np.zeros(len(returned.rows), np.int64),
            c.SHAPES: np.array(taken.shapes + returned.shapes, np.int64),
            c.PLACES: np.array(taken.places + returned.places, np.int64),
            c.NUMPY: numpy_functions(),
            c.CLEARED: np.array(plan.cleared, np.int64),
            c.FORWARD_ENTRIES: plan.linked(FORWARD),
            c.REVERSE_ENTRIES: plan.linked(FORWARD if self.what == VALUE else REVERSE),
        }
        sources |= dict(zip((c.OPS, c.A, c.B, c.AUX), workspace.columns, strict=True))
        sources |= {c.VALUES: workspace.values, c.ADJOINTS: adjoints, c.SCRATCH: workspace.machine.scratch}
        sources[c.OUTPUTS] = program.outputs
        for field, array in sources.items():
            self.state[field] = address(array)
        self.state[c.IN_SIZE], self.state[c.OUT_SIZE] = sources[c.IN].size, sources[c.OUT].size
        self.state[c.ATTEMPT] = c.compiled_attempt(program.dtype).address
        self.state[c.INSTRUCTIONS], self.state[c.FIRST_RESULT] = workspace.columns[0].size, program.first_result
        self.state[c.SLOTS], self.state[c.OUTPUTS_SIZE] = program.slots, program.outputs.size
        self.state[c.CLEARED_SIZE], self.state[c.GRADIENT] = len(plan.cleared), self.what != VALUE
        self.state[c.UNLOCKS] = program.slots > LONG
        self.state[c.DUE] = PATIENCE
        self.workspace, self.kept = workspace, [sources, taken.kept, returned.kept]

    def compile(self) -> None:
        """Let machine code answer from now on, if the program is one for it."""
        self.state[c.DUE] = NEVER
        if not self.evaluator.plan.elsewhere and suits(self.evaluator.source):
            single = machine_code(self.evaluator.source, self.what, self.workspace)
            self.kept.append(single)
            self.state[c.ARGUMENTS], self.state[c.FAILED] = address(single.arguments), address(single.failed)
            self.state[c.CODE] = single.code


def machine_code(program: Program, what: str, workspace: Workspace) -> Single:
    """Code for a program that does in a workspace what the sweeps do there for the results that are wanted."""
    values, size, count = address(workspace.values), program.dtype.itemsize, program.outputs.size
    sources = values + size * np.arange(1, 1 + program.inputs)
    targets = values + size * workspace.program.outputs.astype(np.int64)
    if what != VALUE:
        program = gradient_program(program)
        targets = np.concatenate([targets, address(workspace.prepared_adjoints()) + size * input_slots(program)])
    if what == GRADIENT:
        program, targets = program._replace(outputs=program.outputs[count:]), targets[count:]
    return Single(optimize(program), sources, targets)


def caller_of(evaluator: Evaluator, what: str) -> Any:
    """A callable that replays a recording and returns `what`."""
    made = caller_class(Caller)()
    made.otherwise = direct = Direct(evaluator, what)
    made.state = address(direct.state) if direct.answers else 0
    return made
