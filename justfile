# Daily work. `make setup` has put `just` into .venv; recipes use that environment alone.
set positional-arguments

export PATH := justfile_directory() / ".venv/bin:" + env("PATH")
export UV_FIND_LINKS := env("UV_FIND_LINKS", env("PIP_FIND_LINKS", ""))
# Where this is set, every process compiles torch and MONAI anew: ten seconds each.
export PYTHONDONTWRITEBYTECODE := ""

config := "configs/experiments/dynunet_losses.yaml"

# List the recipes.
default:
    @just --list --unsorted

# The whole job on phantoms that are drawn first: two losses, two folds, a table and a report.
demo:
    minivess data phantom runs/demo-data --quiet
    minivess run --config configs/experiments/demo.yaml --data-dir runs/demo-data

# Run an experiment; the same command again continues. Further options as for `minivess run`.
experiment *options:
    minivess run --config {{config}} "$@"

# The same path in short.
experiment-debug *options:
    minivess run --config {{config}} --debug "$@"

# Configuration, plan and cells; trains nothing, writes nothing.
experiment-dry-run *options:
    minivess run --config {{config}} --dry-run "$@"

# Can this machine run it?
preflight *options:
    minivess preflight "$@"

# Prefect's view of runs, on this machine alone; Ctrl-C ends it, and runs go on without it.
prefect-up port="4200":
    @echo "In the terminal that runs experiments:  export PREFECT_API_URL=http://127.0.0.1:{{port}}/api"
    @PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1 PREFECT_API_URL=http://127.0.0.1:{{port}}/api \
        prefect server start --host 127.0.0.1 --port {{port}}

# Shapes, spacings and faults of a data set.
profile folder *options:
    minivess profile "$@"

# Format, lint, types, layers: everything but the tests.
lint:
    ruff format --check src tests scripts benchmarks
    ruff check src tests scripts benchmarks
    lint-imports --no-logo
    mypy

# Everything that must hold, within ten minutes on two cores. (Files in their order: by number of tests, long ones come last and alone.)
test *options: lint
    OMP_WAIT_POLICY=PASSIVE pytest -m "not slow" --numprocesses 2 --dist loadfile --no-loadscope-reorder "$@"

# The same, and the tests that take half a minute or more.
test-all *options: lint
    OMP_WAIT_POLICY=PASSIVE pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder "$@"

# Write the schema by which editors check experiments.
schema:
    python -c "import json; from minivess.experiments.config import ExperimentConfig as C; \
        print(json.dumps(C.model_json_schema(), indent=1))" > configs/experiment.schema.json

# Kill a run 200 times and compare its end with an undisturbed one: an hour or more.
chaos *options:
    python benchmarks/chaos.py "$@"

# A hundred random plans, each proved by trace or refused: half an hour.
plans *options:
    python benchmarks/random_plans.py "$@"

# On a machine with a card: what only a card can show, in ten minutes or so; keeps measured memory in configs/model_profiles.
card work="runs/card" cap="8GB":
    for model in dynunet segresnet vista3d; do minivess benchmark vram --model $model --cap {{cap}} --write; done
    python benchmarks/card.py {{work}} --cap {{cap}}
    python benchmarks/chaos.py --kills 4 --set training.deterministic=true

# False positives and power of the test between losses, as docs/benchmarks/statistics.md has them.
statistics *options:
    python benchmarks/false_positives.py "$@"

# Bring the lock up to pyproject.toml: every package pinned, no address, torch without a build tag. What is pinned stays so
# unless `just lock --upgrade` asks for newer ones.
lock *options:
    cp requirements.lock requirements.lock.new
    uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-annotate --no-header --quiet \
        --no-emit-index-url --no-emit-find-links --output-file requirements.lock.new "$@"
    sed -E '/^(nvidia-(cu|nccl|nv[jst])|cuda-|triton)/d; /^torch==[0-9.]+\+/d; s/^(torch==[0-9.]+) ;.*/\1/' \
        requirements.lock.new > requirements.lock
    rm requirements.lock.new
