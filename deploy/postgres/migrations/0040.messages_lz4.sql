-- Messages of more than 2 KiB are compressed whenever their row is written; lz4 does it in less time than pglz.

DO $$
BEGIN
    ALTER TABLE step
        ALTER COLUMN message SET COMPRESSION lz4,
        ALTER COLUMN canvas SET COMPRESSION lz4;
EXCEPTION
    WHEN feature_not_supported THEN
        RAISE NOTICE 'this PostgreSQL was built without lz4: messages stay compressed by pglz';
END
$$;
