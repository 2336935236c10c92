"""Usage records: what is refused, and that they survive a trip through JSON."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounting.usage import Attempt, Resources, Utilisation, accelerator_name, known_accelerator

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
RECORD = {
    "task": "train",
    "number": 0,
    "start": "2026-03-04T12:00:00+00:00",
    "end": "2026-03-04T13:00:00+00:00",
    "resources": {"cores": "4"},
}

amounts = st.decimals(0, 1000, places=4)
zoned = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).flatmap(  # noqa: DTZ001 - zone follows
    lambda moment: st.integers(-12, 14).map(
        lambda offset: moment.replace(tzinfo=timezone(timedelta(hours=offset)))
    )
)


@given(
    start=zoned,
    length=st.timedeltas(timedelta(0), timedelta(days=400)),
    cores=amounts,
    memory=amounts,
    gpu_busy=st.none() | st.decimals(0, 1, places=6),
    spot=st.booleans(),
    asked=st.sampled_from([None, "spot", "on-demand"]),
)
@settings(max_examples=60, deadline=None)
def test_a_record_survives_json(
    *,
    start: datetime,
    length: timedelta,
    cores: Decimal,
    memory: Decimal,
    gpu_busy: Decimal | None,
    spot: bool,
    asked: str | None,
) -> None:
    """Times and amounts come back exactly as they were."""
    attempt = Attempt(
        task="train",
        number=1,
        execution="abc",
        start=start,
        end=start + length,
        resources=Resources(cores=cores, memory_gib=memory, gpus=2, nodes=3),
        utilisation=Utilisation(gpu_busy=gpu_busy),
        spot=spot,
        asked=asked,
        last_checkpoint=start,
        outcome="killed",
    )
    assert Attempt.from_record(json.loads(json.dumps(attempt.to_record()))) == attempt


def test_times_are_kept_in_utc() -> None:
    """The same instant written in another zone is the same record."""
    berlin = timezone(timedelta(hours=1))
    here = Attempt.from_record({**RECORD, "start": "2026-03-04T12:30:00+01:00"})
    assert here.start == datetime(2026, 3, 4, 12, 30, tzinfo=berlin)
    assert here.start.tzinfo is UTC
    assert here.start.isoformat() == "2026-03-04T11:30:00+00:00"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": "2026-03-04T12:00:00"}, "start is 2026-03-04T12:00:00 without a time zone"),
        ({"start": "yesterday"}, "start is 'yesterday'; give a time"),
        ({"end": "2026-03-04T11:00:00+00:00"}, "before its start.*cannot be negative"),
        ({"last_checkpoint": "2026-03-04T14:00:00Z"}, "last_checkpoint of train#0.*after its end"),
        ({"outcome": "vanished"}, "outcome is 'vanished'; give one of succeeded, failed"),
        ({"asked": "cheap"}, "asked is 'cheap'; give one of on-demand, spot"),
        ({"number": -1}, "number is -1; give a number of at least 0"),
        ({"number": 0.5}, "number is 0.5; give a whole number"),
        ({"spot": "yes"}, "spot is 'yes'; give true or false"),
        ({"resources": {"cores": "-1"}}, "cores is -1; give a number of at least 0"),
        ({"resources": {"cores": "many"}}, "cores is 'many'; give a number such as"),
        ({"resources": {"cores": "NaN"}}, "cores is 'NaN'"),
        ({"resources": {"cores": True}}, "cores is True"),
        ({"resources": {"cores": 1, "nodes": 0}}, "nodes is 0; give a number of at least 1"),
        ({"resources": {"gpus": 1}}, "resources has no cores; add it"),
        ({"resources": {"cores": 1, "gpu": 1}}, "resources has the unknown field 'gpu'"),
        ({"resources": 4}, "resources is 4; give an object"),
        ({"utilisation": {"gpu_busy": "1.5"}}, "gpu_busy is 1.5; give a share between 0 and 1"),
        ({"colour": "red"}, "attempt has the unknown field 'colour'"),
    ],
)
def test_records_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    """Each complaint is one line that names the field and the value."""
    with pytest.raises(ValueError, match=message) as refused:
        Attempt.from_record({**RECORD, **changes})
    assert "\n" not in str(refused.value)


def test_a_missing_field_is_named() -> None:
    """A record without its end is refused by name."""
    with pytest.raises(ValueError, match="attempt has no end; add it"):
        Attempt.from_record({name: value for name, value in RECORD.items() if name != "end"})


def test_floats_count_as_the_decimals_they_print_as() -> None:
    """0.1 cores are a tenth, not the binary fraction beside it."""
    assert Resources(cores=0.1).cores == Decimal("0.1")
    assert str(Resources(cores=4.0).cores) == "4"


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("nvidia-tesla-t4", "t4"),
        ("NVIDIA_L4", "l4"),
        ("nvidia-a100-80gb", "a100-80gb"),
        ("GeForce RTX 4090", "rtx-4090"),
        ("generic", "generic"),
    ],
)
def test_accelerators_go_by_their_plain_names(name: str, plain: str) -> None:
    """Vendor and family do not matter, so cluster labels find their price."""
    assert accelerator_name(name) == plain
    assert Resources(cores=1, gpu_type=name).gpu_type == plain


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA A100-PCIE-40GB", "a100"),
        ("Tesla V100-SXM2-16GB", "v100"),
        ("Tesla T4", "t4"),
        ("generic", "generic"),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", None),
        ("NVIDIA L40S", None),
        ("NVIDIA GeForce RTX 4090", None),
        ("NVIDIA A10G", None),
    ],
)
def test_driver_names_find_their_price_or_none(name: str, known: str | None) -> None:
    """What the driver calls a GPU is matched by whole words, never by a part of one."""
    cards = ["generic", "t4", "l4", "v100", "a100", "a100-80gb", "h100"]
    assert known_accelerator(name, cards) == known
