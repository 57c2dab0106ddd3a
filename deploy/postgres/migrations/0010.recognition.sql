-- By what devices are known again: what their browsers say without versions, and the cookies they were given.

ALTER TABLE reported_login
    ADD COLUMN cookie_id uuid,    -- the login in whose answer the device's cookie was given
    ADD COLUMN time_zone text,    -- by its name (IANA), for what users are told
    ADD COLUMN kind text NOT NULL DEFAULT 'sign_in',
    -- Rows that are there have the default: no need to read them while the table is locked.
    ADD CONSTRAINT reported_login_kind
        CHECK (kind IN ('sign_in', 'sign_up', 'reauthentication', 'second_factor', 'service')) NOT VALID;

ALTER TABLE device
    ADD COLUMN browser text,      -- this and the next three null: written by a release before this one
    ADD COLUMN products text,
    ADD COLUMN system text,
    ADD COLUMN model text,
    ADD COLUMN signed_in boolean NOT NULL DEFAULT true;  -- false: known from a second factor or the like alone

ALTER TABLE tenant ADD COLUMN cookie_key uuid NOT NULL DEFAULT gen_random_uuid();

CREATE TABLE device_cookie (      -- cookies that came back
    tenant_id text NOT NULL REFERENCES tenant,
    user_id text NOT NULL,
    cookie_id uuid NOT NULL,
    device_id uuid NOT NULL REFERENCES device ON DELETE CASCADE,
    PRIMARY KEY (tenant_id, user_id, cookie_id)
);
CREATE INDEX device_cookie_by_device ON device_cookie (device_id);

CREATE TABLE user_network (       -- from where users have signed in, by country and provider
    tenant_id text NOT NULL REFERENCES tenant,
    user_id text NOT NULL,
    country text NOT NULL,        -- empty: unknown
    asn bigint NOT NULL,          -- 0: unknown
    PRIMARY KEY (tenant_id, user_id, country, asn)
);
