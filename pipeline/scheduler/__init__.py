"""Luigi's scheduler, seen from outside of Luigi: where it is, links into it, the logs it shows."""
