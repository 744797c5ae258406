"""`python -m tasks.scheduler` serves the scheduler until it is told to stop."""

import sys

from tasks.scheduler.server import main

sys.exit(main())
