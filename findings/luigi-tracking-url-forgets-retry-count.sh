#!/usr/bin/env bash
# luigi 3.8.1: a task's own retry_count holds, unless the task calls set_tracking_url() while it runs. Then the
# scheduler's retry_count is taken instead, without a word.
#
# The link is sent as add_task(task_id, worker, status=RUNNING, tracking_url), and add_task takes the retry policy
# that it is not told as the scheduler's own instead of as unchanged (its resources likewise, from the next try on).
#
# Seen, for a task that always fails, with retry_count = 1 in the task and retry_count = 3 in [scheduler]:
#   without a tracking URL: tried 1 times
#   with a tracking URL: tried 3 times
set -euo pipefail
folder=$(mktemp -d)
scheduler=''
trap '[[ -z $scheduler ]] || { kill "$scheduler" && wait "$scheduler" || :; }; rm -rf -- "$folder"' EXIT
cd -- "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check luigi==3.8.1
cat >luigi.cfg <<'CONFIGURATION'
[scheduler]
retry_count = 3
retry_delay = 1
disable_window = 3600
prune_on_get_work = True
[worker]
keep_alive = True
wait_interval = 0.5
wait_jitter = 0.1
CONFIGURATION
cat >fails.py <<'PYTHON'
import pathlib
import sys

import luigi


class Fails(luigi.Task):
    link = luigi.BoolParameter()
    retry_count = 1

    def complete(self):
        return False

    def run(self):
        if self.link:
            self.set_tracking_url("http://127.0.0.1/log")
        with pathlib.Path(f"tried-{self.link}").open("a") as file:
            file.write("x")
        raise RuntimeError("fails each time")


for link in (False, True):
    luigi.build([Fails(link)], scheduler_port=int(sys.argv[1]), workers=1, log_level="CRITICAL")
    tried = len(pathlib.Path(f"tried-{link}").read_text())
    print(f"{'with' if link else 'without'} a tracking URL: tried {tried} times")
PYTHON
port=$(environment/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
environment/bin/luigid --address 127.0.0.1 --port "$port" --state-path "$folder/state" >log 2>&1 &
scheduler=$!
until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do kill -0 "$scheduler" && sleep 0.2; done
seen=$(environment/bin/python fails.py "$port" 2>/dev/null)
printf '%s\n' "$seen"
[[ $seen == 'without a tracking URL: tried 1 times
with a tracking URL: tried 3 times' ]]
