"""Git, as far as it can be trusted with what strangers have pushed: to fetch objects and to read them.

It runs with a configuration of ours only. It never checks out: no attribute, filter, hook or link acts.
"""

from pipeline.git.address import HTTPS, SSH, LoginError, transport
from pipeline.git.agent import Login
from pipeline.git.repository import Entry, Repository
from pipeline.git.trouble import ContentError, MachineError

__all__ = [
    "HTTPS",
    "SSH",
    "ContentError",
    "Entry",
    "Login",
    "LoginError",
    "MachineError",
    "Repository",
    "transport",
]
