"""The whole platform on one machine, for the demo, the tests, and trying one's own data.

Real servers, on loopback only. Nothing here is used in production.
"""
