-- transactional: false
-- The canvas of what is sent by hand: its steps are found by their root or their group. One that was broken off is begun anew.

ALTER TABLE step ADD COLUMN IF NOT EXISTS canvas json;  -- its place in its canvas: ids and names of tasks
DROP INDEX CONCURRENTLY IF EXISTS step_of_root;
CREATE INDEX CONCURRENTLY step_of_root ON step (root_id) WHERE workflow_id IS NULL;
DROP INDEX CONCURRENTLY IF EXISTS step_of_group;
CREATE INDEX CONCURRENTLY step_of_group ON step ((canvas ->> 'joins')) WHERE workflow_id IS NULL AND canvas IS NOT NULL;
