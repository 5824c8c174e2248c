"""The usual loop. `--raise-at N` and `--exit-at N CODE` end it in step N."""

import argparse
import sys

from tiny import STEPS, Net, adam, batch, step, tell


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--raise-at", type=int)
    parser.add_argument("--exit-at", type=int, nargs=2, default=(None, 0))
    parser.add_argument("--exit", type=int)
    args = parser.parse_args()
    net = Net()
    optimizer = adam(net)
    for number in range(args.steps):
        if number == args.raise_at:
            raise ValueError("mine")
        if number == args.exit_at[0]:
            sys.exit(args.exit_at[1])
        tell(number, step(net, optimizer, batch()))
    print("trained")
    sys.exit(args.exit)


if __name__ == "__main__":
    main()
