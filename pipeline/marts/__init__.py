"""Marts: what analysts derive from loaded tables, each one SELECT that the server itself holds to reading.

Their SQL is run by a login that may do what an analyst may and nothing else, in a session that does nothing
after it. What it gave is looked at there; only then does the pipeline put it into its place.
"""
