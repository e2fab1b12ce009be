#!/usr/bin/env bash
# What a GPU is needed for, in two parts of at most four minutes each on one H200. Nothing is fetched there: a part needs the checkout, a
# Python with what spanmask depends on, and the texts that `carry` puts into .gpu/.
#
#   bench/gpu_run.sh carry DATA   here: 40 MB of ../shared/data into .gpu/
#   bench/gpu_run.sh tests OUT    there: tests that need a GPU, memory as estimated, spanmask bench train
#   bench/gpu_run.sh grid OUT     there: spanmask reproduce of gpu_grid.toml, the seeds that fit
#
# OUT gets a few files. With TINY=1 a part does the same on a processor at the smallest size. PYTHON: which one [python3].
set -euo pipefail

usage="usage: bench/gpu_run.sh carry DATA | tests OUT | grid OUT"
part=${1:?$usage} place=${2:?$usage}
python=${PYTHON:-python3} tiny=${TINY:-}
limit=235
case $part in
    carry) ;;
    tests | grid) mkdir -p "$place" ;;
    *) echo "$usage" >&2; exit 2 ;;
esac

carry() {
    local total texts=("$place"/prose/enwiki2018.00{0,1}.jsonl.zst)
    [ -f "${texts[0]}" ] && [ -f "${texts[1]}" ] || { echo "expected the files ${texts[*]}: give the folder of shared data" >&2; exit 2; }
    mkdir -p .gpu
    cp "${texts[@]}" .gpu/
    total=$(du -sm .gpu | cut -f1)
    [ "$total" -le 60 ] || { echo ".gpu/ has $total MB, expected 60 at most: take out what is not of this run" >&2; exit 2; }
    echo "carry .gpu ($total MB)"
}

# The packages under their names, unless they are installed: nothing to build them with need be there.
install() {
    local site version
    "$python" -c "import spanmask_bench, spanmask_cli" 2>/dev/null && return
    site=$(mktemp -d)
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
    ln -s "$PWD/spanmask" "$site/spanmask"
    ln -s "$PWD/cli" "$site/spanmask_cli"
    ln -s "$PWD/bench" "$site/spanmask_bench"
    mkdir "$site/spanmask-$version.dist-info"
    printf 'Metadata-Version: 2.1\nName: spanmask\nVersion: %s\n' "$version" >"$site/spanmask-$version.dist-info/METADATA"
    export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
}

spanmask=("$python" -c "from spanmask_cli.main import run; run()")

# Run for as long as is left, less the seconds that come after it; its exit code goes to OUT/codes.txt.
timed() {
    local name=$1 after=$2 code=0
    shift 2
    timeout -s INT -k 10 $((limit - SECONDS - after)) "$@" 2>&1 | tee "$place/$name.txt" || code=$?
    echo "$name: exit code $code after $SECONDS s" | tee -a "$place/codes.txt"
    [ "$code" = 0 ] || failed=$code
}

tests() {
    # shellcheck disable=SC2046 # one name a word
    timed gpu-tests 150 "$python" -m pytest -q -n0 -rs -p no:cacheprovider -m gpu $(grep -rl pytest.mark.gpu tests)
    timed memory 145 "$python" -m spanmask_bench.training_memory ${tiny:+--models tiny}
    if [ -n "$tiny" ]; then
        timed train 5 "${spanmask[@]}" bench train --model tiny --slots 64 --rounds 1 --minutes 2.2 --json "$place/train.json"
    else
        timed train 5 "${spanmask[@]}" bench train .gpu/enwiki2018.000.jsonl.zst --device cuda --model base --minutes 2.2 \
            --json "$place/train.json"
    fi
}

grid() {
    local texts=(.gpu/enwiki2018.001.jsonl.zst) changes=()
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    if [ -n "$tiny" ]; then
        texts=(spanmask/data/poe.txt)
        changes=(seeds=1 tokens=6000 train.device=cpu train.model=tiny train.layers=1 train.batch_size=4 train.eval_sequences=20
            preshard.layout=documents preshard.holdout=0.3 probe.boundaries.spans=300 probe.boundaries.classes=20)
    fi
    timed reproduce 10 "${spanmask[@]}" reproduce bench/gpu_grid.toml "${texts[@]}" --out "$work/grid" "${changes[@]/#/--set=}"
    cp "$work"/grid/{report.html,report.json,grid.lock} "$place"/
}

failed=0
place=$(realpath "$place")
cd "$(dirname "$0")/.."
[ "$part" = carry ] || install
"$part"
exit "$failed"
