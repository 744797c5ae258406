"""Marts as people write them, over tables as three well-known applications have them: what each reads.

The names and columns are those of a film rental (pagila), a music shop with names in capital letters (Chinook)
and a Django application with its accounts, as far as the queries need them.
"""

# ruff: noqa: E501 - queries as people write them

TABLES = {
    "rental": {
        "film": "film_id int, title text, release_year int, rental_rate numeric, length int, rating text,"
        " special_features text[], fulltext tsvector, language_id int, replacement_cost numeric",
        "actor": "actor_id int, first_name text, last_name text, last_update timestamptz",
        "film_actor": "actor_id int, film_id int, last_update timestamptz",
        "category": "category_id int, name text",
        "film_category": "film_id int, category_id int",
        "inventory": "inventory_id int, film_id int, store_id int",
        "rental": "rental_id int, rental_date timestamptz, inventory_id int, customer_id int,"
        " return_date timestamptz, staff_id int, rental_period tstzrange",
        "payment": "payment_id int, customer_id int, staff_id int, rental_id int, amount numeric,"
        " payment_date timestamptz",
        "customer": "customer_id int, store_id int, first_name text, last_name text, address_id int,"
        " activebool boolean, create_date date",
        "address": "address_id int, district text, city_id int",
        "city": "city_id int, city text, country_id int",
        "country": "country_id int, country text",
    },
    "music": {
        "Artist": '"ArtistId" int, "Name" text',
        "Album": '"AlbumId" int, "Title" text, "ArtistId" int',
        "Track": '"TrackId" int, "Name" text, "AlbumId" int, "GenreId" int, "Milliseconds" int,'
        ' "UnitPrice" numeric, "Composer" text',
        "Genre": '"GenreId" int, "Name" text',
        "Invoice": '"InvoiceId" int, "CustomerId" int, "InvoiceDate" timestamp, "BillingCountry" text,'
        ' "Total" numeric',
        "InvoiceLine": '"InvoiceLineId" int, "InvoiceId" int, "TrackId" int, "UnitPrice" numeric,'
        ' "Quantity" int',
        "Employee": '"EmployeeId" int, "LastName" text, "ReportsTo" int, "HireDate" timestamp',
        "Customer": '"CustomerId" int, "FirstName" text, "Country" text, "SupportRepId" int',
    },
    "site": {
        "auth_user": "id int, username text, is_staff boolean, is_active boolean, last_login timestamptz,"
        " date_joined timestamptz, email text",
        "auth_group": "id int, name text",
        "auth_user_groups": "id int, user_id int, group_id int",
        "auth_permission": "id int, name text, content_type_id int, codename text",
        "auth_group_permissions": "id int, group_id int, permission_id int",
        "django_content_type": "id int, app_label text, model text",
        "django_admin_log": "id int, action_time timestamptz, object_id text, action_flag smallint,"
        " change_message jsonb, content_type_id int, user_id int",
        "polls_question": "id int, question_text text, pub_date timestamptz, extra jsonb",
    },
}

