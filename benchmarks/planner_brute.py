"""Plans of chains of up to 12 parts beside all plans that there are (up to 5,757,961 of one chain).

    python benchmarks/planner_brute.py [--chains 40] [--budgets 12]

Random chains of each length, half of them with parts that can be undone; for each the least memory that a plan needs,
and the cheapest plans for several budgets. A line for each length; the exit status says whether any plan differs.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.budget.brute import differs, random_chain

LONGEST = 12


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=40, help="of each length")
    parser.add_argument("--budgets", type=int, default=12)
    args = parser.parse_args()
    wrong = 0
    for n in range(1, LONGEST + 1):
        start, found = time.perf_counter(), 0
        for seed in range(args.chains):
            rng = random.Random(1000 * n + seed)
            different = differs(random_chain(rng, n, undone=seed % 2 == 1), rng, args.budgets)
            for line in different:
                print(f"  chain {seed} of {n}, {line}")
            found += bool(different)
        wrong += found
        equal = args.chains - found
        print(f"{n:>3} parts: {equal} of {args.chains} equal, {time.perf_counter() - start:.1f} s", flush=True)
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
