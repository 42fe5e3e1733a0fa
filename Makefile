# `make` lists the verbs. The scripts behind them do the work.
.DEFAULT_GOAL := help
.PHONY: help bootstrap programs up down status logs reset seed demo trace test test-slow check lint format types contracts \
        migration openapi bench dlq events chaos chaos-collab lineage revoke-lag simulate mutants epoch files-fsck
PY := .venv/bin/python
LOCAL := $(PY) -m deploy.local
TESTED = $(if $(s),$(or $(wildcard $(s) libs/$(s)),services/$(s)))
SOURCES := libs/common/src:$(subst $() ,:,$(wildcard services/*/src))

help: ## list the verbs
	@awk -F ':.*## ' '/^##@/ {print "\n" substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

bootstrap:
	@sh deploy/local/bootstrap.sh

programs: bootstrap
	@$(LOCAL) packages

##@ Run it
up: bootstrap ## start everything on this machine (GATEWAY_PORT=8080, PORT_BASE=18000, OBJECT_STORE=s3, POSTGRES_URL, REDIS_URL, AMQP_URL)
	@$(LOCAL) up

down: bootstrap ## stop what `make up` started; data stay
	@$(LOCAL) down

status: bootstrap ## what runs, is it ready, how much memory
	@$(LOCAL) status

logs: bootstrap ## follow the logs, of all or of one: s=documents
	@$(LOCAL) logs $(s)

reset: bootstrap ## stop and delete all local data
	@$(LOCAL) reset

##@ Use it
demo: bootstrap ## the main job on real Markdown files (DIR=folder for your own)
	@$(LOCAL) exec $(PY) deploy/demo.py "$(DIR)"

seed: bootstrap ## fill it with realistic workspaces and documents: N=10000
	@$(LOCAL) exec $(PY) deploy/seed.py $(N)

trace: bootstrap ## one request's tree of spans: ID=trace id
	@MDC_STATE_DIR=.state $(PY) -m common.telemetry trace "$(ID)"

epoch: bootstrap ## after a backup was restored: every device begins again and hands in what was lost
	@$(LOCAL) exec $(PY) deploy/epoch.py

lineage: bootstrap ## give a damaged live document a new life from its newest version: ID=document
	@$(LOCAL) exec $(PY) -m deploy.lineage "$(ID)"

dlq: bootstrap ## dead letters of the event bus: s=service do=list|show|replay|drop ID=event id or all
	@$(LOCAL) exec $(PY) -m common.messaging.dead_letters "$(s)" "$(do)" "$(ID)"

files-fsck: bootstrap ## compare object store and tables of files: HASH=1 reads all bytes, SWEEP=1 removes what has no row
	@$(LOCAL) as files $(PY) -m files.fsck $(if $(HASH),--hash) $(if $(SWEEP),--sweep)

bench: bootstrap ## measure, print ratios: table=rest (needs `make up`), bus, sync, collab, files, ai
	@$(if $(filter bus sync collab files ai,$(firstword $(table))),,$(LOCAL) exec) $(PY) -m deploy.bench $(table)

simulate: bootstrap ## seeded histories of 2-6 devices on the pure core: N=20000 SEED=1
	$(PY) -m deploy.simulate $(if $(N),--histories $(N)) $(if $(SEED),--seed $(SEED)) $(if $(STEPS),--steps $(STEPS))

mutants: bootstrap ## plant bugs into the simulation; each must be found
	$(PY) -m deploy.simulate.mutants

revoke-lag: programs ## how long a lowered right still works, per kind and service, under load
	$(PY) -m deploy.bench.revoke

chaos: programs ## kill everything under load, then look for each acknowledged write: SECONDS=180 SEED=n PLANTED=bug
	$(PY) -m deploy.chaos $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(PLANTED),--planted $(PLANTED))

chaos-collab: programs ## people type on 2 replicas while these and servers are killed: SECONDS=180 SEED=n PLANTED=bug
	$(PY) -m deploy.chaos.collab $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(PLANTED),--planted $(PLANTED))

##@ Work on it
test: programs ## all tests but the slow ones, on private servers (s=documents for one service)
	$(PY) -m pytest -m "not slow" $(TESTED)

test-slow: programs ## journeys and fuzz over a whole fleet
	$(PY) -m pytest -m slow $(TESTED) || [ $$? = 5 ] # 5: there is no slow test

check: lint types contracts ## everything CI checks without running tests
	sh deploy/local/bootstrap.sh uv lock --check
	$(PY) -m deploy.check

lint: bootstrap ## ruff: rules and formatting
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: bootstrap ## let ruff format and fix
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

types: bootstrap ## mypy --strict
	MYPYPATH=$(SOURCES) $(PY) -m mypy $(subst :, ,$(SOURCES)) deploy --exclude '/tests/'

contracts: bootstrap ## who may import whom
	.venv/bin/lint-imports

migration: bootstrap ## new migration from the models: s=documents m="what changes"
	@$(LOCAL) exec $(PY) -m common.migrations new "$(s)" "$(m)"

events: bootstrap ## write the schemas of changed events and the AsyncAPI document
	UPDATE_EVENTS=1 $(PY) -m pytest -q libs/common/tests/test_contracts.py

openapi: bootstrap ## write the committed OpenAPI files anew
	UPDATE_OPENAPI=1 $(PY) -m pytest -q libs/common/tests/test_openapi.py
