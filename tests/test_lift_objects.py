"""Methods, callable objects and classes of the user's under recording, and what a lifted copy may keep alive."""

import dataclasses
import functools
import gc
import math
import weakref

import pytest
import user_module

import fasttape as ft


class Model:
    """Methods that call each other, with state."""

    created = 0

    def __init__(self, weight=0.5):
        self.weight = weight
        self.calls = 0
        self.layers = [user_module.Layer(weight), user_module.Layer(2.0)]
        Model.created += 1

    def activate(self, x):
        return math.tanh(x)

    @property
    def scale(self):
        return math.exp(self.weight)

    @scale.setter
    def scale(self, value):
        self.weight = math.log(value)

    @staticmethod
    def twice(x):
        return 2.0 * math.sin(x)

    @classmethod
    def build(cls, weight):
        return cls(math.fabs(weight))

    def predict(self, x):
        self.calls += 1
        return self.scale * self.activate(self.weight * x)

    def deep(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    def __call__(self, x):
        return self.predict(x) + self.twice(x)


class Derived(Model):
    def activate(self, x):
        return super().activate(x) + 0.5 * super().activate(x)


MODEL = Model()


def slope(x, weight=0.5):
    return math.exp(weight) * weight * (1.0 - math.tanh(weight * x) ** 2)


def test_a_method():
    model = Model()
    assert ft.grad(model.predict)(0.3) == pytest.approx(slope(0.3))
    assert model.calls == 1


@pytest.mark.parametrize(
    "f", [MODEL, lambda x: MODEL(x), lambda x, model=MODEL: model(x)], ids=["itself", "global", "default"]
)
def test_a_callable_object(f):
    before = MODEL.calls
    assert ft.grad(f)(0.3) == pytest.approx(slope(0.3) + 2.0 * math.cos(0.3))
    assert MODEL.calls == before + 1
    assert type(MODEL) is Model


def test_super_and_inherited_methods():
    assert ft.grad(Derived().predict)(0.3) == pytest.approx(1.5 * slope(0.3))


def test_objects_in_attributes():
    model = Model()
    inner = math.tanh(0.5 * 0.3)
    wanted = 2.0 * (1.0 - math.tanh(2.0 * inner) ** 2) * 0.5 * (1.0 - inner**2)
    assert ft.grad(model.deep)(0.3) == pytest.approx(wanted)


def test_a_function_in_an_attribute():
    class Holder:
        def __init__(self, f):
            self.f = f

        def __call__(self, x):
            return 2.0 * self.f(x)

    assert ft.grad(Holder(math.sin))(0.0) == 2.0
    assert ft.grad(functools.update_wrapper(Holder(user_module.helper), user_module.helper))(0.0) == 4.0


def test_setters_and_state_persist():
    model = Model()

    def f(x):
        model.scale = 2.0
        model.note = "kept"
        return model.predict(x)

    assert ft.grad(f)(0.3) == pytest.approx(slope(0.3, math.log(2.0)))
    assert model.note == "kept"
    assert model.weight == math.log(2.0)
    assert type(model) is Model


def test_classes_called_inside():
    before = Model.created

    def f(x):
        model = Model.build(-0.5)
        assert isinstance(model, Model)
        assert isinstance(MODEL, Model)
        assert not isinstance(x, Model)
        assert issubclass(Derived, Model)
        return Model(x).predict(1.0) + model.predict(x)

    assert ft.grad(f)(0.3) == pytest.approx(slope(0.3) + ft.grad(lambda w: math.exp(w) * math.tanh(w))(0.3))
    assert Model.created == before + 2


@dataclasses.dataclass
class Parameters:
    rate: float = 2.0

    def decay(self, x):
        return math.exp(-self.rate * x)


def test_dataclasses():
    assert ft.grad(Parameters().decay)(0.0) == -2.0
    assert ft.grad(lambda r: Parameters(r).decay(1.0))(2.0) == pytest.approx(-math.exp(-2.0))


def test_identity_of_objects():
    """An object seen by lifted code is equal to itself, and found where it is a key."""
    registry = {MODEL: 3.0}

    class Node:
        def value(self, x):
            return math.exp(x) * registry[MODEL] * (self == NODE)

    NODE = Node()
    assert ft.grad(lambda x: NODE.value(x))(0.0) == 3.0


class Missing:
    """A sentinel: nothing to lift, so `is` must hold."""


MISSING = Missing()


def test_objects_without_functions_to_lift_stay_themselves():
    def f(x, y=MISSING):
        assert y is MISSING
        assert type(MISSING) is Missing
        return math.exp(x)

    assert ft.grad(f)(0.0) == 1.0


class Failure(Exception):
    def __str__(self):
        return f"failed at {math.floor(2.5)}"


def test_exceptions_of_the_users_are_caught():
    def f(x):
        try:
            raise Failure
        except Failure:
            return math.sin(x)

    assert ft.grad(f)(0.0) == 1.0


def test_lifted_copies_are_freed_without_the_collector():
    """Long runs that differentiate new closures hold neither them nor what they captured."""

    class Data:
        weight = 2.0

    gc.collect()
    gc.disable()
    try:
        data = Data()
        watched = weakref.ref(data)

        def f(x):
            return math.sin(x) * data.weight + user_module.helper(x)

        assert ft.grad(f)(0.0) == 4.0
        del f
        data = None
        assert watched() is None
    finally:
        gc.enable()
