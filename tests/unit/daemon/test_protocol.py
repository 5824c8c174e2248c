"""Messages: what was encoded is decoded, and whatever else comes is an Unreadable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsa.cache.keys import PlanKey
from fastsa.daemon import protocol

SIZE = protocol.HEADER.size
text = st.text(max_size=40)
questions = st.one_of(
    st.builds(
        protocol.Improve,
        st.builds(PlanKey, text, text, text, st.none() | text, text),
        st.integers(0, 2**63 - 1),
    ),
    st.builds(protocol.Yield, st.floats(0, 1e9)),
    st.just(protocol.AskStatus()),
    st.just(protocol.AskMetrics()),
    st.just(protocol.Stop()),
)


@given(questions)
def test_a_question_is_read_as_it_was_asked(asked: protocol.Question) -> None:
    data = protocol.encode(asked)
    assert protocol.length(data[:SIZE]) == len(data) - SIZE
    assert protocol.question(data[SIZE:]) == asked


@given(st.binary(max_size=300))
def test_noise(data: bytes) -> None:
    with pytest.raises(protocol.Unreadable):
        protocol.question(data)


@given(questions, st.data())
def test_a_changed_message_is_read_or_refused(
    asked: protocol.Question, data: st.DataObject
) -> None:
    message = bytearray(protocol.encode(asked)[SIZE:])
    place = data.draw(st.integers(0, len(message) - 1))
    message[place] = data.draw(st.integers(0, 255))
    try:
        protocol.question(bytes(message))
    except protocol.Unreadable as error:
        assert str(error)


@given(st.integers(0, 2**32 - 1))
def test_lengths(size: int) -> None:
    header = protocol.HEADER.pack(size)
    if 0 < size <= protocol.MAX_BYTES:
        assert protocol.length(header) == size
    else:
        with pytest.raises(protocol.Unreadable):
            protocol.length(header)
