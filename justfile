# Daily work. `make setup` installs `just` into .venv; recipes use only that environment.
set positional-arguments

export PATH := justfile_directory() / ".venv/bin:" + env("PATH")
export UV_FIND_LINKS := env("UV_FIND_LINKS", env("PIP_FIND_LINKS", ""))
# If this is set, every process compiles torch and MONAI again, which takes ten seconds.
export PYTHONDONTWRITEBYTECODE := ""

config := "configs/experiments/dynunet_losses.yaml"

# List the recipes.
default:
    @just --list --unsorted

# Draw phantoms and run an experiment on them: two losses, two folds, a table and a report.
demo:
    minivess data phantom runs/demo-data --quiet
    minivess run --config configs/experiments/demo.yaml --data-dir runs/demo-data

# Run an experiment; the same command again continues it. Takes the options of `minivess run`.
experiment *options:
    minivess run --config {{config}} "$@"

# Run a short trial of an experiment.
experiment-debug *options:
    minivess run --config {{config}} --debug "$@"

# Show configuration, plan and cells of an experiment; train nothing and write nothing.
experiment-dry-run *options:
    minivess run --config {{config}} --dry-run "$@"

# Check whether this machine can train on the data.
preflight *options:
    minivess preflight "$@"

# Start a Prefect server on this machine to watch runs; Ctrl-C ends it, and runs continue without it.
prefect-up port="4200":
    @echo "In the terminal that runs experiments:  export PREFECT_API_URL=http://127.0.0.1:{{port}}/api"
    @PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1 PREFECT_API_URL=http://127.0.0.1:{{port}}/api \
        prefect server start --host 127.0.0.1 --port {{port}}

# Report shapes, spacings and faults of a data set.
profile folder *options:
    minivess profile "$@"

# Check formatting, lint, types and layers: everything except the tests.
lint:
    ruff format --check src tests scripts benchmarks
    ruff check src tests scripts benchmarks
    lint-imports --no-logo
    mypy

# Build the documentation site in build/site: strict, and without network.
docs:
    NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true mkdocs build --quiet --strict

# --no-loadscope-reorder: otherwise xdist sorts the files by number of tests, and the long files run last and alone.
# Three processes, because the tests wait for disks and other processes a fifth of the time.
# Lint, build the docs and run the fast tests: at most ten minutes on two cores.
test *options: lint docs
    OMP_WAIT_POLICY=PASSIVE pytest -m "not slow" --numprocesses 3 --dist loadfile --no-loadscope-reorder "$@"

# Lint and run all tests, including the slow ones, which take half a minute or more each.
test-all *options: lint docs
    OMP_WAIT_POLICY=PASSIVE pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder "$@"

# Write the JSON schema that editors use to check experiment files.
schema:
    python -c "import json; from minivess.experiments.config import ExperimentConfig as C; \
        print(json.dumps(C.model_json_schema(), indent=1))" > configs/experiment.schema.json

# Kill a run 200 times and compare its results with those of an undisturbed run: an hour or more.
chaos *options:
    python benchmarks/chaos.py "$@"

# Compute a hundred random plans, each verified by a memory trace or refused with a cure: half an hour.
plans *options:
    python benchmarks/random_plans.py "$@"

# Apply one deliberate bug after the other and check that a test notices it. Takes patterns, e.g. `just mutants splits`.
mutants *options:
    python benchmarks/mutants.py "$@"

# Read thousands of damaged volumes, settings and state files, as a command would: about ten minutes on two cores.
fuzz *options:
    PYTHONPATH=benchmarks python -m fuzz "$@"

# Measure on a GPU, in about ten minutes; writes the measured memory to configs/model_profiles.
card work="runs/card" cap="8GB":
    for model in dynunet segresnet vista3d; do minivess benchmark vram --model $model --cap {{cap}} --write; done
    python benchmarks/card.py {{work}} --cap {{cap}}
    python benchmarks/chaos.py --kills 4 --set training.deterministic=true

# Check the properties of the centreline on 10,000 random masks, in about a minute.
centrelines masks="10000":
    MINIVESS_MASKS={{masks}} pytest tests/topology/test_thinning.py

# Measure false positives and power of the test between losses, for docs/benchmarks/statistics.md.
statistics *options:
    python benchmarks/false_positives.py "$@"

# Measure false claims, coverage and power of the verdicts with groups and repeats, for docs/benchmarks/statistics.md.
verdicts *options:
    python benchmarks/verdict_simulation.py "$@"

# Replay races on finished runs: the same answer, and at which share of the steps?
race-replay *options:
    python benchmarks/race_replay.py "$@"

# Every package is pinned, without index addresses, and torch without a build tag. Pinned versions stay unless `--upgrade` is given.
# Update requirements.lock from pyproject.toml; `just lock --upgrade` takes newer versions.
lock *options:
    cp requirements.lock requirements.lock.new
    uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-annotate --no-header --quiet \
        --no-emit-index-url --no-emit-find-links --output-file requirements.lock.new "$@"
    sed -E '/^(nvidia-(cu|nccl|nv[jst])|cuda-|triton)/d; /^torch==[0-9.]+\+/d; s/^(torch==[0-9.]+) ;.*/\1/' \
        requirements.lock.new > requirements.lock
    rm requirements.lock.new
