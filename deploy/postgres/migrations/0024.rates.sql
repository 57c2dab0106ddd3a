-- How many requests a second a tenant may make, and which gateways share that.

ALTER TABLE tenant ADD COLUMN requests_per_second double precision
    CONSTRAINT tenant_requests_per_second_check CHECK (requests_per_second > 0);  -- null: as many as it likes

CREATE TABLE tenant_gateway (
    tenant_id text NOT NULL REFERENCES tenant,
    gateway uuid NOT NULL,  -- a process, which draws its id when it starts
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, gateway)
);
