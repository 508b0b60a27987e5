"""Functions as people write them: `math`, helpers, closures, methods, decorators, and what stays as it was."""

import functools
import importlib
import math
import math as m
import re
import threading
import traceback
from math import exp

import mpmath
import numba
import numpy as np
import pytest
import user_module

import fasttape as ft
from fasttape import errors, ops

SLOPE = 3.0
seen = 0


def rows_of_math():
    """The name, the arity and a point for every function of `math` that the table lists."""
    for op in ops.OPS:
        for name in op.names:
            if name.startswith("math.") and ops.PREDICATE not in op.traits:
                yield pytest.param(name.partition(".")[2], op.arity, id=name)


def reference(name):
    special = {"degrees": mpmath.degrees, "radians": mpmath.radians, "lgamma": lambda x: mpmath.re(mpmath.loggamma(x))}
    special |= {"log2": lambda x: mpmath.log(x, 2), "exp2": lambda x: mpmath.power(2, x)}
    special |= {"fabs": abs, "pow": mpmath.power, "copysign": lambda x, y: abs(x) * mpmath.sign(y)}
    return special.get(name) or getattr(mpmath, name)


@pytest.mark.parametrize(("name", "arity"), list(rows_of_math()))
def test_every_function_of_math(name, arity):
    function = getattr(math, name)
    point = (1.3 if name == "acosh" else 0.7, 0.4)[:arity]
    argnums = tuple(range(arity))
    value, gradient = ft.value_and_grad(lambda *x: function(*x), argnums)(*point)
    assert value == pytest.approx(function(*point), rel=1e-15)
    for k, found in enumerate(gradient):
        order = tuple(int(k == i) for i in range(arity))
        wanted = mpmath.diff(reference(name), point, order) if arity > 1 else mpmath.diff(reference(name), point[0])
        assert found == pytest.approx(float(wanted), rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("base", [None, 2, 10.0])
def test_log_with_a_base(base):
    args = () if base is None else (base,)
    assert ft.grad(lambda x: math.log(x, *args))(2.0) == pytest.approx(0.5 / math.log(base or math.e))


def test_log_to_a_traced_base():
    assert ft.grad(lambda b: math.log(5.0, b))(2.0) == pytest.approx(-math.log(5.0) / (2.0 * math.log(2.0) ** 2))


def test_functions_of_math_keep_their_plain_meaning():
    def f(x):
        assert math.exp(1) == 2.718281828459045
        assert math.comb(5, 2) == 10
        assert math.pi == m.pi
        with pytest.raises(ValueError, match=r"math domain error|expected a nonnegative"):
            math.sqrt(-1.0)
        return x * math.exp(0.0)

    assert ft.grad(f)(3.0) == 1.0


@pytest.mark.parametrize("f", [math.exp, exp, m.exp, np.exp], ids=["math", "name", "alias", "numpy"])
def test_a_builtin_is_differentiated_itself(f):
    assert ft.grad(f)(1.0) == math.exp(1.0)


def test_every_way_to_name_a_module():
    def f(x):
        import math as local
        from math import cos

        return math.exp(x) + m.exp(x) + exp(x) + local.exp(x) + cos(x)

    assert ft.grad(f)(0.5) == pytest.approx(4.0 * math.exp(0.5) - math.sin(0.5))


def helper(x):
    return math.sin(SLOPE * x)


def test_a_helper_in_the_same_module():
    assert ft.grad(lambda x: helper(x) * 2.0)(0.1) == pytest.approx(6.0 * math.cos(0.3))


def test_helpers_in_another_module():
    inner = 2.0 * math.sin(0.1)
    wanted = 4.0 * math.cos(inner) * math.cos(0.1)
    assert ft.grad(lambda x: user_module.twice(x))(0.1) == pytest.approx(wanted)
    assert ft.grad(user_module.twice)(0.1) == pytest.approx(wanted)


def test_a_global_of_another_module_is_written():
    before = user_module.counter
    assert ft.grad(lambda x: user_module.count_and_exp(x) + user_module.count_and_exp(x))(0.0) == 2.0
    assert user_module.counter == before + 2


def power(x, n):
    return 1.0 if n == 0 else math.exp(math.log(x)) * power(x, n - 1)


def test_recursion():
    assert ft.grad(lambda x: power(x, 5))(2.0) == pytest.approx(80.0)


def test_recursion_of_a_nested_function():
    def f(x, n=4):
        return math.tanh(f(x, n - 1)) if n else x

    expected = 1.0
    x = 0.3
    for _ in range(4):
        x = math.tanh(x)
        expected *= 1.0 - x * x
    assert ft.grad(f)(0.3) == pytest.approx(expected)


def test_nested_functions_and_classes_inside():
    def f(x):
        class Inner:
            slope = SLOPE
            helper = staticmethod(helper)

            def __init__(self, x):
                self.x = x

            def run(self):
                return math.exp(self.x) * self.slope

        class Derived(Inner):
            def run(self):
                return super().run() + self.helper(x)

        def nested():
            return Derived(x).run()

        return nested()

    assert ft.grad(f)(0.2) == pytest.approx(3.0 * math.exp(0.2) + 3.0 * math.cos(0.6))


def test_closure_cells_are_shared():
    calls, table = 0, {"weight": 2.0}

    def f(x):
        nonlocal calls
        calls += 1
        table["last"] = calls
        return math.sin(x) * table["weight"]

    assert ft.grad(f)(0.0) == 2.0
    table["weight"] = 5.0
    assert ft.grad(f)(0.0) == 5.0
    assert calls == table["last"] == 2


def test_rebinding_a_helper_in_a_closure():
    def act(x):
        return math.sin(x)

    def f(x):
        nonlocal act
        y = act(x)
        act = other
        return y + act(x)

    def other(x):
        return math.exp(x)

    assert ft.grad(f)(0.0) == 2.0
    assert act is other
    act = math.cos
    assert ft.grad(lambda x: act(x))(0.5) == pytest.approx(-math.sin(0.5))


def test_globals_are_live():
    def f(x):
        before = SLOPE * x
        change()
        return before + SLOPE * x

    def change():
        user_module.SCALE = 7.0
        importlib.import_module(__name__).__dict__["SLOPE"] += 1.0

    try:
        assert ft.grad(f)(1.0) == 7.0
        assert ft.grad(user_module.helper)(0.0) == 7.0
        assert ft.grad(f)(1.0) == 9.0
    finally:
        globals()["SLOPE"] = 3.0
        user_module.SCALE = 2.0


def test_a_global_helper_may_be_replaced_between_calls(monkeypatch):
    f = lambda x: helper(x)  # noqa: E731
    assert ft.grad(f)(0.0) == 3.0
    monkeypatch.setitem(globals(), "helper", math.exp)
    assert ft.grad(f)(0.0) == 1.0


@pytest.mark.parametrize("fails", [False, True])
def test_global_statements_are_written_through(fails):
    global seen
    seen = 0

    def f(x):
        global seen
        seen += 1
        assert seen == 1
        if fails:
            raise KeyError("on purpose")
        return x

    if fails:
        with pytest.raises(KeyError, match="on purpose"):
            ft.grad(f)(1.0)
    else:
        assert ft.grad(f)(1.0) == 1.0
    assert seen == 1


def test_a_function_bound_by_a_global_statement_is_the_users():
    def f(x):
        global seen
        seen = helper
        return seen(x)

    assert ft.grad(f)(0.0) == 3.0
    assert seen is helper


def test_defaults():
    def f(x, act=math.exp, *, scale=2.0, after=helper):
        return scale * act(x) + after(x)

    assert ft.grad(f)(0.0) == 5.0
    assert ft.grad(f)(0.0, scale=1.0, after=math.sin) == 2.0
    assert f.__defaults__ == (math.exp,)
    assert f.__kwdefaults__ == {"scale": 2.0, "after": helper}


def test_partials():
    def f(a, x, b=0.0):
        return math.exp(a * x) + b

    assert ft.grad(functools.partial(f, 2.0, b=1.0))(0.0) == 2.0
    assert ft.grad(functools.partial(lambda g, x: g(x) ** 2, helper))(0.1) == pytest.approx(3.0 * math.sin(0.6))


def decorate(function):
    @functools.wraps(function)
    def wrapper(*args):
        return math.exp(function(*args))

    return wrapper


@decorate
def decorated(x):
    return math.sin(x)


def test_decorated_functions():
    assert ft.grad(decorated)(0.2) == pytest.approx(math.exp(math.sin(0.2)) * math.cos(0.2))


def test_caches_work_for_plain_arguments():
    calls = []

    @functools.lru_cache
    def weight(n):
        calls.append(n)
        return math.sqrt(n)

    assert ft.grad(lambda x: weight(4) * x + weight(4) * x)(1.0) == 4.0
    assert calls == [4]
    assert ft.grad(lambda x: weight(x))(4.0) == 0.25


def test_containers_of_functions():
    activations = {"tanh": math.tanh, "own": lambda x: math.exp(2.0 * x)}
    chain = [math.sin, helper]
    assert ft.grad(lambda x: activations["tanh"](x) + activations["own"](x))(0.0) == 3.0
    assert ft.grad(lambda x: sum(f(x) for f in chain))(0.0) == 4.0


def test_code_out_of_reach_has_a_clear_error():
    line = out_of_reach.__code__.co_firstlineno + 1
    nested = {"layers": [out_of_reach]}
    message = f"at {re.escape(__file__)}:{line}, which is called out of reach, numpy's functions instead of math's"
    with pytest.raises(errors.ConversionError, match=message):
        ft.grad(lambda x: [nested][0]["layers"][0](x))(0.0)


def out_of_reach(x):
    return math.tanh(x)


def test_attributes_of_functions_are_shared():
    def f(x):
        f.calls += 1
        return math.exp(x)

    f.calls = 0
    assert ft.grad(f)(0.0) == 1.0
    assert f.calls == 1


def test_generators_and_comprehensions():
    def terms(x, n):
        for k in range(n):
            yield math.exp(k * x)

    assert ft.grad(lambda x: sum(terms(x, 4)))(0.0) == 6.0
    assert ft.grad(lambda x: sum([math.sin(k * x) for k in range(4)]))(0.0) == 6.0
    assert ft.grad(lambda x: sum(map(math.sin, [x, x])))(0.0) == 2.0


def test_numba_functions_are_called_as_python():
    @numba.njit
    def compiled(x):
        return math.sin(x) * 2.0

    assert ft.grad(compiled)(0.0) == 2.0
    assert ft.grad(lambda x: compiled(x) + compiled(1.0))(0.0) == 2.0


def test_a_traceback_shows_the_users_lines():
    def f(x):
        y = math.exp(x)
        return fails(y)

    def fails(y):
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose") as caught:
        ft.grad(f)(1.0)
    lines = [frame.line for frame in traceback.extract_tb(caught.value.__traceback__) if frame.filename == __file__]
    assert lines[-2:] == ["return fails(y)", 'raise ValueError("on purpose")']


def test_nothing_is_patched():
    before = math.exp, np.array, helper.__globals__, helper.__code__, dict(vars(math)), helper.__dict__.copy()
    ft.grad(lambda x: helper(np.array([x])[0]))(1.0)
    assert before == (math.exp, np.array, globals(), helper.__code__, dict(vars(math)), helper.__dict__)
    assert math.exp(0.0) == 1.0


def test_threads_record_the_same_function():
    def f(x, barrier):
        total = helper(x)
        barrier.wait()
        for _ in range(200):
            total = math.sin(total) + x
        return total

    points = [0.1, 0.2, 0.3, 0.4]
    alone = threading.Barrier(1)
    wanted = [ft.grad(f)(x, alone) for x in points]
    barrier, found = threading.Barrier(len(points)), [None] * len(points)

    def work(k):
        found[k] = ft.grad(f)(points[k], barrier)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(points))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == wanted


def test_a_failed_call_leaves_nothing_behind():
    def f(x, fail):
        y = math.exp(x)
        if fail:
            raise RuntimeError("on purpose")
        return y

    with pytest.raises(RuntimeError, match="on purpose"):
        ft.grad(f)(1.0, True)
    assert ft.grad(f)(0.0, False) == 1.0
