#!/usr/bin/env bash
# github.com/hashicorp/cronexpr 1.1.3, by which Nomad 2.0 reads the `crons` of a periodic job, takes 7 for Sunday, as
# crontab(5) does: `7` alone and in a list begins on Sundays. In a range it does not: 5-7, 6-7, 1-7 and sat-sun are
# accepted, and never begin on a Sunday; 0-7 does, for its 0. Cron's rule, as two libraries for Python have it
# (cronsim 2.8, which follows Debian's cron, and croniter 7.0.0), begins on Sundays by each of them.
#
# Seen, on which days from Monday, 2026-11-30, to Sunday each begins, by cronexpr | croniter | cronsim:
#   7:       Sun                     | Sun                         | Sun
#   6,7:     Sat Sun                 | Sat Sun                     | Sat Sun
#   5-7:     Fri Sat                 | Fri Sat Sun                 | Fri Sat Sun
#   sat-sun: Sat                     | Sat Sun                     | CronSimError
#   1-7:     Mon Tue Wed Thu Fri Sat | Mon Tue Wed Thu Fri Sat Sun | Mon Tue Wed Thu Fri Sat Sun
#   0-7:     all seven               | all seven                   | all seven
# It needs a Go of 1.21 or newer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT
cd -- "$folder"
export GOPATH=$folder/go GOCACHE=$folder/cache GOTOOLCHAIN=local GOFLAGS='-mod=mod -modcacherw'
python3 -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check croniter==7.0.0 cronsim==2.8
mkdir program
cd program
printf 'module seen\n\ngo 1.21\n' >go.mod
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/cronexpr"
)

func main() {
	for _, days := range os.Args[1:] {
		schedule := cronexpr.MustParse("0 2 * * " + days)
		next := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
		end := next.AddDate(0, 0, 7)
		var seen []string
		for next = schedule.Next(next); next.Before(end); next = schedule.Next(next) {
			seen = append(seen, next.Format("Mon"))
		}
		fmt.Printf("%s: %s\n", days, strings.Join(seen, " "))
	}
}
GO
go get github.com/hashicorp/cronexpr@v1.1.3 2>/dev/null
days=(7 '6,7' 5-7 sat-sun 1-7 0-7)
by_nomads=$(go run . "${days[@]}")
cd ..
by_cron=$(environment/bin/python - "${days[@]}" <<'PYTHON'
import itertools
import sys
from datetime import datetime, timedelta

from croniter import croniter
from cronsim import CronSim, CronSimError

begin = datetime(2026, 11, 30)


def of_a_week(times):
    return " ".join(f"{time:%a}" for time in itertools.takewhile(lambda time: time < begin + timedelta(7), times))


for days in sys.argv[1:]:
    text = f"0 2 * * {days}"
    try:
        simulated = of_a_week(CronSim(text, begin))
    except CronSimError:
        simulated = "CronSimError"
    print(f"{days}: {of_a_week(croniter(text, begin).all_next(datetime))} / {simulated}")
PYTHON
)
printf 'cronexpr\n%s\n\ncroniter / cronsim\n%s\n' "$by_nomads" "$by_cron"
[[ $by_nomads == "7: Sun
6,7: Sat Sun
5-7: Fri Sat
sat-sun: Sat
1-7: Mon Tue Wed Thu Fri Sat
0-7: Mon Tue Wed Thu Fri Sat Sun" ]]
[[ $by_cron == "7: Sun / Sun
6,7: Sat Sun / Sat Sun
5-7: Fri Sat Sun / Fri Sat Sun
sat-sun: Sat Sun / CronSimError
1-7: Mon Tue Wed Thu Fri Sat Sun / Mon Tue Wed Thu Fri Sat Sun
0-7: Mon Tue Wed Thu Fri Sat Sun / Mon Tue Wed Thu Fri Sat Sun" ]]
