"""What a person types: `bin/sandbox COMMAND`."""

import argparse
import os
import shlex
import sys
import threading
from pathlib import Path

from pipeline import settings
from pipeline.catalog.source_files import draft
from pipeline.cli.analysts import analyst
from pipeline.cli.oncall import platform
from pipeline.errors import PipelineError, UsageError
from pipeline.redact import redact
from pipeline.sandbox import analysts, configuration, lifecycle, provision, sources
from pipeline.sandbox import home as homes
from pipeline.sandbox.servers import clusters
from pipeline.sandbox.servers.server import addresses
from pipeline.scheduler import visualizer
from pipeline.system import options

EPILOG = """\
exit codes: 0 done, 1 a bug, 2 usage, 3 something failed, 143 stopped.
The sandbox is in $SANDBOX_HOME, or in .sandbox in the project. All its servers listen on 127.0.0.1 only."""


def main() -> int:
    """Run one command and return its exit code."""
    arguments = _parser().parse_args()
    home = homes.Home(homes.default_path())
    try:
        code: int = arguments.run(home, arguments)
    except PipelineError as error:
        sys.stderr.write(f"sandbox: {redact(str(error))}\n")
        return error.exit_code
    return code


def _print_line(line: str) -> None:
    sys.stdout.write(f"sandbox: {line}\n")
    sys.stdout.flush()


def _up(home: homes.Home, arguments: argparse.Namespace) -> int:
    lifecycle.up(home, _print_line, samples=not arguments.empty)
    if not arguments.empty:
        # Else the first load of who tries it could build no mart.
        for line in platform.migrate(_settings(home)):
            _print_line(line)
    _print_line('point this shell at it with: eval "$(bin/sandbox env)"')
    return 0


def _down(home: homes.Home, arguments: argparse.Namespace) -> int:
    if not home.path.exists():
        _print_line("there is no sandbox; nothing to stop")
        return 0
    lifecycle.down(home, _print_line, wipe=arguments.wipe)
    _print_line("down, and removed" if arguments.wipe else "down")
    return 0


def _env(home: homes.Home, arguments: argparse.Namespace) -> int:  # noqa: ARG001 - as for every command

    home.load()
    for name, value in addresses(home).items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
    # Our own programs, and the PostgreSQL tools that fit the servers, go first.
    path = shlex.quote(f"{Path(sys.executable).parent}:{clusters.BINARIES}")
    sys.stdout.write(f'export PATH={path}:"$PATH"\n')
    return 0


def _psql(home: homes.Home, arguments: argparse.Namespace) -> int:
    home.load()
    cluster, database = provision.place(home, arguments.name)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    command = [
        # Its whole path: psql looks for itself under the name it was called by.
        str(clusters.BINARIES / "psql"),
        *clusters.socket_arguments(home, cluster),
        f"--dbname={database}",
        *arguments.arguments,
    ]
    os.execve(command[0], command, environment)  # noqa: S606 - the terminal is psql's from here on


def _password(home: homes.Home, arguments: argparse.Namespace) -> int:
    if not sys.stdout.isatty():
        # Where it went, it would stay: in a file, in a log.
        raise UsageError("a password is shown on a terminal only")
    lifecycle.require_up(home)
    sys.stdout.write(provision.password(home, arguments.login) + "\n")
    return 0


def _add(home: homes.Home, arguments: argparse.Namespace) -> int:
    with home.locked(lambda: _print_line("another bin/sandbox is running here; waiting for it to end")):
        lifecycle.require_up(home)
        stopping = threading.Event()
        with lifecycle.Stopping(stopping):
            sources.add(home, arguments.name, arguments.file, stopping)
            configuration.write(home)
            lifecycle.note_provisioned(home)
            file = home.analysts / "sources" / f"{arguments.name}.yaml"
            if declared := _draft(home, arguments.name):
                analysts.declare(home, arguments.name, declared)
                _print_line(f"added {arguments.name}; its tables are declared in {file}")
            else:
                _print_line(
                    f"added {arguments.name}; it has no table yet; declare its tables in {file} once "
                    "they exist"
                )
    return 0


def _settings(home: homes.Home) -> settings.Settings:
    return settings.read([home.settings_file], {**os.environ, **addresses(home)})


def _draft(home: homes.Home, name: str) -> str | None:
    """Return what 'pipeline init' would write for a source, or None where it has no table."""
    relations = analyst.survey(_settings(home), name)
    return draft.draft(name, relations) if any(map(draft.loadable, relations)) else None


def _day2(home: homes.Home, arguments: argparse.Namespace) -> int:  # noqa: ARG001 - as for every command

    with home.locked(lambda: _print_line("another bin/sandbox is running here; waiting for it to end")):
        lifecycle.require_up(home)
        stopping = threading.Event()
        with lifecycle.Stopping(stopping):
            done = sources.day_2(home, stopping)
    _print_line(f"day 2: changed {', '.join(done)}" if done else "day 2 is already applied; nothing to do")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options.Parser(
        prog="bin/sandbox",
        description="The whole platform on one machine: real servers with sample data, on loopback only.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    up = commands.add_parser("up", help="start the sandbox, or the parts that are not running")
    up.add_argument("--empty", action="store_true", help="start without the sample sources")
    up.set_defaults(run=_up)

    down = commands.add_parser("down", help="stop the sandbox; its data stays")
    down.add_argument("--wipe", action="store_true", help="remove its data as well")
    down.set_defaults(run=_down)

    env = commands.add_parser(
        "env", help='point a shell at it: eval "$(bin/sandbox env)"; prints no credential'
    )
    env.set_defaults(run=_env)

    psql = commands.add_parser("psql", help="open a database as superuser")
    psql.add_argument("name", metavar="NAME", help="a source, warehouse or drill")
    psql.add_argument(
        "arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER, help="further arguments for psql"
    )
    psql.set_defaults(run=_psql)

    password = commands.add_parser("password", help="show a password of the visualizer")
    password.add_argument("login", metavar="LOGIN", help=f"{', '.join(visualizer.LOGINS)}")
    password.set_defaults(run=_password)

    add = commands.add_parser("add", help="create a source database, with its credentials and settings")
    add.add_argument("name", metavar="NAME", help="its name: lowercase letters, digits and _")
    add.add_argument(
        "file", metavar="FILE.sql", nargs="?", type=Path, help="a plain SQL dump to fill it with"
    )
    add.set_defaults(run=_add)

    day2 = commands.add_parser("day2", help="change the sample sources once, as a day of work would")
    day2.set_defaults(run=_day2)
    return parser


if __name__ == "__main__":
    sys.exit(main())
