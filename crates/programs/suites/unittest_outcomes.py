"""Runs the tests of a module, and writes a line for each into the file that OUTCOMES names: outcome, test, reason."""

import os
import sys
import unittest

outcomes = open(os.environ["OUTCOMES"], "w", buffering=1)


def write(outcome, test, reason=""):
    print(outcome, test.id(), " ".join(str(reason).split()), sep="\t", file=outcomes)


class Outcomes(unittest.TextTestResult):
    def startTest(self, test):
        super().startTest(test)
        write("begun", test)

    def addSuccess(self, test):
        super().addSuccess(test)
        write("passed", test)

    def addError(self, test, err):
        super().addError(test, err)
        write("failed", test, repr(err[1]))

    def addFailure(self, test, err):
        super().addFailure(test, err)
        write("failed", test, repr(err[1]))

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            write("failed", test, repr(err[1]))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        write("skipped", test, reason)

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        write("xfailed", test)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        write("failed", test, "an unexpected success")


suite = unittest.defaultTestLoader.loadTestsFromName(sys.argv[1])
unittest.TextTestRunner(verbosity=2, resultclass=Outcomes).run(suite)
