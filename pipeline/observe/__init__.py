"""What is looked at from outside: whether a night can begin, how it went, and what nobody told of."""
