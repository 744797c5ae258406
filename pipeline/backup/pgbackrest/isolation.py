"""How a restored server is kept apart: by what it is told as it starts, and by who may come in.

That wins over its own files; but what was set for a role or a database wins over that, so each session says
it again.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.system import account as accounts
from pipeline.system.account import Account

# Where a setting came with a version.
EVENT_TRIGGERS_SINCE = 17
# What pg_controldata calls them, and the settings: recovery needs as much as its source had.
MEBIBYTE = 1 << 20
KEPT = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}
SETTINGS = {
    # Nobody but us reaches it ...
    "listen_addresses": "",
    "ssl": "off",
    # ... it reaches nobody: neither its source's archive, nor a primary, nor what it subscribed to ...
    "archive_mode": "off",
    "archive_command": "",
    "primary_conninfo": "",
    "max_logical_replication_workers": "0",
    "max_wal_senders": "0",
    # ... and it runs nothing that somebody had put into the source.
    "shared_preload_libraries": "",
    "session_preload_libraries": "",
    "local_preload_libraries": "",
    "recovery_end_command": "",
    "archive_cleanup_command": "",
    "autovacuum": "off",
    "jit": "off",
    # To the end of the archive, whatever another restore had asked for.
    "recovery_target": "",
    "recovery_target_name": "",
    "recovery_target_time": "",
    "recovery_target_xid": "",
    "recovery_target_lsn": "",
    "recovery_target_timeline": "latest",
    "recovery_target_action": "promote",
    "hot_standby": "off",
    # Damage is told, and not passed over.
    "ignore_checksum_failure": "off",
    "zero_damaged_pages": "off",
    # As large as it has to be on a machine that is not its own.
    "shared_buffers": "128MB",
    "huge_pages": "off",
    "wal_level": "replica",
    "wal_keep_size": "0",
    "external_pid_file": "",
    # What it says comes to us; no statement and no row is in it.
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_min_messages": "log",
    "lc_messages": "C",
    "log_timezone": "UTC",
}
# What counts in a session, too.
IN_SESSIONS = (
    "session_preload_libraries",
    "local_preload_libraries",
    "ignore_checksum_failure",
    "zero_damaged_pages",
    "jit",
)


def settings(major: int, control: Mapping[str, str], folder: Path, fetch: Sequence[str]) -> dict[str, str]:
    """Return what the server is told; `control` is what pg_controldata says, `fetch` what gets its WAL."""
    segment = int(control.get("Bytes per WAL segment", str(16 * MEBIBYTE)))
    most = max(256 * MEBIBYTE, 4 * segment) // MEBIBYTE
    return {
        **SETTINGS,
        **{setting: control[name] for name, setting in KEPT.items() if name in control},
        **_triggers(major),
        "max_wal_size": f"{most}MB",
        "min_wal_size": f"{max(80, 2 * segment // MEBIBYTE)}MB",
        "unix_socket_directories": str(folder / "socket"),
        "unix_socket_permissions": "0700",
        "config_file": str(folder / "postgresql.conf"),
        "hba_file": str(folder / "pg_hba.conf"),
        "ident_file": str(folder / "pg_ident.conf"),
        "restore_command": f'{shlex.join(fetch).replace("%", "%%")} archive-get %f "%p"',
    }


def session_options(major: int) -> str:
    """Return what each session says again, as libpq takes it."""
    again = {**{name: SETTINGS[name] for name in IN_SESSIONS}, **_triggers(major)}
    return " ".join(f"-c {name}={value}" for name, value in again.items())


def _triggers(major: int) -> dict[str, str]:
    # Else one on login would run as soon as we come.
    return {"event_triggers": "off"} if major >= EVENT_TRIGGERS_SINCE else {}


def write_access(folder: Path, superuser: str, account: Account | None) -> None:
    """Let in over the socket whoever we are and whoever runs the server, as that role, and nobody else."""
    name = accounts.own_name()
    owner = account.name if account else name
    lines = {
        "postgresql.conf": "",
        "pg_hba.conf": "local all all peer map=drill\n",
        "pg_ident.conf": "".join(f'drill "{one}" "{superuser}"\n' for one in dict.fromkeys((name, owner))),
    }
    for file, text in lines.items():
        (folder / file).write_text(text)
        (folder / file).chmod(0o644 if account else 0o600)
