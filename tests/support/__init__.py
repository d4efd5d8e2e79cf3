"""Helpers of the tests: katas, services, engines and disks."""
