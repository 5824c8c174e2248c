"""Where two traces of a script first differ."""

from __future__ import annotations

from fastsa.records.verdict import Difference
from fastsa.runtime.equivalence.comparison import UNSEEN, compared_ops, differ, difference
from fastsa.runtime.equivalence.trace import ObservedOp, ObservedTensor, OpPlace, StepsTrace

PLACES = (
    OpPlace(0, "mm", "aten.mm.default", "first", "train.py:1"),
    OpPlace(0, "gelu", "aten.gelu.default", "first", "train.py:2"),
)


def trace(*steps: str, ops: str = "") -> StepsTrace:
    """Steps like `loss=1 weight=2`; ops like `0:mm=1 0:gelu=2`, with their step."""
    names = [place.name for place in PLACES]
    runs = [each.replace(":", "=").split("=") for each in ops.split()]
    return StepsTrace(
        mode="planned",
        steps=tuple(
            tuple(ObservedTensor(*each.split("=")) for each in step.split(" ")) for step in steps
        ),
        places=PLACES,
        ops=tuple(ObservedOp(int(step), names.index(name), digest) for step, name, digest in runs),
    )


def test_the_same() -> None:
    one = trace("loss=1 weight=2", "loss=3 weight=4", ops="0:mm=1 0:gelu=2")
    assert not differ(one, one)
    assert difference("compiled", one, one) is None


def test_the_first_tensor() -> None:
    one, other = trace("loss=1 w=2", "loss=3 w=4"), trace("loss=1 w=2", "loss=3 w=5")
    assert differ(one, other)
    assert difference("eager", one, other) == Difference("eager", 1, "w")


def test_a_tensor_that_is_missing() -> None:
    one, other = trace("loss=1 w=2"), trace("loss=1")
    assert difference("eager", one, other) == Difference("eager", 0, "w (missing)")
    assert difference("eager", other, one) == Difference("eager", 0, "w (missing)")


def test_a_step_that_is_missing() -> None:
    one, other = trace("loss=1", "loss=2"), trace("loss=1")
    assert difference("eager", one, other) == Difference("eager", 1, "loss (missing)")


def test_the_first_op_in_the_order_of_the_reference() -> None:
    one = trace("loss=1", ops="0:mm=1 0:gelu=2")
    other = trace("loss=9", ops="0:gelu=3 0:mm=4")
    found = difference("compiled", one, other)
    assert found == Difference(
        "compiled", 0, "loss", "mm", "aten.mm.default", "first", "train.py:1", 1
    )


def test_a_repeat_that_differs() -> None:
    one = trace("loss=1", ops="0:mm=1 0:gelu=2")
    other = trace("loss=9", ops="0:mm=1 0:gelu=2 0:gelu=3")
    found = difference("compiled", one, other)
    assert found is not None
    assert (found.op, found.run) == ("gelu", 2)
    assert compared_ops(one, other) == 3


def test_several_forwards_in_one_step() -> None:
    """A repeat gives what one of the forwards gave."""
    one = trace("loss=1", ops="0:mm=1 0:mm=2")
    assert difference("compiled", one, trace("loss=1", ops="0:mm=1 0:mm=2 0:mm=2 0:mm=1")) is None
    found = difference("compiled", one, trace("loss=9", ops="0:mm=1 0:mm=2 0:mm=3"))
    assert found is not None
    assert (found.op, found.run) == ("mm", None)


def test_an_op_of_a_later_step_is_no_reason() -> None:
    one = trace("loss=1", "loss=1", ops="1:mm=1")
    other = trace("loss=9", "loss=9", ops="1:mm=2")
    assert difference("compiled", one, other) == Difference("compiled", 0, "loss")


def test_an_op_of_which_nothing_comes_out() -> None:
    one, other = trace("loss=1", ops="0:mm=1"), trace("loss=1", ops="0:mm=2")
    found = difference("compiled", one, other)
    assert found is not None
    assert (found.tensor, found.op) == (UNSEEN, "mm")
    assert not differ(one, other)


def test_ops_are_known_by_their_place_not_by_their_number() -> None:
    one = trace("loss=1", ops="0:mm=1")
    other = StepsTrace(
        mode="planned", steps=one.steps, places=PLACES[::-1], ops=(ObservedOp(0, 1, "1"),)
    )
    assert difference("compiled", one, other) is None
    assert compared_ops(one, other) == 1
