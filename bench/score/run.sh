#!/bin/bash
# run.sh BUILD -- scoring beside the same job in pandas with XGBoost, in the same run, one core each;
# and how long a reading takes through the stage and the journal.
set -eu
cd "$(dirname "$0")/../.."
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
"${1:-build/release}/score_score_bench"
"${1:-build/release}/score_latency_bench" 2000 10000 20 "${VIGIL_BENCH_DIR:-/var/tmp}"
/usr/bin/python3 -c 'import pandas, xgboost' 2>/dev/null || {
    echo "bench=score-pandas skipped: apt-get install python3-pandas python3-xgboost"
    exit 0
}
/usr/bin/python3 bench/score/pandas_job.py
