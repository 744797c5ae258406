#!/usr/bin/env bash
# cron-converter 2.0.2, with times that have a zone: of a job of every half hour it leaves out the hour that comes twice when
# the clocks go back. What the job would load then ("the last 30 minutes") is never loaded, and nothing tells: next() goes on
# with the hour after. When they go forward it gives a time that no clock shows and then the same moment by its right name,
# so two of the runs are doubled, and the list goes back in time. A good engineer expects each half hour once, as croniter
# 7.0.0 (of this month) and cronsim 2.8 have it. For a job of 02:30 it is croniter that differs: it begins twice in autumn,
# an hour apart, where cron's own rule, and both others, say once.
#
# Seen, by a day in Europe/Berlin: how often each schedule begins, and at how many different moments:
#   2026-10-25, 25 hours, */30 * * * *: cron-converter 48 at 48, croniter 50 at 50, cronsim 50 at 50
#   2026-10-25, 25 hours, 30 2 * * *: cron-converter 1 at 1, croniter 2 at 2, cronsim 1 at 1
#   2026-03-29, 23 hours, */30 * * * *: cron-converter 48 at 46, croniter 46 at 46, cronsim 46 at 46
#   2026-03-29, 23 hours, 30 2 * * *: cron-converter 1 at 1, croniter 1 at 1, cronsim 1 at 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT
cd -- "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check \
    croniter==7.0.0 cronsim==2.8 cron-converter==2.0.2 tzdata==2026.6
seen=$(PYTHONTZPATH='' environment/bin/python - <<'PYTHON'
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

from cron_converter import Cron
from croniter import croniter
from cronsim import CronSim

BERLIN = ZoneInfo("Europe/Berlin")


def converted(schedule, since):
    times = Cron(schedule).schedule(since)
    while True:
        yield times.next()


BY = {
    "cron-converter": converted,
    "croniter": lambda schedule, since: croniter(schedule, since).all_next(datetime),
    "cronsim": CronSim,
}
for day in (datetime(2026, 10, 25, tzinfo=BERLIN), datetime(2026, 3, 29, tzinfo=BERLIN)):
    end = day + timedelta(days=1)  # the next midnight on the wall, however long that takes
    hours = (end.astimezone(UTC) - day.astimezone(UTC)) // timedelta(hours=1)
    for schedule in ("*/30 * * * *", "30 2 * * *"):
        told = []
        for name, times in BY.items():
            moments = [
                time.astimezone(UTC)
                for time in takewhile(lambda time: time.date() == day.date(), times(schedule, day - timedelta(minutes=1)))
            ]
            told.append(f"{name} {len(moments)} at {len(set(moments))}")
        print(f"{day.date()}, {hours} hours, {schedule}: {', '.join(told)}")
PYTHON
)
printf '%s\n' "$seen"
[[ $seen == "2026-10-25, 25 hours, */30 * * * *: cron-converter 48 at 48, croniter 50 at 50, cronsim 50 at 50
2026-10-25, 25 hours, 30 2 * * *: cron-converter 1 at 1, croniter 2 at 2, cronsim 1 at 1
2026-03-29, 23 hours, */30 * * * *: cron-converter 48 at 46, croniter 46 at 46, cronsim 46 at 46
2026-03-29, 23 hours, 30 2 * * *: cron-converter 1 at 1, croniter 1 at 1, cronsim 1 at 1" ]]
