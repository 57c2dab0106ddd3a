#!/usr/bin/env bash
# Makes the cluster when there is none, then becomes the command: the part of the official image's contract that is used.
set -euo pipefail
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # Unquoted as in the official image: the variable holds several arguments.
    # shellcheck disable=SC2086
    initdb -D "$PGDATA" -U postgres --pwfile="$POSTGRES_PASSWORD_FILE" ${POSTGRES_INITDB_ARGS:-}
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
    pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
    for script in /docker-entrypoint-initdb.d/*.sh; do
        "$script"
    done
    pg_ctl -D "$PGDATA" -m fast -w stop
fi
exec "$@"
