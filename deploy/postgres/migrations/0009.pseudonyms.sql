-- The key to the names that monitors have for a tenant's users: with it gone, nobody tells who they were.

ALTER TABLE tenant ADD COLUMN pseudonym_key uuid NOT NULL DEFAULT gen_random_uuid();
