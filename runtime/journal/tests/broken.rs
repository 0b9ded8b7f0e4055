//! That a write which fails for another reason than a full disk puts the journal out of use. The system's limit on the
//! size of files makes it fail, in a child process: this test's program, run again under that limit.

#![allow(clippy::unwrap_used, reason = "a test helper that cannot go on fails the test")]

#[path = "journal/support.rs"]
#[expect(dead_code, reason = "the other programs use the rest")]
mod support;

use std::process::Command;

use journal::{Error, Filter};
use support::{add_run, begin, open};

/// In blocks of 512 bytes: the tables fit, a megabyte does not.
const LIMIT: &str =
    "trap '' XFSZ; ulimit -f 400; exec \"$0\" --exact --nocapture a_failed_write_puts_the_journal_out_of_use";
const UNDER_LIMIT: &str = "MCRUN_UNDER_LIMIT";

#[test]
#[expect(clippy::disallowed_methods, reason = "the limit is for a whole process")]
fn a_failed_write_puts_the_journal_out_of_use() {
    if std::env::var_os(UNDER_LIMIT).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(under_limit());
    }
    let program = std::env::current_exe().unwrap();
    let child = Command::new("sh").args(["-c", LIMIT]).arg(program).env(UNDER_LIMIT, "1").output().unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{output}{}", String::from_utf8_lossy(&child.stderr));
    assert!(output.contains("1 passed"), "{output}");
}

async fn under_limit() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let run = add_run(&journal).await;
    let mut large = begin(1);
    large.before = Some("x".repeat(1 << 20));
    assert!(!journal.broken());
    let refused = journal.begin(&run, large).await.unwrap_err();
    assert!(matches!(refused, Error::Broken(_)), "{refused}");
    assert!(journal.broken());
    assert_eq!(journal.begin(&run, begin(2)).await, Err(refused.clone()));
    assert_eq!(journal.barrier().await, Err(refused));
    // What was committed before can still be shown.
    let runs = journal.runs(Filter::default()).await.unwrap();
    assert_eq!((runs[0].id, runs[0].effects), (run, 0));
}
