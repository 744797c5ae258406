#!/usr/bin/env bash
# b2sdk 2.13.2, Synchronizer with KEEP_BEFORE_DELETE, keep_days=30 and NewerFileSyncMode.REPLACE: the command line's
# `sync --keep-days 30 --replace-newer`, which its help gives as the way to retain previous versions for 30 days. A
# version of yesterday is deleted today. Versions are gone through from the newest upload down, each one's age is that
# of the local file it was made of, and from the first that is too old all below it go, whatever their own age. Who puts
# back an old copy with its old time (cp -p, rsync -a, tar) so loses, with the sync after the next, every version that
# was uploaded before, last night's with them. No message: both syncs end well. A lifecycle rule of the bucket counts
# from when a version was hidden, and deletes none of these.
#
# Seen, in the SDK's own simulator of the service, what was synced -> the versions in the bucket, newest upload first:
#   new, written 1 day ago -> new
#   old, written 200 days ago, put in its place -> old new
#   nothing changed since -> old
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT
cd -- "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check b2sdk==2.13.2
mkdir local
seen=$(environment/bin/python - <<'PYTHON'
import io
import os
import pathlib
import time

from b2sdk.v3 import (
    B2Api,
    B2HttpApiConfig,
    InMemoryAccountInfo,
    KeepOrDeleteMode,
    NewerFileSyncMode,
    RawSimulator,
    Synchronizer,
    SyncReport,
    parse_folder,
)

api = B2Api(InMemoryAccountInfo(), api_config=B2HttpApiConfig(_raw_api_class=RawSimulator))
name, key = api.session.raw_api.create_account()
api.authorize_account(application_key_id=name, application_key=key, realm="production")
bucket = api.create_bucket("backups", "allPrivate")
file = pathlib.Path("local/dump")
now = time.time()


def sync(doing, content="", days=0):
    if content:
        file.write_text(content)
        os.utime(file, (now - days * 86400,) * 2)
    Synchronizer(
        max_workers=1,
        newer_file_mode=NewerFileSyncMode.REPLACE,
        keep_days_or_delete=KeepOrDeleteMode.KEEP_BEFORE_DELETE,
        keep_days=30,
    ).sync_folders(
        source_folder=parse_folder("local", api),
        dest_folder=parse_folder("b2://backups", api),
        now_millis=int(now * 1000),
        reporter=SyncReport(io.StringIO(), True),
    )
    names = {1: "new", 2: "old"}
    print(doing, "->", *(names[version.size] for version, _ in bucket.ls(latest_only=False)))


sync("new, written 1 day ago", "1", 1)
sync("old, written 200 days ago, put in its place", "22", 200)
sync("nothing changed since")
PYTHON
)
printf '%s\n' "$seen"
[[ $seen == "new, written 1 day ago -> new
old, written 200 days ago, put in its place -> old new
nothing changed since -> old" ]]
