"""Every chain, declared once. Who wants to know what a task is about, or what to type, asks here."""

from pipeline.chains.model import Chain, Part, Task

OPEN_TASK = "OpenSnapshot"
EXTRACT_TASK = "ExtractTable"
VALIDATE_TASK = "ValidateExtract"
LOAD_TASK = "LoadTable"
SOURCE_TASK = "LoadSource"
BUILD_TASK = "BuildMart"
DUMP_TASK = "DumpDatabase"
ENCRYPT_TASK = "EncryptDump"
UPLOAD_TASK = "UploadBackup"
VERIFY_TASK = "VerifyBackup"
DRILL_TASK = "RestoreDrill"
ARCHIVE_DRILL_TASK = "ArchiveDrill"
PROGRAM_TASK = "RunProgram"
APPLY_TASK = "ApplyDashboards"

SOURCE = Part(("source",), "source {name}", "pipeline rerun --run {run} {name}")
TABLE = Part(("source", "table"), "{name}", "pipeline rerun --run {run} {name}")
MART = Part(("mart",), "mart {name}", "pipeline rerun --run {run} mart.{name}", schema="mart")
# All dashboards together.
SURFACE = Part((), "dashboards", "pipeline dashboards apply")
BACKED_UP = Part(("database",), "backup of {name}", "pipeline run {chain} {name} --run {run}")
DRILLED = Part(("database",), "drill of {name}", "pipeline run {chain} {name}")

# Of what pgBackRest has of its server, beside our backups.
RECOVERED = Part(
    ("database",),
    "drill of {name} from pgBackRest",
    "pipeline run {chain} {name} --from pgbackrest",
    aspect="pgbackrest",
)

PROGRAM = Part(("program",), "tasks/{name}.py", "pipeline run {chain} {name} --run {run}")

# One at a time, whatever its scope: by a lock of the warehouse.
ETL = Chain(
    "etl",
    "tasks.etl",
    (
        Task(OPEN_TASK, SOURCE, held_by_its_worker=True),
        Task(EXTRACT_TASK, TABLE),
        Task(VALIDATE_TASK, TABLE),
        Task(LOAD_TASK, TABLE, concludes=True),
        Task(SOURCE_TASK, SOURCE, concludes=True, gathers=True),
        Task("LoadWarehouse", None, concludes=True, gathers=True),
    ),
    help="load the changed rows of every source",
    has_own_command=True,
    options=("--source", "--table"),
    is_undone_as_a_whole=True,
    may_be_helped=True,
)

# A night's root waits for these as well; alone, one is built after what it reads. By the lock of a load.
MARTS = Chain(
    "mart",
    "tasks.marts",
    (Task(BUILD_TASK, MART, concludes=True),),
    help="build one mart, after loading the tables that it reads",
    has_own_command=True,
    options=("",),
    may_be_helped=True,
    within=ETL.name,
)

# Where there is a Metabase, after a load, however that ended. What fails here fails no load.
DASHBOARDS = Chain(
    "dashboards",
    "tasks.dashboards",
    (Task(APPLY_TASK, SURFACE, concludes=True),),
    within=ETL.name,
)

# One of each database at a time, by a lock of the work folder. Those of several go beside each other.
BACKUP = Chain(
    "backup",
    "tasks.backup",
    (
        Task(DUMP_TASK, BACKED_UP),
        Task(ENCRYPT_TASK, BACKED_UP),
        Task(UPLOAD_TASK, BACKED_UP),
        Task(VERIFY_TASK, BACKED_UP, concludes=True),
        Task("BackupDatabase", BACKED_UP, gathers=True),
    ),
    help="dump, encrypt, upload and verify one database",
    has_own_command=True,
    options=("",),
    goes_alone=True,
)

# What drills of pgBackRest's archives are called as a whole: its job, and in the key of its alerts.
ARCHIVE_DRILL = "archive-drill"

# Of each kind one at a time, whatever its scope: by a lock of the work folder.
DRILL = Chain(
    "drill",
    "tasks.drill",
    (
        Task(DRILL_TASK, DRILLED, concludes=True),
        Task(ARCHIVE_DRILL_TASK, RECOVERED, concludes=True),
        # Of some databases alone as well: that they are proven says nothing of the others.
        Task("DrillEverything", None, gathers=True),
    ),
    help="restore the newest backups, and prove them",
    has_own_command=True,
    options=("",),
    run_parameter="month",
    goes_alone=True,
)

# The analysts' own: apart from all others, one at a time, by a lock beside their checkout.
ANALYSTS = Chain(
    "analysts",
    "tasks.analysts",
    (
        Task(PROGRAM_TASK, PROGRAM, concludes=True),
        # Of some of them alone as well.
        Task("RunPrograms", None, gathers=True),
    ),
    help="run the analysts' own tasks",
    has_own_command=True,
    options=("",),
    goes_alone=True,
)

CHAINS = (ETL, MARTS, DASHBOARDS, BACKUP, DRILL, ANALYSTS)
