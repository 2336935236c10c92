"""FunctionGemma's notation: what is rendered parses back, and what is broken says where."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.function_calls import (
    CALL_END,
    CALL_START,
    ESCAPE,
    FunctionCallError,
    ToolCall,
    parse_output,
    render_call,
    render_calls,
    render_declaration,
)

_TEXT = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from("{}[],:<>/|'\" \n"))
).filter(lambda text: not any(marker in text for marker in (CALL_START, CALL_END, ESCAPE)))
_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES | _TEXT, inner, max_size=4),
    max_leaves=12,
)
_CALLS = st.builds(
    lambda name, arguments: ToolCall(name=name, arguments=arguments),
    _NAMES,
    st.dictionaries(_NAMES, _VALUES, max_size=5),
)


@settings(max_examples=120, deadline=None)
@given(st.lists(_CALLS, max_size=3))
def test_rendered_calls_parse_back(calls: list[ToolCall]) -> None:
    """Any calls with any JSON arguments survive rendering and parsing."""
    assert parse_output(render_calls(calls)).calls == tuple(calls)


@settings(max_examples=80, deadline=None)
@given(_CALLS, _TEXT, _TEXT)
def test_text_around_a_call_is_kept_apart(call: ToolCall, before: str, after: str) -> None:
    """Words before and after a call change nothing about it."""
    parsed = parse_output(before + render_call(call) + after)
    assert parsed.calls == (call,)
    assert parsed.text.split() == f"{before} {after}".split()


@settings(max_examples=120, deadline=None)
@given(_CALLS, st.data())
def test_a_cut_call_is_an_error_with_a_position(call: ToolCall, data: st.DataObject) -> None:
    """A call that ends too early never parses, and the error points into the text."""
    text = render_call(call)
    end = data.draw(st.integers(len(CALL_START), len(text) - 1))
    with pytest.raises(FunctionCallError) as caught:
        parse_output(text[:end])
    assert caught.value.position is not None
    assert 0 <= caught.value.position <= end


@settings(max_examples=120, deadline=None)
@given(st.text(st.sampled_from("{}[],:<>callnametrue0159-.e ")))
def test_junk_gives_a_call_error_and_no_other(junk: str) -> None:
    """Whatever follows the opening token, the parser ends with calls or with its own error."""
    try:
        parse_output(f"{CALL_START}call:f{{{junk}")
    except FunctionCallError:
        return


def test_braces_inside_strings_are_text() -> None:
    """A patch in JSON inside a string does not end the call."""
    patch = '{"spec":{"replicas":2}}'
    call = ToolCall(name="patch", arguments={"patch": patch, "flags": ["a}", "b,{"]})
    assert parse_output(render_call(call)).calls == (call,)


def test_several_calls_with_words_between() -> None:
    """Every call is found, in order."""
    one, two = ToolCall(name="one"), ToolCall(name="two", arguments={"n": 2})
    parsed = parse_output(f"First {render_call(one)} then\n{render_call(two)}<end_of_turn>")
    assert [call.name for call in parsed.calls] == ["one", "two"]
    assert parsed.text == "First then <end_of_turn>"


def test_numbers_keep_their_kind() -> None:
    """Whole numbers stay whole, and Python's spelling of words is understood."""
    text = f"{CALL_START}call:f{{a:1,b:-2.5e3,c:True,d:None,e:[ 1 , false ]}}{CALL_END}"
    arguments = parse_output(text).calls[0].arguments
    assert arguments == {"a": 1, "b": -2500.0, "c": True, "d": None, "e": [1, False]}
    assert isinstance(arguments["a"], int)


def test_keys_are_sorted_without_regard_to_case() -> None:
    """The order is that of the chat template."""
    rendered = render_call(ToolCall(name="f", arguments={"b": 1, "A": 2, "c": 3}))
    assert rendered == f"{CALL_START}call:f{{A:2,b:1,c:3}}{CALL_END}"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("f{}", "expected 'call:'"),
        ("call:{}", "expected a function name"),
        ("call:f", "expected '{'"),
        ("call:f{a}", "expected ':'"),
        ("call:f{a:}", "a value is missing"),
        ("call:f{a:web}", "lacks <escape>"),
        ("call:f{a:<escape>web}", "is not closed"),
        ("call:f{a:1,a:2}", "comes twice"),
        ("call:f{a:1 b:2}", "expected ','"),
        ("call:f{a:[1}", "expected ','"),
        ("call:f{a:1e999}", "too large"),
        ("call:f{} more", "expected '<end_function_call>'"),
    ],
)
def test_malformed_calls_say_what_is_wrong(body: str, message: str) -> None:
    """Each kind of damage has its own words."""
    with pytest.raises(FunctionCallError, match="at character") as caught:
        parse_output(f"{CALL_START}{body}{CALL_END}")
    assert message in str(caught.value)


def test_a_lone_end_marker_is_an_error() -> None:
    """A closing marker without an opening one is no plain text."""
    with pytest.raises(FunctionCallError, match="without"):
        parse_output(f"fine{CALL_END}")


def test_deep_nesting_is_refused_before_the_stack_ends() -> None:
    """A hostile output cannot crash the parser."""
    with pytest.raises(FunctionCallError, match="deeper"):
        parse_output(f"{CALL_START}call:f{{a:{'[' * 5000}")


@pytest.mark.parametrize("value", [f"x{ESCAPE}y", math.inf, math.nan, object()])
def test_values_outside_the_notation_are_refused(value: object) -> None:
    """What cannot be read back is not written."""
    with pytest.raises(FunctionCallError):
        render_call(ToolCall(name="f", arguments={"a": value}))  # type: ignore[dict-item]


def test_declarations_have_the_documented_form() -> None:
    """Description, then parameters with sorted properties, required names and the type."""
    rendered = render_declaration(
        {
            "type": "function",
            "function": {
                "name": "scale",
                "description": "Set replicas.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "replicas": {"type": "integer"},
                        "kind": {"type": "string", "description": "Kind.", "enum": ["a", "b"]},
                        "flags": {"type": "array", "items": {"type": "string"}},
                    },
                    "required": ["replicas"],
                },
            },
        }
    )
    assert rendered == (
        "<start_function_declaration>declaration:scale{description:<escape>Set replicas.<escape>,"
        "parameters:{properties:{flags:{items:{type:<escape>STRING<escape>},"
        "type:<escape>ARRAY<escape>},kind:{description:<escape>Kind.<escape>,"
        "enum:[<escape>a<escape>,<escape>b<escape>],type:<escape>STRING<escape>},"
        "replicas:{type:<escape>INTEGER<escape>}},required:[<escape>replicas<escape>],"
        "type:<escape>OBJECT<escape>}}<end_function_declaration>"
    )
