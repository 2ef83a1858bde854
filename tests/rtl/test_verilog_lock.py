"""The Verilog of every preset and top is the locked one; see `verilog_lock`."""

import pytest

from tests.rtl.verilog_lock import CASES, Case, locked


def test_every_case_is_locked():
    assert {str(case) for case in CASES} == set(locked())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_verilog_is_the_locked_one(case: Case):
    assert case.sha256() == locked()[str(case)], (
        f"the Verilog of {case} is another one: if that is meant, "
        "`python -m tests.rtl.verilog_lock --renew`")
