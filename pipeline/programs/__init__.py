"""Programs: the analysts' own Luigi tasks, tasks/*.py of their repository: run confined or not at all.

`inside` is what runs there; nothing is imported here, so that it stays small.
"""
