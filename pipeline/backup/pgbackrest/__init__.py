"""pgBackRest, where the school has it: what its repository holds. Nothing here writes to a repository."""
