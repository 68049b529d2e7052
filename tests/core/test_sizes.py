"""Sizes: every one gives legal parameters for every version, and the default fits a laptop five times."""

from __future__ import annotations

import pytest

from howdah.catalog import parameters, sizes, units
from howdah.catalog.parameters import MAJORS
from howdah.errors import Invalid


@pytest.mark.parametrize("major", MAJORS)
@pytest.mark.parametrize("name", sizes.SIZES)
def test_every_default_is_an_open_parameter_with_a_legal_value(name: str, major: int) -> None:
    for parameter, value in sizes.defaults(name, major).items():
        assert parameters.parse(major, parameter, value) == value


@pytest.mark.parametrize("name", sizes.SIZES)
def test_a_size_stays_within_its_memory(name: str) -> None:
    size, given = sizes.find(name), sizes.defaults(name, 15)
    mebibytes = {
        key: units.read_integer(given[key], "kB") / 1024 for key in ("shared_buffers", "effective_cache_size", "maintenance_work_mem")
    }
    assert mebibytes["shared_buffers"] + 3 * mebibytes["maintenance_work_mem"] < size.memory
    assert mebibytes["shared_buffers"] < mebibytes["effective_cache_size"] < size.memory
    assert int(given["max_parallel_workers_per_gather"]) <= int(given["max_parallel_workers"]) <= int(given["max_worker_processes"])
    assert str(size.sentence).islower() or "MiB" in str(size.sentence) or "GiB" in str(size.sentence)


def test_sizes_grow() -> None:
    memory = [size.memory for size in sizes.SIZES.values()]
    assert memory == sorted(memory) and sizes.DEFAULT in sizes.SIZES


def test_the_default_fits_a_laptop_five_times() -> None:
    given = sizes.defaults(sizes.DEFAULT, 15)
    assert given["shared_buffers"] == "128MB" and given["max_connections"] == "100"
    assert 5 * sizes.find(sizes.DEFAULT).memory <= 4096


def test_a_server_that_reads_by_workers_gets_them() -> None:
    assert "io_workers" not in sizes.defaults("large", 17)
    assert sizes.defaults("xlarge", 18)["io_workers"] == "4"


def test_an_unknown_size_is_refused_with_the_list() -> None:
    with pytest.raises(Invalid, match="cannot use size 'huge'") as refused:
        sizes.defaults("huge", 15)
    assert refused.value.code == "unknown_size"
    assert str(refused.value.hint) == "the sizes are tiny, small, medium, large, xlarge"
