#!/usr/bin/env bash
# Runs every proof of durability and writes what it did as a table. It takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
table=$(mktemp)
trap 'rm -f "$table"' EXIT
export MCRUN_RELIABILITY=$table
cargo nextest run --locked --package mcrun-tests --package mcrun-journal -E 'test(/^crash::/) | test(/^power::/) | test(/^faults::/)
    | test(/^hostile::/) | test(/^malformed/) | test(/^fuzz_seeds::/)'
tests/mutants.sh
{
    cat <<'HEAD'
# Reliability

Written by `make reliability`, which anyone can run: it kills, cuts the power, fills the disk and breaks it, and counts what
was lost or repeated. A finding is an effect that was acknowledged and is gone, one that was completed and took place again,
a first `before` that was overwritten, a run that does not go on, or a planted mistake that no test notices.

| what | how often | findings |
| --- | --- | --- |
HEAD
    sort "$table"
    cat <<'TAIL'

How it is counted:

- **Kills.** The program under test ends itself with SIGKILL at a point that has a name and a number: before and after every
  commit of the journal, before and after every call of a driver, and at every write and sync that SQLite makes in between,
  every other write cut in half. All points of six scripts are taken, whatever was grouped with them. Points of `barrier` are left out: whether
  a read of the journal finds something uncommitted is a matter of milliseconds, and what is committed then has points of its
  own. Where branches sleep side by side, a run is shown as waiting more or less often: only those `state` points may not be reached.
- **What took place** is counted outside, by a web server that writes down every act with its idempotency key and with the acts
  whose ends its script had seen; by inode and time of files; by process of services. What the journal holds is read from a copy.
- **Random programs** come from a seed: acts, files, steps, branches with limits, retries, sleeps, failures. `MCRUN_SEED` and
  `MCRUN_ROUNDS` repeat one; `make soak` takes 20,000 kills. Every program is replayed from its first effect to its last, and
  asks for something else if an order of completions changes.
- **Power loss.** A layer between SQLite and its files records writes and syncs; at every sync, images with nothing, everything and
  seeded random subsets of the unsynced sectors are opened by the journal's own code. Beside it the whole program runs on a
  file system whose device keeps only what the kernel had sent to it.
- **Faults.** Every write and every sync of the database fails once: no room, a broken device, half a write.
- **Hostile input.** What every field of every effect cannot be, derived from its schema; files and words damaged from seeds;
  scripts that mean harm. A finding is a panic, an error without a code or under the code for mcrun's own mistakes, one that
  takes its time or memory without bound, or a host that does not go on. The rooms have more of them: 730 scripts in the
  worker (`package(mcrun-script) & test(/hostile/)`), damaged journals, archives, and answers of engines.
- **Planted mistakes.** `tests/mutants` holds patches to journal and corridor, each of which a named test must notice.
TAIL
} >docs/reliability.md
