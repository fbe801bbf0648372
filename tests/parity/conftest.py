"""Prints the tolerances that parity reached."""

import measured
import pytest

ROWS = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Sends along with a test's report what it measured: tests run in processes of their own."""
    report = yield
    report.user_properties += [("measured", row) for row in measured.TABLE]
    measured.TABLE.clear()
    return report


def pytest_runtest_logreport(report):
    if report.when == "call":
        ROWS.extend(row for name, row in report.user_properties if name == "measured")


def pytest_terminal_summary(terminalreporter):
    if ROWS:
        terminalreporter.section("parity: largest error (tolerance)")
        for label, error, tolerance in sorted(ROWS):
            terminalreporter.write_line(f"{error:8.1e} ({tolerance:.0e})  {label}")
