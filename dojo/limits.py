"""Every bound on what comes in, beside those of visible files and of requests.

`docs/running.md` has them in a table, which a test compares with this module. A bound is what a
caller may reach; one more is refused, and the refusal names the bound.
"""
