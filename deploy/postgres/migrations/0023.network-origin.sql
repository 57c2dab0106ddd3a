-- Which login a user's network was first seen with: one that the user disowns is none of the user's.

ALTER TABLE user_network ADD COLUMN first_workflow_id uuid;  -- null: written by a release before this one
