#!/bin/bash
# Makes the database and its owner, whom all of Doorbell's processes are: no superuser, who could run programs there.
# The image's entrypoint runs this once, when the cluster is made.
set -euo pipefail

password=$(cat /run/secrets/database_password)
# The server logs no statement, and the password is no argument of a program.
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="${POSTGRES_USER:-postgres}" --dbname=postgres <<SQL
CREATE ROLE doorbell LOGIN PASSWORD '$password';
CREATE DATABASE doorbell OWNER doorbell;
SQL
