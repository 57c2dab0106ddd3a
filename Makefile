# What people do with Doorbell on one machine. Each target calls one script; the work is done there.
.DEFAULT_GOAL := help
.PHONY: help demo up down status test test-chaos chaos game-days operations quiet-days test-rabbitmq4 test-long test-slow test-compose test-hosts bench lint lock bench-monitoring bench-curves bench-sustained bench-outlier bench-receivers bench-lockdown bench-imports

# What make up and make demo are told is kept for the next time; none takes it back.
# Processes of a pool, where not one: make up PROCESSES="device_checks=2 db_writes=2"
PROCESSES ?=
# Who is told of alerts, a file as in deploy/alertmanager/README.md; without one, Alertmanager's page shows them.
ALERT_RECEIVERS ?=
# Where the links of alerts lead.
DASHBOARDS_URL ?=
RUNBOOKS_URL ?=
# By the environment: a shell would read what is in them.
export PROCESSES ALERT_RECEIVERS DASHBOARDS_URL RUNBOOKS_URL
# Of the long chaos run; RATE in logins a second, where not each scenario's own.
LOGINS ?= 1750
SEEDS ?= 1 2
RATE ?= 40
# Of the scenarios make test-chaos runs one part in TURNS, each day the next.
TURNS ?= 1
# Of the tests on containers, these files instead of all: "tests/compose/test_stack.py tests/compose/test_image.py"
TESTS ?=
# Of the tests on hosts or in containers, those whose names pytest's -k finds, for instance "test_site or test_rights".
SELECT ?=
# The Debian of hosts, and of the images that containers are made from: bookworm or trixie.
RELEASE ?= bookworm
LOCAL = .venv/bin/python -m deploy.local
IF_SET_UP = test -x .venv/bin/python || { echo "nothing was set up yet: make up"; exit 0; };

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## set everything up, start the cluster, replay the sample logins, say what happened
	@deploy/local/setup
	@$(LOCAL) demo

up: ## start the whole cluster with private data under .local/
	@deploy/local/setup
	@$(LOCAL) up

down: ## stop the cluster, keep its data
	@$(IF_SET_UP) $(LOCAL) down

status: ## how each process is
	@$(IF_SET_UP) $(LOCAL) status

test: ## linters, types, and all tests that take minutes, on services of their own
	@deploy/local/test

test-chaos: ## every part killed, stopped, cut off and filled up under load; nothing lost, nothing doubled
	@deploy/local/setup --dev
	@.venv/bin/python -m pytest --timeout 300 --chaos-turns "$(TURNS)" tests/chaos

chaos: ## the long run: every scenario with LOGINS logins for each of SEEDS; writes its table (two hours)
	@deploy/local/setup --dev
	@.venv/bin/python -m tests.chaos --logins "$(LOGINS)" --seed $(SEEDS) --rate "$(RATE)" --table deploy/chaos.md

game-days: ## alerts provoked for real, told, mended by the runbook, and over, on the local cluster, two minutes and more each (ALERTS="GatewayDown or BrokerDown"; TABLE=1 writes their table)
	@deploy/local/setup --dev
	@.venv/bin/python -m pytest -p no:randomly -s -k "$(or $(ALERTS),test_game_day)" $(if $(TABLE),--table) tests/gamedays

operations: ## the runbooks' pages about operations, gone through on the cluster of a copy of this tree
	@deploy/local/setup --dev
	@.venv/bin/python -m pytest -p no:randomly -s tests/gamedays/test_operations.py

quiet-days: ## nobody is woken by pools that are restarted, ten minutes without logins, and 80% of the peak (half an hour)
	@deploy/local/setup --dev
	@.venv/bin/python -m pytest -p no:randomly -s tests/gamedays/test_quiet_days.py

test-rabbitmq4: ## messaging, routing and kill points on Debian 13's RabbitMQ 4 (as root)
	@deploy/local/setup --dev --redis
	@.venv/bin/python -m tests.support.debian13 -m "slow or not slow" --timeout 600 tests/integration/messaging \
		tests/integration/routing tests/integration/ledger/test_reconciler.py tests/chaos/test_kill_points.py

test-long: ## CONTRIBUTING's recipes followed to the letter, backups and restores of the hosts' roles (five minutes)
	@deploy/local/setup --dev
	@deploy/local/setup --ansible
	@.venv/bin/python -m pytest --numprocesses 4 --dist loadscope tests/integration/recipes tests/integration/ansible

test-slow: ## what takes longer than a minute each: 100,000 waiting logins, a delay of a minute
	@deploy/local/setup --dev --redis
	@.venv/bin/python -m pytest -m slow --timeout 600 tests/integration

test-compose: ## docker-compose.yml on a real engine, with Compose 1.29 and v2 (as root; RELEASE, TESTS, SELECT; TABLE=1 as of game-days)
	@RELEASE="$(RELEASE)" TESTS="$(TESTS)" tests/compose/run $(if $(TABLE),--game-days-table) $(if $(SELECT),-k "$(SELECT)")

test-hosts: ## ansible/ on a fleet of systemd hosts, which then lose power, networks and releases (as root; RELEASE, SELECT; TABLE=1 as of game-days)
	@tests/hosts/run --release "$(RELEASE)" $(if $(TABLE),--hosts-table) -k "$(SELECT)"

lint: ## linters and types alone
	@deploy/local/setup --dev
	@deploy/local/setup --ansible
	@deploy/local/lint

bench: ## measure throughput and latency, beside the same workflow in plain Celery, dramatiq, taskiq and a bare loop (a quarter of an hour; .local/bench.json, .png)
	@deploy/local/setup --dev --redis
	@mkdir -p .local
	@.venv/bin/python -m tests.bench --json .local/bench.json --plot .local/bench.png

bench-monitoring: ## measure what Prometheus, Alertmanager, Flower and workers' events cost, by turns with and without
	@deploy/local/setup --dev
	@.venv/bin/python -m tests.bench.monitoring

bench-curves: ## measure throughput against processes, the ledger's size and what waits already (fifteen minutes; .local/curves.json, .png)
	@deploy/local/setup --dev
	@mkdir -p .local
	@.venv/bin/python -m tests.bench.curves --json .local/curves.json --plot .local/curves.png

bench-sustained: ## measure minutes under load by single POSTs and by batches, then a flood: memory, latency, nothing lost (half an hour; .local/sustained.json)
	@deploy/local/setup --dev
	@mkdir -p .local
	@.venv/bin/python -m tests.bench.sustained --json .local/sustained.json

bench-receivers: ## measure how long an application waits for its webhook while two hundred others hang (two minutes)
	@deploy/local/setup --dev
	@.venv/bin/python -m tests.bench.receivers

IMPORTED ?= 100000
bench-imports: ## measure an import: logins a second, CPU for each, and every process's memory meanwhile (a minute; IMPORTED=1000000)
	@deploy/local/setup --dev
	@.venv/bin/python -m tests.bench.imports --logins "$(IMPORTED)"

bench-outlier: ## measure the reference outlier API alone: scores, batches, forgetting, and as its history grows (a minute; .local/outlier.json)
	@deploy/local/setup --dev
	@mkdir -p .local
	@.venv/bin/python -m tests.bench.outlier --json .local/outlier.json

bench-lockdown: ## measure how long it takes to lock 10,000 users, to stop that, and to take it back (five minutes; .local/lockdown.json)
	@deploy/local/setup --dev
	@mkdir -p .local
	@.venv/bin/python -m tests.bench.lockdown --json .local/lockdown.json

lock: ## renew the locked requirements from pyproject.toml (needs uv)
	@deploy/local/lock