MARTS = {
    "plain": "SELECT title, rental_rate FROM rental.film",
    "a table called as its schema": "SELECT count(*) AS n FROM rental.rental",
    "joins": """SELECT c.name, count(*) FROM rental.film AS f JOIN rental.film_category USING (film_id)
        JOIN rental.category AS c USING (category_id) GROUP BY c.name""",
    "natural": "SELECT city, country FROM rental.city NATURAL JOIN rental.country",
    "comma": "SELECT a.last_name, f.title FROM rental.actor a, rental.film_actor fa, rental.film f"
    " WHERE a.actor_id = fa.actor_id AND f.film_id = fa.film_id",
    "capital letters": 'SELECT "Title" FROM music."Album" WHERE "ArtistId" > 5',
    "quoted and mixed": 'SELECT ar."Name", sum(il."UnitPrice" * il."Quantity") AS revenue'
    ' FROM music."InvoiceLine" il JOIN music."Track" t ON t."TrackId" = il."TrackId"'
    ' JOIN music."Album" al USING ("AlbumId") JOIN music."Artist" ar USING ("ArtistId") GROUP BY 1',
    "unquoted capitals": "SELECT Username FROM Site.AUTH_USER",
    "with": "WITH late AS (SELECT * FROM rental.rental WHERE return_date IS NULL) SELECT customer_id FROM late",
    "with of the name of a table": "WITH film AS (SELECT film_id, title FROM rental.film) SELECT * FROM film",
    "with in with": """WITH a AS (WITH b AS (SELECT customer_id FROM rental.payment) SELECT * FROM b),
        c AS MATERIALIZED (SELECT * FROM a) SELECT count(*) FROM c JOIN rental.customer USING (customer_id)""",
    "with beside the same name in a schema": """WITH customer AS (SELECT 1 AS a)
        SELECT customer.a, r.customer_id FROM customer, rental.customer AS r""",
    "recursive": """WITH RECURSIVE boss (id, depth) AS (
        SELECT "EmployeeId", 0 FROM music."Employee" WHERE "ReportsTo" IS NULL
        UNION ALL SELECT e."EmployeeId", depth + 1 FROM music."Employee" e JOIN boss ON boss.id = e."ReportsTo")
        SELECT depth, count(*) FROM boss GROUP BY depth""",
    "recursive with cycle": """WITH RECURSIVE t (id, up) AS (
        SELECT "EmployeeId", "ReportsTo" FROM music."Employee"
        UNION ALL SELECT t.id, e."ReportsTo" FROM music."Employee" e JOIN t ON t.up = e."EmployeeId")
        CYCLE id SET is_cycle USING path SELECT id FROM t""",
    "lateral": """SELECT c.customer_id, last.amount FROM rental.customer c CROSS JOIN LATERAL (
        SELECT amount FROM rental.payment p WHERE p.customer_id = c.customer_id
        ORDER BY payment_date DESC LIMIT 1) AS last""",
    "left lateral": """SELECT f.title, x.n FROM rental.film f LEFT JOIN LATERAL (
        SELECT count(*) AS n FROM rental.inventory i WHERE i.film_id = f.film_id) x ON true""",
    "window": """SELECT "BillingCountry", "Total", rank() OVER (PARTITION BY "BillingCountry" ORDER BY "Total" DESC),
        sum("Total") OVER w FROM music."Invoice" WINDOW w AS (ORDER BY "InvoiceDate" ROWS 6 PRECEDING)""",
    "window in with": """SELECT * FROM (SELECT p.*, row_number() OVER (PARTITION BY customer_id ORDER BY amount) AS n
        FROM rental.payment p) AS numbered WHERE n = 1""",
    "filter": "SELECT count(*) FILTER (WHERE is_staff) AS staff, count(*) FILTER (WHERE NOT is_active) FROM site.auth_user",
    "grouping sets": """SELECT rating, release_year, grouping(rating), count(*) FROM rental.film
        GROUP BY GROUPING SETS ((rating, release_year), (rating), ())""",
    "cube": "SELECT rating, length, avg(rental_rate) FROM rental.film GROUP BY CUBE (rating, length)",
    "rollup": """SELECT "BillingCountry", extract(year FROM "InvoiceDate"), sum("Total") FROM music."Invoice"
        GROUP BY ROLLUP (1, 2)""",
    "union": "SELECT first_name FROM rental.actor UNION SELECT first_name FROM rental.customer",
    "set operations": """(SELECT film_id FROM rental.film EXCEPT SELECT film_id FROM rental.inventory)
        INTERSECT SELECT film_id FROM rental.film_actor ORDER BY 1 LIMIT 10""",
    "union of three schemas": """SELECT username AS who FROM site.auth_user UNION ALL
        SELECT "FirstName" FROM music."Customer" UNION ALL SELECT last_name FROM rental.customer""",
    "subquery in select": "SELECT username, (SELECT count(*) FROM site.django_admin_log l WHERE l.user_id = u.id)"
    " FROM site.auth_user u",
    "exists": """SELECT name FROM site.auth_group g WHERE NOT EXISTS (
        SELECT FROM site.auth_user_groups ug WHERE ug.group_id = g.id)""",
    "in": """SELECT codename FROM site.auth_permission WHERE content_type_id IN (
        SELECT id FROM site.django_content_type WHERE app_label = 'polls')""",
    "any of an array": "SELECT title FROM rental.film WHERE film_id = ANY (ARRAY(SELECT film_id FROM rental.inventory))",
    "row comparison": """SELECT * FROM site.auth_group_permissions WHERE (group_id, permission_id) NOT IN (
        SELECT g.id, p.id FROM site.auth_group g, site.auth_permission p)""",
    "subquery in order by": "SELECT title FROM rental.film f ORDER BY (SELECT count(*) FROM rental.inventory i"
    " WHERE i.film_id = f.film_id)",
    "subquery in having": """SELECT store_id, count(*) FROM rental.customer GROUP BY 1
        HAVING count(*) > (SELECT avg(n) FROM (SELECT count(*) AS n FROM rental.inventory GROUP BY store_id) x)""",
    "json paths": """SELECT id, extra ->> 'lang' AS lang, extra #>> '{a,b}' AS b, extra @? '$.tags[*] ? (@ == "x")' AS x,
        jsonb_path_query_first(extra, '$.n') FROM site.polls_question""",
    "json rows": """SELECT q.id, tag FROM site.polls_question q,
        jsonb_array_elements_text(q.extra -> 'tags') AS tag""",
    "json table": """SELECT q.id, j.* FROM site.polls_question q, JSON_TABLE(q.extra, '$.tags[*]'
        COLUMNS (position FOR ORDINALITY, tag text PATH '$')) AS j""",
    "json recordset": """SELECT l.id, c.* FROM site.django_admin_log l
        CROSS JOIN LATERAL jsonb_to_recordset(l.change_message) AS c (field text, value text)""",
    "json aggregates": "SELECT jsonb_object_agg(name, id ORDER BY name) FROM site.auth_group",
    "dates": """SELECT date_trunc('month', rental_date AT TIME ZONE 'UTC')::date AS month,
        avg(return_date - rental_date), max(rental_date + interval '3 days') FROM rental.rental GROUP BY 1""",
    "calendar": """SELECT day::date, count(r.rental_id) FROM generate_series(date '2022-01-01', '2022-12-31', '1 day')
        AS day LEFT JOIN rental.rental r ON r.rental_date::date = day::date GROUP BY 1""",
    "ranges": "SELECT rental_id FROM rental.rental WHERE rental_period && tstzrange('2022-01-01', NULL)"
    " AND upper_inf(rental_period)",
    "distinct on": """SELECT DISTINCT ON (customer_id) customer_id, amount FROM rental.payment
        ORDER BY customer_id, payment_date DESC""",
    "percentile": """SELECT rating, percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY length), mode()
        WITHIN GROUP (ORDER BY rental_rate) FROM rental.film GROUP BY rating""",
    "text search": "SELECT title FROM rental.film WHERE fulltext @@ plainto_tsquery('english', 'drama')",
    "arrays": """SELECT f.title, feature FROM rental.film f CROSS JOIN unnest(f.special_features)
        WITH ORDINALITY AS u (feature, place)""",
    "rows from": """SELECT * FROM ROWS FROM (generate_series(1, 3), unnest(ARRAY[1, 2])) AS r (a, b),
        site.auth_group""",
    "values": """SELECT v.label, count(u.id) FROM (VALUES (true, 'staff'), (false, 'others')) AS v (flag, label)
        LEFT JOIN site.auth_user u ON u.is_staff = v.flag GROUP BY 1""",
    "case and coalesce": """SELECT CASE WHEN "Milliseconds" > 300000 THEN 'long' ELSE 'short' END AS kind,
        count(*), coalesce(max("Composer"), 'none') FROM music."Track" GROUP BY 1""",
    "self join": """SELECT e."LastName", b."LastName" AS boss FROM music."Employee" e
        LEFT JOIN music."Employee" b ON b."EmployeeId" = e."ReportsTo" """,
    "whole row": "SELECT row_to_json(c) FROM rental.country c",
    "star of one": 'SELECT t.*, g."Name" AS genre FROM music."Track" t JOIN music."Genre" g USING ("GenreId")',
    "tablesample": "SELECT count(*) FROM rental.payment TABLESAMPLE SYSTEM (10)",
    "only": "SELECT count(*) FROM ONLY rental.payment",
    "parentheses": "SELECT * FROM (rental.city JOIN rental.country USING (country_id)) AS places",
    "full join": """SELECT coalesce(i.film_id, f.film_id) FROM rental.inventory i
        FULL JOIN rental.film f ON f.film_id = i.film_id""",
    "strings with names": "SELECT 'FROM site.auth_user' AS text, $$ JOIN rental.film $$ AS other FROM site.auth_group",
    "comments": "SELECT 1 AS a -- FROM rental.film\n /* FROM rental.city /* nested */ */ FROM rental.country",
    "table": "SELECT * FROM (TABLE site.auth_group) AS g",
    "similar names": 'SELECT u.id FROM site.auth_user u JOIN site.auth_user_groups "auth_group" ON auth_group.user_id = u.id',
    "frames": """SELECT customer_id, sum(amount) OVER (PARTITION BY customer_id ORDER BY payment_date
        GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES), lag(amount, 1, 0.0) OVER w,
        first_value(amount) OVER (w ROWS UNBOUNDED PRECEDING) FROM rental.payment
        WINDOW w AS (PARTITION BY customer_id ORDER BY payment_date)""",
    "range of days": """SELECT payment_date::date, sum(amount) OVER (ORDER BY payment_date
        RANGE BETWEEN INTERVAL '7' DAY PRECEDING AND CURRENT ROW) FROM rental.payment""",
    "search depth first": """WITH RECURSIVE t AS (
        SELECT "EmployeeId" AS id, "ReportsTo" AS up FROM music."Employee" WHERE "ReportsTo" IS NULL
        UNION ALL SELECT e."EmployeeId", e."ReportsTo" FROM music."Employee" e, t WHERE e."ReportsTo" = t.id)
        SEARCH DEPTH FIRST BY id SET place SELECT id FROM t ORDER BY place""",
    "two recursions": """WITH RECURSIVE up AS (SELECT "EmployeeId" AS e FROM music."Employee" UNION
        SELECT m."ReportsTo" FROM music."Employee" m JOIN up ON up.e = m."EmployeeId"), days (d) AS (
        SELECT date '2024-01-01' UNION ALL SELECT d + 1 FROM days WHERE d < '2024-01-31')
        SELECT d, count(r.rental_id) FROM days LEFT JOIN rental.rental r ON r.rental_date::date = d, up GROUP BY d""",
    "not materialized": """WITH p AS NOT MATERIALIZED (SELECT * FROM rental.payment), c (id, name) AS (
        SELECT customer_id, last_name FROM rental.customer) SELECT c.name, p.amount FROM p JOIN c ON c.id = p.customer_id""",
    "with inside of a subquery": """SELECT title FROM rental.film WHERE film_id IN (
        WITH lent AS (SELECT inventory_id FROM rental.rental) SELECT i.film_id FROM rental.inventory i
        WHERE i.inventory_id IN (SELECT inventory_id FROM lent))""",
    "with in a branch of a union": """SELECT name FROM site.auth_group UNION ALL
        (WITH film AS (SELECT username AS n FROM site.auth_user) SELECT n FROM film)
        UNION ALL SELECT title FROM rental.film""",
    "values as a table": """WITH grades (low, high, name) AS (VALUES (0, 1.0, 'a'), (1, 9.9, 'b'))
        SELECT g.name, count(*) FROM rental.payment p JOIN grades g ON p.amount >= g.low AND p.amount < g.high GROUP BY 1""",
    "an alias that is another table": "SELECT film.name FROM rental.category AS film WHERE film.category_id = 1",
    "a subquery that sees out": """SELECT f.title FROM rental.film f WHERE length > (
        SELECT avg(length) FROM rental.film g WHERE g.rating = f.rating)""",
    "lateral chain": """SELECT f.title, b.n, b.n / nullif(a.n, 0)::numeric AS share FROM rental.film f,
        LATERAL (SELECT count(*) AS n FROM rental.inventory i WHERE i.film_id = f.film_id) a,
        LATERAL (SELECT count(*) AS n FROM rental.rental r WHERE r.staff_id = a.n) b""",
    "lateral function of a column": """SELECT q.id, k.key, k.value FROM site.polls_question q
        CROSS JOIN LATERAL jsonb_each_text(q.extra) AS k""",
    "json path with variables": """SELECT id FROM site.polls_question
        WHERE jsonb_path_exists(extra, '$.votes[*] ? (@ > $least)', jsonb_build_object('least', 3))""",
    "json functions of the standard": """SELECT JSON_VALUE(extra, '$.lang' RETURNING text DEFAULT 'en' ON EMPTY),
        JSON_QUERY(extra, '$.tags' WITH WRAPPER), JSON_EXISTS(extra, '$.a') FROM site.polls_question""",
    "json table, nested": """SELECT j.tag, j.size FROM site.polls_question q, JSON_TABLE(q.extra, '$' COLUMNS (
        id int PATH '$.id', NESTED PATH '$.tags[*]' COLUMNS (tag text PATH '$.name', size int PATH '$.size'
        DEFAULT 0 ON EMPTY))) AS j""",
    "json made": """SELECT json_agg(json_build_object('id', id, 'name', name)), JSON_OBJECT('k' : max(name)),
        JSON_ARRAYAGG(id ORDER BY id) FROM site.auth_group""",
    "json subscripts": "SELECT extra['a']['b'] AS b, (extra -> 'n')::int + 1 AS n FROM site.polls_question",
    "xml": """SELECT x.* FROM site.auth_group g, XMLTABLE('/a/b' PASSING xmlelement(name a, g.name)
        COLUMNS b text PATH '.') AS x""",
    "ages": """SELECT age(last_login, date_joined), extract(epoch FROM now() - last_login) / 86400 AS days,
        date_part('dow', date_joined), to_char(date_joined, 'YYYY-"W"IW'), date_joined + 2 * interval '1 week'
        FROM site.auth_user WHERE date_joined BETWEEN current_date - 30 AND current_date + time '12:00'""",
    "make dates": """SELECT make_date(release_year, 1, 1) + (length || ' minutes')::interval,
        date_bin('15 minutes', TIMESTAMPTZ '2024-01-01 00:07+01', '2000-01-01') FROM rental.film""",
    "overlaps": """SELECT r.rental_id FROM rental.rental r
        WHERE (r.rental_date, r.return_date) OVERLAPS (DATE '2022-01-01', INTERVAL '100 days')""",
    "multiranges": """SELECT customer_id, range_agg(rental_period), unnest(range_agg(rental_period)) * '[2022-01-01,)'
        FROM rental.rental GROUP BY customer_id""",
    "time zones": """SELECT (pub_date AT TIME ZONE 'Europe/Zurich')::date AS day, count(*)
        FROM site.polls_question WHERE pub_date >= timestamptz '2024-03-31 02:30 Europe/Zurich' GROUP BY 1""",
    "grouping sets and more": """SELECT rating, release_year, CASE grouping(rating, release_year) WHEN 3 THEN 'all' END,
        count(*) FILTER (WHERE length > 100) FROM rental.film
        GROUP BY DISTINCT rating, GROUPING SETS (ROLLUP (release_year), CUBE (length)) HAVING count(*) > 1""",
    "with ties": "SELECT title FROM rental.film ORDER BY length DESC NULLS LAST FETCH FIRST 5 ROWS WITH TIES",
    "aggregates in order": """SELECT string_agg(DISTINCT a.last_name, ', ' ORDER BY a.last_name),
        (array_agg(f.title ORDER BY f.title DESC))[1:3] FROM rental.actor a JOIN rental.film_actor fa USING (actor_id)
        JOIN rental.film f ON f.film_id = fa.film_id GROUP BY fa.actor_id""",
    "any value": 'SELECT "ArtistId", any_value("Title"), bool_or("Title" ILIKE \'%live%\') FROM music."Album" GROUP BY 1',
    "a whole row counted": "SELECT count(f), count(DISTINCT (f.rating, f.length)) AS kinds FROM rental.film f",
    "a part of a row": "SELECT (x.r).title, (x.r).length FROM (SELECT f AS r FROM rental.film f) AS x",
    "a row in an array": "SELECT array_agg(c ORDER BY c.country) FROM rental.country AS c",
    "distinct from": """SELECT e."LastName" FROM music."Employee" e JOIN music."Customer" c
        ON c."SupportRepId" IS NOT DISTINCT FROM e."EmployeeId" WHERE (e."HireDate", 1) > ('2002-01-01', 0)""",
    "all and some": """SELECT title FROM rental.film WHERE length >= ALL (SELECT length FROM rental.film g)
        AND film_id <> SOME (SELECT film_id FROM rental.inventory)""",
    "patterns": r"""SELECT username FROM site.auth_user WHERE email SIMILAR TO '%@(a|b)\.org' AND username !~* '^x'
        AND email NOT LIKE 'a!_%' ESCAPE '!' AND username ^@ 'a' COLLATE "C" """,
    "columns named anew": """SELECT t.a, j.city FROM rental.city AS t (x, a, y)
        JOIN (rental.address JOIN rental.city USING (city_id)) AS j ON j.city_id = t.x""",
    "a join with a name": "SELECT j.city_id FROM rental.address JOIN rental.city USING (city_id) AS j",
    "strings of all kinds": r"""SELECT E'it\'s FROM site.auth_user' AS a, 'it''s' AS b, $a$ JOIN $b$ x $b$ $a$ AS c, U&'\0041' AS d, B'101' AS e, X'1F' AS f
        FROM site.auth_group""",
    "casts": """SELECT CAST("Total" AS numeric(10, 2)), "Total"::int::text AS t, '1'::int8, numeric '1.5', "InvoiceDate"::date
        FROM music."Invoice" """,
    "operators with a name": "SELECT 1 OPERATOR(pg_catalog.+) film_id FROM rental.film",
    "a function with a schema": "SELECT pg_catalog.lower(title), pg_catalog.substring(title, 2, 3) FROM rental.film",
    "named arguments": "SELECT make_interval(days => length), make_interval(hours := 1) AS hour FROM rental.film",
    "crosstab by hand": """SELECT release_year, sum((rating = 'PG')::int) AS pg, sum(CASE WHEN rating = 'R' THEN 1 ELSE 0 END) AS r
        FROM rental.film GROUP BY release_year""",
    "gaps and islands": """SELECT customer_id, min(day), max(day) FROM (
        SELECT customer_id, day, day - row_number() OVER (PARTITION BY customer_id ORDER BY day)::int AS island
        FROM (SELECT DISTINCT customer_id, rental_date::date AS day FROM rental.rental) AS days) AS islands
        GROUP BY customer_id, island""",
    "cohorts": """WITH first AS (SELECT customer_id, min(date_trunc('month', payment_date)) AS month
        FROM rental.payment GROUP BY 1), active AS (SELECT DISTINCT customer_id,
        date_trunc('month', payment_date) AS month FROM rental.payment)
        SELECT first.month AS cohort, active.month, count(*)::numeric / max(size.n) AS kept FROM first
        JOIN active USING (customer_id) JOIN (SELECT month, count(*) AS n FROM first GROUP BY 1) AS size
        ON size.month = first.month GROUP BY 1, 2""",
    "deep set operations": """SELECT film_id FROM rental.film UNION (SELECT film_id FROM rental.inventory
        INTERSECT ALL (SELECT film_id FROM rental.film_category EXCEPT ALL VALUES (1), (2)))
        ORDER BY film_id OFFSET 3 ROWS FETCH NEXT ROW ONLY""",
    "nothing read": "SELECT 1 AS one, now() AS at",
    "exists in select": """SELECT u.username, EXISTS (SELECT 1 FROM site.auth_user_groups g JOIN site.auth_group_permissions p
        USING (group_id) WHERE g.user_id = u.id) AS has_rights FROM site.auth_user u""",
    "semi join by row": """SELECT * FROM site.auth_permission p WHERE (p.content_type_id, p.codename) IN (
        SELECT t.id, t.model FROM site.django_content_type AS t)""",
    "json with manners": """SELECT JSON_QUERY(extra, '$.a' OMIT QUOTES NULL ON EMPTY ERROR ON ERROR) AS a,
        JSON_VALUE(extra, '$.b' PASSING id AS x RETURNING int DEFAULT 1 + 2 ON EMPTY) AS b,
        JSON_EXISTS(extra, '$.c' FALSE ON ERROR) AS c FROM site.polls_question""",
    "json table of a table of a table": """SELECT q.id, j.there, j.b FROM site.polls_question q CROSS JOIN LATERAL
        JSON_TABLE(q.extra, '$' AS root PASSING q.pub_date AS at COLUMNS (there bool EXISTS PATH '$.a',
        whole jsonb FORMAT JSON PATH '$' WITH WRAPPER, NESTED '$.x[*]' AS x COLUMNS (a int PATH '$.a' ERROR ON ERROR,
        NESTED PATH '$.y[*]' COLUMNS (b text PATH '$.b')))) AS j
        JOIN site.auth_user u ON u.id = j.a""",
    "joins with names": """SELECT one.city_id, two.country_id FROM rental.city JOIN rental.country
        USING (country_id) AS two JOIN rental.address AS a USING (city_id) AS one""",
}
