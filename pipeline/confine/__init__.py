"""Confine: runs a program that is not ours where it can do no harm: it sees what it needs, and nothing else.

By Linux's namespaces. It has processes, folders and a network of its own: none of ours is there to be seen,
everything it sees is for reading but for a small folder in memory, and no server is within reach but the one
that is handed to it. `parent` is the way in; nothing is imported here, for `inside` has to stay small.
"""
