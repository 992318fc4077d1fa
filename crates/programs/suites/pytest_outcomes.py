"""For pytest: writes a line for each test into the file that OUTCOMES names: outcome, test, reason."""

import os

outcomes = open(os.environ["OUTCOMES"], "w", buffering=1)


def write(outcome, test, reason=""):
    # The file's name and what follows: folders are this machine's own.
    print(outcome, test.rsplit("/", 1)[-1], " ".join(reason.split()), sep="\t", file=outcomes)


def pytest_runtest_logstart(nodeid, location):
    write("begun", nodeid)


def pytest_runtest_logreport(report):
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        write("failed", report.nodeid, crash.message if crash else str(report.longrepr)[-200:])
    elif report.skipped:
        write("xfailed" if hasattr(report, "wasxfail") else "skipped", report.nodeid)
    elif report.when == "call":
        write("passed", report.nodeid)


def pytest_deselected(items):
    for item in items:
        write("deselected", item.nodeid)


def pytest_collectreport(report):
    if report.failed:
        write("failed", report.nodeid, str(report.longrepr)[-200:])
