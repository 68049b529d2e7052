"""What is kept of what was measured: an hour closely, a day coarsely, bounded, and taken up again by the next process."""

from __future__ import annotations

import json
from itertools import pairwise

from howdah.core.samples import Sample, Span
from howdah.service.sampling import Samples

START = 1_000_000.0


def measure(samples: Samples, seconds: int, gap: int, since: float = START) -> list[tuple[str, Span, Sample]]:
    for at in range(0, seconds, gap):
        samples.keep("a", {"direct": 3.0, "transactions_total": float(at * 7), "size": 8.0}, since + at)
    return samples.take_made()


def times(samples: Samples, span: Span) -> list[float]:
    return [each["at"] for each in samples.over("a", span)]


def test_an_hour_is_an_hour_however_often_it_was_measured() -> None:
    for gap in (5, 15):
        samples = Samples()
        measure(samples, 3 * 3600, gap)
        found = times(samples, "hour")
        assert found == sorted(found) and 3500 <= found[-1] - found[0] <= 3600 and len(found) <= 300
        assert {later - earlier for earlier, later in pairwise(found)} <= {5, 10, 15}


def test_a_day_tells_the_mean_of_five_minutes_and_is_bounded() -> None:
    samples = Samples()
    measure(samples, 2 * 86_400, 15)
    kept = samples.over("a", "day")
    assert len(kept) <= 289 and 86_000 <= kept[-1]["at"] - kept[0]["at"] <= 86_400
    assert {each["tps"] for each in kept} == {7.0}
    burst = Samples()
    for at, count in ((0, 0), (15, 0), (150, 0), (165, 3000), (285, 3000), (300, 3000)):
        burst.keep("a", {"transactions_total": float(count)}, START + at)
    assert [each.get("tps") for each in burst.over("a", "day")][:2] == [None, 10.0], "what came and went in between is in it"


def test_the_next_process_goes_on_where_the_last_one_was() -> None:
    first, second = Samples(), Samples()
    made = measure(first, 7200, 15)
    second.restore(sorted([*made, *made], key=lambda each: each[2]["at"]))  # as two that measured at once have kept it
    assert times(second, "hour")[-1] == times(first, "hour")[-1] and len(times(second, "hour")) == len(times(first, "hour"))
    measure(second, 60, 15, START + 9000)
    assert 1800 <= times(second, "hour")[-1] - times(second, "hour")[0] <= 3600
    assert second.take_made() == [], "what was taken up is not kept twice"
    assert json.loads(json.dumps(second.over("a", "day"))) == list(second.over("a", "day"))


def test_a_clock_that_was_set_back_stops_nothing() -> None:
    samples = Samples()
    measure(samples, 600, 15)
    assert samples.due("a", START - 5000)
    samples.keep("a", {"direct": 9.0}, START - 5000)
    assert samples.latest("a")["direct"] == 9.0 and samples.take_made()
