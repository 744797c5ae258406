-- A day of work at the service desk: what the night after has to find.

-- Outside the transaction: a new value can be used only when it is committed.
ALTER TYPE ticket_state ADD VALUE IF NOT EXISTS 'awaiting_vendor' AFTER 'waiting';

BEGIN;
-- The shape changes: one column that is empty, one with a default that rewrites no row.
ALTER TABLE ticket ADD COLUMN satisfaction smallint;
ALTER TABLE category ADD COLUMN is_public boolean NOT NULL DEFAULT true;

INSERT INTO ticket (reference, subject, category_id, assignee_id, requester_email, state, priority, custom, opened_at,
                    updated_at)
SELECT md5('day 2 ticket ' || n)::uuid, E'Timetable shows "NULL"\n\\N ' || n, 1 + n % 18, 1 + n % 30,
       'student' || n || '@law.example.edu', CASE WHEN n % 10 = 0 THEN 'awaiting_vendor' ELSE 'new' END::ticket_state,
       'high', '{"channel": "chat"}', timestamptz '2026-11-22 07:00Z' + n * interval '1 minute',
       timestamptz '2026-11-22 07:00Z' + n * interval '1 minute'
FROM generate_series(1, 200) AS n;

INSERT INTO comment
SELECT t.id, 1, 'requester', 'Since the update this morning.', false, t.opened_at FROM ticket t
WHERE t.custom @> '{"channel": "chat"}';

UPDATE ticket SET state = 'solved', solved_at = '2026-11-22 15:00Z', updated_at = '2026-11-22 15:00Z',
    satisfaction = 1 + id % 5
WHERE state = 'open' AND id % 4 = 0;
UPDATE ticket SET satisfaction = 5, updated_at = '2026-11-22 16:00Z' WHERE state = 'closed' AND id % 200 = 0;
-- Some rows change and nobody notes when.
UPDATE comment SET body = 'Edited: ' || body WHERE number = 2 AND ticket_id % 75 = 0;
UPDATE category SET is_public = false, target_hours = 0.5 WHERE id = 16;
UPDATE agent SET works = daterange(lower(works), '2026-11-22') WHERE id = 3;

-- The key of a row changes.
UPDATE ticket_tag SET tag = 'first-year' WHERE tag = 'first year' AND ticket_id % 3 = 0;
DELETE FROM ticket_tag WHERE tag = 'repeat' AND ticket_id % 2 = 0;
-- Junk goes, with its comments and attachments.
DELETE FROM ticket WHERE state = 'new' AND id <= 15000 AND id % 6 = 0;

INSERT INTO sla_event SELECT id, 'started', opened_at, 240 FROM ticket WHERE custom @> '{"channel": "chat"}';
DELETE FROM sla_event WHERE happened_at < '2026-06-03 00:00Z';

COMMENT ON DATABASE service_desk IS 'day 2';
COMMIT;
