"""Prints the tolerances that parity reached."""

import measured


def pytest_terminal_summary(terminalreporter):
    if measured.TABLE:
        terminalreporter.section("parity: largest error (tolerance)")
        for label, error, tolerance in measured.TABLE:
            terminalreporter.write_line(f"{error:8.1e} ({tolerance:.0e})  {label}")
