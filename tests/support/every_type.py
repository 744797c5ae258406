"""A table with a column of every type that PostgreSQL has or lets users make, and values at their edges."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Types of users: in the usual schema and in others, in names that need quotes, one inside the other.
TYPES = """
CREATE SCHEMA personnel;
CREATE SCHEMA "Odd Schema";
CREATE TYPE public.mood AS ENUM (
    'sad', 'ok', 'it''s', 'a,b', '"quoted"', E'back\\\\slash', '', 'NULL', 'ünï'
);
CREATE TYPE personnel.mood AS ENUM ('other', 'sad');
CREATE TYPE "Odd Schema"."Select ""%s"" {}" AS ENUM ('100%', '%s', '{}');
CREATE DOMAIN public.email AS varchar(50) CHECK (value LIKE '%@%');
CREATE DOMAIN personnel.work_email AS public.email CHECK (value LIKE '%.org');
CREATE DOMAIN public.marks AS numeric(4,1)[];
CREATE DOMAIN public.anything AS xml;
CREATE TYPE public.address AS (
    street text, gone integer, "Post Code" character(6), mood public.mood, mail public.email,
    mails personnel.work_email[], "select" public.mood[], amount numeric(10,2)
);
ALTER TYPE public.address DROP ATTRIBUTE gone;
CREATE DOMAIN public.home AS public.address;
CREATE TYPE personnel.nested AS (
    main public.address, others public.address[], odd "Odd Schema"."Select ""%s"" {}", home public.home,
    marks public.marks
);
CREATE TYPE public.nothing AS ();
CREATE TYPE public.span AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = float8mi);
CREATE TYPE personnel.moods AS RANGE (SUBTYPE = public.mood);
CREATE TYPE public.letters AS RANGE (SUBTYPE = text, COLLATION = "C");
CREATE TYPE public.words AS RANGE (SUBTYPE = text);
CREATE TYPE public.with_names AS (relation regclass, note text);
CREATE TABLE public.other (id integer, words text);
"""


@dataclass(frozen=True)
class Every:
    """One column: its type in the source and in the warehouse, and values; `since` which major version."""

    type: str
    warehouse: str
    values: Sequence[str]
    since: int = 0
    # Whether its binary form carries no number that one server gave to a type.
    comparable: bool = True


def _same(type_: str, *values: str, since: int = 0) -> Every:
    return Every(type_, type_, values, since)


def _users(type_: str, warehouse: str, *values: str, since: int = 0) -> Every:
    return Every(type_, warehouse, values, since, comparable=False)


def _text(type_: str, *values: str, since: int = 0) -> Every:
    return Every(type_, "text", values, since, comparable=False)


COLUMNS: Sequence[Every] = (
    _same("boolean", "true", "false"),
    _same("smallint", "-32768", "32767"),
    _same("integer", "-2147483648", "2147483647"),
    _same("bigint", "-9223372036854775808", "9223372036854775807", "0"),
    _same("numeric", "'NaN'", "1.00", "1.0", "0.000", "1e130000 + 1e-16000", "-0.1e-16382"),
    _same("numeric", "'Infinity'", "'-Infinity'", since=14),
    _same("numeric(12,4)", "12345678.9012", "-0.0001"),
    _same("numeric(3,-2)", "12300", since=15),
    _same("numeric(2,5)", "0.00012", since=15),
    _same("real", "'NaN'", "'-Infinity'", "'-0'", "1e-45", "3.4028235e38", "0.1"),
    _same("double precision", "'NaN'", "'Infinity'", "'-0'", "5e-324", "1.7976931348623157e308", "0.1"),
    _same("money", "'92233720368547758.07'", "'-0.01'", "'-92233720368547758.08'"),
    _same(
        "text", "''", "'NULL'", r"E'\\N'", r"E'\\.'", r"E'a\tb\nc\rd\x01\\e'", "' x '", "repeat('ö', 100000)"
    ),
    _same("character varying", "''", "'x  '"),
    _same("character varying(3)", "'äöü'"),
    _same("character(5)", "'ab'", "''", "'  a'"),
    _same("bpchar", "'ab  '", "''"),
    _same('"char"', "'a'", "''", "'\\'"),
    # Older servers send such a byte as it is, which no text in UTF-8 can hold.
    _same('"char"', '(-61)::"char"', since=16),
    _same("name", "'Name'", "repeat('n', 63)::name"),
    _same("bytea", "''", r"'\x00ff5c0a'", "decode(repeat('00', 5000), 'hex')"),
    _same("date", "'infinity'", "'-infinity'", "'4713-01-01 BC'", "'5874897-12-31'", "'0044-03-15 BC'"),
    _same("time without time zone", "'00:00'", "'24:00'", "'23:59:59.999999'"),
    _same("time(3) without time zone", "'01:02:03.004'"),
    _same("time with time zone", "'00:00:00+15:59'", "'24:00:00-12:30:15'"),
    _same(
        "timestamp without time zone",
        "'infinity'",
        "'-infinity'",
        "'4713-01-01 00:00 BC'",
        "'294276-12-31 23:59:59.999999'",
    ),
    _same("timestamp(0) without time zone", "'2026-11-22 01:02:03'"),
    _same(
        "timestamp with time zone",
        "'infinity'",
        "'4713-01-01 00:00+00 BC'",
        "'2026-03-29 01:30:00+01'",
        "'0001-01-01 00:00:00+00 BC'",
    ),
    _same(
        "interval",
        "'1 day'",
        "'24:00'",
        "'-1 mons +3 days -00:00:01'",
        "'-178000000 years'",
        "'2147483647 days -0.000001 secs'",
    ),
    _same("interval", "'infinity'", "'-infinity'", since=17),
    _same("interval day to second(2)", "'3 days 04:05:06.07'"),
    _same("interval year to month", "'-1 year -2 mons'"),
    _same("uuid", "'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"),
    _same("json", """'{"b":1,  "a":[1.0,null], "b":2}'""", "'1.00'", "'null'", r"""'"\u00e4\\"'"""),
    _same("jsonb", """'{"b":1, "a":[1.00,null,"\\t"], "": {}}'""", "'1e1000'", "'null'", "'[]'"),
    _same("jsonpath", "'$.a[*] ? (@.b > 1.0)'", "'strict $'"),
    _same(
        "xml",
        "'<a>ö</a>'",
        "'text only'",
        "'<a/><b/>'",
        'xml \'<?xml version="1.0" encoding="LATIN1"?><ö/>\'',
    ),
    _same("xml[]", "ARRAY[xml '<?xml version=\"1.0\" encoding=\"LATIN1\"?><ö/>', NULL, xml '<b/>']"),
    _same("bit(5)", "B'10101'"),
    _same("bit varying", "B''", "B'1'", "repeat('10', 999)::varbit"),
    _same("bit varying(9)", "B'000000001'"),
    _same("inet", "'10.1.2.3/8'", "'10.1.2.3'", "'::1/64'", "'::ffff:1.2.3.4/128'"),
    _same("cidr", "'10.0.0.0/8'", "'0.0.0.0/0'", "'::/0'"),
    _same("macaddr", "'08:00:2b:01:02:03'"),
    _same("macaddr8", "'08:00:2b:01:02:03:04:05'"),
    _same("point", "'(0.1,-0)'", "'(Infinity,NaN)'"),
    _same("line", "'{1,-1.1,0.3}'"),
    _same("lseg", "'[(0.1,0.2),(1e300,-4)]'"),
    _same("box", "'(3,4),(0.1,0.2)'"),
    _same("box[]", "'{(3,4),(1,2);(9,9),(8,8)}'", "'{}'"),
    _same("path", "'[(0,0),(0.1,1)]'", "'((0,0),(1,1),(2,0))'"),
    _same("polygon", "'((0,0),(0.1,1),(2,0))'"),
    _same("circle", "'<(0.1,0.2),0.3>'"),
    _same("tsvector", r"$$'a b':1A,2B,16383 'it''s':3 'x\\y'$$", "''"),
    _same("tsquery", "$$'a':*AB & !( 'b' <-> 'c' <2> 'it''s' | 'd' )$$", "''", "$$( 'a' <-> 'b' ) <-> 'c'$$"),
    _same("int4range", "'[1,5)'", "'empty'", "'(,)'", "'[,3)'"),
    _same("int8range", "'[-9223372036854775808,9223372036854775807)'"),
    _same("numrange", "'[1.00,1.000]'", "'(NaN,]'", "'[0.10,)'"),
    _same("daterange", "'[2026-01-01,infinity)'", "'[0044-03-15 BC,2026-01-02)'"),
    _same("tsrange", "'[2026-01-01 00:00:00.000001,infinity]'"),
    _same("tstzrange", "'(-infinity,2026-01-01 00:00+00]'"),
    _same("int4range[]", "'{\"[1,2)\",empty,NULL}'"),
    _same("int4multirange", "'{[1,3),[5,9)}'", "'{}'", since=14),
    _same("datemultirange", "'{(,2026-01-01),[2027-01-01,)}'", since=14),
    _same("nummultirange[]", "ARRAY['{[1.0,2.00]}'::nummultirange, NULL]", since=14),
    _same("tstzmultirange", "'{[2026-01-01 00:00+00,infinity)}'", since=14),
    _same("pg_lsn", "'16/B374D848'", "'0/0'"),
    _same("txid_snapshot", "'10:20:10,14,15'"),
    _same("pg_snapshot", "'10:20:10,14,15'"),
    _same("xid8", "'18446744073709551615'"),
    _same("xid", "'4294967295'"),
    _same("cid", "'4294967295'"),
    _same("tid", "'(4294967295,65535)'"),
    _same("oid", "'4294967295'"),
    _same("oidvector", "'1 2 4294967295'", "''"),
    _same("int2vector", "'-1 2 3'", "''"),
    _same("refcursor", "'a cursor'"),
    _same("integer[]", "'{}'", "'{1,NULL,3}'", "'[0:1][-2:-1]={{1,2},{3,4}}'", "'{{{1}},{{2}}}'"),
    _same("text[]", """'{"",NULL,"NULL","a,b","{}","\\"q\\"","\\\\"," x"}'""", "'[5:5]={five}'"),
    _same("numeric(6,2)[]", "'{1.10,NaN}'"),
    _same("bytea[]", r"ARRAY['\x00ff'::bytea, ''::bytea]"),
    _same("character varying(4)[]", "'{abcd}'"),
    _same('"char"[]', "'{a,\"\"}'"),
    _same("money[]", "'{1.23,NULL}'"),
    _same("timestamp with time zone[]", "'{infinity,\"2026-01-01 00:00+00\"}'"),
    # Made by users.
    _users(
        "public.mood",
        "{s}.mood",
        "'sad'",
        "'it''s'",
        "'a,b'",
        "'\"quoted\"'",
        "''",
        "'NULL'",
        r"E'back\\slash'",
        "'ünï'",
    ),
    _users("personnel.mood", '{s}."personnel.mood"', "'other'", "'sad'"),
    _users('"Odd Schema"."Select ""%s"" {}"', '{s}."Odd Schema.Select ""%s"" {}"', "'100%'", "'%s'", "'{}'"),
    _users(
        "public.mood[]",
        "{s}.mood[]",
        '\'{sad,"a,b",NULL,"NULL","","\\"quoted\\""}\'',
        "'[3:4]={ok,ok}'",
        "'{}'",
    ),
    _users("public.email", "character varying(50)", "'a@b.org'", "'@'"),
    _users("personnel.work_email", "character varying(50)", "'a@b.org'"),
    _users("personnel.work_email[]", "character varying(50)[]", "'{a@b.org,NULL,\"c,d@e.org\"}'"),
    _users("public.marks", "numeric(4,1)[]", "'{1.0,NULL,999.9}'", "'[0:0]={2.5}'"),
    _text("public.marks[]", '\'{"{1.0,2.0}",NULL,"{}"}\''),
    _users("public.anything", "xml", '\'<?xml version="1.0" encoding="LATIN1"?><ä/>\''),
    _users(
        "public.address",
        "{s}.address",
        "ROW('x, \"y\"', 'ab', 'a,b', 'a@b.org', '{c@d.org}', '{NULL,sad}', 1.10)",
        "ROW(NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        r"ROW(E'\\ (\n', '', '', NULL, '{}', ARRAY['']::public.mood[], 'NaN')",
    ),
    _users(
        "public.address[]",
        "{s}.address[]",
        "ARRAY[[ROW('(', 'a', 'ok', NULL, NULL, '{}', 1)::public.address, NULL], [NULL::public.address,"
        " NULL]]",
    ),
    _users("public.home", "{s}.address", "ROW('s', NULL, NULL, NULL, NULL, NULL, 2.20)::public.address"),
    _users(
        "public.home[]",
        "{s}.address[]",
        "ARRAY[ROW('s', NULL, NULL, NULL, NULL, NULL, 2.20)::public.address::public.home]",
    ),
    _users(
        "personnel.nested",
        '{s}."personnel.nested"',
        "ROW(ROW('s', 'p', 'sad', 'a@b', NULL, NULL, 3), ARRAY[ROW('t', 'p', 'sad', 'a@b', NULL, NULL,"
        " 3)::public.address], '100%', NULL, '{1.5}')",
    ),
    _users("public.nothing", "{s}.nothing", "ROW()"),
    _users("public.span", "{s}.span", "'[0.1,1e300)'", "'empty'", "'(-Infinity,NaN]'"),
    _users("public.span[]", "{s}.span[]", "'{\"[0.1,0.2]\",NULL}'"),
    _users("public.span_multirange", "{s}.span_multirange", "'{[0.1,0.2],(5,)}'", since=14),
    _users("personnel.moods", '{s}."personnel.moods"', "'[sad,\"a,b\")'", "'[\"\",ünï]'"),
    _users("public.letters", "{s}.letters", "'[B,a)'", '\'["","x,y"]\''),
    _text("public.words", "'[a,b)'"),
    _users("public.other", '{s}."other row"', "ROW(1, 'x')"),
    # What means something else on another server, or nothing at all.
    _text("regclass", "'public.other'", "0"),
    _text("regtype", "'public.mood'", "'integer[]'"),
    _text("regproc", "'pg_catalog.pg_backend_pid'"),
    _text("regprocedure", "'pg_catalog.abs(integer)'"),
    _text("regoper", "'pg_catalog.||/'"),
    _text("regoperator", "'pg_catalog.+(integer,integer)'"),
    _text("regrole", "'postgres'"),
    _text("regnamespace", "'personnel'"),
    _text("regcollation", "'pg_catalog.\"C\"'"),
    _text("regconfig", "'pg_catalog.simple'"),
    _text("regdictionary", "'pg_catalog.simple'"),
    _text("regclass[]", "ARRAY['public.other'::regclass, NULL]"),
    _text("aclitem", "'postgres=r/postgres'"),
    _text("aclitem[]", "ARRAY['postgres=r/postgres'::aclitem]"),
    _text("public.with_names", "ROW('public.other', 'a,b')"),
    _text("pg_catalog.pg_namespace", "(SELECT n FROM pg_namespace n WHERE nspname = 'personnel')"),
)


def columns(version: int, *, xml: bool = True) -> list[tuple[str, Every]]:
    """Return the names and columns that a server of that major version has."""
    there = [every for every in COLUMNS if version >= every.since]
    if not xml:
        there = [every for every in there if "xml" not in every.type and every.warehouse != "xml"]
    return [(f"c{number} {every.type}"[:60], every) for number, every in enumerate(there)]


def script(version: int, *, xml: bool = True) -> str:
    """Return SQL that makes the table `every` with a key, and `keyless` without, both filled."""
    there = columns(version, xml=xml)
    listed = ", ".join(f'"{_quoted(name)}" {every.type}' for name, every in there)
    most = max(len(every.values) for _, every in there)
    types = TYPES
    if version >= 14:
        types = types.replace("float8mi)", "float8mi, MULTIRANGE_TYPE_NAME = span_multirange)")
    return (
        types
        + "SET search_path = pg_catalog, public;\n"
        + f"CREATE TABLE public.every (id integer PRIMARY KEY, {listed});\n"
        + "".join(
            f"INSERT INTO public.every VALUES ({number}, {row});\n" for number, row in _rows(there, most)
        )
        + "CREATE TABLE public.keyless AS SELECT * FROM public.every;\n"
        + "INSERT INTO public.keyless SELECT * FROM public.every WHERE id < 2;\n"
    )


def _rows(there: Sequence[tuple[str, Every]], most: int) -> Iterator[tuple[int, str]]:
    """Yield each column's values in turn, and a last row of nothing."""
    for number in range(most + 1):
        yield (
            number,
            ", ".join(every.values[number] if number < len(every.values) else "NULL" for _, every in there),
        )


def _quoted(name: str) -> str:
    return name.replace('"', '""')
